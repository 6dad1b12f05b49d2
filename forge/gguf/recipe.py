"""Which tensor gets which ggml type: llama.cpp's choices at one tag, restated as a table for the types Forge offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forge.gguf.container import block_size

LLAMA_CPP_TAG: Final = "b10605"  # src/llama-quant.cpp there is what the parity tests compare with

FLOATS: Final = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True)
class Recipe:
    """`matrix` for most, `output` for the output matrix (or the embedding that doubles as one), `more` for the value
    and down projections of the layers that llama.cpp gives more bits."""

    matrix: str
    output: str
    more: str


RECIPES: Final = {
    "F32": Recipe("F32", "F32", "F32"),
    "F16": Recipe("F16", "F16", "F16"),
    "BF16": Recipe("BF16", "BF16", "BF16"),
    "Q8_0": Recipe("Q8_0", "Q8_0", "Q8_0"),
    "Q6_K": Recipe("Q6_K", "Q6_K", "Q6_K"),
    "Q5_K_M": Recipe("Q5_K", "Q6_K", "Q6_K"),
    "Q4_K_M": Recipe("Q4_K", "Q6_K", "Q6_K"),
    "Q4_0": Recipe("Q4_0", "Q6_K", "Q4_0"),
}
# Where a row is not a multiple of the type's block; F16 where it is not one of the fallback's either.
_FALLBACK: Final = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between (llama.cpp's use_more_bits)."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def tensor_type(quant: str, name: str, shape: tuple[int, ...], *, layers: int, tied: bool) -> str:
    """The ggml type of GGUF tensor `name` in a file of type `quant`; one-dimensional tensors and norms stay F32."""
    if len(shape) < 2 or name.endswith("_norm.weight"):
        return "F32"
    recipe = RECIPES[quant]
    row = shape[-1]
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        wanted = recipe.output
    elif name.endswith((".attn_v.weight", ".ffn_down.weight")) and more_bits(int(name.split(".")[1]), layers):
        wanted = recipe.more
    else:
        wanted = recipe.matrix
    if row % block_size(wanted):
        wanted = _FALLBACK.get(wanted, "F16")
    return wanted if row % block_size(wanted) == 0 else "F16"
