"""What only the whole corpus can decide: what is taught once, which questions have two answers, what is held out.

Works on the arrays of `phoenix_forge.dataset.extract`, never on texts but for a few candidates, and says for each
document in a few bytes what its examples are to be made of. A document whose extract and resolution are unchanged needs
no new examples.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import orjson

from phoenix_forge.core.config import DatasetConfig
from phoenix_forge.corpus.links import Link, graph
from phoenix_forge.corpus.near_duplicates import Duplicate, duplicates
from phoenix_forge.dataset.extract import Extract, Known, style_of
from phoenix_forge.dataset.probes import Guard, candidates, freeze
from phoenix_forge.exam.probe import Probe
from phoenix_forge.examples.example import stable_hash

BUCKET = 1_000_000  # wordings compared at a time: what bounds the memory, about 100 MB
ENTRY = np.dtype(
    [("wording", "u8"), ("answer", "u8"), ("document", "u4"), ("place", "u4"), ("named", "?")]
)
SPOOLED = 4 << 20  # bytes of a bucket kept in memory before it goes to disk


@dataclass(frozen=True, slots=True)
class Head:
    """What is at hand of every document at once, so it is kept small; `tokens` has one entry a part."""

    path: str
    name: str
    title: str
    skipped: str | None
    notes: tuple[str, ...]
    redactions: tuple[tuple[int, str], ...]
    tokens: tuple[int, ...]
    wordings: int
    held: tuple[tuple[str, int, int], ...] = ()  # kind, how many the file has, how many gave text

    @staticmethod
    def read(packed: bytes) -> Head:
        """From an extract's head."""
        raw = orjson.loads(packed)
        return Head(
            raw["path"],
            raw["name"],
            raw["title"],
            raw["skipped"],
            tuple(raw["notes"]),
            tuple(map(tuple, raw["redactions"])),
            tuple(raw["tokens"]),
            raw["wordings"],
            tuple(map(tuple, raw["held"])),
        )


class Library(Protocol):
    """The extracts of a corpus, by a document's number in it."""

    @property
    def heads(self) -> Sequence[Head]: ...

    def facts(self, number: int) -> np.ndarray: ...

    def wordings(self, number: int) -> np.ndarray: ...

    def grams(self, number: int) -> np.ndarray: ...

    def sketches(self, number: int) -> np.ndarray: ...

    def answer_key(self, number: int, fact: int) -> str: ...

    def links(self, number: int) -> list[Link]: ...

    def extract(self, number: int) -> Extract: ...


@dataclass(frozen=True, slots=True)
class Resolution:
    """`taught` are the parts that are taught, `dropped` the wordings that are not used (their numbers in the
    document, uint32); `probes` the questions it could give away; links are (title, path) of other documents;
    `twin` tells that another document has the same title."""

    taught: tuple[int, ...]
    dropped: bytes
    probes: tuple[str, ...]
    links_to: tuple[tuple[str, str], ...]
    linked_from: tuple[tuple[str, str], ...]
    twin: bool

    def packed(self) -> bytes:
        rest = orjson.dumps((self.taught, self.probes, self.twin, self.links_to, self.linked_from))
        return len(rest).to_bytes(4, "little") + rest + self.dropped

    @staticmethod
    def unpacked(data: bytes) -> Resolution:
        end = 4 + int.from_bytes(data[:4], "little")
        taught, probes, twin, *links = orjson.loads(data[4:end])
        links_to, linked_from = (tuple(map(tuple, pairs)) for pairs in links)
        return Resolution(tuple(taught), data[end:], tuple(probes), links_to, linked_from, twin)


@dataclass(frozen=True)
class Repeat:
    """Part `part` of document `document` says what part `of_part` of `of` says."""

    document: int
    part: int
    of: int
    of_part: int
    exact: bool


@dataclass(frozen=True)
class Resolved:
    resolutions: list[Resolution]
    repeats: list[Repeat]
    probes: list[Probe]
    held_out: list[int]


def resolve(library: Library, cfg: DatasetConfig, exam: list[Probe] | None = None) -> Resolved:
    """`exam`: questions that are frozen already; without them rules choose some."""
    count = len(library.heads)
    asks = style_of(cfg.style).asks
    repeats = _repeats(library) if asks else []
    held = _held_out(library.heads, repeats, cfg)
    taught = _taught(library.heads, repeats, held)
    dropped = _dropped(library, taught) if asks else [np.zeros(0, np.uint32)] * count
    probes = (
        exam if exam is not None else _probes(library, taught, dropped, cfg.probes) if asks else []
    )
    guard = Guard([probe.question for probe in probes])
    links_to, linked_from = _links(library, held) if asks else ([()] * count, [()] * count)
    titles = Counter(map(_title, library.heads))
    resolutions = [
        Resolution(
            taught[i],
            dropped[i].tobytes(),
            tuple(probes[p].question for p in guard.relevant(library.grams(i))) if probes else (),
            tuple(links_to[i]),
            tuple(linked_from[i]),
            titles[_title(library.heads[i])] > 1,
        )
        for i in range(count)
    ]
    return Resolved(resolutions, repeats, probes, sorted(held))


def _title(head: Head) -> str:
    return head.title.strip().lower()


# -- what is taught ----------------------------------------------------------------------------------------------------


def _repeats(library: Library) -> list[Repeat]:
    places = [(i, p) for i, head in enumerate(library.heads) for p in range(len(head.tokens))]
    if not places:
        return []
    rows = np.concatenate([library.sketches(i) for i in range(len(library.heads))])

    def text_of(at: int) -> str:
        document, part = places[at]
        return library.extract(document).parts[part].body

    return [_repeat(pair, places) for pair in duplicates(rows, text_of)]


def _repeat(pair: Duplicate, places: Sequence[tuple[int, int]]) -> Repeat:
    return Repeat(*places[pair.index], *places[pair.of], pair.exact)


def _held_out(heads: Sequence[Head], repeats: Sequence[Repeat], cfg: DatasetConfig) -> set[int]:
    """Documents kept out of training whole: near-duplicate clusters in a fixed random order, up to the share."""
    documents = [i for i, head in enumerate(heads) if head.skipped is None]
    wanted = math.ceil(len(documents) * cfg.held_out) if cfg.held_out else 0
    leader = list(range(len(heads)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for repeat in repeats:
        a, b = sorted((find(repeat.document), find(repeat.of)))
        leader[b] = a
    clusters: dict[int, list[int]] = defaultdict(list)
    for i in documents:
        clusters[find(i)].append(i)
    held: set[int] = set()
    for first, members in sorted(
        clusters.items(), key=lambda c: stable_hash("held out", cfg.seed, heads[c[0]].path)
    ):
        if len(held) + len(members) <= wanted and len(members) < len(documents):
            held |= {first, *members}
    return held


def _taught(
    heads: Sequence[Head], repeats: Sequence[Repeat], held: set[int]
) -> list[tuple[int, ...]]:
    repeated = {(repeat.document, repeat.part) for repeat in repeats}
    return [
        () if i in held else tuple(p for p in range(len(head.tokens)) if (i, p) not in repeated)
        for i, head in enumerate(heads)
    ]


# -- questions with two answers ----------------------------------------------------------------------------------------


def _dropped(library: Library, taught: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """For each document the wordings that ask for different answers in different places, and those that an earlier
    place has already: a wording is taught once or not at all.

    Where a wording asks for one thing by its name, the first place in the corpus keeps it.
    """
    count = 1 + sum(head.wordings for head in library.heads) // BUCKET
    with contextlib.ExitStack() as opened:
        buckets = [
            opened.enter_context(tempfile.SpooledTemporaryFile(max_size=SPOOLED))
            for _ in range(count)
        ]
        for number, parts in enumerate(taught):
            entries = _entries(library, number, parts)
            which = (entries["wording"] >> np.uint64(40)) % np.uint64(count)
            for i, bucket in enumerate(buckets):
                bucket.write(entries[which == i].tobytes())
        pairs = [np.zeros((2, 0), np.uint32), *map(_ambiguous, buckets)]
    rows = np.concatenate(pairs, axis=1)
    rows = rows[:, np.lexsort((rows[1], rows[0]))]
    borders = np.searchsorted(rows[0], np.arange(len(taught) + 1))
    return [rows[1, a:b] for a, b in pairwise(borders)]


def _entries(library: Library, number: int, parts: tuple[int, ...]) -> np.ndarray:
    facts, wordings = library.facts(number), library.wordings(number)
    owner = np.repeat(np.arange(len(facts)), facts["wordings"])
    use = _within(facts["section"], parts)[owner]
    entries = np.zeros(int(use.sum()), ENTRY)
    entries["wording"], entries["place"] = wordings[use], np.flatnonzero(use)
    entries["answer"], entries["named"] = facts["answer"][owner[use]], facts["named"][owner[use]]
    entries["document"] = number
    return entries


def _within(sections: np.ndarray, parts: tuple[int, ...]) -> np.ndarray:
    """Which of the sections are among the parts; for few of both, a tenth of np.isin's time."""
    table = np.zeros(1 + max(sections.max(initial=0), max(parts, default=0)), bool)
    table[list(parts)] = True
    return table[sections]


def _ambiguous(bucket: tempfile.SpooledTemporaryFile) -> np.ndarray:
    """[document, place] of the entries that are not used. Entries come in the order of the corpus."""
    bucket.seek(0)
    entries = np.frombuffer(bucket.read(), ENTRY)
    if not len(entries):
        return np.zeros((2, 0), np.uint32)
    order = np.argsort(entries["wording"], kind="stable")
    wording, answer, named = (entries[key][order] for key in ("wording", "answer", "named"))
    first = np.flatnonzero(np.diff(wording, prepend=~wording[:1]) != 0)
    group = np.repeat(np.arange(len(first)), np.diff(first, append=len(wording)))
    leads = np.zeros(len(wording), bool)
    leads[first] = True
    disputed = (
        np.bincount(group, weights=(answer != answer[first][group]) & ~named, minlength=len(first))
        > 0
    )
    out = order[disputed[group] | ~leads]
    return np.stack([entries["document"][out], entries["place"][out]])


# -- probes and links --------------------------------------------------------------------------------------------------


def _probes(
    library: Library, taught: Sequence[tuple[int, ...]], dropped: Sequence[np.ndarray], wanted: int
) -> list[Probe]:
    if not wanted:
        return []

    def left(number: int) -> tuple[np.ndarray, np.ndarray]:
        facts = library.facts(number)
        owner = np.repeat(np.arange(len(facts)), facts["wordings"])
        gone = np.bincount(owner[dropped[number]], minlength=len(facts))
        return facts, np.where(
            _within(facts["section"], taught[number]), facts["wordings"] - gone, 0
        )

    def known(number: int, fact: int) -> tuple[Extract, Known, tuple[str, ...], str]:
        extract = library.extract(number)
        own = [fact for part in extract.parts for fact in part.facts]
        start = sum(len(before.wordings) for before in own[:fact])
        gone = set(dropped[number].tolist())
        wordings = tuple(
            wording for i, wording in enumerate(own[fact].wordings, start) if i not in gone
        )
        return (
            extract,
            own[fact],
            wordings,
            extract.parts[library.facts(number)["section"][fact]].body,
        )

    return freeze(candidates(map(left, range(len(taught)))), wanted, known, library.answer_key)


Pairs = list[list[tuple[str, str]]]


def _links(library: Library, held: Iterable[int]) -> tuple[Pairs, Pairs]:
    """For each document the (title, path) of those it links to, and of those that link to it."""
    heads = library.heads
    out: Pairs = [[] for _ in heads]
    back: Pairs = [[] for _ in heads]
    outside = {i for i, head in enumerate(heads) if head.skipped is not None} | set(held)
    by_name = {head.name: i for i, head in enumerate(heads) if i not in outside}
    for name, targets in graph(
        ((name, library.links(i)) for name, i in by_name.items()), set(by_name)
    ):
        i = by_name[name]
        for j in map(by_name.__getitem__, targets):
            out[i].append((heads[j].title, heads[j].path))
            back[j].append((heads[i].title, heads[i].path))
    return out, back
