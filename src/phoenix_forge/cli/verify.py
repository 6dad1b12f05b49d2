"""forge verify: everything that Forge made, read again and held against its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phoenix_forge.cli.setup import Setup
from phoenix_forge.stages import Context
from phoenix_forge.stages.recorded import records
from phoenix_forge.train import checkpoints

MARKS = {"intact": "OK     ", "changed": "CHANGED", "missing": "MISSING", "damaged": "DAMAGED"}


def verified(setup: Setup) -> tuple[dict, list[str]]:
    """Every artifact and checkpoint with its state, and the lines that say it."""
    ctx = setup.context()
    ctx.digests.forget()
    rows = [_artifact(ctx, *record) for record in records(ctx)]
    rows += [_checkpoint(ctx, path) for _, path in checkpoints.by_step(ctx.workspace.checkpoints)]
    ctx.digests.save()
    lines = []
    for row in rows:
        lines.append(f"{MARKS[row['status']]} {row['path']}")
        if row["fix"]:
            lines.append(f"        fix: {row['fix']}")
    if not rows:
        lines.append("nothing was made here yet")
    return {"intact": all(row["status"] == "intact" for row in rows), "files": rows}, lines


def _artifact(ctx: Context, stage: str, role: str, path: Path, sha256: str) -> dict[str, Any]:
    found = ctx.digests.tree(path) if path.exists() else None
    status = "missing" if found is None else "intact" if found == sha256 else "changed"
    return {
        "stage": stage,
        "role": role,
        "path": ctx.workspace.shown(path),
        "status": status,
        "sha256": found,
        "recorded": sha256,
        "fix": None if status == "intact" else f"forge {stage} --force makes it again",
    }


def _checkpoint(ctx: Context, path: Path) -> dict[str, Any]:
    damaged = checkpoints.problem(path) is not None
    return {
        "stage": "train",
        "role": "checkpoint",
        "path": ctx.workspace.shown(path),
        "status": "damaged" if damaged else "intact",
        "fix": f"rm -r {path}; forge train goes on from the one before" if damaged else None,
    }
