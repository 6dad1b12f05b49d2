"""Spreadsheets (XLSX, XLSB, XLS, ODS) through python-calamine: a heading a sheet, its rows as tables of at most 50."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import Unreadable, grid, html, markdown, packed, writing
from phoenix_forge.corpus.readers.noted import Noted
from phoenix_forge.corpus.readers.packed import attribute, local

CELLS = 10_000_000  # of a sheet from its first to its last: calamine keeps a place for each, filled or not
DEFAULT = re.compile(
    r"[^\W\d]+ ?1"
)  # what programs call the first sheet: Sheet1, Tabelle1, Feuille 1
ERROR = re.compile(r"#(?:N/A|DIV/0!|REF!|NAME\?|VALUE!|NUM!|NULL!|GETTING_DATA|SPILL!|CALC!)")
CELL = re.compile(rb"<(?:\w+:)?c[\s/>](?:[^>]*?\br=\"([A-Z]{1,3})(\d{1,7})\")?")
ROW = re.compile(rb"<(?:\w+:)?row\b[^>]*?\br=\"(\d{1,7})\"")
EXCEL = "xl/workbook.xml"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")  # the part of an XLSX file with a password
BINARY = "xl/workbook.bin"
PAGE = re.compile(
    rb"\s*<(?:!doctype|html|table|meta|head)\b", re.IGNORECASE
)  # what web programs call .xls
ROW_RECORD, LAST_CELL_RECORD = (
    0,
    11,
)  # kinds of record in a binary sheet; those between them are cells
OPEN = "content.xml"
read = markdown.read


def extract(data: bytes) -> str:
    """Text of the sheets as Markdown; Noted: sheets of charts, empty and hidden ones have none.

    Raises Unreadable where the file is damaged, encrypted or of another format, or a sheet is far too large.
    """
    import python_calamine as calamine

    if PAGE.match(data):
        return html.extract(data)
    if data.startswith(packed.OLE):
        if ENCRYPTED in data:
            raise Unreadable("encrypted: it opens with a password only")
    else:
        with packed.opened(data, "a spreadsheet", EXCEL, BINARY, OPEN) as file:
            _bounded(file)
    try:
        book = calamine.load_workbook(io.BytesIO(data))
        abouts = list(book.sheets_metadata)
        sheets = [
            (about, book.get_sheet_by_name(about.name))
            for about in abouts
            if about.typ == calamine.SheetTypeEnum.WorkSheet
        ]
        shown = [
            (about.name, _rows(sheet))
            for about, sheet in sheets
            if about.visible == calamine.SheetVisibleEnum.Visible
        ]
    except calamine.PasswordError:
        raise Unreadable("encrypted: it opens with a password only") from None
    except calamine.CalamineError as error:
        raise Unreadable(f"damaged: {error}") from None
    hidden = [
        about.name for about, _ in sheets if about.visible != calamine.SheetVisibleEnum.Visible
    ]
    text = _text(shown)
    held = (Held("sheets", len(abouts), sum(any(map(any, rows)) for _, rows in shown)),)
    if not text:
        raise Unreadable("sheets without text", held=held)
    plural = "s" if len(hidden) > 1 else ""
    notes = (f"sheet{plural} {', '.join(hidden)}: hidden; not read",) if hidden else ()
    return Noted(text, notes, held)


def _text(sheets: list[tuple[str, list[list[str]]]]) -> str:
    alone = len(sheets) == 1 and DEFAULT.fullmatch(sheets[0][0])
    blocks: list[str] = []
    for name, rows in sheets:
        found = _blocks(rows)
        if found and not alone:
            blocks.append(writing.heading(2, name))
        blocks += found
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _blocks(rows: list[list[str]]) -> list[str]:
    """Tables, one where empty rows part them and a header follows, and the lines that stand above a table alone."""
    made: list[str] = []
    table: list[list[str]] = []
    for filled, run in groupby(rows, any):
        part = list(run) if filled else []
        if part and table and grid.names_columns([cell for cell in part[0] if cell]):
            made += grid.tables(table)
            table = []
        while (
            not table
            and len(part) > 1
            and sum(map(bool, part[0])) == 1 < max(sum(map(bool, row)) for row in part)
        ):
            made.append(writing.line("".join(part.pop(0))))
        table += part
    return made + grid.tables(table)


def _rows(sheet: Any) -> list[list[str]]:
    """A sheet's cells as text; one that is merged from several is repeated in each."""
    rows = [[_cell(value) for value in row] for row in sheet.iter_rows()]
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or ():
        if top < len(rows) and left < len(rows[top]):
            text = rows[top][left]
            for row in rows[top : bottom + 1]:
                row[left : right + 1] = [text] * len(row[left : right + 1])
    return rows


def _cell(value: object) -> str:
    """Numbers without the noise of their binary form, dates as ISO 8601, and no errors."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return (
            f"{value:.15g}"
            if abs(value) < 1e-5 or abs(value) >= 1e15
            else f"{value:.10f}".rstrip("0").rstrip(".")
        )
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ", "seconds")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    text = " ".join(str(value).split())
    return "" if ERROR.fullmatch(text) else text


# -- bounds ------------------------------------------------------------------------------------------------------------


def _bounded(file: zipfile.ZipFile) -> None:
    """Raises Unreadable where a sheet spans too many cells: one cell in the last corner stands for 17 billion."""
    if OPEN in file.namelist():
        spans: Iterator[tuple[str, int]] = _spans(file)
    else:
        names = [name for name in file.namelist() if name.startswith("xl/worksheets/")]
        spans = (
            (
                name,
                _binary_span(file.read(name)) if name.endswith(".bin") else _span(file.read(name)),
            )
            for name in names
            if name.endswith((".xml", ".bin"))
        )
    for name, cells in spans:
        if cells > CELLS:
            raise Unreadable(
                f"{name} spans {cells:,} cells, most of them empty; {CELLS:,} can be read",
                fix="delete the cells far from the others, or save the sheet as CSV",
            )


def _span(sheet: bytes) -> int:
    columns: set[bytes] = set()
    rows: set[int] = set()
    nameless = 0
    for match in CELL.finditer(sheet):
        if match[1]:
            columns.add(match[1])
            rows.add(int(match[2]))
        else:
            nameless += 1
    if nameless:  # such cells stand in the place that their row has, one after the other
        rows |= {int(match[1]) for match in ROW.finditer(sheet)}
    if not rows:
        return nameless
    places = [_place(column) for column in columns] or [1]
    return (max(rows) - min(rows) + 1) * (max(places) - min(places) + 1 + nameless // len(rows))


def _binary_span(sheet: bytes) -> int:
    """Records are a kind, a length (both seven bits a byte) and so many bytes, a row's and a cell's place the first.

    [MS-XLSB] 2.1.4 and 2.4
    """
    rows: set[int] = set()
    columns: set[int] = set()
    at = 0
    while at + 1 < len(sheet):
        kind, at = _number(sheet, at, 2)
        size, at = _number(sheet, at, 4)
        if kind <= LAST_CELL_RECORD and size >= 4:
            (rows if kind == ROW_RECORD else columns).add(
                int.from_bytes(sheet[at : at + 4], "little")
            )
        at += size
    return (
        (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1) if rows and columns else 0
    )


def _number(data: bytes, at: int, most: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + most]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    return value, at + most


def _place(column: bytes) -> int:
    """A → 1, Z → 26, AA → 27."""
    place = 0
    for letter in column:
        place = place * 26 + letter - ord("A") + 1
    return place


def _spans(file: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    """Of each table of an OpenDocument file, up to its last filled row; rows and cells may be repeated."""
    for table in packed.below(packed.xml(file, OPEN), "table"):
        at = last = widest = 0
        for row in packed.below(table, "table-row"):
            at += _repeated(row, "rows")
            width = _width(
                [each for each in row if local(each) in ("table-cell", "covered-table-cell")]
            )
            widest = max(widest, width)
            last = at if width else last
        yield attribute(table, "name"), last * widest


def _width(cells: Sequence[Any]) -> int:
    """Up to the last cell with something in it."""
    at = last = 0
    for cell in cells:
        at += _repeated(cell, "columns")
        last = at if len(cell) or attribute(cell, "value-type") else last
    return last


def _repeated(element: Any, what: str) -> int:
    number = attribute(element, f"number-{what}-repeated")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 12 else 1
