"""Running another program: bounded, its last lines kept for the error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from forge.errors import EnvironmentProblem, StageFailed

TAIL = 20  # lines of output that an error shows


def run(command: Sequence[str], *, cwd: Path | None = None, timeout: float = 600, fix: str | None = None) -> str:
    """Output (stdout and stderr together) of a command that succeeded.

    Raises EnvironmentProblem where the program is missing, StageFailed where it fails or takes over `timeout` seconds.
    """
    if shutil.which(command[0]) is None:
        raise EnvironmentProblem(f"{command[0]} is not installed", fix=fix)
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                              stdin=subprocess.DEVNULL, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired:
        raise StageFailed(f"{' '.join(command)} took more than {timeout:.0f} s", fix=fix) from None
    if done.returncode:
        tail = "\n  ".join(done.stdout.strip().splitlines()[-TAIL:])
        raise StageFailed(f"{' '.join(command)} ended with exit code {done.returncode}:\n  {tail}", fix=fix)
    return done.stdout
