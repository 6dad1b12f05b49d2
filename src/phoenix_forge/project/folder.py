"""Which folder a project is."""

from __future__ import annotations

import os
from pathlib import Path

CONFIG = "forge.yaml"


def find_workspace(start: Path) -> Path:
    """The nearest folder upwards with forge.yaml; else the git repository's root; else `start`.

    What lies in a folder above and belongs to another user is not taken: anybody can put a forge.yaml into /tmp.
    """
    for mark in (CONFIG, ".git"):
        for folder in (start, *start.parents):
            if (folder / mark).exists() and (folder == start or not foreign(folder / mark)):
                return folder
    return start


def foreign(path: Path) -> bool:
    """Whether a file, or the link in its place, belongs to another user, who is not the system's administrator."""
    return not {path.lstat().st_uid, path.stat().st_uid} <= {os.getuid(), 0}


def passed_over(start: Path) -> list[Path]:
    """Configs above `start` that find_workspace does not take."""
    above = [folder / CONFIG for folder in start.parents if (folder / CONFIG).exists()]
    return [path for path in above if foreign(path)]
