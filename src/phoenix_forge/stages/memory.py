"""Memory pre-flight, with the numbers."""

from __future__ import annotations

import resource

import psutil

from phoenix_forge.core.fsio import human
from phoenix_forge.errors import EnvironmentProblem


def require_memory(needed: int, what: str) -> None:
    """Refuses before any work when RAM and swap together have less than `needed` bytes free."""
    ram, swap = psutil.virtual_memory().available, psutil.swap_memory().free
    if ram + swap < needed:
        raise EnvironmentProblem(
            f"{what} needs {human(needed)} of memory; {human(ram)} of RAM and {human(swap)} of swap are free",
            fix=f"close programs, or add swap: sudo fallocate -l {-(-(needed - ram - swap) // 2**30)}G /swapfile && "
            "sudo chmod 600 /swapfile && sudo mkswap /swapfile && sudo swapon /swapfile",
        )


def peak_rss() -> int:
    """Largest resident memory of this process so far, in bytes, file pages included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
