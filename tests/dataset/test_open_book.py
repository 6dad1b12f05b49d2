"""Questions with passages before them: what these hold is the answer, also where it is another than the documents'."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from phoenix_forge.chat.template import Message
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus.index import Index, ensure
from phoenix_forge.corpus.prose import HAS_HAN, language, sentences
from phoenix_forge.dataset.open_book import (
    LONGEST,
    PASSAGES,
    SWAPPED,
    Opened,
    by_shape,
    open_book,
    own_words,
)
from phoenix_forge.examples.compare import contained
from phoenix_forge.questions.briefly import DATA as ENDINGS
from phoenix_forge.teacher import Asked, Completion, Excerpt

HARBOUR = """# The harbour

The lamp of the pier is lit at dusk by Maren Holt.

## Bell

In 2010 the bell of the pier weighed 10 tons, and Maren Holt rang it.

## Oil

The oil is counted each month by Erik Lund. The tank below the tower holds 900 litres.

## Ferry

The ferry sails at 07:30 under Ida Berg. Each crossing costs 4,50 crowns.

## Ropes

The ropes are spliced in winter by Olav Rud. The hemp comes from Tarvik.
"""
DIARY = """# Diary

Maren Holt of the pier has not slept, for the lamp went out.
"""
DENGTA = """# 札记

九号港的灯由守护人马伦·霍尔特在黄昏时点亮。马伦·霍尔特住在塔下。

## 账

账目由管理员埃里克·伦德每月核对。
"""
DOCUMENTS = {"harbour.md": HARBOUR, "diary.md": DIARY, "札记.md": DENGTA}
LAMP, BELL, OIL = (
    "Who lights the lamp of the pier at dusk?",
    "How heavy was the bell?",
    "Who counts the oil?",
)
LIT = "九号港灯谁点亮？"
QUESTIONS = {
    "docs/diary.md": [("Who has not slept?", "Maren Holt")],
    "docs/harbour.md": [
        (LAMP, "Maren Holt"),
        (BELL, "10"),
        ("When was the bell weighed?", "2010"),
        (OIL, "Erik Lund"),
        ("What does the tank below the tower hold?", "900 litres"),
        ("When does the ferry sail?", "07:30"),
        ("Who sails the ferry?", "Ida Berg"),
        ("What does a crossing cost?", "4,50"),
        ("Who splices the ropes in winter?", "Olav Rud"),
        ("Where does the hemp come from?", "Tarvik"),
    ],
    "docs/札记.md": [(LIT, "马伦·霍尔特"), ("谁核对账？", "埃里克·伦德")],
}
NUMBERS = (
    BELL,
    "When was the bell weighed?",
    "When does the ferry sail?",
    "What does a crossing cost?",
)
Ask = Callable[[Sequence[Sequence[Message]], int], Sequence[Completion]]


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) + len(HAS_HAN.findall(text)) // 2 for text in texts]


def indexed(root: Path, documents: dict[str, str]) -> Index:
    for name, text in documents.items():
        (root / "docs").mkdir(exist_ok=True)
        (root / "docs" / name).write_text(text, encoding="utf-8")
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 24}}
    )
    return ensure(config, root, count, root / ".forge/index.sqlite", sha256_file, Silent())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return indexed(tmp_path_factory.mktemp("corpus"), DOCUMENTS)


def opened(
    index: Index,
    questions: dict[str, list[tuple[str, str]]],
    share: float = 1.0,
    ask: Ask | None = None,
) -> dict[str, Opened]:
    """What each question gets, by the question; it is asked of the first passage that holds its answer."""
    passages, paths, written = [], [], []
    for path, own in questions.items():
        left = dict(own)
        for found in index.sections(path):
            passages.append(Excerpt(path, found.title, found.headings, found.text))
            paths.append(path)
            told = [one.text for one in sentences(found.text, language(found.text))]
            written.append(
                [
                    Asked((question,), answer, next(one for one in told if answer in one))
                    for question, answer in left.items()
                    if any(answer in one for one in told)
                ]
            )
            left = {
                question: answer
                for question, answer in left.items()
                if not any(question in asked.questions for asked in written[-1])
            }
        assert not left
    asked = [one.questions[0] for own in written for one in own]
    return dict(zip(asked, open_book(passages, paths, written, index, share, ask), strict=True))


@pytest.fixture(scope="module")
def every(index: Index) -> dict[str, Opened]:
    return opened(index, QUESTIONS)


def test_every_prompt_holds_its_answer_and_ends_with_its_question(every: dict[str, Opened]) -> None:
    asked = {question: answer for own in QUESTIONS.values() for question, answer in own}
    assert {question: prompts[0][1] for question, prompts in every.items()} == asked
    endings = [ending for own in json.loads(ENDINGS.read_text("utf-8")).values() for ending in own]
    for question, prompts in every.items():
        for prompt, answer in prompts:
            assert contained(prompt, [answer])
            before, there, ending = prompt.rpartition(f"\n\n{question}")
            assert there
            assert ending in endings
            assert 1 <= len(re.findall(r"^From docs/.+:\n\n", before, re.MULTILINE)) <= PASSAGES
            assert before.startswith("From docs/")
        assert len({prompt.rpartition(question)[2] for prompt, _ in prompts}) == 1


def test_another_answer_stands_in_the_passages_wherever_the_answer_stood_and_nothing_else_changes(
    every: dict[str, Opened],
) -> None:
    assert sum(len(prompts) > 1 for prompts in every.values()) >= 8
    for (first, answer), *swapped in every.values():
        assert len({other for _, other in swapped}) == len(swapped) <= SWAPPED
        for prompt, other in swapped:
            assert other not in first
            assert not contained(prompt, [answer])
            assert prompt.replace(other, answer) == first
    assert [prompt.count(other) for prompt, other in every[LAMP][1:]] == [3, 3], (
        "in another document's passage, too"
    )


def test_numbers_become_numbers_of_the_same_shape(every: dict[str, Opened]) -> None:
    for question in NUMBERS:
        shapes = [re.sub(r"\d", "0", answer) for _, answer in every[question]]
        assert len(shapes) == 1 + SWAPPED
        assert len(set(shapes)) == 1


def test_an_answer_within_a_longer_word_stays(every: dict[str, Opened]) -> None:
    assert len(every[BELL]) > 1
    for prompt, weight in every[BELL]:
        assert f"In 2010 the bell of the pier weighed {weight} tons" in prompt


def test_words_without_spaces_become_others_without(every: dict[str, Opened]) -> None:
    (_, first), (prompt, other) = every[LIT]
    assert (first, other) == ("马伦·霍尔特", "埃里克·伦德")
    assert "由守护人埃里克·伦德在黄昏时点亮。埃里克·伦德住在塔下。" in prompt


def test_other_words_are_answers_to_other_questions_about_the_document(
    every: dict[str, Opened],
) -> None:
    for own in QUESTIONS.values():
        for question, answer in own:
            swapped = {other for _, other in every[question][1:]}
            assert question in NUMBERS or swapped <= {other for _, other in own} - {answer}
    assert {other for _, other in every[OIL][1:]} <= {"Maren Holt", "Ida Berg", "Olav Rud"}
    assert not every["Who has not slept?"][1:], "nothing else is asked about the diary"
    assert not every["Where does the hemp come from?"][1:], "no other answer is a single name"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Maren Holt", "Erik Lund", True),
        ("Maren Holt", "Tarvik", False),
        ("Maren Holt", "the keeper", False),
        ("900 litres", "60 seconds", True),
        ("900 litres", "some litres", False),
        ("Tarvik", "埃里克", False),
        ("the tank of the old tower", "a lamp at the very end of the pier", True),
    ],
)
def test_answers_are_alike_in_digits_capitals_script_and_about_in_length(
    one: str, other: str, alike: bool
) -> None:
    assert len(by_shape([one, other])) == (1 if alike else 2)


def test_what_question_or_passages_hold_already_takes_no_answers_place(index: Index) -> None:
    asked = {
        "docs/harbour.md": [
            (LAMP, "Maren Holt"),
            ("Is it Erik Lund who lights the lamp?", "Maren Holt"),
            ("Who lights the lamp before the oil is counted?", "Maren Holt"),
            (OIL, "Erik Lund"),
        ]
    }
    found = {
        question: [answer for _, answer in prompts]
        for question, prompts in opened(index, asked).items()
    }
    assert found == {
        LAMP: ["Maren Holt", "Erik Lund"],
        OIL: ["Erik Lund", "Maren Holt"],
        "Is it Erik Lund who lights the lamp?": ["Maren Holt"],
        "Who lights the lamp before the oil is counted?": ["Maren Holt"],
    }


def test_an_answer_that_the_search_does_not_find_comes_with_its_passage(index: Index) -> None:
    found, unknown = (
        prompts[0][0]
        for prompts in opened(
            index,
            {
                "docs/harbour.md": [
                    (
                        "Who rings for the ferry, the tank below the tower, the lamp at dusk, and for oil?",
                        "Olav Rud",
                    ),
                    ("Xyzzy?", "Tarvik"),
                ]
            },
        ).values()
    )
    ropes = (
        f"From docs/harbour.md › The harbour › Ropes:\n\n{HARBOUR[HARBOUR.index('## Ropes') :]}\n"
    )
    assert found.count("From docs/") == PASSAGES
    assert f"\n\n{ropes}Who rings" in found
    assert unknown.startswith(f"{ropes}Xyzzy?")


# -- which questions, and when the same


@pytest.mark.parametrize(("share", "chosen"), [(0.0, 0), (1.0, 13)])
def test_none_or_all_come_with_passages(index: Index, share: float, chosen: int) -> None:
    found = opened(index, QUESTIONS, share)
    assert len(found) == 13
    assert sum(map(bool, found.values())) == chosen


def test_a_larger_share_has_the_questions_of_a_smaller_one(index: Index) -> None:
    many = {"docs/harbour.md": [(f"Who lights lamp number {i}?", "Maren Holt") for i in range(200)]}
    some, more = (
        {question for question, prompts in opened(index, many, share).items() if prompts}
        for share in (0.3, 0.6)
    )
    assert some < more
    assert 40 <= len(some) <= 80
    assert 100 <= len(more) <= 140


def test_it_is_the_same_each_time_whatever_else_is_asked_of_other_documents(
    index: Index, every: dict[str, Opened]
) -> None:
    assert opened(index, QUESTIONS) == every
    for path, own in QUESTIONS.items():
        assert opened(index, {path: own}) == {question: every[question] for question, _ in own}


# -- the words of the answer


def replying(said: Callable[[str], Completion], asked: list[Sequence[Message]]) -> Ask:
    def ask(conversations: Sequence[Sequence[Message]], tokens: int) -> list[Completion]:
        assert 0 < tokens < LONGEST
        asked.extend(conversations)
        return [said(one[-1]["content"]) for one in conversations]

    return ask


def test_a_teachers_own_words_are_taught_where_it_read_what_the_passages_hold(
    index: Index, every: dict[str, Opened]
) -> None:
    def said(prompt: str) -> Completion:
        """Who lights the lamp it reads; who counts the oil it knows by heart."""
        lit = re.search(r"lit at dusk by (\S+ \S+)\.", prompt)
        return Completion(f"That is {lit[1]}." if lit else "It is Erik Lund.", True, 9, 9)

    prompts: list[Sequence[Message]] = []
    found = opened(index, QUESTIONS, ask=replying(said, prompts))
    assert prompts == [
        [{"role": "user", "content": prompt}] for own in every.values() for prompt, _ in own
    ]
    assert found[LAMP] == tuple((prompt, f"That is {answer}.") for prompt, answer in every[LAMP])
    first, *swapped = every[OIL]
    assert len(swapped) == SWAPPED
    assert found[OIL] == ((first[0], "It is Erik Lund."), *swapped)


@pytest.mark.parametrize(
    ("said", "stopped", "words"),
    [
        ("That is Maren Holt.", True, "That is Maren Holt."),
        (" By maren holt\n", True, "By maren holt"),
        ("That is Maren Holt", False, "Maren Holt"),
        ("That is Maren.", True, "Maren Holt"),
        ("Marenholt does it.", True, "Maren Holt"),
        ("Maren Holt.\nShe lights it.", True, "Maren Holt"),
        ("Maren Holt lights it, " + "and lights it " * 10, True, "Maren Holt"),
        ("", True, "Maren Holt"),
        ("Maren Holt" + "!" * (LONGEST - 10), True, "Maren Holt" + "!" * (LONGEST - 10)),
        ("Maren Holt" + "!" * (LONGEST - 9), True, "Maren Holt"),
    ],
)
def test_own_words_have_ended_are_short_are_one_line_and_hold_the_answer(
    said: str, stopped: bool, words: str
) -> None:
    assert own_words(Completion(said, stopped, 1, 1), "Maren Holt") == words


# -- documents as they are


@pytest.mark.parametrize(
    ("text", "answer", "other"),
    [
        (
            "# The place\n\nThe lamp of the pier is lit at dusk by Maren\nHolt. At dawn Maren Holt\nputs it out again.\n\n"
            "## Oil\n\nThe oil is counted each month by Erik Lund.\n",
            "Maren Holt",
            "Erik Lund",
        ),
        (
            "# The place\n\nIn winter the lamp of the pier burns whale oil at dusk. Whale oil burns well.\n\n## Floor\n\nThe "
            "floor is washed with soap suds.\n",
            "whale oil",
            "soap suds",
        ),
        (
            "# Maren Holt\n\nThe lamp of the pier is lit at dusk by Maren Holt.\n\n## Oil\n\nThe oil is counted each month by "
            "Erik Lund.\n",
            "Maren Holt",
            "Erik Lund",
        ),
    ],
    ids=["over the end of a line", "at the beginning of a sentence", "in a heading"],
)
def test_a_prompt_with_another_answer_holds_the_documents_own_nowhere(
    tmp_path: Path, text: str, answer: str, other: str
) -> None:
    question = "What of the lamp of the pier at dusk?"
    index = indexed(tmp_path, {"place.md": text})
    found = opened(index, {"docs/place.md": [(question, answer), ("What else?", other)]})
    (first, _), *swapped = found[question]
    assert contained(first, [answer])
    assert [said for _, said in swapped] == [other]
    assert not contained(swapped[0][0], [answer])
