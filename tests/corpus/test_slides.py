"""PowerPoint files as python-pptx writes them, and what no program writes."""

import io
import random

import pytest
from corpus.office_files import damaged, parts, read, reason, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import extract, structure
from phoenix_forge.corpus.readers.noted import Noted

pptx = pytest.importorskip("pptx")


def saved(deck):
    made = io.BytesIO()
    deck.save(made)
    return made.getvalue()


def full():
    """A title slide; a list with levels and notes; a table; a slide without a title that has a group and a text box."""
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[0])
    first.shapes.title.text = "The pumps of the statión"
    first.placeholders[1].text = "As they were in May"
    second = deck.slides.add_slide(deck.slide_layouts[1])
    second.shapes.title.text = "Before the start"
    frame = second.placeholders[1].text_frame
    frame.text = "Open the valve"
    for text, level in (("by hand", 1), ("# Start the\vpump", 0)):
        added = frame.add_paragraph()
        added.text, added.level = text, level
    second.notes_slide.notes_text_frame.text = "Say which hand.\nWait."
    third = deck.slides.add_slide(deck.slide_layouts[5])
    third.shapes.title.text = "Turns"
    table = third.shapes.add_table(3, 3, 0, 0, 9144000, 914400).table
    for i, row in enumerate(
        (("Pump", "Turns", "Fills"), ("P1", "1450", "upper | tank"), ("P2", "2900", ""))
    ):
        for k, text in enumerate(row):
            table.cell(i, k).text = text
    table.cell(1, 2).merge(table.cell(2, 2))
    fourth = deck.slides.add_slide(deck.slide_layouts[6])
    group = fourth.shapes.add_group_shape()
    group.shapes.add_textbox(
        0, 0, 914400, 914400
    ).text_frame.text = "The gate is shut.\nIt stays shut."
    return deck


WHOLE = saved(full())


def test_titles_lists_tables_and_notes():
    assert read("a.pptx", WHOLE) == [
        "# The pumps of the statión",
        "As they were in May",
        "## Before the start",
        "- Open the valve\n  - by hand\n- \\# Start the pump",
        "Notes: Say which hand.",
        "Wait.",
        "## Turns",
        "| Pump | Turns | Fills |\n|---|---|---|\n| P1 | 1450 | upper \\| tank |\n| P2 | 2900 | upper \\| tank |",
        "## Slide 4",
        "The gate is shut.",
        "It stays shut.",
    ]
    made = structure("a.pptx", extract("a.pptx", WHOLE))
    assert made.title == "The pumps of the statión"
    assert [block.items for block in made.blocks if block.kind == "list"] == [
        ("Open the valve", "\\# Start the pump")
    ]


def test_slides_come_in_the_order_in_which_they_are_shown_and_hidden_ones_are_named():
    deck = full()
    listed = deck.slides._sldIdLst
    listed.insert(0, listed[2])
    deck.slides[1]._element.set("show", "0")
    made = extract("a.pptx", saved(deck))
    assert isinstance(made, Noted)
    assert [line for line in made.splitlines() if line.startswith("#")] == [
        "## Turns",
        "## Before the start",
        "## Slide 4",
    ]
    assert made.notes == ("slide 2: hidden; not read",)


def test_a_diagrams_points_are_a_list():
    files = parts(WHOLE)
    slide = files["ppt/slides/slide3.xml"].decode()
    frame = (
        '<p:graphicFrame><a:graphic><a:graphicData><dgm:relIds xmlns:dgm="urn:d" xmlns:q="http://schemas.'
        'openxmlformats.org/officeDocument/2006/relationships" q:dm="rIdD"/></a:graphicData></a:graphic>'
        "</p:graphicFrame></p:spTree>"
    )
    files["ppt/slides/slide3.xml"] = slide.replace("</p:spTree>", frame).encode()
    listing = files["ppt/slides/_rels/slide3.xml.rels"].decode()
    files["ppt/slides/_rels/slide3.xml.rels"] = listing.replace(
        "</Relationships>",
        '<Relationship Id="rIdD" Type="urn:x/diagramData" Target="../diagrams/data1.xml"/>'
        "</Relationships>",
    ).encode()
    files["ppt/diagrams/data1.xml"] = (
        '<d:m xmlns:d="urn:d" xmlns:a="urn:a">'
        + "".join(
            f"<d:pt><d:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></d:t></d:pt>"
            for text in ("Open", "Start", "")
        )
        + "</d:m>"
    ).encode()
    assert "- Open\n- Start" in read("a.pptx", zipped(files))


ENTITY = b'<!DOCTYPE a [<!ENTITY b "c">]>'


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ppt/presentation.xml": None}, "not a PowerPoint file"),
        ({"ppt/slides/slide1.xml": None}, "damaged: KeyError"),
        ({"ppt/slides/slide1.xml": b"<a><b></a>"}, "damaged: ParseError"),
        ({"ppt/slides/slide1.xml": ENTITY + b"<a>&b;</a>"}, "entities"),
        ({"ppt/slides/slide1.xml": b"<a>" * 5000 + b"</a>" * 5000}, "nests"),
        ({"ppt/presentation.xml": b"<a/>"}, "without text"),
    ],
)
def test_what_cannot_be_read_is_named(changed, expected):
    files = parts(WHOLE) | changed
    assert expected in reason(
        "a.pptx", zipped({name: content for name, content in files.items() if content})
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xd0\xcf\x11\xe0" + b"x" * 600, "encrypted"),
        (WHOLE[:2000], "damaged"),
        (b"no zip", "damaged"),
        (b" ", "empty"),
    ],
)
def test_another_file_is_named(data, expected):
    assert expected in reason("a.pptx", data)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30), part=st.booleans())
def test_a_corrupted_file_is_read_or_refused(seed, count, part):
    chance = random.Random(seed)
    if part:
        files = parts(WHOLE)
        name = chance.choice(
            [
                name
                for name in sorted(files)
                if name.startswith(("ppt/slides", "ppt/notes", "ppt/p"))
            ]
        )
        assert reason("a.pptx", zipped(files | {name: damaged(files[name], chance, count)})) != ""
    else:
        assert reason("a.pptx", damaged(WHOLE, chance, count)) != ""
