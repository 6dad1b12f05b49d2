"""From base and adapter to GGUF files of several types in one pass: merge, quantise on all cores, write, digest.

Sizes are known before the first byte, so the header is written first and each tensor once, in order. No intermediate
file; memory is one merged tensor and a few blocks of rows a thread.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from forge.catalog.families import require_convertible
from forge.core.report import Reporter
from forge.errors import StageFailed
from forge.gguf.container import TensorInfo, encode_header, padded
from forge.gguf.metadata import metadata
from forge.gguf.names import gguf_names
from forge.gguf.quantise import quantise, to_float32
from forge.gguf.recipe import tensor_type
from forge.weights.adapter import open_adapter
from forge.weights.base import ModelFolder, open_base
from forge.weights.merge import merged
from forge.weights.safetensors import Tensor

_BLOCK = 4_000_000  # values that one job quantises: 16 MB of fp32


@dataclass(frozen=True)
class Plan:
    """One file before it is written: `header` in full, `tensors` in order of writing, `size` in bytes."""

    header: bytes
    tensors: dict[str, TensorInfo]
    size: int


def plan(base: ModelFolder, name: str, quant: str) -> Plan:
    """What a file of one type will hold; exact to the byte."""
    require_convertible(base.family, str(base.folder))
    layers = base.config["num_hidden_layers"]
    tensors: dict[str, TensorInfo] = {}
    at = 0
    for target, source in gguf_names(base.family.gguf, layers, base.entries).items():
        shape = base.entries[source].shape
        info = TensorInfo(target, shape, tensor_type(quant, target, shape, layers=layers, tied=base.tied), at)
        tensors[target] = info
        at += padded(info.nbytes)
    header = encode_header(metadata(base, name, quant), list(tensors.values()))
    return Plan(header, tensors, len(header) + at)


def expected_bytes(base_folder: Path, name: str, quant: str) -> int:
    """The size that `quantize` will write, to the byte, from headers alone."""
    return plan(open_base(base_folder), name, quant).size


def quantize(base_folder: Path, adapter_folder: Path | None, targets: dict[str, Path], *, name: str,
             threads: int | None = None, report: Reporter) -> list[dict[str, Any]]:
    """Writes one GGUF for each type → path, all from one read; returns path, type, bytes and sha256 of each.

    The paths are staging paths that the caller publishes; each file is flushed to disk. Equal inputs give equal bytes
    for any number of threads (default: all cores). Raises UsageError for inputs that do not fit together, StageFailed
    where a weight is not finite or too large for its type.
    """
    base = open_base(base_folder)
    adapter = open_adapter(adapter_folder, base) if adapter_folder else None
    plans = {quant: plan(base, name, quant) for quant in targets}
    stream = {tensor.name: tensor for tensor in merged(base, adapter)}
    order = gguf_names(base.family.gguf, base.config["num_hidden_layers"], base.entries)
    types = {target: [plans[quant].tensors[target].type for quant in targets] for target in order}
    jobs = (job for target, source in order.items() for job in _jobs(target, stream[source], types[target]))
    workers = threads or len(os.sched_getaffinity(0))
    done = 0
    with ExitStack() as stack:
        outputs = [_Output(path, stack.enter_context(open(path, "wb"))) for path in targets.values()]
        for output, planned in zip(outputs, plans.values(), strict=True):
            output.write(planned.header)
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for job, pieces in _in_order(pool, jobs, 2 * workers):
            for output, piece in zip(outputs, pieces, strict=True):
                output.write(piece.data)
                if job.last:
                    output.pad()
            done += job.rows.size
            report.progress("quantise", done, base.parameters, "parameters")
        return [output.finish(quant, planned.size)
                for output, (quant, planned) in zip(outputs, plans.items(), strict=True)]


@dataclass(frozen=True)
class _Job:
    """A block of a tensor's rows, and the ggml type that each file wants them in."""

    name: str
    dtype: str
    rows: np.ndarray
    types: list[str]
    last: bool


def _jobs(name: str, tensor: Tensor, types: list[str]) -> Iterator[_Job]:
    array = tensor.load().reshape(-1, tensor.shape[-1])
    step = max(1, _BLOCK // array.shape[1])
    for start in range(0, len(array), step):
        yield _Job(name, tensor.dtype, array[start:start + step], types, start + step >= len(array))


def _in_order(pool: ThreadPoolExecutor, jobs: Iterable[_Job], ahead: int) -> Iterator[tuple[_Job, list[np.ndarray]]]:
    """Results in the order of the jobs, at most `ahead` of them in memory."""
    waiting: deque[tuple[_Job, Future[list[np.ndarray]]]] = deque()
    try:
        for job in jobs:
            waiting.append((job, pool.submit(_encode, job)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _encode(job: _Job) -> list[np.ndarray]:
    """The block in every type wanted, each type made once."""
    values = to_float32(job.rows, job.dtype)
    largest = np.abs(values).max(initial=0)  # NaN and infinity survive the maximum
    if not np.isfinite(largest):
        raise StageFailed(f"tensor {job.name} holds NaN or infinite values", fix="forge train --force, or fetch the "
                          "base again with forge download --force")
    if largest > np.finfo(np.float16).max and "F16" in job.types:
        raise StageFailed(f"tensor {job.name} holds {largest:g}, beyond the range of F16",
                          fix="--set quantize.types=[BF16]")
    made = {kind: quantise(kind, values) for kind in dict.fromkeys(job.types)}
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
        return {"path": str(self.path), "type": quant, "bytes": self.size, "sha256": self.digest.hexdigest()}
