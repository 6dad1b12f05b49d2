"""Rows of cells → Markdown tables of at most 50 rows, each with the header, as for CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from phoenix_forge.corpus.readers import writing
from phoenix_forge.corpus.readers.tabular import DELIMITERS, NUMBER, ROWS

DATE = re.compile(r"\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}|\d\d?:\d\d.*")
HEADER = 80  # characters of a column's name; longer cells are text


def tables(rows: Sequence[Sequence[str]]) -> list[str]:
    """Tables of a sheet's rows, empty ones and empty columns left out; one column becomes a paragraph a row.

    A first row that does not name columns is not taken for a header: the header stays empty.
    """
    filled = _filled([[" ".join(cell.split()) for cell in row] for row in rows])
    if not filled:
        return []
    if len(filled[0]) == 1:
        return [writing.line(row[0]) for row in filled]
    named = names_columns(filled[0]) and len(filled) > 1
    header = filled[0] if named else [""] * len(filled[0])
    body = filled[1:] if named else filled
    return [writing.table([header, *body[i : i + ROWS]]) for i in range(0, len(body), ROWS)]


def _filled(rows: list[list[str]]) -> list[list[str]]:
    width = max((len(row) for row in rows), default=0)
    square = [row + [""] * (width - len(row)) for row in rows if any(row)]
    columns = [i for i in range(width) if any(row[i] for row in square)]
    return [[row[i] for i in columns] for row in square]


def names_columns(cells: list[str]) -> bool:
    """Whether a first row names columns: no number, no text, none twice, and at most the first without a name."""
    named = [cell for cell in cells if cell]
    return (
        len(named) > 1
        and len(set(named)) == len(named)
        and all(cells[1:])
        and all(map(_is_name, named))
    )


def _is_name(cell: str) -> bool:
    return len(cell) <= HEADER and not NUMBER.fullmatch(cell) and not DATE.fullmatch(cell)


def cells(text: str) -> list[list[str]]:
    """Rows of a text of comma-separated values, or with another of the usual signs between them."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    try:
        return list(csv.reader(text.split("\n"), delimiter=max(DELIMITERS, key=first.count)))
    except csv.Error:  # an open quote that swallows the rest
        return [[line] for line in text.split("\n")]
