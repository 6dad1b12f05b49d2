"""Rich text as word processors write it."""

import random

import pytest
from corpus.office_files import damaged, read, reason
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import extract, structure

pytest.importorskip("striprtf")

WHOLE = rb"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}
{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 heading 1;}}{\info{\title Not shown}}{\header Head}
\pard\plain\s1\outlinelevel0\b The p\'fcmps\b0\par
\pard\plain # Open the \b valve\b0  for \u8364?5 \u-10179?\u-8694?\line and wait.\par
\pard\s2\outlinelevel1 Turns\par
\trowd\cellx100\cellx200\intbl Pump\cell Turns\cell\row\trowd\cellx100\cellx200\intbl P1\cell 1450\cell\row
\pard{\listtext\bullet\tab}one\par{\listtext\bullet\tab}two\par
\pard Last.{\*\annotation a remark}{\deleted gone}{\v hidden}{\pict\pngblip 89504e47}\par}"""


def test_paragraphs_headings_tables_and_lists():
    assert read("a.rtf", WHOLE) == [
        "# The pümps",
        "\\# Open the valve for €5 😊",
        "and wait.",
        "## Turns",
        "| Pump | Turns |\n|---|---|\n| P1 | 1450 |",
        "- one\n- two",
        "Last.",
    ]
    assert structure("a.rtf", extract("a.rtf", WHOLE)).title == "The pümps"


def test_a_cell_keeps_its_bars_and_paragraphs():
    row = rb"\trowd\cellx9\cellx99\pard\intbl P1 | a\cell\pard\intbl one\par two\cell\row"
    head = rb"\trowd\cellx9\cellx99\pard\intbl Pump\cell Turns\cell\row"
    assert read("a.rtf", rb"{\rtf1 Before\par" + head + row + rb"\pard a\'7cb\par c\par}") == [
        "Before",
        "| Pump | Turns |\n|---|---|\n| P1 \\| a | one two |",
        "a|b",
        "c",
    ]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", "not rich text"),
        (b"{\\rtf1}", "without words"),
        (b"{\\rtf1 \\uc x}", "damaged: TypeError"),
        (b" ", "empty"),
    ],
)
def test_what_cannot_be_read_is_named(data, expected):
    assert expected in reason("a.rtf", data)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 20), whole=st.floats(0.05, 1))
def test_a_corrupted_file_is_read_or_refused(seed, count, whole):
    assert (
        reason("a.rtf", damaged(WHOLE[: int(len(WHOLE) * whole)], random.Random(seed), count)) != ""
    )
