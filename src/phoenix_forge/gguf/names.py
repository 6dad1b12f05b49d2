"""Tensor names: Hugging Face to GGUF, and the order they are written in."""

from __future__ import annotations

from collections.abc import Iterable

from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
from gguf.tensor_mapping import get_tensor_name_map

_ARCHES = {name: arch for arch, name in MODEL_ARCH_NAMES.items()}


def gguf_names(arch: str, layers: int, names: Iterable[str]) -> dict[str, str]:
    """GGUF name → Hugging Face name, in the order of writing."""
    table = get_tensor_name_map(MODEL_ARCH[_ARCHES[arch].name], layers)
    pairs = {}
    for name in names:
        found = table.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise AssertionError(f"{name} has no GGUF name in architecture {arch}")
        pairs[found] = name
    return {name: pairs[name] for name in in_order(pairs)}


def in_order(names: Iterable[str]) -> list[str]:
    """GGUF names as llama.cpp's quantiser writes them: whole-model tensors first, then layer by layer."""
    return sorted(
        names,
        key=lambda name: (
            int(name.split(".")[1]) if name.startswith("blk.") else -1,
            name.encode(),
        ),
    )
