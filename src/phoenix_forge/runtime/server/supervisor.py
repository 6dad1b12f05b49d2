"""llama.cpp as the front sees it: a process that is started, watched, ended when it hangs, and started again.

An answer that was being written when the process ended goes on in the next one, from the words there are; only what
may have been the reason, an answer bound to a grammar, is not tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import orjson

from phoenix_forge import errors
from phoenix_forge.core.fsio import sha256_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed
from phoenix_forge.runtime.prompts import Tokens
from phoenix_forge.runtime.server import child
from phoenix_forge.runtime.server.refused import Refused

# Seconds without a token, or a part of a prompt, while something is asked. A CPU that takes longer for CPU_BATCH tokens
# of a prompt cannot serve; a token bound to a grammar is as fast as others, unless the grammar is one of the bad ones.
PATIENCE, GRAMMAR_PATIENCE = 60.0, 20.0
ATTEMPTS = 3  # of an answer
STARTS = 3  # without a token in between, then it is given up
GENERATIONS = child.CONNECTIONS - 32  # at a time; the rest is for the questions about tokens


class Ended(Exception):
    """The process ended while it was asked."""


class Upstream:
    """`settings` are the child's. start() first, stop() last; `failed` has the error that it was given up for; `guided`
    says whether llama.cpp follows llguidance's grammars."""

    def __init__(self, settings: dict[str, Any], report: Reporter) -> None:
        self.settings, self.report, self.guided = dict(settings), report, False
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._folder = _private_folder()
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self._places = asyncio.Semaphore(GENERATIONS)
        self._running, self._sign, self._starts = 0, time.monotonic(), 0
        # Digests of grammars: those of answers that are written, those that were since the last sign of life, and how
        # often one was when the process ended.
        self._bound: Counter[str] = Counter()
        self._suspects: set[str] = set()
        self._strikes: Counter[str] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._web = httpx2.AsyncClient(trust_env=False)  # nothing of it goes to the network

    async def start(self) -> dict[str, Any]:
        """What the child found: `cores`, free GPU memory `before` and `after`, and `guided`. Raises what kept it from it."""
        found = await self._launch()
        self.settings["cores"] = found["cores"]
        self._watch = asyncio.create_task(self._watched())
        return found

    async def stop(self) -> None:
        if self._watch:
            self._watch.cancel()
        self._ready.clear()
        await self._web.aclose()
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    async def _launch(self) -> dict[str, Any]:
        self._starts += 1
        socket = self._folder / f"{self._starts % 2}.sock"
        socket.unlink(missing_ok=True)
        await self._web.aclose()
        self._web = httpx2.AsyncClient(
            base_url="http://llama",
            timeout=None,
            trust_env=False,
            transport=httpx2.AsyncHTTPTransport(
                uds=str(socket),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            ),
        )
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "phoenix_forge.runtime.server.child",
            json.dumps({**self.settings, "socket": str(socket)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self.settings["verbose"] else subprocess.DEVNULL,
            env={**os.environ, "GGML_NO_BACKTRACE": "1"},
            start_new_session=True,
        )  # Ctrl-C in a terminal is the front's
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            code = await self._process.wait()
            raise StageFailed(
                f"llama.cpp ended while it loaded {self.settings['gguf']} (exit {code})",
                fix="forge serve --verbose shows what it says",
            )
        found = json.loads(line)
        if "failed" in found:
            raise getattr(errors, found["failed"])(found["message"], fix=found["fix"])
        self._sign = time.monotonic()
        self.guided = found["guided"]
        self._ready.set()
        return found

    async def _watched(self) -> None:
        """Ends what hangs and starts what ended, until that does not help."""
        try:
            while True:
                assert self._process
                why = await self._until_it_ends(self._process)
                self._ready.clear()
                self._strikes.update(self._suspects)
                self._suspects.clear()
                if self._starts > STARTS:
                    raise StageFailed(
                        f"llama.cpp {why}, {STARTS} times without an answer in between",
                        fix="forge serve --verbose shows what it says",
                    )
                self.report.warn(f"llama.cpp {why}; it is started again, and answers go on")
                await self._launch()
        except (errors.ForgeError, OSError) as error:
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _until_it_ends(self, process: asyncio.subprocess.Process) -> str:
        ended = asyncio.ensure_future(process.wait())
        while True:
            patience = min(PATIENCE, GRAMMAR_PATIENCE) if self._suspects else PATIENCE
            done, _ = await asyncio.wait([ended], timeout=min(1.0, patience / 4))
            if done:
                code = ended.result()
                return f"ended (signal {-code})" if code < 0 else f"ended (exit {code})"
            if self._running and time.monotonic() - self._sign > patience:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await ended
                return f"did nothing for {patience:.0f} s"

    async def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a question about the model that needs no computing."""
        for _ in range(ATTEMPTS):
            await self._ready.wait()
            try:
                response = await (
                    self._web.get(path) if body is None else self._web.post(path, json=body)
                )
            except httpx2.TransportError:
                await self._gone()
                continue
            _require_ok(response.status_code, response.content)
            return orjson.loads(response.content)
        raise _unanswered()

    def tokenizer(self) -> Tokens:
        """For threads beside the event loop that runs now."""
        loop = asyncio.get_running_loop()

        def tokens(text: str, *, special: bool, beginning: bool = False) -> list[int]:
            body = {"content": text, "parse_special": special, "add_special": beginning}
            return asyncio.run_coroutine_threadsafe(self.ask("/tokenize", body), loop).result()[
                "tokens"
            ]

        return tokens

    async def write(
        self, prompt: str | list[int], settings: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """llama.cpp's pieces of an answer; the last has `stop` and counts for the whole. Leaving early ends it. The
        settings' `wished_grammar` is one that nobody asked for: an answer goes on without it.

        Raises Refused for what llama.cpp refuses, and where the process ended too often.
        """
        settings = {**settings}
        wished = settings.pop("wished_grammar", None)
        bound = [settings[name] for name in ("grammar", "json_schema") if name in settings]
        text, count, written, first = "", 0, 0, None
        for _ in range(ATTEMPTS):
            wished = None if wished and self._strikes[sha256_json(wished)] else wished
            digest = sha256_json(wished or bound) if wished or bound else ""
            if self._strikes[digest] > 1:
                raise _unanswered()
            sent = {**settings, "grammar": wished} if wished else settings
            try:
                async with contextlib.aclosing(
                    self._piece_by_piece(_continued(prompt, text), _shortened(sent, count), digest)
                ) as pieces:
                    async for piece in pieces:
                        first = first or piece.get("tokens_evaluated")
                        if piece["stop"]:
                            yield {
                                **piece,
                                "tokens_predicted": count + piece["tokens_predicted"],
                                "tokens_evaluated": first,
                            }
                            return
                        text, written = text + piece["content"], piece["tokens_predicted"]
                        yield piece
            except Ended:
                if "grammar" in settings or (bound and text):
                    raise _unanswered() from None
                count, written, wished = count + written, 0, None
        raise _unanswered()

    async def _piece_by_piece(
        self, prompt: str | list[Any], settings: dict[str, Any], digest: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        async with self._places:
            await self._ready.wait()
            if not self._running:
                self._sign = time.monotonic()
            self._running += 1
            if digest:
                self._bound[digest] += 1
                self._suspects.add(digest)
            try:
                async with self._web.stream(
                    "POST",
                    "/completion",
                    json={"prompt": prompt, "stream": True, "return_progress": True, **settings},
                ) as response:
                    if response.status_code != httpx2.codes.OK:
                        _require_ok(response.status_code, await response.aread())
                    async for piece in _events(response):
                        self._sign, self._suspects = time.monotonic(), set(self._bound)
                        if "error" in piece:
                            raise Refused(piece["error"]["message"], kind=piece["error"]["type"])
                        if "prompt_progress" not in piece:
                            self._starts = 0
                            yield piece
                        if piece["stop"]:
                            return
                raise Ended
            except httpx2.TransportError:
                await self._gone()
                raise Ended from None
            finally:
                self._running -= 1
                self._bound -= Counter([digest])

    async def _gone(self) -> None:
        """The watch needs a moment to see that the process is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while self._ready.is_set():
                    await asyncio.sleep(0.05)


def _private_folder() -> Path:
    """Only this user may enter. A socket's path has at most some 100 bytes."""
    folder = tempfile.gettempdir()
    return Path(
        tempfile.mkdtemp(prefix="forge-", dir=folder if len(folder.encode()) < 70 else "/tmp")
    )


async def _events(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events with an object each. Lines end with a line feed only: texts may hold other separators."""
    rest = b""
    async for data in response.aiter_raw():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield orjson.loads(line[6:])


def _continued(prompt: str | list[int], text: str) -> str | list[Any]:
    """A prompt with the words of an answer that was begun."""
    if not text:
        return prompt
    return prompt + text if isinstance(prompt, str) else [*prompt, text]


def _shortened(settings: dict[str, Any], count: int) -> dict[str, Any]:
    longest = settings.get("n_predict", -1)
    return settings if longest < 0 else {**settings, "n_predict": max(0, longest - count)}


def _require_ok(status: int, body: bytes) -> None:
    if status == httpx2.codes.OK:
        return
    told = orjson.loads(body)["error"]
    raise Refused(
        told["message"], status if 400 <= status < 500 else 500, told.get("type", "server_error")
    )


def _unanswered() -> Refused:
    return Refused(
        "computing this answer stopped llama.cpp; it is not tried again", 500, "server_error"
    )
