"""The process of a run that cli/runs.py started: `forge run`, and its exit code in a file when it has ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from phoenix_forge.cli.boundary import guarded, invoke
from phoenix_forge.core.fsio import write_text


def main(exit_file: str, arguments: Sequence[str]) -> int:
    """`exit_file` gets the exit code; `arguments` are those of `forge run`."""
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C; training has its own handler meanwhile
    code = guarded(lambda: invoke(["run", *arguments]))
    write_text(Path(exit_file), str(code))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
