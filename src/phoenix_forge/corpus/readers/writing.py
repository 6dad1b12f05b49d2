"""Pieces of Markdown, for the formats whose text Forge writes itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What would turn a line of prose into a heading, list, table, fence, quote or HTML block.
MARKS = re.compile(
    r"#{1,6}(?=\s|$)|>|[-+*](?=\s|$)|\d{1,9}(?=[.)](?:\s|$))|`{3}|~{3}|\||=+\s*$|-{2,}\s*$|"
    r"<(?=[a-zA-Z/!?])"
)
BACKTICKS = re.compile(r"`+")


def line(text: str) -> str:
    """One line of prose, such that Markdown reads it as prose."""
    match = MARKS.match(text)
    if not match:
        return text
    at = match.end() if match[0].isdigit() else 0
    return f"{text[:at]}\\{text[at:]}"


def heading(level: int, text: str) -> str:
    return f"{'#' * min(max(level, 1), 6)} {' '.join(text.split())}"


def fence(code: str, language: str = "") -> str:
    """A fenced block whose fence is longer than any run of backticks in the code."""
    longest = max((len(run) for run in BACKTICKS.findall(code)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}{language}\n{code.strip(chr(10))}\n{mark}"


def code(text: str) -> str:
    """Inline code."""
    longest = max((len(run) for run in BACKTICKS.findall(text)), default=0)
    mark = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{mark}{pad}{text}{pad}{mark}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A pipe table, its first row the header."""
    width = max(len(row) for row in rows)
    lines = [
        "| " + " | ".join(_cell(cell) for cell in [*row, *[""] * (width - len(row))]) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])


def item(mark: str, body: str) -> str:
    """A list item: its lines after the first are indented below its mark."""
    pad = " " * (len(mark) + 1)
    return f"{mark} " + "\n".join(
        part if i == 0 or not part else pad + part for i, part in enumerate(body.split("\n"))
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
