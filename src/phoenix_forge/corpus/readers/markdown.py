"""Markdown through markdown-it's block parser: its line maps give each block's place in the source.

Beside CommonMark: attributes of headings and spans (kramdown, pandoc, MyST), Obsidian's comments, block names and
embeds, slides (Marp, Slidev), HTML (`tags`), what sites add (`dialects`), and MDX's imports and components in files
that have any.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain

from markdown_it import MarkdownIt
from markdown_it.token import Token

from phoenix_forge.corpus.document import Block, BlockKind, Cut, Structure, tiled
from phoenix_forge.corpus.readers import dialects, tags
from phoenix_forge.corpus.readers.data import scalar
from phoenix_forge.corpus.readers.lines import starts

FRONT_MATTER = re.compile(r"\A---[^\S\n]*\r?\n(.*?\r?\n)?---[^\S\n]*(?:\r?\n|\Z)", re.DOTALL)
KINDS: dict[str, BlockKind] = {
    "heading_open": "heading",
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
    "fence": "code",
    "code_block": "code",
    "blockquote_open": "paragraph",
}
# Code, in which nothing is hidden: fences, then spans. A fence that is not closed runs to the end.
FENCED = re.compile(
    r"^[ \t>]*(?:[-*+][ \t]+)?(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*?"
    r"(?:^[ \t>]*(?P=fence)[`~]*[ \t]*\r?$|\Z)",
    re.MULTILINE | re.DOTALL,
)
SPAN = re.compile(r"(?<!`)(?P<ticks>`+)(?!`)[^`]{1,2000}?(?<!`)(?P=ticks)(?!`)")
MEDIA = r"\.(?:png|jpe?g|gif|svg|webp|avif|bmp|pdf|mp[34]|webm|wav|ogg|mov|excalidraw|canvas|base)"
ATTRIBUTES = r"\{[ ]?(?::|[#.](?=[\w-]))[^{}\n]{1,200}\}"
SLIDE_KEYS = (
    "layout",
    "background",
    "class",
    "transition",
    "clicks",
    "src",
    "image",
    "preload",
    "hideInToc",
    "zoom",
    "theme",
    "disabled",
)
# What is hidden outside of code, whether a text can have any of it, and what is shown instead.
HIDDEN: tuple[tuple[tuple[str, ...], re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        ("data:",),
        re.compile(r"^ {0,3}\[[^\]\n]{1,300}\]:[ \t]{0,20}<?data:[^\s>]*>?[^\n]*\n?", re.MULTILINE),
        lambda _: "",
    ),
    (
        ("data:",),
        re.compile(r"(?<=\]\()[ \t]{0,20}<?data:[^\s)>]*>?(?:[ \t]+\"[^\"\n]{0,300}\")?"),
        lambda _: "",
    ),
    (
        ("data:",),
        re.compile(r"<(?:img|source|embed|object)\b[^<>]{0,1000}?=[\"']?data:[^<>]*>"),
        lambda _: "",
    ),
    # `## Title {#name}`, a line of attributes by itself, `[words]{.class}`, `![picture](a.png){width=50%}`
    (("{",), re.compile(rf"^[ \t>]*{ATTRIBUTES}[ \t]*\r?(?:\n|\Z)", re.MULTILINE), lambda _: ""),
    (("{",), re.compile(rf"[ \t]{{0,20}}{ATTRIBUTES}(?=[ \t#]*\r?$)", re.MULTILINE), lambda _: ""),
    (
        ("]{",),
        re.compile(r"\[(?P<said>[^\[\]\n]{1,300})\]\{[#.][^{}\n]{1,200}\}"),
        lambda found: found["said"],
    ),
    (
        ("{ ",),
        re.compile(
            r"[ \t]{1,20}\{[ \t]*(?:[\w-]+=\"[^\"{}\n]{0,100}\"[ \t]*|data-[\w-]+[ \t]*)+\}"
            r"(?=[ \t#]*\r?$)",
            re.MULTILINE,
        ),
        lambda _: "",
    ),
    (("){",), re.compile(r"(?<=\))\{[^{}\n]{1,200}\}"), lambda _: ""),
    (("%%",), re.compile(r"(?<!\S)%%(?=[^%])[^%]{1,5000}%%(?!\S)"), lambda _: ""),
    (
        (" ^",),
        re.compile(r"(?<=\S)[ \t]+\^[A-Za-z0-9-]{4,40}(?=[ \t]*\r?$)", re.MULTILINE),
        lambda _: "",
    ),
    (
        ("![[",),
        re.compile(
            rf"!\[\[[^\[\]\n]{{1,300}}?{MEDIA}(?:[#|][^\[\]\n]{{0,300}})?\]\]", re.IGNORECASE
        ),
        lambda _: "",
    ),
    # A slide's own settings, of which at least one is Slidev's; the rule above them stays.
    (
        tuple(f"\n{key}:" for key in SLIDE_KEYS),
        re.compile(
            rf"(?<=\n)---[ \t]*\r?\n(?=(?:[a-z][^\n]*\n){{0,19}}(?:{'|'.join(SLIDE_KEYS)}):)(?:[A-Za-z][\w-]*:[^\n]*\n|"
            r"[ \t]+\S[^\n]*\n){1,20}---[ \t]*\r?(?:\n|\Z)"
        ),
        lambda _: "\n---\n\n",
    ),
)
# A line of a set-in listing, and what a line before it begins with where it belongs to an item, a note or a box.
SET_IN = re.compile(r"(?:\A|\n)[ \t]*\n(?P<code>(?:(?: {4}|\t)[^\n]*(?:\n|\Z)|[ \t]*\n)+)")
HOLDS = re.compile(r"[ ]{0,3}(?:[-*+]|\d{1,9}[.)]|:)[ \t]|[ ]{0,3}(?:!!!|\?\?\?|===|\[\^)")
LOOKED_AT = 200  # lines back to what holds one that is set in
PROPERTY = re.compile(r"[\w-]+:\s")
_parser = MarkdownIt("commonmark").enable("table")
_parser.core.ruler.enableOnly(
    ["normalize", "block"]
)  # inline markup stays as written, and parsing is much faster


def hidden(text: str) -> list[Cut]:
    """Comments, pictures written into the text, attributes, settings of slides, tags, and the signs of dialects.

    Of a page of MDX its imports and components too.
    """
    from phoenix_forge.corpus.readers import mdx  # which reads the rest as Markdown

    code = in_code(text)
    if mdx.is_mdx(text, code):
        return mdx.hidden(text)
    made = chain(comments(text), attributes(text))
    return [
        *(each for each in made if not code(each.start)),
        *dialects.cuts(text, code),
        *tags.hidden(text, False, code),
    ]


def comments(text: str, opens: str = "<!--", closes: str = "-->") -> Iterator[Cut]:
    """With the line where it has nothing else. One that is never closed is none."""
    at = text.find(opens)
    while at >= 0 and (end := text.find(closes, at + len(opens))) >= 0:
        end += len(closes)
        line = text.rfind("\n", 0, at) + 1
        after = text.find("\n", end)
        alone = (
            not text[line:at].strip() and not text[end : after if after >= 0 else len(text)].strip()
        )
        yield Cut(line, after + 1 if after >= 0 else len(text)) if alone else Cut(at, end)
        at = text.find(opens, end)


def attributes(text: str) -> Iterator[Cut]:
    for signs, pattern, shown in HIDDEN:
        if any(sign in text for sign in signs):
            yield from (Cut(*found.span(), shown(found)) for found in pattern.finditer(text))


def outside_code(text: str, cuts: Iterator[Cut]) -> list[Cut]:
    """Those that do not start in code, nor in the front matter."""
    found = list(cuts)
    if not found:
        return []
    code = in_code(text)
    return [each for each in found if not code(each.start)]


def in_code(text: str, set_in: bool = True) -> Callable[[int], bool]:
    """Whether a character is of code, or of the front matter. `set_in`: so are lines set in by four columns."""
    spans = code_spans(text)
    if set_in and ("\n    " in text or "\n\t" in text):
        spans = sorted([*spans, *_set_in(text)])
    begins = [start for start, _ in spans]
    ends = list(accumulate((end for _, end in spans), max))  # one may lie within another

    def code(at: int) -> bool:
        i = bisect_right(begins, at)
        return bool(i) and at < ends[i - 1]

    return code


def _set_in(text: str) -> Iterator[tuple[int, int]]:
    """Listings without fences: set in by four columns, but not below an item of a list or the like."""
    for found in SET_IN.finditer(text):
        if not HOLDS.match(_holder(text, found.start())):
            yield found.span("code")


def _holder(text: str, end: int) -> str:
    """The last line before a place that is not set in, or opens something itself."""
    for _ in range(LOOKED_AT):
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end]
        if (line.strip() and not line[0].isspace()) or HOLDS.match(line) or not start:
            return line
        end = start - 1
    return ""


def code_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of fences, spans and front matter, in order."""
    matter = FRONT_MATTER.match(text)
    at = matter.end() if matter else 0
    made = [(0, at)] if at else []
    for fence in FENCED.finditer(text, at):
        made += [span.span() for span in SPAN.finditer(text, at, fence.start())]
        made.append(fence.span())
        at = fence.end()
    return [*made, *(span.span() for span in SPAN.finditer(text, at))]


def read(text: str) -> Structure:
    blocks: list[Block] = []
    title = None
    body = 0
    matter = FRONT_MATTER.match(text)
    if matter:
        body = matter.end()
        title = scalar(matter[1] or "", "title")
        blocks.append(Block("front_matter", 0, body))
    lines = starts(text, body)
    tokens = _parser.parse(text[body:])
    above: list[tuple[int, str]] = []  # (level, title)
    heads: list[tuple[int, str]] = []
    for i, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        start = lines[token.map[0]]
        kind = KINDS.get(token.type, "other")
        if kind == "heading" and token.markup == "-" and _no_title(tokens[i + 1].content):
            kind = "paragraph"
        if kind == "heading":
            level = int(token.tag[1])
            above = [
                *(entry for entry in above if entry[0] < level),
                (level, tokens[i + 1].content.strip()),
            ]
            heads.append(above[-1])
        headings = tuple(entry[1] for entry in above)
        blocks.append(
            Block(
                kind,
                start,
                start,
                headings,
                above[-1][0] if kind == "heading" else 0,
                _rows(tokens, i) if kind == "table" else (),
                _items(tokens, i) if kind == "list" else (),
            )
        )
    return Structure(title or _title(heads), tiled(blocks, len(text)))


def _title(heads: list[tuple[int, str]]) -> str | None:
    """The first of the highest headings, unless several below level 1 share the page: these are its parts."""
    level = min((each for each, _ in heads), default=0)
    top = [head for head in heads if head[0] == level]
    return top[0][1] if top and (top[0][0] == 1 or len(top) == 1) else None


def _no_title(line: str) -> bool:
    """Whether what a `---` underlines is no heading, but a slide's last words or settings, before the next slide."""
    return "\n" in line or line.endswith((".", "!", ":", ";", ",")) or bool(PROPERTY.match(line))


def _rows(tokens: Sequence[Token], at: int) -> tuple[tuple[str, ...], ...]:
    """Cells of the table that starts at token `at`, row by row."""
    rows: list[list[str]] = []
    for i in range(at, len(tokens)):
        token = tokens[i]
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token.content.strip())
    return tuple(tuple(row) for row in rows)


def _items(tokens: Sequence[Token], at: int) -> tuple[str, ...]:
    """First paragraph of each own item of the list that starts at token `at` (list, item, paragraph, inline)."""
    items: list[str] = []
    waiting = False
    for i in range(at, len(tokens)):
        token = tokens[i]
        if token.level == 0 and token.nesting < 0:
            break
        if token.type == "list_item_open" and token.level == 1:
            waiting = True
        elif token.type == "inline" and token.level == 3 and waiting:
            items.append(token.content.strip())
            waiting = False
    return tuple(items)
