"""A GGUF answering in this process, through llama.cpp's prebuilt library (xllamacpp)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import human, sha256_json, unread
from phoenix_forge.core.proc import wait_briefly
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub.download import cache_folder
from phoenix_forge.runtime.answer import Answer, require_text, sampler
from phoenix_forge.runtime.prompts import CHATML_NAME, Prompts, template_of

MAGIC = b"GGUF"
QUIET, EVERYTHING = (
    -1,
    3,
)  # llama.cpp's log levels; at QUIET nothing reaches stderr, and stdout is never used
TRIAL_SECONDS, TRIAL_SPEED = (
    60.0,
    20e6,
)  # how long a trial may take: a start, and bytes a second of a slow disk
DAMAGED = "the file is damaged, or of a kind llama.cpp does not know: forge quantize --force"
EVERY_TOKEN = 2**20  # more than any vocabulary has
FORCED = 1000.0  # added to a logit: above any other
# Bytes of a file from which its work is worth sharing: in a smaller one threads wait for each other more than they
# compute, and on a machine that is busy with one other program some fifty times as long.
SHARED = 50_000_000
FIRST_TOKEN = {"prompt": "x", "max_tokens": 1}
# Loads a file in a process of its own and makes one token: of damaged files about one in a hundred makes the library
# abort its process, and the reason for a refusal goes only to its log. It leaves without the library's destructors.
TRIAL = """
import os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.verbosity, params.n_ctx, params.warmup = sys.argv[1], 1, 64, False
params.chat_template = "chatml"
try:
    server = xllamacpp.Server(params)
except RuntimeError:
    sys.exit(1)
server.handle_completions({"prompt": "x", "max_tokens": 1})
os._exit(0)
"""


def usable_cores() -> int:
    """Cores this process may use, second threads on one included."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Physical cores this process may use: a second thread on a core slows llama.cpp down on most machines."""
    return min(usable_cores(), psutil.cpu_count(logical=False) or usable_cores())


def usual_threads(gguf: Path) -> int:
    """As many as `threads`, but one for a small file. One that is missing is refused where it is opened."""
    small = gguf.is_file() and gguf.stat().st_size < SHARED
    return 1 if small else threads()


def check(gguf: Path) -> None:
    """Refuses, before the library is loaded, what is not a GGUF at all."""
    try:
        with open(gguf, "rb") as handle:
            head = handle.read(len(MAGIC))
    except OSError as error:
        raise UsageError(
            f"cannot read the GGUF {gguf}: {error.strerror}",
            fix=unread(error, gguf, "forge quantize"),
        ) from None
    if head != MAGIC:
        raise UsageError(
            f"{gguf} is not a GGUF file: it starts with {head!r}, not {MAGIC!r}",
            fix="forge quantize --force",
        )


def library() -> Any:
    wait_briefly()
    try:
        import xllamacpp
    except ImportError as error:
        raise EnvironmentProblem(
            f"the llama.cpp runtime is not usable: {error}",
            fix="pip install 'phoenix-forge[train]'",
        ) from None
    return xllamacpp


def parameters(
    gguf: Path,
    *,
    num_ctx: int,
    parallel: int,
    verbose: bool,
    cores: tuple[int, int] | None = None,
    gpu_layers: int | None = None,
) -> Any:
    """llama.cpp's parameters for `parallel` conversations of `num_ctx` tokens each.

    `cores` are the threads for answers and for prompts. Without `gpu_layers` a GPU build of the library puts as many
    layers on the GPUs as fit their free memory with the context and 1 GiB to spare: it lays everything out without
    allocating it first (llama.cpp's common_fit_params, for which n_gpu_layers has to be left at -1).
    """
    xllamacpp = library()
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = num_ctx * parallel  # the library divides its context among the conversations
    params.n_parallel = parallel
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = (
        cores or (usual_threads(gguf),) * 2
    )
    params.fit_params = gpu_layers is None
    params.n_gpu_layers = -1 if gpu_layers is None else gpu_layers
    params.verbosity = EVERYTHING if verbose else QUIET
    params.warmup = False
    params.chat_template = CHATML_NAME  # no conversation is ever rendered there
    return params


def gpu_memory() -> dict[str, int]:
    """Free bytes of each GPU that the library can use, by its name there; empty for a CPU build."""
    kinds = library().ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return {
        f"{device['name']} ({device['description']})": device["memory_free"]
        for device in library().get_device_info()
        if device["type"] in gpus
    }


def start(params: Any) -> Any:
    """A running server object; raises StageFailed with llama.cpp's own reason where it cannot load the file.

    It has made one token, for two reasons: the first real answer does not pay for warming up, and a server that is
    dropped before its loop has begun waits for that loop for ever (xllamacpp 2026.10).
    """
    gguf = Path(params.model.path)
    check(gguf)
    require_loadable(gguf)
    try:
        server = library().Server(params)
    except RuntimeError:
        raise StageFailed(
            f"llama.cpp cannot load {gguf} ({human(gguf.stat().st_size)}) with {params.n_ctx} tokens of "
            "context: too little memory, or its port was taken meanwhile",
            fix="--set deploy.num_ctx=2048, or another --port",
        ) from None
    server.handle_completions(FIRST_TOKEN)
    return server


def require_loadable(gguf: Path) -> None:
    """Tries an unknown file in a process of its own first, so that a crash or hang there is an error here.

    Success is remembered in the cache folder for this file and library version; losing that costs one trial. The file
    is known by its inode, not its name: what was tried before it was published need not be tried again.
    """
    stat = gguf.stat()
    known = sha256_json(
        [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, library().__version__]
    )[:32]
    marker = cache_folder() / "loadable" / known
    if marker.exists():
        return
    patience = TRIAL_SECONDS + stat.st_size / TRIAL_SPEED
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", TRIAL, str(gguf)],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            timeout=patience,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StageFailed(
            f"llama.cpp did not finish loading {gguf} within {patience:.0f} s", fix=DAMAGED
        ) from None
    if done.returncode:
        errors = [
            line.partition(" E ")[2].partition(": ")[2]
            for line in done.stderr.splitlines()
            if " E " in line
        ]
        crash = [f"it crashes (signal {-done.returncode})"] if done.returncode < 0 else []
        why = "; ".join([*errors[:1], *crash]) or done.stderr.strip()[-200:]
        raise StageFailed(
            f"llama.cpp cannot load {gguf} ({human(stat.st_size)}): {why}", fix=DAMAGED
        )
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


@dataclass(frozen=True)
class Tokens:
    """An answer as `ids`, the one that ends the turn among them; `logprobs` are each one's, in nats, or None where
    llama.cpp tells none: for all but the last token of a character; `stopped`: the model ended its turn by itself."""

    ids: list[int]
    logprobs: list[float | None]
    stopped: bool


class Model:
    """A loaded GGUF. Use as a context manager, or call close() to give its memory back.

    `parallel` conversations of `num_ctx` tokens each are computed together; chat() may be called from as many threads.
    """

    def __init__(
        self, gguf: Path, *, num_ctx: int = 4096, parallel: int = 1, verbose: bool = False
    ) -> None:
        self.path = gguf
        check(gguf)
        template = template_of(gguf)
        params = parameters(gguf, num_ctx=num_ctx, parallel=parallel, verbose=verbose)
        # The library always opens a loopback port as well; a key that nobody knows keeps other users out of it.
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        self._server = start(params)
        self.prompts = Prompts(template, self._read)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._server = None

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.9,
        greedy: bool = False,
        seed: int | None = None,
        schema: dict | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """The model's next turn; `on_text` gets it piece by piece as it is written.

        With a JSON `schema` only tokens that keep to it are ever chosen: the text is such JSON, or the beginning of it
        where max_tokens cut it off. Raises UsageError where the conversation does not fit the context or the chat
        template refuses it.
        """
        require_text(messages)
        request: dict[str, Any] = {
            "prompt": self.prompts.of(messages),
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampler(temperature, top_p, greedy, seed),
        }
        if schema is not None:
            request["json_schema"] = schema
        usage: dict[str, int] = {}
        started, pieces, finish = time.perf_counter(), [], None
        with contextlib.closing(self._stream(request)) as chunks:
            for chunk in chunks:
                if "error" in chunk:
                    raise UsageError(
                        f"{self.path.name}: {chunk['error']['message']}",
                        fix="shorten the conversation (/reset in a chat), or raise deploy.num_ctx",
                    )
                usage = chunk.get("usage") or usage
                for choice in chunk["choices"]:
                    finish = choice["finish_reason"] or finish
                    if text := choice["text"]:
                        pieces.append(text)
                        if on_text:
                            on_text(text)
        return Answer(
            "".join(pieces),
            finish == "stop",
            usage.get("completion_tokens", 0),
            time.perf_counter() - started,
            usage.get("prompt_tokens", 0),
        )

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of what chat() puts before an answer, by the file's own template and llama.cpp's tokenizer.

        Raises UsageError where the template refuses the conversation.
        """
        return self.prompts.ids(messages)

    def _read(self, text: str, *, special: bool, beginning: bool = False) -> list[int]:
        """As phoenix_forge.runtime.prompts.Tokens."""
        return self._post(
            "/tokenize", {"content": text, "parse_special": special, "add_special": beginning}
        )["tokens"]

    def proceed(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        bias: dict[int, float] | None = None,
        *,
        slot: int | None = None,
    ) -> Tokens:
        """Up to `max_tokens` greedy tokens after a prompt; `bias` is added to the logits of single ids.

        With a `slot`, one of `parallel`, what that slot has computed of the prompt before is not computed again.
        """
        return self._tokens(
            prompt,
            max_tokens,
            slot,
            {"logit_bias": [[token, value] for token, value in (bias or {}).items()]},
        )

    def follow(self, prompt: Sequence[int], ids: Sequence[int], *, slot: int) -> list[float] | None:
        """How likely the model finds each of `ids` behind the prompt and those before it, in nats; None where llama.cpp
        did not go through with them. `slot` as for proceed(). Each has to be whole characters: llama.cpp 2026.10 tells
        nothing of others, and its grammars of tokens fail at them; for those there is likelihood()."""
        made = self._tokens(
            prompt, len(ids), slot, {"grammar": "root ::= " + " ".join(f"<[{i}]>" for i in ids)}
        )
        known = [value for value in made.logprobs if value is not None]
        return known if made.ids == list(ids) and len(known) == len(made.ids) else None

    def likelihood(self, prompt: Sequence[int], token: int, whole: int, *, slot: int) -> float:
        """How likely the model finds one token behind a prompt, in nats, from the whole distribution: slow. `whole` is
        any token of whole characters."""
        made = self._completed(
            prompt, 1, slot, {"n_probs": EVERY_TOKEN, "logit_bias": [[whole, FORCED]]}
        )
        return next(
            t["logprob"]
            for t in made["completion_probabilities"][0]["top_logprobs"]
            if t["id"] == token
        )

    def _tokens(
        self, prompt: Sequence[int], max_tokens: int, slot: int | None, more: dict[str, Any]
    ) -> Tokens:
        made = self._completed(prompt, max_tokens, slot, more)
        told, logprobs = made.get("completion_probabilities", []), []
        for token in reversed(made["tokens"]):
            logprobs.append(told.pop()["logprob"] if told and told[-1]["id"] == token else None)
        return Tokens(made["tokens"], logprobs[::-1], made["stop_type"] == "eos")

    def _completed(
        self, prompt: Sequence[int], max_tokens: int, slot: int | None, more: dict[str, Any]
    ) -> dict[str, Any]:
        place = {"cache_prompt": False} if slot is None else {"cache_prompt": True, "id_slot": slot}
        return self._post(
            "/completion",
            {
                "prompt": list(prompt),
                "n_predict": max_tokens,
                "return_tokens": True,
                "n_probs": 1,
                **place,
                **sampler(0.0, 1.0, greedy=True, seed=None),
                **more,
            },
        )

    def _post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """What only the library's own loopback port offers; no proxy is asked, whatever the environment says."""
        connection = http.client.HTTPConnection(
            self._server.listening_address.removeprefix("http://")
        )
        with contextlib.closing(connection):
            connection.request(
                "POST",
                path,
                json.dumps(request),
                {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != http.client.OK:
            raise UsageError(
                f"{self.path.name}: {answer['error']['message']}", fix="forge quantize --force"
            )
        return answer

    def _stream(self, request: dict) -> Generator[dict, None, None]:
        """Chunks of a completion; leaving the loop early stops the generation.

        The library runs in a thread of its own, so that Ctrl-C is seen while it computes, and its callback raises
        nothing: the library would swallow it.
        """
        chunks: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        left = threading.Event()

        def receive(chunk: dict) -> bool:
            chunks.put(chunk)
            return left.is_set()  # True ends the generation

        def work() -> None:
            try:
                self._server.handle_completions(request, receive)
            except (
                ValueError,
                RuntimeError,
            ) as error:  # what the library raises for a request it refuses
                chunks.put({"error": {"message": str(error)}})
            finally:
                chunks.put(None)

        worker = threading.Thread(target=work, name="llama.cpp", daemon=True)
        worker.start()
        try:
            while (chunk := chunks.get()) is not None:
                yield chunk
        finally:
            left.set()
            worker.join()
