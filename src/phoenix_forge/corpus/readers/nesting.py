"""Markdown within Markdown: a document that is part of another."""

from __future__ import annotations

import re

HEADING = re.compile(r"#{1,6}(?= )")
FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")


def demoted(text: str, by: int) -> str:
    """The text with its headings `by` levels lower, 6 at most; what is in fences stays."""
    fence = ""
    lines = []
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = ""
        heading = HEADING.match(line) if not fence else None
        lines.append(
            "#" * min(len(heading[0]) + by, 6) + line[heading.end() :] if heading else line
        )
    return "\n".join(lines)
