"""The one place where errors become messages and exit codes, and where what a machine lacks is made up for."""

from __future__ import annotations

import codecs
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from forge.errors import ForgeError, UsageError

INTERRUPTED = 130
# What stands for characters that a terminal cannot show; "?" for others.
INSTEAD = str.maketrans({"✓": "+", "✗": "x", "✅": "OK", "❌": "x", "▶": ">", "→": "->", "–": "-", "—": "-", "−": "-",
                         "…": "...", "·": "-", "•": "*", "×": "x", "≥": ">=", "≤": "<=", "“": '"', "”": '"', "’": "'",
                         "│": "|"})


def guarded(work: Callable[[], int | None]) -> int:
    """Runs a command; returns its exit code. Never 0 after a failure."""
    _settle()
    try:
        return work() or 0
    except ForgeError as error:
        print(f"error: {error}" if error.exit_code else str(error).replace("fix: ", "next: "), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was finished stays, the next run continues", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) went away; that is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        print(f"error: {error.name or error} cannot be imported: {error}\nfix: make setup, then source "
              ".venv/bin/activate (or: pip install 'phoenix-forge[train]')", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or ''}\nfix: check the disk, the path and its "
              "permissions", file=sys.stderr)
        return 3
    except Exception:  # noqa: BLE001 - the one boundary
        log = _log(traceback.format_exc())
        print(f"error: a bug in Forge; the traceback is in {log}\nfix: report it with that file", file=sys.stderr)
        traceback.print_exc()
        return 1


def _settle() -> None:
    """Terminals that are not UTF-8, users without a home, and documents that are called like a library."""
    codecs.register_error("forge", lambda error: (_instead(error), _end(error)))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="forge")
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # no Python that is started from here imports from the workspace
    try:
        Path.home()
    except RuntimeError:  # a container run as a user that it does not know
        home = Path(tempfile.gettempdir()) / f"forge-home-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(home)
        os.environ.setdefault("USER", str(os.getuid()))  # PyTorch asks for its name


def _instead(error: UnicodeError) -> str:
    assert isinstance(error, UnicodeEncodeError)
    said = error.object[error.start:error.end].translate(INSTEAD)
    return said if said.isascii() else said.encode("ascii", "replace").decode()


def _end(error: UnicodeError) -> int:
    assert isinstance(error, UnicodeEncodeError)
    return error.end


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
        code = app(arguments, standalone_mode=False, obj={"seed": seed}, prog_name="forge" if seed else None) or 0
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", "forge")
        raise UsageError(error.format_message(), fix=f"{command} --help") from None
    except Abort as error:  # what typer makes of an EOFError, which is no interruption
        raise (error.__cause__ or KeyboardInterrupt()) from None
    except Exit as error:
        code = error.exit_code
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        raise KeyboardInterrupt
    return code


def main() -> int:
    """Entry point of `forge` and `phoenix-forge`."""
    return guarded(lambda: invoke(sys.argv[1:]))
