"""Where `train.report_to` sends what metrics.jsonl holds anyway: one class a kind, one row a kind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from phoenix_forge.core.fsio import write_text
from phoenix_forge.errors import EnvironmentProblem

FLUSH = 10  # seconds: what a kill may cost, and how far an open dashboard lags behind
# Set by whoever wants trackio's records elsewhere. Without one of them they stay here.
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class Tracker(Protocol):
    def log(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None:
        """Returns once everything logged is written."""


def check_tracker(kind: str) -> None:
    """Raises EnvironmentProblem where the kind's package is missing; imports nothing."""
    package = KINDS[kind][0]
    if package and find_spec(package) is None:
        raise EnvironmentProblem(
            f"train.report_to is {kind}, and the package {package} is not installed",
            fix="pip install 'phoenix-forge[track]'",
        )


def open_tracker(
    kind: str, folder: Path, name: str, settings: dict[str, Any], resumed: int = 0
) -> Tracker:
    """`name` is the model's. `resumed` is the step of the checkpoint that training goes on from: the record then goes
    on too, each step in it once. With 0 a new record begins."""
    check_tracker(kind)
    return KINDS[kind][1](folder, name, settings, resumed)


class Nowhere:
    def __init__(self, folder: Path, name: str, settings: dict[str, Any], resumed: int) -> None: ...

    def log(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class Tensorboard:
    """Event files in `folder`/tensorboard. A new training takes the place of the one before, as in metrics.jsonl."""

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], resumed: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Readers then drop what earlier files hold from this step on: those steps are about to happen again.
        again = resumed + 1 if resumed else 0
        self._writer = SummaryWriter(
            str(folder / "tensorboard"), purge_step=again, flush_secs=FLUSH
        )
        indented = json.dumps(settings, indent=2, default=str).replace("\n", "\n    ")
        self._writer.add_text("settings", f"{name}\n\n    {indented}", resumed)

    def log(self, step: int, values: dict[str, float]) -> None:
        for key, value in _grouped(values).items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A run in trackio's own place, where `trackio show` finds it (TRACKIO_DIR, else its default in the home).

    Of trackio's records nothing can be taken back, so a resumed run keeps the points it has and adds the missing ones.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], resumed: int) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        self._trackio = trackio
        # trackio refuses names with certain beginnings and endings (registry-…, …_system); with these none has them.
        project = f"forge-{name}-train"
        with _unasked():
            self._run = trackio.init(
                project,
                name=_run_name(folder / "trackio_run", resumed),
                config=settings,
                resume="allow" if resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        known = (
            SQLiteStorage.get_logs(project, self._run.name, run_id=self._run.id) if resumed else []
        )
        self._known = {(line["step"], key) for line in known for key in line}

    def log(self, step: int, values: dict[str, float]) -> None:
        if new := {
            key: value for key, value in _grouped(values).items() if (step, key) not in self._known
        }:
            self._run.log(new, step=step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self._trackio.finish()


def _run_name(store: Path, resumed: int) -> str:
    """The time a training began: runs of one model are told apart by it. Kept for the resume."""
    if not resumed or not store.exists():
        write_text(store, f"{datetime.now():%Y-%m-%d %H:%M:%S}\n")
    return store.read_text(encoding="utf-8").strip()


@contextmanager
def _unasked() -> Iterator[None]:
    """Keeps trackio from printing to stdout, which belongs to results, and from asking the Hub whose token this machine
    has, which it does for local runs too."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not any(os.environ.get(name) for name in ELSEWHERE)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _grouped(values: dict[str, float]) -> dict[str, float]:
    """eval_loss becomes eval/loss, everything else train/…: dashboards draw a group side by side."""
    return {
        f"eval/{key.removeprefix('eval_')}" if key.startswith("eval_") else f"train/{key}": value
        for key, value in values.items()
    }


# kind of train.report_to: the package it needs, and its tracker
KINDS: dict[str, tuple[str | None, Callable[[Path, str, dict[str, Any], int], Tracker]]] = {
    "none": (None, Nowhere),
    "tensorboard": ("tensorboard", Tensorboard),
    "trackio": ("trackio", Trackio),
}
