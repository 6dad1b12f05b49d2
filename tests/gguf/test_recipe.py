"""The recipe beside llama.cpp's own choices, where they depend on more than a tensor's name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import pytest

from phoenix_forge.catalog.quants import QUANTS
from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.recipe import Facts, facts, tensor_type
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.base import open_base

Make = Callable[..., Path]
MODELS: dict[str, dict[str, Any]] = {
    "four heads a key head, 33 layers": {"layers": 33, "heads": 4, "kv_heads": 1, "ffn": 256},
    "one head a key head": {"layers": 16, "heads": 4, "kv_heads": 4, "tied": False},
    "80 layers": {"layers": 80, "kv_heads": 1, "ffn": 256},
}
WEIGHTED = [name for name, row in QUANTS.items() if row.weighted]


@oracle.needs_oracle
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_type_equals_the_oracle(tmp_path: Path, make_tiny: Make, model: str) -> None:
    base = make_tiny(tmp_path / "base", **MODELS[model])
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name")
    quantize(
        base,
        None,
        {quant: tmp_path / f"{quant}.gguf" for quant in WEIGHTED},
        name="A name",
        report=Silent(),
    )
    assert oracle.different(tmp_path, WEIGHTED) == []


@pytest.mark.parametrize(
    ("quant", "name", "model", "expected"),
    [
        ("Q4_K_M", "blk.1.attn_qkv.weight", Facts(32, True), "Q6_K"),
        ("Q4_K_M", "blk.5.attn_qkv.weight", Facts(32, True), "Q4_K"),
        ("Q4_K_M", "blk.0.ffn_up.weight", Facts(32, True), "Q4_K"),
        ("Q4_K_S", "blk.3.attn_v.weight", Facts(32, True), "Q5_K"),
        ("Q4_K_S", "blk.4.attn_v.weight", Facts(32, True), "Q4_K"),
        ("Q4_K_S", "blk.4.ffn_down.weight", Facts(32, True), "Q4_K"),
        ("Q3_K_M", "blk.1.ffn_down.weight", Facts(32, True), "Q5_K"),
        ("Q3_K_M", "blk.2.ffn_down.weight", Facts(32, True), "Q4_K"),
        ("Q3_K_M", "blk.2.attn_qkv.weight", Facts(32, True), "Q4_K"),
        ("Q3_K_M", "blk.9.attn_output.weight", Facts(32, True), "Q4_K"),
        ("Q3_K_M", "blk.9.attn_q.weight", Facts(32, True), "Q3_K"),
        ("Q3_K_M", "blk.9.attn_v.weight", Facts(80, False, large=True), "Q5_K"),
        ("IQ4_XS", "blk.9.attn_v.weight", Facts(32, True, sharing=3), "IQ4_XS"),
        ("IQ4_XS", "blk.9.attn_v.weight", Facts(32, True, sharing=4), "Q5_K"),
        ("IQ4_XS", "blk.3.ffn_down.weight", Facts(32, True), "Q5_K"),
        ("IQ4_XS", "blk.3.ffn_down.weight", Facts(32, True, weighted=True), "IQ4_XS"),
        ("IQ4_XS", "token_embd.weight", Facts(32, False), "IQ4_XS"),
        ("Q4_0", "blk.3.ffn_down.weight", Facts(32, True), "Q4_0"),
        ("Q4_0", "blk.3.ffn_down.weight", Facts(32, True, weighted=True), "Q4_1"),
        ("Q5_K_S", "blk.3.ffn_down.weight", Facts(32, True), "Q5_K"),
    ],
)
def test_choices(quant: str, name: str, model: Facts, expected: str) -> None:
    assert tensor_type(quant, name, (512, 512), model) == expected


@pytest.mark.parametrize(
    ("quant", "row", "expected"),
    [
        ("Q3_K_M", 320, "Q4_0"),
        ("IQ4_XS", 320, "IQ4_NL"),
        ("Q4_K_S", 320, "Q5_0"),
        ("Q5_K_S", 320, "Q5_1"),
        ("Q3_K_M", 48, "F16"),
        ("IQ4_XS", 48, "F16"),
    ],
)
def test_rows_that_do_not_fit_a_block(quant: str, row: int, expected: str) -> None:
    assert tensor_type(quant, "blk.20.attn_q.weight", (512, row), Facts(32, True)) == expected


def test_the_facts_come_from_the_config(tmp_path: Path, make_tiny: Make) -> None:
    base = open_base(make_tiny(tmp_path / "base", layers=3, heads=4, kv_heads=1, tied=False))
    assert facts(base, weighted=True) == Facts(3, tied=False, sharing=4, large=False, weighted=True)


def test_the_files_hold_what_the_recipe_says(tmp_path: Path, make_tiny: Make) -> None:
    base = make_tiny(tmp_path / "base", layers=8)
    quantize(base, None, {"Q4_K_S": tmp_path / "x.gguf"}, name="n", report=Silent())
    tensors = read_header(tmp_path / "x.gguf").tensors
    assert [tensors[f"blk.{i}.attn_v.weight"].type for i in range(8)] == ["Q5_K"] * 4 + ["Q4_K"] * 4
