"""Passages → an exam: questions that a model wrote by reading, which a reader can answer with the passage only.

What is asked is chosen by a fixed random order of all sentences, not by the teacher, so that the exam asks for what the
documents say and not for what was taught; no question of a teacher then asks for the same words. Rules go on asking for
them as for all words of the documents, for what people ask is taught by these, too: an exam of what no example asks
for said that a model knew half of what people's questions found (bench/knowledge.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from phoenix_forge.chat.template import Message
from phoenix_forge.core.report import Reporter
from phoenix_forge.corpus.prose import language, sentences, shape, spans
from phoenix_forge.examples.compare import contained, f1
from phoenix_forge.examples.example import stable_hash
from phoenix_forge.teacher import Cache, Completion, Excerpt, Tally, Teacher, completed
from phoenix_forge.teacher.write import (
    ANSWER_TOKENS,
    EXAM_ORDER,
    Frozen,
    Target,
    asked_for,
    placed,
    questioned,
    to_read,
)

TRIED = 16  # answers tried for each question that is wanted: of a 0.5B's about one in sixteen ends as one
REQUESTS_A_TRY = 2  # one to write a question, and one or two to answer what is left of them
DISTRACTORS = 3
KNOWN = 0.5  # F1 of an answer without the passage from which the question asks for what the model knew before


class Examined(NamedTuple):
    """A question about passage number `passage`."""

    passage: int
    question: str
    answer: str
    distractors: tuple[str, ...]
    frozen: Frozen


def freeze(
    passages: Sequence[Excerpt],
    teacher: Teacher,
    cache: Cache,
    workers: int,
    report: Reporter,
    tally: Tally,
    *,
    wanted: int,
    seed: int,
    most: float = math.inf,
) -> list[Examined]:
    """At most `wanted` questions of at most so many requests, in a fixed random order. Raises a ForgeError where the
    teacher does not answer."""
    languages = [language(passage.text) for passage in passages]
    targets = _targets(passages, languages, int(min(wanted * TRIED, most / REQUESTS_A_TRY)), seed)

    def ask(requests: Sequence[Sequence[Message]], tokens: int, label: str) -> list[Completion]:
        return completed(requests, tokens, teacher, cache, workers, tally, report, f"exam, {label}")

    read = questioned(targets, passages, languages, tally, ask)
    blind = [
        to_read(passages[some[0].passage]._replace(text="…"), question, languages[some[0].passage])
        for some, question, _ in read
    ]
    guesses = ask(blind, ANSWER_TOKENS, "without the passage")
    kept = [
        (target, question, answer)
        for (some, question, said), guess in zip(read, guesses, strict=True)
        for target, answer in [asked_for(said, question, some)]
        if answer and f1(guess.text, [answer]) < KNOWN
    ]
    beside = _Distractors(passages, languages)
    return [
        Examined(
            target.passage,
            question,
            answer,
            beside.of(target.passage, question, answer),
            _frozen(target, answer),
        )
        for target, question, answer in kept[:wanted]
    ]


def _targets(
    passages: Sequence[Excerpt], languages: Sequence[str], most: int, seed: int
) -> list[Target]:
    """At most so many answers: one of each sentence, then another of each, …"""
    every = []
    for i, passage in enumerate(passages):
        for sentence in sentences(passage.telling, languages[i]):
            place = stable_hash(seed, passage.place, sentence.text)
            mixed = sorted(
                (stable_hash(place, *span), span) for span in spans(sentence.text, languages[i])
            )
            every += [
                (turn, place, Target(i, sentence, sentence.text[start:end], EXAM_ORDER, start))
                for turn, (_, (start, end)) in enumerate(mixed)
            ]
    return [target for _, _, target in sorted(every, key=lambda entry: entry[:2])[:most]]


def _frozen(target: Target, answer: str) -> Frozen:
    """The words that were asked for, and those that the reader found."""
    start, end = placed(answer, target)
    return Frozen(
        target.sentence.text, min(start, target.start), max(end, target.start + len(target.answer))
    )


class _Distractors:
    """What else a document could answer: words of its sentences that look like the answer, and where it has too few of
    another's."""

    def __init__(self, passages: Sequence[Excerpt], languages: Sequence[str]) -> None:
        self.passages = passages
        self._pools: dict[str, dict[str, int]] = {}
        for i, passage in enumerate(passages):
            pool = self._pools.setdefault(passage.title, {})
            for sentence in sentences(passage.telling, languages[i]):
                for start, end in spans(sentence.text, languages[i]):
                    pool.setdefault(sentence.text[start:end], i)

    def of(self, passage: int, question: str, answer: str) -> tuple[str, ...]:
        """The likest in shape, of the same passage first; none that shares words with answer, question or another."""
        title, wanted = self.passages[passage].title, shape(answer)

        def unlike(other: tuple[str, int]) -> tuple[int, int, bool, str]:
            word, place = other
            own = shape(word)
            classes = sum(a != b for a, b in zip(own[:-1], wanted[:-1], strict=True))
            return classes, abs(own[-1] - wanted[-1]), place != passage, stable_hash(answer, word)

        own = sorted(self._pools[title].items(), key=unlike)
        others = chain.from_iterable(
            pool.items() for other, pool in self._pools.items() if other != title
        )
        chosen: list[str] = []
        for word, _ in chain(own, others):
            if len(chosen) == DISTRACTORS:
                break
            if not contained(question, [word]) and all(
                f1(word, [one]) == 0 for one in (answer, *chosen)
            ):
                chosen.append(word)
        return tuple(chosen)
