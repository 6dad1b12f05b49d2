import math
import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import (
    Field,
    TensorInfo,
    encode_header,
    padded,
    read_header,
    tensor_bytes,
)

FIELDS = {
    "general.architecture": Field("string", "qwen2"),
    "n": Field("uint32", 7),
    "x": Field("float32", 0.5),
    "on": Field("bool", True),
    "big": Field("uint64", 1 << 60),
    "neg": Field("int32", -3),
    "names": Field("[string]", ["a", "", "naïve 東京"]),
    "types": Field("[int32]", np.array([1, -2, 3], "<i4")),
}
TENSORS = [TensorInfo("a.weight", (2, 64), "Q8_0", 0), TensorInfo("b.weight", (3,), "F32", 160)]


def build(
    path: Path, fields: dict[str, Field] = FIELDS, tensors: list[TensorInfo] = TENSORS
) -> Path:
    header = encode_header(fields, tensors)
    path.write_bytes(header + bytes(sum(padded(t.nbytes) for t in tensors)))
    return path


def same(one: object, other: object) -> bool:
    return one.tolist() == other.tolist() if isinstance(one, np.ndarray) else one == other  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("gguf") / "sound.gguf")


def test_what_was_written_is_read_back(sound: Path) -> None:
    header = read_header(sound)
    assert list(header.fields) == list(FIELDS)
    assert all(
        header.fields[k].type == f.type and same(header.get(k), f.value) for k, f in FIELDS.items()
    )
    assert list(header.tensors.values()) == TENSORS


def test_the_gguf_package_reads_the_same(sound: Path) -> None:
    reference = GGUFReader(sound)
    assert reference.fields["names"].contents() == FIELDS["names"].value
    assert reference.fields["big"].contents() == 1 << 60
    assert reference.fields["types"].contents() == [1, -2, 3]
    assert [(t.name, tuple(t.shape[::-1]), t.data_offset) for t in reference.tensors] == [
        (t.name, t.shape, read_header(sound).start + t.offset) for t in TENSORS
    ]


@pytest.mark.parametrize("type_name", ["F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K"])
def test_sizes_of_types(type_name: str) -> None:
    bits = {
        "F32": 32,
        "F16": 16,
        "BF16": 16,
        "Q4_0": 4.5,
        "Q8_0": 8.5,
        "Q4_K": 4.5,
        "Q6_K": 6.5625,
    }[type_name]
    assert tensor_bytes(type_name, (3, 512)) == 3 * 512 * bits / 8


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no GGUF file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(UsageError, match="there is no GGUF file"):
        read_header(tmp_path)
    for content in (b"", b"GGUF", b"PK\3\4" + bytes(100)):
        (tmp_path / "x.gguf").write_bytes(content)
        with pytest.raises(UsageError, match="is not a GGUF file"):
            read_header(tmp_path / "x.gguf")


def test_every_truncation_is_refused(sound: Path, tmp_path: Path) -> None:
    data = sound.read_bytes()
    last = read_header(sound)
    end = last.start + TENSORS[-1].offset + TENSORS[-1].nbytes
    for keep in range(end):
        (tmp_path / "cut.gguf").write_bytes(data[:keep])
        with pytest.raises(UsageError):
            read_header(tmp_path / "cut.gguf")
    (tmp_path / "cut.gguf").write_bytes(
        data[:end]
    )  # only the padding after the last tensor is missing
    read_header(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([TensorInfo("a", (2, 64), "Q8_0", 32)], "starts at 32"),
        ([TensorInfo("a", (2, 64), "Q8_0", 0), TensorInfo("a", (3,), "F32", 160)], "occurs twice"),
        ([TensorInfo("a", (2, 33), "Q8_0", 0)], "shape"),
        ([TensorInfo("a", (0, 32), "Q8_0", 0)], "shape"),
        ([TensorInfo("a", (1 << 31, 1 << 31, 1 << 31), "F32", 0)], "shape"),
        ([TensorInfo("a", (1, 1, 1, 1, 1), "F32", 0)], "5 dimensions"),
    ],
)
def test_a_directory_that_lies_is_refused(
    tmp_path: Path, tensors: list[TensorInfo], message: str
) -> None:
    (tmp_path / "x.gguf").write_bytes(encode_header(FIELDS, tensors) + bytes(4096))
    with pytest.raises(UsageError, match=message) as caught:
        read_header(tmp_path / "x.gguf")
    assert caught.value.fix


def test_counts_beyond_the_file_are_refused_without_allocating(tmp_path: Path) -> None:
    huge = (1 << 64) - 1
    for counts in ((huge, 0), (0, huge)):
        (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + bytes(64))
        with pytest.raises(UsageError, match="bytes"):
            read_header(tmp_path / "x.gguf")
    for item in (4, 8):  # an array of 2^64-1 numbers, or strings
        key = struct.pack("<Q1sIIQ", 1, b"k", 9, item, huge)
        (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + bytes(64))
        with pytest.raises(UsageError, match="bytes"):
            read_header(tmp_path / "x.gguf")


@pytest.mark.parametrize(
    "alignment", [Field("uint32", 0), Field("uint32", 33), Field("string", "32")]
)
def test_impossible_alignments(tmp_path: Path, alignment: Field) -> None:
    with pytest.raises(UsageError, match="alignment"):
        read_header(build(tmp_path / "x.gguf", FIELDS | {"general.alignment": alignment}))


@settings(max_examples=500)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8
    )
)
def test_damage_is_refused_or_harmless(sound: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(sound.read_bytes())
    start = read_header(sound).start
    for at, value in changes:
        data[at % start] = value
    path = sound.with_name("damaged.gguf")
    path.write_bytes(data)
    try:
        header = read_header(path)
    except UsageError:
        return
    assert all(header.start + t.offset + t.nbytes <= len(data) for t in header.tensors.values())


NUMBERS = {
    "uint8": st.integers(0, 255),
    "int8": st.integers(-128, 127),
    "uint32": st.integers(0, (1 << 32) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "string": st.text(),
}
VALUES = st.sampled_from(list(NUMBERS)).flatmap(
    lambda kind: st.one_of(
        st.builds(Field, st.just(kind), NUMBERS[kind]),
        st.builds(Field, st.just(f"[{kind}]"), st.lists(NUMBERS[kind], max_size=5)),
    )
)


@settings(max_examples=60)
@given(
    fields=st.dictionaries(
        st.text(min_size=1).filter(lambda key: key != "general.alignment"), VALUES, max_size=6
    ),
    rows=st.lists(st.integers(1, 5), max_size=4),
)
def test_any_metadata_survives(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Field], rows: list[int]
) -> None:
    tensors, at = [], 0
    for i, count in enumerate(rows):
        tensors.append(TensorInfo(f"t{i}", (count, 32), "Q4_0", at))
        at += padded(tensors[-1].nbytes)
    header = read_header(build(tmp_path_factory.getbasetemp() / "any.gguf", fields, tensors))
    assert header.fields.keys() == fields.keys()
    for key, field in fields.items():
        found = header.get(key)
        assert header.fields[key].type == field.type
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == field.value
    assert list(header.tensors.values()) == tensors
    assert header.size == header.start + sum(padded(math.prod(t.shape) // 32 * 18) for t in tensors)
