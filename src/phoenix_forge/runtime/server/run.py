"""The front, llama.cpp behind it and the signals that end both."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from phoenix_forge.core.fsio import human
from phoenix_forge.core.report import Reporter
from phoenix_forge.runtime.prompts import Prompts, template_of
from phoenix_forge.runtime.server.connections import Protocol, Server
from phoenix_forge.runtime.server.front import Door, Front
from phoenix_forge.runtime.server.supervisor import Upstream

T = TypeVar("T")
GRACE = 1  # second for answers to end by themselves when the server is stopped
KEPT = 30  # seconds between two requests; clients drop idle connections after 5, and should be the first to do so
FILES = 4096  # open at a time; a connection is one, and some systems allow 256 by default


async def run(
    settings: dict[str, Any],
    listening: socket.socket,
    door: Door,
    report: Reporter,
    *,
    alias: str,
    system: str | None,
) -> None:
    """Serves on a bound socket until a signal comes; `settings` are the child's. Raises what ends llama.cpp, and
    UsageError for a template that no conversation can be rendered with."""
    template = template_of(Path(settings["gguf"]))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    upstream = Upstream(settings, report)
    try:
        found = await _unless(stopped, upstream, upstream.start())
        prompts = await _unless(
            stopped,
            upstream,
            asyncio.to_thread(Prompts, template, upstream.tokenizer(), system=system),
        )
        if found is None or prompts is None:
            return
        front = Front(upstream, prompts, door, alias=alias, num_ctx=settings["num_ctx"])
        _allow_files()
        config = uvicorn.Config(
            front,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level=logging.CRITICAL,
            timeout_graceful_shutdown=GRACE,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEPT,
        )
        if not settings["verbose"]:  # of clients that leave while they are written to
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        server = Server(config)
        listening.listen(config.backlog)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        report.info(
            f"{alias} answers at {_address(listening)}/v1 (OpenAI's API), "
            f"{placed(found['cores'], found['before'], found['after'])}; Ctrl-C stops it"
        )
        ends: list[asyncio.Future[Any]] = [stopped, upstream.failed, serving]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        upstream.require_alive()
    finally:
        stopped.cancel()
        await upstream.stop()


async def _unless(
    stopped: asyncio.Future[Any], upstream: Upstream, work: Coroutine[Any, Any, T]
) -> T | None:
    """What comes of the work, or None where it was stopped before."""
    task = asyncio.ensure_future(work)
    ends: list[asyncio.Future[Any]] = [stopped, upstream.failed, task]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    upstream.require_alive()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def placed(cores: Sequence[int], before: dict[str, int], after: dict[str, int]) -> str:
    """What computes: threads for answers and for prompts, and the GPU memory taken, from what was free before and is
    now. The library tells the number of layers only in its log."""
    answers, prompts = cores
    said = f"threads: {answers}" + (f" ({prompts} for prompts)" if prompts != answers else "")
    taken = [
        f"{human(max(0, free - after.get(name, free)))} of {human(free)} free on {name}"
        for name, free in before.items()
    ]
    return ", ".join([said, *taken])


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
