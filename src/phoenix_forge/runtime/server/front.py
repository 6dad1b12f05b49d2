"""What listens: an ASGI application that lets in whom it knows, and asks for what is documented and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
    MutableMapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from phoenix_forge.chat.calls import Call
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import UsageError
from phoenix_forge.runtime.server import pages, requests
from phoenix_forge.runtime.server.backend import Backend, Completer, Piece
from phoenix_forge.runtime.server.documents import SOURCE, Evidence, Service, Turn
from phoenix_forge.runtime.server.form import Choice, Form, usage
from phoenix_forge.runtime.server.pages import Body
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.requests import CLOSED_BOOK, Asked

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_SECONDS = 30.0  # for a body to arrive
STALLED = 60.0  # seconds that a client may read nothing while its answer waits
WAITING = 512  # requests at a time, those in the queue included
LOOPBACK = ("localhost", "127.0.0.1", "::1")
STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


@dataclass(frozen=True)
class Door:
    """Who may come in. `hosts` are names that this server goes by beside its addresses; with `any_address` it is
    reached by other machines, by whatever address it has there. `origins` are web sites whose pages may ask it."""

    port: int
    key: str | None = None
    any_address: bool = False
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Refused. A page of another site cannot hide its origin, nor one that came by another name (DNS
        rebinding) the name; an address in numbers is no name that could be bound to another one."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._known(host):
            raise Refused(
                f"this server is not {host!r:.100}: name it with --allow-host",
                403,
                "permission_error",
            )
        origin = headers.get(b"origin")
        if origin is not None and not self._ours(origin.decode("latin-1").lower(), host):
            raise Refused(
                f"pages of {origin.decode('latin-1')!r:.100} may not ask: --allow-origin lets them",
                403,
                "permission_error",
            )

    def allowed(self, headers: Mapping[bytes, bytes]) -> bytes | None:
        """The origin of a page of another site that was let in."""
        origin = headers.get(b"origin")
        return origin if origin and origin.decode("latin-1").lower() in self.origins else None

    def check_key(self, headers: Mapping[bytes, bytes]) -> None:
        if not self.key:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        given = given.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        if not hmac.compare_digest(given, self.key.encode()):
            raise Refused("the API key is missing or wrong", 401, "authentication_error")

    def _known(self, host: str) -> bool:
        name, _ = _split(host)
        if host in self.hosts or name in self.hosts:
            return True
        if name in LOOPBACK:  # whatever the port: a tunnel has another one
            return True
        return self.any_address and name is not None and _numeric(name)

    def _ours(self, origin: str, host: str) -> bool:
        if origin in self.origins:
            return True
        scheme, _, site = origin.partition("://")
        name, port = _split(site)
        return scheme in ("http", "https") and (
            site == host or (name in LOOPBACK and port == self.port)
        )


def _split(host: str) -> tuple[str | None, int | None]:
    """Name and port; without one it is HTTP's own."""
    try:
        found = urlsplit(f"//{host}")
        return found.hostname, found.port or 80
    except ValueError:
        return None, None


def _numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


Page = Callable[[str], Awaitable[Body]]  # from the query


class Front:
    """The ASGI application."""

    def __init__(self, backend: Backend, door: Door, service: Service, report: Reporter) -> None:
        self.backend, self.door, self.service, self.report = backend, door, service, report
        self.started, self.asked = int(time.time()), 0
        self.noted = ""  # what was said last of passages that are missing
        self.pages: dict[str, tuple[Page, bool]] = {  # and whether the key is asked for
            "/": (self._ask, False),
            "/health": (self._health, False),
            "/v1/health": (self._health, False),
            "/v1/models": (self._models, True),
        }
        if service.documents:
            self.pages[SOURCE] = (self._source, False)  # its links are signed
        self.readers = dict(requests.READERS)
        if not backend.completes:
            del self.readers["/v1/completions"]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        more = _cors(self.door.allowed(headers))
        try:
            self.door.check(headers)
            await self._answer(scope, headers, more, receive, send)
        except Refused as refused:
            closes = [(b"connection", b"close")] if refused.status == 408 else []
            body = Body(refused.status, orjson.dumps(refused.shown()))
            await _whole(send, body, [*more, *closes])

    async def _answer(
        self,
        scope: MutableMapping[str, Any],
        headers: Mapping[bytes, bytes],
        more: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS" and more:
            await _whole(send, Body(204, b""), more)
        elif path in self.pages:
            page, guarded = self.pages[path]
            _require_method(method, "GET")
            if guarded:
                self.door.check_key(headers)
            query = scope.get("query_string", b"").decode("latin-1")
            await _whole(send, await page(query), more)
        elif path in self.readers:
            _require_method(method, "POST")
            self.door.check_key(headers)
            await self._completions(path, headers, more, receive, send)
        else:
            raise Refused(f"there is no {path!r:.100}", 404, "not_found_error")

    async def _ask(self, query: str) -> Body:
        return pages.ask()

    async def _health(self, query: str) -> Body:
        if self.backend.ready:
            return Body(200, b'{"status":"ok"}')
        raise Refused("the model is being loaded", 503, "unavailable_error")

    async def _models(self, query: str) -> Body:
        common = {"object": "model", "created": self.started, "owned_by": "forge"}
        kinds = ("", CLOSED_BOOK) if self.service.documents else ("",)
        models = [{"id": f"{self.service.alias}{kind}", **common} for kind in kinds]
        return Body(200, orjson.dumps({"object": "list", "data": models}))

    async def _source(self, query: str) -> Body:
        assert self.service.documents
        found = await self.service.documents.passage(query)
        return pages.source(found)

    async def _completions(
        self,
        path: str,
        headers: Mapping[bytes, bytes],
        more: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        if self.asked >= WAITING:
            raise Refused(f"{WAITING} requests are waiting already", 503, "unavailable_error")
        self.asked += 1
        try:
            body = await _body(headers, receive, requests.body_limit(self.service.num_ctx))
            asked = self.readers[path](requests.parsed(body), self.service.num_ctx)
            await _while_there(receive, self._answered(asked, _site(headers), more, send))
        except _Left:
            pass
        finally:
            self.asked -= 1

    async def _answered(
        self, asked: Asked, site: str, more: list[tuple[bytes, bytes]], send: Send
    ) -> None:
        turn = await self._grounded(asked) if asked.messages else None
        called = await self.backend.prepare(asked) if asked.messages else None
        closed = CLOSED_BOOK if asked.closed and self.service.documents else ""
        form = Form(asked, f"{self.service.alias}{closed}", called)
        told = EvidenceTeller(turn, site, self._in_text(asked))
        refuses = turn is not None and turn.refusal and not asked.bound and not asked.offer
        written = _refused(asked, turn.refusal) if turn and refuses else self._pieces(asked)
        async with contextlib.aclosing(written) as pieces:
            if asked.stream:
                await self._streamed(asked, form, told, pieces, more, send)
            else:
                await self._gathered(form, told, pieces, more, send)

    async def _grounded(self, asked: Asked) -> Turn | None:
        """Puts passages before the question, where there are documents."""
        if self.service.documents is None:
            return None
        try:
            turn = await self.service.documents.asked(
                Completer(self.backend), asked.messages, closed=asked.closed, longest=asked.longest
            )
        except UsageError as error:
            raise Refused(error.message, param="messages") from None
        asked.messages = list(turn.messages)
        if turn.note not in ("", self.noted):
            self.noted = turn.note
            self.report.warn(turn.note)
        return turn

    def _in_text(self, asked: Asked) -> bool:
        return (asked.citations or self.service.citations) == "text" and not asked.bound

    async def _pieces(self, asked: Asked) -> AsyncGenerator[tuple[int, Piece]]:
        """(number of the answer, piece) of all answers as they are written."""
        pieces: asyncio.Queue[tuple[int, Piece] | BaseException] = asyncio.Queue()

        async def write(number: int) -> None:
            async with contextlib.aclosing(self.backend.write(asked, number)) as answer:
                async for piece in answer:
                    pieces.put_nowait((number, piece))

        def told(task: asyncio.Task[None]) -> None:
            """An error is raised where the pieces are read."""
            if not task.cancelled() and (error := task.exception()):
                pieces.put_nowait(error)

        left = asked.n * max(1, len(asked.prompts))
        work = [asyncio.create_task(write(number)) for number in range(left)]
        for task in work:
            task.add_done_callback(told)
        try:
            while left:
                found = await pieces.get()
                if isinstance(found, BaseException):
                    raise found
                left -= found[1]["stop"]
                yield found
        finally:
            await _ended(work)

    async def _gathered(
        self,
        form: Form,
        telling: EvidenceTeller,
        pieces: AsyncIterator[tuple[int, Piece]],
        more: list[tuple[bytes, bytes]],
        send: Send,
    ) -> None:
        choices: dict[int, Choice] = {}
        async for number, piece in pieces:
            choice = choices.setdefault(number, Choice())
            choice.text.append(piece["content"])
            choice.told += piece.get("completion_probabilities", [])
            choice.last = piece
        told = {}
        for number, choice in choices.items():
            form.read(choice)
            told[number] = await telling.of("".join(choice.text), choice.calls)
        await _whole(send, Body(200, orjson.dumps(form.whole(choices, told))), more)

    async def _streamed(
        self,
        asked: Asked,
        form: Form,
        telling: EvidenceTeller,
        pieces: AsyncIterator[tuple[int, Piece]],
        more: list[tuple[bytes, bytes]],
        send: Send,
    ) -> None:
        """The status waits for the first piece: until then a refusal can be told by it."""
        begun, counts = False, []
        try:
            async for number, piece in pieces:
                if not begun:
                    await _begin(send, 200, [*STREAM, *more])
                    begun = True
                for chunk in form.chunks(number, piece):
                    await _event(send, orjson.dumps(chunk))
                if piece["stop"]:
                    counts.append(piece)
                    told = await telling.of(*form.said(number))
                    for chunk in form.end(number, piece, told):
                        await _event(send, orjson.dumps(chunk))
        except Refused as refused:
            if not begun:
                raise
            await _event(send, orjson.dumps(refused.shown()))
        else:
            if asked.usage:
                last = {**form.head(".chunk"), "choices": [], "usage": usage(counts, asked.n)}
                await _event(send, orjson.dumps(last))
            await _event(send, b"[DONE]")
        await send({"type": "http.response.body", "body": b""})


class _Left(Exception):
    """The client closed its connection."""


@dataclass(frozen=True)
class EvidenceTeller:
    """What is told of a request's answers beside their words, and at their end where that is wanted (`in_text`)."""

    turn: Turn | None
    site: str
    in_text: bool

    async def of(self, text: str, calls: Sequence[Call]) -> Evidence | None:
        """None where there is nothing to tell: there are no documents, or tools are called."""
        if self.turn is None or calls:
            return None
        told = await self.turn.evidence(text, self.site)
        return told if self.in_text else told._replace(lines=[])


async def _refused(asked: Asked, words: str) -> AsyncGenerator[tuple[int, Piece]]:
    """The same words for each answer that is asked for."""
    counts = {"tokens_predicted": 0, "tokens_evaluated": 0}
    for number in range(asked.n):
        yield number, {"content": words, "stop": True, "stop_type": "eos", **counts}


def _require_method(method: str, allowed: str) -> None:
    if method != allowed and (method, allowed) != ("HEAD", "GET"):
        raise Refused(f"{method!r:.20} is not possible here, {allowed} is", 405)


def _cors(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"vary", b"Origin"),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"Authorization, Content-Type, X-Api-Key"),
    ]


def _site(headers: Mapping[bytes, bytes]) -> str:
    """Where the client found this server."""
    scheme = "https" if headers.get(b"x-forwarded-proto") == b"https" else "http"
    return f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}"


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Does the work as long as the client is there; raises _Left where it goes before."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.create_task(work), asyncio.create_task(leave())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise _Left
        tasks[0].result()
    finally:
        await _ended(tasks)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """All of the body, or Refused before more than `limit` bytes of it are held."""
    too_long = Refused(f"the body is longer than {limit:,} bytes", 413)
    announced = headers.get(b"content-length", b"0")
    if not announced.isdigit() or int(announced[:20]) > limit:
        raise too_long
    parts, length, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise _Left
                parts.append(event.get("body", b""))
                length, more = length + len(parts[-1]), event.get("more_body", False)
                if length > limit:
                    raise too_long
    except TimeoutError:
        raise Refused(f"the body did not arrive within {BODY_SECONDS:.0f} s", 408) from None
    return b"".join(parts)


async def _begin(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"x-content-type-options", b"nosniff")],
        }
    )


async def _whole(send: Send, body: Body, headers: Sequence[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", b"%d" % len(body.data))
    await _begin(send, body.status, [*body.headers, length, *headers])
    await send({"type": "http.response.body", "body": body.data})


async def _event(send: Send, data: bytes) -> None:
    """One server-sent event; a client that reads nothing for STALLED seconds has left."""
    try:
        async with asyncio.timeout(STALLED):
            await send(
                {"type": "http.response.body", "body": b"data: %b\n\n" % data, "more_body": True}
            )
            await asyncio.sleep(0)  # sending alone lets nobody else have a turn
    except TimeoutError:
        raise _Left from None
