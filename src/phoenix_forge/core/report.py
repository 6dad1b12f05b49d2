"""How long-running code speaks: it calls a Reporter and never prints. The consoles live in phoenix_forge.cli."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from phoenix_forge.errors import escaped


class Reporter(Protocol):
    """The one channel for progress and messages. Implementations: terminal, plain lines, silent, a function."""

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Stage `name` is now `state`: running, done, skipped or failed."""

    def info(self, message: str) -> None:
        """Something the user may want to know."""

    def warn(self, message: str) -> None:
        """Something the user should look at; the work goes on."""

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        """`done` of `total` in `unit` (B for bytes); `fields` are shown beside it (loss=…, tokens_per_second=…)."""


class Silent:
    """Drops everything: for tests and for library use."""

    def stage(self, name: str, state: str, note: str = "") -> None: ...

    def info(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None: ...


@dataclass(frozen=True)
class Event:
    """Something that a Reporter was told. `text` is the stage's name, the message, or what is progressing; `state` is a
    stage's (running, done, skipped, failed or stopped), with a reason or a time in `note`; `done` of `total` in `unit`,
    and `fields` beside it (loss, tokens_per_second), are of a progress."""

    kind: Literal["stage", "info", "warning", "progress"]
    text: str
    state: str = ""
    note: str = ""
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line for people, with no control character of a stranger's file name in it."""
        if self.kind == "stage":
            return escaped(f"{self.text}: {self.state}" + (f" ({self.note})" if self.note else ""))
        if self.kind == "progress":
            of = "" if self.total is None else f" of {self.total:,.0f}"
            return escaped(f"{self.text}: {self.done:,.0f}{of} {self.unit}".rstrip())
        return escaped(f"{self.kind}: {self.text}" if self.kind == "warning" else self.text)


class Told:
    """A Reporter that hands each thing it is told to a function, as an Event; of a progress its beginning, its end and
    at most one Event a second between them."""

    EVERY = 1.0  # seconds

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self.tell = tell
        self._last: dict[str, float] = {}  # by label, while it goes on

    def stage(self, name: str, state: str, note: str = "") -> None:
        self._last.clear()
        self.tell(Event("stage", name, state=state, note=note))

    def info(self, message: str) -> None:
        self.tell(Event("info", message))

    def warn(self, message: str) -> None:
        self.tell(Event("warning", message))

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        now = time.monotonic()
        if done != total and now - self._last.get(label, -self.EVERY) < self.EVERY:
            return
        self._last[label] = now
        self.tell(Event("progress", label, done=done, total=total, unit=unit, fields=fields))
