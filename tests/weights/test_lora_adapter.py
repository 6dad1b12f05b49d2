from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.merge import merged
from phoenix_forge.weights.safetensors import Tensor, write

Make = Callable[..., Path]
FIRST = "base_model.model.model.layers.0.self_attn.q_proj"


def refused(folder: Path, tiny: Path, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_adapter(folder, open_base(tiny))
    assert caught.value.fix


def test_pairs_are_matched_to_the_base(tiny: Path, adapter: Make) -> None:
    found = open_adapter(adapter(), open_base(tiny))
    assert set(found.pairs) == {
        f"model.layers.{i}.{m}.weight"
        for i in range(3)
        for m in ("self_attn.q_proj", "mlp.down_proj")
    }
    assert {p.scaling for p in found.pairs.values()} == {2.0}


def test_scaling_follows_patterns_and_rslora(tiny: Path, adapter: Make) -> None:
    patterned = open_adapter(
        adapter(alpha_pattern={"layers.1.self_attn.q_proj": 32}), open_base(tiny)
    )
    assert patterned.pairs["model.layers.1.self_attn.q_proj.weight"].scaling == 8.0
    assert patterned.pairs["model.layers.0.self_attn.q_proj.weight"].scaling == 2.0
    assert (
        open_adapter(adapter(use_rslora=True), open_base(tiny))
        .pairs["model.layers.1.self_attn.q_proj.weight"]
        .scaling
        == 4.0
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", "maybe"),
        ("bias", "some"),
        ("modules_to_save", ["lm_head"]),
        ("init_lora_weights", "pissa"),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 2]]),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("target_parameters", ["x"]),
        ("peft_type", "IA3"),
        ("r", 0),
        ("lora_alpha", None),
    ],
)
def test_what_cannot_be_merged_exactly_is_named(
    tiny: Path, adapter: Make, key: str, value: object
) -> None:
    refused(adapter(**{key: value}), tiny, key)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("base_model.model.model.embed_tokens.lora_embedding_A", "has embedding A, but"),
        ("base_model.model.model.embed_tokens.lora_A.weight", "embed_tokens has A, but"),
        (f"{FIRST}.lora_magnitude_vector.bias", "is stored whole"),
        (f"{FIRST}.lora_B.bias", "is stored whole"),
        (f"{FIRST}.base_layer.weight", "is stored whole"),
        (f"{FIRST}.bias", "is stored whole"),
        ("base_model.model.model.norm.weight", "is stored whole"),
        (f"{FIRST}.lora_A", "is nothing that a LoRA adapter"),
        ("base_model.model.lm_head.weight", "lm_head has weight of its own, but the base ties it"),
        ("base_model.model.weight", "is nothing that"),
        ("model.norm.weight", "is nothing that"),
        (f"{FIRST}.token_adapter.trainable_tokens_delta", "for embeddings only"),
        (
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
            "trainable_token_indices None",
        ),
        (
            "base_model.model.lm_head.token_adapter.trainable_tokens_delta",
            "lm_head has tokens of its own",
        ),
    ],
)
def test_tensors_that_nothing_asks_for_are_named(
    tiny: Path, adapter: Make, name: str, message: str
) -> None:
    refused(adapter(lambda t: t.update({name: np.zeros((4, 4), np.float32)})), tiny, message)


EMBED = "base_model.model.model.embed_tokens"


@pytest.mark.parametrize(
    ("ids", "rows"),
    [([1, 2], 3), ([1, 1], 2), ([1, 400], 2), ([-1, 2], 2), ("12", 2), ({"lm_head": [1, 2]}, 2)],
)
def test_trained_rows_that_do_not_fit(tiny: Path, adapter: Make, ids: object, rows: int) -> None:
    name = f"{EMBED}.token_adapter.trainable_tokens_delta"
    refused(
        adapter(
            lambda t: t.update({name: np.zeros((rows, 64), np.float32)}),
            trainable_token_indices=ids,
        ),
        tiny,
        r"embed_tokens has trained rows.*the embedding is \[400, 64\]",
    )


def test_a_vocabulary_resized_to_another_width_or_on_one_side_only(
    tiny: Path, adapter: Make
) -> None:
    refused(
        adapter(lambda t: t.update({f"{EMBED}.weight": np.zeros((410, 63), np.float32)})),
        tiny,
        "410 rows",
    )
    tied = open_adapter(
        adapter(lambda t: t.update({f"{EMBED}.weight": np.zeros((410, 64), np.float32)})),
        open_base(tiny),
    )
    assert tied.model.config["vocab_size"] == 410
    assert tied.model.entries["model.embed_tokens.weight"].shape == (410, 64)
    refused(
        adapter(
            lambda t: t.update({f"{EMBED}.weight": np.zeros((410, 64), np.float32)}),
            modules_to_save=["embed_tokens"],
        ),
        tiny,
        r"lm_head\.weight is to be \[410, 64\], found \[400, 64\]",
    )


def test_both_ends_of_a_tied_base_have_to_be_equal(tiny: Path, adapter: Make) -> None:
    def add(tensors: dict[str, np.ndarray]) -> None:
        tensors |= {
            f"{EMBED}.weight": np.zeros((400, 64), np.float32),
            "base_model.model.lm_head.weight": np.ones((400, 64), np.float32),
        }

    base = open_base(tiny)
    with pytest.raises(UsageError, match=r"embed_tokens and lm_head differ") as caught:
        next(iter(merged(base, open_adapter(adapter(add), base))))
    assert caught.value.fix


def test_a_setting_without_its_tensors(tiny: Path, adapter: Make) -> None:
    refused(
        adapter(modules_to_save=["embed_tokens"]),
        tiny,
        "modules_to_save names embed_tokens, of which nothing",
    )
    refused(adapter(trainable_token_indices=[3]), tiny, "no rows are stored")


@pytest.mark.parametrize(
    "name",
    [
        f"{EMBED}.weight",
        f"{EMBED}.token_adapter.trainable_tokens_delta",
        f"{FIRST}.base_layer.bias",
    ],
)
def test_nan_is_found_in_all_that_is_stored(tiny: Path, adapter: Make, name: str) -> None:
    shapes = {"weight": (400, 64), "trainable_tokens_delta": (2, 64), "bias": (64,)}
    value = np.zeros(shapes[name.rpartition(".")[2]], np.float32)
    value.flat[-1] = np.nan
    settings = (
        {"trainable_token_indices": [1, 2]}
        if "token" in name.rpartition(".")[2]
        else {"bias": "all"}
    )
    base = open_base(tiny)
    with pytest.raises(UsageError, match="has 1 NaN or infinite"):
        next(
            iter(
                merged(
                    base, open_adapter(adapter(lambda t: t.update({name: value}), **settings), base)
                )
            )
        )


def test_an_adapter_for_another_base_is_refused(tiny: Path, adapter: Make) -> None:
    def wider(tensors: dict[str, np.ndarray]) -> None:
        tensors[f"{FIRST}.lora_A.weight"] = np.zeros((4, 96), np.float32)

    def deeper(tensors: dict[str, np.ndarray]) -> None:
        for half in "AB":
            tensors[f"base_model.model.model.layers.9.mlp.up_proj.lora_{half}.weight"] = np.zeros(
                (4, 4), np.float32
            )

    refused(adapter(wider), tiny, r"q_proj has A \[4, 96\].*another base")
    refused(adapter(deeper), tiny, r"layers\.9\.mlp\.up_proj is not a linear layer.*another base")
    refused(adapter(r=8), tiny, "rank 8")


def test_half_a_pair_and_no_pair(tiny: Path, adapter: Make) -> None:
    refused(
        adapter(lambda t: t.pop(f"{FIRST}.lora_B.weight")),
        tiny,
        "has A, but use_dora None asks for A and B",
    )
    refused(adapter(lambda t: t.clear()), tiny, "no LoRA weights")


def magnitudes(*names: str, rows: int = 64) -> Callable[[dict[str, np.ndarray]], None]:
    """Gives every target a magnitude of ones, under each of these names."""

    def add(tensors: dict[str, np.ndarray]) -> None:
        stems = [
            name.removesuffix("lora_A.weight") for name in tensors if name.endswith("lora_A.weight")
        ]
        tensors |= {stem + name: np.ones(rows, np.float32) for stem in stems for name in names}

    return add


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_magnitudes_are_found_under_both_names(tiny: Path, adapter: Make, name: str) -> None:
    found = open_adapter(adapter(magnitudes(name), use_dora=True), open_base(tiny))
    assert {p.magnitude.shape for p in found.pairs.values() if p.magnitude} == {(64,)}
    assert len([p for p in found.pairs.values() if p.magnitude]) == 6


def test_magnitudes_and_use_dora_come_together(tiny: Path, adapter: Make) -> None:
    both = ("lora_magnitude_vector", "lora_magnitude_vector.weight")
    refused(
        adapter(use_dora=True),
        tiny,
        "has A and B, but use_dora True asks for A and B and magnitude",
    )
    refused(
        adapter(magnitudes(both[0])),
        tiny,
        "A and B and magnitude, but use_dora None asks for A and B",
    )
    refused(adapter(magnitudes(*both), use_dora=True), tiny, "has its magnitude twice")
    refused(
        adapter(magnitudes(both[0], rows=63), use_dora=True),
        tiny,
        r"magnitude \[63\].*needs.*magnitude \[64\]",
    )


def test_a_zero_row_is_refused(tiny: Path, adapter: Make) -> None:
    """Its norm is zero: PEFT's merge has NaN there."""

    def cancel(tensors: dict[str, np.ndarray]) -> None:
        magnitudes("lora_magnitude_vector")(tensors)
        tensors[f"{FIRST}.lora_B.weight"][5] = 0

    base = open_base(tiny)
    weights = tiny / "model.safetensors"
    arrays = {name: base.read(name).copy() for name in base.entries}
    arrays["model.layers.0.self_attn.q_proj.weight"][5] = 0
    write(
        weights,
        [Tensor(n, base.entries[n].dtype, a.shape, lambda a=a: a) for n, a in arrays.items()],
    )
    base = open_base(tiny)
    with pytest.raises(
        StageFailed, match=r"layers\.0\.self_attn\.q_proj\.weight: 1 rows .* are zero"
    ) as caught:
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
def test_diverged_weights_are_refused_before_the_first_tensor(
    tiny: Path, adapter: Make, dtype: str, bad: float, part: str
) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        magnitudes("lora_magnitude_vector")(tensors)
        tensors[f"{FIRST}.{part}"].flat[3] = bad

    base = open_base(tiny)
    found = open_adapter(adapter(spoil, dtype=dtype, use_dora=True), base)
    with pytest.raises(
        UsageError, match=r"layers\.0\.self_attn\.q_proj\.weight has 1 NaN or infinite"
    ):
        next(iter(merged(base, found)))
