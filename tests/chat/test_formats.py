"""In every family's format exactly the assistant's words and the token that ends them are trained, behind the very
prompt that inference gives."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest
from chat_templates import LLAMA31, MISTRAL1, MISTRAL3, TEXT, sentencepiece
from chat_templates import PHI3 as PHI3_TEMPLATE
from chat_templates import PHI4 as PHI4_TEMPLATE
from chat_templates import QWEN3 as QWEN3_TEMPLATE
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from phoenix_forge.catalog.families import (
    FAMILIES,
    GEMMA3,
    LLAMA3,
    MISTRAL,
    PHI3,
    PHI4,
    QWEN2,
    QWEN3,
    Family,
)
from phoenix_forge.chat.encode import Encoder, segments
from phoenix_forge.chat.mask_summary import mask_summary
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import UsageError
from phoenix_forge.examples.tokens import Tally
from phoenix_forge.weights.tiny import build_tiny

SYSTEM = {"role": "system", "content": "You keep the lighthouse."}
TURNS = [
    {"role": "user", "content": "Who lights the lamp?"},
    {"role": "assistant", "content": "Maren Holt lights it at dusk. Größe 3."},
    {"role": "user", "content": "And in fog?"},
    {"role": "assistant", "content": "The bell rings three times."},
    {"role": "user", "content": "Is it loud?"},
    {"role": "assistant", "content": "Yes."},
]
CONVERSATIONS = {
    "one turn": TURNS[:2],
    "three turns": TURNS,
    "system, one turn": [SYSTEM, *TURNS[:2]],
    "system, three turns": [SYSTEM, *TURNS],
    "system, ends with a question": [SYSTEM, *TURNS[:3]],
}


def as_it_is(text: str) -> str:
    return text


def spaced(text: str) -> str:
    return f" {text}"


@dataclass(frozen=True)
class Case:
    """A family's tiny model, or `template` and `tokenizer` in place of its own. `words` is what is trained of an
    answer, as it reads back; `stable` whether past turns keep the look they had."""

    family: Family
    template: str | None = None
    tokenizer: Callable[[], Tokenizer] | None = None
    words: Callable[[str], str] = as_it_is
    stable: bool = True
    system: bool = True


MISTRAL_TOKENS = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
PHI3_TOKENS = ("<s>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
PHI4_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>")
CASES = {
    "qwen2": Case(QWEN2),
    "qwen3": Case(QWEN3),
    "phi3": Case(PHI3),
    "llama3": Case(LLAMA3),
    "gemma3": Case(GEMMA3),
    "mistral": Case(MISTRAL, words=spaced, stable=False),
    "qwen3, hybrid": Case(QWEN3, QWEN3_TEMPLATE, stable=False),
    "llama 3.1": Case(LLAMA3, LLAMA31),
    "phi3, closed": Case(PHI3, PHI3_TEMPLATE),
    "phi4": Case(PHI4, PHI4_TEMPLATE, lambda: sentencepiece(*PHI4_TOKENS, legacy=False)),
    "mistral, first": Case(
        MISTRAL, MISTRAL1, lambda: sentencepiece(*MISTRAL_TOKENS[:3]), system=False
    ),
    "mistral 0.3": Case(MISTRAL, MISTRAL3, words=spaced, stable=False),
    "mistral 0.3, its tokens": Case(
        MISTRAL, MISTRAL3, lambda: sentencepiece(*MISTRAL_TOKENS, legacy=False), stable=False
    ),
    "phi3, space-eating": Case(
        PHI3, PHI3_TEMPLATE, lambda: sentencepiece(*PHI3_TOKENS, strips=True)
    ),
}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    loaded = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family.name)
        build_tiny(folder, TEXT, family=family, hidden=32, ffn=32, layers=1, vocab=400)
        loaded[family.name] = Encoder.load(folder, stop=family.stop, pad=family.pad)
    return loaded


def encoder_of(case: Case, encoders: dict[str, Encoder]) -> Encoder:
    own = encoders[case.family.name]
    template = ChatTemplate(case.template or own.template.source, own.template.special)
    return Encoder(
        case.tokenizer() if case.tokenizer else own.tokenizer, template, case.family.stop, own.pad
    )


def runs(encoder: Encoder, messages: list[dict[str, str]]) -> list[tuple[bool, list[int]]]:
    encoded = encoder.conversation(messages)
    pairs = zip(encoded.ids, encoded.trained, strict=True)
    return [
        (bool(trained), [i for i, _ in group])
        for trained, group in groupby(pairs, key=lambda pair: pair[1])
    ]


def decoded(encoder: Encoder, ids: list[int]) -> str:
    return unicodedata.normalize("NFC", encoder.tokenizer.decode(ids, skip_special_tokens=False))


def taught(case: Case, messages: list[dict[str, str]]) -> list[str]:
    """What is to be trained, as it reads back."""
    return [
        unicodedata.normalize("NFC", case.words(message["content"]) + case.family.stop)
        for message in messages
        if message["role"] == "assistant"
    ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_the_answers_and_their_stops_are_trained_and_nothing_else(encoders, case, messages):
    encoder = encoder_of(case, encoders)
    if messages[0] is SYSTEM and not case.system:
        with pytest.raises(UsageError, match="roles must alternate"):
            encoder.conversation(messages)
        return
    found = runs(encoder, messages)
    trained = [ids for is_trained, ids in found if is_trained]
    assert [decoded(encoder, ids) for ids in trained] == taught(case, messages)
    assert all(ids[-1] == encoder.stop_id for ids in trained)
    untrained = "".join(decoded(encoder, ids) for is_trained, ids in found if not is_trained)
    assert not any(word in untrained for word in ("Maren", "bell", "Yes."))
    assert all(
        message["content"] in untrained for message in messages if message["role"] != "assistant"
    )
    assert encoder.trained([messages, messages[:-1]])[0] == [i for ids in trained for i in ids]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_every_answer_stands_behind_the_prompt_of_inference(encoders, case, messages):
    encoder = encoder_of(case, encoders)
    messages = messages if case.system else [m for m in messages if m["role"] != "system"]
    encoded = encoder.conversation(messages)
    found, at = runs(encoder, messages), 0
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    for n, i in enumerate(answers):
        prompt, before = encoder.prompt(messages[:i]), found[2 * n][1]
        at += len(before)
        assert prompt[-len(before) :] == before
        if case.stable or n == 0:
            assert encoded.ids[:at] == prompt
        at += len(found[2 * n + 1][1])
    if case.stable:
        text = "".join(
            segment.text for segment in segments(encoder.template, messages, encoder.stop)
        )
        assert text == encoder.template.render(messages)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_conversations_counted_in_bulk_have_the_tokens_that_are_trained(encoders, case):
    encoder = encoder_of(case, encoders)
    conversations = [
        messages for messages in CONVERSATIONS.values() if case.system or messages[0] is not SYSTEM
    ]
    encoded = [encoder.conversation(messages) for messages in conversations]
    for tally in (Tally(encoder), Tally(encoder)):
        found = tally.counts(conversations)
        assert [(count.tokens, count.trained) for count in found] == [
            (len(e.ids), sum(e.trained)) for e in encoded
        ]
        assert tally.trained(conversations) == [sum(e.trained) for e in encoded]


# What no template's own syntax, no thought and no decoder's joining of spaces can be mistaken for.
_words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="<|>[]▁\x02"), max_size=30
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if not case.tokenizer],
    ids=[name for name, case in CASES.items() if not case.tokenizer],
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(system=st.none() | _words, turns=st.lists(st.tuples(_words, _words), min_size=1, max_size=3))
def test_any_words(encoders, case, system, turns):
    # Where a prompt is no part of what comes of it, its question is looked for.
    assume(case.template is not MISTRAL3 or all(question.strip() for question, _ in turns))
    # Of an answer that begins with a space, SentencePiece's decoder drops that.
    assume(not any(answer.startswith(" ") for _, answer in turns))
    encoder = encoder_of(case, encoders)
    messages = [] if system is None else [{"role": "system", "content": system}]
    messages += [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    found = runs(encoder, messages)
    assert [decoded(encoder, ids) for is_trained, ids in found if is_trained] == taught(
        case, messages
    )
    first = 1 + (system is not None)
    prompt = encoder.prompt(messages[:first])
    assert encoder.conversation(messages).ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    "case",
    [CASES[name] for name in ("llama3", "gemma3", "mistral", "qwen3, hybrid")],
    ids=lambda case: case.family.name,
)
def test_white_space_that_a_template_takes_away_is_trained_all_the_same(encoders, case):
    encoder = encoder_of(case, encoders)
    code = {"role": "assistant", "content": "\n\n\n    return lamp\n\n"}
    messages = [TURNS[0], code, TURNS[2], code]
    assert code["content"] not in encoder.template.render(messages[:2])
    found = runs(encoder, messages)
    assert [decoded(encoder, ids) for trained, ids in found if trained] == taught(case, messages)


def test_an_answer_that_begins_with_what_a_control_token_would_take(encoders):
    case = CASES["phi3, space-eating"]
    encoder = encoder_of(case, encoders)
    messages = [TURNS[0], {"role": "assistant", "content": "\n  lamp"}]
    assert [decoded(encoder, ids) for trained, ids in runs(encoder, messages) if trained] == [
        "\n  lamp<|end|>"
    ]
    prompt = encoder.prompt(messages[:1])
    assert encoder.conversation(messages).ids[: len(prompt)] == prompt


def test_a_qwen3_that_may_think_answers_behind_an_empty_thought_in_every_turn(encoders):
    template = encoder_of(CASES["qwen3, hybrid"], encoders).template
    text = "".join(segment.text for segment in segments(template, TURNS, QWEN3.stop))
    answers = [TURNS[i]["content"] for i in (1, 3, 5)]
    assert all(
        f"assistant\n<think>\n\n</think>\n\n{answer}<|im_end|>\n" in text for answer in answers
    )
    assert (
        template.render(TURNS).count("<think>") == 1
    )  # why the rendered conversation cannot be what is trained


def test_an_answer_that_speaks_of_thoughts_keeps_its_words(encoders):
    case = CASES["qwen3, hybrid"]
    messages = [
        TURNS[0],
        {"role": "assistant", "content": "A thought ends with </think>, then words follow."},
    ] * 2
    assert messages[1]["content"] not in encoder_of(case, encoders).template.render(messages)
    cut = segments(encoder_of(case, encoders).template, messages, QWEN3.stop)
    assert [segment.text for segment in cut if segment.trained] == taught(case, messages)


def test_a_llama_of_another_format_is_refused_by_what_it_lacks(tmp_path: Path):
    # Mistral's tokens are Llama 2's.
    build_tiny(tmp_path, TEXT, family=MISTRAL, hidden=32, ffn=32, layers=1, vocab=400)
    with pytest.raises(UsageError, match=r"no token '<\|eot_id\|>'.*another model under") as caught:
        Encoder.load(tmp_path, stop=LLAMA3.stop, pad=LLAMA3.pad)
    assert "instruct" in caught.value.fix


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_what_is_shown_adds_up(encoders, case, messages):
    encoder = encoder_of(case, encoders)
    messages = messages if case.system else [m for m in messages if m["role"] != "system"]
    encoded, line = encoder.conversation(messages), mask_summary(encoder, messages)
    parts = dict(part.split(" ", 1) for part in line.split("; "))
    counted = {
        role: [int(word) for word in text.replace(",", "").split() if word.isdigit()]
        for role, text in parts.items()
    }
    assert sum(tokens for tokens, _ in counted.values()) == len(encoded.ids)
    assert counted["assistant"][1] == sum(encoded.trained) > 0
    assert parts["assistant"].endswith(f"trained, ending in {case.family.stop}")
    assert counted["user"][1] == 0
    assert ("system" in counted) == (
        messages[0]["role"] == "system" or encoder.template.default_system is not None
    )


def test_a_shown_line(encoders):
    encoder = encoders["phi3"]
    messages = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "bc"},
        {"role": "assistant", "content": "d"},
    ]
    assert mask_summary(encoder, messages) == (
        "system 7 tokens, 0 trained; user 11, 0 trained; assistant 4, 2 trained, ending in <|end|>"
    )
    assert mask_summary(encoder, messages[1:2]) == "user 8 tokens, 0 trained"
    assert mask_summary(encoders["qwen2"], messages[1:]).startswith("system ")  # the template's own
