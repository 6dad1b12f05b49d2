"""Sentences with a gap: in the words of their language, or in those that fit any."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.corpus.document import Document
from forge.corpus.prose import LANGUAGES
from forge.corpus.readers import structure
from forge.corpus.split import split
from forge.examples.fact import Fact
from forge.questions import facts_of, sources
from forge.questions.gaps import DATA, PER_SENTENCE, gaps

GAP = "____"
TEXTS = {
    "en": "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt.",
    "de": "Die Lampe im Hafen wird in der Dämmerung vom Wärter Maren Holt angezündet.",
    "zh": "九号港的灯由守护人马伦·霍尔特在黄昏时点亮。",
    "ru": "Лампу маяка зажигает в сумерках смотритель Марен Хольт.",
}


def document(text: str, name: str = "lamp.md") -> Document:
    read = structure(name, text)
    return Document(name, name, "0" * 64, text, read.title or "lamp", read.blocks,
                    np.arange(len(text) + 1, dtype=np.int64))


def asked(text: str, limit: int = 400) -> list[Fact]:
    made = document(text)
    found = [one for one in split(made, limit, lambda texts: [len(t) // 4 + 1 for t in texts]) if one.body]
    return [fact for source in sources(made, found) for fact in gaps(source)]


@pytest.mark.parametrize(("own", "answer", "form"), [
    ("en", "Maren Holt", "What belongs in the gap? The lamp of Harbour Nine is lit at dusk by the keeper, ____."),
    ("de", "Wärter Maren Holt",
     "Was gehört in die Lücke? Die Lampe im Hafen wird in der Dämmerung vom ____ angezündet."),
    ("zh", "黄昏", "空格里应填什么？九号港的灯由守护人马伦·霍尔特在____时点亮。"),
    ("ru", "Марен Хольт", "The lamp: Лампу маяка зажигает в сумерках смотритель ____.")])
def test_a_sentence_is_asked_for_with_a_gap_in_its_own_language(own: str, answer: str, form: str) -> None:
    facts = asked(f"# The lamp\n\n{TEXTS[own]}\n")
    fact = next(one for one in facts if one.gold == answer)
    assert form in fact.forms
    assert fact == Fact("gap", fact.forms, TEXTS[own], fact.start, fact.end, answer, "gap")
    wordings = json.loads(DATA.read_text("utf-8"))
    assert len(fact.forms) == len(set(fact.forms)) == len(wordings.get(own, wordings["other"]))


def test_only_a_language_without_wordings_of_its_own_gets_those_that_fit_any() -> None:
    assert {"en", "de", "zh"} <= set(json.loads(DATA.read_text("utf-8")))
    assert "ru" not in json.loads(DATA.read_text("utf-8"))


@pytest.mark.parametrize("own", TEXTS)
def test_the_gap_filled_in_is_the_sentence_again(own: str) -> None:
    facts = asked(f"# Chapter\n\n{TEXTS[own]}\n")
    assert 2 < len(facts) <= PER_SENTENCE
    for fact in facts:
        assert fact.forms[0].replace(GAP, fact.gold).endswith(TEXTS[own])
        assert fact.answer == TEXTS[own]
        assert not any(fact.gold in form for form in fact.forms)


def test_what_stands_in_the_sentence_twice_is_no_gap() -> None:
    facts = asked("# Bells\n\nMaren Holt rings the bell, and the bell was cast by Erik Lund in Tarvik.\n")
    assert "Erik Lund" in {fact.gold for fact in facts}
    assert not any(fact.gold == "bell" for fact in facts)


def test_braces_in_a_title_or_sentence_are_only_braces() -> None:
    facts = asked("# The {title} of {0}\n\nThe lamp {sentence} of Harbour Nine is lit at dusk by Maren Holt.\n")
    assert any(fact.forms[0].startswith("The {title} of {0}: The lamp {sentence} of") for fact in facts)


def test_every_section_is_asked_about_with_its_headings_and_its_span() -> None:
    text = "\n\n".join(f"## Pier {i}\n\nThe ferry number {i} leaves at dawn for the island of Vea." for i in range(9))
    made = document(f"# Piers\n\n{text}\n")
    facts = asked(made.text, limit=40)
    assert len({fact.start for fact in facts}) > 4
    for fact in facts:
        assert fact.answer in made.text[fact.start:fact.end]
    assert {fact.answer for fact in facts} == {f"The ferry number {i} leaves at dawn for the island of Vea."
                                               for i in range(9)}


def test_gaps_are_among_the_facts_of_a_document() -> None:
    made = document(f"# The lamp\n\n{TEXTS['de']}\n")
    found = split(made, 200, lambda texts: [len(t) // 4 + 1 for t in texts])
    kinds = [view.kind for source in sources(made, found) for view, _ in facts_of(source)]
    assert "gap" in kinds


def test_each_wording_has_a_place_for_the_sentence_and_a_gap() -> None:
    wordings = json.loads(DATA.read_text("utf-8"))
    assert set(wordings) - {"other"} < set(LANGUAGES)
    for pairs in wordings.values():
        assert len({form.format(title="t", sentence=gap) for form, gap in pairs}) == len(pairs)
        assert all("{sentence}" in form and gap for form, gap in pairs)


@given(st.text(max_size=300))
def test_any_text_has_gaps_or_none(text: str) -> None:
    for fact in asked(f"# The lamp\n\n{text}\n"):
        assert fact.gold
        assert fact.gold in fact.answer
        assert all(form.strip() for form in fact.forms)
