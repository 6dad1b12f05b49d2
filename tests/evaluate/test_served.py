"""When a server's answers count as the built-in runtime's, and when they do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.evaluate.parity import Case
from phoenix_forge.evaluate.served import Served, compare
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.llama import Tokens

TEXT = "the lamp of Harbour Nine"


@pytest.fixture(scope="module")
def encoder(tiny_base: Path) -> Encoder:
    return Encoder.load(tiny_base, stop=QWEN2.stop, pad=QWEN2.pad)


class Says:
    """A runtime that always makes these tokens."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids

    def proceed(self, prompt: Sequence[int], max_tokens: int) -> Tokens:
        return Tokens(self.ids, [0.0] * len(self.ids), True)


def held(encoder: Encoder, ids: list[int], *answers: str, counted: int | None = None) -> Served:
    """Answers of a server to as many conversations, with the token counts of the training's prompts or another."""
    chosen = [
        Case(m, encoder.prompt(m))
        for m in (
            [{"role": "system", "content": "S"}, {"role": "user", "content": f"Q{i}"}]
            for i in range(len(answers))
        )
    ]
    sent: list[Any] = []

    def ask(messages: Any) -> Answer:
        sent.append(messages)
        at = len(sent) - 1
        return Answer(
            answers[at], True, 1, 0.0, len(chosen[at].ids) if counted is None else counted
        )

    found = compare(Says(ids), ask, encoder, chosen, "S")  # type: ignore[arg-type]
    assert all(
        [m["role"] for m in messages] == ["user"] for messages in sent
    )  # SYSTEM is the server's own
    return found


def test_the_same_words_are_the_same(encoder: Encoder) -> None:
    ids = [*encoder.ids(TEXT), encoder.stop_id]
    served = held(encoder, ids, TEXT, TEXT)
    assert (served.partings, served.broken) == ((), False)
    assert str(served) == "2 of 2 greedy answers are the built-in runtime's"


def test_half_a_character_at_the_end_is_no_difference(encoder: Encoder) -> None:
    ids = encoder.ids("Größe 🗼")
    whole = encoder.tokenizer.decode(ids[:-1], skip_special_tokens=False)
    assert whole.endswith("\ufffd")
    assert held(encoder, ids[:-1], whole.rstrip("\ufffd")).partings == ()
    odd = [
        *encoder.ids("The lamp"),
        ids[-2],
        *encoder.ids("x"),
    ]  # half of it, and then something else
    assert held(encoder, odd, "The lamp\x9fx").partings == ()
    assert [parting.position for parting in held(encoder, odd, "The lamb").partings] == [7]


def test_late_differences_are_told_and_borne(encoder: Encoder) -> None:
    served = held(encoder, encoder.ids(TEXT), TEXT[:-4] + "Ten", TEXT[:-4] + "Ten", TEXT)
    assert [(p.position, p.at_once) for p in served.partings] == [(len(TEXT) - 4, False)] * 2
    assert not served.broken
    assert "1 of 3" in str(served)


def test_answers_that_part_at_once_are_not(encoder: Encoder) -> None:
    ids = encoder.ids(TEXT)
    assert held(encoder, ids, "A bell", "", TEXT).broken
    assert not held(encoder, ids, "A bell", TEXT, TEXT).broken
    assert not held(encoder, ids, "A bell", "", TEXT, TEXT, TEXT).broken


def test_prompts_of_another_length_are_not(encoder: Encoder) -> None:
    ids = encoder.ids(TEXT)
    served = held(encoder, ids, TEXT, TEXT, counted=3)
    assert served.broken
    assert "(3 tokens of prompt, " in str(served)
    assert not held(encoder, ids, TEXT, TEXT, counted=0).partings  # it does not say
