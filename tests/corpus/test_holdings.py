"""What a file holds beside running text, counted in the file itself: real small files of each kind."""

import base64
import io
import json

import pytest
from corpus.office_files import zipped
from corpus.test_office_text import POWER, M, box, docx, p, r
from corpus.test_pdf import pdf
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus import holdings
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.readers import ocr
from phoenix_forge.corpus.walk import File

DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
PICTURE = (
    "<w:r><w:drawing><a xmlns:pic='http://x/pic'><pic:pic><pic:x/></pic:pic></a></w:drawing></w:r>"
)
NO_LETTERS = "<m:oMath><m:r/></m:oMath>"
DELETED = f"<w:del>{POWER}</w:del>"
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"
MATH = "http://www.w3.org/1998/Math/MathML"


@pytest.fixture(autouse=True)
def without_recognition(monkeypatch):
    """As without the extra `ocr`: a file must not be counted otherwise where it is there."""
    monkeypatch.setattr(ocr, "is_installed", lambda: False)


def held(name, data, tmp_path):
    """Kind → (in the file, read), and the document, None where none was made."""
    data = data if isinstance(data, bytes) else data.encode()
    loaded = load(File(tmp_path / name, name, name, len(data)), "redact", data)
    return {kind: (total, read) for kind, total, read in loaded.held}, loaded.document


def test_word_has_equations_and_pictures(tmp_path):
    pytest.importorskip("mammoth")
    boxed = p(r("Text."), box(p(POWER), p(POWER)))
    body = p(r("The power "), POWER, r(" is high."), NO_LETTERS, DELETED) + p(PICTURE) + boxed
    made, document = held("a.docx", docx(body), tmp_path)
    assert made == {
        "equations": (3, 2),
        "pictures": (1, 0),
    }  # once in the text, once in the box, and the empty one
    assert document.text.count("$P=") == 2


def test_a_word_file_of_a_picture_alone_is_counted_and_left_out(tmp_path):
    pytest.importorskip("mammoth")
    assert held("a.docx", docx(p(PICTURE)), tmp_path) == ({"pictures": (1, 0)}, None)


def test_slides_have_pictures_and_equations_and_some_no_text(tmp_path):
    pptx = pytest.importorskip("pptx")
    deck = pptx.Presentation()
    slides = [deck.slides.add_slide(deck.slide_layouts[layout]) for layout in (5, 6)]
    slides[0].shapes.title.text = "Pumps"
    slides[1].shapes.add_picture(io.BytesIO(DOT), 0, 0)
    packed = io.BytesIO()
    deck.save(packed)
    made, document = held("a.pptx", packed.getvalue(), tmp_path)
    assert made == {"slides": (2, 1), "pictures": (1, 0)}
    assert document.text == "## Pumps\n"
    equation = (
        f"<a:m xmlns:a='http://schemas.microsoft.com/office/drawing/2010/main' xmlns:m='{M}'>{POWER}</a:m>"
        "</a:p>"
    )
    with_equation = _changed(packed.getvalue(), "ppt/slides/slide1.xml", "</a:p>", equation)
    made, document = held("a.pptx", with_equation, tmp_path)
    assert made["equations"] == (1, 1)
    assert "Pumps$P=\\frac{ρgQH}{η}$" in document.text


def _changed(data, part, old, new):
    from corpus.office_files import parts

    files = parts(data)
    return zipped(files | {part: files[part].decode().replace(old, new, 1)})


def test_sheets_without_cells(tmp_path):
    pytest.importorskip("python_calamine")
    xlsxwriter = pytest.importorskip("xlsxwriter")
    packed = io.BytesIO()
    book = xlsxwriter.Workbook(packed)
    full, empty = book.add_worksheet("Pumps"), book.add_worksheet("Empty")
    for i, row in enumerate((("Pump", "Turns"), ("P1", 1450))):
        full.write_row(i, 0, row)
    chart = book.add_chart({"type": "line"})
    chart.add_series({"values": "=Pumps!$B$2:$B$2"})
    book.add_chartsheet("Curve").set_chart(chart)
    empty.insert_image("A1", "dot.png", {"image_data": io.BytesIO(DOT)})
    book.close()
    made, document = held("a.xlsx", packed.getvalue(), tmp_path)
    assert made == {"sheets": (3, 1), "pictures": (1, 0)}
    assert "1450" in document.text


def drawn(width, height):
    return f"q {width} 0 0 {height} 50 300 cm BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q".encode()


def test_pages_that_are_pictures_and_pages_that_have_some(tmp_path):
    pytest.importorskip("pypdfium2")
    words = b"BT /F0 10 Tf 60 700 Td (The lamp of the tower is lit at dusk by one of two keepers.) Tj ET"
    data = pdf(words, drawn(500, 700), words + b"\n" + drawn(200, 100) + b"\n" + drawn(5, 5), b"")
    made, _ = held("a.pdf", data, tmp_path)
    assert made == {"pages": (4, 2), "pictures": (1, 0)}  # a rule of five points shows nothing
    assert held("a.pdf", pdf(drawn(500, 700)), tmp_path) == ({"pages": (1, 0)}, None)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "a.md",
            "# Pumps\n\n![a pump](pump.png) and `![code](x.png)`\n\n<img src='b.png'>\n\n![[c.png]]\n",
            {"pictures": (3, 0)},
        ),
        ("a.md", "# Pumps\n\nWords with $x^2$ alone.\n", {}),
        (
            "a.rst",
            "Pumps\n=====\n\n.. image:: a.png\n\n.. |x| image:: b.png\n\nText.\n",
            {"pictures": (2, 0)},
        ),
        (
            "a.adoc",
            "= Pumps\n\nimage::a.png[A pump]\n\nText image:b.png[] here.\n",
            {"pictures": (2, 0)},
        ),
        (
            "a.org",
            "* Pumps\nText.\n[[file:a.png]]\n[[https://example.org][no picture]]\n",
            {"pictures": (1, 0)},
        ),
        (
            "a.tex",
            "\\section{Pumps}\nText.\n\\includegraphics[width=3cm]{a}\n% \\includegraphics{b}\n",
            {"pictures": (1, 0)},
        ),
        (
            "a.html",
            "<h1>P</h1><p>Text <img src=a.png> <math><mi>x</mi></math><math></math></p><!-- <img> -->"
            "<svg aria-hidden='true'></svg><svg><path/></svg>",
            {"equations": (2, 1), "pictures": (2, 0)},
        ),
    ],
)
def test_texts_name_their_pictures(name, text, expected, tmp_path):
    if name.endswith("html"):
        pytest.importorskip("selectolax")
    assert held(name, text, tmp_path)[0] == expected


def test_notebooks_draw(tmp_path):
    shown = {
        "output_type": "display_data",
        "data": {"image/png": "iVBO", "text/plain": ["<Figure size 1x1>"]},
    }
    book = {
        "nbformat": 4,
        "metadata": {},
        "cells": [
            {"cell_type": "markdown", "source": "# Pumps\n\n![one](a.png)"},
            {"cell_type": "code", "source": "plot()", "outputs": [shown, shown]},
        ],
    }
    assert held("a.ipynb", json.dumps(book), tmp_path)[0] == {"pictures": (3, 0)}


def test_open_documents_have_formulas_and_pictures(tmp_path):
    frames = (
        '<draw:frame><draw:object x:href="./Object 1"/><draw:image x:href="r"/></draw:frame>'
        '<draw:frame><draw:image x:href="Pictures/a.png"/></draw:frame>'
    )
    spaces = (
        f'xmlns:o="{OFFICE}office:1.0" xmlns:t="{OFFICE}text:1.0" xmlns:draw="{OFFICE}drawing:1.0"'
    )
    content = (
        f'<o:document-content {spaces} xmlns:x="http://www.w3.org/1999/xlink"><o:body><o:text><t:p>Words.{frames}'
        "</t:p></o:text></o:body></o:document-content>"
    )
    formula = f'<math xmlns="{MATH}"><mi>x</mi><annotation encoding="StarMath 5.0">x over y</annotation></math>'
    data = zipped({"content.xml": content, "Object 1/content.xml": formula})
    made, document = held("a.odt", data, tmp_path)
    assert made == {"equations": (1, 1), "pictures": (1, 0)}
    assert document.text == "Words.`x over y`\n"


def test_books_have_the_pictures_of_their_pages(tmp_path):
    pytest.importorskip("selectolax")
    package = (
        '<package><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    data = zipped(
        {
            "META-INF/container.xml": '<c><rootfile full-path="b.opf"/></c>',
            "b.opf": package,
            "a.xhtml": "<html><body><p>Text</p><img src='a.png'/></body></html>",
        }
    )
    assert held("a.epub", data, tmp_path)[0] == {"pictures": (1, 0)}


@given(
    st.binary(max_size=60),
    st.sampled_from([".docx", ".odt", ".epub", ".html", ".md", ".ipynb", ".rtf", ".tex"]),
)
def test_any_bytes_are_counted(data, suffix):
    for start in (b"", b"PK\x03\x04"):
        holdings.counted(f"a{suffix}", start + data, "text")
