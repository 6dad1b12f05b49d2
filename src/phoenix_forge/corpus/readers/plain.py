"""Plain text: paragraphs; a line underlined with === or --- is a heading (also reStructuredText's).

Of books, the licence that Project Gutenberg puts around each is hidden, and the notes of Aozora Bunko on how to set it:
https://www.gutenberg.org/policy/license.html and https://www.aozora.gr.jp/annotation/
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from phoenix_forge.corpus.document import Block, Cut, Structure, tiled
from phoenix_forge.corpus.readers.lines import paragraphs

UNDERLINED = re.compile(
    r"(?P<title>\S[^\n]{1,99})\n(?P<line>(?P<mark>[=\-~^*#])(?P=mark){2,})[^\S\n]*(?:\n|\Z)"
)


GUTENBERG = "PROJECT GUTENBERG"
BEGINS = re.compile(
    r"^\*{3}[ ]?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*\n|"
    r"^\*END[* ]*THE SMALL PRINT![^\n]*\n",
    re.MULTILINE | re.IGNORECASE,
)
ENDS = re.compile(
    r"^(?:\*{3}[ ]?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the |this )?Project Gutenberg['’]?s? )"
    r"[^\n]*",
    re.MULTILINE | re.IGNORECASE,
)
ABOUT = re.compile(
    r"^(?:Title|Author|Translator|Editor|Illustrator|"
    r"Language):[ \t]*\S[^\n]*(?:\n[ \t]+\S[^\n]*)*",
    re.MULTILINE,
)
AOZORA = re.compile(r"［＃[^］\n]{1,200}］|｜[^《》\n]{1,50}《|【テキスト中に現れる記号について】")
LEGEND = re.compile(
    r"^-{20,}\r?\n(?:(?!-{20,})[^\n]*\n){0,60}?[^\n]*【テキスト中に現れる記号について】(?:(?!^-{20,"
    r"})[^\n]*\n){1,60}-{20,}\r?\n",
    re.MULTILINE,
)
# Readings above words, the sign where their word begins, signs by number and notes on setting.
NOTE = re.compile(r"(?P<sign>※)?［＃[^］\n]{1,200}］")
# What a note says of a sign that the book's encoding lacks: its number in Unicode, or its place in JIS X 0213.
CODE = re.compile(
    r"U\+(?P<code>[0-9A-Fa-f]{4,6})(?![0-9A-Fa-f])|"
    r"(?<![\d-])(?P<plane>[12])-(?P<row>\d{1,2})-(?P<cell>\d{1,2})(?!\d)"
)
ROW_OR_CELL = 94  # the last
MISSING = "〓"  # what printers set for a sign that they lack
NOTED = (re.compile(r"(?<=[^\s《》])《[^《》\n]{1,60}》"), re.compile(r"｜(?=[^《》\n]{1,50}《)"))
NAMES = re.compile(r"\w")  # what a title has: a line of signs may be the end of a listing
NAMED = re.compile(r"(?:Title|書名):[ \t]*(?P<title>\S[^\n]*)")


def hidden(text: str) -> list[Cut]:
    made = _licence(text) if GUTENBERG in text.upper() else []
    if ("［＃" in text or "《" in text) and AOZORA.search(text):
        made += [
            Cut(*found.span()) for pattern in (LEGEND, *NOTED) for found in pattern.finditer(text)
        ]
        made += [
            Cut(*found.span(), _sign(found[0]) if found["sign"] else "")
            for found in NOTE.finditer(text)
        ]
    return made


def _sign(note: str) -> str:
    """The sign that a note stands for."""
    found = CODE.search(note)
    if not found:
        return MISSING
    if found["code"]:
        code = int(found["code"], 16)
        return chr(code) if code <= sys.maxunicode and not 0xD800 <= code < 0xE000 else MISSING
    row, cell = int(found["row"]), int(found["cell"])
    if not (1 <= row <= ROW_OR_CELL and 1 <= cell <= ROW_OR_CELL):
        return MISSING
    bytes_of_it = (b"\x8f" if found["plane"] == "2" else b"") + bytes([0xA0 + row, 0xA0 + cell])
    return bytes_of_it.decode("euc_jis_2004", "ignore") or MISSING


def _licence(text: str) -> list[Cut]:
    """What stands before a book but its title and who made it, and what stands after it."""
    begins = max((found.end() for found in BEGINS.finditer(text)), default=0)
    ends = next((found.start() for found in ENDS.finditer(text, begins)), None) if begins else None
    about = "".join(f"{found[0]}\n" for found in ABOUT.finditer(text, 0, begins))
    made = [Cut(0, begins, f"{about}\n" if about else "")] if begins else []
    return made + ([Cut(ends, len(text))] if ends is not None else [])


def read(text: str) -> Structure:
    blocks: list[Block] = []
    marks: list[str] = []  # underline characters, outermost first, as they appear
    above: tuple[str, ...] = ()
    named = NAMED.match(text)
    title = named["title"].strip() if named else None
    for block in paragraphs(text, "paragraph"):
        match = UNDERLINED.match(text, block.start)
        if (
            not match
            or not NAMES.search(match["title"])
            or len(match["line"]) * 2 < len(match["title"].strip())
        ):
            blocks.append(replace(block, headings=above))
            continue
        if match["mark"] not in marks:
            marks.append(match["mark"])
        level = marks.index(match["mark"]) + 1
        above = (*above[: level - 1], match["title"].strip())
        title = title or above[-1]
        blocks.append(Block("heading", block.start, match.end(), above, level))
        if text[match.end() : block.end].strip():
            blocks.append(Block("paragraph", match.end(), block.end, above))
    return Structure(title, tiled(blocks, len(text)))
