"""A stand-in for an OpenAI-compatible endpoint, written from OpenAI's API reference (chat completions, models).

Every request must carry a response_format with a strict JSON schema, unless `takes` says otherwise; the schema must
be one of OpenAI's strict mode. The answer is made from the schema and the passage in the prompt, so that it is grounded
and differs from passage to passage. What is to go wrong is given as a list of Faults, one a request, used up in order.

    python tests/stand_ins/openai_api.py --port 0 --key secret
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """One response that is not the good one. `cut`: the connection ends in the middle of the body."""

    status: int = 200
    body: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Answer = Callable[[dict[str, Any], str], Any]  # (schema, passage) → the JSON that the model writes


def strict(schema: dict[str, Any], where: str = "schema") -> None:
    """Raises where OpenAI's strict mode would refuse the schema."""
    if schema["type"] == "object":
        names = list(schema["properties"])
        if schema.get("additionalProperties") is not False or schema.get("required") != names:
            raise ValueError(
                f"Invalid schema for response_format: {where} must require all, and no other property"
            )
        for name in names:
            strict(schema["properties"][name], f"{where}.{name}")
    elif schema["type"] == "array":
        strict(schema["items"], f"{where}[]")
    extra = set(schema) - {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
    }
    if extra or schema["type"] not in ("object", "array", "string"):
        raise ValueError(f"Invalid schema for response_format: {where} has {sorted(extra)}")


def grounded(schema: dict[str, Any], passage: str) -> Any:
    """Sentences of the passage where text is asked for; questions where the property's name asks for them."""
    sentences = [s.strip() for s in re.split(r"(?<=\.)\s+|\n+", passage) if len(s.split()) > 3]
    subjects = re.findall(r"[A-Za-z]{4,}", passage)
    count = itertools.count(
        zlib.crc32(json.dumps(schema).encode())
    )  # other questions for each style

    def fill(part: dict[str, Any], name: str, row: int) -> Any:
        if part["type"] == "object":
            return {key: fill(value, key, row) for key, value in part["properties"].items()}
        if part["type"] == "array":
            return [fill(part["items"], name, i) for i in range(max(1, part["minItems"]))]
        if name.startswith("question"):
            at, n = next(count), len(subjects)
            return f"What is said about {subjects[at // n % n]} {subjects[at % n]}?"
        return subjects[row % len(subjects)] if name == "topic" else sentences[row % len(sentences)]

    return fill(schema, "", 0)


def schema_of(form: Any) -> dict[str, Any]:
    """A schema that a form to fill in is an instance of."""
    if isinstance(form, dict):
        return {
            "type": "object",
            "properties": {name: schema_of(value) for name, value in form.items()},
            "required": list(form),
            "additionalProperties": False,
        }
    if isinstance(form, list):
        return {
            "type": "array",
            "items": schema_of(form[0]),
            "minItems": len(form),
            "maxItems": len(form),
        }
    assert form == "…"
    return {"type": "string"}


class OpenAIServer(ThreadingHTTPServer):
    """`seen` holds every chat request's body; `most` how many were answered at one moment."""

    daemon_threads = True

    def __init__(
        self,
        port: int = 0,
        *,
        key: str = "",
        model: str = "writer",
        answer: Answer = grounded,
        faults: list[Fault] | None = None,
        takes: tuple[str, ...] = ("json_schema",),
        delay: float = 0.0,
        max_tokens_name: str = "max_tokens",
        temperature: bool = True,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.key, self.model, self.answer, self.takes, self.delay = key, model, answer, takes, delay
        self.max_tokens_name, self.temperature = max_tokens_name, temperature
        self.faults = list(faults or [])
        self.seen: list[dict[str, Any]] = []
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def spec(self) -> str:
        return f"{self.url}#{self.model}"

    def checked(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The schema of a good request (None: free text is asked for); raises ValueError with the refusal."""
        allowed = {"model", "messages", "response_format", "temperature", self.max_tokens_name}
        for name in sorted(set(body) - allowed):
            hint = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            raise ValueError(
                f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
            )
        if "temperature" in body and not self.temperature:
            raise ValueError("Unsupported value: 'temperature' does not support 0 with this model.")
        wanted = body.get("response_format")
        if wanted is None and "text" in self.takes:
            return None
        if wanted is None or wanted["type"] not in self.takes:
            raise ValueError(f"response_format {wanted and wanted['type']!r} is not supported")
        if wanted["type"] == "json_object":
            said = body["messages"][-1]["content"]
            if "JSON" not in said:
                raise ValueError("'messages' must contain the word 'json'")
            return schema_of(json.loads(said.rpartition("were asked for:\n")[2]))
        given = wanted["json_schema"]
        if given["strict"] is not True or not re.fullmatch(r"[\w-]{1,64}", given["name"]):
            raise ValueError("json_schema needs a name and strict")
        strict(wanted["json_schema"]["schema"])
        return wanted["json_schema"]["schema"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OpenAIServer

    def log_message(self, *_: object) -> None: ...

    def send(
        self, status: int, text: str, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def refuse(self, status: int, message: str) -> None:
        self.send(
            status, json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
        )

    def do_GET(self) -> None:
        if not self.is_known():
            return
        if self.path == "/v1/models":
            self.send(
                200,
                json.dumps(
                    {"object": "list", "data": [{"id": self.server.model, "object": "model"}]}
                ),
            )
        else:
            self.refuse(404, f"no such path: {self.path}")

    def is_known(self) -> bool:
        given = self.headers.get("Authorization", "")
        if self.server.key and given != f"Bearer {self.server.key}":
            self.refuse(401, f"Incorrect API key provided: {given.removeprefix('Bearer ')}")
            return False
        return True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.seen.append(body)
            fault = server.faults.pop(0) if server.faults else None
            server.now += 1
            server.most = max(server.most, server.now)
        try:
            if self.is_known():
                self.respond(body, fault)
        finally:
            with server.lock:
                server.now -= 1

    def respond(self, body: dict[str, Any], fault: Fault | None) -> None:
        server = self.server
        if fault and (fault.status != 200 or fault.body is not None):
            self.send(fault.status, fault.body or "", fault.headers)
            return
        if self.path != "/v1/chat/completions" or body["model"] != server.model:
            self.refuse(404, f"The model `{body['model']}` does not exist at {self.path}")
            return
        try:
            schema = server.checked(body)
        except ValueError as error:
            self.refuse(400, str(error))
            return
        time.sleep(server.delay)
        prompt = body["messages"][-1]["content"]
        passage = (re.search(r"<passage>\n(.*?)\n</passage>", prompt, re.DOTALL) or ["", prompt])[1]
        made = server.answer(schema or {}, passage)
        text = made if isinstance(made, str) else json.dumps(made)
        limit = body[server.max_tokens_name] * 4  # a token of four letters
        usage = {"prompt_tokens": len(prompt) // 4, "completion_tokens": min(len(text), limit) // 4}
        self.send(
            200,
            json.dumps(
                {
                    "object": "chat.completion",
                    "model": server.model,
                    "usage": usage,
                    "choices": [
                        {
                            "index": 0,
                            "finish_reason": "stop" if len(text) <= limit else "length",
                            "message": {"role": "assistant", "content": text[:limit]},
                        }
                    ],
                }
            ),
            cut=bool(fault and fault.cut),
        )


@contextlib.contextmanager
def running(**settings: Any) -> Iterator[OpenAIServer]:
    server = OpenAIServer(**settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--key", default="")
    options.add_argument("--model", default="writer")
    given = options.parse_args()
    with running(**vars(given)) as started:
        print(f"dataset.teacher={started.spec}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
