"""What a file becomes: text with a structure laid over it. Every span can be traced to bytes of the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

BlockKind = Literal["front_matter", "heading", "paragraph", "list", "table", "code", "other"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A class or function of a source file; `signature` is its source line(s) up to the colon, `doc` its docstring."""

    name: str
    kind: str
    signature: str
    doc: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Block:
    """One structural piece. `start` and `end` are characters of the document's text; a document's blocks tile it.

    `headings` are the titles of the headings above (for a heading: with its own, last). `rows` holds a table, its
    header first; `items` a list's own items, without nested ones; all of them in the source's inline markup. `spans`
    are the characters of each row after the header, where a row is not a line of its own.
    """

    kind: BlockKind
    start: int
    end: int
    headings: tuple[str, ...] = ()
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    items: tuple[str, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Structure:
    """What a reader makes of a text. `title` is None where the text names none."""

    title: str | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """`path` starts at the workspace, `name` at the corpus root. `sha256` is that of the file's bytes.

    `text` is what somebody who reads the document sees: what its format hides is cut out of it. `offsets` has
    len(text) + 1 entries: the byte of the file where each character starts. For a file that is not UTF-8 they count in
    the UTF-8 form of its text.
    """

    path: str
    name: str
    sha256: str
    text: str
    title: str
    blocks: tuple[Block, ...]
    offsets: np.ndarray = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()

    def span(self, start: int, end: int) -> list[int]:
        """Characters of the text → bytes of the file."""
        return [int(self.offsets[start]), int(self.offsets[end])]


class Held(NamedTuple):
    """Of what a file holds beside its running text, `total` of a kind, counted in the file itself before anything is
    extracted: "pages", "slides", "sheets", "equations" or "pictures". Of these `read` gave text."""

    kind: str
    total: int
    read: int


class Cut(NamedTuple):
    """Characters `start` to `end` of a file's text that nobody who reads it sees, and what they see there instead."""

    start: int
    end: int
    shown: str = ""


def cut(text: str, offsets: np.ndarray, cuts: Iterable[Cut]) -> tuple[str, np.ndarray]:
    """The text as it is read, and the byte of the file where each of its characters starts (and the end).

    Of cuts that meet, the one that starts first (the longer of two) stands for both. What is shown in place of a cut is
    spread over its place.
    """
    pieces: list[str] = []
    offset_runs: list[np.ndarray] = []
    at = 0
    for start, end, shown in sorted(cuts, key=lambda each: (each.start, -each.end)):
        if start < at:
            continue
        pieces += [text[at:start], shown]
        spread = start + np.arange(len(shown)) * (end - start) // max(len(shown), 1)
        offset_runs += [offsets[at:start], offsets[spread]]
        at = end
    return "".join([*pieces, text[at:]]), np.concatenate([*offset_runs, offsets[at:]])


def tiled(blocks: list[Block], length: int) -> tuple[Block, ...]:
    """Stretches blocks over the gaps between them: each runs to the start of the next, the first from 0."""
    if not blocks:
        return (Block("other", 0, length),) if length else ()
    starts = [0, *(block.start for block in blocks[1:]), length]
    return tuple(
        replace(block, start=a, end=b)
        for block, a, b in zip(blocks, starts, starts[1:], strict=False)
        if b > a
    )
