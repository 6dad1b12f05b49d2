"""Base + adapter as one lazy stream of named tensors, bit for bit what PEFT's merge_and_unload gives on a CPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.chat.template import TEMPLATE
from phoenix_forge.core.fsio import write_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed
from phoenix_forge.weights.adapter import EMBEDDING, Adapter, open_adapter
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.safetensors import Tensor
from phoenix_forge.weights.writer import MODEL_FILES, TOKENIZER_FILES, copy_side_files, write_shards

LINEAR = re.compile(r"model\.layers\.\d+\.\w+\.\w+_proj\.weight")  # what QLoRA quantises
_COLUMNS = 16_384  # of an embedding's product at a time
_BLOCK = 1_000_000  # values added at a time: they stay in the cache, and adding mixed types would be slower


Frozen = Callable[[str, Any], Any]
"""Name and stored weight of a linear layer (torch, out × in) → the weight that was there while the adapter was trained,
same shape; its type may be wider."""


def merged(
    base: ModelFolder, adapter: Adapter | None, frozen: Frozen | None = None
) -> Iterator[Tensor]:
    """Every tensor of the merged model in canonical order, merged when it is loaded. Names and shapes are those of
    `adapter.model` (the base's own, but for a resized vocabulary or embeddings no longer tied), types the base's.

    `frozen` changes the layers' matrices, with a pair or without, before anything is added to them. Raises UsageError
    before the first tensor where the adapter holds NaN or infinity, and StageFailed on loading one that DoRA cannot
    scale.
    """
    if adapter is None:
        yield from base.tensors()
        return
    adapter.require_sound()
    for name, entry in adapter.model.entries.items():
        dtype = base.entries[name if name in base.entries else f"{EMBEDDING}.weight"].dtype
        change = _added if name in adapter.pairs else _replaced if name in adapter.tokens else _cast
        yield Tensor(
            name, dtype, entry.shape, partial(_loaded, change, name, dtype, adapter, frozen)
        )


def _loaded(
    change: Callable[..., Any], name: str, dtype: str, adapter: Adapter, frozen: Frozen | None
) -> np.ndarray:
    entry = adapter.model.entries[name]
    stored = adapter.model.read(name)
    quantised = frozen is not None and LINEAR.fullmatch(name) is not None
    if change is _cast and entry.dtype == dtype and not quantised:
        return stored
    import torch

    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    tensor = torch.from_numpy(stored)
    with _one_thread():
        weight = (tensor.view(torch.bfloat16) if entry.dtype == "BF16" else tensor).to(kinds[dtype])
        if frozen and quantised:
            weight = frozen(name, weight)
        weight = change(weight, name, adapter, kinds[dtype])
    return (weight.view(torch.uint16) if dtype == "BF16" else weight).numpy()


def _cast(weight: Any, name: str, adapter: Adapter, kind: Any) -> Any:
    """What PEFT does to a tensor saved whole: it is copied into a model of the base's type."""
    return weight.to(kind)


def _replaced(weight: Any, name: str, adapter: Adapter, kind: Any) -> Any:
    """The embedding with the rows that were trained by themselves."""
    import torch

    tokens = adapter.tokens[name]
    rows = torch.from_numpy(adapter.fp32(tokens.rows)).to(kind)
    return weight.index_copy(0, torch.tensor(tokens.ids), rows)


def _added(weight: Any, name: str, adapter: Adapter, kind: Any) -> Any:
    """weight + B @ A * scaling, in fp32 over the whole matrix and rounded once to the stored type; see _dora for more.

    The whole-matrix product is part of the contract: in blocks of rows, or in NumPy, the last bits differ.
    """
    import torch

    pair = adapter.pairs[name]
    a, b = (torch.from_numpy(adapter.fp32(half)) for half in (pair.a, pair.b))
    if pair.transposed:
        return _embedded(weight, a, b, pair.scaling)
    whole = b @ a
    step = max(1, _BLOCK // whole.shape[1])
    for start in range(0, len(whole), step):  # in place: one fp32 matrix at a time
        rows = slice(start, start + step)
        whole[rows].mul_(pair.scaling).add_(weight[rows].float())
    if pair.magnitude:
        whole.mul_(_dora(name, whole, torch.from_numpy(adapter.fp32(pair.magnitude))))
    return whole.to(kind)


def _embedded(weight: Any, a: Any, b: Any, scaling: float) -> Any:
    """An embedding, whose delta PEFT rounds to the stored type before it adds it: rounded twice.

    Many thousand rows at a time: a token's row is a column of the product, of which whole blocks have the same bits as
    the whole product has (a test compares them), and at 128,256 × 8192 that would be 4.2 GB.
    """
    import torch

    out = torch.empty_like(weight)
    for start in range(0, len(weight), _COLUMNS):
        rows = slice(start, start + _COLUMNS)
        torch.add(weight[rows], (b @ a[:, rows]).mul_(scaling).t().to(weight.dtype), out=out[rows])
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps torch to the calling thread. The bits are the same for any number, and beside threads that quantise, its
    own wait for one another at every operation: ten times slower and more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _dora(name: str, whole: Any, magnitude: Any) -> Any:
    """The factor of each row of W + ΔW: m / ‖W + ΔW‖, the norm over a row's inputs (DoRA, arXiv 2402.09353, eq. 5).

    Raises StageFailed where a row is zero: it has no direction to scale, and PEFT's merge would make it NaN.
    """
    import torch

    norms = torch.linalg.norm(whole, dim=1)
    zero = int((norms == 0).sum())
    if zero:
        raise StageFailed(
            f"{name}: {zero:,} rows of base plus adapter are zero, which DoRA divides by",
            fix="leave this layer out of the adapter's targets, or train it without DoRA",
        )
    return (magnitude / norms).unsqueeze(1)


def write_merged(
    base_folder: Path,
    adapter_folder: Path | None,
    folder: Path,
    *,
    frozen: Frozen | None = None,
    report: Reporter,
) -> list[Path]:
    """Writes base + adapter as a model folder of 16-bit shards with config and tokenizer; returns its files.

    `folder` is a staging folder that the caller publishes. `frozen` as for merged(). Memory: one tensor at a time.
    """
    base = open_base(base_folder)
    adapter = open_adapter(adapter_folder, base) if adapter_folder else None
    model = adapter.model if adapter else base
    folder.mkdir(parents=True, exist_ok=True)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report.progress("merge", done, total, "B")

    tensors = list(merged(base, adapter, frozen))
    total = sum(tensor.nbytes for tensor in tensors)
    files = [
        *copy_side_files(base_folder, folder, MODEL_FILES),
        *copy_side_files(model.tokenizer, folder, TOKENIZER_FILES),
    ]
    if adapter_folder and (adapter_folder / TEMPLATE).is_file():
        files = list(dict.fromkeys([*files, *copy_side_files(adapter_folder, folder, (TEMPLATE,))]))
    if model.config != base.config:
        write_json(folder / "config.json", model.config)
    return files + write_shards(folder, tensors, on_bytes=on_bytes)
