"""What `forge serve` answers from: a workspace's documents, for a server that holds many conversations at a time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

import orjson

from phoenix_forge.chat.template import Message
from phoenix_forge.project import follow_up
from phoenix_forge.project.asking import in_place_of
from phoenix_forge.project.grounded import (
    CLOSED,
    Asked,
    Citation,
    Grounding,
    Held,
    last_question,
)
from phoenix_forge.runtime.ollama import address
from phoenix_forge.runtime.server.documents import (
    SOURCE,
    Evidence,
    Model,
    PassageView,
    Service,
    without,
)
from phoenix_forge.runtime.server.remote import (
    KEY,
    OLLAMA_API,
    OPENAI_API,
    Place,
    Remote,
    place,
)
from phoenix_forge.stages import Context

T = TypeVar("T")
SIGNED = 16  # bytes of a link's signature


class Library:
    """The Documents of the server (phoenix_forge.runtime.server.documents). `key` is the server's API key: a link to a
    passage is signed with what comes of it, so that it opens without the key, and another one does not."""

    def __init__(self, ctx: Context, key: str | None) -> None:
        self.ctx, self._grounding = ctx, Grounding(ctx)
        self._secret = hashlib.scrypt((key or "").encode(), salt=b"forge serve", n=2**14, r=8, p=1)
        self._one = ThreadPoolExecutor(1, "documents")  # the index is one thread's
        self._looked = float("-inf")

    async def asked(
        self, model: Model, messages: Sequence[Message], *, closed: bool, longest: int | None
    ) -> LibraryTurn:
        whole = _as_said(self.ctx, messages)
        search = None if closed else await self._search(model, whole)
        arrived = time.monotonic()
        generation = in_place_of(self.ctx.config.generation, max_tokens=longest)

        def ask() -> Asked:
            self._look(arrived)
            return self._grounding.asked(
                model, whole, closed=closed, generation=generation, search=search
            )

        return LibraryTurn(await self._in_turn(ask), self)

    async def _search(self, model: Model, messages: Sequence[Message]) -> str | None:
        """What a later question is searched by. The model writes it while others have the index."""
        if sum(turn["role"] == "user" for turn in messages) < 2:
            return None
        request = await self._in_turn(partial(self._grounding.follow_up, model, messages))
        if request is None:
            return follow_up.search(messages, "", whole=False)
        return follow_up.search(messages, *await model.completed(request, follow_up.LONGEST))

    async def passage(self, query: str) -> PassageView | None:
        given = {
            name: values[0] for name, values in parse_qs(query, errors="surrogatepass").items()
        }
        start, _, end = given.get("span", "").partition("-")
        line = given.get("line", "")
        if not (start.isdigit() and end.isdigit() and hmac.compare_digest(*self._signs(given))):
            return None
        span = (int(start), int(end))
        return await self._in_turn(
            partial(self._shown, given.get("path", ""), span, int(line) if line else None)
        )

    def link(self, site: str, citation: Citation) -> str:
        place, (start, end) = citation.place, citation.passage.span
        told = {"path": place.path, "span": f"{start}-{end}", "line": str(place.line or "")}
        told["sign"] = self._sign(told)
        return f"{site}{SOURCE}?{urlencode(told, errors='surrogatepass')}"

    async def hold(self, turn: Asked, answer: str) -> Held:
        return await self._in_turn(partial(turn.hold, answer))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._one, work)

    def _look(self, arrived: float) -> None:
        """The documents are looked at again for each question, but once for those that came before it was done."""
        if self._looked < arrived:
            self._looked = time.monotonic()
            self._grounding.refresh()

    def _shown(self, path: str, span: tuple[int, int], line: int | None) -> PassageView | None:
        found = self._grounding.passage(path, span)
        if found is None:
            return None
        passage, lines = found
        text = passage.text.strip("\n")
        whole = lines is not None and lines[1] - lines[0] == text.count("\n")
        first = lines[0] if lines and whole else None
        return PassageView(passage.path, passage.headings, text, first, line)

    def _signs(self, given: dict[str, str]) -> tuple[str, str]:
        return self._sign(given), given.get("sign", "").encode("ascii", "replace").decode()

    def _sign(self, told: dict[str, str]) -> str:
        named = "\n".join(told.get(name, "") for name in ("span", "line", "path"))
        data = named.encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, data, hashlib.sha256).hexdigest()[: 2 * SIGNED]


def service(ctx: Context, key: str | None, *, closed: bool, citations: str) -> Service:
    """What a workspace's server offers: its model and, unless `closed`, its documents. The index is made here, where
    Ctrl-C ends it; where there can be none, it is said why."""
    config = ctx.config
    library = None if closed or not config.generation.grounded else Library(ctx, key)
    if library:
        with Grounding(ctx) as passages:
            if problem := passages.problem:
                ctx.report.warn(f"{CLOSED}: {problem}")
    return Service(config.model.name, config.deploy.num_ctx, library, citations)


def remote(ctx: Context, spec: str) -> Callable[[], Remote]:
    """What makes a backend of a server that is there already: "ollama", with the deployed model, or https://HOST/v1
    (#MODEL), whose key is in the environment. Raises UsageError for another text."""
    config = ctx.config
    if spec == "ollama":
        dialect, at = OLLAMA_API, Place(address(), config.deploy.name or config.model.name)
    else:
        dialect, at = OPENAI_API, place(spec, os.environ.get(KEY, "").strip())
    return partial(Remote, dialect, at, config.generation, config.deploy.system, ctx.report)


@dataclass(frozen=True)
class LibraryTurn:
    """One question of a conversation, as the server asks it."""

    turn: Asked
    library: Library

    @property
    def messages(self) -> Sequence[Message]:
        return self.turn.messages

    @property
    def note(self) -> str:
        return self.turn.note

    @property
    def refusal(self) -> str:
        return self.turn.refusal

    async def evidence(self, answer: str, site: str) -> Evidence:
        held = await self.library.hold(self.turn, _in_words(answer))
        if self._by_tools:  # what they gave is no document, and an answer may well stand on it
            held = replace(held, supported=held.supported or None, unsupported=())
        links = [(source, self.library.link(site, source)) for source in held.sources]
        more = {key: value for key, value in held.json().items() if key != "citations"}
        return Evidence(
            [_annotation(source, link, answer) for source, link in links],
            _sendable(
                {
                    **more,
                    "doubts": held.doubts,
                    "abstained": bool(self.refusal) and answer == self.refusal,
                    "note": self.note or None,
                }
            ),
            [
                *(f"from [{_escaped(source.place.shown)}]({link})" for source, link in links),
                *(f"_{doubt}_" for doubt in held.doubts),
            ],
        )

    @property
    def _by_tools(self) -> bool:
        behind = self.messages[(last_question(self.messages) or 0) :]
        return any(message["role"] == "tool" for message in behind)


def _as_said(ctx: Context, messages: Sequence[Message]) -> list[Message]:
    """The conversation under the configured system prompt, unless it has its own, and without the sources that were
    written below its answers."""
    said = [
        {**message, "content": without(message["content"])}
        if message["role"] == "assistant"
        else message
        for message in messages
    ]
    system = ctx.config.deploy.system
    own = said[0]["role"] == "system"
    return said if own or not system else [{"role": "system", "content": system}, *said]


def _annotation(source: Citation, link: str, answer: str) -> dict[str, Any]:
    """A source in the form of OpenAI's chat completions, which know no files, with Forge's own names beside."""
    place, at = source.place, answer.find(source.sentence)
    start, end = (at, at + len(source.sentence)) if at >= 0 else (0, len(answer))
    cited = {
        "url": link,
        "title": place.shown,
        "start_index": start,
        "end_index": end,
        "content": source.passage.text,
        "path": place.path,
        "headings": list(place.headings),
        "line": place.line,
        "lines": place.lines,
    }
    return {"type": "url_citation", "url_citation": _sendable(cited)}


def _in_words(answer: str) -> str:
    """What an answer says; of one in JSON its values."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer
    return "\n".join(_leaves(found)) if isinstance(found, dict | list) else answer


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    elif value is not None:
        yield str(value)


def _sendable(value: Any) -> Any:
    """The same in UTF-8: names of files may hold what it has no place for."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _sendable(part) for key, part in value.items()}
    return [*map(_sendable, value)] if isinstance(value, list | tuple) else value


def _escaped(text: str) -> str:
    """For a link in Markdown."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
