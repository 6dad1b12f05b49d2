"""CSV and TSV: tables of at most 50 rows a block, each with the header."""

from __future__ import annotations

import csv
import re
from itertools import pairwise

from forge.corpus.document import Block, Structure, tiled
from forge.corpus.readers import lines as fallback

ROWS = 50  # of a block
DELIMITERS = ",\t;|"
NUMBER = re.compile(r"[-+]?[\d.,]+%?")


def read(text: str) -> Structure:
    starts = [*fallback.starts(text), len(text)]
    physical = [text[a:b] for a, b in pairwise(starts)]
    first = next((line for line in physical if line.strip()), "")
    reader = csv.reader(physical, delimiter=max(DELIMITERS, key=first.count))
    records: list[tuple[int, list[str]]] = []  # (character where it starts, its cells)
    line = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                records.append((starts[line], [cell.strip() for cell in cells]))
            line = reader.line_num
    except csv.Error:  # an open quote that swallows the rest
        return fallback.read(text)
    header = tuple(records[0][1]) if records and _names(records[0][1]) else ()
    blocks = []
    for i in range(0, len(records), ROWS):
        body = [tuple((cells + [""] * len(header))[:len(header)]) for _, cells in records[i or 1:i + ROWS]]
        start = records[i][0]
        blocks.append(Block("table", start, start, rows=(header, *body) if header else ()))
    return Structure(None, tiled(blocks, len(text)))


def _names(cells: list[str]) -> bool:
    """Whether a first row names columns: every cell filled, no number, none twice."""
    return len(set(cells)) == len(cells) and all(cell and not NUMBER.fullmatch(cell) for cell in cells)
