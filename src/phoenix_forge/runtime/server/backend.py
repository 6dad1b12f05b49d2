"""What writes the answers behind the front."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from phoenix_forge.chat.calls import Spoken, uses_tools
from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import human
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import UsageError
from phoenix_forge.runtime.prompts import Prompts, template_of
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.requests import Asked
from phoenix_forge.runtime.server.supervisor import Upstream
from phoenix_forge.runtime.server.tools import Called

# A part of an answer, as llama.cpp's server streams them: `content`, and `stop` in the last, which has `stop_type`
# (eos, word, limit), `tokens_predicted` and `tokens_evaluated` as well. `calls`: of tools, where a backend reads them.
Piece = dict[str, Any]


class Backend(Protocol):
    """start() first, stop() last; `failed` has the error that ends the server."""

    failed: asyncio.Future[None]
    completes: bool  # whether texts are completed, and not only conversations

    @property
    def ready(self) -> bool:
        """Whether it would answer now."""

    async def start(self) -> str:
        """Returns what to say of it; raises what keeps it from answering."""

    async def stop(self) -> None: ...

    async def prepare(self, asked: Asked) -> Called | None:
        """Makes a chat ready to be written, and says how an answer's text calls tools, where it may. Raises Refused."""

    def write(self, asked: Asked, number: int) -> AsyncGenerator[Piece, None]:
        """The pieces of one of a request's answers. Leaving early ends it. Raises Refused."""


@dataclass(frozen=True)
class Completer:
    """A backend as the Documents ask it (phoenix_forge.runtime.server.documents.Model)."""

    backend: Backend

    @property
    def prompt(self) -> Callable[[Sequence[Message]], list[int]] | None:
        return getattr(self.backend, "prompt", None)

    async def completed(self, messages: Sequence[Message], longest: int) -> tuple[str, bool]:
        asked = Asked(list(messages), sent={"temperature": 0.0, "top_p": 1.0, "n_predict": longest})
        await self.backend.prepare(asked)
        text, stopped = "", False
        async with contextlib.aclosing(self.backend.write(asked, 0)) as pieces:
            async for piece in pieces:
                text += piece["content"]
                stopped = piece.get("stop_type") in ("eos", "word")
        return text, stopped


class BuiltIn:
    """llama.cpp in a process of Forge's own; `settings` are the child's."""

    completes = True

    def __init__(self, settings: dict[str, Any], system: str | None, report: Reporter) -> None:
        self._template, self._system = template_of(Path(settings["gguf"])), system
        self._upstream = Upstream(settings, report)
        self.failed = self._upstream.failed
        self._prompts: Prompts

    @property
    def ready(self) -> bool:
        return self._upstream.ready

    async def start(self) -> str:
        found = await self._upstream.start()
        tokens = self._upstream.tokenizer()
        self._prompts = await asyncio.to_thread(
            Prompts, self._template, tokens, system=self._system
        )
        return placed(found["cores"], found["before"], found["after"])

    async def stop(self) -> None:
        await self._upstream.stop()

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what is answered. For threads beside the event loop."""
        return self._prompts.ids(messages)

    async def prepare(self, asked: Asked) -> Called | None:
        """Renders the prompt. In a thread of its own: a template may take a second, until the meter ends it."""
        return await asyncio.to_thread(self._prepared, asked)

    def _prepared(self, asked: Asked) -> Called | None:
        """Refused for a template that has no place for what a conversation has of tools."""
        try:
            spoken = self._prompts.spoken if uses_tools(asked.messages) else None
            called = self._called(spoken, asked) if spoken else None
            asked.prompts = [self._prompts.of(asked.messages, called.begun if called else "")]
        except UsageError as error:
            raise Refused(error.message, param="tools" if asked.offer else "messages") from None
        asked.sent |= called.sent if called else {}
        return called

    def _called(self, spoken: Spoken, asked: Asked) -> Called | None:
        if asked.offer is None:
            return None
        earlier = sum(len(message.get("tool_calls", ())) for message in asked.messages)
        tokens = self._prompts.tokens if self._upstream.guided else None
        return Called(spoken, asked.offer, tokens, earlier)

    def write(self, asked: Asked, number: int) -> AsyncGenerator[Piece, None]:
        seed = {"seed": asked.sent["seed"] + number} if number and "seed" in asked.sent else {}
        return self._upstream.write(asked.prompts[number // asked.n], asked.sent | seed)


def placed(cores: Sequence[int], before: dict[str, int], after: dict[str, int]) -> str:
    """What computes: threads for answers and for prompts, and the GPU memory taken, from what was free before and is
    now. The library tells the number of layers only in its log."""
    answers, prompts = cores
    said = f"threads: {answers}" + (f" ({prompts} for prompts)" if prompts != answers else "")
    taken = [
        f"{human(max(0, free - after.get(name, free)))} of {human(free)} free on {name}"
        for name, free in before.items()
    ]
    return ", ".join([said, *taken])
