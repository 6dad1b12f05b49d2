"""Base + adapter as one lazy stream of named tensors, bit for bit what PEFT's merge_and_unload gives on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from forge.core.report import Reporter
from forge.weights.adapter import Adapter, open_adapter
from forge.weights.base import ModelFolder, open_base
from forge.weights.safetensors import Tensor
from forge.weights.writer import copy_side_files, write_shards


def merged(base: ModelFolder, adapter: Adapter | None) -> Iterator[Tensor]:
    """Every tensor of the base in canonical order, name, dtype and shape unchanged, merged when it is loaded.

    Raises UsageError before the first one where the adapter holds NaN or infinity.
    """
    if adapter is None:
        yield from base.tensors()
        return
    adapter.require_finite()
    for tensor in base.tensors():
        if tensor.name in adapter.pairs:
            yield Tensor(tensor.name, tensor.dtype, tensor.shape, partial(_merge, tensor, adapter))
        else:
            yield tensor


def _merge(tensor: Tensor, adapter: Adapter) -> np.ndarray:
    """weight + B @ A * scaling: the product in fp32 over the whole matrix, added to the stored weight, rounded once.

    The whole-matrix product is part of the contract: in blocks of rows, or in NumPy, the last bits differ.
    """
    import torch

    a, b = (torch.from_numpy(half) for half in adapter.halves(tensor.name))
    delta = (b @ a) * adapter.pairs[tensor.name].scaling
    stored = torch.from_numpy(tensor.load())
    weight = (stored.view(torch.bfloat16) if tensor.dtype == "BF16" else stored).clone()
    weight += delta
    return (weight.view(torch.uint16) if tensor.dtype == "BF16" else weight).numpy()


def write_merged(base_folder: Path, adapter_folder: Path | None, folder: Path, *, report: Reporter) -> list[Path]:
    """Writes base + adapter as a model folder of 16-bit shards with the base's config and tokenizer; returns its files.

    `folder` is a staging folder that the caller publishes. Memory: one tensor at a time.
    """
    base = open_base(base_folder)
    adapter = open_adapter(adapter_folder, base) if adapter_folder else None
    folder.mkdir(parents=True, exist_ok=True)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report.progress("merge", done, base.nbytes, "B")

    files = copy_side_files(base_folder, folder)
    return files + write_shards(folder, merged(base, adapter), on_bytes=on_bytes)
