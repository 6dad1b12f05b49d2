"""A sentence quoted before an answer is told from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.examples.quote import Said, quoted, split

LINE = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=">"), min_size=1)


@given(LINE, LINE)
def test_what_is_quoted_comes_back(sentence: str, answer: str) -> None:
    assert split(quoted(sentence, answer)) == Said(sentence, answer)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("64", Said("", "64")),
        ("  64\n\n> no quotation behind it", Said("", "64\n\n> no quotation behind it")),
        ("> The default rank is 64.", Said("The default rank is 64.", "")),
        ("> Two lines\n> of one.\n64", Said("Two lines of one.", "64")),
        (">\n\n64", Said("", "64")),
        ("> 维也纳是首都。\n\n维也纳\n是的", Said("维也纳是首都。", "维也纳\n是的")),
        ("", Said("", "")),
    ],
)
def test_an_answer_begins_behind_the_lines_that_are_quoted(said: str, found: Said) -> None:
    assert split(said) == found
