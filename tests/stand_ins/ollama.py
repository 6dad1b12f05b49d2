"""A stand-in for an Ollama server.

Written from Ollama's documents docs/api.md and docs/modelfile.mdx, and from what its own tests expect (August 2026):
server/routes_create_test.go (CreateTemplateSystem, CreateRemovesLayers, CreateLicenses, CreateReplacesMessages,
CreateModelValidatesTextOnlyFileGGUFWithoutQuantization), server/routes_test.go (Routes: version, tags, delete, create
blob; ManifestCaseSensitivity, Show, WaitForStream), server/routes_delete_test.go, server/routes_list_test.go,
server/routes_generate_test.go (ChatModeForModel, GenerateChat: missing body, missing model, missing thinking
capability, load model, messages with and without a system, interleaved system, status errors; GenerateHandlerChat-
TemplateRoute: uses preferred GGUF chat_template over Go TEMPLATE), template/template_test.go (Collate).

Blobs are checked against their digest and deleted with the last model that uses them; requests for unknown fields and
wrong types; answers are streamed as NDJSON. Prompts are rendered as Ollama does: with the model's Go template, or with
its file's own Jinja template where that has more capabilities and no parser is named. With `generates` the answer is
the model's own, from llama.cpp, always greedy; else it is `answer`. `fail` injects an error: {path: message} is sent
inside the stream after status 200. `rewrites`: llama.cpp's copy of a file at its creation is not the file.

    python tests/stand_ins/ollama.py --port 0 --answer "I am the tuned model."
    python tests/stand_ins/ollama.py --port 11434 --generates
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

from forge.chat.go_template import GoTemplate
from forge.chat.template import ChatTemplate
from forge.errors import ForgeError
from forge.gguf.container import read_header
from forge.runtime.llama import Model

NOW = "2026-01-02T03:04:05.678901Z"
# Field → type of each request the documentation describes (those that matter here).
FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "/api/create": {"model": str, "files": dict, "from": str, "template": str, "system": str, "parameters": dict,
                    "license": (str, list), "messages": list, "renderer": str, "parser": str, "requires": str,
                    "stream": bool},
    "/api/chat": {"model": str, "messages": list, "options": dict, "stream": bool, "keep_alive": (str, int),
                  "format": (str, dict), "tools": list, "think": (bool, str)},
    "/api/generate": {"model": str, "prompt": str, "options": dict, "stream": bool},
    "/api/show": {"model": str, "verbose": bool},
    "/api/copy": {"source": str, "destination": str},
    "/api/delete": {"model": str},
}
INTEGERS = {"num_ctx", "num_predict", "top_k", "seed"}
FLOATS = {"temperature", "top_p", "min_p", "repeat_penalty"}
PART = re.compile(r"\w[\w.-]{0,79}", re.ASCII)


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


def tools_told(jinja: str) -> bool:
    """server/images.go, chatTemplateHasToolSupport"""
    return "tools" in jinja or "tool_call" in jinja


class OllamaServer(ThreadingHTTPServer):
    """State of the server: blobs by digest, models by full name, and every request seen, as (method, path, body).
    `prompts` are those it rendered."""

    daemon_threads = True

    def __init__(self, port: int = 0, *, answer: str = "I am the stand-in.", version: str = "0.17.1",
                 fail: dict[str, str] | None = None, generates: bool = False, rewrites: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answer, self.release, self.fail = answer, version, fail or {}
        self.generates, self.rewrites = generates, rewrites
        self.blobs: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.prompts: list[str] = []
        self._folder = tempfile.TemporaryDirectory()
        self._loaded: dict[str, Model] = {}
        self._one = threading.Lock()

    def server_close(self) -> None:
        super().server_close()
        for model in self._loaded.values():
            model.close()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def existing(self, name: str) -> str:
        """The full name as it is spelled here: names differ by more than case."""
        path, tag = full(name).rsplit(":", 1)
        if not PART.fullmatch(tag) or not all(PART.fullmatch(part) for part in path.split("/")):
            raise Refused(400, "invalid model name")
        return next((known for known in self.models if known.lower() == full(name).lower()), full(name))

    def model(self, name: str) -> dict[str, Any]:
        if self.existing(name) not in self.models:
            raise Refused(404, f"model '{name}' not found")
        return self.models[self.existing(name)]

    def drop(self, name: str) -> None:
        """A model, and its file unless another model runs it."""
        blob = self.models.pop(name)["blob"]
        if all(model["blob"] != blob for model in self.models.values()):
            self.blobs.pop(blob, None)

    # -- streaming endpoints: each yields events
    def create(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        files, parent, name = body.get("files"), body.get("from"), self.existing(body["model"])
        if bool(files) == bool(parent):
            raise Refused(400, "neither 'from' or 'files' was specified")
        if parent:
            base = {k: v for k, v in self.model(parent).items() if k != "digest"}
        else:
            for file, digest in files.items():
                if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                    raise Refused(400, "file path must be relative")
                if digest not in self.blobs:
                    raise Refused(400, f"invalid digest {digest}: no such blob")
                if not self.blobs[digest].startswith(b"GGUF"):
                    raise Refused(400, "supplied file was not in GGUF format")
            base = {"blob": self.written_anew(next(iter(files.values())))}
        if "template" in body:
            try:
                GoTemplate(body["template"])
            except ForgeError as error:
                raise Refused(400, f"template error: {error.message}") from None
        check_options(body.get("parameters", {}))
        yield {"status": "validating GGUF model", "digest": "0000000000000000000", "total": 1, "completed": 1}
        yield {"status": f"using existing layer {base['blob']}"}
        given = {k: body[k] for k in ("template", "system", "license", "messages", "renderer", "parser", "requires")
                 if body.get(k)}
        options = {**base.get("parameters", {}), **body.get("parameters", {})}
        model = {**base, **given, **({"parameters": options} if options else {})}
        text = json.dumps(model, sort_keys=True)
        if name in self.models and self.models[name]["blob"] != model["blob"]:
            self.drop(name)
        self.models[name] = {**model, "digest": hashlib.sha256(text.encode()).hexdigest()}
        yield {"status": "writing manifest"}
        yield {"status": "success"}

    def written_anew(self, digest: str) -> str:
        """What llama.cpp's copy of a file is known by: the file itself, where it is in llama.cpp's own order."""
        if not self.rewrites:
            return digest
        data = self.blobs[digest] + b"\0"
        made = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[made] = data
        return made

    def rendered(self, model: dict[str, Any], messages: list[dict[str, Any]]) -> str:
        """server/routes.go, ChatHandler and chatModeForModel; server/prompt.go; template/template.go, Execute"""
        turns = [*model.get("messages", []), *messages]
        if messages[0]["role"] != "system" and model.get("system"):
            turns.insert(0, {"role": "system", "content": model["system"]})
        if jinja := self.jinja_preferred(model):
            return jinja.render(turns, prompt=True)
        return GoTemplate(model.get("template", "{{ range .Messages }}{{ .Content }}{{ end }}")).prompt(turns)

    def jinja_preferred(self, model: dict[str, Any]) -> ChatTemplate | None:
        """The file's own template, where it is taken (server/images.go, shouldPreferChatTemplate)."""
        if model.get("parser") or model.get("renderer"):
            return None
        jinja, template = self.jinja(model), model.get("template")
        more = jinja and (template is None or (tools_told(jinja.source) and ".Tools" not in template))
        return jinja if more else None

    def takes_tools(self, model: dict[str, Any]) -> bool:
        jinja = self.jinja_preferred(model)
        return tools_told(jinja.source) if jinja else ".Tools" in model.get("template", "")

    def jinja(self, model: dict[str, Any]) -> ChatTemplate | None:
        try:
            source = read_header(self.path(model)).get("tokenizer.chat_template")
        except ForgeError:
            return None
        return ChatTemplate(source) if source else None

    def path(self, model: dict[str, Any]) -> Path:
        path = Path(self._folder.name, model["blob"].replace(":", "-"))
        if not path.exists():
            path.write_bytes(self.blobs[model["blob"]])
        return path

    def chat(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not body["model"]:
            raise Refused(400, "model is required")
        model = self.model(body["model"])
        options = {**model.get("parameters", {}), **body.get("options", {})}
        check_options(options)
        if body.get("tools") and not self.takes_tools(model):
            raise Refused(400, f"{self.existing(body['model'])} does not support tools")
        if body.get("think"):
            raise Refused(400, f'"{body["model"]}" does not support thinking')
        for message in body["messages"]:
            if message.get("role") not in ("system", "user", "assistant", "tool") or "content" not in message:
                raise Refused(400, f"invalid message {message!r}")
        if not body["messages"]:
            yield {"model": body["model"], "created_at": NOW, "message": {"role": "assistant", "content": ""},
                   "done": True, "done_reason": "load"}
            return
        pieces, tokens, prompted, stopped = self.answered(model, body["messages"], options)
        for piece in pieces:
            yield {"model": body["model"], "created_at": NOW, "done": False,
                   "message": {"role": "assistant", "content": piece}}
        yield {"model": body["model"], "created_at": NOW, "message": {"role": "assistant", "content": ""}, "done": True,
               "done_reason": "stop" if stopped else "length", "eval_count": tokens,
               "eval_duration": 1000, "prompt_eval_count": prompted, "total_duration": 2000}

    def answered(self, model: dict[str, Any], messages: list[dict[str, Any]], options: dict[str, Any]
                 ) -> tuple[list[str], int, int, bool]:
        """The pieces of an answer, its tokens, those of the prompt, and whether it ended by itself."""
        limit = options.get("num_predict", 128)
        if not self.generates:
            words = self.answer.split(" ")
            shown = words[:limit]
            return [word if i == 0 else f" {word}" for i, word in enumerate(shown)], len(shown), 1, \
                len(shown) == len(words)
        prompt = self.rendered(model, messages)
        self.prompts.append(prompt)
        with self._one:
            if model["blob"] not in self._loaded:
                self._loaded[model["blob"]] = Model(self.path(model), num_ctx=1024)
            engine = self._loaded[model["blob"]]
            ids = engine._post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"]
            made = engine.proceed(ids, limit)
            text = engine._post("/detokenize", {"tokens": made.ids[:-1] if made.stopped else made.ids})["content"]
        cut = min((text.find(stop) for stop in options.get("stop", []) if stop in text), default=len(text))
        text = text[:cut].rstrip("\ufffd")
        return re.findall(r"\s*\S+|\s+", text), len(made.ids), len(ids), made.stopped or cut < len(text)

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
        return {"modelfile": "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, "
                             f"replace FROM with:\n# FROM {body['model']}\n\nFROM {blob}\n",
                "details": {"format": "gguf"},
                "template": model.get("template", ""), "system": model.get("system", ""),
                "parameters": "\n".join(f"{k:30} {v}" for k, v in model.get("parameters", {}).items())}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
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
            server.models[server.existing(body["destination"])] = server.model(body["source"])
            self.answer(200)
        elif route == "DELETE /api/delete":
            name = self.requested()["model"]
            server.model(name)
            server.drop(server.existing(name))
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
    options.add_argument("--generates", action="store_true", help="answer with the model itself")
    given = options.parse_args()
    with running(**vars(given)) as started:
        print(f"OLLAMA_HOST={started.url}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
