"""Code and configuration without a parser of their own: runs of lines between blank lines."""

from __future__ import annotations

import re

from phoenix_forge.corpus.document import Block, BlockKind, Structure, tiled

LINE_END = re.compile(r"\r\n?|\n")
PARAGRAPH = re.compile(
    r"\S[^\n]*(?:\n(?![^\S\n]*\n)[^\n]*)*"
)  # from a visible character to the next blank line


def starts(text: str, at: int = 0) -> list[int]:
    """Where each line from character `at` on starts, as Markdown, Python and YAML count lines."""
    return [at, *(match.end() for match in LINE_END.finditer(text, at))]


def paragraphs(text: str, kind: BlockKind) -> list[Block]:
    """Blocks of one kind, cut at blank lines; they do not yet tile the text."""
    return [Block(kind, match.start(), match.end()) for match in PARAGRAPH.finditer(text)]


def read(text: str) -> Structure:
    return Structure(None, tiled(paragraphs(text, "code"), len(text)))
