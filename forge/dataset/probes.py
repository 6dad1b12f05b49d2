"""Closed-book questions, frozen before any example is made, and kept out of every training prompt."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from forge.corpus.document import Document
from forge.dataset.views import Fact, View, normal

GRAM = 12  # words in a row that a training prompt may not share with a probe
PROBED = ("question", "definition", "table", "field", "cloze")
DISTRACTORS = 3
CHOSEN_FROM = 9  # a probe's wording is one of a fact's first so many


@dataclass(frozen=True)
class Probe:
    """`distractors` are right answers to other questions of the same sort."""

    kind: str
    question: str
    answer: str
    distractors: tuple[str, ...]
    document: Document
    start: int
    end: int

    def record(self) -> dict:
        return {
            "id": rank(self.question, self.answer)[:16],
            "kind": self.kind,
            "question": self.question,
            "answer": self.answer,
            "aliases": [],
            "distractors": list(self.distractors),
            "path": self.document.path,
            "span": self.document.span(self.start, self.end),
            "sha256": self.document.sha256,
        }


def rank(*parts: object) -> str:
    """A fixed pseudo-random order of things: the hex digest of what they are."""
    return hashlib.sha256("\x00".join(map(str, parts)).encode()).hexdigest()


def freeze(facts: Sequence[tuple[Document, View, Fact]], wanted: int, seed: int) -> list[Probe]:
    """At most `wanted` probes, and at most one for four facts that have a checkable answer, spread over kinds.

    The wording of a probe is one of its fact's own, never the first; `Guard` keeps it from being trained.
    """
    pools: dict[str, set[str]] = defaultdict(set)
    able = []
    for document, view, fact in facts:
        if view.kind in PROBED and fact.gold and len(fact.forms) > 2:
            pools[fact.pool].add(fact.gold)
            able.append((rank(seed, document.path, fact.start, fact.forms[0]), document, fact))
    ordered: dict[str, list] = defaultdict(list)
    for key, document, fact in sorted(able, key=lambda entry: entry[0]):
        if len(pools[fact.pool]) > DISTRACTORS:
            ordered[fact.kind].append((key, document, fact))
    limit = min(wanted, (len(able) + 3) // 4)
    turns = [entry for i in range(limit) for kind in PROBED for entry in ordered[kind][i : i + 1]]
    probes: dict[str, Probe] = {}
    for key, document, fact in turns[:limit]:
        question = _wording(fact, key)
        others = sorted(pools[fact.pool] - {fact.gold}, key=lambda gold: rank(key, gold))
        probes.setdefault(
            normal(question),
            Probe(fact.kind, question, fact.gold, tuple(others[:DISTRACTORS]), document, fact.start, fact.end),
        )
    return list(probes.values())


def _wording(fact: Fact, key: str) -> str:
    """A natural one, short enough that the fact's others stay usable; a cloze has none and is only taught as text."""
    short = [form for form in fact.forms[1:CHOSEN_FROM] if len(normal(form).split()) < GRAM] or list(fact.forms[1:])
    return short[int(key[:8], 16) % len(short)]


class Guard:
    """Tells prompts that would give a probe away: the same question, or `GRAM` words in a row of one."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.questions = {normal(probe.question) for probe in probes}
        self.grams = {gram for probe in probes for gram in _grams(normal(probe.question))}

    def leaks(self, prompt: str) -> bool:
        asked = normal(prompt)
        return asked in self.questions or any(gram in self.grams for gram in _grams(asked))


def _grams(asked: str) -> list[str]:
    words = asked.split()
    return [" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
