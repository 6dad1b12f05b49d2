"""What a machine refuses is named for what it is, whichever library says so."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from safetensors import SafetensorError

from phoenix_forge.core.faults import explained, unbound
from phoenix_forge.core.fsio import unread

TORCH = "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (
            SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            ),
            "is full",
        ),
        (sqlite3.OperationalError("database or disk is full"), "is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be used"),
        (MemoryError(), "memory ran out"),
        (RuntimeError(TORCH), "memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "Permission denied: /x/y"),
        (OSError(errno.EROFS, "Read-only file system", "/x/y"), "Read-only file system: /x/y"),
    ],
    ids=repr,
)
def test_it_is_a_problem_of_this_machine_with_a_fix(error, said, tmp_path):
    problem = explained(error, [tmp_path / "out.jsonl"])
    assert problem is not None
    assert said in problem.message
    assert problem.fix
    assert problem.exit_code == 3


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), ValueError("odd"), KeyError("full")]
)
def test_anything_else_is_not_explained_away(error):
    assert explained(error) is None


def test_a_fix_for_rights_names_what_is_there(tmp_path: Path):
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "not" / "yet"))
    assert f"ls -ld {tmp_path} " in str(explained(error).fix)


@pytest.mark.parametrize(
    ("code", "port", "fix"),
    [
        (errno.EADDRINUSE, 8080, "--port 8081, or end what listens there"),
        (errno.EADDRINUSE, 65_535, "--port 65534, or end what listens there"),
        (errno.EACCES, 80, "ports below 1024 are for the system's own services: --port 8080"),
        (errno.EADDRNOTAVAIL, 8080, "--host 127.0.0.1, or an address of this machine (ip addr)"),
    ],
)
def test_the_way_out_of_a_port_leads_out_of_its_own_trouble(code, port, fix):
    assert unbound(OSError(code, ""), port, "--port", "--host") == fix


def test_what_may_not_be_read_is_not_told_to_be_named(tmp_path):
    path = tmp_path / "x"
    assert unread(FileNotFoundError(errno.ENOENT, ""), path, "name one") == "name one"
    assert f"chmod u+r {path}" in unread(PermissionError(errno.EACCES, ""), path, "name one")
