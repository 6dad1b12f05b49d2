"""CSV and TSV: tables of at most 50 rows a block, each with the header; or texts, where a column holds such."""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from typing import NamedTuple

from phoenix_forge.corpus.document import Block, Cut, Structure, tiled
from phoenix_forge.corpus.readers import lines as fallback
from phoenix_forge.corpus.readers import markdown, records

ROWS = 50  # of a block
DELIMITERS = ",\t;|"
NUMBER = re.compile(r"[-+]?[\d.,]+%?")
YEAR = re.compile(r"(?:19|20)\d\d")
LONGEST_CELL = (
    100_000_000  # characters; the csv module would stop at 131,072, and files are bounded elsewhere
)


class Row(NamedTuple):
    """A record's cells, and the characters where it starts and ends."""

    cells: list[str]
    start: int
    end: int


def hidden(text: str) -> list[Cut]:
    """Where a column holds texts, each record as its text; else nothing."""
    rows = _rows(text)
    if len(rows) < 2 or not _names(rows[0].cells):
        return []
    header = rows[0].cells
    written = records.texts(
        [
            {name: cell for name, cell in zip(header, row.cells, strict=False) if name}
            for row in rows[1:]
        ]
    )
    if not written:
        return []
    starts = [0, *(row.start for row in rows[2:]), len(text)]
    return [Cut(a, b, said) for (a, b), said in zip(pairwise(starts), written, strict=True)]


def read(text: str) -> Structure:
    if text.startswith(records.WRITTEN):
        return markdown.read(text)
    rows = _rows(text)
    if not rows:
        return fallback.read(text)
    named = _names(rows[0].cells)
    columns = _columns(rows) if named else []
    blocks = []
    for i in range(0, len(rows), ROWS):
        below = rows[i or 1 : i + ROWS]
        table = [rows[0], *below] if named else []
        made = tuple(
            tuple(row.cells[at] if at < len(row.cells) else "" for at in columns) for row in table
        )
        spans = tuple((row.start, row.end) for row in below) if named else ()
        blocks.append(Block("table", rows[i].start, rows[i].start, rows=made, spans=spans))
    return Structure(None, tiled(blocks, len(text)))


def _rows(text: str) -> list[Row]:
    """The records with a filled cell; none where an open quote swallows the rest."""
    starts = [*fallback.starts(text), len(text)]
    physical = [text[a:b] for a, b in pairwise(starts)]
    first = next((line for line in physical if line.strip()), "")
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(physical, delimiter=max(DELIMITERS, key=first.count))
    rows: list[Row] = []
    line = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(
                    Row([cell.strip() for cell in cells], starts[line], starts[reader.line_num])
                )
            line = reader.line_num
    except csv.Error:
        return []
    return rows


def _columns(rows: list[Row]) -> list[int]:
    """Those with a name and something in them: an index that pandas wrote has no name, and some are empty all over."""
    return [
        at
        for at, name in enumerate(rows[0].cells)
        if name and any(at < len(row.cells) and row.cells[at] for row in rows[1:])
    ]


def _names(cells: list[str]) -> bool:
    """Whether a first row names columns: none twice, all of them words or years; the first may have no name."""
    filled = [cell for i, cell in enumerate(cells) if cell or i]
    words = [cell for cell in filled if cell and not NUMBER.fullmatch(cell)]
    sound = all(cell and (not NUMBER.fullmatch(cell) or YEAR.fullmatch(cell)) for cell in filled)
    return bool(words) and sound and len(set(cells)) == len(cells)
