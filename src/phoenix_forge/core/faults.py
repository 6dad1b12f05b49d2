"""What a machine refuses in the middle of the work, as a problem that says where and what to do: a full disk, no more
memory, a file that may not be read or written, a library that is not there, a proxy that there is no way to ask."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from phoenix_forge.core.fsio import FULL, disk_full, free_bytes
from phoenix_forge.errors import EnvironmentProblem

# Libraries that write by themselves say it in words: safetensors and tokenizers (Rust), SQLite, pyarrow, torch.
_FULL_WORDS = (
    "no space left on device",
    "file too large",
    "disk quota exceeded",
    "database or disk is full",
)
_MEMORY_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "cannot allocate memory",
)
_PROXY_WORDS = (
    "Unknown scheme for proxy URL"  # httpx2's ValueError, raised before anything is asked
)
MEMORY = (
    "close other programs, or add swap; what lowers it: --set train.max_length=… lower, --set train.method=qlora "
    "(weights in 4 bits), --set train.rank=… lower, --set dataset.workers=1, or a smaller base"
)
LAST_PORT = 65_535
_FIX = {
    errno.EROFS: "that file system is mounted read-only: choose another place with --workspace",
    errno.EIO: "the disk or its connection fails: look at dmesg, and copy the workspace to another disk",
    errno.EMFILE: "ulimit -n 4096, then again",
    errno.ENAMETOOLONG: "a shorter name or path",
}


def out_of_memory(error: BaseException) -> bool:
    """Whether the processor's memory ran out: Python's, NumPy's or torch's word for it. (A GPU's is another error.)"""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(word in str(error).lower() for word in _MEMORY_WORDS)
    )


def explained(error: BaseException, places: Sequence[Path] = ()) -> EnvironmentProblem | None:
    """The problem that an error of the system or of a library stands for, or None where it is none of these. `places`
    are what was being written: one of them is named where a full disk is said of nothing in particular."""
    if isinstance(error, ImportError):
        return EnvironmentProblem(
            f"{error.name or error} cannot be imported: {error}",
            fix="make setup, then source .venv/bin/activate (or: pip install "
            "'phoenix-forge[train]')",
        )
    if out_of_memory(error):
        return EnvironmentProblem(
            "memory ran out" + (f": {error}" if str(error) else ""), fix=MEMORY
        )
    if isinstance(error, OSError):
        return _system(error, places)
    if any(word in str(error).lower() for word in _FULL_WORDS):
        return disk_full(_fullest(places))
    if str(error).startswith(_PROXY_WORDS):
        return EnvironmentProblem(
            f"a proxy that the environment names cannot be used: {error}",
            fix="name it as http://, https:// or socks5://HOST:PORT in ALL_PROXY, HTTPS_PROXY or "
            "HTTP_PROXY, or unset these",
        )
    if isinstance(error, sqlite3.OperationalError):
        there = f" in {places[0].parent}" if places else ""
        return EnvironmentProblem(
            f"a database{there} cannot be used: {error}",
            fix="check its owner and permissions, and that no other program holds it",
        )
    return None


@contextlib.contextmanager
def named(*places: Path) -> Iterator[None]:
    """What a machine refuses inside of it is raised as the problem that it stands for."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError, ImportError, sqlite3.Error) as error:
        problem = explained(error, places)
        if problem is None or isinstance(error, BrokenPipeError):
            raise
        raise problem from error


def _system(error: OSError, places: Sequence[Path]) -> EnvironmentProblem:
    named = Path(error.filename) if isinstance(error.filename, str) else None
    if error.errno in FULL:
        return disk_full(named or _fullest(places), error=error)
    return EnvironmentProblem(
        f"{error.strerror or error}" + (f": {named}" if named else ""),
        fix=_FIX.get(error.errno or 0) or _permissions(error, named),
    )


def unbound(error: OSError, port: int, flag: str, host: str = "") -> str:
    """The way out where a server cannot listen; `flag` sets the port, `host` the address where it can be set."""
    if error.errno == errno.EADDRINUSE:
        return f"{flag} {port + 1 if port < LAST_PORT else port - 1}, or end what listens there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"ports below 1024 are for the system's own services: {flag} {port + 8000}"
    return f"{host} 127.0.0.1, or an address of this machine (ip addr)" if host else f"{flag} 8080"


def _permissions(error: OSError, where: Path | None) -> str:
    if error.errno not in (errno.EACCES, errno.EPERM) or where is None:
        return "check the disk, the path and its permissions"
    there = next((path for path in (where, *where.parents) if os.path.exists(path)), where)  # noqa: PTH110 - never raises
    return (
        f"ls -ld {there} says whose it is; where several users share a workspace, give it to their group "
        "(chgrp -R GROUP, chmod -R g+rwXs) and let each set umask 002; or choose your own with --workspace"
    )


def _fullest(places: Sequence[Path]) -> Path:
    """The place whose disk has the least room: temporary files may lie on another."""
    return min([*places, Path(tempfile.gettempdir()) / "temporary files"], key=free_bytes)
