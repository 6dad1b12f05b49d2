"""Whether a passage supports what was said, told by words, in the passage's language.

A model's answer is held against the passages that it was given sentence by sentence, by the share of its words that
stand there, which tells whether an answer keeps to its passages as well as people do about as surely as a model that is
asked (K-precision: Adlakha et al. 2023, arXiv 2307.16877). Words that say nothing do not count, nor do those of the
question, which any answer may repeat, and every number has to be there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import regex

from phoenix_forge.corpus import inline
from phoenix_forge.corpus.index import Passage
from phoenix_forge.corpus.prose import LEAD
from phoenix_forge.corpus.terms import ALONE, HAS_ALONE, Stems, normal, stops

ENOUGH = 0.75  # of a sentence's words
FEWEST, MOST = 2, 32  # telling words of what can be a question
RUN = regex.compile(rf"(?:[{ALONE}]\p{{M}}*)+|[^\W_{ALONE}]+")
SIGN = regex.compile(rf"[{ALONE}]\p{{M}}*")


class Supported(NamedTuple):
    """A sentence of an answer, and the number of the passage that supports it best; None where none does."""

    sentence: str
    passage: int | None


class Words:
    """The words of texts that tell something. Not to be used by two threads at once."""

    def __init__(self) -> None:
        self._stems: dict[str, Stems] = {}

    def telling(self, text: str, language: str) -> list[str]:
        """Stems of a text's words that tell something. Where each sign is a word, two that follow each other are one:
        single ones stand in any passage."""
        return [
            word
            for signs, own in self._runs(text, language)
            for word in (_pairs(signs) if signs else own)
        ]

    def all(self, text: str, language: str) -> set[str]:
        """The same, and the single signs."""
        return {
            word
            for signs, own in self._runs(text, language)
            for word in (*signs, *_pairs(signs), *own)
        }

    def _runs(self, text: str, language: str) -> Iterator[tuple[list[str], list[str]]]:
        stems, silent = self._stems.setdefault(language, Stems(language)), stops(language)
        for run in RUN.findall(silent.without(normal(text))):
            if HAS_ALONE.match(run):
                yield SIGN.findall(run), []
            elif run not in silent.words:
                yield [], [stems[run.lstrip("0") or "0"]]


def _pairs(signs: Sequence[str]) -> list[str]:
    return [first + second for first, second in pairwise(signs)] or list(signs)


def supported(
    answer: str, question: str, passages: Sequence[Passage], words: Words
) -> list[Supported]:
    """Each sentence of an answer, with the passage that supports it. Of several it is the one with most of the
    sentence's words and the question's; sentences of which no word tells anything are left out."""
    held = [words.all(_whole(passage), passage.language) for passage in passages]
    asked = [set(words.telling(question, p.language)) for p in passages]
    results: list[Supported] = []
    for sentence in sentences(answer, passages[0].language if passages else "en"):
        spoken = [words.telling(sentence, p.language) for p in passages] or [
            words.telling(sentence, "en")
        ]
        if not any(spoken):
            continue
        scores = [
            _score(own, question_words, there)
            for own, question_words, there in zip(spoken, asked, held, strict=False)
        ]
        best = max(range(len(scores)), key=lambda i: (scores[i], -i), default=0)
        results.append(Supported(sentence, best if scores and scores[best] > 0 else None))
    return results


def _score(
    sentence_words: Sequence[str], question_words: set[str], passage_words: set[str]
) -> float:
    """0 where a passage does not support a sentence, else how much of its words and of the question's it has."""
    telling = {word for word in sentence_words if word not in question_words} or set(sentence_words)
    there = telling & passage_words
    numbers = {word for word in telling if any(map(str.isdigit, word))}
    if not telling or len(there) < math.ceil(ENOUGH * len(telling)) or not numbers <= passage_words:
        return 0
    return len(there) / len(telling) + len(question_words & passage_words) / max(
        1, len(question_words)
    )


def covered(
    question: str, passages: Sequence[Passage], words: Words, weight: Callable[[str], float]
) -> float | None:
    """The share of what a question asks about that the passage with most of it has, 0 to 1: of its telling words, each
    by its `weight`. None where there are too few of these to tell by (a greeting), or too many to be a question."""
    asked = [set(words.telling(question, passage.language)) for passage in passages]
    asked = asked or [set(words.telling(question, "en"))]
    if not FEWEST <= len(asked[0]) <= MOST:
        return None
    return max(map(partial(_share, words, weight), asked, passages), default=0.0)


def _share(
    words: Words, weight: Callable[[str], float], asked: set[str], passage: Passage
) -> float:
    held = words.all(_whole(passage), passage.language)
    whole = sum(map(weight, asked))
    return sum(map(weight, asked & held)) / whole if whole else 0.0


def _whole(passage: Passage) -> str:
    return " ".join([passage.path, passage.title, *passage.headings, passage.text])


def sentences(answer: str, language: str) -> Iterator[str]:
    """The sentences of an answer, each item of a list by itself, without marks."""
    from sentencex import segment

    for line in answer.splitlines():
        plain = inline.plain(LEAD.sub("", line)).encode("utf-8", "replace").decode()
        yield from filter(None, map(str.strip, segment(language, plain) if plain else ()))
