"""What a step will need, before it starts: bytes of disk and memory, from parameters alone."""

from __future__ import annotations

from forge.catalog.quants import quant

MARGIN = 1.10  # predictions must not be below what is measured


def base_bytes(parameters: int) -> int:
    """16-bit safetensors on disk."""
    return int(parameters * 2 * 1.01)


def gguf_bytes(parameters: int, quant_name: str) -> int:
    """A quantised file; small models keep a larger share in their embeddings, hence the flat 40 MB on top."""
    return int(parameters * quant(quant_name).bits / 8 * MARGIN) + 40_000_000


def import_disk(parameters: int) -> int:
    """A GGUF source next to the 16-bit folder made from it."""
    return base_bytes(parameters) + gguf_bytes(parameters, "Q8_0")


def stream_memory(parameters: int, threads: int) -> int:
    """Merging and quantising hold a few tensors at a time, the largest about a quarter of a small model's weights."""
    largest = max(parameters // 50, min(parameters // 4, 600_000_000))
    return int(largest * (4 + 2 + 1)) + threads * 16_000_000 + 300_000_000


def train_memory(parameters: int, layers: int, hidden: int, vocabulary: int, tokens: int, rank: int, *,
                 four_bit: bool, recompute: bool, bytes_per_value: int) -> int:
    """Peak bytes of one training step of `tokens` tokens in a forward pass, on the device that trains.

    Weights (4-bit: 0.53 bytes a parameter, embeddings 16-bit), adapter with gradients and two Adam moments, activations
    (34 hidden-sized values a token and layer without recomputation, Korthikanti et al. 2022; one with), fp32 logits
    three times over.
    """
    embedding = vocabulary * hidden
    weights = (parameters - embedding) * 0.53 + embedding * 2 if four_bit else parameters * bytes_per_value
    adapter = layers * rank * hidden * 26 * 16
    activations = tokens * hidden * bytes_per_value * (layers + 34 if recompute else layers * 34)
    logits = tokens * vocabulary * 4 * 3
    return int((weights + adapter + activations + logits) * MARGIN) + 700_000_000
