"""How long-running code speaks: it calls a Reporter and never prints. The consoles live in phoenix_forge.cli."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """The one channel for progress and messages. Implementations: terminal, plain lines, silent (--json)."""

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Stage `name` is now `state`: running, done, skipped or failed."""

    def info(self, message: str) -> None:
        """Something the user may want to know."""

    def warn(self, message: str) -> None:
        """Something the user should look at; the work goes on."""

    def progress(self, label: str, done: float, total: float | None, unit: str = "", **fields: object) -> None:
        """`done` of `total` in `unit` (B for bytes); `fields` are shown beside it (loss=…, tokens_per_second=…)."""


class Silent:
    """Drops everything: for tests and for library use."""

    def stage(self, name: str, state: str, note: str = "") -> None: ...

    def info(self, message: str) -> None: ...

    def warn(self, message: str) -> None: ...

    def progress(self, label: str, done: float, total: float | None, unit: str = "", **fields: object) -> None: ...
