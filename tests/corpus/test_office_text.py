"""Word, HTML and notebooks: what their libraries pass over, and what in them is no text."""

import io
import json
import zipfile
from xml.etree import ElementTree

import pytest

from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.readers import Unreadable, extract, omml
from phoenix_forge.corpus.walk import File

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
M = "http://schemas.openxmlformats.org/officeDocument/2006/math"
MC = "http://schemas.openxmlformats.org/markup-compatibility/2006"
SHAPES = "http://schemas.microsoft.com/office/word/2010/wordprocessingShape"
PACKAGE, OFFICE = (
    "http://schemas.openxmlformats.org/package/2006",
    "http://schemas.openxmlformats.org/officeDocument/2006",
)
MAIN = "application/vnd.openxmlformats-officedocument.wordprocessingml"
SPACES = f'xmlns:w="{W}" xmlns:m="{M}" xmlns:mc="{MC}" xmlns:wps="{SHAPES}" xmlns:v="urn:schemas-microsoft-com:vml"'


def docx(body, **parts):
    """A Word file with that body, and footnotes and comments where they are given."""
    related = "".join(
        f'<Relationship Id="{name}" Type="{OFFICE}/relationships/{name}" Target="{name}.xml"/>'
        for name in parts
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml" '
        f'ContentType="{MAIN}.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r" Type='
        f'"{OFFICE}/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{related}</Relationships>',
        "word/document.xml": f"<w:document {SPACES}><w:body>{body}</w:body></w:document>",
        **{
            f"word/{name}.xml": f"<w:{name} {SPACES}>{content}</w:{name}>"
            for name, content in parts.items()
        },
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def p(*content):
    return f"<w:p>{''.join(content)}</w:p>"


def r(text):
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def mr(text):
    return f"<m:r><m:t>{text}</m:t></m:r>"


POWER = (
    f"<m:oMath>{mr('P=')}<m:f><m:num>{mr('ρgQH')}</m:num><m:den>{mr('η')}</m:den></m:f></m:oMath>"
)


def box(content, fallback=None):
    drawn = f"<w:drawing><wps:wsp><wps:txbx><w:txbxContent>{content}</w:txbxContent></wps:txbx></wps:wsp></w:drawing>"
    older = (
        ""
        if fallback is None
        else (
            f"<mc:Fallback><w:pict><v:textbox><w:txbxContent>{fallback}</w:txbxContent>"
            "</v:textbox></w:pict></mc:Fallback>"
        )
    )
    return f'<w:r><mc:AlternateContent><mc:Choice Requires="wps">{drawn}</mc:Choice>{older}</mc:AlternateContent></w:r>'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (p(r("The power is "), POWER, r(" here.")), "The power is $P=\\frac{ρgQH}{η}$ here."),
        (p(f"<m:oMathPara>{POWER}</m:oMathPara>"), "$P=\\frac{ρgQH}{η}$"),
        (
            p(r("Text."), box(p(r("In a box: "), POWER), p(r("Older")))),
            "Text.\n\nIn a box: $P=\\frac{ρgQH}{η}$",
        ),
        (p(r("Text."), box(p(r("Only here.")))), "Text.\n\nOnly here."),
        (
            p(
                r("Text."),
                "<w:r><w:drawing><wps:txbx><w:txbxContent>",
                p(r("Bare.")),
                "</w:txbxContent></wps:txbx></w:drawing></w:r>",
            ),
            "Text.\n\nBare.",
        ),
        (p(r("Outer."), box(p(r("One."), box(p(r("Within.")))))), "Outer.\n\nOne.\n\nWithin."),
        (p(r("Just words.")), "Just words."),
    ],
)
def test_equations_and_text_boxes_of_word_are_read(body, expected):
    pytest.importorskip("mammoth")
    assert extract("a.docx", docx(body)) == f"{expected}\n"


def test_footnotes_and_comments_of_word_are_read():
    pytest.importorskip("mammoth")
    body = p(
        r("Noted"),
        '<w:r><w:footnoteReference w:id="2"/></w:r>',
        r(" and asked"),
        '<w:r><w:commentReference w:id="0"/></w:r>',
    )
    made = extract(
        "a.docx",
        docx(
            body,
            footnotes=f'<w:footnote w:id="2">{p(r("A note: "), POWER)}</w:footnote>',
            comments=f'<w:comment w:id="0" w:author="Ada B" w:initials="AB">{p(r("Is this so?"))}</w:comment>',
        ),
    )
    assert made == (
        "Noted[1] and asked[AB1]\n\n1. A note: $P=\\frac{ρgQH}{η}$\n\n"
        "- **Comment [AB1]**: Is this so?\n"
    )


@pytest.mark.parametrize("cut", [40, 400, 900])
def test_a_damaged_word_file_is_said_to_be_damaged(cut):
    pytest.importorskip("mammoth")
    with pytest.raises(Unreadable):
        extract("a.docx", docx(p(POWER))[:cut])


def test_a_word_file_with_broken_xml_is_said_to_be_damaged():
    pytest.importorskip("mammoth")
    with pytest.raises(Unreadable, match="damaged"):
        extract("a.docx", docx(p(POWER) + "<w:p>"))


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (f"<m:sSup><m:e>{mr('x')}</m:e><m:sup>{mr('2')}</m:sup></m:sSup>", "x^2"),
        (
            f"<m:sSubSup><m:e>{mr('a+b')}</m:e><m:sub>{mr('i')}</m:sub><m:sup>{mr('10')}</m:sup></m:sSubSup>",
            "{a+b}_i^{10}",
        ),
        (
            f"<m:rad><m:radPr><m:degHide m:val='1'/></m:radPr><m:deg/><m:e>{mr('2')}</m:e></m:rad>",
            "\\sqrt{2}",
        ),
        (f"<m:rad><m:deg>{mr('3')}</m:deg><m:e>{mr('x')}</m:e></m:rad>", "\\sqrt[3]{x}"),
        (
            f"<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{mr('i=1')}</m:sub><m:sup>{mr('n')}</m:sup><m:e>{mr('i')}"
            "</m:e></m:nary>",
            "\\sum_{i=1}^n i",
        ),
        (f"<m:nary><m:sub/><m:sup/><m:e>{mr('f')}</m:e></m:nary>", "\\int f"),
        (
            f"<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=']'/></m:dPr><m:e>{mr('a')}</m:e><m:e>{mr('b')}</m:e></m:d>",
            "[a|b]",
        ),
        (f"<m:func><m:fName>{mr('sin')}</m:fName><m:e>{mr('x')}</m:e></m:func>", "\\sin x"),
        (
            f"<m:m><m:mr><m:e>{mr('1')}</m:e><m:e>{mr('2')}</m:e></m:mr><m:mr><m:e>{mr('3')}</m:e><m:e>{mr('4')}</m:e></m:mr>"
            "</m:m>",
            "\\begin{matrix}1 & 2 \\\\ 3 & 4\\end{matrix}",
        ),
        (
            f"<m:acc><m:accPr><m:chr m:val='\u20d7'/></m:accPr><m:e>{mr('v')}</m:e></m:acc>",
            "\\vec{v}",
        ),
        (
            f"<m:f><m:fPr><m:type m:val='lin'/></m:fPr><m:num>{mr('a')}</m:num><m:den>{mr('b')}</m:den></m:f>",
            "a/b",
        ),
        (f"<m:unknown><m:e>{mr('kept')}</m:e></m:unknown>", "kept"),
    ],
)
def test_equations_are_written_as_latex(inner, expected):
    assert (
        omml.latex(ElementTree.fromstring(f'<m:oMath xmlns:m="{M}">{inner}</m:oMath>')) == expected
    )


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            "<main><h1>One</h1><p>1450</p></main><main><p>2900</p></main><section><p>B2</p></section><nav>no</nav>",
            "# One\n\n1450\n\n2900\n\nB2\n",
        ),
        (
            "<article><h2>A</h2><p>a</p></article><article><h2>B</h2><p>b</p></article>",
            "## A\n\na\n\n## B\n\nb\n",
        ),
        ("<main><article>a</article><article>b</article></main><p>beside</p>", "a\n\nb\n"),
        ("<main hidden><p>old</p></main><main><p>new</p></main><p>beside</p>", "new\n"),
        ("<main><p>out</p><div role=main><p>in</p></div></main><p>beside</p>", "out\n\nin\n"),
        (
            "<p>x<sup><a href='#n'>1</a></sup></p><ol><li>Note <a href='#r'>↩</a></li></ol>",
            "x1\n\n1. Note\n",
        ),
        (
            "<p>So <math><mi>x</mi><annotation encoding='application/x-tex'>x^2</annotation></math><span aria-hidden=true "
            "class=katex-html>x2</span> is.</p>",
            "So $x^2$ is.\n",
        ),
        (
            "<p>So <script type='math/tex'>y_1</script> is <math alttext='z'><mi>z</mi></math>.</p>",
            "So $y_1$ is $z$.\n",
        ),
        ("<details hidden=until-found><p>seen</p></details><p hidden>unseen</p>", "seen\n"),
    ],
)
def test_all_of_a_page_is_read(page, expected):
    pytest.importorskip("selectolax")
    assert extract("a.html", f"<html><body>{page}</body></html>".encode()) == expected


def output(**data):
    return {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}


PLAIN, HTML, PNG, TEX, MD = "text/plain", "text/html", "image/png", "text/latex", "text/markdown"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (output(**{PLAIN: "42"}), "```output\n42\n```"),
        (output(**{PLAIN: "   a\n0  1", HTML: "<table><tr><td>1"}), "```output\n   a\n0  1\n```"),
        (
            output(
                **{
                    PLAIN: "   a   \\\n0  1   \n\n   b  \n0  2",
                    HTML: "<style>td {}</style><table><thead><tr><th><th>a<th>b"
                    "<tbody><tr><th>0<td>1<td>2</table>",
                }
            ),
            "|  | a | b |\n|---|---|---|\n| 0 | 1 | 2 |",
        ),
        (output(**{PNG: "iVBOR", PLAIN: "<Figure size 640x480 with 1 Axes>"}), ""),
        (output(**{PLAIN: "<Figure size 640x480 with 1 Axes>"}), ""),
        (output(**{PLAIN: "<matplotlib.lines.Line2D at 0x7f1c>"}), ""),
        (output(**{PLAIN: "[<matplotlib.lines.Line2D at 0x7f1c>]"}), ""),
        (output(**{PLAIN: "<IPython.core.display.HTML object>", HTML: "<b>x</b>"}), ""),
        (output(**{PLAIN: "<__main__.Pump at 0x7f1c2a>"}), ""),
        (output(**{PLAIN: "x", TEX: "$x^2$"}), "$x^2$"),
        (output(**{MD: "**Done**", PLAIN: "<IPython.core.display.Markdown object>"}), "**Done**"),
        (
            {"output_type": "stream", "name": "stdout", "text": "before " + "QUJD" * 80 + " after"},
            "```output\nbefore … after\n```",
        ),
    ],
)
def test_outputs_of_a_notebook_are_kept_where_they_are_text(made, expected):
    pytest.importorskip("selectolax")  # for tables
    cell = {
        "cell_type": "code",
        "source": "f()",
        "outputs": [made],
        "metadata": {},
        "execution_count": 1,
    }
    book = json.dumps({"nbformat": 4, "metadata": {}, "cells": [cell]}).encode()
    assert extract("a.ipynb", book).strip() == f"```python\nf()\n```\n\n{expected}".strip()


def test_a_notebook_hides_what_markdown_hides():
    cell = {"cell_type": "markdown", "source": "# T {#t}\n<!-- no -->\nText.", "metadata": {}}
    book = json.dumps({"nbformat": 4, "metadata": {}, "cells": [cell]}).encode()
    assert load(File(None, "a.ipynb", "a.ipynb"), "redact", book).document.text == "# T\nText.\n"
