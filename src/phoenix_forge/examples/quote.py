"""A sentence quoted before the answer that it bears: how a model answers from memory what its documents say.

Saying the sentence first is what lets a small model find the answer (RECITE, Sun et al. 2023, arXiv 2210.01296), and
lets a reader see whether it is one: a sentence that stands in no document was made up. It is Markdown's block
quotation, which every chat shows as such.
"""

from __future__ import annotations

from typing import NamedTuple

MARK = ">"


class Said(NamedTuple):
    """What a model said: the sentence it quotes ("": none), and the answer."""

    quote: str
    answer: str


def quoted(sentence: str, answer: str) -> str:
    return f"{MARK} {sentence}\n\n{answer}"


def split(said: str) -> Said:
    """The lines quoted first, as one, and what comes behind them."""
    lines = said.strip().split("\n")
    own = next((i for i, line in enumerate(lines) if not line.startswith(MARK)), len(lines))
    quote = " ".join(line.lstrip(f"{MARK} ").strip() for line in lines[:own])
    return Said(quote, "\n".join(lines[own:]).strip())
