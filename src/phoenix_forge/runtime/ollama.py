"""A client of Ollama's REST API (docs/api.md in Ollama's repository)."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import CHUNK, sha256_file
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub.ollama_store import DIGEST
from phoenix_forge.runtime.answer import Answer, require_text, sampler
from phoenix_forge.runtime.modelfile import Modelfile
from phoenix_forge.runtime.serve import is_loopback

OLDEST = (0, 17, 1)  # older releases are warned about
CONNECT, ANSWER = 3.0, 900.0  # seconds: a local server accepts at once, a large model answers late
PROBE = 10.0  # seconds for its version: something else may have its port
TOO_LONG = (
    "exceeds the available context",
    "longer than the context length",
    "exceeds the context length",
)
NOT_RUNNING = (
    "start it with `ollama serve`, or use the built-in runtime: --set deploy.target=builtin"
)


def address(host: str | None = None) -> str:
    """Base URL from OLLAMA_HOST's forms: HOST, :PORT, HOST:PORT, http(s)://HOST[:PORT]. Default 127.0.0.1:11434.

    A server bound to every address (0.0.0.0) is spoken to on this machine.
    """
    text = (host or os.environ.get("OLLAMA_HOST", "")).strip().strip("\"'")
    scheme, separator, rest = text.partition("://")
    scheme, rest = (scheme, rest) if separator else ("http", text)
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"  # a bare IPv6 address
    try:
        split = urlsplit(f"//{rest}")
        default = {"http": 80, "https": 443}[scheme]  # KeyError: nothing else is spoken
        port = split.port or (default if separator else 11434)
    except (ValueError, KeyError):
        raise UsageError(
            f"OLLAMA_HOST is {text!r}, which is no address", fix="OLLAMA_HOST=127.0.0.1:11434"
        ) from None
    name = split.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}{split.path.rstrip('/')}"


def full(name: str) -> str:
    """A model's name with its tag, as the server lists it."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("-")[0])[:3])


class Ollama:
    """One Ollama server. Methods raise EnvironmentProblem where it does not answer, StageFailed where it refuses."""

    def __init__(self, host: str | None = None) -> None:
        self.url = address(host)
        # A proxy is for the network, never for this machine; redirects are not followed, so nothing is sent elsewhere.
        self._http = httpx2.Client(
            base_url=self.url,
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT, pool=None),
            trust_env=not is_loopback(urlsplit(self.url).hostname or ""),
        )

    def close(self) -> None:
        self._http.close()

    # -- the server
    def version(self) -> str:
        return str(self._json("GET", "/api/version", timeout=PROBE).get("version", "unknown"))

    def reachable(self) -> bool:
        try:
            self.version()
        except (EnvironmentProblem, StageFailed):
            return False
        return True

    def require(self, report: Reporter) -> str:
        """The version of a server that answers; warns about old releases."""
        version = self.version()
        if (numbers := _numbers(version)) and numbers < OLDEST:
            report.warn(
                f"Ollama {version} at {self.url} is older than {'.'.join(map(str, OLDEST))}; update it: "
                "https://ollama.com/download"
            )
        return version

    # -- its models
    def list(self) -> list[dict[str, Any]]:
        return self._json("GET", "/api/tags").get("models") or []

    def manifests(self) -> Callable[[str], str | None]:
        """What the models are now: from a name, in any case, to the digest of its manifest, or None where there is no
        such model. Two names with one digest are the same model."""
        found = {str(model["name"]).lower(): str(model["digest"]) for model in self.list()}
        return lambda name: found.get(full(name).lower())

    def show(self, name: str) -> dict[str, Any]:
        return self._json("POST", "/api/show", {"model": name})

    def layer_digest(self, name: str) -> str | None:
        """SHA-256 of the GGUF that a model runs, as its Modelfile's FROM names it; None where that is no blob.

        Ollama has llama.cpp write the file anew when it makes a model (server/create.go, copyLayerWithLlamaQuantize):
        a file in llama.cpp's own order comes out as it was.
        """
        lines = self.show(name)["modelfile"].splitlines()
        found = next(
            (m for line in lines if line.startswith("FROM ") and (m := DIGEST.search(line))), None
        )
        return found[1] if found else None

    def copy(self, source: str, destination: str) -> None:
        self._json("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, name: str) -> None:
        self._json("DELETE", "/api/delete", {"model": name})

    # -- making one
    def has_blob(self, sha256: str) -> bool:
        response = self._send("HEAD", f"/api/blobs/sha256:{sha256}")
        if response.status_code not in (200, 404):
            raise self._refused(response, "asking for a blob")
        return response.status_code == 200

    def upload(self, path: Path, sha256: str, report: Reporter) -> None:
        """Sends a file as a blob, unless the server has it; the server checks the digest."""
        if self.has_blob(sha256):
            report.info(f"Ollama already has {path.name}")
            return
        size = path.stat().st_size

        def body() -> Iterator[bytes]:
            sent = 0
            with open(path, "rb") as handle:
                while block := handle.read(CHUNK):
                    yield block
                    sent += len(block)
                    report.progress(f"sending {path.name} to Ollama", sent, size, "B")

        response = self._send(
            "POST",
            f"/api/blobs/sha256:{sha256}",
            content=body(),
            headers={"Content-Length": str(size)},
        )
        if response.status_code not in (200, 201):
            raise self._refused(response, f"sending {path.name}")

    def create(
        self,
        name: str,
        gguf: Path,
        modelfile: Modelfile,
        report: Reporter,
        *,
        sha256: str | None = None,
    ) -> str:
        """Makes or replaces the model `name` from a GGUF and a Modelfile's settings; returns the file's SHA-256.

        The Modelfile's FROM is not used: the file travels by its digest, and the texts as JSON, so nothing is lost to
        the Modelfile's grammar. `sha256` saves reading the file where its digest is known.
        Raises UsageError for a Modelfile of several files.
        """
        if modelfile.adapter or modelfile.draft or modelfile.more:
            raise UsageError(
                "the Modelfile names files beside its model (ADAPTER, DRAFT or a second FROM), and only "
                "the model is sent",
                fix=f"remove them, or: ollama create {name} -f Modelfile",
            )
        digest = sha256 or sha256_file(gguf)
        self.upload(gguf, digest, report)
        wanted = {
            "model": name,
            "files": {gguf.name: f"sha256:{digest}"},
            "template": modelfile.template,
            "system": modelfile.system,
            "parameters": modelfile.options(),
            "license": list(modelfile.license),
            "renderer": modelfile.renderer,
            "parser": modelfile.parser,
            "requires": modelfile.requires,
            "messages": [{"role": role, "content": text} for role, text in modelfile.messages],
            "stream": True,
        }
        last = ""
        for event in self._stream(
            "/api/create", {key: value for key, value in wanted.items() if value}
        ):
            last = event.get("status", "")
            if event.get("total"):
                report.progress(f"Ollama: {last}", event.get("completed", 0), event["total"], "B")
            elif "layer sha256:" not in last:
                report.info(f"Ollama: {last}")
        if last != "success":
            raise StageFailed(
                f"Ollama stopped creating {name} without an error or a result, after {last!r}",
                fix="look at Ollama's log, then try again",
            )
        return digest

    # -- asking it
    def chat(
        self,
        name: str,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.9,
        greedy: bool = False,
        seed: int | None = None,
        schema: dict | None = None,
        num_ctx: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """The next turn of the model `name`; without a system message, its own system prompt applies.

        A JSON `schema` constrains what it may write. Raises UsageError for a conversation beyond `num_ctx` tokens
        (None: the model's setting): unless told otherwise Ollama leaves out the oldest messages, and the middle of the
        last one, without a word. A stream that ends without a last event is an answer that did not stop: so ends one
        that makes a token more than 30 times over (llm/llama_server.go, Completion), without any where that token is
        half a character.
        """
        require_text(messages)
        options = {"num_predict": max_tokens, **sampler(temperature, top_p, greedy, seed)}
        request = {
            "model": name,
            "messages": list(messages),
            "stream": True,
            "truncate": False,
            "options": options if num_ctx is None else {**options, "num_ctx": num_ctx},
        }
        if schema is not None:
            request["format"] = schema
        started, pieces = time.perf_counter(), []
        event: dict[str, Any] = {}
        for event in self._stream("/api/chat", request):
            if text := event.get("message", {}).get("content"):
                pieces.append(text)
                if on_text:
                    on_text(text)
        return Answer(
            "".join(pieces),
            event.get("done_reason") == "stop",
            event.get("eval_count", len(pieces)),
            time.perf_counter() - started,
            event.get("prompt_eval_count", 0),
        )

    # -- HTTP
    def _send(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        try:
            return self._http.request(method, path, **kwargs)
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None

    def _json(
        self, method: str, path: str, body: dict | None = None, **more: Any
    ) -> dict[str, Any]:
        response = (
            self._send(method, path, json=body, **more)
            if body
            else self._send(method, path, **more)
        )
        if response.status_code != 200:
            raise self._refused(response, f"{method} {path} {body or ''}".strip())
        try:
            found = response.json() if response.content else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise StageFailed(
                f"{self.url}{path} sent something that is no JSON object: {response.text[:80]!r}",
                fix="check that OLLAMA_HOST is an Ollama server",
            )
        return found

    def _stream(self, path: str, body: dict) -> Iterator[dict[str, Any]]:
        """Events of a streaming endpoint; an error may come as a status, or inside the stream after status 200."""
        try:
            with self._http.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._refused(response, f"POST {path} {body['model']}")
                for line in response.iter_lines():
                    event = json.loads(line) if line.strip() else {}
                    if not isinstance(event, dict):
                        raise json.JSONDecodeError("no object", line, 0)
                    if "error" in event:
                        raise StageFailed(
                            f"Ollama failed at {path} for {body['model']}: {event['error']}",
                            fix="look at Ollama's log",
                        )
                    if event:
                        yield event
        except httpx2.TransportError as error:
            raise self._unreachable(error) from None
        except (json.JSONDecodeError, RecursionError) as error:
            said = getattr(error, "doc", "nested without end")[:80]
            raise StageFailed(
                f"{self.url}{path} sent something that is not JSON: {said!r}",
                fix="check that OLLAMA_HOST is an Ollama server",
            ) from None

    def _unreachable(self, error: httpx2.TransportError) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"Ollama does not answer at {self.url}: {str(error) or type(error).__name__}",
            fix=NOT_RUNNING,
        )

    def _refused(self, response: httpx2.Response, doing: str) -> StageFailed | UsageError:
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200] or "no reason given"
        if any(words in reason for words in TOO_LONG):
            return UsageError(
                f"Ollama refused {doing}: {_said(reason)}",
                fix="shorten the conversation (/reset in a chat); or raise deploy.num_ctx, then: "
                "forge run --from modelfile",
            )
        fix = (
            "`ollama list` shows the models there are"
            if response.status_code == 404
            else "look at Ollama's log"
        )
        return StageFailed(f"Ollama refused ({response.status_code}) {doing}: {reason}", fix=fix)


def _said(reason: str) -> str:
    """The message in an answer of its runner that Ollama hands on as it came, as JSON."""
    try:
        return str(json.loads(reason)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return reason


class OllamaModel:
    """One model of a server, with the same chat() as a GGUF loaded in process."""

    def __init__(self, server: Ollama, name: str) -> None:
        self.server, self.name = server, name

    def close(self) -> None:
        self.server.close()

    def chat(self, messages: Sequence[Message], **settings: Any) -> Answer:
        return self.server.chat(self.name, messages, **settings)
