"""Passages → questions by demonstration, kept where a reader finds their answers; and everything asked once."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from said import Said
from stand_ins.reader import Reader, Seen, asking, finding, honest

from phoenix_forge.core.report import Silent
from phoenix_forge.corpus.prose import language, sentences, spans
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.teacher import Asked, Cache, Excerpt, Tally, per_passage, write
from phoenix_forge.teacher.write import Frozen, Target, elsewhere, found, question_of

DATA = Path(write.__code__.co_filename).parent / "data" / "prompts.json"
LAMP = Excerpt(
    "lamp.md",
    "Harbour Nine",
    ("The lamp",),
    "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt. The bell rings three times every 60 "
    "seconds when fog comes in.",
)
LEUCHTTURM = Excerpt(
    "turm.md",
    "Der Leuchtturm",
    (),
    "Die Lampe wird in der Dämmerung vom Wärter Maren Holt angezündet. Die Glocke läutet im Nebel "
    "alle 60 Sekunden.",
)
DENGTA = Excerpt(
    "dengta.md", "灯塔", (), "九号港的灯由守护人马伦·霍尔特在黄昏时点亮。有雾时钟声每60秒响三次。"
)
TOWER = Excerpt(
    "tower.md",
    "The tower",
    (),
    "The lamp is lit at dusk by Maren Holt. The bell is rung in fog by Erik "
    "Lund. The tower was built of stone in the town of Tarvik.",
)
MAYAK = Excerpt(
    "mayak.md",
    "Маяк",
    (),
    "Лампу маяка зажигает в сумерках смотритель Марен Хольт. Колокол звонит в "
    "тумане каждые 60 секунд.",
)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "teacher.sqlite") as opened:
        yield opened


def asked_of(
    passages: list[Excerpt],
    reader: Reader,
    cache: Cache,
    *,
    per_sentence: int = 3,
    wordings: int = 1,
    frozen: frozenset[Frozen] = frozenset(),
    tally: Tally | None = None,
    together: bool = False,
) -> list[list[Asked]]:
    return list(
        write(
            passages,
            reader.teacher(together=together),
            cache,
            2,
            Silent(),
            tally or Tally(),
            per_sentence=per_sentence,
            wordings=wordings,
            frozen=frozen,
        )
    )


def replying(
    question: Callable[[Seen], str] = asking, answer: Callable[[Seen], str] = finding
) -> Reader:
    return Reader(lambda seen: question(seen) if seen.to_write else answer(seen))


# -- what is kept


@pytest.mark.parametrize(
    "passage", [LAMP, LEUCHTTURM, DENGTA, MAYAK], ids=lambda passage: passage.place
)
def test_a_question_whose_answer_the_reader_finds_is_kept_with_its_answer_and_sentence(
    passage: Excerpt, cache: Cache
) -> None:
    tally = Tally()
    own = language(passage.text)
    (kept,) = asked_of([passage], Reader(), cache, tally=tally)
    wanted = sum(
        min(3, len(spans(sentence.text, own))) for sentence in sentences(passage.text, own)
    )
    assert len(kept) == wanted == tally.kept >= 4
    assert tally.dropped.total() == 0
    for one in kept:
        assert one.answer in one.sentence
        assert one.sentence in passage.text
        assert one.stands_in(passage.text)
        assert len(one.questions) == 1


def test_a_question_whose_answer_the_reader_does_not_find_is_dropped(cache: Cache) -> None:
    def forgetful(seen: Seen) -> str:
        return finding(seen) if "Maren" in finding(seen) else "Erik Lund"

    tally = Tally()
    (kept,) = asked_of([LAMP], replying(answer=forgetful), cache, per_sentence=4, tally=tally)
    assert [one.answer for one in kept] == ["Maren Holt"]
    assert tally.dropped == {"another answer found": 7}


def test_a_question_for_other_words_of_its_sentence_asks_for_these(cache: Cache) -> None:
    """The reader finds the same answer to every question: in one of three sentences it stands."""
    reader, tally = replying(answer=lambda seen: "Tarvik"), Tally()
    (kept,) = asked_of([TOWER], reader, cache, per_sentence=4, tally=tally)
    first, second, third = (sentence.text for sentence in sentences(TOWER.text, "en"))
    written = {
        sentence: [asking(seen) for seen in reader.seen if seen.to_write and seen.text == sentence]
        for sentence in (first, second, third)
    }
    assert [(set(one.questions), one.answer, one.sentence) for one in kept] == [
        (set(written[third]), "Tarvik", third)
    ]
    assert len(written[third]) == tally.kept == 4
    assert tally.dropped == {"another answer found": len(written[first] + written[second])}
    again = [seen for seen in reader.seen if not seen.to_write and seen.text != TOWER.text]
    assert {seen.text for seen in again} == {f"{second} {third}"}, "with the sentence before it"
    assert {seen.given for seen in again} == {
        asked for asked in written[third] if "kivraT" not in asked
    }


@pytest.mark.parametrize(
    ("second", "answers"),
    [
        ("Tarvik", {"Tarvik"}),
        ("In the town of Tarvik", {"Tarvik"}),
        ("the town of Tarvik.", {"Tarvik", "the town of Tarvik"}),
        ("stone", set()),
        ("It is not said.", set()),
        ("", set()),
        ("in Tarvik there is a tower of stone, and it is old", set()),
    ],
)
def test_other_words_are_only_taken_where_the_sentence_alone_gives_them_again(
    second: str, answers: set[str], cache: Cache
) -> None:
    reader = replying(answer=lambda seen: "Tarvik" if seen.text == TOWER.text else second)
    (kept,) = asked_of([TOWER], reader, cache, per_sentence=4)
    own = next(asking(seen) for seen in reader.seen if seen.to_write and seen.given == "Tarvik")
    assert {one.answer for one in kept if own not in one.questions} <= answers
    assert {one.answer for one in kept} == answers | {"Tarvik"}
    assert sum(len(one.questions) for one in kept) == (4 if answers else 1)


LONG = (
    "The keeper of the lamp at Harbour Nine, of whom there were never fewer than two and never more than four, "
    "counted the oil, the wicks, the ropes and the barrels on the first day of every month of the year, and wrote "
    "down what they had found in a book that nobody read."
)


@pytest.mark.parametrize(
    ("passage", "said", "question", "words"),
    [
        (LAMP, "Harbour Nine", "Where is it?", "Harbour Nine"),
        (LAMP, " Harbour Nine. \nBecause it is", "Where is it?", "Harbour Nine"),
        (
            LAMP,
            "Harbour Nine is lit at dusk by the",
            "Where is it?",
            "Harbour Nine is lit at dusk by the",
        ),
        (LAMP, "lamp of Harbour Nine is lit at dusk by the keeper", "Where is it?", None),
        (LAMP, "dusk", "What is lit at dusk?", None),
        (LAMP, "lit at dusk", "What is Lit at Dusk?", None),
        (LAMP, "three times", "How often?", None),
        (LAMP, "harbour nine", "Where?", "Harbour Nine"),
        (LAMP, "", "Where?", None),
        (LAMP, "T", "Where?", None),
        (DENGTA, "九号", "哪里？", "九号"),
        (DENGTA, "灯", "什么？", None),
        (LAMP._replace(text=LONG), LONG[4:104], "Who?", LONG[4:104]),
        (LAMP._replace(text=LONG), LONG[4:105], "Who?", None),
    ],
)
def test_what_can_be_other_words_of_a_sentence(
    passage: Excerpt, said: str, question: str, words: str | None
) -> None:
    sentence = next(iter(sentences(passage.text, language(passage.text))))
    target = Target(0, sentence, sentence.text[-3:-1], 1, len(sentence.text) - 3)
    found_there = elsewhere(said, question, [target])
    start = sentence.text.find(words) if words else -1
    assert found_there == (None if words is None else Target(0, sentence, words, 1, start))


def test_half_a_word_is_no_answer(cache: Cache) -> None:
    """A reader denies; and that the sentence has a word which begins so is no reason to teach it."""
    pier = Excerpt(
        "pier.md", "The pier", (), "Nobody but the keeper, Maren Holt, walks the pier after dusk."
    )
    (kept,) = asked_of([pier], replying(answer=lambda seen: "No"), cache, per_sentence=4)
    assert kept == []


def test_what_was_not_dropped_is_not_told_of(cache: Cache) -> None:
    tally = Tally()
    asked_of([LAMP], Reader(), cache, tally=tally)
    assert tally.kept == 6
    assert "dropped" not in tally.told()


def test_a_reader_sees_the_whole_passage_and_a_writer_the_sentence(cache: Cache) -> None:
    reader = Reader()
    asked_of([LAMP], reader, cache)
    first, second = (sentence.text for sentence in sentences(LAMP.text, "en"))
    assert {seen.text for seen in reader.seen if seen.to_write} == {first, second}
    assert {seen.text for seen in reader.seen if not seen.to_write} == {LAMP.text}
    assert {seen.title for seen in reader.seen} == {"Harbour Nine › The lamp"}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Who?",
        "Maren Holt lights it.",
        "Who lights it, Maren Holt or the captain?",
        "What is it about?" * 20,
        "Who built the lighthouse on Skarn Island?",
        "Why do leaves look green?",
        "Blah: Who is it\nthat lights the lamp?",
        "叶子为什么看起来是绿色的？",
        "Wie hoch ist die Kaution, die der Mieter zahlt?",
    ],
)
def test_what_is_no_question_or_says_its_answer_or_repeats_a_demonstration_is_dropped(
    said: str, cache: Cache
) -> None:
    reader, tally = replying(lambda seen: said, lambda seen: "Maren Holt"), Tally()
    (kept,) = asked_of([LAMP], reader, cache, per_sentence=4, tally=tally)
    assert all("Maren" not in one.answer for one in kept)
    assert tally.dropped["no question, or one that says its answer"] >= 1


def test_a_gap_that_only_became_a_question_is_dropped(cache: Cache) -> None:
    (kept,) = asked_of(
        [LAMP], replying(lambda seen: f"When is the lamp lit at ____? {seen.given[::-1]}?"), cache
    )
    assert kept == []


def test_every_demonstrated_question_is_dropped_in_any_language() -> None:
    target = Target(0, next(iter(sentences(LAMP.text, "en"))), "dusk", 0, 0)
    shown = [
        one["question"]
        for own in json.loads(DATA.read_text("utf-8")).values()
        for one in own.get("demonstrations", ())
    ]
    assert len(shown) == 24
    assert {question_of(question, target, LAMP) for question in shown} == {None}
    assert question_of(" Who lights the lamp of Harbour Nine?\nIt is", target, LAMP) == (
        "Who lights the lamp of Harbour Nine?"
    )
    island = LAMP._replace(text="The lighthouse on Skarn Island is lit at dusk.")
    assert question_of("When is the lighthouse on Skarn Island lit?", target, island) is not None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Maren Holt", "Maren Holt"),
        ("Maren Holt.", "Maren Holt"),
        ("the keeper, Maren Holt", "the keeper, Maren Holt"),
        (" the keeper, Maren Holt. \nBecause", "the keeper, Maren Holt"),
        ("maren holt", "Maren Holt"),
        ("By Maren Holt.", "Maren Holt"),
        ("Maren", "Maren"),
        ("The keeper is Maren Holt", "Maren Holt"),
        ("Erik Lund", ""),
        ("", ""),
        ("the keeper", ""),
        ("It was said long ago by many people that Maren Holt did it", ""),
    ],
)
def test_the_readers_own_wording_is_the_answer_where_it_stands_in_the_sentence(
    said: str, answer: str
) -> None:
    sentence = next(iter(sentences(LAMP.text, "en")))
    assert (
        found(
            said, "Who is it?", Target(0, sentence, "Maren Holt", 0, sentence.text.index("Maren"))
        )
        == answer
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who is the keeper?", "the keeper, Maren Holt"),
        ("Is it the keeper, Maren Holt?", ""),
        ("Is Maren, of the Holts or Holt, a keeper?", ""),
    ],
)
def test_an_answer_that_its_question_says_is_not_found(question: str, answer: str) -> None:
    sentence = next(iter(sentences(LAMP.text, "en")))
    target = Target(0, sentence, "Maren Holt", 0, sentence.text.index("Maren"))
    assert found("the keeper, Maren Holt", question, target) == answer


def test_the_answer_that_is_kept_is_the_readers_fuller_one(cache: Cache) -> None:
    def fuller(seen: Seen) -> str:
        return finding(seen).replace("Maren Holt", "the keeper, Maren Holt")

    (kept,) = asked_of([LAMP], replying(answer=fuller), cache, per_sentence=4)
    assert "the keeper, Maren Holt" in [one.answer for one in kept]


def test_wordings_that_ask_for_the_same_answer_are_kept_together(cache: Cache) -> None:
    (kept,) = asked_of([LAMP], Reader(), cache, wordings=3)
    assert [len(one.questions) for one in kept] == [3] * 6
    assert all(len(set(one.questions)) == 3 for one in kept)


@pytest.mark.parametrize(
    ("most", "passages", "share"),
    [
        (math.inf, 5, math.inf),
        (16, 2, 4),
        (1600, 250, 4),
        (1600, 200, 4),
        (1600, 176, 2**2.5),
        (3, 100, 1),
        (6.4, 0, 4),
    ],
)
def test_a_passages_share_changes_in_steps(most: float, passages: int, share: float) -> None:
    assert per_passage(most, passages) == share


@pytest.mark.parametrize("most", [4, 10, 16])
def test_where_requests_are_limited_every_sentence_has_its_turn_before_any_has_its_second(
    most: int, cache: Cache
) -> None:
    reader = Reader()
    list(
        write(
            [LAMP, MAYAK],
            reader.teacher(),
            cache,
            2,
            Silent(),
            Tally(),
            per_sentence=9,
            wordings=3,
            share=per_passage(most, 2),
        )
    )
    assert 4 <= len(reader.seen) <= most * 1.25
    asked = Counter(seen.text for seen in reader.seen if seen.to_write)
    for passage in (LAMP, MAYAK):
        first, second = (one.text for one in sentences(passage.text, language(passage.text)))
        assert 0 <= asked[first] - asked[second] - asked[passage.text] <= 1
        assert asked[first] >= 1


def test_what_is_asked_of_a_passage_stays_with_it_in_order(cache: Cache) -> None:
    passages = [LAMP, DENGTA, Excerpt("empty.md", "Empty", (), ""), LEUCHTTURM, LAMP]
    kept = asked_of(passages, Reader(), cache)
    assert [bool(own) for own in kept] == [True, True, False, True, True]
    assert kept[0] == kept[4]
    assert all(
        one.stands_in(passage.text)
        for passage, own in zip(passages, kept, strict=True)
        for one in own
    )


def test_what_it_cost_is_left_to_the_caller_to_tell(cache: Cache) -> None:
    report = Said()
    list(write([LAMP], Reader().teacher(), cache, 2, report, Tally(), per_sentence=3, wordings=1))
    assert report.lines == []


def test_a_teacher_that_is_asked_together_gives_the_same(tmp_path: Path) -> None:
    results = []
    for together in (False, True):
        with Cache(tmp_path / f"{together}.sqlite") as cache:
            results.append(asked_of([LAMP, DENGTA], Reader(), cache, wordings=2, together=together))
    assert results[0] == results[1]


# -- an exam's words


def frozen_at(passage: Excerpt, words: str) -> Frozen:
    sentence = next(one.text for one in sentences(passage.text, "en") if words in one.text)
    return Frozen(sentence, sentence.index(words), sentence.index(words) + len(words))


def test_frozen_words_are_never_asked_for(cache: Cache) -> None:
    reader, frozen = Reader(), frozen_at(LAMP, "keeper, Maren")
    (kept,) = asked_of([LAMP], reader, cache, per_sentence=99, frozen=frozenset([frozen]))
    every = {frozen.sentence[a:b] for a, b in spans(frozen.sentence, "en")}
    taken = {
        answer for answer in every if "Maren" in answer or "Holt" in answer or "keeper" in answer
    }
    assert taken
    asked = {seen.given for seen in reader.seen if seen.to_write and seen.text == frozen.sentence}
    assert not any("Maren" in answer or "keeper" in answer for answer in asked)
    assert asked >= {"Harbour Nine", "dusk"}
    assert not any("Maren" in one.answer for one in kept)


def test_a_readers_fuller_wording_does_not_bring_frozen_words_back(cache: Cache) -> None:
    def fuller(seen: Seen) -> str:
        return finding(seen).replace("Maren Holt", "keeper, Maren Holt")

    frozen = frozenset([frozen_at(LAMP, "keeper")])
    (kept,) = asked_of([LAMP], replying(answer=fuller), cache, per_sentence=4, frozen=frozen)
    assert "Maren Holt" in [one.answer for one in kept]
    assert not any("keeper" in one.answer for one in kept)


@pytest.mark.parametrize(
    "said", ["Maren Holt", "keeper, Maren Holt", "the keeper, Maren", "Holt", "by the keeper"]
)
@pytest.mark.parametrize("frozen", ["Maren Holt", "keeper, Maren Holt"])
def test_a_reader_that_finds_frozen_words_instead_does_not_bring_them_back(
    said: str, frozen: str, cache: Cache
) -> None:
    taken = frozen_at(LAMP, frozen)
    at = taken.sentence.index(said)
    held = at < taken.end and taken.start < at + len(said)
    (kept,) = asked_of(
        [LAMP], replying(answer=lambda seen: said), cache, per_sentence=4, frozen=frozenset([taken])
    )
    assert [one.answer for one in kept] == ([] if held else [said])


def test_the_same_words_in_another_sentence_are_asked_for(cache: Cache) -> None:
    other = Excerpt("b.md", "B", (), "Maren Holt was born in the town of Tarvik.")
    first, second = asked_of(
        [LAMP, other],
        Reader(),
        cache,
        per_sentence=9,
        frozen=frozenset([frozen_at(LAMP, "Maren Holt")]),
    )
    assert not any("Maren" in one.answer for one in first)
    assert any("Maren Holt" in one.answer for one in second)


# -- prompts


@pytest.mark.parametrize(
    ("passage", "own", "written", "read"),
    [
        (
            LAMP,
            "en",
            "Title: Harbour Nine › The lamp\nText: {text}\nAnswer: {given}",
            "Title: Harbour Nine › The lamp\nText: {text}\nQuestion: {given}",
        ),
        (
            LEUCHTTURM,
            "de",
            "Titel: Der Leuchtturm\nText: {text}\nAntwort: {given}",
            "Titel: Der Leuchtturm\nText: {text}\nFrage: {given}",
        ),
        (
            DENGTA,
            "zh",
            "标题: 灯塔\n文字: {text}\n答案: {given}",
            "标题: 灯塔\n文字: {text}\n问题: {given}",
        ),
        (
            MAYAK,
            "other",
            "Title: Маяк\nText: {text}\nAnswer: {given}",
            "Title: Маяк\nText: {text}\nQuestion: {given}",
        ),
    ],
    ids=["en", "de", "zh", "other"],
)
def test_prompts_and_demonstrations_are_in_the_passages_language(
    passage: Excerpt, own: str, written: str, read: str, cache: Cache
) -> None:
    prompts = json.loads(DATA.read_text("utf-8"))
    shown = prompts[own if own != "other" else "en"]["demonstrations"]
    messages: list[list[dict]] = []

    class Kept(Reader):
        def complete(self, asked, schema, max_tokens):
            messages.append(list(asked))
            return super().complete(asked, schema, max_tokens)

    asked_of([passage], Kept(), cache)
    for asked in messages:
        seen = Seen.of(asked)
        form = written if seen.to_write else read
        assert asked[-1]["content"] == form.format(text=seen.text, given=seen.given)
        assert asked[0] == {
            "role": "system",
            "content": prompts[own]["write" if seen.to_write else "read"],
        }
        assert [turn["role"] for turn in asked[1:]] == ["user", "assistant"] * 5 + ["user"]
        texts = {one["text"]: one for one in shown}
        for turn, reply in zip(asked[1:-1:2], asked[2::2], strict=False):
            one = texts[Seen.of([turn]).text]
            assert reply["content"] == one["question" if seen.to_write else "answer"]


def test_each_wording_sees_other_demonstrations_and_the_sentence_in_one_of_three_ways(
    cache: Cache,
) -> None:
    reader = Reader()
    asked_of([LAMP], reader, cache, per_sentence=1, wordings=6)
    first, second = (one.text for one in sentences(LAMP.text, "en"))
    asked = [
        seen
        for seen in reader.seen
        if seen.to_write and seen.text.startswith(first) == (seen.text != second)
    ]
    asked = [seen for seen in asked if "bell" in seen.text]
    (answer,) = {seen.given for seen in asked}
    gapped = f"{first} {second.replace(answer, '____')}"
    assert Counter(seen.text for seen in asked) == {second: 2, LAMP.text: 2, gapped: 2}
    assert len({tuple(turn["content"] for turn in seen.demonstrated) for seen in asked}) == 6
    for seen in asked:
        shown = [turn["content"] for turn in seen.demonstrated if turn["role"] == "user"]
        assert {"____" in text for text in shown} == {seen.text == gapped}


def test_a_question_that_was_written_for_several_answers_asks_for_the_one_that_the_reader_finds(
    cache: Cache,
) -> None:
    def answer(seen: Seen) -> str:
        return "Tarvik" if seen.text == TOWER.text else "It is not said."

    (kept,) = asked_of(
        [TOWER], replying(lambda seen: "What is it there?", answer), cache, per_sentence=9
    )
    assert [(one.questions, one.answer) for one in kept] == [(("What is it there?",), "Tarvik")]


# -- everything asked is kept


def test_a_second_run_asks_nothing(cache: Cache) -> None:
    first, second, tally = Reader(), Reader(), Tally()
    kept = asked_of([LAMP, DENGTA], first, cache, wordings=2)
    assert asked_of([LAMP, DENGTA], second, cache, wordings=2, tally=tally) == kept
    assert len(first.seen) == len(cache) == tally.cached
    assert second.seen == []
    assert (tally.requests, tally.prompt_tokens, tally.completion_tokens) == (0, 0, 0)


def test_another_teacher_is_asked_again(cache: Cache) -> None:
    asked_of([LAMP], Reader(), cache)
    other = Reader(name="another")
    asked_of([LAMP], other, cache)
    assert len(other.seen) == 12


def test_what_is_read_decides_what_is_asked_and_not_where_it_is(cache: Cache) -> None:
    asked_of([LAMP], Reader(), cache)
    again = Reader()
    asked_of([LAMP._replace(place="elsewhere.md")], again, cache)
    assert again.seen == []
    asked_of([LAMP._replace(title="Harbour Ten")], again, cache)
    assert len(again.seen) == 12


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
@pytest.mark.parametrize("most", [1, 7, 13, 19])
def test_a_run_that_broke_off_asks_only_the_rest(
    most: int, together: bool, cache: Cache, tmp_path: Path
) -> None:
    passages, every, broken, rest = [LAMP, DENGTA], Reader(), Reader(most=most), Reader()
    with Cache(tmp_path / "whole.sqlite") as whole:
        expected = asked_of(passages, every, whole)
    with pytest.raises(EnvironmentProblem, match="it is gone"):
        asked_of(passages, broken, cache, together=together)
    assert len(cache) == len(broken.seen) == most
    assert broken.stopped.is_set() or together
    assert asked_of(passages, rest, cache, together=together) == expected
    assert sorted(map(repr, [*broken.seen, *rest.seen])) == sorted(map(repr, every.seen))


def test_after_a_failure_what_was_under_way_is_kept(cache: Cache) -> None:
    def slow(seen: Seen) -> str:
        time.sleep(0.2)
        return honest(seen)

    reader = Reader(slow, most=2)
    teacher = reader.teacher()
    with pytest.raises(EnvironmentProblem, match="it is gone"):
        list(write([LAMP], teacher, cache, 3, Silent(), Tally(), per_sentence=3, wordings=1))
    assert len(cache) == len(reader.seen) == 2


def test_a_killed_run_asks_only_the_rest(tmp_path: Path) -> None:
    path, log = tmp_path / "teacher.sqlite", tmp_path / "asked"
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom phoenix_forge.teacher import Cache\n"
        "from stand_ins.reader import Reader, honest\nfrom test_write import DENGTA, LAMP, asked_of\n"
        "def said(seen):\n    time.sleep(0.05)\n    open(sys.argv[2], 'a').write('.')\n    return honest(seen)\n"
        "asked_of([LAMP, DENGTA], Reader(said), Cache(Path(sys.argv[1])), wordings=3)\n"
    )
    tests = Path(__file__).parent
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = {[str(tests), str(tests.parent)]!r}\n" + script,
            str(path),
            str(log),
        ]
    )
    deadline = time.monotonic() + 60
    while (
        (not log.exists() or log.stat().st_size < 10)
        and child.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    every, rest = Reader(), Reader()
    with Cache(tmp_path / "whole.sqlite") as whole:
        expected = asked_of([LAMP, DENGTA], every, whole, wordings=3)
    with Cache(path) as cache:
        finished = len(cache)
        assert asked_of([LAMP, DENGTA], rest, cache, wordings=3) == expected
    assert len(every.seen) > log.stat().st_size >= finished >= log.stat().st_size - 3 > 5
    assert len(rest.seen) == len(every.seen) - finished
