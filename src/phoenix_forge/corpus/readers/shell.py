"""Shell scripts: one block a function, with the comment above it.

By lines, not by tree-sitter: the scanner of tree-sitter-bash (0.23.3 and 0.25.1) writes past its memory on some
malformed scripts and takes the process with it. A function ends where its closing bracket stands under its first
letter, as people and shfmt write it; one that never closes so is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from phoenix_forge.corpus.document import Block, Structure, Symbol, tiled
from phoenix_forge.corpus.readers import lines as fallback

FUNCTION = re.compile(
    r"([ \t]*)((?:function[ \t]+([^\s(){}<>|&;$\"'`]+)(?:[ \t]*\([ \t]*\))?"
    r"|([^\s(){}<>|&;$\"'`#=]+)[ \t]*\([ \t]*\)))\s*([{(])"
)
CLOSING = {"{": "}", "(": ")"}
LONGEST = 3000  # lines of a function or here-document: what bounds the search for its end
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
    at = 0
    while at < len(lines):
        last = at
        if match := FUNCTION.match(text, starts[at]):
            found = _last(
                lines,
                at,
                text.count("\n", starts[at], match.end()) + at,
                match[1] + CLOSING[match[5]],
            )
            if found is not None:
                last = found
                name, signature = match[3] or match[4], " ".join(match[2].split())
                yield (
                    at,
                    last,
                    Symbol(name, "function", signature, "", starts[at], starts[last + 1]),
                )
        else:
            last = _after_heredocs(lines, at)
        at = last + 1


def _last(lines: list[str], first: int, opened: int, closing: str) -> int | None:
    """The line that ends a function; `opened` is that of its opening bracket."""
    if opened < len(lines) and lines[opened].rstrip().endswith(closing[-1]):
        return opened
    at = opened
    while at < min(len(lines), opened + LONGEST):
        if at > opened and re.match(re.escape(closing) + r"(?!\w)", lines[at]):
            return at
        at = _after_heredocs(lines, at) + 1
    return None


def _after_heredocs(lines: list[str], at: int) -> int:
    """The last line of the here-documents that line `at` begins; `at` where it begins none or one has no end."""
    last = at
    for dash, _, word in HEREDOC.findall(lines[at]):
        ends = (
            i
            for i in range(last + 1, min(len(lines), last + LONGEST))
            if (lines[i].strip() if dash else lines[i].rstrip("\r\n")) == word
        )
        found = next(ends, None)
        if found is None:
            return at
        last = found
    return last
