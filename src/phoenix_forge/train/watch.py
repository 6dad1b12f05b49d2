"""What a training run shows and what stops it: progress, metrics.jsonl, trackers, signals, a loss that goes wrong."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phoenix_forge.core.fsio import naming, write_text
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import StageFailed
from phoenix_forge.train.trackers import Tracker

RISE, PATIENCE = 2.0, 20  # a loss of twice its best mean, for so many logged steps, has diverged
SMOOTH = 0.9


@dataclass
class History:
    """What outlives a resume; kept in every checkpoint. `tokens` are those trained on, prompts included."""

    step: int = 0
    tokens: int = 0
    first_loss: float | None = None
    loss: float | None = None
    mean: float | None = None  # of the loss, smoothed
    lowest: float | None = None  # mean so far
    risen: int = 0  # logged steps in a row that the mean was far above it
    eval_loss: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0  # validations in a row that were not better

    def trained(self, step: int, loss: float) -> str | None:
        """Takes a step's mean loss in; returns what is wrong with it, if anything."""
        if not math.isfinite(loss):
            return f"the loss became {loss} at step {step}"
        self.loss = loss
        self.first_loss = loss if self.first_loss is None else self.first_loss
        self.mean = loss if self.mean is None else SMOOTH * self.mean + (1 - SMOOTH) * loss
        self.lowest = self.mean if self.lowest is None else min(self.lowest, self.mean)
        self.risen = (
            self.risen + 1 if self.mean > RISE * self.lowest and self.mean > self.lowest + 1 else 0
        )
        if self.risen >= PATIENCE:
            return (
                f"the loss diverged: {self.mean:.2f} at step {step}, it had been {self.lowest:.2f}"
            )
        return None

    def validated(self, step: int, loss: float) -> None:
        self.eval_loss = loss
        better = self.best_loss is None or loss < self.best_loss
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best_loss, self.best_step = loss, step


@dataclass
class Watch:
    """Follows a run. `stop` is set by a signal: its number. Without `metrics` nothing is written: of several processes
    one keeps the record."""

    metrics: Path | None
    report: Reporter
    tracker: Tracker
    steps: int
    history: History
    stop: int = 0
    started: float = field(default_factory=time.monotonic)
    speed: float = 0.0
    _tokens: int = 0

    def __post_init__(self) -> None:
        """Lines of steps after the checkpoint go: these are about to happen again."""
        if not self.metrics:
            return
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        done = self.history.step
        lines = (
            self.metrics.read_text(encoding="utf-8").splitlines()
            if self.metrics.exists() and done
            else []
        )
        write_text(self.metrics, "".join(f"{line}\n" for line in lines if _step(line) <= done))

    def stepped(self, step: int, tokens: int) -> None:
        """A step of so many tokens is done."""
        self._tokens += tokens
        self.speed = self._tokens / (time.monotonic() - self.started)
        shown: dict[str, object] = {"tokens_per_second": self.speed}
        if self.history.loss is not None:
            shown["loss"] = self.history.loss
        self.report.progress("train", step, self.steps, "steps", **shown)

    def log(self, step: int, **values: float) -> None:
        if self.metrics:
            with naming(self.metrics), open(self.metrics, "a", encoding="utf-8") as handle:
                handle.write(json.dumps({"step": step, **values}) + "\n")
        self.tracker.log(step, values)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP (the terminal is gone) end the run after the step at work, with a checkpoint. Who
        asked for the last to be ignored, as nohup does, is obeyed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, _frame: Any) -> None:
            self.stop = number
            if number == signal.SIGHUP:
                _let_go()
            self.report.warn(f"{signal.Signals(number).name}: saving after this step")

        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        before = {
            number: signal.signal(number, ask)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if not (ignored and number == signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _let_go() -> None:
    """Nothing more is said to a terminal that hung up: writing to it fails, and the step at work would with it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _step(line: str) -> float:
    """The step of a line of metrics; a torn line, from a kill while it was written, belongs to none."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf


def failed(reason: str) -> StageFailed:
    return StageFailed(reason, fix="lower train.learning_rate; forge train starts over")
