from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forge.errors import StageFailed, UsageError
from forge.weights.adapter import open_adapter
from forge.weights.base import open_base
from forge.weights.merge import merged
from forge.weights.safetensors import Tensor, write

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
    ("use_dora", "maybe"), ("bias", "lora_only"), ("modules_to_save", ["lm_head"]), ("init_lora_weights", "pissa"),
    ("trainable_token_indices", [1]), ("layer_replication", [[0, 2]]), ("lora_bias", True), ("fan_in_fan_out", True),
    ("target_parameters", ["x"]), ("peft_type", "IA3"), ("r", 0), ("lora_alpha", None)])
def test_what_cannot_be_merged_exactly_is_named(tiny: Path, adapter: Make, key: str, value: object) -> None:
    refused(adapter(**{key: value}), tiny, key)


@pytest.mark.parametrize("name", [
    "base_model.model.model.embed_tokens.lora_embedding_A", f"{FIRST}.lora_magnitude_vector.bias",
    "base_model.model.lm_head.weight", f"{FIRST}.lora_B.bias", f"{FIRST}.lora_A"])
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
    refused(adapter(lambda t: t.pop(f"{FIRST}.lora_B.weight")), tiny, "has A, but use_dora None asks for A and B")
    refused(adapter(lambda t: t.clear()), tiny, "no LoRA weights")


def magnitudes(*names: str, rows: int = 64) -> Callable[[dict[str, np.ndarray]], None]:
    """Gives every target a magnitude of ones, under each of these names."""

    def add(tensors: dict[str, np.ndarray]) -> None:
        stems = [name.removesuffix("lora_A.weight") for name in tensors if name.endswith("lora_A.weight")]
        tensors |= {stem + name: np.ones(rows, np.float32) for stem in stems for name in names}

    return add


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_magnitudes_are_found_under_both_names(tiny: Path, adapter: Make, name: str) -> None:
    found = open_adapter(adapter(magnitudes(name), use_dora=True), open_base(tiny))
    assert {p.magnitude.shape for p in found.pairs.values() if p.magnitude} == {(64,)}
    assert len([p for p in found.pairs.values() if p.magnitude]) == 6


def test_magnitudes_and_use_dora_come_together(tiny: Path, adapter: Make) -> None:
    both = ("lora_magnitude_vector", "lora_magnitude_vector.weight")
    refused(adapter(use_dora=True), tiny, "has A and B, but use_dora True asks for A and B and magnitude")
    refused(adapter(magnitudes(both[0])), tiny, "A and B and magnitude, but use_dora None asks for A and B")
    refused(adapter(magnitudes(*both), use_dora=True), tiny, "has its magnitude twice")
    refused(adapter(magnitudes(both[0], rows=63), use_dora=True), tiny, r"magnitude \[63\].*needs.*magnitude \[64\]")


def test_a_zero_row_is_refused(tiny: Path, adapter: Make) -> None:
    """Its norm is zero: PEFT's merge has NaN there."""

    def cancel(tensors: dict[str, np.ndarray]) -> None:
        magnitudes("lora_magnitude_vector")(tensors)
        tensors[f"{FIRST}.lora_B.weight"][5] = 0

    base = open_base(tiny)
    weights = tiny / "model.safetensors"
    arrays = {name: base.read(name).copy() for name in base.entries}
    arrays["model.layers.0.self_attn.q_proj.weight"][5] = 0
    write(weights, [Tensor(n, base.entries[n].dtype, a.shape, lambda a=a: a) for n, a in arrays.items()])
    base = open_base(tiny)
    with pytest.raises(StageFailed, match=r"layers\.0\.self_attn\.q_proj\.weight: 1 rows .* are zero") as caught:
        [t.load() for t in merged(base, open_adapter(adapter(cancel, use_dora=True), base))]
    assert caught.value.fix


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


@pytest.mark.parametrize("part", ["lora_B.weight", "lora_magnitude_vector"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_diverged_weights_are_refused_before_the_first_tensor(tiny: Path, adapter: Make, dtype: str, bad: float,
                                                              part: str) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        magnitudes("lora_magnitude_vector")(tensors)
        tensors[f"{FIRST}.{part}"].flat[3] = bad

    base = open_base(tiny)
    found = open_adapter(adapter(spoil, dtype=dtype, use_dora=True), base)
    with pytest.raises(UsageError, match=r"layers\.0\.self_attn\.q_proj\.weight has 1 NaN or infinite"):
        next(iter(merged(base, found)))
