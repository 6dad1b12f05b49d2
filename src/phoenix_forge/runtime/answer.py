"""What every engine gives back for one turn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_forge.chat.template import Message
from phoenix_forge.errors import UsageError

HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Answer:
    """`stopped`: the model ended its turn by itself, rather than running into max_tokens. `tokens` of the answer,
    `prompt_tokens` of what it answered, where the engine says."""

    text: str
    stopped: bool
    tokens: int
    seconds: float
    prompt_tokens: int = 0


def require_text(messages: Sequence[Message]) -> None:
    """Refuses what no engine can be sent: half a character, which is also what Python makes of a byte that is no UTF-8
    on a command line."""
    for message in messages:
        if half := HALF.search(message["content"]):
            raise UsageError(
                f"the {message['role']} message cannot be sent: character {half.start() + 1}, "
                f"U+{ord(half[0]):04X}, is half a character or a byte that is no UTF-8",
                fix="leave it out, or write the text as UTF-8",
            )


def sampler(
    temperature: float, top_p: float, greedy: bool, seed: int | None
) -> dict[str, float | int]:
    """The sampler's settings by the names that llama.cpp and Ollama share; greedy always takes the likeliest token.

    top_k and min_p are always sent: the two engines differ in their defaults.
    """
    if greedy or temperature == 0:
        chosen: dict[str, float | int] = {
            "temperature": 0.0,
            "top_p": 1.0,
            "top_k": 1,
            "min_p": 0.0,
        }
    else:
        chosen = {"temperature": temperature, "top_p": top_p, "top_k": 40, "min_p": 0.0}
    return chosen if seed is None else {**chosen, "seed": seed}
