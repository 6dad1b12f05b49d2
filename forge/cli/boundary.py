"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from forge.errors import ForgeError

INTERRUPTED = 130


def guarded(work: Callable[[], int | None]) -> int:
    """Runs a command; returns its exit code. Never 0 after a failure."""
    try:
        return work() or 0
    except ForgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was finished stays, the next run continues", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) went away; that is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        print(f"error: {error.name or error} cannot be imported: {error}\nfix: make setup, then source .venv/bin/activate "
              "(or: pip install 'phoenix-forge[train]')", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}\nfix: check the disk, the path and its "
              "permissions", file=sys.stderr)
        return 3
    except Exception:
        log = _log(traceback.format_exc())
        print(f"error: a bug in Forge; the traceback is in {log}\nfix: report it with that file", file=sys.stderr)
        traceback.print_exc()
        return 1


def _log(text: str) -> Path:
    folder = Path("logs") if os.access(".", os.W_OK) else Path(tempfile.gettempdir())
    folder.mkdir(exist_ok=True)
    path = folder / "forge-bug.log"
    path.write_text(text, encoding="utf-8")
    return path


def invoke(arguments: list[str], *, seed: bool = False) -> int:
    """Parses and runs one command line. `seed`: under a seed script's name, on the ground of the seed's YAMLs."""
    from typer import Abort, Exit, TyperException

    from forge.cli.app import app
    try:
        return app(arguments, standalone_mode=False, obj={"seed": seed}) or 0
    except TyperException as error:
        error.show()
        return 2
    except Abort:
        raise KeyboardInterrupt from None
    except Exit as error:
        return error.exit_code


def main() -> int:
    """Entry point of `forge` and `phoenix-forge`."""
    return guarded(lambda: invoke(sys.argv[1:]))
