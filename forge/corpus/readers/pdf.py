"""PDF through pypdfium2: lines put back together into paragraphs, by where they stand on the page."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from forge.corpus.readers import Unreadable, markdown, writing

HYPHENS = "\x02\ufffe\xad"  # what PDFium gives for a hyphen that only breaks a word
BULLET = re.compile(r"[•▪●◦‣∙■□○–]\s+")
LISTED = re.compile(r"(?:[•▪●◦‣∙■□○–]|\(?\d{1,3}[.)]|[-*])\s+\S")
NUMBERING = re.compile(r"^(?:(?:chapter|section|appendix)\s+)?[\dIVX]+(?:\.\d+)*\.?\s+", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?:;…]['\"”’)\]]*$")
LINE = re.compile(f"(\r\n|\r|\n|(?<=[{HYPHENS}]))")  # PDFium itself joins a word that a hyphen breaks
EDGE = 2  # lines at the top and bottom of a page that may be a running header or footer
read = markdown.read


@dataclass(frozen=True, slots=True)
class Line:
    """Places are in points, from the page's lower left; all 0 where the page does not say."""

    text: str
    page: int
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is damaged, encrypted, or holds images of pages only."""
    import pypdfium2 as pdfium

    try:
        book = pdfium.PdfDocument(data)
        try:
            pages = [_lines(book[i], i) for i in range(len(book))]
            headings = _outline(book)
        finally:
            book.close()
    except pdfium.PdfiumError as error:
        locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Unreadable("encrypted: it opens with a password only" if locked else "damaged, or not a PDF") from None
    if not any(any(c.isalnum() for c in line.text) for lines in pages for line in lines):
        raise Unreadable("no text layer: a scan, which needs text recognition (OCR) first")
    lines = _without_running(pages)
    return "\n\n".join(_blocks(lines, headings)) + "\n"


def _lines(page: Any, number: int) -> list[Line]:
    textpage = page.get_textpage()
    count = textpage.count_chars()
    text = textpage.get_text_range(0, count) if count else ""
    placed = len(text) == count  # else PDFium's indices are not Python's
    lines: list[Line] = []
    at = 0
    for part in LINE.split(text):
        bare = part.strip()
        if bare:
            first = at + len(part) - len(part.lstrip())
            last = first + max(len(bare.rstrip(HYPHENS)), 1) - 1
            box = _box(textpage, first, last) if placed else (0.0, 0.0, 0.0, 0.0)
            lines.append(Line(re.sub(r"[ \t\xa0]+", " ", bare), number, *box))
        at += len(part)
    textpage.close()
    page.close()
    return lines


def _box(textpage: Any, first: int, last: int) -> tuple[float, float, float, float]:
    """(left, right, top, bottom); the font's height, so that lines of one size are of one height."""
    left, bottom, _, top = textpage.get_charbox(first, loose=True)
    return left, textpage.get_charbox(last, loose=True)[2], top, bottom


def _outline(book: Any) -> dict[tuple[int, str], int]:
    """(page, title) → level, from the file's own bookmarks: the only headings that are certain."""
    found: dict[tuple[int, str], int] = {}
    for mark in book.get_toc():
        target = mark.get_dest()
        page = target.get_index() if target else None
        if page is not None:
            found.setdefault((page, _key(mark.get_title() or "")), mark.level + 1)
    return found


def _key(text: str) -> str:
    return NUMBERING.sub("", " ".join(text.split())).casefold()


def _without_running(pages: list[list[Line]]) -> list[Line]:
    """Leaves out lines at the edges that most pages share, up to their numbers."""
    def edges(lines: list[Line]) -> list[Line]:
        return lines if len(lines) <= 2 * EDGE else lines[:EDGE] + lines[-EDGE:]

    def shape(line: Line) -> str:
        return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text)

    seen = Counter(s for lines in pages for s in sorted({shape(line) for line in edges(lines)}))
    often = max(3, (len(pages) + 1) // 2)
    kept = []
    for lines in pages:
        running = {id(line) for line in edges(lines) if seen[shape(line)] >= often}
        kept += [line for line in lines if id(line) not in running]
    return kept if any(c.isalnum() for line in kept for c in line.text) else [line for lines in pages for line in lines]


def _blocks(lines: list[Line], headings: dict[tuple[int, str], int]) -> list[str]:
    gaps = [a.bottom - b.top for a, b in pairwise(lines) if a.page == b.page and a.top > b.top]
    gap = median(gaps) if gaps else 0.0
    words = Counter(re.findall(r"\w+-\w+|\w+", "\n".join(line.text for line in lines)))
    right: dict[int, float] = {}
    for line in lines:
        right[line.page] = max(right.get(line.page, 0.0), line.right)
    groups: list[list[Line]] = []
    made: list[str] = []
    for line in lines:
        level = headings.get((line.page, _key(line.text)))
        if level:
            made += [_paragraph(group, words) for group in groups]
            groups = []
            made.append(writing.heading(level, line.text))
        elif groups and not _breaks(groups[-1], line, gap, right[groups[-1][-1].page]):
            groups[-1].append(line)
        else:
            groups.append([line])
    made += [_paragraph(group, words) for group in groups]
    return _lists_together(made)


def _breaks(group: list[Line], line: Line, gap: float, right: float) -> bool:
    """Whether a line starts a paragraph of its own."""
    last = group[-1]
    ended = bool(SENTENCE_END.search(last.text))
    if LISTED.match(line.text) and (ended or not line.text[0].isdigit() or bool(LISTED.match(group[0].text))):
        return True
    if last.page != line.page or line.top > last.top:  # another page or column: geometry says nothing
        return ended or not (line.text[0].islower() or last.text.endswith(("-", ",", *HYPHENS)))
    if not line.top:
        return ended and len(last.text) < 45
    height = max(last.top - last.bottom, 1.0)
    if abs((line.top - line.bottom) - height) > 0.2 * height or last.bottom - line.top > gap + 0.5 * height:
        return True
    if line.left - group[0].left > height and len(group) > 1 and abs(last.left - line.left) > 0.5 * height:
        return ended  # the next first line is indented
    if len(group) > 1 and line.left - last.left > 0.8 * height and not LISTED.match(group[0].text):
        return ended
    width = right - last.left
    return ended and last.right < right - 0.2 * width


def _paragraph(group: list[Line], words: Counter[str]) -> str:
    text = group[0].text
    for line in group[1:]:
        text = _joined(text, line.text, words)
    text = re.sub(f"[{HYPHENS}]", "", text)
    return BULLET.sub("- ", text, count=1) if BULLET.match(text) else text if LISTED.match(text) else writing.line(text)


def _joined(text: str, following: str, words: Counter[str]) -> str:
    """A hyphen at a line's end goes, unless the document has the hyphenated word elsewhere."""
    if text[-1] not in "-" + HYPHENS or not following[0].islower():
        return f"{text} {following}"
    before = re.search(r"\w+$", text[-60:-1])
    after = re.match(r"\w+", following)
    if not before or not after:
        return text + following
    whole, parted = before[0] + after[0], f"{before[0]}-{after[0]}"
    keep = words[parted] > words[whole]
    return text[:-1] + ("-" if keep else "") + following


def _lists_together(blocks: list[str]) -> list[str]:
    """Items that follow each other are one list."""
    made: list[str] = []
    for block in blocks:
        if made and block.startswith("- ") and made[-1].startswith("- "):
            made[-1] += "\n" + block
        else:
            made.append(block)
    return made
