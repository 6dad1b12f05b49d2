"""Charts of Office files (DrawingML): their title, and what they show as rows of a table.

The numbers lie beside the drawing, as they were when the file was saved; of XLSX they are the sheet's own.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree.ElementTree import Element

from phoenix_forge.corpus.readers.packed import below, find, local

CATEGORIES, VALUES = ("cat", "xVal"), ("val", "yVal")
POINTS = 5000  # of a series
ROUNDED = re.compile(r"-?\d+\.\d{6,}(?:E[-+]?\d+)?", re.IGNORECASE)  # a binary fraction's noise


class Chart(NamedTuple):
    """`rows` has a header, whose first cell is the axis' title where it has one."""

    title: str
    rows: list[list[str]]


def chart(root: Element) -> Chart | None:
    """What a chart's part shows; None where it holds no numbers."""
    series = list(below(root, "ser"))
    names = [_said(find(each, "tx")) or f"Series {number}" for number, each in enumerate(series, 1)]
    columns = [_points(each, VALUES) for each in series]
    if not any(columns):
        return None
    categories: dict[int, str] = {}
    for each in series:
        categories = _points(each, CATEGORIES) | categories
    places = sorted(set(categories).union(*columns))
    rows = [
        [categories.get(place, str(place + 1)), *(column.get(place, "") for column in columns)]
        for place in places
    ]
    drawn = find(root, "chart")
    return Chart(
        _said(find(drawn, "title")) if drawn is not None else "", [[_axis(root), *names], *rows]
    )


def _axis(root: Element) -> str:
    axis = next((each for each in root.iter() if local(each) in ("catAx", "dateAx")), None)
    return (_said(find(axis, "title")) if axis is not None else "") or "Category"


def _said(element: Element | None) -> str:
    """Text of its own (`t`), or what the cell had that it takes it from (`v`)."""
    if element is None:
        return ""
    return " ".join(
        " ".join(each.text or "" for each in element.iter() if local(each) in ("t", "v")).split()
    )


def _points(series: Element, names: tuple[str, str]) -> dict[int, str]:
    """Place → value. Of categories in several levels the innermost is the first."""
    held = next((child for child in series if local(child) in names), None)
    made: dict[int, str] = {}
    for point in below(held, "pt") if held is not None else ():
        place, value = point.get("idx", ""), _said(point)
        if place.isascii() and place.isdigit() and int(place) < POINTS and value:
            made.setdefault(
                int(place), f"{float(value):.6g}" if ROUNDED.fullmatch(value) else value
            )
    return made
