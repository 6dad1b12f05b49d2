from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forge.errors import UsageError
from forge.weights.adapter import open_adapter
from forge.weights.base import open_base
from forge.weights.merge import merged

Make = Callable[..., Path]
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"


def refused(folder: Path, tiny: Path, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_adapter(folder, open_base(tiny))
    assert caught.value.fix


def test_pairs_are_matched_to_the_base(tiny: Path, adapter: Make) -> None:
    found = open_adapter(adapter(), open_base(tiny))
    assert set(found.pairs) == {f"model.layers.{i}.{m}.weight" for i in range(3)
                                for m in ("self_attn.q_proj", "mlp.down_proj")}
    assert {p.scaling for p in found.pairs.values()} == {2.0}


def test_scaling_follows_patterns_and_rslora(tiny: Path, adapter: Make) -> None:
    patterned = open_adapter(adapter(alpha_pattern={"layers.1.self_attn.q_proj": 32}), open_base(tiny))
    assert patterned.pairs["model.layers.1.self_attn.q_proj.weight"].scaling == 8.0
    assert patterned.pairs["model.layers.0.self_attn.q_proj.weight"].scaling == 2.0
    assert open_adapter(adapter(use_rslora=True), open_base(tiny)).pairs[
        "model.layers.1.self_attn.q_proj.weight"].scaling == 4.0


@pytest.mark.parametrize(("key", "value"), [
    ("use_dora", True), ("bias", "lora_only"), ("modules_to_save", ["lm_head"]), ("init_lora_weights", "pissa"),
    ("trainable_token_indices", [1]), ("layer_replication", [[0, 2]]), ("lora_bias", True), ("fan_in_fan_out", True),
    ("target_parameters", ["x"]), ("peft_type", "IA3"), ("r", 0), ("lora_alpha", None)])
def test_what_cannot_be_merged_exactly_is_named(tiny: Path, adapter: Make, key: str, value: object) -> None:
    refused(adapter(**{key: value}), tiny, key)


@pytest.mark.parametrize("name", [
    "base_model.model.model.embed_tokens.lora_embedding_A", f"{FIRST}.lora_magnitude_vector",
    "base_model.model.lm_head.weight", f"{FIRST}.lora_B.bias"])
def test_tensors_that_are_no_pair_are_named(tiny: Path, adapter: Make, name: str) -> None:
    refused(adapter(lambda t: t.update({name: np.zeros((4, 4), np.float32)})), tiny, "is not a LoRA pair")


def test_an_adapter_for_another_base_is_refused(tiny: Path, adapter: Make) -> None:
    def wider(tensors: dict[str, np.ndarray]) -> None:
        tensors[f"{FIRST}.lora_A.weight"] = np.zeros((4, 96), np.float32)

    def deeper(tensors: dict[str, np.ndarray]) -> None:
        for half in "AB":
            tensors[f"base_model.model.model.layers.9.mlp.up_proj.lora_{half}.weight"] = np.zeros((4, 4), np.float32)

    refused(adapter(wider), tiny, r"q_proj has A \[4, 96\].*another base")
    refused(adapter(deeper), tiny, r"layers\.9\.mlp\.up_proj is not a linear layer.*another base")
    refused(adapter(r=8), tiny, "rank 8")


def test_half_a_pair_and_no_pair(tiny: Path, adapter: Make) -> None:
    refused(adapter(lambda t: t.pop(f"{FIRST}.lora_B.weight")), tiny, "only half")
    refused(adapter(lambda t: t.clear()), tiny, "no LoRA weights")


def test_absent_pickled_and_truncated_adapters(tiny: Path, adapter: Make, tmp_path: Path) -> None:
    refused(tmp_path / "none", tiny, "no adapter folder")
    refused(tiny, tiny, r"no adapter_config\.json")
    folder = adapter()
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    refused(folder, tiny, "the file has")
    weights.rename(folder / "adapter_model.bin")
    refused(folder, tiny, "pickle refused")
    (folder / "adapter_model.bin").unlink()
    refused(folder, tiny, r"no adapter_model\.safetensors")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_diverged_weights_are_refused_before_the_first_tensor(tiny: Path, adapter: Make, dtype: str,
                                                              bad: float) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        tensors[f"{FIRST}.lora_B.weight"][3, 1] = bad

    base = open_base(tiny)
    found = open_adapter(adapter(spoil, dtype=dtype), base)
    with pytest.raises(UsageError, match=r"layers\.0\.self_attn\.q_proj\.weight has 1 NaN or infinite"):
        next(iter(merged(base, found)))
