"""What of a conversation is trained, in one line: to be looked at before hours of training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.errors import UsageError


def mask_summary(encoder: Encoder, messages: Sequence[Message]) -> str:
    """`system 24 tokens, 0 trained; user 11, 0 trained; assistant 19, 19 trained, ending in <|im_end|>`.

    What a template writes around contents counts for who is prompted: an answer's header is the user's. A system prompt
    that the template adds by itself is shown as one.
    """
    default = encoder.template.default_system
    if default is not None and [message["role"] for message in messages[:1]] != ["system"]:
        messages = [{"role": "system", "content": default}, *messages]
    encoded = encoder.conversation(messages)
    counts: dict[str, list[int]] = {}
    turns = _turns(messages)
    for trained, group in groupby(encoded.trained):
        size = len(list(group))
        roles = ["assistant"] if trained or not turns else turns.pop(0)
        system = min(_system(encoder, messages[0]), size) if roles == ["system", "user"] else 0
        for role, tokens in (("system", system), (roles[-1], size - system)):
            if tokens:
                count = counts.setdefault(role, [0, 0])
                count[0], count[1] = count[0] + tokens, count[1] + tokens * trained
    ends = {i for i, last in zip(encoded.ids, _lasts(encoded.trained), strict=True) if last}
    ending = (
        f", ending in {' or '.join(str(encoder.tokenizer.id_to_token(i)) for i in sorted(ends))}"
        if ends
        else ""
    )
    return "; ".join(
        f"{role} {tokens}{'' if n else ' tokens'}, {trained} trained{ending if trained else ''}"
        for n, (role, (tokens, trained)) in enumerate(counts.items())
    )


def _turns(messages: Sequence[Message]) -> list[list[str]]:
    """The roles that speak before each answer, and after the last."""
    return [
        [message["role"] for message in group]
        for answer, group in groupby(messages, key=lambda message: message["role"] == "assistant")
        if not answer
    ]


def _system(encoder: Encoder, message: Message) -> int:
    """Tokens of the system turn; of its words alone, where the template adds them to a question instead."""
    try:
        alone = encoder.template.render([message])
    except UsageError:
        alone = ""
    return encoder.count(alone if message["content"].strip() in alone else message["content"])


def _lasts(trained: Sequence[int]) -> list[bool]:
    """Where a run of trained tokens ends."""
    return [
        bool(this and not following)
        for this, following in zip(trained, [*trained[1:], 0], strict=True)
    ]
