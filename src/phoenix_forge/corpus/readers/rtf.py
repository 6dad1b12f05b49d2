"""Rich text (RTF) through striprtf: paragraphs, headings by their outline level, tables; no remarks, no hidden text."""

from __future__ import annotations

import re
from itertools import groupby

from phoenix_forge.corpus.readers import Unreadable, grid, markdown, writing

START = b"{\\rtf"
HIDDEN = re.compile(r"\{\\(?:deleted|v)(?![0-9a-z])[^{}]*\}")
OUTLINE = re.compile(r"\\outlinelevel([0-8])(?![0-9]) ?")
MARK = "\ue000"  # before the level of a heading: striprtf lets it through as a letter
HEADING = re.compile(rf"{MARK}([0-8])")
BAR = "\ue001"  # for a bar of the text: striprtf ends each cell with one
BARS = re.compile(r"\||\\'7c", re.IGNORECASE)
PARAGRAPH = re.compile(r"\\(pard|intbl|par)(?![a-z0-9]) ?")
BULLET = re.compile(r"[•▪●◦‣·\uf0b7]\s+")
read = markdown.read


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is damaged or of another format."""
    from striprtf.striprtf import rtf_to_text

    if not data.lstrip().startswith(START):
        raise Unreadable("not rich text: it does not start with {\\rtf")
    marked = OUTLINE.sub(rf"\\pard {MARK}\1", HIDDEN.sub("", BARS.sub(BAR, data.decode("latin-1"))))
    try:
        text = rtf_to_text(_with_whole_cells(marked), errors="replace")
    except (LookupError, ValueError, TypeError, OverflowError) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None
    # Characters beyond the first 65,536 are written as two halves.
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    blocks = [
        block
        for is_table, lines in groupby(text.split("\n"), _is_row)
        for block in (_table(list(lines)) if is_table else _paragraphs(list(lines)))
    ]
    if not blocks:
        raise Unreadable("rich text without words")
    return "\n\n".join(blocks) + "\n"


def _with_whole_cells(source: str) -> str:
    """With a space where a cell's paragraphs part: there a line is a row."""
    within = False

    def replaced(found: re.Match[str]) -> str:
        nonlocal within
        if found[1] == "par":
            return " " if within else found[0]
        within = found[1] == "intbl"
        return found[0]

    return PARAGRAPH.sub(replaced, source)


def _is_row(line: str) -> bool:
    """striprtf ends each cell with a bar."""
    return line.endswith("|") and line.count("|") > 1


def _table(lines: list[str]) -> list[str]:
    return grid.tables(
        [
            [cell.replace(BAR, "|") for cell in HEADING.sub("", line)[:-1].split("|")]
            for line in lines
        ]
    )


def _paragraphs(lines: list[str]) -> list[str]:
    """Bullets that follow each other are one list."""
    made: list[str] = []
    in_list = False
    for line in lines:
        heading = HEADING.search(line)
        text = " ".join(HEADING.sub("", line).replace(MARK, "").replace(BAR, "|").split())
        bullet = BULLET.match(text)
        if not text:
            continue
        item = f"- {text[bullet.end() :]}" if bullet else writing.line(text)
        if heading:
            made.append(writing.heading(int(heading[1]) + 1, text))
        elif bullet and in_list:
            made[-1] += f"\n{item}"
        else:
            made.append(item)
        in_list = bool(bullet) and not heading
    return made
