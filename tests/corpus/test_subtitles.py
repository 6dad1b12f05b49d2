"""Subtitles as programs write them: words without times, marks and sounds."""

import pytest
from corpus.office_files import read, reason
from hypothesis import given, settings
from hypothesis import strategies as st

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>The püm&amp;p</i> runs

2
00:00:02,600 --> 00:00:04,000 X1:10
{\\an8}at <font color="red">1450</font> turns.
# 12

3
00:00:09,000 --> 00:00:11,000
[music]
- Does it?
- It does.
"""
VTT = """WEBVTT - a title

NOTE
nobody says this

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.000 align:start
<v.loud Anna Berg>The pump runs

00:02.000 --> 00:03.000
<v Anna Berg>and <00:02.500><c>stops.</c>

00:03.000 --> 00:04.000
<v Bo>♪ la la ♪
<v Bo>It is 3 < 4.
"""
ROLLING = """WEBVTT

00:00.000 --> 00:02.000
the pump runs

00:02.000 --> 00:04.000
the pump runs
all night

00:04.000 --> 00:06.000
all night
"""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_srt(end):
    data = ("\ufeff" + SRT).replace("\n", end).encode()
    assert read("a.srt", data) == ["The püm&p runs at 1450 turns. # 12", "Does it?", "It does."]


def test_vtt():
    assert read("a.vtt", VTT.encode()) == [
        "Anna Berg: The pump runs and stops.",
        "Bo: It is 3 < 4.",
    ]


def test_a_caption_that_rolls_on_is_said_once():
    assert read("a.vtt", ROLLING.encode()) == ["the pump runs all night"]


def test_long_talk_is_parted_between_sentences():
    cues = "".join(
        f"00:{i:02}.000 --> 00:{i + 1:02}.000\nSentence {i} is rather long and says\n\n"
        f"00:{i:02}.500 --> 00:{i + 1:02}.000\nlittle enough.\n\n"
        for i in range(50)
    )
    made = read("a.vtt", cues.encode())
    assert len(made) > 2
    assert all(text.endswith("enough.") and len(text) < 700 for text in made)
    assert " ".join(made).count("Sentence") == 50


@pytest.mark.parametrize("charset", ["utf-8", "utf-16", "cp1252"])
def test_any_encoding(charset):
    assert "püm" in read("a.srt", SRT.encode(charset))[0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"WEBVTT\n\nwords", "not subtitles"),
        (b"00:01.000 --> 00:02.000\n[music]\n", "without words"),
        (b" ", "empty"),
    ],
)
def test_what_cannot_be_read_is_named(data, expected):
    assert expected in reason("a.srt", data)


pieces = st.lists(
    st.sampled_from(
        [
            "1\n",
            "00:00:01,000 --> 00:00:02,000\n",
            "<v A>",
            "- ",
            "\n",
            "♪",
            "[x]",
            "# a",
            "&lt;",
            "<i",
            "{\\a",
            "```\n",
            "\r",
            "-->",
        ]
    )
    | st.text(max_size=5),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(text=pieces.map("".join))
def test_anything_is_read_or_refused(text):
    assert reason("a.srt", text.encode("utf-8", "replace")) != ""
