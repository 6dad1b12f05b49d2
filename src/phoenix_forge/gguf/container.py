"""The GGUF container, version 3: metadata and tensor directory, read with every count and offset checked, and written.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, counts, metadata, tensor infos,
padding, tensor data. Files come from strangers, so nothing is allocated or sliced before it is known to lie inside the
file, and no more is read than a real header has. The reader is ours because gguf.GGUFReader builds a NumPy view for
each of 300,000 strings: 9 s for a Qwen2 file, against 0.2 s here.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from phoenix_forge.errors import UsageError, one_line

MAGIC: Final = b"GGUF"
VERSION: Final = 3
ALIGNMENT: Final = 32  # bytes; the default, and what Forge writes
_MAX_DIMS: Final = 4
# Far above what real files have (500,000 tokens and their merges: 20 MB; 2,000 tensors), so that a file of a few kB, or
# one with holes, cannot ask for gigabytes of Python objects.
_HEADER_LIMIT: Final = 64_000_000  # bytes before the tensor data
_ENTRY_LIMIT: Final = 100_000  # metadata entries, and tensors
_ALIGNMENT_LIMIT: Final = 1 << 16
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
_NUMBERS = {
    "uint8": 0,
    "int8": 1,
    "uint16": 2,
    "int16": 3,
    "uint32": 4,
    "int32": 5,
    "float32": 6,
    "bool": _BOOL,
    "string": _STRING,
    "uint64": 10,
    "int64": 11,
    "float64": 12,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_IDS = ("uint32", "int32", "uint64", "int64")
# The standard's own keys that anything here reads, with the types they may have.
_TYPES: dict[str, tuple[str, ...]] = {
    "general.architecture": ("string",),
    "general.name": ("string",),
    "general.alignment": ("uint32", "uint64"),
    "tokenizer.ggml.model": ("string",),
    "tokenizer.ggml.pre": ("string",),
    "tokenizer.chat_template": ("string",),
    "tokenizer.ggml.tokens": ("[string]",),
    "tokenizer.ggml.merges": ("[string]",),
    "tokenizer.ggml.scores": ("[float32]",),
    "tokenizer.ggml.token_type": ("[int32]", "[uint32]"),
    **{f"tokenizer.ggml.{role}_token_id": _IDS for role in ("bos", "eos", "unknown", "padding")},
    **{
        f"tokenizer.ggml.{flag}": ("bool",)
        for flag in ("add_bos_token", "add_eos_token", "add_space_prefix")
    },
}


@dataclass(frozen=True)
class Field:
    """One metadata value. `type` is a scalar type's name, or "[uint32]" for an array of them.

    Arrays of strings are lists, arrays of numbers NumPy arrays.
    """

    type: str
    value: Any


@dataclass(frozen=True)
class TensorInfo:
    """`shape` is in row-major order, rows first, as NumPy and torch have it; `offset` counts from the data's start."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int

    @property
    def nbytes(self) -> int:
        return tensor_bytes(self.type, self.shape)


@dataclass(frozen=True)
class Header:
    """Everything before the tensor data. `start` is the data's first byte, `size` the file's length."""

    path: Path
    fields: dict[str, Field]
    tensors: dict[str, TensorInfo]
    alignment: int
    start: int
    size: int

    def get(self, key: str, default: Any = None) -> Any:
        found = self.fields.get(key)
        return default if found is None else found.value


def tensor_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor's data without padding."""
    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[type_name]]
    return math.prod(shape) // block * size


def block_size(type_name: str) -> int:
    """Values that a type packs together; a row must be a multiple of it."""
    return GGML_QUANT_SIZES[GGMLQuantizationType[type_name]][0]


def padded(count: int, alignment: int = ALIGNMENT) -> int:
    return -(-count // alignment) * alignment


class _Cursor:
    """Reads forward through the file; every step is checked against its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size, self.at = path, data, len(data), 0
        self.end = min(self.size, _HEADER_LIMIT)

    def refuse(self, problem: str) -> UsageError:
        return UsageError(
            f"{self.path} is not a sound GGUF file: {one_line(problem)} (at byte {self.at:,} of "
            f"{self.size:,})",
            fix="fetch or build the file again; it is damaged or incomplete",
        )

    def need(self, count: int, what: str) -> None:
        if count > self.end - self.at:
            raise self.refuse(
                f"{what} needs {count:,} bytes, {self.end - self.at:,} are left{self.limited}"
            )

    @property
    def limited(self) -> str:
        return f" of the {_HEADER_LIMIT:,} that a header may take" if self.end < self.size else ""

    def scalar(self, number: int, what: str) -> Any:
        unpacker = struct.Struct("<" + _SCALARS[number])
        self.need(unpacker.size, what)
        value = unpacker.unpack_from(self.data, self.at)[0]
        self.at += unpacker.size
        return bool(value) if number == _BOOL else value

    def u32(self, what: str) -> int:
        return self.scalar(4, what)

    def u64(self, what: str) -> int:
        return self.scalar(10, what)

    def string(self, what: str) -> str:
        return self.strings(1, what)[0]

    def strings(self, count: int, what: str) -> list[str]:
        # The hot loop: 300,000 strings in a Qwen2 file, hence the local names.
        self.need(8 * count, what)
        found: list[str] = []
        data, limit, at, unpack = self.data, self.end, self.at, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                end = at + 8 + unpack(data, at)[0]
                if end > limit:
                    raise self.refuse(
                        f"string {len(found):,} of {what} reaches byte {end:,}{self.limited}"
                    )
                found.append(data[at + 8 : end].decode())
                at = end
        except UnicodeDecodeError:
            raise self.refuse(f"string {len(found):,} of {what} is not UTF-8") from None
        except struct.error:
            raise self.refuse(f"{what} ends after {len(found):,} of {count:,} strings") from None
        self.at = at
        return found

    def field(self, key: str) -> Field:
        number = self.u32(key)
        if number == _ARRAY:
            number, count = self.u32(key), self.u64(key)
            if number == _STRING:
                return Field("[string]", self.strings(count, key))
            if number not in _SCALARS:
                raise self.refuse(f"{key} is an array of unsupported type {number}")
            dtype = np.dtype("<" + _SCALARS[number]) if number != _BOOL else np.dtype("?")
            self.need(count * dtype.itemsize, key)
            array = np.frombuffer(self.data, "u1" if number == _BOOL else dtype, count, self.at)
            self.at += array.nbytes
            return Field(f"[{_NAMES[number]}]", array != 0 if number == _BOOL else array.copy())
        if number == _STRING:
            return Field("string", self.string(key))
        if number not in _SCALARS:
            raise self.refuse(f"{key} has unsupported type {number}")
        return Field(_NAMES[number], self.scalar(number, key))

    def tensor(self) -> TensorInfo:
        name = self.string("a tensor's name")
        dimensions = self.u32(name)
        if not 1 <= dimensions <= _MAX_DIMS:
            raise self.refuse(f"tensor {name} has {dimensions} dimensions")
        shape = tuple(self.u64(name) for _ in range(dimensions))[::-1]
        number, offset = self.u32(name), self.u64(name)
        try:
            type_name = GGMLQuantizationType(number).name
        except ValueError:
            raise self.refuse(f"tensor {name} has unknown type {number}") from None
        if not all(shape) or math.prod(shape) >= 1 << 63 or shape[-1] % block_size(type_name):
            raise self.refuse(f"tensor {name} ({type_name}) has shape {list(shape)}")
        return TensorInfo(name, shape, type_name, offset)


def read_header(path: Path) -> Header:
    """Metadata and tensor directory. Reads no tensor data.

    Raises UsageError where the file is no GGUF, or anything in it lies about a count, length or offset, or it is cut
    short. As in llama.cpp, tensors must follow one another in the order of the directory, each padded to the alignment.
    """
    if not path.is_file():  # nothing, a folder, or a pipe that never ends
        raise UsageError(f"there is no GGUF file {path}", fix="forge quantize")
    with open(path, "rb") as handle:
        if path.stat().st_size < 24 or handle.read(4) != MAGIC:
            raise UsageError(f"{path} is not a GGUF file", fix="name a file that ends in .gguf")
        data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    with data:
        return _parse(_Cursor(path, data))


def _parse(cursor: _Cursor) -> Header:
    cursor.at = 4
    version = cursor.u32("the version")
    if version not in (2, VERSION):
        order = (
            "big-endian, which is"
            if version and not version & 0xFFFF
            else f"of version {version}, which is"
        )
        raise cursor.refuse(f"it is {order} not supported (little-endian versions 2 and 3 are)")
    tensor_count, field_count = cursor.u64("the tensor count"), cursor.u64("the metadata count")
    if max(tensor_count, field_count) > _ENTRY_LIMIT:
        raise cursor.refuse(
            f"it is said to hold {tensor_count:,} tensors and {field_count:,} metadata entries; "
            f"{_ENTRY_LIMIT:,} of each, and their bytes, are the most that is read"
        )
    fields: dict[str, Field] = {}
    cursor.need(12 * field_count, "the metadata")  # the least that an entry takes
    for _ in range(field_count):
        key = cursor.string("a metadata key")
        if key in fields:
            raise cursor.refuse(f"metadata key {key} occurs twice")
        fields[key] = cursor.field(key)
        if fields[key].type not in _TYPES.get(key, (fields[key].type,)):
            raise cursor.refuse(
                f"{key} is of type {fields[key].type}, expected {' or '.join(_TYPES[key])}"
            )
    alignment = fields["general.alignment"].value if "general.alignment" in fields else ALIGNMENT
    if not 8 <= alignment <= _ALIGNMENT_LIMIT or alignment & (alignment - 1):
        raise cursor.refuse(f"the alignment is {alignment!r}")
    tensors: dict[str, TensorInfo] = {}
    expected = 0
    cursor.need(32 * tensor_count, "the tensor directory")
    for _ in range(tensor_count):
        info = cursor.tensor()
        if info.name in tensors:
            raise cursor.refuse(f"tensor {info.name} occurs twice")
        if info.offset != expected:
            raise cursor.refuse(
                f"tensor {info.name} starts at {info.offset:,} of the data, expected {expected:,}"
            )
        tensors[info.name] = info
        expected += padded(info.nbytes, alignment)
    start = padded(cursor.at, alignment)
    last = next(reversed(tensors.values()), None)
    end = start + (last.offset + last.nbytes if last else 0)
    if end > cursor.size:
        raise UsageError(
            f"{cursor.path} is cut short: its tensors end at byte {end:,}, the file has {cursor.size:,}",
            fix="fetch or build the file again",
        )
    return Header(cursor.path, fields, tensors, alignment, start, cursor.size)


def encode_header(fields: dict[str, Field], tensors: list[TensorInfo]) -> bytes:
    """The file's bytes up to the tensor data, padding included."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(fields))]
    for key, item in fields.items():
        parts += [_string(key), _value(item)]
    for info in tensors:
        parts += [
            _string(info.name),
            struct.pack("<I", len(info.shape)),
            struct.pack(f"<{len(info.shape)}Q", *info.shape[::-1]),
            struct.pack("<IQ", GGMLQuantizationType[info.type].value, info.offset),
        ]
    raw = b"".join(parts)
    return raw + bytes(padded(len(raw)) - len(raw))


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(item: Field) -> bytes:
    if item.type.startswith("["):
        number = _NUMBERS[item.type[1:-1]]
        head = struct.pack("<IIQ", _ARRAY, number, len(item.value))
        if number == _STRING:
            return head + b"".join(map(_string, item.value))
        return head + np.asarray(item.value).astype("<" + _SCALARS[number]).tobytes()
    number = _NUMBERS[item.type]
    raw = (
        _string(item.value)
        if number == _STRING
        else struct.pack("<" + _SCALARS[number], item.value)
    )
    return struct.pack("<I", number) + raw
