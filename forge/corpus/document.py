"""What a file becomes: text with a structure laid over it. Every span can be traced to bytes of the file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

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
    header first; `items` a list's own items, without nested ones; all of them in the source's inline markup.
    """

    kind: BlockKind
    start: int
    end: int
    headings: tuple[str, ...] = ()
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    items: tuple[str, ...] = ()
    symbols: tuple[Symbol, ...] = ()


@dataclass(frozen=True, slots=True)
class Structure:
    """What a reader makes of a text. `title` is None where the text names none."""

    title: str | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """`path` starts at the workspace, `name` at the corpus root. `sha256` is that of the file's bytes.

    `offsets` has len(text) + 1 entries: the byte of the file where each character starts. For a file that is not UTF-8
    they count in the UTF-8 form of its text.
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


def tiled(blocks: list[Block], length: int) -> tuple[Block, ...]:
    """Stretches blocks over the gaps between them: each runs to the start of the next, the first from 0."""
    if not blocks:
        return (Block("other", 0, length),) if length else ()
    starts = [0, *(block.start for block in blocks[1:]), length]
    return tuple(replace(block, start=a, end=b)
                 for block, a, b in zip(blocks, starts, starts[1:], strict=False) if b > a)
