"""Shell scripts: one block a function, with the comment above it.

By lines, not by tree-sitter: the scanner of tree-sitter-bash (0.23.3 and 0.25.1) writes past its memory on some
malformed scripts and takes the process with it. A function ends where its closing bracket stands under its first
letter, as people and shfmt write it; one that never closes so is text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from phoenix_forge.corpus.document import Block, Structure, Symbol, tiled
from phoenix_forge.corpus.readers import lines as fallback

FUNCTION = re.compile(
    r"([ \t]*)((?:function[ \t]+([^\s(){}<>|&;$\"'`]+)(?:[ \t]*\([ \t]*\))?"
    r"|([^\s(){}<>|&;$\"'`#=]+)[ \t]*\([ \t]*\)))\s*([{(])"
)
CLOSER = re.compile(r"([ \t]*[})])(?!\w)")
CLOSING = {"{": "}", "(": ")"}
LONGEST = 3000  # lines of a function or here-document: none is longer
HEREDOC = re.compile(r"(?<!<)<<(-?)[ \t]*(['\"]?)([A-Za-z_]\w*)\2")
DIRECTIVE = re.compile(r"#!|#\s*shellcheck\b")


def read(text: str) -> Structure:
    starts = [*fallback.starts(text), len(text)]
    lines = [text[a:b] for a, b in pairwise(starts)]
    blocks: list[Block] = []
    end = 0  # lines so far
    for first, last, symbol in _functions(text, starts, lines):
        above = first
        while above > end and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        if above > end:
            blocks.append(Block("code", starts[end], starts[above]))
        doc = "\n".join(
            line.strip().lstrip("#").strip()
            for line in lines[above:first]
            if not DIRECTIVE.match(line.strip())
        )
        symbol = replace(symbol, doc=doc)
        blocks.append(
            Block("code", starts[above], starts[last + 1], (symbol.name,), symbols=(symbol,))
        )
        end = last + 1
    if not blocks:
        return fallback.read(text)  # nothing declared
    if end < len(lines):
        blocks.append(Block("code", starts[end], len(text)))
    return Structure(None, tiled(blocks, len(text)))


def _functions(text: str, starts: list[int], lines: list[str]) -> Iterator[tuple[int, int, Symbol]]:
    """(first line, last line, symbol) of each function that is not within another or a here-document."""
    heredocs = _Heredocs(lines)
    closers = _closers(lines, heredocs)
    at = 0
    while at < len(lines):
        last = heredocs.after(at)
        if match := FUNCTION.match(text, starts[at]):
            opened = text.count("\n", starts[at], match.end()) + at
            found = _last(lines, opened, closers.get(match[1] + CLOSING[match[5]], []), match[5])
            if found is not None:
                last = found
                name, signature = match[3] or match[4], " ".join(match[2].split())
                yield (
                    at,
                    last,
                    Symbol(name, "function", signature, "", starts[at], starts[last + 1]),
                )
        at = last + 1


def _last(lines: list[str], opened: int, closers: list[int], bracket: str) -> int | None:
    """The line that ends a function, of those that could; `opened` is that of its opening bracket."""
    if opened < len(lines) and lines[opened].rstrip().endswith(CLOSING[bracket]):
        return opened
    return _next(closers, opened)


def _closers(lines: list[str], heredocs: _Heredocs) -> dict[str, list[int]]:
    """The lines outside of here-documents that begin with a closing bracket, by what stands up to and with it."""
    found: dict[str, list[int]] = defaultdict(list)
    at = 0
    while at < len(lines):
        if match := CLOSER.match(lines[at]):
            found[match[1]].append(at)
        at = heredocs.after(at) + 1
    return found


class _Heredocs:
    """Where here-documents end."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._whole: dict[str, list[int]] = defaultdict(list)  # a line's text → where it stands
        self._bare: dict[str, list[int]] = defaultdict(list)  # the same without indentation
        for i, line in enumerate(lines):
            self._whole[line.rstrip("\r\n")].append(i)
            self._bare[line.strip()].append(i)

    def after(self, at: int) -> int:
        """The last line of the here-documents that line `at` begins; `at` where it begins none or one has no end."""
        last = at
        for dash, _, word in HEREDOC.findall(self._lines[at]):
            found = _next((self._bare if dash else self._whole).get(word, []), last)
            if found is None:
                return at
            last = found
        return last


def _next(places: list[int], place: int) -> int | None:
    """The first of some places behind another, if it is near enough."""
    at = bisect_right(places, place)
    return places[at] if at < len(places) and places[at] < place + LONGEST else None
