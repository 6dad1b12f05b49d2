"""A later question of a conversation ("and in fog?") as a search that is understood without the rest of it.

The model itself writes it, told to in the conversation's language (as in CANARD, Elgohary et al. 2019, and QReCC, Anantha
et al. 2021, arXiv 2010.04898), and the question's own words are searched as well. Demonstrations made small models copy
the question as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from phoenix_forge.chat.template import Message

DATA = Path(__file__).parent / "data" / "follow_up.json"
LONGEST = 48  # tokens of a search
SAMPLING: dict[str, Any] = {"max_tokens": LONGEST, "temperature": 0.0, "top_p": 1.0, "greedy": True}
LABEL = re.compile(r"\A\w+ ?[:：]\s*")  # "Question:", before what was asked for
TURNS = 3  # questions before the last that are shown, with their answers
SHOWN = 300  # characters of each


def request(messages: Sequence[Message]) -> list[Message] | None:
    """What the model is asked for a search: the last questions and answers, in order; None where there is only one
    question, which is its own search."""
    from phoenix_forge.corpus.prose import language

    said = [turn for turn in messages if turn["role"] in ("user", "assistant") and turn["content"]]
    last = max((at for at, turn in enumerate(said) if turn["role"] == "user"), default=0)
    asked = [at for at in range(last) if said[at]["role"] == "user"]
    if not asked:
        return None
    shown = said[asked[-TURNS:][0] : last + 1]
    questions = [turn["content"] for turn in shown if turn["role"] == "user"]
    prompts = _prompts()
    words = prompts.get(language("\n".join(questions)), prompts["other"])
    text = "\n".join(f"{words[turn['role']]}: {turn['content'][:SHOWN]}" for turn in shown)
    return [{"role": "system", "content": words["write"]}, {"role": "user", "content": text}]


def search(messages: Sequence[Message], written: str, whole: bool) -> str:
    """What is searched: what the model wrote (`whole`: and ended by itself) with the last question, or where that is
    nothing or too much, the last two questions."""
    before, last = [turn["content"] for turn in messages if turn["role"] == "user"][-2:]
    lines = LABEL.sub("", written.strip()).splitlines()
    return "\n".join([lines[0] if lines and whole else before, last])


@cache
def _prompts() -> dict[str, Any]:
    return json.loads(DATA.read_text(encoding="utf-8"))
