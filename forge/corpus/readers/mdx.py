"""MDX: Markdown with JSX in it. Imports, exports, comments and tags are hidden, the text within components is not.

https://mdxjs.com/docs/what-is-mdx/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise

from forge.corpus.document import Cut
from forge.corpus.readers import markdown
from forge.corpus.readers.lines import starts

# From a line that begins with one of the two words to the next blank line, where something is imported or exported.
STATEMENT = re.compile(r"^(?:import[ \t]+[\"'{*\w]|export[ \t]+(?:const|let|var|function|default|class|async|\{|\*))"
                       r"[^\n]*(?:\n(?![ \t]*\r?$)[^\n]*)*\n?", re.MULTILINE)
# Attributes hold quoted text and braces in braces; a tag of plain HTML hides as well, an address in angles does not.
VALUE = r"\"[^\"]{0,2000}\"|'[^']{0,2000}'|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,500}\}){0,500}\}){0,2000}\}"
TAG = re.compile(rf"<(?P<close>/)?(?P<name>[A-Za-z][\w.-]*)?(?P<attributes>(?:\s+(?:[\w:-]+(?:=(?:{VALUE}))?|"
                 r"\{\.\.\.[^{}]{1,200}\}))*)\s*(?P<empty>/)?>")
SHOWN = re.compile(r"\b(?:title|label|header|heading|summary|caption)=(?:\"([^\"\n]+)\"|'([^'\n]+)'|"
                   r"\{[\"'`]([^\"'`{}\n]+)[\"'`]\})")
SETTING = re.compile(r"\{props\.[\w.]+\}|\{\s*\}|\{[\"']\s[\"']\}")
VOID = {"br", "hr", "img", "input", "meta", "link", "source"}
read = markdown.read


def hidden(text: str) -> list[Cut]:
    made = chain(markdown.comments(text), markdown.comments(text, "{/*", "*/}"), markdown.attributes(text),
                 _statements(text), (Cut(*found.span()) for found in SETTING.finditer(text)), _tags(text))
    kept = markdown.outside_code(text, made)
    return [*kept, *_margins(text, kept)]


def _statements(text: str) -> Iterator[Cut]:
    return (Cut(*found.span()) for found in STATEMENT.finditer(text))


def _tags(text: str) -> Iterator[Cut]:
    """Each with what it shows: its title or label, as a line in bold; a line break; else nothing."""
    for found in TAG.finditer(text):
        start, end = found.span()
        said = next((each for match in SHOWN.finditer(found["attributes"]) for each in match.groups() if each), "")
        line, after = text.rfind("\n", 0, start) + 1, text.find("\n", end)
        if text[line:start].strip():
            yield Cut(start, end, "\n" if found["name"] == "br" else said)
        elif text[end:after if after >= 0 else len(text)].strip():
            yield Cut(start, end, f"**{said}**\n\n" if said else "")
        else:
            yield Cut(line, end, f"**{said}**\n" if said else "")


def _margins(text: str, cuts: list[Cut]) -> Iterator[Cut]:
    """Lines within components lose the indentation that they share, which would make code of them."""
    ends = {each.end for each in cuts}
    tags = [found for found in TAG.finditer(text) if found.end() in ends]
    depth = 0
    for before, after in pairwise(tags):
        if before["name"] not in VOID and not before["empty"]:
            depth += -1 if before["close"] else 1
        if depth > 0 and "\n" in text[before.end():after.start()]:
            yield from _dedented(text, before.end(), after.start())


def _dedented(text: str, start: int, end: int) -> Iterator[Cut]:
    lines = starts(text[start:end])[1:]
    filled = [start + at for at in lines if text[start + at:end].split("\n", 1)[0].strip()]
    margins = [len(line) - len(line.lstrip(" \t")) for line in (text[at:end].split("\n", 1)[0] for at in filled)]
    margin = min(margins, default=0)
    if margin:
        yield from (Cut(at, at + margin) for at in filled)
