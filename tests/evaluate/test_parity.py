"""The parity gate: sound files pass at every type, and each way of being wrong is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loud_models import TEXTS, build_loud, encoder_of, write_adapter
from said import Said

from phoenix_forge import pipeline
from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import StageFailed
from phoenix_forge.evaluate import parity
from phoenix_forge.evaluate.parity import FIXED, Case, cases, gate
from phoenix_forge.gguf import write as gguf_write
from phoenix_forge.gguf.container import Header, read_header
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.write import quantize
from phoenix_forge.runtime.llama import Model
from phoenix_forge.stages import Context
from phoenix_forge.weights.merge import merged
from phoenix_forge.weights.tiny import build_tiny


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loud")
    build_loud(folder / "base")
    write_adapter(folder / "adapter", 0.5)
    quantize(
        folder / "base",
        folder / "adapter",
        {"Q8_0": folder / "Q8_0.gguf", "Q4_0": folder / "Q4_0.gguf", "F16": folder / "F16.gguf"},
        name="loud",
        report=Silent(),
    )
    return folder


def hold(
    loud: Path, files: dict[str, Path], report: Silent | None = None, adapter: str = "adapter"
) -> dict:
    encoder = encoder_of(loud / "base")
    return gate(
        files,
        loud / "base",
        loud / adapter,
        encoder,
        cases(encoder, [], None),
        report=report or Silent(),
    )


def damaged(
    loud: Path, path: Path, change: Callable[[Header, np.memmap], None], source: str
) -> dict[str, Path]:
    path.write_bytes((loud / f"{source}.gguf").read_bytes())
    data = np.memmap(path, np.uint8, "r+")
    change(read_header(path), data)
    data.flush()
    return {source: path}


def replaced(old: bytes, new: bytes) -> Callable[[Header, np.memmap], None]:
    """The last occurrence in the header becomes other bytes of the same length."""

    def change(header: Header, data: np.memmap) -> None:
        assert len(old) == len(new)
        at = bytes(data[: header.start]).rfind(old)
        assert at > 0
        data[at : at + len(new)] = np.frombuffer(new, np.uint8)

    return change


def rows(header: Header, data: np.memmap, name: str) -> np.ndarray:
    info = header.tensors[name]
    at = header.start + info.offset
    return data[at : at + info.nbytes].reshape(info.shape[0], -1)


def permute_heads(header: Header, data: np.memmap) -> None:
    """The mistake of treating a Qwen2 as a Llama: q and k interleaved."""
    for layer in range(2):
        for name, heads in (("attn_q", 4), ("attn_k", 2)):
            found = rows(header, data, f"blk.{layer}.{name}.weight")
            found[:] = (
                np.array(found)
                .reshape(heads, 2, -1, found.shape[1])
                .swapaxes(1, 2)
                .reshape(found.shape)
            )


def reverse_embeddings(header: Header, data: np.memmap) -> None:
    found = rows(header, data, "token_embd.weight")
    found[:] = np.array(found)[::-1]


def test_sound_files_pass_and_say_what_was_compared(loud: Path) -> None:
    said = Said()
    found = hold(loud, {name: loud / f"{name}.gguf" for name in ("F16", "Q8_0", "Q4_0")}, said)
    assert found["answers"] == "compared"
    by_type = {file["type"]: file for file in found["files"]}
    assert by_type["F16"]["agreed"] == by_type["F16"]["tokens"] >= len(FIXED)
    assert by_type["F16"]["drift"] < by_type["Q8_0"]["drift"] < by_type["Q4_0"]["drift"]
    assert [line.partition(":")[0] for line in said.lines] == ["F16", "Q8_0", "Q4_0"]
    json.dumps(found)


@pytest.mark.parametrize(
    ("change", "source", "words"),
    [
        (permute_heads, "Q8_0", "does not answer as the model .*drift"),
        (reverse_embeddings, "Q8_0", "does not answer as the model .*opening"),
        (reverse_embeddings, "Q4_0", "does not answer as the model .*opening"),
        (
            replaced(b"<|im_start|>assistant\n{% e", b"<|im_start|>assistant {% e"),
            "Q8_0",
            "they part at token",
        ),
        (replaced(b"e\1\0\0\0\0\0\0\0f", b"f\1\0\0\0\0\0\0\0e"), "Q8_0", "they part at token"),
    ],
    ids=[
        "heads permuted",
        "embeddings reversed",
        "the same in 4 bits",
        "another template",
        "two tokens swapped",
    ],
)
def test_a_wrong_file_is_refused(
    loud: Path, tmp_path: Path, change: Callable, source: str, words: str
) -> None:
    with pytest.raises(StageFailed, match=words) as caught:
        hold(loud, damaged(loud, tmp_path / "wrong.gguf", change, source))
    assert caught.value.fix


def test_a_forgotten_adapter_is_seen(loud: Path, tmp_path: Path) -> None:
    quantize(loud / "base", None, {"Q8_0": tmp_path / "x.gguf"}, name="x", report=Silent())
    with pytest.raises(StageFailed, match="does not answer as the model"):
        hold(loud, {"Q8_0": tmp_path / "x.gguf"})


def test_other_weights_under_the_adapter_are_taken_into_account(loud: Path, tmp_path: Path) -> None:
    """merge.target: dequantised writes a model that only the same change of the base explains."""

    def frozen(name: str, weight: torch.Tensor) -> torch.Tensor:
        return weight * 0.8

    path = {"F16": tmp_path / "x.gguf"}
    quantize(loud / "base", loud / "adapter", path, name="x", frozen=frozen, report=Silent())
    encoder = encoder_of(loud / "base")
    found = gate(
        path,
        loud / "base",
        loud / "adapter",
        encoder,
        cases(encoder, [], None),
        frozen=frozen,
        report=Silent(),
    )
    assert found["files"][0]["agreed"] == found["files"][0]["tokens"]
    with pytest.raises(StageFailed, match="does not answer as the model"):
        hold(loud, path)


def test_a_turn_that_does_not_end_is_seen(loud: Path) -> None:
    """Trained to stop with a token that llama.cpp does not take for an end."""
    encoder = encoder_of(loud / "base", stop="<|im_start|>")
    with pytest.raises(StageFailed, match=r"does not end a turn at '<\|im_start\|>'"):
        gate(
            {"F16": loud / "F16.gguf"},
            loud / "base",
            loud / "adapter",
            encoder,
            cases(encoder, [], None),
            report=Silent(),
        )


def test_characters_of_several_tokens_leave_no_gap(loud: Path) -> None:
    """llama.cpp tells the probability of such a character's last token only."""
    first, second = encoder_of(loud / "base").ids(
        "é"
    )  # forced, since a random model hardly writes one
    with Model(loud / "F16.gguf", num_ctx=256) as model:
        alone = model.proceed([5, 6], 1, {first: 1000.0})
        assert (alone.ids, alone.logprobs) == ([first], [None])
        told = model.proceed([5, 6, first], 2, {second: 1000.0})
    assert told.ids == [second, second]
    assert isinstance(told.logprobs[0], float)


def test_without_memory_it_says_that_it_did_not_compare(
    loud: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity.psutil, "virtual_memory", lambda: SimpleNamespace(available=10**8))
    said = Said()
    found = hold(loud, {"F16": loud / "F16.gguf"}, said)
    assert found["answers"] == "skipped"
    assert "100 MB are free" in found["reason"]
    assert any("not compared" in line for line in said.lines)


def test_margins_are_those_of_a_plain_forward_pass(loud: Path) -> None:
    """Against transformers without padding, hooks or batches: the same tokens, margins and log-probabilities."""
    from transformers import AutoModelForCausalLM

    encoder = encoder_of(loud / "base")
    prompts = [encoder.prompt(messages) for messages in FIXED]
    answers = [[5, 6, 7, 8], [9]]
    found = parity._Reference(loud / "base", None, "cpu").follow(prompts, answers)
    model = AutoModelForCausalLM.from_pretrained(loud / "base", dtype=torch.float32)
    for prompt, answer, row in zip(prompts, answers, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        assert [place[0] for place in row] == logits.argmax(-1).tolist()
        own = logits.log_softmax(-1)[range(len(answer)), answer]
        np.testing.assert_allclose([place[2] for place in row], own, atol=1e-4)
        np.testing.assert_allclose(
            [place[1] for place in row],
            logits.max(-1).values - logits[range(len(answer)), answer],
            atol=1e-4,
        )


def test_the_reference_keeps_its_16_bits(loud: Path, tmp_path: Path) -> None:
    build_tiny(tmp_path / "base", TEXTS, ffn=256, layers=2, vocab=500)
    reference = parity._Reference(tmp_path / "base", None, "cpu")
    before = {name: value.clone() for name, value in reference.model.state_dict().items()}
    reference.follow([[1, 2, 3]], [[4, 5]])
    after = reference.model.state_dict()
    assert {str(value.dtype) for value in after.values()} == {"torch.bfloat16"}
    assert all(bool((after[name] == value).all()) for name, value in before.items())


def test_cases_take_the_datasets_questions_and_the_configured_system(
    loud: Path, tmp_path: Path
) -> None:
    encoder, file = encoder_of(loud / "base"), tmp_path / "validation.jsonl"
    asked = [
        [{"role": "system", "content": "S"}, {"role": "user", "content": text}]
        for text in ("word " * 500, "first e\u0301", "first \u00e9", "second", "third")
    ]
    file.write_text(
        "".join(
            json.dumps({"messages": [*m, {"role": "assistant", "content": "a"}]}) + "\n"
            for m in asked
        )
    )
    (tmp_path / "empty.jsonl").write_text("")
    found = cases(encoder, [tmp_path / "absent.jsonl", tmp_path / "empty.jsonl", file], "Own.")
    assert [case.messages for case in found[:2]] == [asked[2], asked[3]]
    assert found[2].messages[0] == {"role": "system", "content": "Own."}
    assert found[3].messages == FIXED[1]
    file.write_text(
        json.dumps({"messages": [*asked[3][1:], {"role": "assistant", "content": "a"}]}) + "\n"
    )
    assert cases(encoder, [file], "Own.")[0].messages == [
        {"role": "system", "content": "Own."},
        *asked[3][1:],
    ]
    assert cases(encoder, [file], None)[0].messages == asked[3][1:]
    assert all(case.ids == encoder.prompt(case.messages) for case in found)


def test_llama_makes_the_same_prompts_of_odd_conversations(loud: Path) -> None:
    encoder = encoder_of(loud / "base")
    odd = [
        "",
        " ",
        "\n\n",
        "<|im_end|>",
        "a\r\nb\tc",
        "\u00e9 \u200b",
        "\U0001f469\u200d\U0001f467",
        "x" * 300,
        "123456 7",
        "{{ 7 * 7 }}",
    ]
    with Model(loud / "F16.gguf", num_ctx=1024) as model:
        for text in odd:
            messages = [{"role": "user", "content": text}]
            assert model.prompt(messages) == encoder.prompt(messages), repr(text)


@pytest.fixture
def context(workspace: Callable[..., Path]) -> Callable[[], Context]:
    root = workspace(model={"base": "./base"}, quantize={"types": ["Q8_0"], "imatrix": "none"})
    build_loud(root / "base")
    write_adapter(root / "models/small-adapter", 0.5)

    def make() -> Context:
        config = assemble([("forge.yaml", dotted(read_yaml(root / "forge.yaml")))], []).config
        return Context(config, Workspace(root, config), Silent())

    return make


def test_a_file_that_fails_never_reaches_its_place(
    context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(context(), ["quantize"])
    ctx = context()
    path, record = ctx.workspace.gguf(), ctx.workspace.manifest("quantize")
    made = Manifest.read(record)
    assert made
    assert made.metrics["gate"]["answers"] == "compared"
    before = path.read_bytes(), record.read_bytes()
    monkeypatch.setattr(gguf_write, "merged", lambda base, adapter, frozen: merged(base, None))
    with pytest.raises(StageFailed, match="does not answer as the model"):
        pipeline.run(context(), ["quantize"], force=True)
    assert (path.read_bytes(), record.read_bytes()) == before
    assert list(ctx.workspace.root.rglob("*.partial")) == []


@pytest.mark.real
def test_the_real_model_passes(real_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    import_gguf(real_model, base, report=Silent())
    quantize(base, None, {"Q8_0": tmp_path / "x.gguf"}, name="x", report=Silent())
    encoder = encoder_of(base)
    chosen = [
        Case(m, encoder.prompt(m))
        for m in ([{"role": "user", "content": "What is 2+2? Only the number."}],)
    ]
    (file,) = gate({"Q8_0": tmp_path / "x.gguf"}, base, None, encoder, chosen, report=Silent())[
        "files"
    ]
    assert file["stops"] == 1
    assert file["agreed"] == file["tokens"]
