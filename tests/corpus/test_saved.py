"""Web pages in one file, files of Office before 2007, and charts."""

import io
import plistlib

import pytest
from corpus.office_files import read

from phoenix_forge.corpus.readers import Unreadable, extract

pytest.importorskip("selectolax")

RUSSIAN = (
    "Маяк на острове Скарн был построен в 1874 году инженером Идой Хольм после гибели кораблей."
)
JAPANESE = (
    "島の灯台は一八七四年に技師によって建てられた。その冬に十一隻の船が岩礁で沈んだからである。"
)
ARABIC = "بنيت المنارة في الجزيرة على يد مهندسة بعد أن غرقت السفن في الشتاء، ويشعل الحراس المصباح كل مساء."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (ARABIC, "windows-1256"),
        ("Die Wärter zünden jeden Abend früh die Lampe an.", "cp1252"),
    ],
)
def test_a_page_that_does_not_say_its_encoding(text, name):
    assert read("a.html", f"<html><body><p>{text}</p></body></html>".encode(name)) == [text]


def test_a_page_saved_as_a_mail():
    data = (
        b"From: <Saved by Blink>\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/related; type="text/html"; boundary="b"\r\n\r\n--b\r\n'
        b"Content-Type: text/html; charset=windows-1251\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"<h1>=CC=E0=FF=EA</h1><p>=CE=F1=F2=\r\n=F0=EE=E2</p>\r\n--b\r\n"
        b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b--\r\n"
    )
    assert read("a.mhtml", data) == ["# Маяк", "Остров"]
    with pytest.raises(Unreadable, match="not a saved web page"):
        extract("a.mht", b"Subject: x\r\n\r\nplain")


def test_a_web_archive():
    page = {
        "WebResourceData": "<p>Größe</p>".encode("cp1252"),
        "WebResourceTextEncodingName": "windows-1252",
    }
    for form in (plistlib.FMT_BINARY, plistlib.FMT_XML):
        assert read("a.webarchive", plistlib.dumps({"WebMainResource": page}, fmt=form)) == [
            "Größe"
        ]
    for broken in (b"bplist00xx", plistlib.dumps({"a": 1})):
        with pytest.raises(Unreadable, match="web archive"):
            extract("a.webarchive", broken)


def test_office_before_2007_is_refused_by_name():
    for name, part, newer in (
        ("a.doc", "WordDocument", "docx"),
        ("a.ppt", "PowerPoint Document", "pptx"),
    ):
        with pytest.raises(Unreadable, match="from before 2007") as caught:
            extract(name, b"\xd0\xcf\x11\xe0" + bytes(500) + part.encode("utf-16-le"))
        assert f"--convert-to {newer}" in caught.value.fix
    assert read("a.doc", rb"{\rtf1 Rich after all.\par}") == ["Rich after all."]
    assert read("a.doc", b"<html><p>A page after all.</p></html>") == ["A page after all."]


def test_a_chart_of_a_slide_and_of_a_letter_is_a_table():
    pptx = pytest.importorskip("pptx")
    pytest.importorskip("mammoth")
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("Pump", (1450, 0.1 + 0.2))
    data.add_series("Tank", (None, 900))
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Turns"
    drawn = slide.shapes.add_chart(
        XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 3000000, 3000000, data
    ).chart
    drawn.has_title = True
    drawn.chart_title.text_frame.text = "Turns by year"
    made = io.BytesIO()
    deck.save(made)
    table = "| Category | Pump | Tank |\n|---|---|---|\n| 2023 | 1450 |  |\n| 2024 | 0.3 | 900 |"
    assert read("a.pptx", made.getvalue()) == ["## Turns", "Turns by year", table]
    part = next(each.blob for each in deck.part.package.iter_parts() if "charts" in each.partname)
    assert read("a.docx", letter(part)) == ["Before", "Turns by year", table, "After"]


def letter(chart):
    from corpus.office_files import zipped

    word, office = (
        "http://schemas.openxmlformats.org/" + each
        for each in ("wordprocessingml/2006/main", "officeDocument/2006/relationships")
    )
    drawing = (
        f'<w:drawing><c:chart xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
        f'xmlns:r="{office}" r:id="rId9"/></w:drawing>'
    )
    relation = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'{relation}Id="a" Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'{relation}Id="rId9" Type="{office}/chart" Target="charts/chart1.xml"/>'
            "</Relationships>",
            "word/charts/chart1.xml": chart.decode(),
            "word/document.xml": f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>Before</w:t></w:r></w:p>'
            f"<w:p><w:r>{drawing}</w:r></w:p><w:p><w:r><w:t>After</w:t></w:r></w:p></w:body></w:document>",
        }
    )
