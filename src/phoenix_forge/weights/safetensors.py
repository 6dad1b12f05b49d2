"""The safetensors container: a checked header, memory-mapped tensors, and a writer that never holds a model.

Format: 8 bytes little-endian header length, a JSON object {name: {dtype, shape, data_offsets}}, then the data, which
the tensors fill without gaps (https://github.com/huggingface/safetensors#format). Files from outside are not trusted:
every offset is checked before use. BF16 has no NumPy type, so its arrays hold the raw bits as uint16.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np

from phoenix_forge.errors import UsageError, one_line

# What weights may be stored as.
NUMPY: dict[str, np.dtype] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
# A tensor takes some 130 bytes, a large shard 100 kB. The reference's own limit is 100 MB, of which JSON could make GB.
_HEADER_LIMIT = 16_000_000
_PICKLES = (
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
    b"PK\x03\x04",
)  # bare, and in torch's archives
_AGAIN = "fetch the file again (forge download --force); it is damaged or incomplete"


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: `start` is its byte offset in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * _SIZES[self.dtype]


@dataclass(frozen=True)
class Tensor:
    """A named tensor that is read or computed only when `load` is called; BF16 arrays hold raw bits as uint16."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], np.ndarray]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * NUMPY[self.dtype].itemsize


def _refuse(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} is not a sound safetensors file: {one_line(problem)}", fix=_AGAIN)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"{Counter(name for name, _ in pairs).most_common(1)[0][0]} occurs twice")
    return value


def _counts(value: object) -> TypeGuard[list[int]]:
    """Whether it is a list of 64-bit sizes. No more than 8: larger ones would make products of any length."""
    return (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(v) is int and 0 <= v < 1 << 63 for v in value)
    )


def read_header(path: Path) -> dict[str, Entry]:
    """Name → entry, in the order of their data. Reads the header only.

    Raises UsageError where the header is broken, its offsets lie, or the file is shorter or longer than it says.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise _refuse(path, "it is a folder, a pipe or a device")
    with open(path, "rb") as handle:
        start = handle.read(8)
        if len(start) < 8:
            raise _refuse(path, f"it has {size} bytes")
        length = struct.unpack("<Q", start)[0]
        if length > min(_HEADER_LIMIT, size - 8):
            if start.startswith(_PICKLES):
                raise UsageError(
                    f"{path} is a pickle under another name: refused, a pickle can run code when it is "
                    "loaded",
                    fix="choose a model that ships safetensors",
                )
            raise _refuse(
                path,
                f"its header is said to have {length:,} bytes, the file has {size:,}; at most "
                f"{_HEADER_LIMIT:,} are read",
            )
        raw = handle.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _refuse(path, f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _refuse(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    entries: dict[str, Entry] = {}
    spans = sorted(((_span(path, name, row), name) for name, row in header.items()))
    at = 0
    for (begin, end), name in spans:
        if begin != at:
            raise _refuse(
                path, f"tensor {name} starts at byte {begin:,} of the data, expected {at:,}"
            )
        row = header[name]
        entries[name] = Entry(path, row["dtype"], tuple(row["shape"]), 8 + length + begin)
        at = end
    if 8 + length + at != size:
        raise _refuse(
            path, f"header and tensors take {8 + length + at:,} bytes, the file has {size:,}"
        )
    return entries


def _span(path: Path, name: str, row: Any) -> tuple[int, int]:
    """The tensor's begin and end within the data, checked against its type and shape."""
    if not isinstance(row, dict):
        raise _refuse(path, f"tensor {name} is described by {row!r}")
    dtype, shape, offsets = row.get("dtype"), row.get("shape"), row.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _SIZES:
        raise _refuse(path, f"tensor {name} has unknown type {dtype!r}")
    if not _counts(shape) or not _counts(offsets) or len(offsets) != 2:
        raise _refuse(path, f"tensor {name} has shape {shape!r} and offsets {offsets!r}")
    begin, end = offsets
    if end - begin != math.prod(shape) * _SIZES[dtype]:
        raise _refuse(
            path,
            f"tensor {name} ({dtype} {shape}) spans {end - begin:,} bytes, its shape needs "
            f"{math.prod(shape) * _SIZES[dtype]:,}",
        )
    return begin, end


class Files:
    """Memory maps of weight files, each opened once. Pages are the file's own: they cost no anonymous memory, and those
    of the tensor read before are let go, so that resident memory does not grow to the model's size either."""

    def __init__(self) -> None:
        self._maps: dict[Path, mmap.mmap] = {}
        self._last: Entry | None = None

    def read(self, entry: Entry) -> np.ndarray:
        """The tensor as a view of the file. Writing to it is possible (torch asks for that), never reaches disk, and is
        lost when the next tensor is read; reading it later is safe."""
        if not entry.nbytes:
            return np.zeros(entry.shape, NUMPY[entry.dtype])
        if self._last and self._last != entry:
            _let_go(self._maps[self._last.path], self._last)
        self._last = entry
        if entry.path not in self._maps:
            with open(entry.path, "rb") as handle:
                self._maps[entry.path] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        flat = np.frombuffer(
            self._maps[entry.path], NUMPY[entry.dtype], math.prod(entry.shape), entry.start
        )
        return flat.reshape(entry.shape)


def _let_go(mapped: mmap.mmap, entry: Entry) -> None:
    """Unmaps a tensor's pages; whoever still looks at them gets them from the file again."""
    start = entry.start // mmap.PAGESIZE * mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED, start, entry.start + entry.nbytes - start)


def write(
    path: Path, tensors: Sequence[Tensor], on_bytes: Callable[[int], None] | None = None
) -> None:
    """Writes one file: the header from names and shapes, then each tensor as it is loaded.

    Flushed to disk. The metadata says {"format": "pt"}, without which transformers refuses a file.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # data starts aligned
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(raw)) + raw)
        for tensor in tensors:
            size = _write_tensor(out, tensor)
            if on_bytes:
                on_bytes(size)
        out.flush()
        os.fsync(out.fileno())


def _write_tensor(out: IO[bytes], tensor: Tensor) -> int:
    """A function of its own, so that the array is gone before the next is made."""
    array = np.ascontiguousarray(tensor.load())
    if array.dtype != NUMPY[tensor.dtype] or array.shape != tensor.shape:
        raise AssertionError(
            f"{tensor.name}: planned {tensor.dtype} {tensor.shape}, got {array.dtype} {array.shape}"
        )
    out.write(array.reshape(-1).view(np.uint8).data)
    return array.nbytes
