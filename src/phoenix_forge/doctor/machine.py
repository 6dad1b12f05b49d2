"""The machine: memory, disk, and what kind of Linux it is."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from phoenix_forge.core.fsio import free_bytes, human
from phoenix_forge.doctor.finding import Ctx, Finding

LEAST_RAM = 4e9  # bytes: 0.5B trains in fp32 within this
MERGE_RAM = 16e9  # bytes of memory and swap that merging 7B in 16 bits asks for
LEAST_DISK, GOOD_DISK = 2e9, 50e9  # bytes: a 0.5B run; a 7B run with base, merged model and GGUF

MORE_SWAP = (
    "sudo fallocate -l 16G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
    "sudo swapon /swapfile"
)


def memory_limit() -> int | None:
    """Bytes that this process's container allows (cgroup v2), where it sets a limit."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:  # no cgroup v2 here
        return None
    return int(text) if text.isdigit() else None


def ram(ctx: Ctx) -> Finding:
    memory = psutil.virtual_memory()
    limit = memory_limit()
    available = min(memory.available, limit) if limit else memory.available
    found = f"{human(available)} available of {human(memory.total)}" + (
        f", the container allows {human(limit)}" if limit and limit < memory.total else ""
    )
    if available < LEAST_RAM:
        return Finding("warning", found, f"close other programs, or add swap: {MORE_SWAP}")
    return Finding("ok", found)


def swap(ctx: Ctx) -> Finding:
    total, memory = psutil.swap_memory().total, psutil.virtual_memory().available
    if total + memory < MERGE_RAM:
        return Finding(
            "warning",
            f"{human(total)}; with the available memory {human(total + memory)}, merging a 7B "
            f"model asks for {human(MERGE_RAM)}",
            MORE_SWAP,
        )
    return Finding("ok", human(total) if total else "none, and enough memory without")


def disk(ctx: Ctx) -> Finding:
    free = free_bytes(ctx.root)
    found = f"{human(free)} free at {ctx.root}"
    if free < LEAST_DISK:
        return Finding(
            "failed",
            f"{found}: even a 0.5B model needs {human(LEAST_DISK)}",
            "free some, or choose another disk with --workspace",
        )
    if free < GOOD_DISK:
        return Finding(
            "warning",
            f"{found}: a 7B model needs {human(GOOD_DISK)}",
            "enough for models up to about 1.5B; for more, another disk with --workspace",
        )
    return Finding("ok", found)


def wsl(ctx: Ctx) -> Finding:
    release = os.uname().release
    if "microsoft" not in release.lower():
        return Finding("ok", "not under WSL")
    if "wsl2" not in release.lower():
        return Finding(
            "warning",
            f"WSL 1 ({release}): it has no GPU",
            "in PowerShell: wsl --set-version Ubuntu 2",
        )
    if str(ctx.root.resolve()).startswith("/mnt/"):
        return Finding(
            "warning",
            f"WSL2, and {ctx.root} lies on the Windows disk: slow",
            "move the workspace below your Linux home folder",
        )
    return Finding("ok", f"WSL2 ({release})")
