"""The one place where errors become messages and exit codes, and where what a machine lacks is made up for."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.core.proc import wait_briefly
from phoenix_forge.errors import ForgeError, UsageError

if TYPE_CHECKING:
    from phoenix_forge.project.settings import Ground

INTERRUPTED = 130
# What stands for characters that a terminal cannot show; "?" for others.
INSTEAD = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "✅": "OK",
        "❌": "x",
        "▶": ">",
        "→": "->",
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "·": "-",
        "•": "*",
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "“": '"',
        "”": '"',
        "’": "'",
        "│": "|",
    }
)


def guarded(work: Callable[[], int | None]) -> int:
    """Runs a command; returns its exit code. Never 0 after a failure."""
    _settle()
    try:
        return work() or 0
    except ForgeError as error:
        print(
            f"error: {error}" if error.exit_code else str(error).replace("fix: ", "next: "),
            file=sys.stderr,
        )
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was finished stays, the next run continues", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) went away; that is no failure of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one boundary
        from phoenix_forge.core.faults import explained

        if problem := explained(error, [Path("logs").absolute()]):
            print(f"error: {problem}", file=sys.stderr)
            return problem.exit_code
        said = traceback.format_exc()
        log = _log(said)
        where = f"the traceback is in {log}" if log else "this is its traceback"
        print(
            f"error: a bug in Forge; {where}\nfix: report it with that {'file' if log else 'text'}",
            file=sys.stderr,
        )
        print(said, end="", file=sys.stderr)
        return 1


def _settle() -> None:
    """Terminals that are not UTF-8, users without a home, other busy programs, and documents that are called like a
    library."""
    codecs.register_error("forge", lambda error: (_instead(error), _end(error)))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="forge")
    wait_briefly()
    os.environ.setdefault(
        "PYTHONSAFEPATH", "1"
    )  # no Python that is started from here imports from the workspace
    try:
        Path.home()
    except RuntimeError:  # a container run as a user that it does not know
        home = Path(tempfile.gettempdir()) / f"forge-home-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        os.environ["HOME"] = str(home)
        os.environ.setdefault("USER", str(os.getuid()))  # PyTorch asks for its name


def _instead(error: UnicodeError) -> str:
    assert isinstance(error, UnicodeEncodeError)
    said = error.object[error.start : error.end].translate(INSTEAD)
    return said if said.isascii() else said.encode("ascii", "replace").decode()


def _end(error: UnicodeError) -> int:
    assert isinstance(error, UnicodeEncodeError)
    return error.end


def _log(text: str) -> Path | None:
    """Where the traceback was kept: in logs/, else with the temporary files, else nowhere."""
    for folder in (Path("logs"), Path(tempfile.gettempdir())):
        path = folder / "forge-bug.log"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            with open(
                path, "w", encoding="utf-8", errors="backslashreplace", opener=_no_link
            ) as handle:
                handle.write(text)
            return path
    return None


def _no_link(path: str, flags: int) -> int:
    """A link in a folder from elsewhere, or in everybody's temporary folder, would have another file overwritten."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def invoke(arguments: list[str], *, ground: Ground | None = None) -> int:
    """Parses and runs one command line. `ground` gives layers below forge.yaml, for commands by another name."""
    from typer import Abort, Exit, TyperException

    from phoenix_forge.cli.app import app

    try:
        code = (
            app(
                arguments,
                standalone_mode=False,
                obj={"ground": ground},
                prog_name="forge" if ground else None,
            )
            or 0
        )
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
