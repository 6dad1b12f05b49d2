"""Sentences with a gap, whole or with some of their words: in the words of their language, or in those that fit any."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.prose import HAN, LANGUAGES
from phoenix_forge.corpus.readers import structure
from phoenix_forge.corpus.split import split
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import facts_of, materials
from phoenix_forge.questions.gaps import DATA, LESS, gaps, thinned

GAP = "____"
TEXTS = {
    "en": "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt.",
    "de": "Die Lampe im Hafen wird in der Dämmerung vom Wärter Maren Holt angezündet.",
    "zh": "九号港的灯由守护人马伦·霍尔特在黄昏时点亮。",
    "ru": "Лампу маяка зажигает в сумерках смотритель Марен Хольт.",
}


def document(text: str, name: str = "lamp.md") -> Document:
    read = structure(name, text)
    return Document(
        name,
        name,
        "0" * 64,
        text,
        read.title or "lamp",
        read.blocks,
        np.arange(len(text) + 1, dtype=np.int64),
    )


def asked(text: str, limit: int = 400) -> list[Fact]:
    made = document(text)
    found = [
        one
        for one in split(made, limit, lambda texts: [len(t) // 4 + 1 for t in texts])
        if one.body
    ]
    return [fact for material in materials(made, found) for fact in gaps(material)]


class Form(NamedTuple):
    """A wording of a gap, without what stands around the sentence."""

    before: str
    gap: str
    after: str

    def filled(self, answer: str) -> str:
        return f"{self.before}{answer}{self.after}"


def taken_apart(fact: Fact, title: str, own: str) -> Iterator[Form]:
    """The forms, each by the only wording that it can be of."""
    wordings = json.loads(DATA.read_text("utf-8"))
    frames = [
        (*wording.format(title=title, sentence="\0").split("\0"), gap)
        for wording, gap in wordings.get(own, wordings["other"])
    ]
    for wording in fact.wordings:
        ((start, end, gap),) = [
            frame
            for frame in frames
            if wording.startswith(frame[0])
            and wording.endswith(frame[1])
            and wording[len(frame[0]) :].count(frame[2]) == 1
        ]
        before, _, after = wording[len(start) : len(wording) - len(end)].partition(gap)
        yield Form(before, gap, after)


def words(text: str) -> list[str]:
    return re.findall(rf"[{HAN}]|[^\s{HAN}]+", text)


def is_among(some: list[str], every: list[str]) -> bool:
    """Whether some words are of every word, in their order."""
    left = iter(every)
    return all(word in left for word in some)


def around(fact: Fact) -> tuple[list[str], list[str]]:
    before, _, after = fact.answer.partition(fact.answer_key)
    return words(before), words(after)


def count_around(fact: Fact) -> int:
    return sum(map(len, around(fact)))


@pytest.mark.parametrize(
    ("own", "answer", "sentence"),
    [
        ("en", "Maren Holt", "The lamp of Harbour Nine is lit at dusk by the keeper, {}."),
        ("de", "Wärter Maren Holt", "Die Lampe im Hafen wird in der Dämmerung vom {} angezündet."),
        ("zh", "黄昏", "九号港的灯由守护人马伦·霍尔特在{}时点亮。"),
        ("ru", "Марен Хольт", "Лампу маяка зажигает в сумерках смотритель {}."),
    ],
)
def test_a_sentence_is_asked_for_with_a_gap_in_its_own_language(
    own: str, answer: str, sentence: str
) -> None:
    facts = asked(f"# The lamp\n\n{TEXTS[own]}\n")
    fact = next(one for one in facts if one.answer_key == answer)
    wordings = json.loads(DATA.read_text("utf-8"))
    assert fact.wordings[0] in [
        wording.format(title="The lamp", sentence=sentence.format(gap))
        for wording, gap in wordings.get(own, wordings["other"])
    ]
    assert fact == Fact("gap", fact.wordings, TEXTS[own], fact.start, fact.end, answer, "gap")
    assert len(set(fact.wordings)) == 2


def test_every_run_of_words_is_left_out_wherever_it_stands() -> None:
    names = [
        "Maren Holt",
        "Erik Lund",
        "Ida Berg",
        "Jonas Vik",
        "Sofie Dahl",
        "Anders Moe",
        "Kari Nes",
        "Olav Rud",
    ]
    years = range(1901, 1909)
    text = "; ".join(
        f"{name} came to the tower in {year}" for name, year in zip(names, years, strict=True)
    )
    found = {fact.answer_key for fact in asked(f"# The tower\n\nIn order of years, {text}.\n")}
    assert {*names, *map(str, years)} <= found


def test_all_wordings_are_used() -> None:
    text = "\n\n".join(f"Bell {i} of bronze hangs in tower {i + 100}." for i in range(30))
    used = {
        wording.split("Bell")[0].split("____")[0]
        for fact in asked(f"# Bells\n\n{text}\n", 10**4)
        for wording in fact.wordings
    }
    wordings = json.loads(DATA.read_text("utf-8"))["en"]
    assert len(used) >= len(wordings)


def test_only_a_language_without_wordings_of_its_own_gets_those_that_fit_any() -> None:
    assert {"en", "de", "zh"} <= set(json.loads(DATA.read_text("utf-8")))
    assert "ru" not in json.loads(DATA.read_text("utf-8"))


@pytest.mark.parametrize("own", TEXTS)
def test_the_first_form_filled_in_is_the_sentence_again_and_the_second_has_lost_words(
    own: str,
) -> None:
    facts = asked(f"# Chapter\n\n{TEXTS[own]}\n")
    assert len(facts) > 2
    for fact in facts:
        assert fact.answer == TEXTS[own]
        whole, thin = taken_apart(fact, "Chapter", own)
        assert whole.filled(fact.answer_key) == TEXTS[own]
        before, after = around(fact)
        left, right = words(thin.before), words(thin.after)
        assert is_among(left, before)
        assert is_among(right, after)
        assert 0 < len(left + right) < len(before + after)


def test_of_a_short_sentence_some_words_are_left_out_and_some_stay() -> None:
    text = "\n\n".join(f"Bell {i} is bronze and old." for i in range(60))
    facts = [fact for fact in asked(f"# Bells\n\n{text}\n", limit=10**4) if count_around(fact) > 2]
    assert len(facts) > 100
    for fact in facts:
        whole, thin = taken_apart(fact, "Bells", "en")
        assert whole.filled(fact.answer_key) == fact.answer != thin.filled(fact.answer_key)
        assert any(map(str.isalnum, thin.before + thin.after)), fact.wordings


def test_no_form_says_its_answer_where_words_are_left_out_between_those_of_it() -> None:
    text = "\n\n".join(
        f"Maren met Holt on day {i}, and Maren Holt left the town." for i in range(40)
    )
    facts = [
        fact
        for fact in asked(f"# Chapter\n\n{text}\n", limit=10**4)
        if fact.answer_key == "Maren Holt"
    ]
    assert len(facts) == 40
    assert [
        fact.wordings
        for fact in facts
        if any(fact.answer_key in wording for wording in fact.wordings)
    ] == []


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ("en", "Pier number {} belongs to the town of Tarvik and was built of stone by Erik Lund."),
        ("zh", "第{}号码头属于塔尔维克镇，由埃里克·伦德用石头建造。"),
    ],
)
def test_of_the_words_around_a_gap_two_to_six_tenths_are_lost(own: str, sentence: str) -> None:
    text = "\n\n".join(sentence.format(i) for i in range(60))
    facts = asked(f"# Piers\n\n{text}\n", limit=10**4)
    assert len(facts) > 150
    kept = [
        len(words(wording.before + wording.after)) / count_around(fact)
        for fact in facts
        for wording in taken_apart(fact, "Piers", own)
        if wording.filled(fact.answer_key) != fact.answer
    ]
    assert 0.5 < sum(kept) / len(kept) < 0.7
    assert min(kept) < 0.45
    assert max(kept) > 0.8
    assert asked(f"# Piers\n\n{text}\n", limit=10**4) == facts


QUESTIONS = {
    "en": "Who lit the lamp of Harbour Nine at dusk in the spring of 1874?",
    "de": "Wer hat im Frühjahr 1874 die Lampe am Hafen Neun in der Dämmerung angezündet?",
    "zh": "九号港的灯在一八七四年春天的黄昏由哪一位守护人点亮？",
}


@pytest.mark.parametrize("own", QUESTIONS)
def test_a_thinned_question_has_lost_other_words_each_time_but_neither_its_first_nor_its_last(
    own: str,
) -> None:
    question = QUESTIONS[own]
    every, found = words(question), list(thinned(question, 12))
    assert len(found) > 8
    assert len({question, *found}) == len(found) + 1
    for wording in found:
        left = words(wording)
        assert is_among(left, every)
        assert (left[0], left[-1]) == (every[0], every[-1])
        assert len(left) >= (1 - LESS[1]) * len(every) - 1
    assert list(thinned(question, 3)) == found[:3]


@pytest.mark.parametrize("question", ["", "Who?", "Who is Maren Holt?", "谁？", "   "])
def test_a_question_of_few_words_keeps_all(question: str) -> None:
    assert list(thinned(question, 6)) == []


def test_what_stands_in_the_sentence_twice_is_no_gap() -> None:
    facts = asked(
        "# Bells\n\nMaren Holt rings the bell, and the bell was cast by Erik Lund in Tarvik.\n"
    )
    assert "Erik Lund" in {fact.answer_key for fact in facts}
    assert not any(fact.answer_key == "bell" for fact in facts)


def test_braces_in_a_title_or_sentence_are_only_braces() -> None:
    facts = asked(
        "# The {title} of {0}\n\nThe lamp {sentence} of Harbour Nine is lit at dusk by Maren Holt.\n"
    )
    assert any(
        wording.startswith("The {title} of {0}: The lamp {sentence} of")
        for fact in facts
        for wording in fact.wordings
    )


def test_every_section_is_asked_about_with_its_headings_and_its_span() -> None:
    text = "\n\n".join(
        f"## Pier {i}\n\nThe ferry number {i} leaves at dawn for the island of Vea."
        for i in range(9)
    )
    made = document(f"# Piers\n\n{text}\n")
    facts = asked(made.text, limit=40)
    assert len({fact.start for fact in facts}) > 4
    for fact in facts:
        assert fact.answer in made.text[fact.start : fact.end]
    assert {fact.answer for fact in facts} == {
        f"The ferry number {i} leaves at dawn for the island of Vea." for i in range(9)
    }


def test_gaps_are_among_the_facts_of_a_document() -> None:
    made = document(f"# The lamp\n\n{TEXTS['de']}\n")
    found = split(made, 200, lambda texts: [len(t) // 4 + 1 for t in texts])
    kinds = [view.kind for material in materials(made, found) for view, _ in facts_of(material)]
    assert "gap" in kinds


def test_each_wording_has_a_place_for_the_sentence_and_a_gap() -> None:
    wordings = json.loads(DATA.read_text("utf-8"))
    assert set(wordings) - {"other"} < set(LANGUAGES)
    for pairs in wordings.values():
        assert len({wording.format(title="t", sentence=gap) for wording, gap in pairs}) == len(
            pairs
        )
        assert all("{sentence}" in wording and gap for wording, gap in pairs)


@given(st.text(max_size=300))
def test_any_text_has_gaps_or_none(text: str) -> None:
    for fact in asked(f"# The lamp\n\n{text}\n"):
        assert fact.answer_key
        assert fact.answer_key in fact.answer
        assert all(wording.strip() for wording in fact.wordings)
