"""A conversation as llama.cpp is given it: rendered by the model's template in the metered sandbox, never by llama.cpp.

What somebody wrote is text, even where it looks like one of the model's control tokens: then the conversation goes as
token ids, in which only the template's own words are read for control tokens.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from forge.chat.template import ChatTemplate, Message
from forge.errors import UsageError
from forge.runtime.server.refused import Refused
from forge.runtime.server.supervisor import Upstream

# What a file without a template is served with, as in llama.cpp.
CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# Around what is text only. Unicode keeps these two for use inside a program; they stand in no text that is exchanged.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
_PARTS = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
_SUSPICIOUS = re.compile(r"[<\[|＜｜▁]")  # no control token that is known does without


class Prompts:
    """Renders with `template`; `system` goes before conversations that bring no system message."""

    def __init__(self, upstream: Upstream, template: ChatTemplate, *, begins: bool, system: str | None) -> None:
        self.upstream, self.template, self.begins, self.system = upstream, template, begins, system

    @staticmethod
    async def load(upstream: Upstream, source: str | None, system: str | None) -> Prompts:
        """Raises UsageError for a template that is no Jinja."""
        told = await upstream.ask("/props")
        special = {"bos_token": told["bos_token"], "eos_token": told["eos_token"]}
        begins = bool(await upstream.tokens("", special=True, beginning=True))
        return Prompts(upstream, ChatTemplate(source or CHATML, special), begins=begins, system=system)

    async def of(self, messages: Sequence[Message]) -> str | list[int]:
        """Raises Refused where the template does not take the conversation."""
        messages = [{**message, "content": re.sub(f"[{OPEN}{CLOSE}]", "", message["content"])} for message in messages]
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        guarded = [await self._guarded(message) for message in messages]
        try:  # in a thread: a hostile template uses its meter up in a second or two
            text = await asyncio.to_thread(self.template.render, guarded, prompt=True)
        except UsageError as error:
            raise Refused(error.message, param="messages") from None
        beginning = self.template.special.get("bos_token")
        if self.begins and beginning:
            text = text.removeprefix(beginning)
        return text if guarded == messages else await self._ids(text)

    async def _guarded(self, message: Message) -> Message:
        text = message["content"]
        if not _SUSPICIOUS.search(text):
            return message
        read, plain = await asyncio.gather(self.upstream.tokens(text, special=True),
                                           self.upstream.tokens(text, special=False))
        return message if read == plain else {**message, "content": f"{OPEN}{text}{CLOSE}"}

    async def _ids(self, text: str) -> list[int]:
        parts = _PARTS.split(text)  # the template's and what was written, in turn
        if any(mark in part for part in parts for mark in (OPEN, CLOSE)):
            raise Refused("the chat template takes a message with control tokens apart", param="messages")
        ids: list[int] = []
        for place, part in enumerate(parts):
            if part or not place:
                ids += await self.upstream.tokens(part, special=place % 2 == 0, beginning=place == 0)
        return ids
