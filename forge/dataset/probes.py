"""Closed-book questions, frozen before any example is made, and kept out of every training prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from forge.corpus.grams import grams, identities, maybe, words
from forge.dataset.example import rank
from forge.dataset.harvest import PROBED, Harvest, Known

GRAM = 12  # words in a row that a training prompt may not share with a probe
SIMILAR = 0.8  # Jaccard similarity of word 3-grams from which two questions count as one
SIMILARITY_GRAM = 3
DISTRACTORS = 3
CHOSEN_FROM = 9  # a probe's wording is one of a fact's first so many


@dataclass(frozen=True)
class Probe:
    """`distractors` are right answers to other questions of the same sort; `document` is its number in the corpus."""

    kind: str
    question: str
    answer: str
    distractors: tuple[str, ...]
    document: int
    path: str
    span: tuple[int, int]
    sha256: str

    def record(self) -> dict:
        return {"id": rank(self.question, self.answer)[:16], "kind": self.kind, "question": self.question,
                "answer": self.answer, "aliases": [], "distractors": list(self.distractors), "path": self.path,
                "span": list(self.span), "sha256": self.sha256}


class Candidates(NamedTuple):
    """Facts with a checkable answer, one entry each: what kind (its number in PROBED), a fixed random rank, hashes of
    the answer and of what it can be confused with, and where the fact is (document, number in the document)."""

    kind: np.ndarray
    rank: np.ndarray
    gold: np.ndarray
    pool: np.ndarray
    document: np.ndarray
    fact: np.ndarray


def candidates(documents: Iterable[tuple[np.ndarray, np.ndarray]]) -> Candidates:
    """From each document's fact table and, one entry a fact, how many wordings it has left."""
    parts = []
    for number, (facts, left) in enumerate(documents):
        able = np.flatnonzero((facts["probed"] >= 0) & (left > 2))
        parts.append(Candidates(facts["probed"][able], facts["rank"][able], facts["gold"][able], facts["pool"][able],
                                np.full(len(able), number), able))
    return Candidates(*(np.concatenate(column) for column in zip(*parts, strict=True)))


Facts = Callable[[int, int], tuple[Harvest, Known, tuple[str, ...]]]
Golds = Callable[[int, int], str]


def freeze(able: Candidates, wanted: int, known: Facts, gold: Golds) -> list[Probe]:
    """At most `wanted` probes, and at most one for four facts that have a checkable answer, spread over kinds.

    `known` gives a document's harvest, a fact of it and the wordings left of it, `gold` a fact's answer. The wording of
    a probe is one of its fact's own, never the first; `Guard` keeps it from being trained.
    """
    distinct = np.unique(np.stack([able.pool, able.gold]), axis=1)
    pools, sizes = np.unique(distinct[0], return_counts=True)
    wide = np.isin(able.pool, pools[sizes > DISTRACTORS])
    order = np.lexsort((able.fact, able.document, able.rank))
    by_kind = [order[(able.kind[order] == kind) & wide[order]] for kind in range(len(PROBED))]
    limit = min(wanted, (len(able.kind) + 3) // 4)
    turns = [column[i] for i in range(limit) for column in by_kind if i < len(column)][:limit]
    found: dict[int, Probe] = {}
    for i in turns:
        probe = _probe(able, int(i), known, gold)
        if probe is not None:
            found.setdefault(int(identities(words([probe.question]))[0]), probe)
    return list(found.values())


def _probe(able: Candidates, i: int, known: Facts, gold: Golds) -> Probe | None:
    document = int(able.document[i])
    harvest, fact, forms = known(document, int(able.fact[i]))
    key = rank(harvest.path, fact.forms[0])
    question = _wording(forms, key)
    if question is None:
        return None
    others = np.flatnonzero((able.pool == able.pool[i]) & (able.gold != able.gold[i]))
    mixed = (able.gold[others] ^ able.rank[i]) * np.uint64(0x9E3779B97F4A7C15)
    _, first = np.unique(able.gold[others], return_index=True)
    chosen = others[first[np.argsort(mixed[first], kind="stable")[:DISTRACTORS]]]
    golds = tuple(gold(int(able.document[j]), int(able.fact[j])) for j in chosen)
    return Probe(fact.kind, question, fact.gold, golds, document, harvest.path, fact.span, harvest.sha256)


def _wording(forms: Sequence[str], key: str) -> str | None:
    """A natural one, short enough that the fact's others stay usable; a cloze has none and is only taught as text."""
    lengths = np.bincount(words(forms).text, minlength=len(forms))
    usable = [form for form, n in zip(forms[1:], lengths[1:], strict=True) if n >= SIMILARITY_GRAM]
    short = [form for form, n in zip(forms[1:CHOSEN_FROM], lengths[1:], strict=False) if SIMILARITY_GRAM <= n < GRAM]
    pool = short or usable
    return pool[int(key[:8], 16) % len(pool)] if pool else None


class Guard:
    """Tells prompts that would give a probe away: the same question up to case and punctuation, one that shares GRAM
    words in a row with it, or one that is nearly the same."""

    def __init__(self, questions: Sequence[str]) -> None:
        found = words(questions)
        self.count = len(questions)
        self.equal = identities(found)
        self.runs = grams(found, GRAM)[0]
        hashes, text = grams(found, SIMILARITY_GRAM)
        pairs = np.unique(np.stack([text.astype(np.uint64), hashes]), axis=1)
        self.text, self.hashes = pairs[0].astype(np.int64), pairs[1]
        self.sizes = np.bincount(self.text, minlength=self.count)

    def relevant(self, own: np.ndarray) -> list[int]:
        """Probes that a document could give away, by the filter of its wordings' 3-grams: a superset, found fast."""
        hits = np.bincount(self.text, weights=maybe(own, self.hashes), minlength=self.count)
        enough = np.minimum(np.ceil(SIMILAR * self.sizes), GRAM - SIMILARITY_GRAM + 1)
        return np.flatnonzero((hits >= enough) & (self.sizes > 0)).tolist()

    def leaks(self, prompts: Sequence[str]) -> np.ndarray:
        """One bool a prompt."""
        found = words(prompts)
        bad = np.isin(identities(found), self.equal)
        runs, text = grams(found, GRAM)
        bad[text[np.isin(runs, self.runs)]] = True
        hashes, text = grams(found, SIMILARITY_GRAM)
        for i in range(self.count):
            own = self.hashes[self.text == i]
            pairs = np.unique(np.stack([text.astype(np.uint64), hashes])[:, np.isin(hashes, own)], axis=1)
            both = np.bincount(pairs[0].astype(np.int64), minlength=len(prompts))
            for j in np.flatnonzero(both >= SIMILAR * self.sizes[i]):
                either = len(np.unique(hashes[text == j])) + len(own) - both[j]
                bad[j] |= bool(both[j] >= SIMILAR * either and len(own))
        return bad
