"""Importance matrices: llama.cpp's file format, and what quantising makes of one, beside llama.cpp's own quantiser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.catalog.quants import QUANTS
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Field, TensorInfo, encode_header, read_header
from phoenix_forge.gguf.imatrix import Matrix, read, write
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.gguf.write import layout, quantize
from phoenix_forge.weights.base import open_base

Make = Callable[..., Path]
WEIGHTED = [name for name, row in QUANTS.items() if row.weighted]
USUAL = ("blk.", "output.weight")
MODELS: dict[str, dict[str, Any]] = {
    "tied": {"layers": 9, "ffn": 512},
    "untied, rows of 320": {"hidden": 320, "layers": 8, "tied": False, "dtype": "F32"},
    "rows of 96 and 160": {"hidden": 96, "ffn": 160, "layers": 8, "kv_heads": 1},
}


def made_up(folder: Path, seed: int = 0, only: tuple[str, ...] = USUAL) -> Matrix:
    """A matrix for every tensor of a model whose name begins with one of `only`."""
    base, random = open_base(folder), np.random.default_rng(seed)
    names = gguf_names(base.family.gguf, base.config["num_hidden_layers"], base.entries)
    sums = {
        name: random.gamma(0.5, 100, (1, base.entries[source].shape[1])).astype(np.float32)
        for name, source in names.items()
        if name.startswith(only) and len(base.entries[source].shape) == 2
    }
    counts = {name: np.array([1000 + i], np.float32) for i, name in enumerate(sums)}
    return Matrix(sums, counts, ("a text.txt",), 7, 512, "made-up.gguf")


@oracle.needs_oracle
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_type_equals_the_oracle_with_the_same_matrix(
    tmp_path: Path, make_tiny: Make, model: str
) -> None:
    base = make_tiny(tmp_path / "base", **MODELS[model])
    write(tmp_path / "made-up.gguf", made_up(base))
    quantize(
        base,
        None,
        {quant: tmp_path / f"{quant}.gguf" for quant in WEIGHTED},
        name="A name",
        matrix=read(tmp_path / "made-up.gguf"),
        report=Silent(),
    )
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name")
    different = []
    for quant in WEIGHTED:
        oracle.quantise(
            tmp_path / "f32.gguf",
            tmp_path / "expected.gguf",
            QUANTS[quant].ftype,
            tmp_path / "made-up.gguf",
        )
        if (tmp_path / "expected.gguf").read_bytes() != (tmp_path / f"{quant}.gguf").read_bytes():
            different.append(quant)
    assert different == []


@oracle.needs_oracle
def test_a_matrix_that_knows_few_tensors_equals_the_oracle(tmp_path: Path, make_tiny: Make) -> None:
    base = make_tiny(tmp_path / "base", layers=8, tied=False)
    matrix = made_up(base, only=("blk.3", "token_embd"))
    long = replace(matrix, datasets=("x" * 200,), file=f"{'y' * 140}.gguf")
    write(tmp_path / long.file, long)
    quantize(
        base,
        None,
        {"IQ4_XS": tmp_path / "ours.gguf"},
        name="A name",
        matrix=read(tmp_path / long.file),
        report=Silent(),
    )
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name")
    oracle.quantise(
        tmp_path / "f32.gguf",
        tmp_path / "expected.gguf",
        QUANTS["IQ4_XS"].ftype,
        tmp_path / long.file,
    )
    assert (tmp_path / "expected.gguf").read_bytes() == (tmp_path / "ours.gguf").read_bytes()


def test_a_matrix_changes_the_types_it_weights_and_no_others(tiny: Path, tmp_path: Path) -> None:
    def digests(matrix: Matrix | None) -> dict[str, str]:
        files = {quant: tmp_path / f"{quant}.gguf" for quant in QUANTS}
        return {
            file["type"]: file["sha256"]
            for file in quantize(tiny, None, files, name="n", matrix=matrix, report=Silent())
        }

    without, weighted = digests(None), digests(made_up(tiny))
    assert [quant for quant in QUANTS if without[quant] == weighted[quant]] == [
        "F32",
        "F16",
        "BF16",
        "Q8_0",
    ]


def test_a_matrix_makes_the_important_columns_closer(tiny: Path, tmp_path: Path) -> None:
    from phoenix_forge.gguf.quantization import dequantize_rows

    base = open_base(tiny)
    matrix = made_up(tiny)
    name, source = "blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"
    exact = (base.read(source).astype(np.uint32) << 16).view(np.float32)
    losses = []
    for used in (None, matrix):
        quantize(
            tiny, None, {"Q4_K_M": tmp_path / "x.gguf"}, name="n", matrix=used, report=Silent()
        )
        header = read_header(tmp_path / "x.gguf")
        info = header.tensors[name]
        raw = np.fromfile(
            tmp_path / "x.gguf", np.uint8, info.nbytes, offset=header.start + info.offset
        )
        error = dequantize_rows(info.type, raw, exact.size).reshape(exact.shape) - exact
        losses.append(float((error**2 * matrix.sums[name][0]).sum()))
    assert losses[1] < 0.8 * losses[0]


def test_the_plan_is_exact_with_a_matrix_too(tiny: Path, tmp_path: Path) -> None:
    matrix = made_up(tiny)
    written = quantize(
        tiny, None, {"Q4_0": tmp_path / "x.gguf"}, name="n", matrix=matrix, report=Silent()
    )[0]
    planned = layout(open_base(tiny), "n", "Q4_0", matrix)
    assert written["bytes"] == planned.size
    assert (tmp_path / "x.gguf").read_bytes().startswith(planned.header)


@given(data=st.data())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = data.draw(
        st.sets(
            st.from_regex(r"blk\.[0-9]{1,2}\.[a-z_]{1,8}\.weight", fullmatch=True),
            min_size=1,
            max_size=5,
        )
    )
    shapes = {name: data.draw(st.tuples(st.integers(1, 3), st.integers(1, 40))) for name in names}
    random = np.random.default_rng(data.draw(st.integers(0, 9)))
    matrix = Matrix(
        {n: random.random(s, np.float32) for n, s in shapes.items()},
        {n: random.integers(0, 3, s[0]).astype(np.float32) for n, s in shapes.items()},
        tuple(data.draw(st.lists(st.text(max_size=5), max_size=2))),
        data.draw(st.integers(0, 99)),
        512,
        "x.gguf",
        data.draw(st.sampled_from([None, "abc"])),
    )
    path = tmp_path_factory.mktemp("matrix") / "x.gguf"
    write(path, matrix)
    found = read(path)
    assert list(found.sums) == sorted(names)
    assert replace(found, sums={}, counts={}) == replace(matrix, sums={}, counts={})
    for name in names:
        np.testing.assert_array_equal(found.sums[name], matrix.sums[name])
        np.testing.assert_array_equal(found.counts[name], matrix.counts[name])


def test_the_gguf_package_reads_what_llama_cpp_would_have_written(
    tiny: Path, tmp_path: Path
) -> None:
    from gguf import GGUFReader

    matrix = made_up(tiny)
    write(tmp_path / "x.gguf", matrix)
    reader = GGUFReader(tmp_path / "x.gguf")
    keys = [key for key in reader.fields if not key.startswith("GGUF.")]
    assert keys == ["general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"]
    assert [reader.fields[key].contents() for key in keys] == ["imatrix", ["a text.txt"], 7, 512]
    first = [(tensor.name, tensor.shape.tolist()) for tensor in reader.tensors[:2]]
    assert first == [("blk.0.attn_k.weight.in_sum2", [256]), ("blk.0.attn_k.weight.counts", [1])]


def test_weights_are_sums_by_counts_and_one_where_nothing_was_seen() -> None:
    matrix = Matrix(
        {"x": np.array([[2, 4], [5, 6]], np.float32)},
        {"x": np.array([2, 0], np.float32)},
        (),
        0,
        0,
        "f",
    )
    found = matrix.weights("x")
    assert found is not None
    assert found.dtype == np.float32
    assert found.tolist() == [1, 2, 1, 1]
    assert matrix.weights("y") is None
    assert [key.removeprefix("quantize.imatrix.") for key in matrix.recorded()] == [
        "file",
        "entries_count",
    ]


def _file(path: Path, tensors: dict[str, np.ndarray], kind: str = "imatrix") -> Path:
    infos, at = [], 0
    for name, values in tensors.items():
        infos.append(
            TensorInfo(name, values.shape, "F32" if values.dtype == np.float32 else "F16", at)
        )
        at += -(-values.nbytes // 32) * 32
    data = b"".join(values.tobytes() + bytes(-values.nbytes % 32) for values in tensors.values())
    path.write_bytes(encode_header({"general.type": Field("string", kind)}, infos) + data)
    return path


_ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("tensors", "kind", "message"),
    [
        (
            {"x.in_sum2": np.ones(4, np.float32), "x.counts": _ONE},
            "model",
            "general.type is 'model'",
        ),
        ({"x.in_sum2": np.ones(4, np.float32)}, "imatrix", "without x.counts"),
        (
            {"x.in_sum2": np.ones(5, np.float32), "x.counts": np.ones(2, np.float32)},
            "imatrix",
            "5 sums for 2 counts",
        ),
        (
            {"x.in_sum2": np.ones(4, np.float16), "x.counts": _ONE},
            "imatrix",
            "is F16, expected F32",
        ),
        (
            {"x.in_sum2": np.array([1, np.nan], np.float32), "x.counts": _ONE},
            "imatrix",
            "negative or not finite",
        ),
        (
            {"x.in_sum2": np.array([1, -1], np.float32), "x.counts": _ONE},
            "imatrix",
            "negative or not finite",
        ),
        ({"x.counts": _ONE}, "imatrix", "none of its 1 tensors"),
    ],
)
def test_what_is_no_sound_matrix_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], kind: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read(_file(tmp_path / "x.gguf", tensors, kind))


def test_a_damaged_file_and_the_old_format_are_refused(tiny: Path, tmp_path: Path) -> None:
    write(tmp_path / "x.gguf", made_up(tiny))
    sound = (tmp_path / "x.gguf").read_bytes()
    (tmp_path / "x.gguf").write_bytes(sound[:-100])
    with pytest.raises(UsageError, match="cut short"):
        read(tmp_path / "x.gguf")
    (tmp_path / "x.dat").write_bytes(bytes(100))
    with pytest.raises(UsageError, match="is not a GGUF file"):
        read(tmp_path / "x.dat")


def test_a_matrix_of_another_model_is_refused(tiny: Path, tmp_path: Path, make_tiny: Make) -> None:
    wider = make_tiny(tmp_path / "wider", hidden=512)
    with pytest.raises(UsageError, match=r"blk\.0\.attn_k\.weight has 512 columns in it, here 256"):
        quantize(
            tiny,
            None,
            {"Q4_0": tmp_path / "x.gguf"},
            name="n",
            matrix=made_up(wider),
            report=Silent(),
        )
    with pytest.raises(UsageError, match="knows none of this one's"):
        quantize(
            tiny,
            None,
            {"Q4_0": tmp_path / "x.gguf"},
            name="n",
            matrix=made_up(wider, only=("output",)),
            report=Silent(),
        )
    assert not (tmp_path / "x.gguf").exists()
