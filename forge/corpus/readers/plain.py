"""Plain text: paragraphs; a line underlined with === or --- is a heading (also reStructuredText's).

Of books, the licence that Project Gutenberg puts around each is hidden, and the notes of Aozora Bunko on how to set it:
https://www.gutenberg.org/policy/license.html and https://www.aozora.gr.jp/annotation/
"""

from __future__ import annotations

import re
from dataclasses import replace

from forge.corpus.document import Block, Cut, Structure, tiled
from forge.corpus.readers.lines import paragraphs

UNDERLINED = re.compile(r"(?P<title>\S[^\n]{1,99})\n(?P<line>(?P<mark>[=\-~^*#])(?P=mark){2,})[^\S\n]*(?:\n|\Z)")


GUTENBERG = "PROJECT GUTENBERG"
BEGINS = re.compile(r"^\*{3}[ ]?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*\n|"
                    r"^\*END[* ]*THE SMALL PRINT![^\n]*\n", re.MULTILINE | re.IGNORECASE)
ENDS = re.compile(r"^(?:\*{3}[ ]?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the |this )?Project Gutenberg['’]?s? )"
                  r"[^\n]*", re.MULTILINE | re.IGNORECASE)
ABOUT = re.compile(r"^(?:Title|Author|Translator|Editor|Illustrator|"
    r"Language):[ \t]*\S[^\n]*(?:\n[ \t]+\S[^\n]*)*", re.MULTILINE)
AOZORA = re.compile(r"［＃[^］\n]{1,200}］|｜[^《》\n]{1,50}《|【テキスト中に現れる記号について】")
LEGEND = re.compile(r"^-{20,}\r?\n(?:(?!-{20,})[^\n]*\n){0,60}?[^\n]*【テキスト中に現れる記号について】(?:(?!^-{20,"
    r"})[^\n]*\n){1,60}-{20,}\r?\n",
                    re.MULTILINE)
# Readings above words, the sign where their word begins, signs by number and notes on setting.
NOTED = (re.compile(r"※?［＃[^］\n]{1,200}］"), re.compile(r"(?<=[^\s《》])《[^《》\n]{1,60}》"),
         re.compile(r"｜(?=[^《》\n]{1,50}《)"))
NAMED = re.compile(r"(?:Title|書名):[ \t]*(?P<title>\S[^\n]*)")


def hidden(text: str) -> list[Cut]:
    made = _licence(text) if GUTENBERG in text.upper() else []
    if ("［＃" in text or "《" in text) and AOZORA.search(text):
        made += [Cut(*found.span()) for pattern in (LEGEND, *NOTED) for found in pattern.finditer(text)]
    return made


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
        if not match or len(match["line"]) * 2 < len(match["title"].strip()):
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
