"""The importance matrix beside what hooks on transformers' own model see."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from phoenix_forge.catalog.families import FAMILIES, Family
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.imatrix import Matrix, read, write
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.train import importance
from phoenix_forge.train.importance import Place, chosen_chunks, collect, place
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import write_merged
from phoenix_forge.weights.safetensors import Tensor
from phoenix_forge.weights.safetensors import write as write_safetensors
from phoenix_forge.weights.tiny import build_tiny

FP32 = Place("cpu", "fp32", 0)
IDS = np.random.default_rng(0).integers(0, 400, (9, 40)).tolist()
SEVEN_B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
HALF_B = SEVEN_B | {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}


def collected(folder: Path, lora: Path | None = None, ids: list[list[int]] = IDS) -> Matrix:
    return collect(
        folder, lora, ids, FP32, dataset="d.jsonl", file="f.gguf", identity="i", report=Silent()
    )


def seen_by_hooks(folder: Path, ids: list[list[int]]) -> dict[str, np.ndarray]:
    """GGUF name → sum of squares of each input column, over a plain forward pass."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    sums: dict[str, np.ndarray] = {}

    def watch(name: str, module: Any) -> None:
        module.register_forward_pre_hook(
            lambda _, inputs: sums.__setitem__(
                name, inputs[0].flatten(0, -2).square().sum(0).numpy()
            )
        )

    base = open_base(folder)
    for target, source in gguf_names(
        base.family.gguf, base.config["num_hidden_layers"], base.entries
    ).items():
        module = model.get_submodule(source.rpartition(".")[0])
        if (
            target.startswith("blk.")
            and isinstance(module, torch.nn.Linear)
            and target.endswith(".weight")
        ):
            watch(target, module)
    with torch.inference_mode():
        model(input_ids=torch.tensor(ids), use_cache=False)
    return sums


def adapter(folder: Path) -> Path:
    """LoRA on two matrices of the tiny base's first layer, strong enough to change what enters the second."""
    random = np.random.default_rng(1)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    )
    halves = {"self_attn.v_proj": (32, 64), "mlp.down_proj": (64, 128)}
    arrays = {
        f"{module}.lora_{half}.weight": random.standard_normal(shape, np.float32)
        for module, (rows, columns) in halves.items()
        for half, shape in (("A", (4, columns)), ("B", (rows, 4)))
    }
    write_safetensors(
        folder / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.model.layers.0.{name}",
                "F32",
                array.shape,
                lambda array=array: array,
            )
            for name, array in arrays.items()
        ],
    )
    return folder


def require_same(found: Matrix, expected: dict[str, np.ndarray]) -> None:
    assert found.sums.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found.sums[name][0], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_is_seen_as_transformers_runs_it(tmp_path: Path, family: Family) -> None:
    build_tiny(
        tmp_path / "base",
        ["Some words to learn from.\n" * 50],
        family=family,
        vocab=500,
        hidden=64,
        ffn=128,
        layers=3,
        dtype="F32",
    )
    found = collected(tmp_path / "base")
    require_same(found, seen_by_hooks(tmp_path / "base", IDS))
    assert {float(count[0]) for count in found.counts.values()} == {9 * 40}


def test_the_adapter_is_merged_in(tiny_base: Path, tmp_path: Path) -> None:
    lora = adapter(tmp_path / "adapter")
    write_merged(tiny_base, lora, tmp_path / "merged", report=Silent())
    merged = seen_by_hooks(tmp_path / "merged", IDS)
    require_same(collected(tiny_base, lora), merged)
    name = "blk.1.ffn_down.weight"
    assert not np.allclose(collected(tiny_base).sums[name][0], merged[name], rtol=1e-2)


def test_a_single_chunk_and_chunks_at_a_time_make_no_difference(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = collected(tiny_base, ids=IDS[:1])
    require_same(one, seen_by_hooks(tiny_base, IDS[:1]))
    whole = collected(tiny_base)
    monkeypatch.setattr(importance, "_AT_A_TIME", {"cpu": 2})
    require_same(collected(tiny_base), {name: sums[0] for name, sums in whole.sums.items()})


def test_the_same_inputs_make_the_same_bytes(
    tiny_base: Path, dataset: Path, encoder: Encoder, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        write(tmp_path / name, collected(tiny_base, ids=chosen_chunks(dataset, encoder, 600)))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert read(tmp_path / "first").identity == "i"


def test_chunks_are_whole_and_no_more_than_asked_for(
    dataset: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "CHUNK", 50)
    chunks = chosen_chunks(dataset, encoder, 230)
    assert [len(chunk) for chunk in chunks] == [50] * 4
    everything = chosen_chunks(dataset, encoder, 1_000_000)
    total = sum(len(encoder.conversation(messages).ids) for _, messages in importance.read(dataset))
    assert len(everything) == total // 50
    monkeypatch.setattr(importance, "CHUNK", 10**6)
    assert [len(chunk) for chunk in chosen_chunks(dataset, encoder, 10**6)] == [total], (
        "less than a chunk is one"
    )


def test_how_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def tokens(config: dict[str, int], given: int | None, fast: bool, cores: int) -> int:
        found = place(config, given, fast_bf16=fast, cores=cores)
        assert isinstance(found, Place)
        return found.tokens

    assert tokens(HALF_B, 777, True, 2) == 777
    assert 2_048 <= tokens(HALF_B, None, False, 2) < tokens(HALF_B, None, True, 2) < 50_000
    assert tokens(HALF_B, None, True, 64) == 50_000
    assert tokens(SEVEN_B, None, False, 2) == 2_048


def test_too_little_memory_is_said_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=500_000_000))
    missing = place(HALF_B, 2048, fast_bf16=True, cores=2)
    assert isinstance(missing, str)
    assert "GB of memory, 500 MB are free" in missing
