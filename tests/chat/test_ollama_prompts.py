"""The prompt that Ollama makes of a conversation is the one that the model was trained on, in every family."""

from __future__ import annotations

from pathlib import Path

import chat_templates as published
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.catalog.families import (
    FAMILIES,
    GEMMA3,
    LLAMA3,
    MISTRAL,
    PHI3,
    PHI4,
    QWEN2,
    QWEN3,
    VARIANTS,
    Family,
)
from phoenix_forge.chat.go_template import GoTemplate
from phoenix_forge.chat.ollama import CONVERSATIONS, derived, differences, go_template, prompts
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.gguf.container import read_header
from phoenix_forge.weights import tiny

LLAMA_TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
MISTRAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ROW, DERIVED = "the family's row", "derived from its own template"
# Chat template → its family, its text, what Ollama is given, and whether it takes system turns.
TABLE: dict[str, tuple[Family, ChatTemplate, str, bool]] = {
    "qwen2, tiny": (QWEN2, ChatTemplate(tiny.CHAT_TEMPLATE), ROW, True),
    "qwen3, hybrid": (QWEN3, ChatTemplate(published.QWEN3), ROW, True),
    "qwen3, without thoughts": (QWEN3, ChatTemplate(tiny._CHATML), DERIVED, True),
    "llama3": (LLAMA3, ChatTemplate(tiny._LLAMA3_TEMPLATE, LLAMA_TOKENS), ROW, True),
    "llama3.1, with dates": (LLAMA3, ChatTemplate(published.LLAMA31, LLAMA_TOKENS), DERIVED, True),
    "mistral": (MISTRAL, ChatTemplate(tiny._MISTRAL_TEMPLATE, MISTRAL_TOKENS), ROW, True),
    "mistral 0.3": (MISTRAL, ChatTemplate(published.MISTRAL3, MISTRAL_TOKENS), ROW, True),
    "mistral, the first": (
        MISTRAL,
        ChatTemplate(published.MISTRAL1, MISTRAL_TOKENS),
        DERIVED,
        False,
    ),
    "gemma3": (GEMMA3, ChatTemplate(tiny._GEMMA_TEMPLATE, {"bos_token": "<bos>"}), ROW, True),
    "phi3": (PHI3, ChatTemplate(published.PHI3), ROW, True),
    "phi4": (PHI4, ChatTemplate(published.PHI4), ROW, True),
}


def test_every_family_is_in_the_table() -> None:
    assert {family for family, *_ in TABLE.values()} == {*FAMILIES, *VARIANTS}


def require_equal(family: Family, jinja: ChatTemplate, source: str, takes_system: bool) -> None:
    for system in [jinja.default_system, *(["You are Ada."] if takes_system else [])]:
        chosen, apart = go_template(family.go_template, jinja, system)
        assert apart == []
        assert (ROW if chosen == family.go_template else DERIVED) == source
        compared = [
            prompts(GoTemplate(chosen), jinja, system, messages)
            for messages in CONVERSATIONS.values()
        ]
        assert sum(pair is not None for pair in compared) == (
            len(CONVERSATIONS) if takes_system else 3
        )


@pytest.mark.parametrize("name", TABLE)
def test_the_two_prompts_are_one(name: str) -> None:
    require_equal(*TABLE[name])


def test_the_two_prompts_are_one_with_the_real_qwen(real_model: Path) -> None:
    source = read_header(real_model).get("tokenizer.chat_template")
    assert "tools" in source
    jinja = ChatTemplate(source)
    assert "Qwen" in str(jinja.default_system)
    require_equal(QWEN2, jinja, ROW, True)


# What llama.cpp and the families' templates take as it is; those that trim are asked with trimmed texts.
words = (
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x02\x03"), min_size=1)
    .map(str.strip)
    .filter(lambda text: text and "</think>" not in text)
)


@settings(max_examples=40)
@pytest.mark.parametrize(
    "name", [name for name, (_, _, _, takes_system) in TABLE.items() if takes_system]
)
@given(
    system=st.none() | words,
    turns=st.lists(words, min_size=1, max_size=5).filter(lambda turns: len(turns) % 2),
)
def test_the_two_prompts_are_one_whatever_is_said(
    name: str, system: str | None, turns: list[str]
) -> None:
    family, jinja, *_ = TABLE[name]
    go = GoTemplate(go_template(family.go_template, jinja, jinja.default_system)[0])
    messages = [
        {"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)
    ]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    pair = prompts(go, jinja, jinja.default_system, messages)
    assert pair is not None
    assert pair[0] == pair[1]


USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
LATE = [USER, ANSWER, {"role": "system", "content": "S"}, USER]


@pytest.mark.parametrize(
    ("name", "messages", "equal"),
    [
        ("qwen2, tiny", [USER, USER], False),
        ("mistral, the first", [USER, USER], None),  # Ollama makes them one
        ("qwen2, tiny", [USER | {"content": " Q\n"}], True),
        ("phi4", [USER | {"content": " Q\n"}], True),
        ("llama3", [USER | {"content": " Q\n"}], False),
        ("gemma3", [USER | {"content": " Q\n"}], False),
        ("mistral 0.3", [USER, ANSWER | {"content": "A "}, USER], False),  # these templates trim
        ("qwen2, tiny", LATE, True),
        ("llama3", LATE, True),
        ("phi3", LATE, True),
        ("gemma3", LATE, False),
        ("mistral, the first", LATE, None),
    ],
)
def test_what_ollama_and_trimming_templates_do_differently(
    name: str, messages: list, equal: bool | None
) -> None:
    """The reasons are in docs/ollama.md; None: the model's own template refuses the conversation."""
    family, jinja, *_ = TABLE[name]
    go, _ = go_template(family.go_template, jinja, jinja.default_system)
    pair = prompts(GoTemplate(go), jinja, jinja.default_system, messages)
    assert (pair and pair[0] == pair[1]) == equal


def test_a_template_of_ones_own() -> None:
    """Turns by names of its own, with braces that Go would take for its own."""
    jinja = ChatTemplate(
        "{% for m in messages %}{{ '{{' ~ m.role ~ '}} ' ~ m.content ~ '<end>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '{{assistant}} ' }}{% endif %}"
    )
    go, apart = go_template(QWEN2.go_template, jinja, None)
    assert apart == []
    assert GoTemplate(go).prompt([USER, ANSWER, USER]) == (
        "{{user}} Q<end>{{assistant}} A<end>{{user}} Q<end>{{assistant}} "
    )


def test_what_cannot_be_said_in_go_is_told() -> None:
    """A template that counts, and one that takes no system prompt although there is one."""
    counting = ChatTemplate(
        "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}> "
    )
    _, apart = go_template(QWEN2.go_template, counting, None)
    assert {d.conversation for d in apart} & {"turns", "long"}
    assert str(apart[0]).startswith(f"{apart[0].conversation}: from character ")
    refusing = TABLE["mistral, the first"][1]
    assert differences(str(derived(refusing)), refusing, "You are Ada.")[0].trained.startswith(
        "no system turn"
    )
