"""What a family's weights need on their way into a GGUF, and on the way back; and the tensors that only a GGUF has.

llama.cpp rotates pairs of neighbouring values in Llama's and Mistral's heads where Hugging Face rotates the two halves,
so the rows of their queries and keys are interleaved; and it multiplies by Gemma's norms as they are, where Hugging
Face adds one first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from phoenix_forge.catalog.families import Family
from phoenix_forge.gguf.quantization import to_float32
from phoenix_forge.gguf.rope import llama3_factors, longrope_factors
from phoenix_forge.weights.safetensors import Tensor

Config = dict[str, Any]
Change = Callable[[np.ndarray, int], np.ndarray]  # an array, and how many heads its rows make up


@dataclass(frozen=True)
class _Transform:
    """For the tensors whose Hugging Face name ends in one of `ends`; `heads` is the setting of config.json that counts
    their heads. `back` undoes `forth`. A `real` one computes, in fp32 or fp16; the others move bits."""

    ends: tuple[str, ...]
    forth: Change
    back: Change
    heads: str = "num_attention_heads"
    real: bool = False


def _interleaved(array: np.ndarray, heads: int) -> np.ndarray:
    return array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def _halves(array: np.ndarray, heads: int) -> np.ndarray:
    return array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


_ROTATED = (
    _Transform(("q_proj.weight", "q_proj.bias"), _interleaved, _halves),
    _Transform(("k_proj.weight", "k_proj.bias"), _interleaved, _halves, "num_key_value_heads"),
)
_TRANSFORMS: dict[str, tuple[_Transform, ...]] = {
    "llama3": _ROTATED,
    "mistral": _ROTATED,
    "gemma3": (
        _Transform(
            ("norm.weight",),
            lambda array, _: array + array.dtype.type(1),
            lambda array, _: array - array.dtype.type(1),
            real=True,
        ),
    ),
}


def _row(family: Family, name: str) -> _Transform | None:
    return next((row for row in _TRANSFORMS.get(family.name, ()) if name.endswith(row.ends)), None)


def _heads(row: _Transform, config: Config) -> int:
    return config.get(row.heads) or config["num_attention_heads"]


def to_gguf(tensor: Tensor, family: Family, config: Config) -> Tensor:
    """The tensor as a GGUF holds it, shape the same; changed when it is loaded."""
    row = _row(family, tensor.name)
    if row is None:
        return tensor
    widened = row.real and tensor.dtype == "BF16"  # fp16 stays, as in llama.cpp's converter

    def load() -> np.ndarray:
        array = to_float32(tensor.load(), "BF16") if widened else tensor.load()
        return row.forth(array, _heads(row, config))

    return replace(tensor, dtype="F32" if widened else tensor.dtype, load=load)


def from_gguf(array: np.ndarray, name: str, family: Family, config: Config) -> np.ndarray:
    """What `to_gguf` did to the tensor of this Hugging Face name, undone; a `real` transform wants fp32."""
    row = _row(family, name)
    return array if row is None else row.back(array, _heads(row, config))


def extra_tensors(family: Family, config: Config, where: str) -> list[Tensor]:
    """Tensors that follow from config.json, by their GGUF names: factors that stretch rotary frequencies.

    Raises UsageError where the settings of the rotary embedding make no sense.
    """
    made = _EXTRA.get(family.name, lambda *_: {})(config, where)
    return [
        Tensor(name, "F32", values.shape, partial(np.asarray, values))
        for name, values in made.items()
    ]


_EXTRA: dict[str, Callable[[Config, str], dict[str, np.ndarray]]] = {
    "llama3": llama3_factors,
    "mistral": llama3_factors,
    "phi3": longrope_factors,
}
