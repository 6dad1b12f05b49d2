"""Markdown through markdown-it's block parser: its line maps give each block's place in the source."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from forge.corpus.document import Block, BlockKind, Structure, tiled
from forge.corpus.readers.data import scalar
from forge.corpus.readers.lines import starts

FRONT_MATTER = re.compile(r"\A---[^\S\n]*\r?\n(.*?\r?\n)?---[^\S\n]*(?:\r?\n|\Z)", re.DOTALL)
KINDS: dict[str, BlockKind] = {
    "heading_open": "heading", "paragraph_open": "paragraph", "bullet_list_open": "list", "ordered_list_open": "list",
    "table_open": "table", "fence": "code", "code_block": "code", "blockquote_open": "paragraph"}
_parser = MarkdownIt("commonmark").enable("table")
_parser.core.ruler.enableOnly(["normalize", "block"])  # inline markup stays as written, and parsing is much faster


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
    for i, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        start = lines[token.map[0]]
        kind = KINDS.get(token.type, "other")
        if kind == "heading":
            level = int(token.tag[1])
            above = [*(entry for entry in above if entry[0] < level), (level, tokens[i + 1].content.strip())]
            title = title or above[-1][1]
        headings = tuple(entry[1] for entry in above)
        blocks.append(Block(kind, start, start, headings, above[-1][0] if kind == "heading" else 0,
                            _rows(tokens, i) if kind == "table" else (),
                            _items(tokens, i) if kind == "list" else ()))
    return Structure(title, tiled(blocks, len(text)))


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
