"""HTML and components within Markdown: tags are hidden, what stands between them is not.

Bold, code, links, headings and tables of HTML are shown as Markdown writes them; scripts, drawings and players not at
all. https://spec.commonmark.org/0.31.2/#raw-html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from phoenix_forge.corpus import inline
from phoenix_forge.corpus.document import Cut

# Attributes hold quoted text and braces in braces; an address in angles is no tag.
VALUE = r"\"[^\"]{0,2000}\"|'[^']{0,2000}'|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,500}\}){0,500}\}){0,2000}\}|[^\s\"'<>={}]+"
TAG = re.compile(
    rf"(?<!\\)<(?P<close>/)?(?P<name>[A-Za-z][\w.-]*)?(?P<attributes>(?:\s+(?:[\w:@.#-]+(?:=(?:{VALUE}))?|"
    r"\{\.\.\.[^{}]{1,200}\}))*)\s*(?P<empty>/)?>"
)
HTML = re.compile(
    f"{inline.NAMES}|script|noscript|template|canvas|audio|object|embed|ruby|rb|rp|rt|nobr|legend|map|"
    "area",
    re.IGNORECASE,
)
SHOWN = re.compile(
    r"\b(?:title|label|header|heading|summary|caption)=(?:\"([^\"\n]+)\"|'([^'\n]+)'|"
    r"\{[\"'`]([^\"'`{}\n]+)[\"'`]\})"
)
NEAR = 300  # characters of its line that are looked at on either side of a tag
VOID = {"br", "hr", "img", "input", "meta", "link", "source", "col", "wbr"}
# With all that they hold: nobody reads it, or (ruby) reads it twice.
DROPPED = {
    "script",
    "style",
    "svg",
    "template",
    "noscript",
    "canvas",
    "video",
    "audio",
    "object",
    "rp",
    "rt",
}
MARKED = re.compile(
    r"(?P<open><(?P<name>b|strong|i|em|code|samp|"
    r"tt)(?:\s[^<>]{0,200})?>)(?=\S)(?P<said>[^<>\n`]{1,300})(?<=\S)"
    r"(?P<close></(?P=name)>)",
    re.IGNORECASE,
)
MARKS = {"b": "**", "strong": "**", "i": "*", "em": "*"}
LINK = re.compile(
    r"(?P<open><a\s[^<>]{0,1000}?\bhref\s*=\s*[\"'](?P<to>[^\"'<>\s]{1,1000})[\"'][^<>]{0,1000}>)"
    r"(?P<said>(?:[^<\[\]]|<(?!/?a[\s>])){1,1000})(?P<close></a>)",
    re.IGNORECASE,
)
HEADING = re.compile(
    r"^[ \t]*(?P<open><h(?P<level>[1-6])(?:\s[^<>]{0,500})?>)[^\n]{1,500}(?P<close></h(?P=level)>)"
    r"[ \t]*\r?$",
    re.MULTILINE | re.IGNORECASE,
)
TABLE = re.compile(
    r"^[ \t]*(?P<table><table\b(?:(?!<table\b).){1,100000}?</table\s*>)",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)
BOLD = re.compile(r"\s*(?:<(?:b|strong)>|\*\*)", re.IGNORECASE)
LONGEST_SUMMARY = 2000  # characters
ROW = re.compile(r"\s*\||#{1,6}\s")  # what a line break would cut in two


class Tag:
    """A tag outside of code. `alone`: nothing else is on its line."""

    def __init__(self, text: str, found: re.Match[str]) -> None:
        self.start, self.end = found.span()
        self.name = found["name"] or ""
        self.attributes = found["attributes"]
        self.closes, self.empty = (
            bool(found["close"]),
            bool(found["empty"]) or self.name.lower() in VOID,
        )
        first = max(0, self.start - NEAR)
        self.line = max(text.rfind("\n", first, self.start) + 1, first)
        after = text.find("\n", self.end, self.end + NEAR)
        self.ahead = text[self.line : self.start]
        self.alone = (
            not self.ahead.strip()
            and not text[self.end : after if after >= 0 else self.end + NEAR].strip()
        )

    @property
    def component(self) -> bool:
        return not HTML.fullmatch(self.name)


def hidden(text: str, components: bool, code: Callable[[int], bool]) -> list[Cut]:
    """Cuts of tags that do not start in code, and of the margins of what stands between tags of their own lines.

    `components`: whether tags that are not HTML's hide too, and show their titles.
    """
    if "<" not in text:
        return []
    tags = [
        tag
        for found in TAG.finditer(text)
        if not code(found.start())
        and ((tag := Tag(text, found)).name or components)
        and (components or not tag.component)
    ]
    if not tags:
        return []
    kept = [*_dropped(tags), *(cut for cut in _tables(text) if not code(cut.start))]
    paired = {cut.start: cut for cut in _pairs(text) if not code(cut.start)}
    shown = [paired.get(tag.start) or _shown(text, tag) for tag in tags]
    return [*kept, *shown, *_margins(text, tags)]


def _dropped(tags: Sequence[Tag]) -> Iterator[Cut]:
    """From such a tag to the next that closes it."""
    opened: Tag | None = None
    for tag in tags:
        name = tag.name.lower()
        if opened is None and name in DROPPED and not tag.closes and not tag.empty:
            opened = tag
        elif opened is not None and tag.closes and name == opened.name.lower():
            yield Cut(opened.start, tag.end)
            opened = None


def _tables(text: str) -> Iterator[Cut]:
    """Tables as Markdown's; where the library that reads HTML is not installed, tags alone are hidden."""
    if "<table" not in text.lower():
        return
    try:
        import selectolax.lexbor  # noqa: F401
    except ImportError:
        return
    from phoenix_forge.corpus.readers import html

    for found in TABLE.finditer(text):
        yield Cut(
            found.start("table"), found.end("table"), f"\n{html.to_markdown(found['table'])}\n"
        )


def _pairs(text: str) -> Iterator[Cut]:
    """Tags that Markdown has marks for; both lie where the tags lay."""
    for found in MARKED.finditer(text):
        mark = MARKS.get(found["name"].lower(), "`")
        if "*" not in found["said"] or mark == "`":
            yield from (Cut(*found.span("open"), mark), Cut(*found.span("close"), mark))
    for found in LINK.finditer(text):
        if TAG.sub("", found["said"]).strip() and "\n\n" not in found["said"]:
            yield from (
                Cut(*found.span("open"), "["),
                Cut(*found.span("close"), f"]({found['to']})"),
            )
    for found in HEADING.finditer(text):
        yield from (
            Cut(*found.span("open"), f"{'#' * int(found['level'])} "),
            Cut(*found.span("close")),
        )


def _shown(text: str, tag: Tag) -> Cut:
    """What a tag shows: a component its title, as a line in bold; a line break; the words of a summary in bold."""
    said = _title(tag) if tag.component and not tag.closes else ""
    name = tag.name.lower()
    if name == "br":
        return Cut(tag.start, tag.end, " " if ROW.match(tag.ahead) else "\n")
    if name == "summary":
        mark = (
            "" if BOLD.match(text, _opening(text, tag)) else "**"
        )  # which the page may set itself
        return Cut(tag.start, tag.end, f"{mark}\n\n" if tag.closes else mark)
    if name == "li" and not tag.closes and not tag.ahead.strip():
        return Cut(tag.start, tag.end, "- ")
    if tag.ahead.strip():
        return Cut(tag.start, tag.end, said)
    if not tag.alone:
        return Cut(tag.start, tag.end, f"**{said}**\n\n" if said else "")
    return Cut(tag.line, tag.end, f"**{said}**\n" if said else "")


def _opening(text: str, tag: Tag) -> int:
    """Where the words begin that a tag opens, or closes."""
    if not tag.closes:
        return tag.end
    before = max(0, tag.start - LONGEST_SUMMARY)
    opens = text[before : tag.start].lower().rfind(f"<{tag.name.lower()}")
    return text.find(">", before + opens, tag.start) + 1 if opens >= 0 else tag.start


def _title(tag: Tag) -> str:
    return next(
        (each for match in SHOWN.finditer(tag.attributes) for each in match.groups() if each), ""
    )


def _margins(text: str, tags: Sequence[Tag]) -> Iterator[Cut]:
    """Lines between two tags lose what they are set in by beyond the tags, which would make code of them."""
    opened: list[Tag] = []
    extra: dict[int, int] = {}  # start of a line → columns that it loses
    for tag in tags:
        if not tag.alone or tag.empty:
            continue
        if not tag.closes:
            opened.append(tag)
            continue
        at = next((i for i in range(len(opened) - 1, -1, -1) if opened[i].name == tag.name), None)
        if at is None:
            continue
        first = opened[at]
        del opened[at:]
        lines = [
            start
            for start in _lines(text, first.end, tag.line)
            if text[start:].split("\n", 1)[0].strip()
        ]
        inner = min((_indent(text, start) for start in lines), default=0) - _indent(
            text, first.line
        )
        for start in lines if inner > 0 else ():
            extra[start] = extra.get(start, 0) + inner
    yield from (Cut(start, start + wide) for start, wide in extra.items())


def _lines(text: str, start: int, end: int) -> Iterator[int]:
    at = text.find("\n", start) + 1
    while 0 < at < end:
        yield at
        at = text.find("\n", at) + 1


def _indent(text: str, start: int) -> int:
    at = start
    while text[at : at + 1] in (" ", "\t") and text[at : at + 1]:
        at += 1
    return at - start
