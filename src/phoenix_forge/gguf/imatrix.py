"""Importance matrices: how much each input column of a matrix counts when its values are rounded.

llama.cpp's file (tools/imatrix/imatrix.cpp) is a GGUF that holds, for every matrix it saw used, the sum of squares of
each input column, NAME.in_sum2, and over how many tokens it was taken, NAME.counts. Their quotient weights the columns
(tools/quantize/quantize.cpp). The embedding is looked up, not multiplied, and the output matrix is left out unless
llama-imatrix is told otherwise, so a matrix usually knows of neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phoenix_forge.core.fsio import atomic_file
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import (
    Field,
    Header,
    TensorInfo,
    encode_header,
    padded,
    read_header,
)
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.weights.base import ModelFolder

_SUMS, _COUNTS = ".in_sum2", ".counts"
_IDENTITY = "forge.imatrix.identity"
_LONGEST = 127  # bytes of a text among llama.cpp's overrides (llama_model_kv_override)
_OTHER = "name another file with quantize.imatrix, or collect one: --imatrix auto"


@dataclass(frozen=True)
class Matrix:
    """`sums` and `counts` by GGUF name: fp32 of shape (matrices, columns) and (matrices,), where only a mixture of
    experts has more than one matrix under a name. `chunks` of `chunk_size` tokens were read of `datasets`. `file` is
    the name under which a GGUF records where its weights came from, `identity` what Forge collected it from."""

    sums: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]
    datasets: tuple[str, ...]
    chunks: int
    chunk_size: int
    file: str
    identity: str | None = None

    def weights(self, name: str) -> np.ndarray | None:
        """One fp32 weight a column, or None where the matrix does not know the tensor."""
        sums, counts = self.sums.get(name), self.counts.get(name)
        if sums is None or counts is None:
            return None
        seen = counts > 0
        return np.where(
            seen[:, None], sums / np.where(seen, counts, 1)[:, None], np.float32(1)
        ).reshape(-1)

    def recorded(self) -> dict[str, Field]:
        """The metadata that llama-quantize leaves in a file made with it."""
        fields = {"file": Field("string", _cut(self.file))}
        if self.datasets:
            fields["dataset"] = Field("string", _cut(self.datasets[0]))
        fields["entries_count"] = Field("uint32", len(self.sums))
        if self.chunks > 0:
            fields["chunks_count"] = Field("uint32", self.chunks)
        return {f"quantize.imatrix.{key}": field for key, field in fields.items()}


def _cut(text: str) -> str:
    return text.encode()[:_LONGEST].decode(errors="ignore")


def write(path: Path, matrix: Matrix) -> None:
    """The file appears whole or not at all."""
    fields = {
        "general.type": Field("string", "imatrix"),
        "imatrix.datasets": Field("[string]", list(matrix.datasets)),
        "imatrix.chunk_count": Field("uint32", matrix.chunks),
        "imatrix.chunk_size": Field("uint32", matrix.chunk_size),
    }
    if matrix.identity:
        fields[_IDENTITY] = Field("string", matrix.identity)
    infos: list[TensorInfo] = []
    arrays: list[np.ndarray] = []
    at = 0
    for name in sorted(matrix.sums, key=str.encode):
        for ending, values in ((_SUMS, matrix.sums[name]), (_COUNTS, matrix.counts[name][:, None])):
            shape = (
                values.shape if len(values) > 1 else values.shape[1:]
            )  # ggml drops a last dimension of one
            infos.append(TensorInfo(name + ending, shape, "F32", at))
            arrays.append(np.ascontiguousarray(values, np.float32))
            at += padded(infos[-1].nbytes)
    with atomic_file(path) as handle:
        handle.write(encode_header(fields, infos))
        for info, array in zip(infos, arrays, strict=True):
            handle.write(array.tobytes() + bytes(padded(info.nbytes) - info.nbytes))


def read(path: Path) -> Matrix:
    """Raises UsageError where the file is no importance matrix in llama.cpp's GGUF format, damaged, or holds values
    that are negative or not finite."""
    header = read_header(path)
    if header.get("general.type") != "imatrix":
        raise UsageError(
            f"{path} is a GGUF, but no importance matrix: its general.type is "
            f"{header.get('general.type')!r}",
            fix=_OTHER,
        )
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for name in (n.removesuffix(_SUMS) for n in header.tensors if n.endswith(_SUMS)):
        if name + _COUNTS not in header.tensors:
            raise UsageError(f"{path} has {name}{_SUMS} without {name}{_COUNTS}", fix=_OTHER)
        counts[name] = _values(header, name + _COUNTS).reshape(-1)
        values = _values(header, name + _SUMS)
        if values.size % counts[name].size:
            raise UsageError(
                f"{path}: {name} has {values.size} sums for {counts[name].size} counts", fix=_OTHER
            )
        sums[name] = values.reshape(counts[name].size, -1)
    if not sums:
        raise UsageError(
            f"{path} holds no importance matrix: none of its {len(header.tensors)} tensors is called "
            f"NAME{_SUMS}",
            fix=_OTHER,
        )
    return Matrix(
        sums,
        counts,
        tuple(header.get("imatrix.datasets", ())),
        header.get("imatrix.chunk_count", 0),
        header.get("imatrix.chunk_size", 0),
        path.name,
        header.get(_IDENTITY),
    )


def _values(header: Header, name: str) -> np.ndarray:
    info = header.tensors[name]
    if info.type != "F32":
        raise UsageError(f"{header.path}: {name} is {info.type}, expected F32", fix=_OTHER)
    with open(header.path, "rb") as handle:
        handle.seek(header.start + info.offset)
        values = np.frombuffer(handle.read(info.nbytes), np.float32)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise UsageError(
            f"{header.path}: {name} holds values that are negative or not finite", fix=_OTHER
        )
    return values


def require_fitting(matrix: Matrix, base: ModelFolder, where: str) -> None:
    """Raises UsageError for a matrix of another model: with no tensor of this one, or of another width.

    llama.cpp lets the embedding's width pass, and a matrix none of whose tensors are the model's.
    """
    names = gguf_names(base.family.gguf, base.config["num_hidden_layers"], base.entries)
    known = [name for name in names if name in matrix.sums]
    if not known:
        raise UsageError(
            f"{where} is of another model: it knows none of this one's {len(names)} tensors",
            fix=_OTHER,
        )
    for name in known:
        columns = base.entries[names[name]].shape[-1]
        if matrix.sums[name].size != columns and name != "token_embd.weight":
            raise UsageError(
                f"{where} is of another model: {name} has {matrix.sums[name].size} columns in it, here "
                f"{columns}",
                fix=_OTHER,
            )
