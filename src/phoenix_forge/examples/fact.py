"""What a document says, with the ways to ask for it: what questions are made by, whoever asks them."""

from __future__ import annotations

import re
from typing import NamedTuple


class Fact(NamedTuple):
    """`wordings` are complete questions, the most natural first. `start` and `end` are characters of the document.

    `answer_key` is the checkable core of the answer, with `pool` naming what it can be confused with; "" where it has none.
    `opened` are prompts that ask with passages of documents before the question, each with its answer.
    """

    kind: str
    wordings: tuple[str, ...]
    answer: str
    start: int
    end: int
    answer_key: str = ""
    pool: str = ""
    opened: tuple[tuple[str, str], ...] = ()


def normal(question: str) -> str:
    """Case, spacing and punctuation do not make another question."""
    return " ".join(re.findall(r"\w+", question.lower()))
