"""Whole files, metadata included, equal llama.cpp's converter followed by its quantiser, byte for byte."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_forge.catalog.families import FAMILIES, GEMMA3, QWEN2, Family
from phoenix_forge.catalog.quants import QUANTS
from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.metadata import size_label
from phoenix_forge.gguf.recipe import RECIPES, more_bits
from phoenix_forge.gguf.write import quantize
from phoenix_forge.weights.writer import copy_side_files

Make = Callable[..., Path]
MODELS: dict[str, dict[str, Any]] = {
    "tied": {"layers": 4, "ffn": 512},
    "untied, 29 layers": {"layers": 29, "tied": False, "dtype": "F16"},
    "rows of 96 and 160": {"hidden": 96, "ffn": 160, "layers": 8, "kv_heads": 1},
    "untied, rows of 320": {"hidden": 320, "layers": 9, "tied": False, "dtype": "F32"},
    "rows of 48 and 80": {"hidden": 48, "ffn": 80, "layers": 3, "kv_heads": 1},
    "sharded": {"layers": 3, "max_shard_bytes": 300_000},
}


@oracle.needs_oracle
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_type_equals_the_oracle(tmp_path: Path, make_tiny: Make, model: str) -> None:
    base = make_tiny(tmp_path / "base", **MODELS[model])
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name")
    quantize(
        base,
        None,
        {quant: tmp_path / f"{quant}.gguf" for quant in RECIPES},
        name="A name",
        report=Silent(),
    )
    assert oracle.different(tmp_path, RECIPES) == []


@oracle.needs_oracle
@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        {"layers": 7, "ffn": 256},
        {
            "layers": 3,
            "hidden": 96,
            "ffn": 160,
            "kv_heads": 1,
            "dtype": "F16",
            "max_shard_bytes": 300_000,
        },
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if family is not QWEN2], ids=lambda f: f.name
)
def test_every_family_equals_the_oracle(
    tmp_path: Path, make_tiny: Make, family: Family, sizes: dict[str, Any]
) -> None:
    base = make_tiny(tmp_path / "base", family=family, tied=family is GEMMA3, **sizes)
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name", pre=(*family.pre, "qwen2")[0])
    quantize(
        base,
        None,
        {quant: tmp_path / f"{quant}.gguf" for quant in RECIPES},
        name="A name",
        report=Silent(),
    )
    assert oracle.different(tmp_path, RECIPES) == []


@oracle.needs_oracle
def test_sampling_settings_and_yarn_equal_the_oracle(tmp_path: Path, make_tiny: Make) -> None:
    import json

    base = make_tiny(tmp_path / "base", layers=1)
    generation = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(
        json.dumps(
            generation
            | {
                "temperature": 0.7,
                "top_p": 0.8,
                "top_k": 20,
                "min_p": 0.05,
                "repetition_penalty": 1.1,
            }
        )
    )
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps(
            config
            | {
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 1024,
                }
            }
        )
    )
    oracle.convert(base, tmp_path / "f32.gguf", "f32", "A name")
    oracle.quantize(tmp_path / "f32.gguf", tmp_path / "expected.gguf", QUANTS["Q8_0"].ftype)
    quantize(base, None, {"Q8_0": tmp_path / "ours.gguf"}, name="A name", report=Silent())
    assert (tmp_path / "expected.gguf").read_bytes() == (tmp_path / "ours.gguf").read_bytes()


def merged_by_peft(
    base: Path, adapter: Path, merged: Path, rank: int, targets: tuple[str, ...]
) -> None:
    """Writes an adapter of random weights, and what PEFT makes of it and the base."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(rank)
    model = peft.get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype="auto"),
        peft.LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules=list(targets),
            init_lora_weights=False,
            task_type="CAUSAL_LM",
        ),
    )
    model.save_pretrained(adapter)
    model.merge_and_unload().save_pretrained(merged)
    copy_side_files(base, merged)


@oracle.needs_oracle
@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=12, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_shape_shards_rank_and_type_equal_the_chain(
    data: st.DataObject, make_tiny: Make
) -> None:
    """PEFT's merge, llama.cpp's converter and its quantiser, one after the other."""
    draw = data.draw
    family = draw(st.sampled_from(FAMILIES), "family")
    heads, kv_heads = draw(st.sampled_from([(4, 2), (4, 1), (2, 2), (4, 4)]), "heads")
    sizes = {
        "hidden": 32 * heads // 2 * draw(st.integers(1, 5), "hidden"),
        "ffn": 16 * draw(st.integers(2, 40), "ffn"),
        "layers": draw(st.integers(1, 9), "layers"),
        "heads": heads,
        "kv_heads": kv_heads,
        "dtype": draw(st.sampled_from(["F32", "F16", "BF16"]), "dtype"),
        "tied": family is GEMMA3 or draw(st.booleans(), "tied"),
        "max_shard_bytes": draw(st.sampled_from([200_000, 1_000_000, 4_000_000_000]), "shards"),
    }
    rank, quant = draw(st.integers(1, 40), "rank"), draw(st.sampled_from(sorted(RECIPES)), "type")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = make_tiny(folder / "base", family=family, **sizes)
        merged_by_peft(base, folder / "adapter", folder / "merged", rank, family.targets)
        oracle.convert(
            folder / "merged", folder / "f32.gguf", "f32", "A name", pre=(*family.pre, "qwen2")[0]
        )
        quantize(
            base,
            folder / "adapter",
            {quant: folder / f"{quant}.gguf"},
            name="A name",
            report=Silent(),
        )
        assert oracle.different(folder, [quant]) == []


def test_every_offered_type_has_a_recipe() -> None:
    assert RECIPES.keys() == QUANTS.keys()


def test_the_layers_with_more_bits() -> None:
    assert [i for i in range(28) if more_bits(i, 28)] == [
        0,
        1,
        2,
        5,
        8,
        11,
        14,
        17,
        20,
        23,
        24,
        25,
        26,
        27,
    ]


@pytest.mark.parametrize(
    ("parameters", "label"),
    [
        (494_032_768, "494M"),
        (7_615_616_512, "7.6B"),
        (2_887_936, "2.9M"),
        (950_000, "950K"),
        (1_543_714_304, "1.5B"),
    ],
)
def test_size_labels(parameters: int, label: str) -> None:
    assert size_label(parameters) == label
