"""Spreadsheets as XlsxWriter and a hand make them: tables, dates, merged and hidden things, and what cannot be read."""

import datetime
import io
import random
import sys

import pytest
from corpus.office_files import damaged, parts, read, reason, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.corpus.readers import Unreadable, extract, structure

pytest.importorskip("python_calamine")
xlsxwriter = pytest.importorskip("xlsxwriter")

PUMPS = [("Pump", "Turns", "Since"), ("P1", 1450, datetime.date(1987, 5, 1)), ("P2", 2900.5, "")]


def book(**sheets):
    """Sheets of rows by name; a name that ends in _hidden is."""
    made = io.BytesIO()
    workbook = xlsxwriter.Workbook(made)
    day = workbook.add_format({"num_format": "yyyy-mm-dd"})
    for name, rows in sheets.items():
        sheet = workbook.add_worksheet(name)
        if name.endswith("_hidden"):
            sheet.hide()
        for i, row in enumerate(rows):
            for k, value in enumerate(row):
                if isinstance(value, datetime.date):
                    sheet.write_datetime(i, k, value, day)
                elif value != "":
                    sheet.write(i, k, value)
    workbook.close()
    return made.getvalue()


def tables(name, data):
    return [block.rows for block in structure(name, extract(name, data)).blocks if block.kind == "table"]


def test_each_sheet_is_a_heading_and_a_table():
    data = book(Pumps=PUMPS, Empty=[], Tanks=[("Tank", "Full"), ("upper", True), ("a | b", 0.1 + 0.2)])
    assert read("a.xlsx", data) == [
        "## Pumps", "| Pump | Turns | Since |\n|---|---|---|\n| P1 | 1450 | 1987-05-01 |\n| P2 | 2900.5 |  |",
        "## Tanks", "| Tank | Full |\n|---|---|\n| upper | TRUE |\n| a \\| b | 0.3 |"]


def test_a_single_sheet_with_a_programs_name_has_no_heading():
    assert read("a.xlsx", book(Sheet1=PUMPS))[0].startswith("| Pump")
    assert read("a.xlsx", book(Pumps=PUMPS))[0] == "## Pumps"


def test_tables_of_fifty_rows_have_the_header_each():
    made = tables("a.xlsx", book(Sheet1=[("Day", "Flow"), *((f"day {i}", i) for i in range(120))]))
    assert [(rows[0], len(rows)) for rows in made] == [(("Day", "Flow"), 51), (("Day", "Flow"), 51),
                                                       (("Day", "Flow"), 21)]


def test_empty_rows_part_tables_only_before_a_header():
    rows = [("The pumps of the station",), ("",), *PUMPS, ("",), ("P3", 7), ("",), ("Tank", "Litres"), ("upper", 900)]
    made = read("a.xlsx", book(Sheet1=rows))
    assert made[0] == "The pumps of the station"
    assert tables("a.xlsx", book(Sheet1=rows)) == [
        (("Pump", "Turns", "Since"), ("P1", "1450", "1987-05-01"), ("P2", "2900.5", ""), ("P3", "7", "")),
        (("Tank", "Litres"), ("upper", "900"))]


def test_rows_without_a_header_have_an_empty_one():
    assert tables("a.xlsx", book(Sheet1=[(1, 2), (3, 4)])) == [(("", ""), ("1", "2"), ("3", "4"))]


def test_a_merged_cell_is_repeated_and_an_error_is_empty():
    made = io.BytesIO()
    workbook = xlsxwriter.Workbook(made)
    sheet = workbook.add_worksheet()
    for k, name in enumerate(("Station", "Pump", "Turns")):
        sheet.write(0, k, name)
    sheet.merge_range(1, 0, 2, 0, "North")
    sheet.write_row(1, 1, ("P1", 1450))
    sheet.write(2, 1, "P2")
    sheet.write_formula(2, 2, "=1/0", None, "#DIV/0!")
    workbook.close()
    assert tables("a.xlsx", made.getvalue()) == [
        (("Station", "Pump", "Turns"), ("North", "P1", "1450"), ("North", "P2", ""))]


def test_a_hidden_sheet_is_named_and_not_read():
    made = extract("a.xlsx", book(Pumps=PUMPS, Old_hidden=[("secret", "x"), ("y", "z")]))
    assert made.notes == ("sheet Old_hidden: hidden; not read",)
    assert "secret" not in made


OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def ods(rows):
    return zipped({"mimetype": "application/vnd.oasis.opendocument.spreadsheet", "content.xml": (
        f'<office:document-content xmlns:office="{OFFICE}office:1.0" xmlns:table="{OFFICE}table:1.0" '
        f'xmlns:text="{OFFICE}text:1.0"><office:body><office:spreadsheet><table:table table:name="Pumps">{rows}'
        "</table:table></office:spreadsheet></office:body></office:document-content>"),
        "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'
        '"/>'})


def ods_row(*cells, repeated=1):
    return (f'<table:table-row table:number-rows-repeated="{repeated}">' + "".join(
        f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in cells)
        + "</table:table-row>")


ODS = ods(ods_row("Pump", "Fills") + ods_row("P1", "the tánk") +
          '<table:table-row table:number-rows-repeated="1048000"><table:table-cell '
          'table:number-columns-repeated="16384"/></table:table-row>')


def test_an_open_document():
    assert read("a.ods", ODS) == ["## Pumps", "| Pump | Fills |\n|---|---|\n| P1 | the tánk |"]


FAR = book(Sheet1=[("a",)])
FAR = zipped(parts(FAR) | {"xl/worksheets/sheet1.xml": parts(FAR)["xl/worksheets/sheet1.xml"].replace(
    b"</row>", b'</row><row r="1048576"><c r="XFD1048576" t="str"><v>b</v></c></row>')})


@pytest.mark.parametrize(("name", "data", "expected"), [
    ("a.xlsx", FAR, "spans 17,179,869,184 cells"),
    ("a.ods", ods(ods_row("x", repeated=99_000_000)), "spans 99,000,000 cells"),
    ("a.xlsx", b"\xd0\xcf\x11\xe0" + b"x" * 600, "encrypted"),
    ("a.xlsx", zipped({"a": "b"}), "not a spreadsheet"),
    ("a.xlsx", zipped({"xl/workbook.xml": "<a"}), "damaged"),
    ("a.xlsx", book(Sheet1=PUMPS)[:900], "damaged"),
    ("a.xlsx", book(Sheet1=[]), "without text"),
])
def test_what_cannot_be_read_is_named(name, data, expected):
    assert expected in reason(name, data)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(Unreadable, match="needs python_calamine") as caught:
        extract("a.xlsx", ODS)
    assert "phoenix-forge[docs]" in caught.value.fix


WHOLE = book(Pumps=PUMPS, Tanks=[("Tank", "Full"), ("upper", True)])


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20), inside=st.booleans(),
       name=st.sampled_from(["xlsx", "ods"]))
def test_a_corrupted_file_is_read_or_refused(seed, count, inside, name):
    chance = random.Random(seed)
    whole = WHOLE if name == "xlsx" else ODS
    if inside:
        files = parts(whole)
        part = chance.choice([part for part in sorted(files) if part.endswith(".xml")])
        assert reason(f"a.{name}", zipped(files | {part: damaged(files[part], chance, count)})) != ""
    else:
        assert reason(f"a.{name}", damaged(whole, chance, count)) != ""
