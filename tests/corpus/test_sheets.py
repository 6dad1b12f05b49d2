"""Spreadsheets as XlsxWriter and a hand make them: tables, dates, merged and hidden things, and what cannot be read."""

import base64
import datetime
import io
import random
import struct
import sys
import zlib

import pytest
from corpus.office_files import damaged, parts, read, reason, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import Unreadable, extract, structure

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
    return [
        block.rows for block in structure(name, extract(name, data)).blocks if block.kind == "table"
    ]


def test_each_sheet_is_a_heading_and_a_table():
    data = book(
        Pumps=PUMPS, Empty=[], Tanks=[("Tank", "Full"), ("upper", True), ("a | b", 0.1 + 0.2)]
    )
    assert read("a.xlsx", data) == [
        "## Pumps",
        "| Pump | Turns | Since |\n|---|---|---|\n| P1 | 1450 | 1987-05-01 |\n| P2 | 2900.5 |  |",
        "## Tanks",
        "| Tank | Full |\n|---|---|\n| upper | TRUE |\n| a \\| b | 0.3 |",
    ]


def test_a_single_sheet_with_a_programs_name_has_no_heading():
    assert read("a.xlsx", book(Sheet1=PUMPS))[0].startswith("| Pump")
    assert read("a.xlsx", book(Pumps=PUMPS))[0] == "## Pumps"


def test_tables_of_fifty_rows_have_the_header_each():
    made = tables("a.xlsx", book(Sheet1=[("Day", "Flow"), *((f"day {i}", i) for i in range(120))]))
    assert [(rows[0], len(rows)) for rows in made] == [
        (("Day", "Flow"), 51),
        (("Day", "Flow"), 51),
        (("Day", "Flow"), 21),
    ]


def test_empty_rows_part_tables_only_before_a_header():
    rows = [
        ("The pumps of the station",),
        ("",),
        *PUMPS,
        ("",),
        ("P3", 7),
        ("",),
        ("Tank", "Litres"),
        ("upper", 900),
    ]
    made = read("a.xlsx", book(Sheet1=rows))
    assert made[0] == "The pumps of the station"
    assert tables("a.xlsx", book(Sheet1=rows)) == [
        (
            ("Pump", "Turns", "Since"),
            ("P1", "1450", "1987-05-01"),
            ("P2", "2900.5", ""),
            ("P3", "7", ""),
        ),
        (("Tank", "Litres"), ("upper", "900")),
    ]


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
        (("Station", "Pump", "Turns"), ("North", "P1", "1450"), ("North", "P2", ""))
    ]


def test_a_hidden_sheet_is_named_and_not_read():
    made = extract("a.xlsx", book(Pumps=PUMPS, Old_hidden=[("secret", "x"), ("y", "z")]))
    assert made.notes == ("sheet Old_hidden: hidden; not read",)
    assert "secret" not in made


OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def ods(rows):
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": (
                f'<office:document-content xmlns:office="{OFFICE}office:1.0" xmlns:table="{OFFICE}table:1.0" '
                f'xmlns:text="{OFFICE}text:1.0"><office:body><office:spreadsheet><table:table table:name="Pumps">{rows}'
                "</table:table></office:spreadsheet></office:body></office:document-content>"
            ),
            "META-INF/manifest.xml": '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0'
            '"/>',
        }
    )


def ods_row(*cells, repeated=1):
    return (
        f'<table:table-row table:number-rows-repeated="{repeated}">'
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>'
            for cell in cells
        )
        + "</table:table-row>"
    )


ODS = ods(
    ods_row("Pump", "Fills")
    + ods_row("P1", "the tánk")
    + '<table:table-row table:number-rows-repeated="1048000"><table:table-cell '
    'table:number-columns-repeated="16384"/></table:table-row>'
)


def test_an_open_document():
    assert read("a.ods", ODS) == ["## Pumps", "| Pump | Fills |\n|---|---|\n| P1 | the tánk |"]


FAR = book(Sheet1=[("a",)])
FAR = zipped(
    parts(FAR)
    | {
        "xl/worksheets/sheet1.xml": parts(FAR)["xl/worksheets/sheet1.xml"].replace(
            b"</row>", b'</row><row r="1048576"><c r="XFD1048576" t="str"><v>b</v></c></row>'
        )
    }
)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.xlsx", FAR, "spans 17,179,869,184 cells"),
        ("a.ods", ods(ods_row("x", repeated=99_000_000)), "spans 99,000,000 cells"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + b"x" * 600, "damaged"),
        ("a.xlsx", zipped({"a": "b"}), "not a spreadsheet"),
        ("a.xlsx", zipped({"xl/workbook.xml": "<a"}), "damaged"),
        ("a.xlsx", book(Sheet1=PUMPS)[:900], "damaged"),
        ("a.xlsx", book(Sheet1=[]), "without text"),
    ],
)
def test_what_cannot_be_read_is_named(name, data, expected):
    assert expected in reason(name, data)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(Unreadable, match="needs python_calamine") as caught:
        extract("a.xlsx", ODS)
    assert "phoenix-forge[docs]" in caught.value.fix


WHOLE = book(Pumps=PUMPS, Tanks=[("Tank", "Full"), ("upper", True)])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 20),
    inside=st.booleans(),
    name=st.sampled_from(["xlsx", "ods"]),
)
def test_a_corrupted_file_is_read_or_refused(seed, count, inside, name):
    chance = random.Random(seed)
    whole = WHOLE if name == "xlsx" else ODS
    if inside:
        files = parts(whole)
        part = chance.choice([part for part in sorted(files) if part.endswith(".xml")])
        assert (
            reason(f"a.{name}", zipped(files | {part: damaged(files[part], chance, count)})) != ""
        )
    else:
        assert reason(f"a.{name}", damaged(whole, chance, count)) != ""


# Two sheets by xlwt: "Pumps", of which the last has an umlaut, and "Plan", which is hidden.
XLS = zlib.decompress(
    base64.b85decode(
        "c-rk)O=uHA6#izr`Kw8j^bcC0l!8@jixd&Ov{6BOvcw-yM9{R^Lv53mO?#*Zt=1d`!IR>pP!D>j3gQnc=*@#r(Ssm}i5@*EDjwRd@4aklS|c=|!N"
        "`8gyqS6P-p<>3GjC?+#e6t3bGtc<Rp><(mMkCK1w2K`m#>6C?Uu#GeD0-WIjAW3yyQr?3l9U&J?umFcNQ9M=}(CQ?<pO_82U$(Mr#?dTWp9awxLJ"
        "qH1{-IrBs6^v8z_-pwK#@H%0c5(4E4$Ahd^MGwLYjBmEsa?0I}dYm>Gbq6+s!=Z$c>(ST<>kI!6GIawEWnM1LW3TtT5{g?&0w9iNyCf9?whH7Av("
        "3MDZ#p4;&le=f})oKO4<k$6+R)=3+z5?;TujG4v!}pRCSMx7vIxq$6gyPAZMgUuNZgC+xkr+#*;YXdDr-qK`NG!R4?Xt=_ksQmofI|~zGDZ2pq2!"
        "=J3nAJ~l|J*^JA>p>#-M48S9AE6a1mM&E&{TM{6ymjN;xb`DMZ#TT>tcP-#|2STsTv*MdUV;4Qw?moMjDCu923iW!fPcTZEpIx2~6Rv(S3_I?CIl"
        "4R&Ggw8)&7)^_S=o8VPsV?lWnmD3;h-)~8Oh-{|vTwnH7{oL!w4BBX8i<3S-)96&4>dIxtgGfGCcF1`vwCR`d<JCg8?Uub;2C>Ksjt~}_tMTZl<("
        "g)X6>F;^+Df!}JRVd3O0;h@a`-#>nL{G$X+`uj(c=+5tySATS$Bte*4$L%UVF7#++{HemOoJrAFE|rsXkUkeeB|66OSs2jj96&4jede;K0E@0wss"
        "g+>u+CpN8Cl&tu=~EK*u>u1Wq|9Ka|&<Md0p2T96JOqMi%8sSp;cd0e%<nId^hpBfH!x#`dhD)BmbYNG7-?L`L(4SjErS`v6ik*MC{~xma2@U"
    )
)


def record(kind, body=b""):
    """Of a binary workbook: its kind and length, seven bits a byte ([MS-XLSB] 2.1.4)."""

    def number(value):
        return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)

    return number(kind) + number(len(body)) + body


def xlsb(cells):
    """One sheet of (row, column, text or number)."""

    def text(value):
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    book = (
        record(131)
        + record(143)
        + record(156, struct.pack("<II", 0, 1) + text("rId1") + text("Pumps"))
        + record(144)
        + record(132)
    )
    rows = b""
    for row in sorted({row for row, _, _ in cells}):
        rows += record(0, struct.pack("<II", row, 0) + bytes(9))
        for _, column, value in (cell for cell in cells if cell[0] == row):
            place = struct.pack("<II", column, 0)
            rows += (
                record(6, place + text(value))
                if isinstance(value, str)
                else record(5, place + struct.pack("<d", value))
            )
    sheet = (
        record(129)
        + record(148, struct.pack("<IIII", 0, 1, 0, 1))
        + record(145)
        + rows
        + record(146)
        + record(130)
    )
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
    return zipped(
        {
            "xl/workbook.bin": book,
            "xl/worksheets/sheet1.bin": sheet,
            "xl/_rels/workbook.bin.rels": (
                '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
                f'Type="{kind}" Target="worksheets/sheet1.bin"/></Relationships>'
            ),
        }
    )


def test_older_and_binary_workbooks():
    assert tables("a.xls", XLS) == [
        (("Pump", "Turns", "Since"), ("P1", "1450", "1987-05-01"), ("Größe", "2900.5", ""))
    ]
    assert extract("a.xls", XLS).notes == ("sheet Plan: hidden; not read",)
    pumps = [(0, 0, "Pump"), (0, 1, "Turns"), (1, 0, "P1"), (1, 1, 1450.0)]
    assert tables("a.xlsb", xlsb(pumps)) == [(("Pump", "Turns"), ("P1", "1450"))]
    assert "spans 17,179,869,184 cells" in reason(
        "a.xlsb", xlsb([*pumps, (1_048_575, 16_383, "x")])
    )


def test_a_web_page_called_a_workbook():
    pytest.importorskip("selectolax")
    page = b"<html><table><tr><th>Pump</th><th>Turns</th></tr><tr><td>P1</td><td>1450</td></tr></table></html>"
    assert tables("a.xls", page) == [(("Pump", "Turns"), ("P1", "1450"))]
