"""uvicorn's HTTP with an end to what never becomes a request, and without signal handlers of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_SECONDS = 10.0  # for the head of a request to arrive
LINGER = 5.0  # seconds for which the rest of a body is read and dropped after its refusal, so that this one is seen
CONNECTIONS = 1000  # open at a time; beyond, one that asks for nothing is closed


class Protocol(H11Protocol):
    """A connection of which the head of a request is awaited is closed in time; one that waits between two requests has
    uvicorn's own timer."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_SECONDS, self._close)
        if len(self.connections) > CONNECTIONS:
            idle = next(
                (other for other in self.connections if isinstance(other, Protocol) and other.idle),
                self,
            )
            idle._close()

    @property
    def idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waits = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if waits and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._close)
        elif not waits:
            self._on_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_time()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body:
            self.loop.call_later(LINGER, self._close_behind, self.cycle)

    def _close_behind(self, cycle: RequestResponseCycle) -> None:
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self._close()

    def _on_time(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Ends when it is told to (`should_exit`); signals are its caller's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
