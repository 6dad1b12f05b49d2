"""Passages → questions as people ask them, each with the words of the passage that answer it.

Two rounds, both by demonstration, in the passage's language: a sentence and some of its words → the question they
answer; then passage and question → the answer. A question is kept where the reader, who sees the whole passage, comes
back to the words that the question was made from. Small models often ask for other words of the sentence than those
they were shown: where the reader finds such, and finds them again in the sentence alone, the question asks for these.
Words are chosen by `phoenix_forge.corpus.prose`, not by the model: a small one lists the same three facts again and
again, but can ask for what it is shown.

Several wordings come from the same demonstrations in other orders, and from the sentence shown in other ways (by
itself, behind the one before, with a gap in place of the answer): a model's greedy answer leans on both, so no sampling
is needed, and the same model writes the same questions again. A fact that is asked for in four ways is remembered more
than twice as often as one that is asked for in one (bench/knowledge.md).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from phoenix_forge.chat.template import Message
from phoenix_forge.core.report import Reporter
from phoenix_forge.corpus.prose import Sentence, language, sentences, spans, standing
from phoenix_forge.examples.compare import contained, f1, gives_away
from phoenix_forge.teacher.cache import Cache, Completion
from phoenix_forge.teacher.requests import Tally, completed
from phoenix_forge.teacher.transports import Teacher

DATA = Path(__file__).parent / "data" / "prompts.json"
TOGETHER = 512  # passages whose requests are sent together, so that a GPU's batches are full; every answer is kept
QUESTION_TOKENS, ANSWER_TOKENS = 40, 24
SHOWN = 5  # demonstrations in a prompt
LONGEST = 240  # characters of a question
SHORTEST = 8
LONGEST_ANSWER = 100  # characters
ORDERS = 8  # of the demonstrations: as many as there are
EXAM_ORDER = 7  # one that training's questions are not written with
GAP = "____"
REQUESTS_A_QUESTION = 1.6  # one to write it, and one to read what is left of them
OTHER = 0.6  # of a sentence, at most, that is the answer to a question about other words of it
AGREED = 0.6  # F1 of the reader's answer with the words asked for
QUESTION_END = re.compile(r"[?？؟]\s*$")
DEMONSTRATED = re.compile(r"Skarn|斯卡恩|Arvik|阿尔维克|Ilves|伊尔维斯|--keep")


Ask = Callable[[Sequence[Sequence[Message]], int, str], list[Completion]]


class Excerpt(NamedTuple):
    """`place` says where it is, for messages; `text` is its Markdown, `prose` what of it is asked for (None: all)."""

    place: str
    title: str
    headings: tuple[str, ...]
    text: str
    prose: str | None = None

    @property
    def telling(self) -> str:
        return self.text if self.prose is None else self.prose

    @property
    def named(self) -> str:
        return " › ".join(dict.fromkeys([self.title, *self.headings]))


@dataclass(frozen=True, slots=True)
class Asked:
    """`questions` ask for `answer`, which stands in `sentence`."""

    questions: tuple[str, ...]
    answer: str
    sentence: str

    def stands_in(self, text: str) -> bool:
        """Whether the sentence is among the words of a text."""
        return contained(text, [self.sentence])


class Frozen(NamedTuple):
    """Words of a sentence that an exam asks for."""

    sentence: str
    start: int
    end: int


class Target(NamedTuple):
    """Some words of a sentence of passage number `passage`, from character `start` on, whose `variant`-th wording is
    wanted."""

    passage: int
    sentence: Sentence
    answer: str
    variant: int
    start: int


def write(
    passages: Sequence[Excerpt],
    teacher: Teacher,
    cache_: Cache,
    workers: int,
    report: Reporter,
    tally: Tally,
    *,
    per_sentence: int,
    wordings: int,
    frozen: frozenset[Frozen] = frozenset(),
    share: float = math.inf,
) -> Generator[list[Asked]]:
    """What was kept of each passage, in their order; resumable at every completion.

    `per_sentence` answers are looked for in a sentence, each asked for in up to `wordings` ways, and no more than
    `share` questions are written for a passage; none that shares words with what an exam asks of the sentence.
    Raises a ForgeError where the teacher does not answer.
    """
    for start in range(0, len(passages), TOGETHER):
        some = passages[start : start + TOGETHER]
        yield from _written(
            some, teacher, cache_, workers, report, per_sentence, wordings, frozen, share, tally
        )


def per_passage(most: float, passages: int) -> float:
    """Questions for each of so many passages that `most` requests allow, in steps of a half power of two: a corpus that
    has grown a little is asked what it was asked before."""
    share = max(1.0, most / max(1, passages) / REQUESTS_A_QUESTION)
    return 2 ** (math.floor(2 * math.log2(share)) / 2) if math.isfinite(share) else share


def _written(
    passages: Sequence[Excerpt],
    teacher: Teacher,
    cache_: Cache,
    workers: int,
    report: Reporter,
    per_sentence: int,
    wordings: int,
    frozen: frozenset[Frozen],
    share: float,
    tally: Tally,
) -> list[list[Asked]]:
    languages, taken = [language(passage.text) for passage in passages], _examined(frozen)
    targets = [
        target
        for i, passage in enumerate(passages)
        for target in _first(
            _targets(i, passage, languages[i], per_sentence, wordings, taken), share
        )
    ]

    def ask(requests: Sequence[Sequence[Message]], tokens: int, label: str) -> list[Completion]:
        return completed(requests, tokens, teacher, cache_, workers, tally, report, label)

    read = questioned(targets, passages, languages, tally, ask)
    pairs = [(question, *asked_for(said, question, some)) for some, question, said in read]
    others = [
        (question, other)
        for (some, question, said), (_, _, answer) in zip(read, pairs, strict=True)
        if not answer and (other := elsewhere(said, question, some))
    ]
    again = [
        to_read(
            passages[other.passage]._replace(text=f"{other.sentence.before} {other.sentence.text}"),
            question,
            languages[other.passage],
        )
        for question, other in others
    ]
    pairs += [
        (question, other, found(one.text, question, other))
        for (question, other), one in zip(
            others, ask(again, ANSWER_TOKENS, "answers by the sentence"), strict=True
        )
    ]
    kept: dict[tuple[int, str, str], list[str]] = {}
    for question, target, answer in pairs:
        examined = taken.get(target.sentence.text, ())
        if answer and _overlap(placed(answer, target), examined):
            answer = target.answer  # the reader's fuller wording has words of an exam
        if answer and not _overlap(placed(answer, target), examined):
            kept.setdefault((target.passage, target.sentence.text, answer), []).append(question)
    number = sum(map(len, kept.values()))
    tally.kept += number
    if number < len(read):
        tally.dropped["another answer found"] += len(read) - number
    return [
        [
            Asked(tuple(own), answer, sentence)
            for (i, sentence, answer), own in kept.items()
            if i == number
        ]
        for number in range(len(passages))
    ]


def questioned(
    targets: Sequence[Target],
    passages: Sequence[Excerpt],
    languages: Sequence[str],
    tally: Tally,
    ask: Ask,
) -> list[tuple[list[Target], str, str]]:
    """Each question that was written, once a passage, with its targets and what a reader of the passage said to it."""
    asked = [
        to_write(target, passages[target.passage], languages[target.passage]) for target in targets
    ]
    questions = [
        question_of(one.text, target, passages[target.passage])
        for one, target in zip(ask(asked, QUESTION_TOKENS, "questions"), targets, strict=True)
    ]
    unique = unique_questions(targets, questions, tally)
    read = [
        to_read(passages[some[0].passage], question, languages[some[0].passage])
        for some, question in unique
    ]
    return [
        (some, question, one.text)
        for (some, question), one in zip(unique, ask(read, ANSWER_TOKENS, "answers"), strict=True)
    ]


def _targets(
    number: int,
    passage: Excerpt,
    own: str,
    per_sentence: int,
    wordings: int,
    examined: dict[str, list[tuple[int, int]]],
) -> Iterator[Target]:
    for sentence in sentences(passage.telling, own):
        taken = examined.get(sentence.text, [])
        free = [
            (a, b)
            for a, b in spans(sentence.text, own)
            if not any(a < d and c < b for c, d in taken)
        ]
        for variant in range(wordings):
            for start, end in free[:per_sentence]:
                yield Target(
                    number,
                    sentence,
                    sentence.text[start:end],
                    variant + variant // EXAM_ORDER,
                    start,
                )


def _examined(frozen: frozenset[Frozen]) -> dict[str, list[tuple[int, int]]]:
    examined: dict[str, list[tuple[int, int]]] = {}
    for text, start, end in frozen:
        examined.setdefault(text, []).append((start, end))
    return examined


def _first(targets: Iterator[Target], share: float) -> list[Target]:
    """At most `share` of a passage's targets: every sentence has its turn before any has its second."""
    every = list(targets)
    if share >= len(every):
        return every
    seen: Counter[str] = Counter()
    turns = []
    for i, target in enumerate(every):
        turns.append((seen[target.sentence.text], i))
        seen[target.sentence.text] += 1
    return [every[i] for _, i in sorted(turns)[: max(1, int(share))]]


def question_of(said: str, target: Target, passage: Excerpt) -> str | None:
    """The question of what a model said; None where it is none, or gives its answer away."""
    question = said.strip().split("\n")[0].strip()
    if not SHORTEST <= len(question) <= LONGEST or not QUESTION_END.search(question):
        return None
    if question in _demonstrations() or (
        DEMONSTRATED.search(question) and not DEMONSTRATED.search(passage.text)
    ):
        return None
    if GAP in question and GAP not in passage.text:
        return None  # the sentence again, with its gap
    return None if gives_away(question, target.answer) else question


def unique_questions(
    targets: Sequence[Target], questions: Sequence[str | None], tally: Tally
) -> list[tuple[list[Target], str]]:
    """Each question of a passage once, with what it was written for."""
    kept: dict[tuple[int, str], tuple[list[Target], str]] = {}
    for target, question in zip(targets, questions, strict=True):
        if question is None:
            tally.dropped["no question, or one that says its answer"] += 1
        else:
            kept.setdefault((target.passage, question.lower()), ([], question))[0].append(target)
    return list(kept.values())


def found(said: str, question: str, target: Target) -> str:
    """The answer, where a reader came back to the words that were asked for: as the reader gives it, if that stands in
    the sentence, for words chosen by rule hold a verb too many or an article too few; else the words themselves. ""
    where it did not come back, or only with words of the question."""
    first = said.strip().split("\n")[0].strip().rstrip(".。")
    agreed = f1(first, [target.answer]) >= AGREED
    within = contained(first, [target.answer]) and len(first) <= LONGEST_ANSWER
    if (agreed or within) and first in target.sentence.text:
        return "" if gives_away(question, first) else first
    return target.answer if agreed or (within and len(first) <= 2 * len(target.answer) + 16) else ""


def asked_for(said: str, question: str, targets: Sequence[Target]) -> tuple[Target, str]:
    """Which of the words that a question was written for a reader came back to, and the answer; "" for none."""
    answers = ((target, found(said, question, target)) for target in targets)
    return next((pair for pair in answers if pair[1]), (targets[0], ""))


def elsewhere(said: str, question: str, targets: Sequence[Target]) -> Target | None:
    """Other words of one of the sentences, where a reader found such."""
    answer = said.strip().split("\n")[0].strip().rstrip(".。")
    if not 1 < len(answer) <= LONGEST_ANSWER or gives_away(question, answer):
        return None
    for target in targets:
        text = target.sentence.text
        place = standing(answer).search(text) if len(answer) <= len(text) * OTHER else None
        if place:
            return target._replace(answer=place[0], start=place.start())
    return None


def _overlap(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def placed(answer: str, target: Target) -> tuple[int, int]:
    """(start, end) in its sentence of an answer that `found` gave: where it stands on the words that were asked for."""
    end = target.start + len(target.answer)
    at = target.sentence.text.find(
        answer, max(0, target.start - len(answer) + 1), end + len(answer) - 1
    )
    return (at, at + len(answer)) if at >= 0 else (target.start, end)


# -- prompts -----------------------------------------------------------------------------------------------------------

# How a sentence is shown to who asks about it: with a gap in place of the answer, behind the one before.
FRAMES = ((False, False), (False, True), (True, True))


def to_write(target: Target, passage: Excerpt, own: str) -> list[Message]:
    """What asks for the `variant`-th question: behind demonstrations in an order, the sentence in one of three ways."""
    gapped, before = FRAMES[target.variant % len(FRAMES)]
    text, end = target.sentence.text, target.start + len(target.answer)
    sentence = f"{text[: target.start]}{GAP}{text[end:]}" if gapped else text
    shown = f"{target.sentence.before} {sentence}".strip() if before else sentence
    asked = _shown(_words(own), passage.named, shown, answer=target.answer)
    return [
        *_demonstrated(own, "question", target.variant, gapped),
        {"role": "user", "content": asked},
    ]


def to_read(passage: Excerpt, question: str, own: str) -> list[Message]:
    """Passage and question, behind demonstrations of how to answer with a few words."""
    asked = _shown(_words(own), passage.named, passage.text.strip(), question=question)
    return [*_demonstrated(own, "answer", 0, False), {"role": "user", "content": asked}]


@cache
def _demonstrated(own: str, wanted: str, turn: int, gapped: bool) -> tuple[Message, ...]:
    """The demonstrations, from number `turn` on, with what is `wanted` as the model's part."""
    words, given = _words(own), "answer" if wanted == "question" else "question"
    shown = _prompts()[own if own in _prompts() else "en"]["demonstrations"]
    step = turn * 3 % ORDERS
    turns: list[Message] = [
        {"role": "system", "content": words["write" if wanted == "question" else "read"]}
    ]
    for one in (*shown[step:], *shown[:step])[:SHOWN]:
        text = one["text"].replace(one["answer"], GAP) if gapped else one["text"]
        turns.append(
            {"role": "user", "content": _shown(words, one["title"], text, **{given: one[given]})}
        )
        turns.append({"role": "assistant", "content": one[wanted]})
    return tuple(turns)


def _shown(words: dict[str, str], title: str, text: str, **given: str) -> str:
    ((key, value),) = given.items()
    return f"{words['title']}: {title}\n{words['text']}: {text}\n{words[key]}: {value}"


def _words(own: str) -> dict[str, str]:
    prompts = _prompts()
    return prompts.get(own) or prompts["other"]


@cache
def _demonstrations() -> frozenset[str]:
    """The questions that every prompt shows."""
    return frozenset(
        one["question"] for own in _prompts().values() for one in own.get("demonstrations", ())
    )


@cache
def _prompts() -> dict:
    return json.loads(DATA.read_text(encoding="utf-8"))
