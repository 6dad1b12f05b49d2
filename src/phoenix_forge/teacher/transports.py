"""Where a teacher runs: the built-in runtime, Ollama, or an OpenAI-compatible endpoint, behind one function."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import UsageError
from phoenix_forge.runtime import llama
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.ollama import Ollama
from phoenix_forge.runtime.serve import is_loopback
from phoenix_forge.teacher.cache import Completion
from phoenix_forge.teacher.endpoint import KEY, Endpoint, Stopped, address_and_model, listed

CONTEXT = 4096  # tokens of one request and its answer
WAYS = "base, a model folder, FILE.gguf, ollama:NAME or https://HOST/v1#MODEL"


class Complete(Protocol):
    """One completion. With a JSON `schema` the text is such JSON, or its beginning where `max_tokens` cut it off.

    Called from several threads at once. Raises a ForgeError where no completion is to be had.
    """

    def __call__(
        self, messages: Sequence[Message], schema: dict[str, Any] | None, max_tokens: int
    ) -> Completion: ...


Together = Callable[[Sequence[Sequence[Message]], int], Iterator[tuple[int, Completion]]]


@dataclass(frozen=True, slots=True)
class Teacher:
    """`identity` says which model answers, and how; `name` is for people. After stop() no new request is sent, and
    local engines end the ones they are at. `together`: where many conversations are answered at once, greedily, each
    (by number) with its completion as soon as it is there."""

    name: str
    identity: str
    complete: Complete
    stop: Callable[[], None]
    close: Callable[[], None]
    together: Together | None = None

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def check(spec: str) -> None:
    """Refuses, before anything is started, a teacher that cannot be: UsageError. Sends nothing anywhere."""
    if spec.startswith(("http://", "https://")):
        address_and_model(spec)
    elif spec.endswith(".gguf"):
        llama.check(Path(spec).expanduser())
    elif not spec.removeprefix("ollama:") or not spec.startswith("ollama:"):
        raise UsageError(f"dataset.teacher: {spec!r} is no teacher", fix=WAYS)


def open_teacher(
    spec: str,
    *,
    workers: int,
    report: Reporter,
    key: str | None = None,
    num_ctx: int = CONTEXT,
    digest: Callable[[Path], str] = sha256_file,
) -> Teacher:
    """A teacher that answers, greedily, up to `workers` requests at a time. Close it after use.

    `spec` is dataset.teacher where that is no folder; `key` the endpoint's (None: from FORGE_TEACHER_KEY), which only
    ever leaves in a request's header; `digest` names a GGUF by its content. Raises UsageError for a wrong spec or
    model, EnvironmentProblem where nothing answers or the key is refused.
    """
    check(spec)
    if spec.startswith(("http://", "https://")):
        return _openai(
            spec, key if key is not None else os.environ.get(KEY, "").strip(), report, workers
        )
    if spec.startswith("ollama:"):
        return _ollama(spec.removeprefix("ollama:"), num_ctx, report)
    return _builtin(Path(spec).expanduser(), workers, num_ctx, digest)


# -- the built-in runtime, and Ollama: both stream, so that they can be stopped between two tokens


def _builtin(gguf: Path, workers: int, num_ctx: int, digest: Callable[[Path], str]) -> Teacher:
    model, stopping = llama.Model(gguf, num_ctx=num_ctx, parallel=workers), threading.Event()

    def complete(
        messages: Sequence[Message], schema: dict[str, Any] | None, max_tokens: int
    ) -> Completion:
        return _completion(
            lambda: model.chat(
                messages,
                schema=schema,
                max_tokens=max_tokens,
                greedy=True,
                on_text=_unless(stopping),
            )
        )

    return Teacher(gguf.name, f"gguf {digest(gguf)} greedy", complete, stopping.set, model.close)


def _ollama(name: str, num_ctx: int, report: Reporter) -> Teacher:
    server, stopping = Ollama(), threading.Event()
    server.require(report)
    full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
    digests = {entry["name"]: entry["digest"] for entry in server.list()}
    if full not in digests:
        raise UsageError(
            f"Ollama at {server.url} has no model {name}; it has {listed(digests)}",
            fix=f"ollama pull {name}",
        )

    def complete(
        messages: Sequence[Message], schema: dict[str, Any] | None, max_tokens: int
    ) -> Completion:
        return _completion(
            lambda: server.chat(
                name,
                messages,
                schema=schema,
                max_tokens=max_tokens,
                greedy=True,
                num_ctx=num_ctx,
                on_text=_unless(stopping),
            )
        )

    return Teacher(
        f"Ollama's {name}",
        f"ollama {full} {digests[full]} greedy",
        complete,
        stopping.set,
        server.close,
    )


def _completion(ask: Callable[[], Answer]) -> Completion:
    try:
        answer = ask()
    except UsageError as error:  # too long for its context, in nearly every case
        raise UsageError(
            error.message, fix="shorter sections: --set dataset.section_tokens=256"
        ) from None
    return Completion(answer.text, answer.stopped, answer.prompt_tokens, answer.tokens)


def _unless(stopping: threading.Event) -> Callable[[str], None]:
    def go_on(_: str) -> None:
        if stopping.is_set():
            raise Stopped("stopped")

    return go_on


def _openai(spec: str, key: str, report: Reporter, workers: int) -> Teacher:
    url, model = address_and_model(spec)
    host = urlsplit(url).hostname or ""
    if key and url.startswith("http://") and not is_loopback(host):
        report.warn(
            f"the key in {KEY} travels to {host} unencrypted: use https where the endpoint has it"
        )
    endpoint = Endpoint(url, model, key, report, workers)
    endpoint.require()
    return Teacher(
        f"{model} at {host}",
        f"openai {url} {model} temperature 0",
        endpoint.complete,
        endpoint.stop,
        endpoint.close,
    )
