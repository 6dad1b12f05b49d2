"""Where in a file a passage stands: its lines, as editors count them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from phoenix_forge.corpus.encodings import decode
from phoenix_forge.corpus.index import Passage
from phoenix_forge.corpus.readers import extracts, structure
from phoenix_forge.corpus.support import Words

LINE_END = re.compile("\r\n|\r|\n")


class Place(NamedTuple):
    """A passage of a document: `line` is the one that a text stands in, below `headings`; `lines` are the passage's
    first and last, counted from one. For a file whose text is extracted both are None: no editor shows it by lines."""

    path: str
    headings: tuple[str, ...]
    line: int | None
    lines: tuple[int, int] | None

    @property
    def shown(self) -> str:
        """On one line, beginning with what terminals and editors open."""
        path = f"{self.path}:{self.line}" if self.line else self.path
        lines = f"(lines {self.lines[0]}–{self.lines[1]})" if self.lines else ""
        return "  ".join(filter(None, [path, " › ".join(self.headings), lines]))


def place(root: Path, passage: Passage, text: str, words: Words) -> Place:
    """Where a passage stands, and in which of its lines most of a text's words do. `root` is the workspace."""
    nowhere = Place(passage.path, passage.headings, None, None)
    if extracts(passage.path):
        return nowhere
    try:
        decoded = decode((root / passage.path).read_bytes())
    except OSError:  # gone since it was indexed, or of a name that cannot be written
        return nowhere
    whole = decoded.text.encode("utf-8", "surrogatepass")
    start, end = (max(0, at - decoded.skip) for at in passage.span)
    above = len(LINE_END.findall(whole[:start].decode("utf-8", "replace")))
    text_there = LINE_END.sub("\n", whole[start:end].decode("utf-8", "replace"))
    own = text_there.split("\n")
    full = [i for i, line in enumerate(own) if line.strip()]
    if not full:
        return nowhere
    wanted = set(words.telling(text, passage.language))
    most = max(full, key=lambda i: (len(wanted & words.all(own[i], passage.language)), -i))
    headings = _above(passage, text_there, sum(len(line) + 1 for line in own[:most]))
    return Place(
        passage.path, headings, above + most + 1, (above + full[0] + 1, above + full[-1] + 1)
    )


def _above(passage: Passage, text: str, at: int) -> tuple[str, ...]:
    """The headings above a character of a passage, whose own are those of its beginning."""
    blocks = structure(passage.path, text).blocks
    below = next((block.headings for block in blocks if block.start <= at < block.end), ())
    tops = [block for block in blocks if block.kind == "heading" and block.headings == below[:1]]
    if not tops:
        return passage.headings
    first = blocks[0]
    headings = (
        len(passage.headings) - 1 - first.level if first.kind == "heading" else -1
    )  # above a heading of level 0
    return (*passage.headings[: max(0, headings + tops[0].level)], *below)
