"""The weights an adapter was trained beside, bit for bit, in both makes of training; and which target is the better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from train_helpers import conversation, write_examples

from phoenix_forge.catalog.families import FAMILIES
from phoenix_forge.catalog.memory import Placement
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.merge import merged
from phoenix_forge.weights.safetensors import Tensor, write
from phoenix_forge.weights.tiny import build_tiny

torch = pytest.importorskip("torch")
pytest.importorskip("bitsandbytes")

from phoenix_forge.train.base import load_base  # noqa: E402
from phoenix_forge.train.choose import Compute, dtype  # noqa: E402
from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load, reader  # noqa: E402
from phoenix_forge.train.engine.shape import shape  # noqa: E402
from phoenix_forge.train.target import frozen_weights, held_out  # noqa: E402


def compute(precision: str, bits: int = 4) -> Compute:
    return Compute("cpu", precision, bits, "adamw", "")


def stored(model: ModelFolder, name: str) -> object:
    return reader(model)(name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModelFolder]:
    def make(family: str, **sizes: int) -> ModelFolder:
        folder = tmp_path_factory.mktemp(family) / "base"
        build_tiny(
            folder,
            ["The forge turns documents into a model. " * 30],
            **{"hidden": 128, "ffn": 320, "layers": 2, "vocab": 400} | sizes,
            family=next(f for f in FAMILIES if f.name == family),
        )
        return open_base(folder)

    return make


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("family", ["qwen2", "llama3", "phi3"])
def test_what_the_engine_has_beside_its_adapter(
    made: Callable[..., ModelFolder], family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of layers are quantised together there, and rows by the block here: the bits are the same."""
    monkeypatch.setattr("phoenix_forge.train.target._ROWS", 1000)
    model, kind = made(family), dtype(precision)
    decoder = load(
        model.folder,
        shape(model.config, model.family.model_type),
        reader(model),
        LoraSettings((), 1, 1.0, 0),
        Placement(0, bits=4, expanded=True),
        ComputeDevice(torch.device("cpu"), kind),
    )
    frozen = frozen_weights(model, TrainConfig(), compute(precision))
    compared = 0
    for i in range(2):
        for group in decoder.shape.groups:
            row = 0
            for part, rows in group.parts:
                name = f"model.layers.{i}.{group.module}.{part}.weight"
                theirs = decoder.store.get(i, None)[f"{group.name}.dense"][
                    row : row + rows, : group.inputs
                ]
                ours = frozen(name, stored(model, name))
                assert ours.dtype == kind
                assert torch.equal(ours, theirs), name
                assert not torch.equal(ours, stored(model, name).to(kind))
                row, compared = row + rows, compared + 1
    assert compared == sum(name.endswith("proj.weight") for name in model.entries)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_what_peft_has_beside_its_adapter(
    made: Callable[..., ModelFolder], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    monkeypatch.setattr("phoenix_forge.train.target._ROWS", 1000)
    model = made("qwen2")
    frozen = frozen_weights(
        model, TrainConfig(dora=True), compute(precision)
    )  # DoRA is PEFT's to train
    modules = load_base(model.folder, compute(precision)).named_modules()
    layers = {name: module for name, module in modules if type(module).__name__ == "Linear4bit"}
    assert len(layers) == 14
    for name, module in layers.items():
        theirs = dequantize_4bit(module.weight.data, module.weight.quant_state)
        assert torch.equal(frozen(f"{name}.weight", stored(model, f"{name}.weight")), theirs), name


@pytest.mark.parametrize(
    ("train", "bits", "words"),
    [
        (TrainConfig(), 16, "beside bf16 weights"),
        (TrainConfig(start="loftq"), 4, "with train.start loftq"),
    ],
)
def test_an_adapter_without_such_weights_is_refused(
    made: Callable[..., ModelFolder], train: TrainConfig, bits: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        frozen_weights(made("qwen2"), train, compute("bf16", bits))
    assert "merge.target=base" in (caught.value.fix or "")


@pytest.fixture
def adapter(made: Callable[..., ModelFolder], tmp_path: Path) -> tuple[ModelFolder, Path]:
    """A base, and an adapter that is what its NF4 lost in the first layer's queries: full rank, the exact remedy."""
    model = made("qwen2")
    name = "model.layers.0.self_attn.q_proj"
    weight = stored(model, f"{name}.weight").float()
    rest = weight - frozen_weights(model, TrainConfig(), compute("fp32"))(f"{name}.weight", weight)
    rank = weight.shape[1]
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": rank})
    )
    halves = {"A": torch.eye(rank).numpy(), "B": rest.numpy()}
    write(
        tmp_path / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.{name}.lora_{half}.weight",
                "F32",
                array.shape,
                lambda array=array: array,
            )
            for half, array in halves.items()
        ],
    )
    return model, tmp_path


def test_merged_into_them_the_adapter_is_added_to_what_it_corrects(
    adapter: tuple[ModelFolder, Path],
) -> None:
    model, folder = adapter
    frozen = frozen_weights(model, TrainConfig(), compute("fp32"))
    lora = open_adapter(folder, model)
    into = {
        name: {t.name: t.load() for t in merged(model, lora, way)}
        for name, way in (("base", None), ("dequantised", frozen))
    }
    corrected = "model.layers.0.self_attn.q_proj.weight"
    assert (into["dequantised"][corrected] == model.read(corrected)).all()
    assert (into["base"][corrected] != model.read(corrected)).any()
    differing = {
        name for name in into["base"] if (into["base"][name] != into["dequantised"][name]).any()
    }
    assert differing == {name for name in model.entries if name.endswith("proj.weight")}
    other = "model.layers.1.mlp.up_proj.weight"
    expected = frozen(other, stored(model, other)).to(torch.bfloat16)
    assert into["dequantised"][other].tobytes() == expected.view(torch.uint16).numpy().tobytes()


def test_the_loss_on_held_out_examples_is_peft_and_transformers_own(
    adapter: tuple[ModelFolder, Path], tmp_path: Path
) -> None:
    model, folder = adapter
    validation = tmp_path / "val.jsonl"
    examples = [conversation(1), conversation(2), conversation(5)]
    write_examples(validation, examples)
    encoder = Encoder.load(model.folder, stop=model.family.stop, pad=model.family.pad)
    frozen = frozen_weights(model, TrainConfig(), compute("fp32"))
    scores = held_out(
        model,
        open_adapter(folder, model),
        {"base": None, "dequantised": frozen},
        validation,
        encoder,
        Silent(),
    )
    assert scores.losses.keys() == {"base", "dequantised"}
    assert scores.losses["base"] != scores.losses["dequantised"]

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    whole = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.bfloat16), folder
    )
    whole = whole.merge_and_unload().float()
    total, count = 0.0, 0
    for example in examples:
        encoded = encoder.conversation(example["messages"])
        labels = torch.tensor(
            [[i if t else -100 for i, t in zip(encoded.ids, encoded.trained, strict=True)]]
        )
        own = int((labels[:, 1:] != -100).sum())
        total += float(whole(torch.tensor([encoded.ids]), labels=labels).loss) * own
        count += own
    assert scores.losses["base"] == pytest.approx(total / count, rel=2e-3)


def test_without_room_or_an_engine_it_says_why(
    adapter: tuple[ModelFolder, Path], made: Callable[..., ModelFolder], tmp_path: Path
) -> None:
    gemma = made("gemma3")
    encoder = Encoder.load(gemma.folder, stop=gemma.family.stop, pad=gemma.family.pad)
    write_examples(tmp_path / "val.jsonl", [conversation(1)])
    lora = open_adapter(adapter[1], adapter[0])
    scores = held_out(gemma, lora, {"base": None}, tmp_path / "val.jsonl", encoder, Silent())
    assert scores.losses == {}
    assert "gemma3" in (scores.why_not or "")
