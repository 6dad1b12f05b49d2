"""The environment that Forge runs in."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from phoenix_forge.doctor.finding import SETUP, Ctx, Finding

NEWEST_PYTHON = (3, 13)
TRAINING = ("torch", "transformers", "peft")  # what tells a Forge environment from any other


def environments(root: Path) -> list[Path]:
    """Where Forge may have been set up: the environment that is activated, .venv here, the workflow's ~/ml_env."""
    active = os.environ.get("VIRTUAL_ENV")
    return [*([Path(active)] if active else []), root / ".venv", Path.home() / "ml_env"]


def can_train(prefix: Path) -> bool:
    """Whether another environment holds the training libraries; looked up in its folders, since it is not running."""
    return any(
        all((site / name).is_dir() for name in TRAINING)
        for site in prefix.glob("lib*/python3*/site-packages")
    )


def environment(ctx: Ctx) -> Finding:
    here = Path(sys.prefix)
    others = [p for p in environments(ctx.root) if p.is_dir() and p.resolve() != here.resolve()]
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        better = next((p for p in others if can_train(p)), None)
        if better:
            return Finding(
                "failed",
                f"wrong environment: {here} has no {', '.join(missing)}, {better} has",
                f"source {better}/bin/activate",
            )
        return Finding("failed", f"{here} has no {', '.join(missing)}", SETUP)
    active = os.environ.get("VIRTUAL_ENV")
    if active and Path(active).resolve() != here.resolve():
        return Finding(
            "warning",
            f"{active} is activated, but this is the Python of {here}",
            f"deactivate; source {here}/bin/activate",
        )
    code = Path(__file__).resolve().parents[1]
    checkout = ctx.root / "src/phoenix_forge"
    if (checkout / "doctor/table.py").is_file() and checkout.resolve() != code:
        return Finding(
            "warning",
            f"{here} imports Forge from {code}, not from {checkout}",
            f"pip install -e {ctx.root}",
        )
    if sys.prefix == sys.base_prefix:
        return Finding("warning", f"{here}: not a virtual environment", SETUP)
    return Finding("ok", str(here))


def python(ctx: Ctx) -> Finding:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > NEWEST_PYTHON:
        return Finding(
            "warning",
            f"{here}: newer than the {'.'.join(map(str, NEWEST_PYTHON))} that Forge is tested with",
            "none needed while everything below is ok; else install Forge with an older one",
        )
    return Finding("ok", here)
