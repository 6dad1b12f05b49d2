import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from phoenix_forge.errors import UsageError
from phoenix_forge.weights.safetensors import Files, Tensor, read_header, write

ARRAYS = {
    "a": np.arange(6, dtype="<f4").reshape(2, 3),
    "b": np.arange(4, dtype="<f2"),
    "c": np.array([[0x3F80, 0x4000]], "<u2"),
}
DTYPES = {"a": "F32", "b": "F16", "c": "BF16"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    write(path, [Tensor(n, DTYPES[n], a.shape, lambda a=a: a) for n, a in ARRAYS.items()])
    return path


def with_header(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def test_the_reference_library_reads_what_we_write(sound: Path) -> None:
    with safe_open(sound, "pt") as reference:
        assert reference.metadata() == {"format": "pt"}
        assert reference.get_tensor("a").numpy().tolist() == ARRAYS["a"].tolist()
        assert reference.get_tensor("b").numpy().tolist() == ARRAYS["b"].tolist()
        assert reference.get_tensor("c").float().numpy().tolist() == [[1.0, 2.0]]


def test_what_was_written_is_read_back(sound: Path) -> None:
    files, entries = Files(), read_header(sound)
    assert list(entries) == ["a", "b", "c"]
    for name, array in ARRAYS.items():
        assert files.read(entries[name]).tobytes() == array.tobytes()


def test_writing_to_a_read_tensor_does_not_reach_the_file(sound: Path) -> None:
    files, entries = Files(), read_header(sound)
    before = sound.read_bytes()
    files.read(entries["a"])[:] = 7
    assert sound.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 7, 8, 40, -1])
def test_a_truncated_file_is_refused_with_both_sizes(
    sound: Path, tmp_path: Path, keep: int
) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(sound.read_bytes()[:keep])
    with pytest.raises(UsageError, match=str(path.stat().st_size)) as caught:
        read_header(path)
    assert caught.value.fix


def test_trailing_bytes_are_refused(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(sound.read_bytes() + b"x")
    with pytest.raises(UsageError, match="the file has"):
        read_header(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "its shape needs 8"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "expected 0"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}, "shape"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0]}, "offsets"),
        ({"dtype": "Q4", "shape": [1], "data_offsets": [0, 4]}, "unknown type 'Q4'"),
        ({"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}, "unknown type"),
        ({"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 4]}, "its shape needs"),
        ("F32", "described by 'F32'"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_header(with_header(tmp_path / "x.safetensors", {"t": row}, bytes(4)))


@pytest.mark.parametrize("raw", [b"[]", b"{", b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 50_000])
def test_a_header_that_is_no_object_is_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(UsageError, match="header"):
        read_header(with_header(tmp_path / "x.safetensors", raw))


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    row = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    with pytest.raises(UsageError, match="expected 4"):
        read_header(with_header(tmp_path / "x.safetensors", {"a": row, "b": row}, bytes(4)))


@settings(max_examples=300)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_damage_is_refused_or_harmless(sound: Path, at: int, value: int, cut: int) -> None:
    """Any byte changed, any tail lost: a UsageError, or entries that lie inside the file."""
    data = bytearray(sound.read_bytes())
    data[at % len(data)] = value
    path = sound.with_name("damaged.safetensors")
    path.write_bytes(data[: len(data) - cut])
    try:
        entries = read_header(path)
    except UsageError:
        return
    assert all(e.start + e.nbytes <= path.stat().st_size for e in entries.values())
