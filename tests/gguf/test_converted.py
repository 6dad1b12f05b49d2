"""Families without a row: trained by PEFT, merged by name, converted by llama.cpp, quantised as llama.cpp does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from foreign import TINY, build_foreign

from phoenix_forge.catalog.families import ANY, LLAMA3
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.gguf import converted
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.converted import quantize_converted, requantize, require_convertible
from phoenix_forge.gguf.verify import verify
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.foreign import family_of
from phoenix_forge.weights.merge import merged, write_merged

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
needs_converter = pytest.mark.skipif(
    converted.find_spec(converted._PACKAGE) is None, reason="the extra any-model is not installed"
)
Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    made: dict[str, Path] = {}

    def get(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = build_foreign(tmp_path_factory.mktemp(model_type), model_type)
        return made[model_type]

    return get


def adapted(folder: Path):
    """What trains it, with an adapter that changes something."""
    from phoenix_forge.train.choose import Compute, by_autograd
    from phoenix_forge.train.trainable import Wanted, open_trainable

    base, train = open_base(folder), TrainConfig(rank=4, max_length=64, recompute=False)
    compute = Compute("cpu", "bf16", 16, "adamw", "")
    torch.set_num_threads(1)
    model = open_trainable(
        base,
        Wanted("base", (), 8, train),
        compute,
        by_autograd(train, compute, base.sizes).placement,
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.groups["b"]:
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.02
    return model


def save(model, folder: Path) -> Path:
    from safetensors.torch import save_file

    tensors, config = model.result()
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def batch(*lengths: int):
    from phoenix_forge.chat.encode import Encoded
    from phoenix_forge.train.batches import Batch

    examples = [
        Encoded([(7 * i + n) % 500 for i in range(length)], [0, 0] + [1] * (length - 2))
        for n, length in enumerate(lengths)
    ]
    return Batch(tuple(examples), 0)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TINY)
def test_it_trains_and_merges_as_peft_merges(model_type: str, build: Build, tmp_path: Path) -> None:
    folder = build(model_type)
    base = open_base(folder)
    assert base.family.name == ANY
    assert (base.family.stop, base.family.pad) == ("<|im_end|>", "<|endoftext|>")
    model = adapted(folder)
    loss = model.step(batch(20, 30), 1.0, seed=0)
    assert torch.isfinite(loss)
    moved = [
        name
        for name, p in model.model.named_parameters()
        if p.requires_grad and p.grad.abs().sum() > 0
    ]
    assert len(moved) == len(model.groups["a"]) + len(
        model.groups["b"]
    )  # nothing is trained that nothing uses
    adapter = open_adapter(save(model, tmp_path / "adapter"), base)
    written = write_merged(folder, adapter.folder, tmp_path / "merged", report=Silent())
    assert written
    ours = {tensor.name: tensor.load() for tensor in merged(base, adapter)}
    reference = model.model.merge_and_unload()
    for name in adapter.pairs:
        module = next(
            key
            for key in reference.state_dict()
            if key.split("layers.")[-1] == name.split("layers.")[-1]
        )
        theirs = reference.state_dict()[module].view(torch.uint16).numpy()
        assert (ours[name] == theirs).all(), name


@pytest.mark.parametrize("model_type", ["granitemoehybrid", "lfm2"])
def test_examples_of_a_batch_do_not_see_each_other(model_type: str, build: Build) -> None:
    model = adapted(build(model_type))
    together = float(model.loss(batch(20, 30)))
    first, second = batch(20, 30).examples
    from phoenix_forge.train.batches import Batch

    apart = sum(float(model.loss(Batch((example,), 0))) for example in (first, second))
    assert together == pytest.approx(apart, rel=1e-5)


@pytest.fixture(scope="module")
def gguf(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of base and adapter; one conversion a type, which starts a process."""
    made: dict[str, Path] = {}

    def get(model_type: str) -> Path:
        if model_type not in made:
            folder = tmp_path_factory.mktemp(f"{model_type}-gguf")
            adapter = save(adapted(build(model_type)), folder / "adapter")
            quantize_converted(
                build(model_type),
                adapter,
                {"BF16": folder / "bf16.gguf", "F32": folder / "f32.gguf"},
                name="t",
                report=Silent(),
            )
            made[model_type] = folder
        return made[model_type]

    return get


@pytest.mark.slow
@needs_converter
@pytest.mark.parametrize("model_type", ["qwen3_moe", "granitemoehybrid"])
def test_llama_cpp_answers_as_transformers_does(model_type: str, build: Build, gguf) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    from transformers import AutoTokenizer

    folder = gguf(model_type)
    assert verify(folder / "bf16.gguf")["name"] == "t"
    assert not list(folder.glob(".*"))  # the merged folder and the whole file are gone
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = (
        str(folder / "f32.gguf"),
        128,
        1,
        False,
    )
    prompt = AutoTokenizer.from_pretrained(build(model_type))(
        "The forge makes", add_special_tokens=False
    )["input_ids"]
    found = xllamacpp.Server(params).handle_completions(
        {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 3}
    )
    ours = json.loads(json.dumps(found))["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    model = adapted(build(model_type)).model.merge_and_unload().float().eval()
    theirs = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1).max()
    assert max(top["logprob"] for top in ours) == pytest.approx(float(theirs), abs=2e-3)


@pytest.mark.slow
@needs_converter
@pytest.mark.parametrize("model_type", ["qwen3_moe", "granitemoehybrid"])
def test_a_quantised_file_has_llama_cpps_own_bytes(model_type: str, gguf, tmp_path: Path) -> None:
    import oracle

    from phoenix_forge.catalog.quants import QUANTS

    if not (oracle.FOLDER / "complete").exists():
        pytest.skip(f"llama.cpp's quantiser is not in {oracle.FOLDER}")
    source = gguf(model_type) / "bf16.gguf"
    for name in ("Q4_K_M", "Q8_0", "IQ4_XS", "F16"):
        requantize(source, tmp_path / "ours.gguf", name, Silent())
        oracle.quantize(source, tmp_path / "theirs.gguf", QUANTS[name].ftype)
        assert (tmp_path / "ours.gguf").read_bytes() == (tmp_path / "theirs.gguf").read_bytes(), (
            name
        )


@pytest.mark.slow
@needs_converter
def test_code_of_a_base_is_never_run(build: Build, tmp_path: Path) -> None:
    """The converter loads tokenizers with trust_remote_code: what that would import is neither named nor there."""
    import shutil

    folder = Path(shutil.copytree(build("qwen3_moe"), tmp_path / "base"))
    (folder / "evil.py").write_text("open('RAN', 'w')\nclass T: ...\n")
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = {"AutoTokenizer": ["evil.T", None], "AutoConfig": "evil.T"}
        (folder / name).write_text(json.dumps(settings))
    quantize_converted(folder, None, {"F16": tmp_path / "x.gguf"}, name="t", report=Silent())
    assert read_header(tmp_path / "x.gguf").get("general.architecture") == "qwen3moe"
    assert not list(tmp_path.rglob("RAN"))
    assert not Path("RAN").exists()


def test_without_the_converter_it_is_refused_before_anything_is_trained(
    build: Build, monkeypatch
) -> None:
    monkeypatch.setattr(converted, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="which is not installed") as refused:
        require_convertible(open_base(build("qwen3_moe")))
    assert "any-model" in str(refused.value.fix)


@needs_converter
def test_an_architecture_that_the_converter_does_not_know_is_refused_by_name(
    build: Build, monkeypatch
) -> None:
    monkeypatch.setattr(converted, "table", lambda path, name: {"Other": "other"})
    with pytest.raises(UsageError, match="does not know 'Qwen3MoeForCausalLM'"):
        require_convertible(open_base(build("qwen3_moe")))


def test_a_row_with_another_tokenizer_keeps_its_layers_and_takes_its_own_turns(
    tmp_path: Path,
) -> None:
    """SmolLM2, TinyLlama and many more are Llamas that speak otherwise."""
    from phoenix_forge.weights.tiny import build_tiny

    build_tiny(
        tmp_path, ["Some words of some length.\n" * 40], ffn=64, layers=1, vocab=400, hidden=64
    )
    config = json.loads((tmp_path / "config.json").read_text()) | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
    }
    family = family_of(tmp_path, config)
    assert (family.name, family.targets) == (LLAMA3.name, LLAMA3.targets)
    assert (family.stop, family.converted) == ("<|im_end|>", True)
