"""OpenDocument texts and presentations written here, as LibreOffice lays them out."""

import random

import pytest
from corpus.office_files import damaged, parts, read, reason, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import extract, structure

O = "urn:oasis:names:tc:opendocument:xmlns:"  # noqa: E741
SPACES = " ".join(
    f'xmlns:{name}="{O}{name}:1.0"'
    for name in ("office", "text", "table", "draw", "style", "presentation")
)
STYLES = """<office:automatic-styles><style:style style:name="P1" style:parent-style-name="Title"/>
<style:style style:name="P2" style:parent-style-name="Preformatted_20_Text"/>
<text:list-style style:name="L1"><text:list-level-style-number/></text:list-style></office:automatic-styles>"""


def document(body, kind="text", manifest=""):
    return zipped(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "META-INF/manifest.xml": f"<m>{manifest}</m>",
            "content.xml": f'<office:document-content {SPACES} xmlns:xlink="http://www.w3.org/1999/xlink">{STYLES}'
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body>"
            "</office:document-content>",
        }
    )


def p(text, style="Standard"):
    return f'<text:p text:style-name="{style}">{text}</text:p>'


BODY = "".join(
    [
        "<text:tracked-changes><text:changed-region><text:deletion>"
        + p("gone")
        + "</text:deletion></text:changed-region>"
        "</text:tracked-changes>",
        p("The pümps", "P1"),
        '<text:h text:outline-level="2">Before<text:s/>the start</text:h>',
        p("# Open<text:tab/>it."),
        p(
            'See <text:a xlink:href="https://example.org/a">the <text:span>plan</text:span></text:a><text:note>'
            "<text:note-citation>1</text:note-citation><text:note-body>"
            + p("Of 1987.")
            + "</text:note-body></text:note>."
        ),
        '<text:list text:style-name="L1"><text:list-item>'
        + p("Open the valve.")
        + "<text:list><text:list-item>"
        + p("By hand.")
        + "</text:list-item></text:list></text:list-item><text:list-item>"
        + p("Wait.")
        + "</text:list-item></text:list>",
        "<text:list><text:list-item>" + p("loose") + "</text:list-item></text:list>",
        p('x =<text:s text:c="2"/>1', "P2"),
        p("y<text:line-break/>z", "P2"),
        "<table:table><table:table-header-rows><table:table-row><table:table-cell>"
        + p("Pump")
        + "</table:table-cell>"
        "<table:table-cell>"
        + p("Turns")
        + "</table:table-cell><table:table-cell>"
        + p("Fills")
        + "</table:table-cell>"
        "</table:table-row></table:table-header-rows><table:table-row><table:table-cell>"
        + p("P1")
        + "</table:table-cell>"
        '<table:table-cell table:number-columns-spanned="2">' + p("14|50") + "</table:table-cell>"
        "<table:covered-table-cell/></table:table-row><table:table-row><table:covered-table-cell/><table:table-cell "
        'table:number-columns-repeated="2">'
        + p("7")
        + "</table:table-cell></table:table-row></table:table>",
        p(
            "Around.<draw:frame><draw:text-box>" + p("In a box.") + "</draw:text-box></draw:frame>"
            "<office:annotation>" + p("a remark") + "</office:annotation>"
        ),
        "<text:section>" + p("In a section.") + "</text:section>",
        "<text:table-of-content>" + p("Contents") + "</text:table-of-content>",
        p(""),
    ]
)
TOLD = [
    "# The pümps",
    "## Before the start",
    "\\# Open it.",
    "See [the plan](https://example.org/a) (Of 1987.).",
    "1. Open the valve.\n   1. By hand.\n2. Wait.",
    "- loose",
    "```\nx =  1\ny\nz\n```",
    "| Pump | Turns | Fills |\n|---|---|---|\n| P1 | 14\\|50 | 14\\|50 |\n| P1 | 7 | 7 |",
    "Around.",
    "In a box.",
    "In a section.",
]


def test_a_text():
    assert read("a.odt", document(BODY)) == TOLD
    assert structure("a.odt", extract("a.odt", document(BODY))).title == "The pümps"


def test_a_presentation():
    pages = (
        '<draw:page><draw:frame presentation:class="outline"><draw:text-box><text:list><text:list-item>'
        + p("Open it.")
        + "</text:list-item></text:list></draw:text-box></draw:frame>"
        '<draw:frame presentation:class="title"><draw:text-box>'
        + p("Start")
        + "</draw:text-box></draw:frame>"
        '<draw:frame presentation:class="page-number"><draw:text-box>'
        + p("1")
        + "</draw:text-box></draw:frame>"
        '<presentation:notes><draw:frame presentation:class="notes"><draw:text-box>'
        + p("Say how.")
        + "</draw:text-box></draw:frame></presentation:notes></draw:page>"
        "<draw:page/><draw:page><draw:custom-shape>"
        + p("Alone.")
        + "</draw:custom-shape></draw:page>"
    )
    assert read("a.odp", document(pages, "presentation")) == [
        "## Start",
        "- Open it.",
        "Notes: Say how.",
        "## Slide 3",
        "Alone.",
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (document(""), "without text"),
        (document(p("x"), "chart"), "neither a text"),
        (document(p("x"), manifest='<m:encryption-data xmlns:m="urn:m"/>'), "encrypted"),
        (zipped({"a": "b"}), "not an OpenDocument"),
        (document(BODY)[:700], "damaged"),
        (zipped({"content.xml": "<a>"}), "damaged: ParseError"),
    ],
)
def test_what_cannot_be_read_is_named(data, expected):
    assert expected in reason("a.odt", data)


def test_a_cell_that_is_repeated_without_end_does_no_harm():
    cell = (
        '<table:table-cell table:number-columns-repeated="99999999999">'
        + p("x")
        + "</table:table-cell>"
    )
    rows = f"<table:table><table:table-row>{cell}</table:table-row></table:table>"
    assert len(extract("a.odt", document(rows))) < 2_000


def test_a_table_in_a_cell_is_part_of_the_cell():
    def table(*cells):
        made = "".join(f"<table:table-cell>{cell}</table:table-cell>" for cell in cells)
        return f"<table:table><table:table-row>{made}</table:table-row></table:table>"

    assert read("a.odt", document(table(p("a"), table(p("inner"))))) == [
        "|  |  |\n|---|---|\n| a | inner |"
    ]


WHOLE = document(BODY)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20), inside=st.booleans())
def test_a_corrupted_file_is_read_or_refused(seed, count, inside):
    chance = random.Random(seed)
    files = parts(WHOLE)
    changed = zipped(files | {"content.xml": damaged(files["content.xml"], chance, count)})
    assert reason("a.odt", changed if inside else damaged(WHOLE, chance, count)) != ""
