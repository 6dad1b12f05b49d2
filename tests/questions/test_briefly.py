"""How a question asks for a short answer."""

from __future__ import annotations

import json

import pytest

from phoenix_forge.questions.briefly import DATA, briefly


@pytest.mark.parametrize(
    ("own", "languages"),
    [("en", ["en"]), ("de", ["en", "de"]), ("zh", ["en", "zh"]), ("ru", ["en"])],
)
def test_a_question_ends_with_one_of_the_endings_of_english_and_of_its_language(
    own: str, languages: list[str]
) -> None:
    known = json.loads(DATA.read_text("utf-8"))
    asked = [briefly(f"Who lights lamp {i}?", own) for i in range(300)]
    assert {one.partition("?")[2] for one in asked} == {
        ending for language in languages for ending in known[language]
    }
    assert asked == [briefly(f"Who lights lamp {i}?", own) for i in range(300)]
