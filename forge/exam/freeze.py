"""Passages → an exam: questions that a model wrote by reading, which a reader can answer with the passage only.

What is asked is chosen by a fixed random order of all sentences, not by the teacher, so that the exam asks for what the
documents say and not for what was taught; no question of a teacher then asks for the same words. Rules go on asking for
them as for all words of the documents, for what people ask is taught by these, too: an exam of what no example asks
for said that a model knew half of what people's questions found (bench/knowledge.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from forge.chat.template import Message
from forge.core.report import Reporter
from forge.corpus.prose import language, sentences, shape, spans
from forge.examples.compare import contained, f1
from forge.examples.example import stable_hash
from forge.teacher import Cache, Completion, Passage, Tally, Teacher, completed
from forge.teacher.write import (
    ANSWER_TOKENS,
    Frozen,
    Target,
    found,
    placed,
    questioned,
    to_read,
)

TRIED = 8  # sentences looked at for each question that is wanted: about one in five ends as one
VARIANT = 7  # of the demonstrations' orders: one that training questions are not written with
DISTRACTORS = 3
KNOWN = 0.5  # F1 of an answer without the passage from which the question asks for what the model knew before


class Examined(NamedTuple):
    """A question about passage number `passage`."""

    passage: int
    question: str
    answer: str
    distractors: tuple[str, ...]
    frozen: Frozen


def freeze(passages: Sequence[Passage], teacher: Teacher, cache: Cache, workers: int, report: Reporter, tally: Tally, *,
           wanted: int, seed: int) -> list[Examined]:
    """At most `wanted` questions, in a fixed random order. Raises a ForgeError where the teacher does not answer."""
    languages = [language(passage.text) for passage in passages]
    targets = _targets(passages, languages, wanted * TRIED, seed)

    def ask(requests: Sequence[Sequence[Message]], tokens: int, label: str) -> list[Completion]:
        return completed(requests, tokens, teacher, cache, workers, tally, report, f"exam, {label}")

    read = questioned(targets, passages, languages, tally, ask)
    blind = [to_read(passages[target.passage]._replace(text="…"), question, languages[target.passage])
             for target, question, _ in read]
    guesses = ask(blind, ANSWER_TOKENS, "without the passage")
    kept = [(target, question, answer) for (target, question, said), guess in zip(read, guesses, strict=True)
            if (answer := found(said, question, target)) and f1(guess.text, [answer]) < KNOWN]
    beside = _Distractors(passages, languages)
    return [Examined(target.passage, question, answer, beside.of(target.passage, question, answer),
                     _frozen(target, answer)) for target, question, answer in kept[:wanted]]


def _targets(passages: Sequence[Passage], languages: Sequence[str], most: int, seed: int
             ) -> list[Target]:
    """One answer of each of at most so many sentences."""
    every = [(stable_hash(seed, passage.place, sentence.text), i, sentence)
             for i, passage in enumerate(passages) for sentence in sentences(passage.telling, languages[i])]
    chosen = []
    for order, i, sentence in sorted(every, key=lambda entry: entry[:2])[:most]:
        able = spans(sentence.text, languages[i])
        if able:
            start, end = able[int(order[:8], 16) % len(able)]
            chosen.append(Target(i, sentence, sentence.text[start:end], VARIANT, start))
    return chosen


def _frozen(target: Target, answer: str) -> Frozen:
    """The words that were asked for, and those that the reader found."""
    start, end = placed(answer, target)
    return Frozen(target.sentence.text, min(start, target.start), max(end, target.start + len(target.answer)))


class _Distractors:
    """What else a document could answer: words of its sentences that look like the answer, and where it has too few of
    another's."""

    def __init__(self, passages: Sequence[Passage], languages: Sequence[str]) -> None:
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
        others = chain.from_iterable(pool.items() for other, pool in self._pools.items() if other != title)
        chosen: list[str] = []
        for word, _ in chain(own, others):
            if len(chosen) == DISTRACTORS:
                break
            if not contained(question, [word]) and all(f1(word, [one]) == 0 for one in (answer, *chosen)):
                chosen.append(word)
        return tuple(chosen)
