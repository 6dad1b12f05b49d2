"""Plain text: paragraphs; a line underlined with === or --- is a heading (also reStructuredText's)."""

from __future__ import annotations

import re
from dataclasses import replace

from forge.corpus.document import Block, Structure, tiled
from forge.corpus.readers.lines import paragraphs

UNDERLINED = re.compile(r"(?P<title>\S[^\n]{1,99})\n(?P<line>(?P<mark>[=\-~^*#])(?P=mark){2,})[^\S\n]*(?:\n|\Z)")


def read(text: str) -> Structure:
    blocks: list[Block] = []
    marks: list[str] = []  # underline characters, outermost first, as they appear
    above: tuple[str, ...] = ()
    title = None
    for block in paragraphs(text, "paragraph"):
        match = UNDERLINED.match(text, block.start)
        if not match:
            blocks.append(replace(block, headings=above))
            continue
        if match["mark"] not in marks:
            marks.append(match["mark"])
        level = marks.index(match["mark"]) + 1
        above = (*above[:level - 1], match["title"].strip())
        title = title or above[-1]
        blocks.append(Block("heading", block.start, match.end(), above, level))
        if text[match.end():block.end].strip():
            blocks.append(Block("paragraph", match.end(), block.end, above))
    return Structure(title, tiled(blocks, len(text)))
