"""Running another program, bounded, its last lines kept for the error; and running beside other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from phoenix_forge.errors import EnvironmentProblem, StageFailed

TAIL = 20  # lines of output that an error shows
# How often a thread looks for the others before it sleeps. By GNU OpenMP's default of 300,000 it burns its whole time
# slice where other programs use the cores as well, some hundred times a token. llama.cpp, two threads, 0.5B: 22.7
# tokens/s by default and 23.1 with this on a quiet machine; 0.4 and about 4 on a busy one. Sleeping at once: 17 on the
# quiet one. For training see bench/busy.py.
SPINS = "10000"


def wait_briefly() -> None:
    """Sets how OpenMP's threads wait for each other, unless the user did: before torch or llama.cpp is loaded, which
    read it once."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def run(
    command: Sequence[str], *, cwd: Path | None = None, timeout: float = 600, fix: str | None = None
) -> str:
    """Output (stdout and stderr together) of a command that succeeded.

    Raises EnvironmentProblem where the program is missing, StageFailed where it fails or takes over `timeout` seconds.
    """
    if shutil.which(command[0]) is None:
        raise EnvironmentProblem(f"{command[0]} is not installed", fix=fix)
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StageFailed(f"{' '.join(command)} took more than {timeout:.0f} s", fix=fix) from None
    if done.returncode:
        tail = "\n  ".join(done.stdout.strip().splitlines()[-TAIL:])
        raise StageFailed(
            f"{' '.join(command)} ended with exit code {done.returncode}:\n  {tail}", fix=fix
        )
    return done.stdout
