"""Documents → sections: contiguous pieces that tile each document, along its structure, none above a token limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from semantic_text_splitter import TextSplitter

from phoenix_forge.corpus.document import Block, Document

Count = Callable[[Sequence[str]], list[int]]  # tokens of each text
WITHIN = re.compile(r"[A-Za-z0-9]{2}")  # the signs on either side of a cut
SEPARATORS = ",;|)]}"
LONGEST_VALUE = 100  # characters that are looked back for a separator


@dataclass(frozen=True)
class Section:
    """Characters `start` to `end` of a document. `blocks` are those that start in it; `tokens` is counted by blocks."""

    document: Document
    index: int
    start: int
    end: int
    tokens: int
    headings: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        return self.document.text[self.start : self.end]

    @property
    def body(self) -> str:
        """The text as it is taught: without blank lines around it."""
        return self.text.lstrip("\r\n").rstrip()


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    end: int
    tokens: int
    block: Block


def split(document: Document, limit: int, count: Count) -> list[Section]:
    """Sections of at most `limit` tokens.

    Blocks are gathered up to the limit. A heading opens a new section once the current one is a third full, and always
    where the one before would otherwise end with it; a block over the limit is cut between its rows, or at its own
    lines and sentences.
    """
    tokens = count([document.text[block.start : block.end] for block in document.blocks])
    pieces = [
        piece
        for block, n in zip(document.blocks, tokens, strict=True)
        for piece in _pieces(document.text, block, n, limit, count)
    ]
    return [
        Section(
            document,
            i,
            group[0].start,
            group[-1].end,
            sum(p.tokens for p in group),
            group[0].block.headings,
            tuple(p.block for p in group if p.start == p.block.start),
        )
        for i, group in enumerate(_groups(pieces, limit))
    ]


def _pieces(text: str, block: Block, tokens: int, limit: int, count: Count) -> list[_Piece]:
    if tokens <= limit:
        return [_Piece(block.start, block.end, tokens, block)]
    if block.spans:
        return _rows(text, block, limit, count)
    return [
        _Piece(block.start + a, block.start + b, n, block)
        for a, b, n in _cut(text[block.start : block.end], tokens, limit, count)
    ]


def _rows(text: str, block: Block, limit: int, count: Count) -> list[_Piece]:
    """A table cut between its rows; a row over the limit as any text."""
    bounds = [block.start, *(start for start, _ in block.spans[1:]), block.end]
    parts = [(a, b) for a, b in pairwise(bounds) if b > a]
    pieces: list[_Piece] = []
    for (a, b), n in zip(parts, count([text[a:b] for a, b in parts]), strict=True):
        if pieces and pieces[-1].tokens + n < limit:
            pieces[-1] = _Piece(pieces[-1].start, b, pieces[-1].tokens + n + 1, block)
        elif n <= limit:
            pieces.append(_Piece(a, b, n, block))
        else:
            pieces += [
                _Piece(a + c, a + d, m, block) for c, d, m in _cut(text[a:b], n, limit, count)
            ]
    return pieces


def _cut(text: str, tokens: int, limit: int, count: Count) -> Iterator[tuple[int, int, int]]:
    """(start, end, tokens) of parts within the limit; cut by characters, checked by tokens, cut again where needed."""
    capacity = max(1, min(len(text) - 1, len(text) * limit * 9 // (tokens * 10)))
    at = 0
    parts = list(_between(TextSplitter(capacity, trim=False).chunks(text)))
    for part, n in zip(parts, count(parts), strict=True):
        if n <= limit or len(part) == 1:
            yield at, at + len(part), n
        else:
            yield from ((at + a, at + b, m) for a, b, m in _cut(part, n, limit, count))
        at += len(part)


def _between(parts: Sequence[str]) -> Iterator[str]:
    """The parts, cut behind a separator where they would be cut within a value: a line of data has no spaces."""
    rest = ""
    for part, following in zip_longest(parts, parts[1:], fillvalue=""):
        whole, rest = rest + part, ""
        if WITHIN.search(whole[-1:] + following[:1]):
            at = (
                max(whole.rfind(sign, max(0, len(whole) - LONGEST_VALUE)) for sign in SEPARATORS)
                + 1
            )
            whole, rest = (whole[:at], whole[at:]) if at > 1 else (whole, "")
        yield whole
    if rest:
        yield rest


def _groups(pieces: list[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """Pieces joined up to the limit; each join counts a token, since white space may be cut otherwise across it."""
    group: list[_Piece] = []
    size = 0
    for piece in pieces:
        opens = piece.block.kind == "heading" and piece.start == piece.block.start
        if group and (size + piece.tokens > limit or (opens and size >= limit // 3)):
            held = _trailing_headings(group)
            yield group[: len(group) - held]
            group = group[len(group) - held :]
            size = sum(p.tokens + 1 for p in group)
            if group and size + piece.tokens > limit:
                yield group
                group, size = [], 0
        group.append(piece)
        size += piece.tokens + 1
    if group:
        yield group


def _trailing_headings(group: list[_Piece]) -> int:
    """How many headings at the end of a group belong with what follows; none where it is all headings."""
    n = 0
    while n < len(group) and group[len(group) - 1 - n].block.kind == "heading":
        n += 1
    return n if n < len(group) else 0
