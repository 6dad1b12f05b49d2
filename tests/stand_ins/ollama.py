"""A stand-in for an Ollama server, as one of release 0.33 (with its own runner) was found to behave.

What it says and when follows Ollama's source (August 2026: server/create.go, routes.go, prompt.go, llm/llama_server.go,
manifest/layer.go, types/model/name.go) and what a real server answered. So unknown fields, options and roles are taken;
what is wrong with a file, with parameters or with `from` is told in the stream, after status 200; a blob with a wrong
digest is refused, and yet stored under its own; a prompt beyond num_ctx is cut, first by messages and then in its
middle, unless the request says `truncate: false`; and an answer that makes one token more than 30 times over ends
without a last event.

Blobs are deleted with the last model that uses them; answers are streamed as NDJSON. Prompts are rendered with the
model's Go template, or with its file's own Jinja template where that has more capabilities and no parser is named.
With `generates` the answer is the model's own, from llama.cpp, always greedy; else it is `answer`. `fail` injects an
error: {path: message} is sent inside the stream after status 200. `rewrites`: llama.cpp's copy of a file at its
creation is not the file. Models that run elsewhere (names ending in cloud), pulling and pushing are not here.

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
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

from phoenix_forge.chat.go_template import GoTemplate
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.errors import ForgeError
from phoenix_forge.gguf.container import read_header
from phoenix_forge.runtime.llama import Model

NOW = "2026-01-02T03:04:05.678901Z"
# Field → type in Go of each request (those that matter here); other fields are read over.
STRUCTS: dict[str, tuple[str, dict[str, str]]] = {
    "/api/create": (
        "CreateRequest",
        {
            "model": "string",
            "name": "string",
            "files": "map[string]string",
            "from": "string",
            "template": "string",
            "system": "string",
            "parameters": "map[string]interface {}",
            "messages": "[]api.Message",
            "renderer": "string",
            "parser": "string",
            "requires": "string",
            "stream": "bool",
        },
    ),
    "/api/chat": (
        "ChatRequest",
        {
            "model": "string",
            "messages": "[]api.Message",
            "options": "map[string]interface {}",
            "stream": "bool",
            "tools": "api.Tools",
            "truncate": "bool",
            "shift": "bool",
        },
    ),
    "/api/generate": (
        "GenerateRequest",
        {
            "model": "string",
            "prompt": "string",
            "options": "map[string]interface {}",
            "stream": "bool",
        },
    ),
    "/api/show": ("ShowRequest", {"model": "string", "name": "string", "verbose": "bool"}),
    "/api/copy": ("CopyRequest", {"source": "string", "destination": "string"}),
    "/api/delete": ("DeleteRequest", {"model": "string", "name": "string"}),
}
KINDS = {"string": str, "bool": bool, "map": dict, "[]": list, "api.Tools": list}
# api/types.go, Options: what is not among them is read over.
OPTIONS = {
    **dict.fromkeys(
        (
            "num_ctx",
            "num_predict",
            "num_keep",
            "num_batch",
            "num_gpu",
            "num_thread",
            "main_gpu",
            "seed",
            "top_k",
            "repeat_last_n",
        ),
        "integer",
    ),
    **dict.fromkeys(
        (
            "temperature",
            "top_p",
            "min_p",
            "typical_p",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
        ),
        "float32",
    ),
    "use_mmap": "boolean",
    "stop": "array",
}
NUM_CTX = 4096
WINDOW = 1024  # tokens that llama.cpp really has here
REPEATS = 30  # of one token; one more ends the answer
PART = re.compile(r"\w[\w.-]{0,79}", re.ASCII)
OWNER = re.compile(r"\w[\w-]{0,79}", re.ASCII)
HOST = re.compile(r"\w[\w.:-]{0,349}", re.ASCII)
BLOB = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
DEFAULTS = ["registry.ollama.ai", "library"]


def parts(name: str) -> list[str] | None:
    """Host, owner, model and tag; None for what is no name (types/model/name.go, ParseName and IsValid)."""
    path, _, tag = (
        name.rpartition(":") if name.rfind(":") > name.rfind("/") else (name, "", "latest")
    )
    given = path.rsplit("/", 2)
    found = [*DEFAULTS[: 3 - len(given)], *given, tag]
    fits = zip((HOST, OWNER, PART, PART), found, strict=True)
    return found if all(kind.fullmatch(part) for kind, part in fits) else None


def full(name: str) -> str:
    """As Ollama shows a name: without the default host and owner, with the tag (DisplayShortest)."""
    host, owner, model, tag = parts(name) or ["", "", name, "latest"]
    shown = (
        [host, owner, model]
        if host != DEFAULTS[0]
        else [owner, model]
        if owner != DEFAULTS[1]
        else [model]
    )
    return f"{'/'.join(shown)}:{tag}" if parts(name) else name


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def check_options(options: dict[str, Any]) -> None:
    """api/types.go, Options.FromMap"""
    for name, value in options.items():
        kind = OPTIONS.get(name)
        right = {
            None: True,
            "array": isinstance(value, list),
            "boolean": isinstance(value, bool),
        }.get(kind, isinstance(value, (int, float)) and not isinstance(value, bool))
        if not right:
            raise Refused(500, f'option "{name}" must be of type {kind}')
        if kind == "array" and not all(isinstance(item, str) for item in value):
            raise Refused(500, f'option "{name}" must be of an array of strings')


def tools_told(jinja: str) -> bool:
    """server/images.go, chatTemplateHasToolSupport"""
    return "tools" in jinja or "tool_call" in jinja


@dataclass(frozen=True)
class Made:
    """An answer's pieces, its tokens, those of its prompt, and why it is done: nothing where it broke off."""

    pieces: list[str]
    tokens: int
    prompt_tokens: int
    reason: str


def broken_off(pieces: list[str], tokens: int, prompt_tokens: int, reason: str) -> Made:
    """The answer up to where one piece comes too often (llm/llama_server.go, Completion)."""
    last, repeats = "", 0
    for at, piece in enumerate(pieces):
        repeats = repeats + 1 if piece.strip() == last else 0
        last = piece.strip()
        if repeats > REPEATS:
            return Made(pieces[:at], at, prompt_tokens, "")
    return Made(pieces, tokens, prompt_tokens, reason)


class OllamaServer(ThreadingHTTPServer):
    """State of the server: blobs by digest, models by full name, and every request seen, as (method, path, body).
    `prompts` are those it rendered."""

    daemon_threads = True

    def __init__(
        self,
        port: int = 0,
        *,
        answer: str = "I am the stand-in.",
        version: str = "0.17.1",
        fail: dict[str, str] | None = None,
        generates: bool = False,
        rewrites: bool = False,
    ) -> None:
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
        """The name as it is spelled here: names differ by more than case."""
        return next(
            (known for known in self.models if known.lower() == full(name).lower()), full(name)
        )

    def named(self, name: str, refusal: str = "invalid model name") -> str:
        if parts(name) is None:
            raise Refused(400, refusal)
        return self.existing(name)

    def model(self, name: str, shown: str = "") -> dict[str, Any]:
        found = self.models.get(self.named(name))
        if found is None:
            raise Refused(404, f"model '{shown or name}' not found")
        return found

    def drop(self, name: str) -> None:
        """A model, and its file unless another model runs it."""
        blob = self.models.pop(name)["blob"]
        if all(model["blob"] != blob for model in self.models.values()):
            self.blobs.pop(blob, None)

    # -- streaming endpoints: each yields events; what is refused before the first has a status of its own
    def create(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """server/create.go, CreateHandler and createModel"""
        files = body.get("files") or {}
        for file, digest in files.items():
            path = PurePosixPath(file)
            if path.is_absolute() or ".." in path.parts or str(path) != file:
                raise Refused(400, "file path must be relative")
            if not digest:
                raise Refused(400, "invalid digest format")
        name = self.named(body.get("model") or body.get("name", ""))
        if body.get("from"):
            base = yield from self.taken_from(body["from"])
        elif files:
            base = yield from self.taken_in(files)
        else:
            raise Refused(400, "neither 'from' or 'files' was specified")
        if body.get("template"):
            try:
                GoTemplate(body["template"])
            except ForgeError as error:
                raise Refused(400, f"template error: {error.message}") from None
        check_options(body.get("parameters") or {})
        given = {
            k: body[k]
            for k in ("template", "system", "license", "messages", "renderer", "parser", "requires")
            if body.get(k)
        }
        options = {**base.get("parameters", {}), **(body.get("parameters") or {})}
        model = {**base, **given, **({"parameters": options} if options else {})}
        yield {"status": f"using existing layer {model['blob']}"}
        for text in ("template", "system"):
            if text in given:
                yield {
                    "status": f"creating new layer sha256:{hashlib.sha256(given[text].encode()).hexdigest()}"
                }
        text = json.dumps(model, sort_keys=True)
        yield {"status": "writing manifest"}
        if name in self.models and self.models[name]["blob"] != model["blob"]:
            self.drop(name)
        self.models[name] = {**model, "digest": hashlib.sha256(text.encode()).hexdigest()}
        yield {"status": "success"}

    def taken_from(self, parent: str) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """server/model.go, parseFromModel: what is not here is pulled."""
        if self.named(parent) not in self.models:
            yield {"status": "pulling manifest"}
            raise Refused(500, "pull model manifest: file does not exist")
        return {k: v for k, v in self.model(parent).items() if k != "digest"}

    def taken_in(self, files: dict[str, str]) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """server/create.go, convertModelFromFiles, ggufLayers and copyLayerWithLlamaQuantize"""
        file, digest = sorted(files.items())[0]
        data = self.blobs.get(digest, b"")
        if not file.endswith(".gguf") and not data.startswith(b"GGUF"):
            raise Refused(400, "unknown type")
        yield {"status": "parsing GGUF"}
        if digest not in self.blobs:
            raise Refused(
                500, f"open /models/blobs/{digest.replace(':', '-')}: no such file or directory"
            )
        if not data.startswith(b"GGUF"):
            raise Refused(400, "supplied file was not in GGUF format")
        yield {
            "status": "validating GGUF model",
            "digest": "0000000000000000000",
            "total": len(data),
            "completed": len(data),
        }
        yield {"status": "verifying conversion"}
        return {"blob": self.written_anew(digest)}

    def written_anew(self, digest: str) -> str:
        """What llama.cpp's copy of a file is known by: the file itself, where it is in llama.cpp's own order."""
        if not self.rewrites:
            return digest
        data = self.blobs[digest] + b"\0"
        made = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[made] = data
        return made

    def rendered(self, model: dict[str, Any], turns: list[dict[str, Any]]) -> str:
        """server/routes.go, chatModeForModel; server/prompt.go; template/template.go, Execute"""
        if jinja := self.jinja_preferred(model):
            return jinja.render(turns, prompt=True)
        prompt = GoTemplate(
            model.get("template", "{{ range .Messages }}{{ .Content }}{{ end }}")
        ).prompt(turns)
        return (
            prompt.removeprefix("<bos>") if self.adds_bos(model) else prompt
        )  # llm/llama_server.go, completionPrompt

    def adds_bos(self, model: dict[str, Any]) -> bool:
        try:
            return bool(read_header(self.path(model)).get("tokenizer.ggml.add_bos_token"))
        except ForgeError:
            return False

    def prompted(
        self,
        model: dict[str, Any],
        turns: list[dict[str, Any]],
        options: dict[str, Any],
        truncate: bool,
    ) -> list[int]:
        """The prompt's tokens, cut to num_ctx unless told otherwise (server/prompt.go, chatPrompt;
        llm/llama_server.go, completionPromptForRequest)."""
        window = options.get("num_ctx", NUM_CTX)
        for left_out in range(len(turns) if truncate else 1):
            kept = [turn for turn in turns[:left_out] if turn["role"] == "system"] + turns[
                left_out:
            ]
            prompt = self.rendered(model, kept)
            ids = self.engine(model)._post(
                "/tokenize", {"content": prompt, "add_special": True, "parse_special": True}
            )["tokens"]
            if len(ids) <= window:
                break
        self.prompts.append(prompt)
        if len(ids) <= window - 1:
            return ids
        if not truncate:
            raise Refused(
                400,
                json.dumps(
                    {
                        "error": {
                            "code": 400,
                            "type": "exceed_context_size_error",
                            "n_prompt_tokens": len(ids),
                            "n_ctx": window,
                            "message": f"request ({len(ids)} tokens) exceeds the available context size ({window} tokens), try "
                            "increasing it",
                        }
                    }
                ),
            )
        keep = min(options.get("num_keep", 4) + self.adds_bos(model), window - 1)
        limit = window - max((window - keep) // 2, 1)
        return ids[:keep] + ids[len(ids) - limit + keep :]

    def engine(self, model: dict[str, Any]) -> Model:
        if model["blob"] not in self._loaded:
            self._loaded[model["blob"]] = Model(self.path(model), num_ctx=WINDOW)
        return self._loaded[model["blob"]]

    def jinja_preferred(self, model: dict[str, Any]) -> ChatTemplate | None:
        """The file's own template, where it is taken (server/images.go, shouldPreferChatTemplate)."""
        if model.get("parser") or model.get("renderer"):
            return None
        jinja, template = self.jinja(model), model.get("template")
        more = jinja and (
            template is None or (tools_told(jinja.source) and ".Tools" not in template)
        )
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
        """server/routes.go, ChatHandler"""
        if not body.get("model"):
            raise Refused(400, "model is required")
        model = self.model(body["model"])
        if body.get("tools") and not self.takes_tools(model):
            raise Refused(400, f"{self.existing(body['model'])} does not support tools")
        if body.get("think"):
            raise Refused(400, f'"{body["model"]}" does not support thinking')
        options = {**model.get("parameters", {}), **(body.get("options") or {})}
        check_options(options)
        messages = [
            {"content": "", **turn, "role": str(turn.get("role", "")).lower()}
            for turn in body.get("messages") or []
        ]
        if not messages:
            yield {
                "model": body["model"],
                "created_at": NOW,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "load",
            }
            return
        turns = [*model.get("messages", []), *messages]
        if messages[0]["role"] != "system" and model.get("system"):
            turns.insert(0, {"role": "system", "content": model["system"]})
        made = self.answered(model, turns, options, body.get("truncate") is not False)
        for piece in made.pieces:
            yield {
                "model": body["model"],
                "created_at": NOW,
                "done": False,
                "message": {"role": "assistant", "content": piece},
            }
        if made.reason:
            yield {
                "model": body["model"],
                "created_at": NOW,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": made.reason,
                "eval_count": made.tokens,
                "eval_duration": 1000,
                "prompt_eval_count": made.prompt_tokens,
                "total_duration": 2000,
            }

    def answered(
        self,
        model: dict[str, Any],
        turns: list[dict[str, Any]],
        options: dict[str, Any],
        truncate: bool,
    ) -> Made:
        limit = options.get("num_predict", -1)
        if not self.generates:
            words = re.findall(r"\s*\S+", self.answer)
            shown = words[:limit] if limit > 0 else words
            return broken_off(
                shown, len(shown), 1, "stop" if len(shown) == len(words) else "length"
            )
        with self._one:
            engine, ids = self.engine(model), self.prompted(model, turns, options, truncate)
            made = engine.proceed(ids, limit if limit > 0 else WINDOW - len(ids))
            said = made.ids[:-1] if made.stopped else made.ids
            repeated = next(
                (
                    at
                    for at in range(REPEATS + 1, len(said))
                    if len({*said[at - REPEATS - 1 : at + 1]}) == 1
                ),
                None,
            )
            text = engine._post("/detokenize", {"tokens": said[:repeated]})["content"]
        cut = min(
            (text.find(stop) for stop in options.get("stop", []) if stop in text), default=len(text)
        )
        reason = (
            "stop" if made.stopped or cut < len(text) else "" if repeated is not None else "length"
        )
        return Made(
            re.findall(r"\s*\S+|\s+", text[:cut].rstrip("\ufffd")), len(made.ids), len(ids), reason
        )

    def generate(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        messages = [{"role": "user", "content": body.get("prompt", "")}]
        for event in self.chat({**body, "messages": messages}):
            yield {
                **{k: v for k, v in event.items() if k != "message"},
                "response": event["message"]["content"],
            }

    # -- plain endpoints
    def tags(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "name": name,
                    "model": name,
                    "modified_at": NOW,
                    "digest": model["digest"],
                    "size": len(self.blobs[model["blob"]]),
                    "details": {
                        "format": "gguf",
                        "family": "qwen2",
                        "quantization_level": "Q4_K_M",
                    },
                }
                for name, model in self.models.items()
            ]
        }

    def show(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("model") or body.get("name")
        if not name:
            raise Refused(400, "model is required")
        model = self.model(name, shown=full(name))
        blob = f"/models/blobs/{model['blob'].replace(':', '-')}"
        return {
            "modelfile": '# Modelfile generated by "ollama show"\n# To build a new Modelfile based on this, '
            f"replace FROM with:\n# FROM {full(name)}\n\nFROM {blob}\n",
            "details": {"format": "gguf"},
            "template": model.get("template", ""),
            "system": model.get("system", ""),
            "parameters": "\n".join(f"{k:30} {v}" for k, v in model.get("parameters", {}).items()),
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
    server: OllamaServer

    def log_message(self, *_: object) -> None: ...

    def answer(
        self, status: int, body: Any = None, kind: str = "application/json; charset=utf-8"
    ) -> None:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def plain(self, status: int, text: str) -> None:
        self.answer(status, text.encode(), kind="text/plain")

    def stream(self, events: Iterator[dict[str, Any]], together: bool) -> None:
        """NDJSON in chunks. The first event is made before the status is sent, so a refusal has its own status."""
        if together:
            whole = list(events)
            text = "".join(event["message"]["content"] for event in whole if "message" in event)
            said = (
                {"message": {"role": "assistant", "content": text}}
                if "message" in whole[-1]
                else {}
            )
            self.answer(200, whole[-1] | said)
            return
        first = next(events, None)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            if first is not None:
                self.chunk(first)
            if self.path in self.server.fail:
                raise Refused(500, self.server.fail[self.path])
            for event in events:
                self.chunk(event)
        except Refused as refused:
            self.chunk({"error": refused.message})
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def requested(self) -> dict[str, Any]:
        data = self.body()
        if not data:
            raise Refused(400, "missing request body")
        body = json.loads(data)
        struct, fields = STRUCTS[self.path]
        for key, value in body.items():
            kind = fields.get(key)
            wanted = next(
                (python for go, python in KINDS.items() if kind and kind.startswith(go)), object
            )
            if value is not None and not isinstance(value, wanted):
                found = {str: "string", dict: "object", list: "array", bool: "bool"}.get(
                    type(value), "number"
                )
                raise Refused(
                    400,
                    f"json: cannot unmarshal {found} into Go struct field {struct}.{key} of type {kind}",
                )
        self.server.seen.append((self.command, self.path, body))
        return body

    def do(self) -> None:
        try:
            self.dispatch()
        except Refused as refused:
            self.answer(refused.status, {"error": refused.message})
        except json.JSONDecodeError as error:
            self.answer(400, {"error": f"invalid character at {error.pos}"})

    do_GET = do_POST = do_HEAD = do_DELETE = do  # noqa: N815 - the names that http.server calls

    def dispatch(self) -> None:
        server, route = self.server, f"{self.command} {self.path}"
        if route == "GET /api/version":
            self.answer(200, {"version": server.release})
        elif route == "GET /api/tags":
            self.answer(200, server.tags())
        elif route in ("GET /", "HEAD /"):
            self.plain(200, "Ollama is running")
        elif self.path.startswith("/api/blobs/"):
            self.blob(self.path.removeprefix("/api/blobs/"))
        elif route == "POST /api/show":
            self.answer(200, server.show(self.requested()))
        elif route == "POST /api/copy":
            self.copy(self.requested())
        elif route == "DELETE /api/delete":
            body = self.requested()
            name = body.get("model") or body.get("name", "")
            server.model(name)
            server.drop(server.existing(name))
            self.answer(200)
        elif route in ("POST /api/create", "POST /api/chat", "POST /api/generate"):
            body = self.requested()
            events = getattr(server, self.path.rpartition("/")[2])(body)
            self.stream(events, together=body.get("stream") is False)
        elif self.path in STRUCTS or self.path in ("/", "/api/version", "/api/tags"):
            self.plain(405, "405 method not allowed")
        else:
            self.plain(404, "404 page not found")

    def copy(self, body: dict[str, Any]) -> None:
        """server/routes.go, CopyHandler: both names are looked at before anything else."""
        server, names = self.server, [body.get("source", ""), body.get("destination", "")]
        source, destination = (
            server.named(name, f'{role} "{name}" is invalid')
            for role, name in zip(("source", "destination"), names, strict=True)
        )
        if source not in server.models:
            raise Refused(404, f'model "{names[0]}" not found')
        server.models[destination] = server.models[source]
        self.answer(200)

    def blob(self, digest: str) -> None:
        """server/routes.go, HeadBlobHandler and CreateBlobHandler; manifest/layer.go, NewLayer"""
        server, data = self.server, self.body()
        server.seen.append((self.command, self.path, len(data) if self.command == "POST" else None))
        if not BLOB.fullmatch(digest):
            raise Refused(400, "invalid digest format")
        if self.command == "HEAD" or digest in server.blobs:
            self.answer(200 if digest in server.blobs else 404)
            return
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        server.blobs[found] = data
        if found != digest:
            raise Refused(400, f'digest mismatch, expected "{digest}", got "{found}"')
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
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
