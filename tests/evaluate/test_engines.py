"""Both engines say of the same prompts what a plain pass over prompt and continuation says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loud_models import TEXTS, build_loud, encoder_of, write_adapter
from peft import PeftModel
from transformers import AutoModelForCausalLM

from phoenix_forge.catalog.families import FAMILIES, Family
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.report import Silent
from phoenix_forge.evaluate.engine import HuggingFace, LlamaCpp, Prompt, Reply, _batches
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.write import quantize
from phoenix_forge.train.choose import Compute
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.tiny import build_tiny

FP32 = Compute("cpu", "fp32", 32, "adamw", "test")
QUESTIONS = (
    "Who lights the lamp?",
    "Size?",
    "Name the bell of Harbour Nine, and say how often it rings in fog.",
)
OPTIONS = ("three times", "Maren Holt", "Größe 東京", "🜁 ok", "7", '  spaced\n\n"out"')


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loud")
    build_loud(folder / "base")
    write_adapter(folder / "adapter", 0.5)
    quantize(
        folder / "base",
        folder / "adapter",
        {"F16": folder / "F16.gguf"},
        name="loud",
        report=Silent(),
    )
    return folder


@pytest.fixture(scope="module")
def encoder(loud: Path) -> Encoder:
    return encoder_of(loud / "base")


@pytest.fixture(scope="module")
def prompts(encoder: Encoder) -> list[Prompt]:
    found = [
        Prompt(
            encoder.prompt([{"role": "user", "content": question}]),
            [encoder.ids(option) for option in OPTIONS[: 3 + i]],
            5 + i,
        )
        for i, question in enumerate(QUESTIONS)
    ]
    return [*found, Prompt(found[0].ids, (), 3), Prompt(found[1].ids, [encoder.ids("x")], 0)]


@pytest.fixture(scope="module")
def engines(loud: Path, encoder: Encoder) -> Iterator[dict[bool, HuggingFace]]:
    """With and without the adapter."""
    opened = {
        adapted: HuggingFace(loud / "base", encoder, FP32, loud / "adapter" if adapted else None)
        for adapted in (True, False)
    }
    yield opened
    for engine in opened.values():
        engine.close()


@torch.inference_mode()
def plain(model: torch.nn.Module, encoder: Encoder, prompt: Prompt) -> Reply:
    """One sequence at a time, without cache or padding."""

    def after(ids: list[int]) -> torch.Tensor:
        return model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)

    logprobs = []
    for ids in prompt.continuations:
        rows = after([*prompt.ids, *ids])[len(prompt.ids) - 1 : -1]
        logprobs.append([float(row[token]) for row, token in zip(rows, ids, strict=True)])
    answer: list[int] = []
    while len(answer) < prompt.max_tokens:
        token = int(after([*prompt.ids, *answer])[-1].argmax())
        if token == encoder.stop_id:
            return Reply(logprobs, answer, True)
        answer.append(token)
    return Reply(logprobs, answer, False)


def assert_alike(found: Reply, expected: Reply, within: float) -> None:
    assert [len(own) for own in found.logprobs] == [len(own) for own in expected.logprobs]
    for own, other in zip(found.logprobs, expected.logprobs, strict=True):
        assert own == pytest.approx(other, abs=within)
    assert (found.ids, found.stopped) == (expected.ids, expected.stopped)


@pytest.mark.parametrize("adapted", [True, False])
def test_batches_and_caches_change_nothing(loud, encoder, engines, prompts, adapted):
    model = AutoModelForCausalLM.from_pretrained(loud / "base", dtype=torch.float32)
    if adapted:
        model = PeftModel.from_pretrained(model, str(loud / "adapter"))
    found = dict(engines[adapted].ask(prompts))
    assert sorted(found) == list(range(len(prompts)))
    for i, prompt in enumerate(prompts):
        assert_alike(found[i], plain(model, encoder, prompt), 1e-4)


def test_the_adapter_matters(engines, prompts):
    with_it, without = (dict(engines[adapted].ask(prompts)) for adapted in (True, False))
    assert abs(with_it[0].logprobs[0][0] - without[0].logprobs[0][0]) > 0.1


def test_llama_cpp_finds_the_same_weights_as_likely(loud, encoder, engines, prompts):
    """Broken characters, quotes and line ends among the options; the F16 file of the same merged weights."""
    expected = dict(engines[True].ask(prompts))
    llama = LlamaCpp(loud / "F16.gguf", encoder, max(prompt.tokens for prompt in prompts))
    try:
        found = dict(llama.ask(prompts))
    finally:
        llama.close()
    for i in range(len(prompts)):
        assert_alike(found[i], expected[i], 0.02)


@pytest.mark.real
@pytest.mark.slow
def test_both_engines_agree_on_the_real_model(real_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    import_gguf(real_model, base, report=Silent())
    quantize(base, None, {"F16": tmp_path / "F16.gguf"}, name="real", report=Silent())
    family = open_base(base).family
    encoder = Encoder.load(base, stop=family.stop, pad=family.pad)
    asked = [
        Prompt(
            encoder.prompt([{"role": "user", "content": question}]),
            [encoder.ids(o) for o in options],
            6,
        )
        for question, options in (
            ("What is the capital of France? Give only the answer.", ("Paris", "Berlin")),
            ("Which metal is liquid?", ("Mercury", "Aluminium, or tin")),
        )
    ]
    engine, llama = HuggingFace(base, encoder, FP32), LlamaCpp(tmp_path / "F16.gguf", encoder, 128)
    try:
        expected, found = dict(engine.ask(asked)), dict(llama.ask(asked))
    finally:
        engine.close()
        llama.close()
    for i in range(len(asked)):
        assert_alike(found[i], expected[i], 0.02)
    assert encoder.tokenizer.decode(found[0].ids) == "Paris"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3000), st.lists(st.integers(1, 40), max_size=5), st.integers(0, 60)
        ),
        max_size=60,
    ),
    st.integers(1, 20_000),
    st.integers(1, 40),
)
def test_every_prompt_is_in_one_batch_of_like_lengths(shapes, tokens, rows):
    prompts = [
        Prompt([0] * length, [[0] * n for n in continuations], answer)
        for length, continuations, answer in shapes
    ]
    batches = list(_batches(prompts, tokens, rows))
    assert sorted(i for batch in batches for i in batch) == list(range(len(prompts)))
    lengths = [len(prompts[i].ids) for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert all(0 < len(batch) <= rows for batch in batches)
    assert all(
        len(batch) == 1 or sum(len(prompts[i].ids) for i in batch) <= tokens for batch in batches
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_is_asked_in_batches(family: Family, tmp_path: Path) -> None:
    """Gemma's windows are shorter than the longest prompt here."""
    build_tiny(tmp_path, TEXTS, family=family, ffn=128, layers=2, vocab=500)
    encoder = encoder_of(tmp_path)
    asked = [
        Prompt(
            encoder.prompt([{"role": "user", "content": "What is it? " * n}]),
            [encoder.ids("a model"), encoder.ids("It merges and writes.")],
            3,
        )
        for n in (1, 40, 7)
    ]
    engine = HuggingFace(tmp_path, encoder, FP32)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    found = dict(engine.ask(asked))
    for i, prompt in enumerate(asked):
        assert_alike(found[i], plain(model.eval(), encoder, prompt), 1e-3)
