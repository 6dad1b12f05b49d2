"""Records (rows of CSV, objects of JSON) that hold a text: each reads as the text, under its name, with its context.

An export of tickets, articles or questions and answers is a shelf of texts, not a table: what matters is its longest
column, whatever it is called, and the others say what the text is about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from phoenix_forge.corpus.document import Cut, cut
from phoenix_forge.corpus.prose import HAS_HAN
from phoenix_forge.corpus.readers import markdown, writing

LONG = 120  # characters of a column's cells, on average, from which they are texts
SHARE = 0.4  # of all that the records say, in that column
NAMING = (
    "question",
    "title",
    "name",
    "subject",
    "headline",
    "heading",
    "summary",
    "term",
    "prompt",
    "instruction",
    "topic",
    "label",
    "key",
)
LONGEST_NAME = 200  # characters of what stands as a heading
HEADING = re.compile(r"^(?=#{1,6}\s)", re.MULTILINE)
WRITTEN = "## "  # how a file begins whose records have been written out; no CSV and no JSON does
NOTHING = ("", "null", "none", "nan", "n/a")

Record = Mapping[str, object]


def texts(records: Sequence[Record]) -> list[str] | None:
    """Each record as Markdown; None where they are no texts, or hold parts within parts that this would flatten."""
    cells = [_cells(record) for record in records]
    if any(each is None for each in cells):
        return None
    whole = [each for each in cells if each is not None]
    main = _main(whole)
    if not main:
        return None
    name = _name(whole, main)
    return [_written(number, each, main, name) for number, each in enumerate(whole, 1)]


def said(value: object) -> str | None:
    """A value as text, empty for a null; None for one that has parts of its own."""
    if isinstance(value, str):
        return "" if value.strip().lower() in NOTHING else value.strip()
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(str(each) for each in value)
    return "" if value is None else None if isinstance(value, list | dict) else json.dumps(value)


def _cells(record: Record) -> dict[str, str] | None:
    """What a record has, without the columns that are empty in it."""
    made = {key: said(value) for key, value in record.items()}
    return None if None in made.values() else {key: value for key, value in made.items() if value}


def _main(records: Sequence[dict[str, str]]) -> str | None:
    """The column with the most to say, where that is text."""
    sizes: dict[str, list[int]] = {}
    for record in records:
        for key, value in record.items():
            sizes.setdefault(key, []).append(
                len(value) if " " in value or HAS_HAN.search(value) else 0
            )
    if not sizes:
        return None
    main = max(sizes, key=lambda key: sum(sizes[key]))
    total = sum(map(sum, sizes.values()))
    fits = sum(sizes[main]) >= LONG * len(sizes[main]) and sum(sizes[main]) >= SHARE * total
    return main if fits else None


def _name(records: Sequence[dict[str, str]], main: str) -> str | None:
    """The column that names a record: by its own name, else the first that is short and never the same twice."""
    columns = [
        key for key in dict.fromkeys(key for record in records for key in record) if key != main
    ]
    for wanted in NAMING:
        for key in columns:
            if wanted in re.split(r"[\W_]+", key.lower()):
                return key
    for key in columns:
        values = [record.get(key, "") for record in records]
        if len(set(values)) == len(values) and all(
            value and len(value) <= LONGEST_NAME for value in values
        ):
            return key
    return None


def _written(number: int, record: dict[str, str], main: str, name: str | None) -> str:
    """Headings are of the second level: the first is the file's. A record without a name has its number."""
    given = record.get(name, "") if name else ""
    title = given if 0 < len(given) <= LONGEST_NAME else f"{main} {number}"
    rest = [
        f"- {key}: {' '.join(value.split())}"
        for key, value in record.items()
        if key != main and not (key == name and value == title)
    ]
    parts = [writing.heading(2, title), below(record.get(main, "")), "\n".join(rest)]
    return "\n\n".join(part for part in parts if part) + "\n\n"


def below(text: str) -> str:
    """A text such that it opens no section of its own; a comment in code stays as it is."""
    if not HEADING.search(text):
        return text
    marks = (Cut(found.start(), found.start(), "\\") for found in HEADING.finditer(text))
    shown, _ = cut(
        text, np.zeros(len(text) + 1, dtype=np.int64), markdown.outside_code(text, marks)
    )
    return shown
