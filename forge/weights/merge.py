"""Base + adapter as one lazy stream of named tensors, bit for bit what PEFT's merge_and_unload gives on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from forge.core.report import Reporter
from forge.errors import StageFailed
from forge.weights.adapter import Adapter, open_adapter
from forge.weights.base import ModelFolder, open_base
from forge.weights.safetensors import Tensor
from forge.weights.writer import copy_side_files, write_shards


def merged(base: ModelFolder, adapter: Adapter | None) -> Iterator[Tensor]:
    """Every tensor of the base in canonical order, name, dtype and shape unchanged, merged when it is loaded.

    Raises UsageError before the first one where the adapter holds NaN or infinity, and StageFailed on loading one that
    DoRA cannot scale.
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
    """weight + B @ A * scaling, in fp32 over the whole matrix and rounded once to the stored type; see _dora for more.

    The whole-matrix product is part of the contract: in blocks of rows, or in NumPy, the last bits differ.
    """
    import torch

    pair = adapter.pairs[tensor.name]
    a, b = (torch.from_numpy(adapter.fp32(half)) for half in (pair.a, pair.b))
    stored = torch.from_numpy(tensor.load())
    weight = stored.view(torch.bfloat16) if tensor.dtype == "BF16" else stored
    whole = (b @ a).mul_(pair.scaling).add_(weight)  # in place: one fp32 matrix at a time
    if pair.magnitude:
        whole.mul_(_dora(tensor.name, whole, torch.from_numpy(adapter.fp32(pair.magnitude))))
    whole = whole.to(weight.dtype)
    return (whole.view(torch.uint16) if tensor.dtype == "BF16" else whole).numpy()


def _dora(name: str, whole: Any, magnitude: Any) -> Any:
    """The factor of each row of W + ΔW: m / ‖W + ΔW‖, the norm over a row's inputs (DoRA, arXiv 2402.09353, eq. 5).

    Raises StageFailed where a row is zero: it has no direction to scale, and PEFT's merge would make it NaN.
    """
    import torch

    norms = torch.linalg.norm(whole, dim=1)
    zero = int((norms == 0).sum())
    if zero:
        raise StageFailed(f"{name}: {zero:,} rows of base plus adapter are zero, which DoRA divides by",
                          fix="leave this layer out of the adapter's targets, or train it without DoRA")
    return (magnitude / norms).unsqueeze(1)


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
