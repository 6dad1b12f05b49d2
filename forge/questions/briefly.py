"""What a question ends with that asks for the answer alone, by language. None is what an evaluation asks with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data" / "briefly.json"


@cache
def briefly(language: str) -> tuple[str, ...]:
    """English endings, and those of the language where there are some: people mix them, and so does an evaluation."""
    known = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(dict.fromkeys([*known["en"], *known.get(language, ())]))
