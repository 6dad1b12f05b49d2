"""GGUF file types: llama.cpp's number for each, and what it costs. Which tensor gets which type:
phoenix_forge.gguf.recipe."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_forge.errors import UsageError


@dataclass(frozen=True)
class Quant:
    """`ftype` is llama_ftype in llama.h; `bits` is bits per weight over a whole 7B file, for predictions. An importance
    matrix changes only the `weighted` types."""

    name: str
    ftype: int
    bits: float
    note: str
    weighted: bool = True


QUANTS = {
    q.name: q
    for q in (
        Quant("F32", 0, 32.0, "reference", weighted=False),
        Quant("F16", 1, 16.0, "lossless for most 16-bit models", weighted=False),
        Quant("BF16", 32, 16.0, "exact copy of a bf16 model", weighted=False),
        Quant("Q8_0", 7, 8.5, "hardly any loss", weighted=False),
        Quant("Q6_K", 18, 6.6, "very little loss"),
        Quant("Q5_K_M", 17, 5.7, "little loss"),
        Quant("Q5_K_S", 16, 5.6, "a little smaller than Q5_K_M"),
        Quant("Q4_K_M", 15, 4.9, "the usual choice"),
        Quant("Q4_K_S", 14, 4.6, "a little smaller than Q4_K_M"),
        Quant("IQ4_XS", 30, 4.4, "smaller still for much the same loss; slower on CPUs"),
        Quant("Q3_K_M", 12, 4.0, "for little memory; the loss shows"),
        Quant("Q4_0", 2, 4.6, "fast on old CPUs"),
    )
}


def quant(name: str) -> Quant:
    row = QUANTS.get(name.upper())
    if row is None:
        raise UsageError(
            f"unknown quantisation type {name!r}; known: {', '.join(QUANTS)}",
            fix="--set quantize.types=[Q4_K_M]",
        )
    return row
