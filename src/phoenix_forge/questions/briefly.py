"""What a question ends with that asks for the answer alone, by language. None is what an evaluation asks with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from phoenix_forge.examples.example import stable_number

DATA = Path(__file__).parent / "data" / "briefly.json"


def briefly(question: str, language: str) -> str:
    """The question with an ending that goes by its words: English, or of its language where there are some, for people
    mix them, and so does an evaluation."""
    endings = _endings(language)
    return f"{question}{endings[stable_number(question) % len(endings)]}"


@cache
def _endings(language: str) -> tuple[str, ...]:
    known = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(dict.fromkeys([*known["en"], *known.get(language, ())]))
