"""YAML, TOML, INI, JSON and JSON Lines: one block a top-level key, with the comments above it.

A value that is a list of flat records with the same keys gives the block `rows`, a list of plain values its `items`.
"""

from __future__ import annotations

import json
import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NamedTuple

import yaml

from phoenix_forge.corpus.document import Block, Cut, Structure, tiled
from phoenix_forge.corpus.readers import lines as fallback

Rows = tuple[tuple[str, ...], ...]
DOTS = 50  # in a TOML key; a tool's settings have four
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SPACE = re.compile(r"[ \t\r\n]*")
INDENT = re.compile(r"[ \t]*")
COMMENT = re.compile(r"[#;]")
HEADER = re.compile(r"\[\[?([^\]\r\n]*)")
KEY = re.compile(r"[^=:\r\n]+")
# What can hold a bracket or a line end inside TOML: https://toml.io/en/v1.0.0
TOML_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|'
    r"[\[\]{}]|\n",
    re.DOTALL,
)
MARGIN = 200  # characters of indentation before which a key still starts its line
DEEP = 100  # collections within collections; beyond, libyaml takes quadratic time
WRITTEN = "## "  # how a file begins whose records have been written out as texts
ODD = 2  # times as many columns as the shortest record has: more, and records are of several kinds
GROUP = 50  # records or plain values of a list without keys that share a block


class Entry(NamedTuple):
    """A key of the top level and where it starts; `value` holds its records, plain values or scalar.

    `starts` is where each of the records starts, if they are entries of a list without a key.
    """

    key: str
    start: int
    value: object
    starts: tuple[int, ...] = ()


class Damaged(Exception):
    """The text is not what its suffix says."""


def hidden(text: str, language: str) -> list[Cut]:
    """Of JSON whose records hold texts, each record as its text; else nothing."""
    if language not in RECORDS or text.startswith(WRITTEN):
        return []
    from phoenix_forge.corpus.readers import chats

    if language == "json" and (dialogues := chats.hidden(text)):
        return dialogues
    try:
        found = RECORDS[language](text)
    except (Damaged, ValueError, RecursionError):
        return []
    values = [entry.value for entry in found if isinstance(entry.value, dict)]
    if len(values) < 2 or len(values) < len(found) or found[0].key:
        return []
    from phoenix_forge.corpus.readers import (
        records,
    )  # which writes Markdown, and Markdown reads its front matter here

    written = records.texts(values)
    if not written:
        return []
    starts = [0, *(entry.start for entry in found[1:]), len(text)]
    return [Cut(a, b, said) for (a, b), said in zip(pairwise(starts), written, strict=True)]


def read(text: str, language: str) -> Structure:
    if language in RECORDS and text.startswith(WRITTEN):
        from phoenix_forge.corpus.readers import markdown

        return markdown.read(text)
    try:
        entries = LANGUAGES[language](text)
    except (
        Damaged,
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ):  # json's and tomllib's errors are ValueErrors
        return fallback.read(text)
    if not entries:
        return fallback.read(text)
    lines = fallback.starts(text)
    blocks: list[Block] = []
    after = [*(entry.start for entry in entries[1:]), len(text)]
    for entry, end in zip(entries, after, strict=True):
        start = _with_comments(text, lines, entry.start)
        if not blocks or start > blocks[-1].start:
            rows = rows_of(entry.value)
            spans = tuple(pairwise([*entry.starts, end])) if rows and entry.starts else ()
            blocks.append(
                Block(
                    "code",
                    start,
                    start,
                    (entry.key,) if entry.key else (),
                    rows=rows,
                    items=_items_of(entry.value),
                    spans=spans,
                )
            )
    return Structure(None, tiled(blocks, len(text)))


def scalar(text: str, key: str) -> str | None:
    """The value of a top-level key of a YAML text, as written; None where there is none, or it is no YAML."""
    try:
        return next(
            (e.value for e in _yaml(text) if e.key == key and isinstance(e.value, str) and e.value),
            None,
        )
    except (Damaged, yaml.YAMLError, ValueError):
        return None


def values(text: str, key: str) -> list[str]:
    """The plain values of a top-level key of a YAML text: of a list, or one alone; none where it is no YAML."""
    try:
        held = next((entry.value for entry in _yaml(text) if entry.key == key), None)
    except (Damaged, yaml.YAMLError, ValueError):
        return []
    return [
        each
        for each in (held if isinstance(held, list) else [held])
        if isinstance(each, str) and each.strip()
    ]


def rows_of(value: object) -> Rows:
    """A table of a list of at least two flat records; else nothing. What a record lacks is empty in it, and a column
    that is empty in all of them is none."""
    if not (
        isinstance(value, Sequence)
        and len(value) > 1
        and all(isinstance(each, dict) and each for each in value)
    ):
        return ()
    header = list(
        dict.fromkeys(
            key for record in value for key, cell in record.items() if cell not in (None, "")
        )
    )
    if not header or len(header) > ODD * min(map(len, value)):
        return ()
    rows: list[tuple[str, ...]] = [tuple(header)]
    for record in value:
        cells = [_cell(record.get(key)) for key in header]
        if None in cells:
            return ()
        rows.append(tuple(map(str, cells)))
    return tuple(rows)


def _items_of(value: object) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    cells = [_cell(item) for item in value]
    return () if None in cells else tuple(cells)  # type: ignore[arg-type]


def _cell(value: object) -> str | None:
    """A plain value as text; None for one that has parts."""
    if isinstance(value, str):
        return value
    return "" if value is None else None if isinstance(value, list | dict) else json.dumps(value)


def _with_comments(text: str, lines: list[int], at: int) -> int:
    """Back to the start of the line, and over the comment lines directly above it."""
    i = bisect_right(lines, at) - 1
    if at - lines[i] > MARGIN or text[lines[i] : at].strip():
        return at  # within a line: minified
    while i and COMMENT.match(text, lines[i - 1]):
        i -= 1
    return lines[i]


# -- YAML --------------------------------------------------------------------------------------------------------------


def _yaml(text: str) -> list[Entry]:
    """By events, since building nodes recurses without a limit: deep nesting would end the process."""
    found: list[Entry] = []
    depth = 0
    in_map = False  # the document's top level is a mapping
    key: tuple[str, int] | None = None
    value: list[object] = []
    shape = ""  # of the value being read: "list", or "" where it holds something deeper
    record: list[str] | None = None
    for event in yaml.parse(text, Loader=YAML_LOADER):
        if depth > DEEP:
            raise Damaged
        opens = isinstance(event, yaml.CollectionStartEvent)
        closes = isinstance(event, yaml.CollectionEndEvent)
        if not (opens or closes or isinstance(event, yaml.ScalarEvent | yaml.AliasEvent)):
            continue
        plain = event.value if isinstance(event, yaml.ScalarEvent) else None
        depth -= closes
        if depth == 0:
            in_map = isinstance(event, yaml.MappingStartEvent)
            if opens and not in_map:
                found.append(Entry("", _at(event), None))
        elif in_map and depth == 1 and key is None:
            key, value, shape, record = (plain or "", _at(event)), [], "", None
        elif in_map and depth == 1 and key:
            if opens:
                shape = "list" if isinstance(event, yaml.SequenceStartEvent) else ""
            else:
                held = (value if shape else None) if closes else None if _is_null(event) else plain
                found.append(Entry(*key, held))
                key = None
        elif not in_map and depth == 1 and not closes:
            found.append(Entry("", _at(event), None))
        elif shape and depth == 2:
            if isinstance(event, yaml.MappingStartEvent):
                record = []
            elif closes and record is not None:
                value.append(dict(zip(record[::2], record[1::2], strict=False)))
                record = None
            elif plain is not None:
                value.append(plain)
            else:
                shape = ""
        elif shape and depth == 3 and record is not None and plain is not None:
            record.append(plain)
        else:
            shape = ""
        depth += opens
    return found


def _is_null(event: yaml.Event) -> bool:
    return (
        isinstance(event, yaml.ScalarEvent)
        and event.implicit[0]
        and event.value.lower() in ("", "~", "null")
    )


def _at(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.index if mark else 0


# -- TOML and INI ------------------------------------------------------------------------------------------------------


def _toml(text: str) -> list[Entry]:
    if any(line.partition("=")[0].count(".") > DOTS for line in text.split("\n")):
        raise Damaged  # tomllib's time and memory grow with the square of a key's parts
    tomllib.loads(text.replace("\r\n", "\n"))
    return list(_statements(text))


def _statements(text: str) -> Iterator[Entry]:
    """Table headers, and the keys before the first of them."""
    depth, at, headed = 0, 0, False
    for match in TOML_TOKEN.finditer(text):
        token = match[0]
        if token != "\n":
            depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
        elif depth == 0:
            entry = _statement(text, at, headed)
            headed = headed or text[entry.start] == "[" if entry else headed
            at = match.end()
            if entry:
                yield entry
    if entry := _statement(text, at, headed):
        yield entry


def _statement(text: str, at: int, headed: bool) -> Entry | None:
    at = INDENT.match(text, at).end()  # type: ignore[union-attr]
    if header := HEADER.match(text, at):
        return Entry(header[1].strip(), at, None)
    if headed or at == len(text) or text[at] in "#\r\n":
        return None
    key = KEY.match(text, at)
    return Entry(key[0].strip(), at, None) if key else None


def _ini(text: str) -> list[Entry]:
    """Sections; the keys of a file without any (.properties) stay together."""
    return [
        Entry(header[1].strip(), at, None)
        for at in fallback.starts(text)
        if (header := HEADER.match(text, at))
    ]


# -- JSON --------------------------------------------------------------------------------------------------------------


def _json(text: str) -> list[Entry]:
    found = _values(text)
    return found if found and found[0].key else _grouped(found)


def _values(text: str) -> list[Entry]:
    """The members or elements of the top level."""
    decode = json.JSONDecoder().raw_decode  # gives each value's end, at the C scanner's speed
    at = _space(text, 1 if text.startswith("\ufeff") else 0)
    return list(
        _members(text, at + 1, decode)
        if text[at : at + 1] == "{"
        else _elements(text, at + 1, decode)
        if text[at : at + 1] == "["
        else ()
    )


def _members(text: str, at: int, decode: Callable) -> Iterator[Entry]:
    at = _space(text, at)
    while text[at : at + 1] == '"':
        key, end = scanstring(text, at + 1, True)
        end = _space(text, end)
        value, end = (
            decode(text, _space(text, end + 1)) if text[end : end + 1] == ":" else (None, end)
        )
        yield Entry(key, at, value)
        at = _comma(text, end, "}")
    if text[at : at + 1] != "}":
        raise Damaged


def _elements(text: str, at: int, decode: Callable) -> Iterator[Entry]:
    at = _space(text, at)
    while at < len(text) and text[at] != "]":
        value, end = decode(text, at)
        yield Entry("", at, value)
        at = _comma(text, end, "]")
    if text[at : at + 1] != "]":
        raise Damaged


def _space(text: str, at: int) -> int:
    return SPACE.match(text, at).end()  # type: ignore[union-attr]


def _comma(text: str, at: int, closing: str) -> int:
    """Where the next member starts, or the closing bracket."""
    at = _space(text, at)
    if text[at : at + 1] == ",":
        return _space(text, at + 1)
    if text[at : at + 1] != closing:
        raise Damaged
    return at


def _grouped(entries: list[Entry]) -> list[Entry]:
    """Flat records and plain values share blocks, since each alone says little."""
    values = [entry.value for entry in entries]
    if not (rows_of(values) or _items_of(values)):
        return [Entry("", entry.start, None) for entry in entries]
    return [
        Entry(
            "",
            entries[i].start,
            values[i : i + GROUP],
            tuple(each.start for each in entries[i : i + GROUP]),
        )
        for i in range(0, len(entries), GROUP)
    ]


def _jsonl(text: str) -> list[Entry]:
    return _grouped(_objects(text))


def _objects(text: str) -> list[Entry]:
    """A value a line; an array under the name of lines is read as what it is."""
    if text.lstrip("\ufeff \t\r\n")[:1] == "[":
        try:
            return _values(text)
        except (Damaged, ValueError):
            pass  # lines of arrays
    found = []
    bounds = [*fallback.starts(text), len(text)]
    for start, end in pairwise(bounds):
        if text[start:end].strip():
            found.append(Entry("", start, json.loads(text[start:end].lstrip("\ufeff"))))
    return found


LANGUAGES: dict[str, Callable[[str], list[Entry]]] = {
    "yaml": _yaml,
    "toml": _toml,
    "ini": _ini,
    "json": _json,
    "jsonl": _jsonl,
}
# Of formats that can be a list of records: every one of these by itself.
RECORDS: dict[str, Callable[[str], list[Entry]]] = {"json": _values, "jsonl": _objects}
