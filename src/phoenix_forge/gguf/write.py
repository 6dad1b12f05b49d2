"""From base and adapter to GGUF files of several types in one pass: merge, quantise on all cores, write, digest.

Sizes are known before the first byte, so the header is written first and each tensor once, in order. No intermediate
file; memory is one merged tensor and a few blocks of rows a thread.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np

from phoenix_forge.catalog.quants import quant as row
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed
from phoenix_forge.gguf.container import TensorInfo, encode_header, padded, tensor_bytes
from phoenix_forge.gguf.imatrix import Matrix, require_fitting
from phoenix_forge.gguf.metadata import metadata
from phoenix_forge.gguf.names import gguf_names, in_order
from phoenix_forge.gguf.quantization import quantize_rows, to_float32
from phoenix_forge.gguf.recipe import facts, tensor_type
from phoenix_forge.gguf.transforms import extra_tensors, to_gguf
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.merge import Frozen, merged
from phoenix_forge.weights.safetensors import Tensor

_BLOCK = (
    250_000  # values that one job quantises: 1 MB of fp32 for each thread, which stays in its cache
)
# Bytes of rows and results in flight: as much as the largest matrix, which is merged meanwhile, between these two.
_AHEAD, _FAR_AHEAD = 16_000_000, 128_000_000


@dataclass(frozen=True)
class GGUFLayout:
    """One file before it is written: `header` in full, `tensors` in order of writing, `size` in bytes."""

    header: bytes
    tensors: dict[str, TensorInfo]
    size: int


def layout(base: ModelFolder, name: str, quant: str, matrix: Matrix | None = None) -> GGUFLayout:
    """What a file of one type will hold; exact to the byte. A type that no importance matrix changes records none."""
    matrix = matrix if row(quant).weighted else None
    model = facts(base, matrix is not None)
    shapes = {target: base.entries[source].shape for target, source in _sources(base).items()}
    shapes |= {extra.name: extra.shape for extra in _extra(base)}
    tensors: dict[str, TensorInfo] = {}
    at = 0
    for target in in_order(shapes):
        shape = shapes[target]
        info = TensorInfo(target, shape, tensor_type(quant, target, shape, model), at)
        tensors[target] = info
        at += padded(info.nbytes)
    parameters = sum(map(math.prod, shapes.values()))
    fields = metadata(base, name, quant, parameters) | (matrix.recorded() if matrix else {})
    header = encode_header(fields, list(tensors.values()))
    return GGUFLayout(header, tensors, len(header) + at)


def _sources(base: ModelFolder) -> dict[str, str]:
    """GGUF name → Hugging Face name."""
    return gguf_names(base.family.gguf, base.config["num_hidden_layers"], base.entries)


def _extra(base: ModelFolder) -> list[Tensor]:
    return extra_tensors(base.family, base.config, str(base.folder / "config.json"))


def expected_bytes(base_folder: Path, name: str, quant: str) -> int:
    """The size that `quantize` will write, to the byte, from headers alone."""
    return layout(open_base(base_folder), name, quant).size


def quantize(
    base_folder: Path,
    adapter_folder: Path | None,
    targets: dict[str, Path],
    *,
    name: str,
    threads: int | None = None,
    matrix: Matrix | None = None,
    frozen: Frozen | None = None,
    report: Reporter,
) -> list[dict[str, Any]]:
    """Writes one GGUF for each type → path, all from one read; returns path, type, bytes and sha256 of each.

    The paths are staging paths that the caller publishes; each file is flushed to disk. Equal inputs give equal bytes
    for any number of threads (default: all cores). `matrix` weights what is lost in rounding; `frozen` as for
    phoenix_forge.weights.merge.merged. Raises UsageError for
    inputs that do not fit together, StageFailed where a weight is not finite or too large for its type.
    """
    base = open_base(base_folder)
    adapter = open_adapter(adapter_folder, base) if adapter_folder else None
    model = adapter.model if adapter else base  # what is written: with the adapter's vocabulary
    if matrix:
        require_fitting(matrix, model, matrix.file)
    layouts = {quant: layout(model, name, quant, matrix) for quant in targets}
    stream = {tensor.name: tensor for tensor in merged(base, adapter, frozen)}
    tensors = {
        target: to_gguf(stream[source], model.family, model.config)
        for target, source in _sources(model).items()
    } | {extra.name: extra for extra in _extra(model)}
    order = in_order(tensors)
    types = {target: [layouts[quant].tensors[target].type for quant in targets] for target in order}
    weights = {target: matrix.weights(target) if matrix else None for target in order}
    jobs = chain.from_iterable(
        _jobs(target, tensors[target], types[target], weights[target]) for target in order
    )
    workers = threads or len(os.sched_getaffinity(0))
    largest = max(
        (t.nbytes for t in stream.values() if adapter and t.name in adapter.pairs), default=0
    )
    ahead = min(max(_AHEAD, largest), _FAR_AHEAD)
    done, parameters = 0, model.parameters
    with ExitStack() as stack:
        outputs = [
            _Output(path, stack.enter_context(open(path, "wb"))) for path in targets.values()
        ]
        for output, planned in zip(outputs, layouts.values(), strict=True):
            output.write(planned.header)
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for block, pieces in _in_order(pool, jobs, ahead):
            for output, piece in zip(outputs, pieces, strict=True):
                output.write(piece.data)
                if block.last:
                    output.pad()
            done += block.values
            report.progress("quantise", done, parameters, "parameters")
        return [
            output.finish(quant, planned.size)
            for output, (quant, planned) in zip(outputs, layouts.items(), strict=True)
        ]


@dataclass(frozen=True)
class _Job:
    """A block of a tensor's rows, the ggml type that each file wants them in, and the columns' importance."""

    name: str
    dtype: str
    rows: np.ndarray
    types: list[str]
    weights: np.ndarray | None
    last: bool


@dataclass(frozen=True)
class _Block:
    """What is left to know of a job while its result waits; its rows would keep a whole tensor in memory."""

    values: int
    nbytes: int  # of rows and results
    last: bool

    @classmethod
    def of(cls, job: _Job) -> _Block:
        results = sum(tensor_bytes(kind, job.rows.shape) for kind in job.types)
        return cls(job.rows.size, job.rows.nbytes + results, job.last)


def _jobs(
    name: str, tensor: Tensor, types: list[str], weights: np.ndarray | None
) -> Iterator[_Job]:
    array = tensor.load().reshape(-1, tensor.shape[-1])
    if weights is not None and len(weights) != array.shape[1]:
        weights = None  # of the embedding, which llama.cpp lets pass
    step = max(1, _BLOCK // array.shape[1])
    for start in range(0, len(array), step):
        yield _Job(
            name,
            tensor.dtype,
            array[start : start + step],
            types,
            weights,
            start + step >= len(array),
        )


def _in_order(
    pool: ThreadPoolExecutor, jobs: Iterable[_Job], ahead: int
) -> Iterator[tuple[_Block, list[np.ndarray]]]:
    """Results in the order of the jobs, at most `ahead` bytes of jobs in flight, however many threads there are."""
    waiting: deque[tuple[_Block, Future[list[np.ndarray]]]] = deque()
    size = 0
    try:
        for job in jobs:
            block = _Block.of(job)
            waiting.append((block, pool.submit(_encode, job)))
            del job  # the next one may be of another tensor, which is loaded meanwhile
            size += block.nbytes
            while size > ahead:
                first, future = waiting.popleft()
                size -= first.nbytes
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def quantized_blocks(name: str, rows: np.ndarray, dtype: str, kind: str) -> Iterator[np.ndarray]:
    """A matrix in one ggml type, a few rows at a time, made on all cores."""
    step = max(1, _BLOCK // rows.shape[1])
    jobs = (
        _Job(name, dtype, rows[start : start + step], [kind], None, False)
        for start in range(0, len(rows), step)
    )
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _, (piece,) in _in_order(pool, jobs, _AHEAD):
            yield piece


def _encode(job: _Job) -> list[np.ndarray]:
    """The block in every type wanted, each type made once."""
    values = to_float32(job.rows, job.dtype)
    largest = np.maximum(
        values.max(initial=0), -values.min(initial=0)
    )  # NaN and infinity survive the maximum
    if not np.isfinite(largest):
        raise StageFailed(
            f"tensor {job.name} holds NaN or infinite values",
            fix="forge train --force, or fetch the base again with forge download --force",
        )
    if largest > np.finfo(np.float16).max and "F16" in job.types:
        raise StageFailed(
            f"tensor {job.name} holds {largest:g}, beyond the range of F16",
            fix="--set quantize.types=[BF16]",
        )
    made = {kind: quantize_rows(kind, values, job.weights) for kind in dict.fromkeys(job.types)}
    return [made[kind] for kind in job.types]


class _Output:
    """One file being written, its digest and its length."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path, self.handle = path, handle
        self.digest, self.size = hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self.handle.write(data)
        self.digest.update(data)
        self.size += len(data)

    def pad(self) -> None:
        """Zeros up to the next tensor; the header's length is a multiple of the alignment already."""
        self.write(bytes(padded(self.size) - self.size))

    def finish(self, quant: str, planned: int) -> dict[str, Any]:
        if self.size != planned:
            raise AssertionError(f"{self.path}: wrote {self.size} bytes, planned {planned}")
        self.handle.flush()
        os.fsync(self.handle.fileno())
        return {
            "path": str(self.path),
            "type": quant,
            "bytes": self.size,
            "sha256": self.digest.hexdigest(),
        }
