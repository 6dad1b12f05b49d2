"""A server that is there already, behind the front: Ollama, or anything that speaks OpenAI's API (vLLM, SGLang, …).

What it is asked is made anew from what the front has read, by the names of its own API (Ollama: docs/api.md in its
repository; OpenAI: https://platform.openai.com/docs/api-reference/chat), and what it sends is read piece by piece.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from phoenix_forge.chat.calls import Call
from phoenix_forge.chat.template import BESIDE, Message, beside
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.runtime.answer import sampler
from phoenix_forge.runtime.ollama import TOO_LONG, Ollama
from phoenix_forge.runtime.serve import is_loopback
from phoenix_forge.runtime.server.backend import Piece
from phoenix_forge.runtime.server.refused import Refused
from phoenix_forge.runtime.server.requests import Asked

KEY = "FORGE_BACKEND_KEY"
CONNECT, SILENCE = 10.0, 600.0  # seconds for a connection, and between two parts of an answer
LISTED = 30.0  # seconds for the list of its models
LINE = 2**24  # bytes of an event
# What a request may say, by llama.cpp's names, as the backend calls it; anything else is refused by name.
OPENAI = {
    **{name: name for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")},
    **{name: name for name in ("seed", "stop", "top_k", "min_p", "ignore_eos")},
    "n_predict": "max_tokens",
    "n_probs": "top_logprobs",
    "logit_bias": "logit_bias",
    "json_schema": "response_format",
}
OLLAMA = {
    **{name: name for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")},
    **{name: name for name in ("seed", "stop", "top_k", "min_p", "typical_p")},
    **{name: name for name in ("repeat_penalty", "repeat_last_n")},
    "n_predict": "num_predict",
    "json_schema": "format",
}
CALLED = {"n_predict": "max_tokens", "n_probs": "logprobs"}  # by a client
Events = AsyncIterator[dict[str, Any]]


@dataclass(frozen=True)
class Dialect:
    """How a kind of server is spoken to: where it is asked, what for, and how its events become pieces."""

    path: str
    names: Mapping[str, str]
    body: Callable[[Asked, dict[str, Any]], dict[str, Any]]
    pieces: Callable[[Events], AsyncGenerator[Piece, None]]


@dataclass(frozen=True)
class Place:
    """A server's address, the `key` it asks for ("": none), and its `model`; "" where it has only one."""

    url: str
    model: str = ""
    key: str = ""


def place(spec: str, key: str) -> Place:
    """https://HOST/v1, or https://HOST/v1#MODEL. Raises UsageError for another text."""
    url, _, model = spec.partition("#")
    split = urlsplit(url)
    try:
        usable = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if split.username or split.password or split.query:  # not shown: it may be a key
        raise UsageError(
            f"--backend: the address of {split.hostname} holds credentials or a query",
            fix=f"https://HOST/v1, and the key in {KEY}",
        )
    if not usable:
        raise UsageError(
            f"--backend {spec!r:.200} is neither builtin, ollama nor an address",
            fix="--backend ollama, or https://HOST/v1#MODEL",
        )
    return Place(url.rstrip("/"), model.strip(), key)


class Remote:
    """The Backend (phoenix_forge.runtime.server.backend) that hands on what it is asked. `generation` is how requests
    are sampled that do not say how, `system` what goes before conversations without a system message."""

    completes = False

    def __init__(
        self,
        dialect: Dialect,
        at: Place,
        generation: GenerationConfig,
        system: str | None,
        report: Reporter,
    ) -> None:
        self.dialect, self.at, self.system, self.report = dialect, at, system, report
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready, self._model = False, at.model
        chosen = sampler(generation.temperature, generation.top_p, generation.greedy, seed=None)
        usual = chosen if dialect is OLLAMA_API else {**chosen, "top_k": None, "min_p": None}
        self._usual = {name: value for name, value in usual.items() if value is not None}
        # A proxy is for the network, never for this machine; redirects are not followed: the key goes nowhere else.
        self._web = httpx2.AsyncClient(
            timeout=httpx2.Timeout(SILENCE, connect=CONNECT, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=32),
            headers={"Authorization": f"Bearer {at.key}"} if at.key else {},
            trust_env=not is_loopback(self._host),
        )

    @property
    def _host(self) -> str:
        return urlsplit(self.at.url).hostname or ""

    async def start(self) -> str:
        find = self._in_ollama if self.dialect is OLLAMA_API else self._listed
        self._model = await find()
        self.ready = True
        return f"{self._model} at {self.at.url}"

    async def stop(self) -> None:
        self.ready = False
        await self._web.aclose()

    async def _in_ollama(self) -> str:
        def look() -> None:
            with contextlib.closing(Ollama(self.at.url)) as server:
                server.require(self.report)
                if server.manifests()(self.at.model) is None:
                    raise UsageError(
                        f"Ollama at {server.url} has no model {self.at.model}", fix="forge deploy"
                    )

        try:
            await asyncio.to_thread(look)
        except EnvironmentProblem as problem:
            fix = "start it with `ollama serve`; or leave --backend out"
            raise EnvironmentProblem(problem.message, fix=fix) from None
        return self.at.model

    async def _listed(self) -> str:
        """The model that is asked for: the one that was named, or the only one there is."""
        if self.at.key and self.at.url.startswith("http://") and not is_loopback(self._host):
            self.report.warn(f"the key in {KEY} travels to {self._host} unencrypted: use https")
        try:
            answer = await self._web.get(f"{self.at.url}/models", timeout=LISTED)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise EnvironmentProblem(
                f"nothing answers at {self.at.url}: {str(error) or type(error).__name__}",
                fix="start the server, or check the address",
            ) from None
        if answer.status_code in (401, 403):
            raise EnvironmentProblem(
                f"{self.at.url} refuses the key ({answer.status_code})",
                fix=f"set {KEY} to a key of this server",
            )
        if self.at.model:  # not every server lists its models
            return self.at.model
        names = _names(answer)
        if len(names) != 1:
            raise UsageError(
                f"{self.at.url} has {len(names)} models: {', '.join(names)[:500] or 'none listed'}",
                fix=f"name one: --backend {self.at.url}#MODEL",
            )
        return names[0]

    async def prepare(self, asked: Asked) -> None:
        if self.system and asked.messages[0]["role"] != "system":
            own = {"role": "system", "content": self.system}
            asked.messages = [own, *asked.messages]

    async def write(self, asked: Asked, number: int) -> AsyncGenerator[Piece, None]:
        body = self.dialect.body(asked, self._named(asked, number)) | {"model": self._model}
        request = self._web.stream("POST", f"{self.at.url}{self.dialect.path}", json=body)
        try:
            async with request as response:
                if response.status_code != httpx2.codes.OK:
                    raise _refused(response.status_code, await _beginning(response))
                events = _events(response)
                async with contextlib.aclosing(self.dialect.pieces(events)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (LookupError, TypeError, AttributeError) as error:
            raise Refused(
                f"the backend sent something that is no answer: {error!r:.100}", 502, "server_error"
            ) from None
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Refused(f"the backend does not answer: {reason}", 502, "server_error") from None

    def _named(self, asked: Asked, number: int) -> dict[str, Any]:
        """What the request says of its answer, by the backend's names."""
        sent = self._usual | asked.sent
        if number and "seed" in sent:
            sent["seed"] += number
        if other := next((name for name in sent if name not in self.dialect.names), None):
            shown = CALLED.get(other, other)
            raise Refused(f"{shown} is not supported with this backend", param=shown)
        return {self.dialect.names[name]: value for name, value in sent.items()}


def _names(answer: httpx2.Response) -> list[str]:
    try:
        return [str(model["id"]) for model in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return []


async def _beginning(response: httpx2.Response) -> bytes:
    """Of a refusal, as much as is read."""
    async for data in response.aiter_bytes(2**16):
        return data
    return b""


async def _events(response: httpx2.Response) -> Events:
    """Objects, one a line, bare or as server-sent events; lines end with a line feed only. Raises Refused for an error
    among them, and for what is no JSON."""
    rest = b""
    async for data in response.aiter_bytes():
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LINE:
            raise Refused("the backend sent a line without an end", 502, "server_error")
        for line in lines:
            if event := _event(line.removeprefix(b"data:").strip()):
                yield event


def _event(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):  # a comment, an event's name, [DONE]
        return None
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise Refused(f"the backend sent no JSON: {line!r:.100}", 502, "server_error") from None
    if event.get("error"):
        raise _refused(500, line)
    return event


def _refused(status: int, body: bytes) -> Refused:
    """What the backend says of a request, as the front tells it."""
    try:
        told = orjson.loads(body)["error"]
        message = str(told["message"] if isinstance(told, dict) else told)
    except (orjson.JSONDecodeError, LookupError, TypeError):
        message = body.decode("utf-8", "replace")[:200] or f"status {status}"
    if any(words in message for words in TOO_LONG):
        return Refused(message, kind="exceed_context_size_error")
    ours = status in (400, 413, 422, 429)
    told_as = (status, "invalid_request_error") if ours else (502, "server_error")
    return Refused(f"the backend refuses ({status}): {message}", *told_as)


# -- OpenAI ------------------------------------------------------------------------------------------------------------


def _openai_body(asked: Asked, named: dict[str, Any]) -> dict[str, Any]:
    body = {
        **named,
        "messages": [_openai_message(_bare(turn)) for turn in asked.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if "top_logprobs" in named:
        body["logprobs"] = True
    if "logit_bias" in named:
        body["logit_bias"] = {str(int(token)): bias for token, bias in named["logit_bias"]}
    if "response_format" in named:
        form = {"name": "answer", "schema": named["response_format"]}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    if asked.offer:
        body |= {**beside(asked.messages), "tool_choice": _choice(asked)}
    if asked.offer and asked.offer.single:
        body["parallel_tool_calls"] = False
    return body


def _choice(asked: Asked) -> Any:
    assert asked.offer
    must = asked.offer.must
    if len(must) == 1 and len(asked.offer.functions) > 1:
        return {"type": "function", "function": {"name": must[0]}}
    return "required" if must else "auto"


def _bare(turn: Message) -> Message:
    return {name: value for name, value in turn.items() if name not in BESIDE}


def _openai_message(turn: Message) -> Message:
    if not turn.get("tool_calls"):
        return turn
    calls = [
        {**call, "function": {**call["function"], "arguments": _as_json(call)}}
        for call in turn["tool_calls"]
    ]
    return {**turn, "tool_calls": calls}


def _as_json(call: dict[str, Any]) -> str:
    return json.dumps(call["function"]["arguments"], ensure_ascii=False)


async def _openai_pieces(events: Events) -> AsyncGenerator[Piece, None]:
    calls: dict[int, dict[str, str]] = {}
    used: dict[str, int] = {}
    finish = ""
    async for event in events:
        used = event.get("usage") or used
        for choice in event.get("choices", ()):
            delta, finish = choice.get("delta") or {}, choice.get("finish_reason") or finish
            for call in delta.get("tool_calls") or ():
                told = calls.setdefault(call.get("index", 0), {"name": "", "arguments": ""})
                for name in told:
                    told[name] += call.get("function", {}).get(name) or ""
            chances = (choice.get("logprobs") or {}).get("content") or []
            if delta.get("content") or chances:
                words = {"content": delta.get("content") or "", "stop": False}
                yield {**words, "completion_probabilities": chances}
    if not finish:
        raise Refused("the backend's answer ended in the middle", 502, "server_error")
    counts = (used.get("completion_tokens", 0), used.get("prompt_tokens", 0))
    yield _last(finish != "length", counts, [_call(**call) for call in calls.values()])


def _call(name: str, arguments: str) -> Call:
    try:
        given = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        raise Refused(
            f"the backend calls {name!r:.80} with what is no JSON", 502, "server_error"
        ) from None
    return Call(name, given)


def _last(stopped: bool, counts: tuple[int, int], calls: list[Call]) -> Piece:
    return {
        "content": "",
        "stop": True,
        "stop_type": "eos" if stopped else "limit",
        "tokens_predicted": counts[0],
        "tokens_evaluated": counts[1],
        "calls": calls,
    }


# -- Ollama ------------------------------------------------------------------------------------------------------------


def _ollama_body(asked: Asked, named: dict[str, Any]) -> dict[str, Any]:
    """A conversation that is too long is refused: unless told otherwise Ollama cuts it without a word."""
    if asked.offer and asked.offer.must:
        raise Refused("Ollama cannot be told to call a tool", param="tool_choice")
    form = {"format": named.pop("format")} if "format" in named else {}
    if "num_predict" in named:
        named["num_predict"] = max(1, named["num_predict"])  # 0 is no limit there
    return {
        "messages": [_ollama_message(_bare(turn)) for turn in asked.messages],
        "options": named,
        "stream": True,
        "truncate": False,
        **form,
        **(beside(asked.messages) if asked.offer else {}),
    }


def _ollama_message(turn: Message) -> Message:
    return {**turn, "tool_name": turn["name"]} if "name" in turn else turn


async def _ollama_pieces(events: Events) -> AsyncGenerator[Piece, None]:
    """A stream that ends without a last event is an answer that did not stop (phoenix_forge.runtime.ollama)."""
    calls: list[Call] = []
    event: dict[str, Any] = {}
    written = 0
    async for event in events:
        said = event.get("message") or {}
        for call in said.get("tool_calls") or ():
            calls.append(Call(call["function"]["name"], call["function"].get("arguments") or {}))
        if said.get("content"):
            written += 1
            yield {"content": said["content"], "stop": False}
    counts = (event.get("eval_count", written), event.get("prompt_eval_count", 0))
    yield _last(event.get("done_reason") == "stop", counts, calls)


OPENAI_API = Dialect("/chat/completions", OPENAI, _openai_body, _openai_pieces)
OLLAMA_API = Dialect("/api/chat", OLLAMA, _ollama_body, _ollama_pieces)
