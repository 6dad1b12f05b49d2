"""Which checkpoints can be resumed from. A checkpoint counts once its mark, written last, lists every file's digest."""

from __future__ import annotations

import json
import re
from pathlib import Path

from forge.core.fsio import files_below, remove, sha256_file, sync_tree, write_json, write_text
from forge.core.report import Reporter

MARK = "complete.json"
CHOICE = "choice.json"  # how the machine is used for this training


def seal(checkpoint: Path) -> None:
    """Declares a written checkpoint complete."""
    sync_tree(checkpoint)
    digests = {str(p.relative_to(checkpoint)): sha256_file(p) for p in files_below(checkpoint) if p.name != MARK}
    write_json(checkpoint / MARK, digests)


def _problem(checkpoint: Path) -> str | None:
    try:
        digests = json.loads((checkpoint / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "was not finished"
    except ValueError:
        return "has a broken mark"
    for name, digest in digests.items():
        path = checkpoint / name
        if not path.is_file() or sha256_file(path) != digest:
            return f"has a damaged {name}"
    return None


def by_step(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoint folders, oldest first, by number: checkpoint-400 comes before checkpoint-1000."""
    found = [(int(m[1]), p) for p in folder.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    return sorted(found)


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep`. To be called after sealing: there is always a complete one."""
    for _, path in by_step(folder)[:-keep]:
        remove(path)


def latest(folder: Path, identity: str, report: Reporter) -> Path | None:
    """The last complete checkpoint of this very training, or None; what cannot be resumed from is removed.

    `identity` is a digest of everything that shapes the training: checkpoints of another one are discarded.
    """
    owner = folder / "identity"
    if not owner.exists() or owner.read_text(encoding="utf-8") != identity:
        discarded = by_step(folder)
        for _, path in discarded:
            remove(path)
        if discarded:
            report.info(f"{len(discarded)} checkpoints of another training discarded")
        remove(folder / CHOICE)
        write_text(owner, identity)
        return None
    for step, path in reversed(by_step(folder)):
        problem = _problem(path)
        if problem is None:
            return path
        report.warn(f"checkpoint at step {step} {problem}; going back to the one before")
        remove(path)
    return None
