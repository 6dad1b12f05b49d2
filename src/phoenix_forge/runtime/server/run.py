"""The front, what answers behind it and the signals that end both."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvicorn

from phoenix_forge.core.report import Reporter
from phoenix_forge.runtime.server.backend import Backend
from phoenix_forge.runtime.server.connections import Protocol, Server
from phoenix_forge.runtime.server.documents import Service
from phoenix_forge.runtime.server.front import Door, Front

T = TypeVar("T")
GRACE = 1  # second for answers to end by themselves when the server is stopped
KEPT = 30  # seconds between two requests; clients drop idle connections after 5, and should be the first to do so
FILES = 4096  # open at a time; a connection is one, and some systems allow 256 by default


async def run(
    make: Callable[[], Backend],
    listening: socket.socket,
    door: Door,
    service: Service,
    report: Reporter,
) -> None:
    """Serves on a bound socket until a signal comes. Raises what keeps the backend from starting, or ends it."""
    backend = make()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        found = await _unless(stopped, backend, backend.start())
        if found is None:
            return
        _allow_files()
        config = uvicorn.Config(
            Front(backend, door, service, report),
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
        server = Server(config)
        listening.listen(config.backlog)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        book = "grounded in the documents" if service.documents else "closed book"
        report.info(
            f"{service.alias} answers at {_address(listening)}/v1 (OpenAI's API), {book}, {found}; "
            "Ctrl-C stops it"
        )
        ends: list[asyncio.Future[Any]] = [stopped, backend.failed, serving]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        _require_alive(backend)
    finally:
        stopped.cancel()
        await backend.stop()


async def _unless(
    stopped: asyncio.Future[Any], backend: Backend, work: Coroutine[Any, Any, T]
) -> T | None:
    """What comes of the work, or None where it was stopped before."""
    task = asyncio.ensure_future(work)
    ends: list[asyncio.Future[Any]] = [stopped, backend.failed, task]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    _require_alive(backend)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


def _require_alive(backend: Backend) -> None:
    if backend.failed.done():
        backend.failed.result()


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
