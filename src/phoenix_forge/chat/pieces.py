"""A prompt in pieces: what a template writes, where control tokens act, and what people wrote, where they are text.

Every runtime that Forge renders for goes this way, so a question holding `<|im_end|>` ends no turn in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix_forge.chat.template import ChatTemplate, Message
from phoenix_forge.errors import UsageError

# Around what is text only. Unicode keeps these two for use inside a program; they stand in no text that is exchanged.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{OPEN}{CLOSE}]")
_PARTS = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")


@dataclass(frozen=True)
class Piece:
    """`written` by somebody: whatever in it looks like a control token is text."""

    text: str
    written: bool


def pieces(
    template: ChatTemplate, messages: Sequence[Message], acts: Callable[[str], bool]
) -> list[Piece]:
    """The prompt for the assistant's next turn; one piece where nobody wrote a control token, as nearly always.

    `acts` tells whether a text holds something that the model's tokenizer reads as a control token. Raises UsageError
    where the template refuses the conversation, or takes such a text apart.
    """
    texts: list[str] = []

    def unmarked(text: str) -> str:
        texts.append(_MARKS.sub("", text))
        return texts[-1]

    bare = _with_texts(messages, unmarked)
    if not acts("\n".join(texts)):
        return [Piece(template.render(bare, prompt=True), written=False)]
    guarded = _with_texts(bare, lambda text: f"{OPEN}{text}{CLOSE}" if acts(text) else text)
    parts = _PARTS.split(
        template.render(guarded, prompt=True)
    )  # the template's and what was written, in turn
    if any(map(_MARKS.search, parts)):
        raise UsageError(
            "the chat template takes a message with control tokens apart",
            fix="leave the control tokens out of the message",
        )
    return [
        Piece(part, written=place % 2 == 1) for place, part in enumerate(parts) if part or not place
    ]


def plain(text: str, control: re.Pattern[str]) -> str:
    """Text in which no control token stands, where `control` finds them: a space parts each. So a model is trained to
    read documents about them, which are text in every runtime then."""
    return control.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A conversation with each text in it changed, names of arguments among them; names of fields hold no tokens."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_with_texts(key, change): _with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_texts(item, change) for item in value]
    return value
