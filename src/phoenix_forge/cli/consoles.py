"""Reporters: a live terminal, plain lines for logs and pipes. Both go to stderr; results own stdout.

What they are told may hold a stranger's words, such as names of files: each escapes all that it writes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.core.fsio import human, open_own
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import escaped

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MARKS = {"running": "▶", "done": "✓", "skipped": "=", "failed": "✗"}
EVERY = 10.0  # seconds between progress lines of a plain console
NAMES = {"tokens_per_second": "tokens/s"}


def amount(value: float, unit: str) -> str:
    return human(value) if unit == "B" else f"{value:,.0f}"


def detail(fields: dict[str, object]) -> str:
    """loss=1.234, tokens_per_second=87.2 → 'loss 1.234 · 87 tokens/s'."""
    parts = []
    for name, value in fields.items():
        if name in NAMES and isinstance(value, int | float):
            parts.append(f"{value:,.0f} {NAMES[name]}")
        else:
            parts.append(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class Pace:
    """Time left, from when a piece of work was first seen."""

    def __init__(self, done: float) -> None:
        self.started, self.first = time.monotonic(), done

    def left(self, done: float, total: float | None) -> str:
        elapsed, moved = time.monotonic() - self.started, done - self.first
        return f"{clock(elapsed / moved * (total - done))} left" if total and moved > 0 else ""


class Plain:
    """One line an event; progress at most every few seconds."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._pace: dict[str, Pace] = {}

    def _say(self, text: str) -> None:
        print(escaped(text), file=sys.stderr, flush=True)

    def stage(self, name: str, state: str, note: str = "") -> None:
        self._say(f"{MARKS.get(state, '·')} {name}: {state}{f' ({note})' if note else ''}")

    def info(self, message: str) -> None:
        self._say(f"  {message}")

    def warn(self, message: str) -> None:
        self._say(f"  warning: {message}")

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        now = time.monotonic()
        pace = self._pace.setdefault(label, Pace(done))
        if now - self._last.get(label, -EVERY) < EVERY and done != total:
            return
        self._last[label] = now
        of = f" of {amount(total, unit)}" if total else ""
        left = pace.left(done, total)
        self._say(
            f"  {label}: {amount(done, unit)}{of}{f' {unit}' if unit not in ('', 'B') else ''}"
            + "".join(f" · {part}" for part in (detail(fields), left) if part)
        )
        if done == total:
            self._pace.pop(label, None)
            self._last.pop(label, None)


class Terminal(Plain):
    """Rich's live display: a bar with figures while work goes on, one line when it is done."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def _say(self, text: str) -> None:
        self.console.print(escaped(text), markup=False)

    def stage(self, name: str, state: str, note: str = "") -> None:
        self.close()
        style = {"running": "bold", "done": "green", "failed": "bold red", "skipped": "dim"}.get(
            state, ""
        )
        line = f"{MARKS.get(state, '·')} {name}{f'  {note}' if note else ''}"
        self.console.print(escaped(line), style=style, markup=False)

    def warn(self, message: str) -> None:
        self.console.print(f"  warning: {escaped(message)}", style="yellow", markup=False)

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        if self._bars is None:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("  {task.description}", markup=False),
                BarColumn(bar_width=28),
                TextColumn("{task.fields[text]}", markup=False),
                console=self.console,
                transient=True,
            )
            self._bars.start()
        pace = self._pace.setdefault(label, Pace(done))
        of = f"/{amount(total, unit)}" if total else ""
        parts = (
            f"{amount(done, unit)}{of}{f' {unit}' if unit not in ('', 'B') else ''}",
            detail(fields),
            pace.left(done, total),
        )
        text = escaped(" · ".join(part for part in parts if part))
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(escaped(label), total=total, text=text)
        self._bars.update(self._tasks[label], completed=done, total=total, text=text)
        if done == total:
            self._bars.remove_task(self._tasks.pop(label))
            self._pace.pop(label, None)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()
            self._pace.clear()


class Logged:
    """Passes everything on to a console and keeps messages in a log file."""

    def __init__(self, console: Reporter, path: Path) -> None:
        self.console, self.path = console, path

    def _log(self, text: str) -> None:
        with contextlib.suppress(
            OSError
        ):  # a log that cannot be kept stops no work: the console says the same
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open_own(self.path, "a", encoding="utf-8") as handle:
                handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {escaped(text)}\n")

    def stage(self, name: str, state: str, note: str = "") -> None:
        self._log(f"stage {name} {state} {note}")
        self.console.stage(name, state, note)

    def info(self, message: str) -> None:
        self._log(message)
        self.console.info(message)

    def warn(self, message: str) -> None:
        self._log(f"warning: {message}")
        self.console.warn(message)

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        self.console.progress(label, done, total, unit, **fields)


class Quiet:
    """Warnings only."""

    def stage(self, name: str, state: str, note: str = "") -> None: ...

    def info(self, message: str) -> None: ...

    def warn(self, message: str) -> None:
        print(f"warning: {escaped(message)}", file=sys.stderr)

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None: ...
