"""A server that is there already, behind the front: Ollama's stand-in, and one that speaks OpenAI's API as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from stand_ins import ollama

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.runtime.server.documents import Service
from phoenix_forge.runtime.server.front import Door, Front
from phoenix_forge.runtime.server.remote import OLLAMA_API, OPENAI_API, Place, Remote, place

HELLO = [{"role": "user", "content": "Hi"}]
TIDE = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
USED = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def said(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}
    return {"choices": [choice]}


@dataclass
class Peer:
    """Sends `events` to a chat, then `status` where that is an error; `seen` are the bodies of chats, `left` is set when
    a client closes its connection before the end, which `endless` answers do not come to."""

    events: list[Any] = field(default_factory=list)
    status: int = 200
    models: tuple[str, ...] = ("only",)
    key: str = ""
    endless: bool = False
    seen: list[dict[str, Any]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        allowed = not self.key or f"authorization: bearer {self.key}" in head
        status, kind, parts = (200 if allowed else 401), "application/json", [b"{}"]
        if head.startswith("get"):
            parts = [json.dumps({"data": [{"id": name} for name in self.models]}).encode()]
        else:
            length = int(head.partition("content-length: ")[2].partition("\r")[0])
            self.seen.append(json.loads(await reader.readexactly(length)))
            status, kind = self.status, "text/event-stream"
            sent = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in self.events]
            parts = sent if status != 200 else [b"data: %b\n\n" % e for e in sent]
        writer.write(
            f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: {kind}\r\n\r\n".encode()
        )
        for part in parts:
            writer.write(part)
        if self.endless and not head.startswith("get"):
            await reader.read()  # until the client goes
            self.left.set()
        writer.close()


@contextlib.asynccontextmanager
async def behind(peer: Peer, model: str = "", **more: Any) -> AsyncIterator[Front]:
    """The front before a peer."""
    server = await asyncio.start_server(peer.answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server, fronted(OPENAI_API, Place(url, model, more.pop("key", "")), **more) as front:
        yield front


@contextlib.asynccontextmanager
async def fronted(
    dialect: Any, at: Place, system: str | None = None, **more: Any
) -> AsyncIterator[Front]:
    remote = Remote(dialect, at, GenerationConfig(**more), system, Silent())
    try:
        await remote.start()
        yield Front(remote, Door(80), Service("mine"), Silent())
    finally:
        await remote.stop()


async def asked(front: Front, body: dict[str, Any]) -> httpx2.Response:
    transport = httpx2.ASGITransport(front)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as web:
        return await web.post("/v1/chat/completions", json={"messages": HELLO, **body})


def through(peer: Peer, body: dict[str, Any], **more: Any) -> httpx2.Response:
    async def run() -> httpx2.Response:
        async with behind(peer, **more) as front:
            return await asked(front, body)

    return asyncio.run(run())


def test_an_answer_is_handed_on_whole_and_streamed() -> None:
    chances = {"content": [{"token": "Hel", "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
    begun = said("Hel\u2028")
    begun["choices"][0]["logprobs"] = chances
    peer = Peer([begun, said("lo"), said(finish="length"), USED, b"[DONE]"])
    told = through(peer, {"logprobs": True, "top_logprobs": 3, "max_tokens": 9}).json()
    (choice,) = told["choices"]
    assert (told["model"], choice["message"]["content"]) == ("mine", "Hel\u2028lo")
    assert (choice["finish_reason"], choice["logprobs"]) == ("length", chances)
    assert told["usage"]["total_tokens"] == 9
    (seen,) = peer.seen
    assert (seen["model"], seen["max_tokens"]) == ("only", 9)
    assert (seen["logprobs"], seen["top_logprobs"]) == (True, 3)
    text = through(peer, {"stream": True, "stream_options": {"include_usage": True}}).text
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    deltas = [choice["delta"].get("content", "") for c in chunks for choice in c["choices"]]
    assert "".join(deltas) == "Hel\u2028lo"
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_the_backend_is_asked_as_the_config_says_unless_the_request_does() -> None:
    peer = Peer([said("x", "stop")])
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = {
        "temperature": 0.1,
        "top_k": 3,
        "logit_bias": {"5": 1},
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }
    for body in ({}, request):
        assert through(peer, body, system="I am G.", top_p=0.5).status_code == 200
    bare, given = peer.seen
    assert bare["messages"] == [{"role": "system", "content": "I am G."}, *HELLO]
    assert (bare["temperature"], bare["top_p"], "top_k" in bare) == (0.7, 0.5, False)
    assert (given["temperature"], given["top_k"], given["logit_bias"]) == (0.1, 3, {"5": 1})
    assert given["response_format"]["json_schema"]["schema"] == schema


def test_tools_go_there_and_calls_come_back() -> None:
    calls = [{"index": 0, "function": {"name": "tide", "arguments": '{"port": '}}]
    rest = [{"index": 0, "function": {"arguments": '"Büsum"}'}}]
    peer = Peer([said(tool_calls=calls), said(tool_calls=rest), said(finish="tool_calls")])
    call = {"id": "1", "type": "function", "function": {"name": "tide", "arguments": '{"a": 1}'}}
    turns = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "4 m"},
    ]
    named = {"type": "function", "function": {"name": "tide"}}
    for choice in ("auto", "required", named):
        body = {"messages": turns, "tools": [TIDE, CLOCK], "tool_choice": choice}
        (told,) = through(peer, body, system="I am G.").json()["choices"]
        (made,) = told["message"]["tool_calls"]
        assert json.loads(made["function"]["arguments"]) == {"port": "Büsum"}
        assert (told["finish_reason"], told["message"]["content"]) == ("tool_calls", None)
        assert (peer.seen[-1]["tool_choice"], peer.seen[-1]["tools"]) == (choice, [TIDE, CLOCK])
        assert all("tools" not in turn for turn in peer.seen[-1]["messages"])
        assert peer.seen[-1]["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


@pytest.mark.parametrize(
    ("peer", "status", "words"),
    [
        (Peer([{"error": {"message": "no such thing"}}], status=400), 400, "no such thing"),
        (Peer([b"<html>"], status=500), 502, "<html>"),
        (Peer([{"error": "busy"}], status=429), 429, "busy"),
        (Peer([{"error": "the prompt exceeds the context length"}], status=500), 400, "context"),
        (Peer([{"error": {"message": "out of memory"}}]), 502, "out of memory"),
        (Peer([said("Hel")]), 502, "in the middle"),
        (Peer([b"{nonsense"]), 502, "no JSON"),
        (Peer([{"choices": [7]}]), 502, "no answer"),
        (Peer([]), 502, "in the middle"),
    ],
)
def test_what_goes_wrong_there_is_told(peer: Peer, status: int, words: str) -> None:
    answer = through(peer, {})
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True)


def test_what_the_backend_does_not_know_is_refused_by_name() -> None:
    for body, name in (({"grammar": 'root ::= "x"'}, "grammar"), ({"typical_p": 0.5}, "typical_p")):
        peer = Peer([said("x", "stop")])
        answer = through(peer, body)
        assert (answer.status_code, answer.json()["error"]["param"], peer.seen) == (400, name, [])


def test_a_client_that_leaves_ends_the_answer_there() -> None:
    peer = Peer([said("Hel")], endless=True)
    body = json.dumps({"messages": HELLO, "stream": True}).encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    headers = [(b"host", b"localhost"), (b"content-length", b"%d" % len(body))]

    async def run() -> None:
        heard = asyncio.Event()
        events = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if events:
                return events.pop()
            await heard.wait()
            return {"type": "http.disconnect"}

        async def send(event: Any) -> None:
            if b"Hel" in event.get("body", b""):
                heard.set()

        async with behind(peer) as front:
            await front({**scope, "headers": headers}, receive, send)
            await asyncio.wait_for(peer.left.wait(), 10)

    asyncio.run(run())


def started(peer: Peer, **more: Any) -> None:
    async def run() -> None:
        async with behind(peer, **more):
            pass

    asyncio.run(run())


def test_what_keeps_it_from_serving_is_said_at_the_start() -> None:
    with pytest.raises(UsageError, match="2 models: a, b") as caught:
        started(Peer(models=("a", "b")))
    assert "#MODEL" in str(caught.value.fix)
    started(Peer(models=("a", "b")), model="b")
    with pytest.raises(EnvironmentProblem, match="refuses the key") as refused:
        started(Peer(key="secret"), key="wrong")
    assert "FORGE_BACKEND_KEY" in str(refused.value.fix)
    started(Peer(key="secret"), key="secret")

    async def nobody() -> None:
        async with fronted(OPENAI_API, Place("http://127.0.0.1:9/v1")):
            pass

    with pytest.raises(EnvironmentProblem, match="nothing answers"):
        asyncio.run(nobody())


@pytest.mark.parametrize("spec", ["olama", "ftp://host/v1", "https://", "http://host:x/v1"])
def test_an_address_that_is_none(spec: str) -> None:
    with pytest.raises(UsageError, match="neither builtin, ollama nor an address"):
        place(spec, "")


def test_a_key_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        place("https://user:geheim@host/v1", "")
    assert "geheim" not in f"{caught.value} {caught.value.fix}"
    assert place("https://host/v1/#big model", "k") == Place("https://host/v1", "big model", "k")


# -- Ollama ------------------------------------------------------------------------------------------------------------


def with_ollama(work: Callable[[Front], Awaitable[Any]], **settings: Any) -> tuple[Any, list[Any]]:
    """What comes of `work` with a front before the stand-in, and the chats that it was asked for."""
    with ollama.running(**settings) as server:
        server.models["mine:latest"] = {"blob": "x", "digest": "x"}
        server.blobs["x"] = b""

        async def run() -> Any:
            async with fronted(OLLAMA_API, Place(server.url, "mine")) as front:
                return await work(front)

        return asyncio.run(run()), [body for _, path, body in server.seen if path == "/api/chat"]


def test_ollama_answers_with_the_deployed_model() -> None:
    schema = {"type": "object"}
    body = {"max_tokens": 3, "stop": "!", "response_format": {"type": "json_object"}}
    answer, (seen,) = with_ollama(
        lambda front: asked(front, body), answer="At dusk every day, surely."
    )
    (choice,) = answer.json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("At dusk every", "length")
    assert (seen["model"], seen["truncate"], seen["format"]) == ("mine", False, schema)
    assert seen["options"] | {"stop": ["!"], "num_predict": 3, "top_k": 40} == seen["options"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"tools": [TIDE], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_ollama_cannot_do_is_refused_by_name(body: dict[str, Any], name: str) -> None:
    answer, seen = with_ollama(lambda front: asked(front, body))
    assert (answer.status_code, answer.json()["error"]["param"], seen) == (400, name, [])


def test_what_ollama_refuses_or_fails_at_is_told() -> None:
    answer, _ = with_ollama(lambda front: asked(front, {}), fail={"/api/chat": "out of memory"})
    assert (answer.status_code, "out of memory" in answer.text) == (502, True)
    answer, _ = with_ollama(lambda front: asked(front, {}), answer="x " * 40)
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_a_model_that_ollama_has_not_is_said_at_the_start() -> None:
    async def start(url: str) -> None:
        async with fronted(OLLAMA_API, Place(url, "mine")):
            pass

    with ollama.running() as server, pytest.raises(UsageError, match="no model mine"):
        asyncio.run(start(server.url))
