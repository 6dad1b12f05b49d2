"""Passages → an exam: what is kept, what is left out, and that its words are then asked for nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from stand_ins.reader import Reader, Seen, asking, finding, honest

from phoenix_forge.core.report import Silent
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.exam.freeze import DISTRACTORS, Examined, freeze
from phoenix_forge.examples.compare import contained, f1
from phoenix_forge.teacher import Cache, Excerpt, Tally, write
from phoenix_forge.teacher.write import Frozen

NAMES = [
    "Maren Holt",
    "Erik Lund",
    "Ida Berg",
    "Jonas Vik",
    "Sofie Dahl",
    "Anders Moe",
    "Kari Nes",
    "Olav Rud",
]
TOWNS = ["Tarvik", "Vea", "Skudnes", "Halden", "Molde", "Narvik", "Farsund", "Mandal"]
PASSAGES = [
    Excerpt(
        f"pier {i}.md",
        f"Pier {i}",
        ("Ferries",),
        f"The ferry of {name} leaves from the pier of {town} at dawn. It carries {20 + i} barrels of "
        f"oil to the lighthouse each day. The captain was born near {TOWNS[i - 1]} in {1900 + i}.",
    )
    for i, (name, town) in enumerate(zip(NAMES, TOWNS, strict=True))
]
OTHERS = [
    Excerpt(
        "turm.md",
        "Der Leuchtturm",
        (),
        "Die Lampe wird in der Dämmerung vom Wärter Lars Holm angezündet. "
        "Die Glocke läutet im Nebel alle 60 Sekunden.",
    ),
    Excerpt(
        "dengta.md",
        "灯塔",
        (),
        "九号港的灯由守护人马伦·霍尔特在黄昏时点亮。有雾时钟声每60秒响三次。",
    ),
]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "teacher.sqlite") as opened:
        yield opened


def exam(
    passages: Sequence[Excerpt],
    reader: Reader,
    cache: Cache,
    *,
    wanted: int = 12,
    seed: int = 1,
    tally: Tally | None = None,
) -> list[Examined]:
    return freeze(
        passages, reader.teacher(), cache, 2, Silent(), tally or Tally(), wanted=wanted, seed=seed
    )


@pytest.mark.parametrize("wanted", [0, 1, 5, 12])
def test_there_are_at_most_as_many_questions_as_are_wanted(wanted: int, cache: Cache) -> None:
    assert len(exam(PASSAGES, Reader(), cache, wanted=wanted)) == wanted


def test_a_corpus_that_says_less_has_fewer_questions(cache: Cache) -> None:
    few = exam(PASSAGES[:1], Reader(), cache, wanted=50)
    assert 3 < len(few) < 50
    assert len({one.question for one in few}) == len(few)
    assert exam([], Reader(), cache) == []
    assert exam([Excerpt("a.md", "A", (), "# Nothing\n\n```\ncode\n```\n")], Reader(), cache) == []


def test_every_question_has_its_answer_in_its_passage_and_its_frozen_words(cache: Cache) -> None:
    found = exam([*PASSAGES, *OTHERS], Reader(), cache, wanted=40)
    assert {one.passage for one in found} > {len(PASSAGES), len(PASSAGES) + 1}
    for one in found:
        passage = [*PASSAGES, *OTHERS][one.passage]
        assert contained(passage.text, [one.answer])
        assert not contained(one.question, [one.answer])
        assert one.frozen.sentence in passage.text
        assert one.frozen.sentence[one.frozen.start : one.frozen.end] == one.answer


def test_the_same_passages_give_the_same_exam_in_any_order(cache: Cache, tmp_path: Path) -> None:
    first = exam(PASSAGES, Reader(), cache)
    with Cache(tmp_path / "other.sqlite") as other:
        assert exam(PASSAGES, Reader(), other) == first
        assert exam(PASSAGES, Reader(), other, seed=2) != first
        turned = exam(PASSAGES[::-1], Reader(), other)
    assert [one._replace(passage=0) for one in turned] == [one._replace(passage=0) for one in first]


def test_a_second_exam_asks_nothing_and_one_that_broke_off_only_the_rest(cache: Cache) -> None:
    with pytest.raises(EnvironmentProblem, match="it is gone"):
        exam(PASSAGES, broken := Reader(most=30), cache)
    expected, rest, again = None, Reader(), Reader()
    expected = exam(PASSAGES, rest, cache)
    assert not {repr(seen) for seen in broken.seen} & {repr(seen) for seen in rest.seen}
    assert exam(PASSAGES, again, cache) == expected
    assert again.seen == []


def test_a_question_is_dropped_whose_answer_the_reader_does_not_find(cache: Cache) -> None:
    def lost(seen: Seen) -> str:
        return (
            asking(seen)
            if seen.to_write
            else ("unknown" if any(map(str.isdigit, finding(seen))) else finding(seen))
        )

    found = exam(PASSAGES, Reader(lost), cache, wanted=24)
    assert found
    assert not any(any(map(str.isdigit, one.answer)) for one in found)
    with_numbers = exam(PASSAGES, Reader(name="other"), cache, wanted=24)
    assert any(any(map(str.isdigit, one.answer)) for one in with_numbers)


def test_a_question_is_dropped_that_can_be_answered_without_the_passage(cache: Cache) -> None:
    def knows(seen: Seen) -> str:
        """Of whatever is asked it knows what has to do with barrels and oil, even where it is shown nothing."""
        if not seen.to_write and seen.text == "…":
            answer = finding(seen._replace(text=asked_for(seen)))
            return answer if "oil" in answer or "barrels" in answer else "It is not said."
        return honest(seen)

    found = exam(PASSAGES, Reader(knows), cache, wanted=999)
    plain = exam(PASSAGES, Reader(name="other"), cache, wanted=999)
    known = [one for one in plain if "oil" in one.answer or "barrels" in one.answer]
    assert known
    assert {one.question for one in found} == {one.question for one in plain} - {
        one.question for one in known
    }


def asked_for(seen: Seen) -> str:
    return seen.given.removeprefix("What is ").rpartition(" beside ")[0][::-1]


def test_distractors_are_three_other_words_of_the_document_that_share_none_with_answer_or_question(
    cache: Cache,
) -> None:
    found = exam([*PASSAGES, *OTHERS], Reader(), cache, wanted=24)
    assert {one.passage for one in found} & {len(PASSAGES), len(PASSAGES) + 1}
    for one in found:
        assert len(one.distractors) == DISTRACTORS
        for other in one.distractors:
            assert contained([*PASSAGES, *OTHERS][one.passage].text, [other])
            assert not contained(one.question, [other])
            assert all(
                f1(other, [text]) == 0 for text in (one.answer, *one.distractors) if text != other
            )


def test_what_the_question_says_is_no_distractor(cache: Cache) -> None:
    def said(seen: Seen) -> str:
        return (
            f"At dawn: {asking(seen)}"
            if seen.to_write
            else finding(seen._replace(given=seen.given[9:]))
        )

    plain, naming = (
        exam(PASSAGES, Reader(), cache, wanted=24),
        exam(PASSAGES, Reader(said, name="b"), cache, wanted=24),
    )
    assert len(naming) > 12
    assert any("dawn" in one.distractors for one in plain)
    assert not any("dawn" in one.distractors for one in naming)


def test_distractors_are_of_the_same_shape_where_there_are_some(cache: Cache) -> None:
    document = [passage._replace(title="Piers") for passage in PASSAGES]
    shares: dict[bool, list[bool]] = {True: [], False: []}
    for one in exam(document, Reader(), cache, wanted=24):
        shares[has_digits(one.answer)] += map(has_digits, one.distractors)
    assert len(shares[True]) > 6
    assert sum(shares[True]) / len(shares[True]) > 0.9
    assert sum(shares[False]) / len(shares[False]) < 0.1


def has_digits(text: str) -> bool:
    return any(map(str.isdigit, text))


def test_an_exam_asks_in_other_words_than_training_does(cache: Cache) -> None:
    examined, taught = Reader(), Reader()
    exam(PASSAGES, examined, cache)
    list(
        write(PASSAGES, taught.teacher(), cache, 2, Silent(), Tally(), per_sentence=9, wordings=12)
    )

    def orders(reader: Reader) -> set[str]:
        return {seen.demonstrated[1]["content"] for seen in reader.seen if seen.to_write}

    assert len(orders(examined)) == 1
    assert not orders(examined) & orders(taught)


def test_what_an_exam_asks_for_is_then_not_taught(cache: Cache) -> None:
    examined = exam(PASSAGES, Reader(), cache, wanted=24)
    frozen = frozenset(one.frozen for one in examined)
    taught = Reader()
    kept = list(
        write(
            PASSAGES,
            taught.teacher(),
            cache,
            2,
            Silent(),
            Tally(),
            per_sentence=99,
            wordings=1,
            frozen=frozen,
        )
    )
    by_sentence = {one.sentence: one for one in frozen}
    assert sum(map(len, kept)) > len(frozen) / 2
    for own in kept:
        for asked in own:
            if taken := by_sentence.get(asked.sentence):
                assert free(asked.answer, taken)


def test_the_words_that_a_reader_adds_to_an_answer_are_frozen_with_it(cache: Cache) -> None:
    def fuller(seen: Seen) -> str:
        """With the word before it."""
        if seen.to_write or finding(seen) not in seen.text:
            return honest(seen)
        before = seen.text.partition(finding(seen))[0]
        return f"{before.split()[-1]} {finding(seen)}" if before else finding(seen)

    found, plain = (
        exam(PASSAGES, Reader(fuller), cache, wanted=24),
        exam(PASSAGES, Reader(name="b"), cache, wanted=24),
    )
    answers = {one.question: one.answer for one in plain}
    assert sum(one.answer.endswith(f" {answers[one.question]}") for one in found) > 10
    for one in found:
        assert one.frozen.sentence[one.frozen.start : one.frozen.end] == one.answer


def free(answer: str, taken: Frozen) -> bool:
    """Whether the answer stands in the sentence beside the frozen words."""
    before, after = taken.sentence[: taken.start], taken.sentence[taken.end :]
    return answer in before or answer in after
