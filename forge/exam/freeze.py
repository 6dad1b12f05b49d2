"""Passages → an exam: questions that a model wrote by reading, which a reader can answer with the passage only.

What is asked is chosen by a fixed random order of all sentences, not by the teacher, so that the exam asks for what the
documents say and not for what was taught; the words that it asks for are then never asked for in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from forge.core.report import Reporter
from forge.corpus.prose import language, sentences, spans
from forge.examples.compare import f1
from forge.examples.example import stable_hash
from forge.teacher import Cache, Passage, Tally, Teacher
from forge.teacher.requests import completed
from forge.teacher.write import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    Frozen,
    Target,
    found,
    placed,
    question_of,
    to_read,
    to_write,
    unique_questions,
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
    asked = [to_write(target, passages[target.passage], languages[target.passage]) for target in targets]
    said = completed(asked, QUESTION_TOKENS, teacher, cache, workers, tally, report, "exam")
    questions = [question_of(one.text, target, passages[target.passage])
                 for one, target in zip(said, targets, strict=True)]
    unique = unique_questions(targets, questions, tally)
    read = [to_read(passages[target.passage], question, languages[target.passage]) for target, question in unique]
    answers = completed(read, ANSWER_TOKENS, teacher, cache, workers, tally, report, "exam, read")
    blind = [to_read(passages[target.passage]._replace(text="…"), question, languages[target.passage])
             for target, question in unique]
    guesses = completed(blind, ANSWER_TOKENS, teacher, cache, workers, tally, report, "exam, without the passage")
    kept = [(target, question, answer)
            for (target, question), own, guess in zip(unique, answers, guesses, strict=True)
            if (answer := found(own.text, target)) and f1(guess.text, [answer]) < KNOWN]
    return [Examined(target.passage, question, answer, _distractors(kept, i, passages),
                     _frozen(target, answer))
            for i, (target, question, answer) in enumerate(kept[:wanted])]


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


Kept = Sequence[tuple[Target, str, str]]


def _distractors(kept: Kept, number: int, passages: Sequence[Passage]) -> tuple[str, ...]:
    """Answers to other questions, the likest in shape, of the same document first."""
    target, _, answer = kept[number]
    title = passages[target.passage].title

    def unlike(other: tuple[Target, str, str]) -> tuple[int, str]:
        text = other[2]
        shape = (any(map(str.isdigit, text)) != any(map(str.isdigit, answer))) * 8
        shape += (text[:1].isupper() != answer[:1].isupper()) * 4 + abs(len(text.split()) - len(answer.split()))
        return shape + (passages[other[0].passage].title != title) * 3, stable_hash(answer, text)

    others = sorted((one for one in kept if f1(one[2], [answer]) == 0), key=unlike)
    return tuple(dict.fromkeys(one[2] for one in others))[:DISTRACTORS]
