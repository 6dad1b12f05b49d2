"""What this machine has, asked of the driver, so that no torch is loaded."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache


def gpu() -> tuple[str, float]:
    """Name and GiB of the first NVIDIA GPU, ("", 0) without one."""
    if not shutil.which("nvidia-smi"):
        return "", 0.0
    said = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    name, _, memory = said[0].rpartition(",") if said else ("", "", "")
    return (name, float(memory) / 1024) if memory.strip().isdigit() else ("", 0.0)


@cache
def has_gpu() -> bool:
    """Whether there is one, asked once a process."""
    return gpu()[1] > 0
