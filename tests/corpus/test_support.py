"""What of an answer a passage supports, in several languages."""

from __future__ import annotations

import pytest

from phoenix_forge.corpus.index import Passage
from phoenix_forge.corpus.support import Words, covered, sentences, supported


def passage(text: str, language: str = "en", *headings: str) -> Passage:
    return Passage("notes.md", "Notes", headings, (0, len(text)), text, len(text), language)


LAMP = passage(
    "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt. It burns 24 litres of oil a week."
)
FERRY = passage("The ferry leaves at seven. A crossing costs four crowns.", "en", "Fares")
LEUCHTTURM = passage(
    "Die Lampen des Leuchtturms werden bei Dämmerung vom Wärter Jens Brandt angezündet.", "de"
)
TOWER = passage("东京塔高332.9米，于1958年竣工。塔的设计者是内藤多仲。", "zh")
KOREAN = passage("등대의 종은 청동으로 만들어졌다. 종은 타르빅에서 주조되었다.", "ko")


@pytest.mark.parametrize(
    ("answer", "question", "passages", "by"),
    [
        ("At dusk.", "When is the lamp lit?", [FERRY, LAMP], 1),
        ("Maren Holt lights the lamp at dusk.", "Who lights the lamp?", [LAMP], 0),
        (
            "The lamp is lit at noon.",
            "When is the lamp lit?",
            [LAMP],
            None,
        ),  # the rest is the question's
        ("It burns 24 litres.", "How much oil does it burn?", [LAMP], 0),
        (
            "It burns 42 litres of oil a week.",
            "What does the lamp need?",
            [LAMP],
            None,
        ),  # a wrong number is a wrong answer
        ("A crossing costs four crowns.", "What is the price?", [LAMP, FERRY], 1),
        (
            "The lamp is lit at dusk.",
            "Is the lamp lit at dusk?",
            [FERRY, LAMP],
            1,
        ),  # all of it is the question's
        ("Photosynthesis turns light into sugar.", "What is photosynthesis?", [LAMP, FERRY], None),
        ("Bei der Dämmerung.", "Wann wird die Lampe angezündet?", [LEUCHTTURM], 0),
        (
            "Der Wärter zündet die Lampe zu Mittag an.",
            "Wann wird die Lampe angezündet?",
            [LEUCHTTURM],
            None,
        ),
        ("内藤多仲", "东京塔的设计者是谁？", [TOWER], 0),
        ("塔高332.9米。", "东京塔有多高？", [TOWER], 0),
        (
            "塔高多年内。",
            "东京塔的设计者是谁？",
            [TOWER],
            None,
        ),  # its signs stand there, in no such order
        ("타르빅에서", "종은 어디에서 주조되었나?", [KOREAN], 0),
        ("베르겐에서 주조되었다", "종은 어디에서 주조되었나?", [KOREAN], None),
    ],
)
def test_a_sentence_stands_on_the_passage_that_has_its_words(
    answer: str, question: str, passages: list[Passage], by: int | None
) -> None:
    (found,) = supported(answer, question, passages, Words())
    assert found.passage == by


def test_of_several_passages_the_one_with_the_question_s_words_is_the_source() -> None:
    other = passage("Four crowns were stolen from the museum.")
    (found,) = supported("Four crowns.", "What does a crossing cost?", [other, FERRY], Words())
    assert found.passage == 1


def test_each_sentence_and_item_is_held_against_the_passages_by_itself() -> None:
    answer = "The lamp is lit at dusk. It was **invented** by Leonardo.\n\n- A crossing costs four crowns\n- OK"
    found = supported(answer, "Tell me about the harbour.", [LAMP, FERRY], Words())
    assert [(one.sentence, one.passage) for one in found] == [
        ("The lamp is lit at dusk.", 0),
        ("It was invented by Leonardo.", None),
        ("A crossing costs four crowns", 1),
        ("OK", None),
    ]


def test_what_tells_nothing_is_held_against_nothing() -> None:
    assert supported("It is. ...\n\n", "Is it?", [LAMP], Words()) == []
    assert [one.passage for one in supported("Ada wrote it.", "Who?", [], Words())] == [None]
    assert list(sentences("", "en")) == []


RARE = {"robot": 4.0}


@pytest.mark.parametrize(
    ("question", "passages", "share"),
    [
        ("When is the lamp of the harbour lit?", [FERRY, LAMP], 1.0),
        ("Does a robot light the lamp?", [FERRY, LAMP], 1 / 6),  # lamp
        ("Does a robot light the lamp?", [], 0.0),
        ("Wann werden die Lampen angezündet?", [LEUCHTTURM], 1.0),
        ("东京塔竣工", [TOWER], 3 / 4),  # all pairs of signs but 塔竣
        ("Hello!", [LAMP], None),
        ("Who is it?", [LAMP], None),
        (" ".join(f"word{number}" for number in range(40)), [LAMP], None),
    ],
)
def test_how_much_of_a_question_a_passage_has(question, passages, share) -> None:
    found = covered(question, passages, Words(), lambda stem: RARE.get(stem, 1.0))
    assert found == (share if share is None else pytest.approx(share))
