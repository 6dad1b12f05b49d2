"""A stand-in for an Ollama server, written from Ollama's API documentation (docs/api.md).

Blobs are checked against their digest, requests for unknown fields and wrong types, answers are streamed as NDJSON.
`fail` injects an error: {path: message} is sent inside the stream after status 200.

    python tests/stand_ins/ollama.py --port 0 --answer "I am the tuned model."
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOW = "2026-01-02T03:04:05.678901Z"
# Field → type of each request the documentation describes (those that matter here).
FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "/api/create": {"model": str, "files": dict, "from": str, "template": str, "system": str, "parameters": dict,
                    "license": (str, list), "messages": list, "stream": bool},
    "/api/chat": {"model": str, "messages": list, "options": dict, "stream": bool, "keep_alive": (str, int),
                  "format": (str, dict)},
    "/api/generate": {"model": str, "prompt": str, "options": dict, "stream": bool},
    "/api/show": {"model": str, "verbose": bool},
    "/api/copy": {"source": str, "destination": str},
    "/api/delete": {"model": str},
}
INTEGERS = {"num_ctx", "num_predict", "top_k", "seed"}
FLOATS = {"temperature", "top_p", "min_p"}


def full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def check_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        right = {"stop": isinstance(value, list) and all(isinstance(v, str) for v in value)}.get(
            name, isinstance(value, int) if name in INTEGERS else isinstance(value, (int, float)))
        if not right or name not in INTEGERS | FLOATS | {"stop"}:
            raise Refused(400, f'option "{name}" is invalid: {value!r}')


class OllamaServer(ThreadingHTTPServer):
    """State of the server: blobs by digest, models by full name, and every request seen, as (method, path, body)."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, answer: str = "I am the stand-in.", version: str = "0.17.1",
                 fail: dict[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer, self.release, self.fail = answer, version, fail or {}
        self.blobs: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def model(self, name: str) -> dict[str, Any]:
        if full(name) not in self.models:
            raise Refused(404, f"model '{name}' not found")
        return self.models[full(name)]

    # -- streaming endpoints: each yields events
    def create(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        files, parent = body.get("files"), body.get("from")
        if bool(files) == bool(parent):
            raise Refused(400, "neither 'from' or 'files' was specified")
        if parent:
            base = self.model(parent)
        else:
            for digest in files.values():
                if digest not in self.blobs:
                    raise Refused(400, f"invalid digest {digest}: no such blob")
                if not self.blobs[digest].startswith(b"GGUF"):
                    raise Refused(400, "unsupported content type: application/octet-stream")
            base = {"blob": next(iter(files.values()))}
        check_options(body.get("parameters", {}))
        yield {"status": "parsing GGUF"}
        yield {"status": f"using existing layer {base['blob']}"}
        given = {k: body[k] for k in ("template", "system", "parameters", "license", "messages") if k in body}
        model = {**base, **given}
        text = json.dumps(model, sort_keys=True)
        self.models[full(body["model"])] = {**model, "digest": hashlib.sha256(text.encode()).hexdigest()}
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    def chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.model(body["model"])
        options = body.get("options", {})
        check_options(options)
        for message in body["messages"]:
            if message.get("role") not in ("system", "user", "assistant", "tool") or "content" not in message:
                raise Refused(400, f"invalid message {message!r}")
        words = self.answer.split(" ")
        shown = words[:options.get("num_predict", len(words))]
        for i, word in enumerate(shown):
            yield {"model": body["model"], "created_at": NOW, "done": False,
                   "message": {"role": "assistant", "content": word if i == 0 else f" {word}"}}
        yield {"model": body["model"], "created_at": NOW, "message": {"role": "assistant", "content": ""}, "done": True,
               "done_reason": "stop" if len(shown) == len(words) else "length", "eval_count": len(shown),
               "eval_duration": 1000, "prompt_eval_count": 1, "total_duration": 2000}

    def generate(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        messages = [{"role": "user", "content": body["prompt"]}]
        for event in self.chat({**body, "messages": messages}):
            yield {**{k: v for k, v in event.items() if k != "message"}, "response": event["message"]["content"]}

    # -- plain endpoints
    def tags(self) -> dict[str, Any]:
        return {"models": [{"name": name, "model": name, "modified_at": NOW, "digest": model["digest"],
                            "size": len(self.blobs[model["blob"]]),
                            "details": {"format": "gguf", "family": "qwen2", "quantization_level": "Q4_K_M"}}
                           for name, model in self.models.items()]}

    def show(self, body: dict[str, Any]) -> dict[str, Any]:
        model = self.model(body["model"])
        blob = f"/models/blobs/{model['blob'].replace(':', '-')}"
        return {"modelfile": f"# Modelfile generated by \"ollama show\"\n\nFROM {blob}\n",
                "details": {"format": "gguf"},
                "template": model.get("template", ""), "system": model.get("system", ""),
                "parameters": "\n".join(f"{k:30} {v}" for k, v in model.get("parameters", {}).items())}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OllamaServer

    def log_message(self, *_: object) -> None: ...

    def answer(self, status: int, body: Any = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def stream(self, events: Iterator[dict[str, Any]], together: bool) -> None:
        """NDJSON in chunks. The first event is made before the status is sent, so a refusal has its own status."""
        first = next(events)
        if together:
            self.answer(200, {**first, **[first, *events][-1]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(first)
        if self.path in self.server.fail:
            self.chunk({"error": self.server.fail[self.path]})
        else:
            for event in events:
                self.chunk(event)
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def body(self) -> bytes:
        if "Content-Length" not in self.headers:
            raise Refused(411, "length required")
        return self.rfile.read(int(self.headers["Content-Length"]))

    def requested(self) -> dict[str, Any]:
        body = json.loads(self.body())
        for key, value in body.items():
            wanted = FIELDS[self.path].get(key)
            if wanted is None:
                raise Refused(400, f"unknown field {key!r}")
            if not isinstance(value, wanted):
                raise Refused(400, f"field {key!r} is a {type(value).__name__}")
        self.server.seen.append((self.command, self.path, body))
        return body

    def do(self) -> None:
        try:
            self.dispatch()
        except Refused as refused:
            self.answer(refused.status, {"error": refused.message})
        except (json.JSONDecodeError, KeyError) as error:
            self.answer(400, {"error": f"invalid request: {error}"})

    do_GET = do_POST = do_HEAD = do_DELETE = do  # noqa: N815 - the names that http.server calls

    def dispatch(self) -> None:
        server, route = self.server, f"{self.command} {self.path}"
        if route == "GET /api/version":
            self.answer(200, {"version": server.release})
        elif route == "GET /api/tags":
            self.answer(200, server.tags())
        elif route in ("GET /", "HEAD /"):
            self.answer(200, "Ollama is running")
        elif self.path.startswith("/api/blobs/"):
            self.blob(self.path.removeprefix("/api/blobs/"))
        elif route == "POST /api/show":
            self.answer(200, server.show(self.requested()))
        elif route == "POST /api/copy":
            body = self.requested()
            server.models[full(body["destination"])] = server.model(body["source"])
            self.answer(200)
        elif route == "DELETE /api/delete":
            name = self.requested()["model"]
            server.model(name)
            del server.models[full(name)]
            self.answer(200)
        elif route in ("POST /api/create", "POST /api/chat", "POST /api/generate"):
            body = self.requested()
            events = getattr(server, self.path.rpartition("/")[2])(body)
            self.stream(events, together=body.get("stream") is False)
        else:
            self.answer(404, {"error": f"no such endpoint: {route}"})

    def blob(self, digest: str) -> None:
        server = self.server
        if self.command == "HEAD":
            server.seen.append(("HEAD", self.path, None))
            self.answer(200 if digest in server.blobs else 404)
            return
        data = self.body()
        server.seen.append(("POST", self.path, len(data)))
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != digest:
            raise Refused(400, f'digest mismatch, expected "{digest}", got "{found}"')
        server.blobs[digest] = data
        self.answer(201)


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[OllamaServer]:
    server = OllamaServer(**settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--answer", default="I am the stand-in.")
    options.add_argument("--version", default="0.17.1")
    given = options.parse_args()
    with running(**vars(given)) as started:
        print(f"OLLAMA_HOST={started.url}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
