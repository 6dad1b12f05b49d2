"""Closed-book questions, frozen before any example is made, and kept out of every training prompt."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from phoenix_forge.corpus.grams import grams, identities, maybe, some_at_a_time, words
from phoenix_forge.corpus.index import STOP, WORD
from phoenix_forge.dataset.extract import PROBED, Extract, Known
from phoenix_forge.exam.probe import Probe
from phoenix_forge.examples.example import stable_hash

GRAM = 12  # words in a row that a training prompt may not share with a probe
SIMILAR = 0.8  # Jaccard similarity of word 3-grams from which two questions count as one
SIMILARITY_GRAM = 3
DISTRACTORS = 3
CHOSEN_FROM = 9  # a probe's wording is one of a fact's first so many
TRIES = 8  # facts looked at for each probe that is wanted
NEAR = 64  # answers looked at for a probe's distractors
KEPT = 1 << 14  # of those, how many are kept in memory: a few megabytes
# Kinds that all say what something is: their answers can be confused with each other.
TELLING = [PROBED.index(kind) for kind in ("question", "definition", "entry")]
# What makes a question too easy, or too hard.
COMMON = 1 / (
    1 + DISTRACTORS
)  # share of its pool above which always giving this answer beats chance
HELD = 0.5  # share of an answer's words that the question may hold
SHORTEST = 2  # characters of an answer
ASKED = 2  # words of a question beside those of asking: `type` alone can be anything
SAME = 0.8  # share of the shorter one's words from which two answers say the same
# How unlike two answers may be, and what adds to it; see `_unlike`. Units of the shape: a length doubled is 1.
FAR = 4.0
LESS_OF_THE_QUESTION, ELSEWHERE, OTHER_START, IN_THE_PASSAGE = 4.0, 0.5, 0.5, 1.5
STEM = 5  # letters that two forms of a word share
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd: one hash of a pool's and an answer's
TAG = re.compile(r"<[^<>]*>")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Candidates(NamedTuple):
    """Facts with a checkable answer, one entry each: what kind (its number in PROBED), a fixed random order, hashes of
    the answer and of what it can be confused with, and where the fact is (document, number in the document)."""

    kind: np.ndarray
    order: np.ndarray
    answer_key: np.ndarray
    pool: np.ndarray
    document: np.ndarray
    fact: np.ndarray


def candidates(documents: Iterable[tuple[np.ndarray, np.ndarray]]) -> Candidates:
    """From each document's fact table and, one entry a fact, how many wordings it has left."""
    parts = []
    for number, (facts, left) in enumerate(documents):
        able = np.flatnonzero((facts["probed"] >= 0) & (left > 2))
        own = facts[able]
        place = np.full(len(able), number)
        parts.append(
            Candidates(own["probed"], own["order"], own["answer_key"], own["pool"], place, able)
        )
    found = Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return found._replace(pool=np.where(np.isin(found.kind, TELLING), np.uint64(0), found.pool))


Facts = Callable[[int, int], tuple[Extract, Known, tuple[str, ...], str]]
AnswerKeys = Callable[[int, int], str]


def freeze(able: Candidates, wanted: int, facts: Facts, answer_key: AnswerKeys) -> list[Probe]:
    """At most `wanted` probes, and at most one for four facts that have a checkable answer, spread over kinds.

    `facts` gives a document's extract, a fact of it, the wordings left of it and its section's text, `answer_key` that of
    a fact. The wording of a probe is one of its fact's own, never the first; `Guard` keeps it from being trained.
    Facts are passed over whose question common sense can answer, or the section cannot: see `_probe`.
    """
    limit = min(wanted, (len(able.kind) + 3) // 4)
    pools = _Pools(able, answer_key)
    order = np.lexsort((able.fact, able.document, able.order))
    order = order[pools.usable[order]]
    by_kind = [order[able.kind[order] == kind] for kind in range(len(PROBED))]
    most = TRIES * limit // max(1, sum(len(column) > 0 for column in by_kind))
    turns = [iter(column[:most].tolist()) for column in by_kind]
    probes: dict[int, Probe] = {}
    while turns and len(probes) < limit:
        turn = turns.pop(0)
        for i in turn:
            probe = _probe(able, i, pools, facts)
            if probe and (key := int(identities(words([probe.question]))[0])) not in probes:
                probes[key] = probe
                turns.append(turn)
                break
    return list(probes.values())


def _probe(able: Candidates, i: int, pools: _Pools, facts: Facts) -> Probe | None:
    """None where the section's text does not hold the answer, where the question does, or does not say enough of what
    it is about, and where no three other answers look like it."""
    right, others, document = pools.answer(i), pools.near(i), int(able.document[i])
    if len(right.flat) < SHORTEST or len(others) < DISTRACTORS:
        return None
    extract, fact, wordings, body = facts(document, int(able.fact[i]))
    question, passage = (
        _wording(wordings, stable_hash(extract.path, fact.wordings[0])),
        f" {_flat(TAG.sub(' ', body))} ",
    )
    if question is None or f" {right.flat} " not in passage or len(_stems(question)) < ASKED:
        return None
    wrong = _distractors(question, right, others, passage)
    if wrong is None:
        return None
    return Probe(
        fact.kind,
        question,
        fact.answer_key,
        wrong,
        document,
        extract.path,
        fact.span,
        extract.sha256,
    )


class _Answer(NamedTuple):
    """`flat` are its words, `stems` those that tell something; `shape` is how it looks, each in the same unit."""

    text: str
    flat: str
    stems: frozenset[str]
    shape: tuple[float, ...]

    @staticmethod
    def of(text: str) -> _Answer:
        flat, size = _flat(text), max(1, len(text))
        marks = sum(not (c.isalnum() or c.isspace()) for c in text)
        return _Answer(
            text,
            flat,
            _stems(text),
            (
                math.log2(1 + size),
                math.log2(1 + len(flat.split())),
                3 * sum(map(str.isdigit, text)) / size,
                2 * sum(map(str.isupper, text)) / size,
                3 * marks / size,
                0.5 * text.endswith("."),
                0.5 * text[:1].isupper(),
                0.5 * text[:1].isalnum(),
            ),
        )


def _flat(text: str) -> str:
    """Its words in lower case, a space between each."""
    return " ".join(WORD.findall(text.lower()))


def _stems(text: str) -> frozenset[str]:
    """Beginnings of the words that tell something; the parts of an identifier are words."""
    return frozenset(
        word.rstrip("s")[:STEM] for word in _flat(HUMP.sub(" ", text)).split() if word not in STOP
    )


class _Pools:
    """What each answer can be confused with. `usable` has one bool a candidate: whether its pool is wide enough, and
    the answer no favourite there."""

    def __init__(self, able: Candidates, answer_key: AnswerKeys) -> None:
        self.able, self.read = (
            able,
            lru_cache(KEPT)(lambda document, fact: _Answer.of(answer_key(document, fact))),
        )
        self.order = np.lexsort(
            (able.fact, able.document, able.pool)
        )  # the documents of a folder are neighbours
        self.place = np.argsort(self.order)
        _, self.group, sizes = np.unique(able.pool, return_inverse=True, return_counts=True)
        self.ends = np.append(0, np.cumsum(sizes))
        _, first, which, counts = np.unique(
            able.pool * MIX + able.answer_key,
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        distinct = np.bincount(self.group[first], minlength=len(sizes))
        favourite = counts[which] > np.maximum(1, COMMON * sizes[self.group])
        self.usable = (distinct[self.group] > DISTRACTORS) & ~favourite

    def answer(self, i: int) -> _Answer:
        return self.read(int(self.able.document[i]), int(self.able.fact[i]))

    def near(self, i: int) -> list[tuple[bool, _Answer]]:
        """Other answers of the pool, those of the nearest documents first, with whether it is the same document."""
        at, (start, end) = self.place[i], self.ends[self.group[i] :][:2]
        around = self.order[max(start, at - NEAR) : min(end, at + NEAR + 1)]
        around = around[self.able.answer_key[around] != self.able.answer_key[i]]
        away = np.abs(self.able.document[around] - self.able.document[i])
        nearest = np.lexsort((self.able.answer_key[around], away))
        _, first = np.unique(self.able.answer_key[around[nearest]], return_index=True)
        chosen = nearest[np.sort(first)[:NEAR]]
        return [(bool(away[j] == 0), self.answer(int(around[j]))) for j in chosen]


def _distractors(
    question: str, right: _Answer, others: Sequence[tuple[bool, _Answer]], passage: str
) -> tuple[str, ...] | None:
    """The most like the right answer, none saying what another says; None where the right one stands out: there are
    not enough like it, or it alone takes up the question's words."""
    asked, flat_question = _stems(question), f" {_flat(question)} "
    own = _share(right, asked)
    ranked = sorted(
        (_unlike(right, other, same, own - _share(other, asked), passage), n)
        for n, (same, other) in enumerate(others)
    )
    chosen: list[_Answer] = []
    for far, n in ranked:
        other = others[n][1]
        if (
            far <= FAR
            and len(chosen) < DISTRACTORS
            and other.flat
            and f" {other.flat} " not in flat_question
            and not any(_says(other, earlier) for earlier in (right, *chosen))
        ):
            chosen.append(other)
    shared_stems = len(right.stems & asked)
    if (
        len(chosen) < DISTRACTORS
        or own > HELD
        or not any(
            _share(other, asked) >= own and len(other.stems & asked) >= shared_stems
            for other in chosen
        )
    ):
        return None
    return tuple(other.text for other in chosen)


def _share(answer: _Answer, asked: frozenset[str]) -> float:
    return len(answer.stems & asked) / max(1, len(answer.stems))


def _unlike(
    right: _Answer, other: _Answer, same_document: bool, less: float, passage: str
) -> float:
    """0 for an answer that looks the same; `less` is how much less of the question's words it takes up. One that also
    stands in the passage makes the passage decide less."""
    shape = sum(abs(a - b) for a, b in zip(right.shape, other.shape, strict=True))
    added = (
        LESS_OF_THE_QUESTION * max(0.0, less)
        + ELSEWHERE * (not same_document)
        + OTHER_START * (right.flat.split(" ")[0] != other.flat.split(" ")[0])
        + IN_THE_PASSAGE * (f" {other.flat} " in passage)
    )
    return round(shape + added, 6)


def _says(one: _Answer, other: _Answer) -> bool:
    """Whether one says what the other says: its words stand in the other, or nearly all that tell something do."""
    if f" {one.flat} " in f" {other.flat} " or f" {other.flat} " in f" {one.flat} ":
        return True
    both = len(one.stems & other.stems)
    return both > 0 and both >= SAME * min(len(one.stems), len(other.stems))


def _wording(wordings: Sequence[str], key: str) -> str | None:
    """A natural one, short enough that the fact's others stay usable; None where all are too short to be one."""
    lengths = np.bincount(words(wordings).text, minlength=len(wordings))
    usable = [
        wording
        for wording, n in zip(wordings[1:], lengths[1:], strict=True)
        if n >= SIMILARITY_GRAM
    ]
    short = [
        wording
        for wording, n in zip(wordings[1:CHOSEN_FROM], lengths[1:], strict=False)
        if SIMILARITY_GRAM <= n < GRAM
    ]
    pool = short or usable
    return pool[int(key[:8], 16) % len(pool)] if pool else None


class Guard:
    """Tells prompts that would give a probe away: the same question up to case and punctuation, one that shares GRAM
    words in a row with it, or one that is nearly the same."""

    def __init__(self, questions: Sequence[str]) -> None:
        question_words = words(questions)
        self.count = len(questions)
        self.equal = np.unique(identities(question_words))
        self.runs = np.unique(grams(question_words, GRAM)[0])
        self.hashes, self.text = _distinct(*grams(question_words, SIMILARITY_GRAM))
        self.any = np.unique(self.hashes)
        self.sizes = np.bincount(self.text, minlength=self.count)

    def relevant(self, own: np.ndarray) -> list[int]:
        """Probes that a document could give away, by the filter of its wordings' 3-grams: a superset, found fast."""
        hits = np.bincount(self.text, weights=maybe(own, self.hashes), minlength=self.count)
        enough = np.minimum(np.ceil(SIMILAR * self.sizes), GRAM - SIMILARITY_GRAM + 1)
        return np.flatnonzero((hits >= enough) & (self.sizes > 0)).tolist()

    def leaks(self, prompts: Sequence[str]) -> np.ndarray:
        """One bool a prompt."""
        return np.concatenate([self._leaks(some) for some in some_at_a_time(prompts)])

    def _leaks(self, prompts: Sequence[str]) -> np.ndarray:
        prompt_words = words(prompts)
        bad = _among(identities(prompt_words), self.equal)
        runs, text = grams(prompt_words, GRAM)
        bad[text[_among(runs, self.runs)]] = True
        hashes, text = grams(prompt_words, SIMILARITY_GRAM)
        shared = _among(hashes, self.any)
        near = _distinct(hashes[shared], text[shared])
        for i in range(self.count):
            own = self.hashes[self.text == i]
            both = np.bincount(near[1][_among(near[0], own)], minlength=len(prompts))
            for j in np.flatnonzero((both >= SIMILAR * self.sizes[i]) & (both > 0)):
                either = len(np.unique(hashes[text == j])) + len(own) - both[j]
                bad[j] |= bool(both[j] >= SIMILAR * either)
        return bad


def _distinct(hashes: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each text's different hashes, in order, as (hash, text)."""
    order = np.lexsort((hashes, text))
    hashes, text = hashes[order], text[order]
    new = np.ones(len(order), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (text[1:] != text[:-1])
    return hashes[new], text[new]


def _among(hashes: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Whether each is one of `some`, which are few and sorted: np.isin would sort the many."""
    if not len(some):
        return np.zeros(len(hashes), bool)
    present: np.ndarray = some[np.minimum(np.searchsorted(some, hashes), len(some) - 1)] == hashes
    return present
