"""Hands one of the workflow's scripts over to Forge: `run(name)`, or `python launch.py NAME [arguments]`.

Readable by Pythons too old for Forge, so that they say what to do.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIX = f"fix: make -C {ROOT} setup && source {ROOT}/.venv/bin/activate"


def find_package() -> None:
    """Puts the checkout that this file belongs to first, installed or not. The folders of the scripts go: evaluate.py
    would be imported in place of a library of that name."""
    own = [os.path.realpath(ROOT / "forge" / folder) for folder in ("scripts", "tests")]
    sys.path[:] = [
        str(ROOT / "src"),
        *(path for path in sys.path if os.path.realpath(path) not in own),
    ]


def run(name: str) -> int:
    """Exit code of the script `name`, with the arguments of this process."""
    if sys.version_info < (3, 11):  # noqa: UP036 - `python3` may be any
        print(
            f"error: Forge needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}\n{FIX}",
            file=sys.stderr,
        )
        return 3
    find_package()
    try:
        from phoenix_forge.workflow import scripts
    except ImportError as error:
        print(f"error: {error} (in {sys.prefix})\n{FIX}", file=sys.stderr)
        return 3
    return scripts.main(name)


if __name__ == "__main__":
    sys.exit(run(sys.argv.pop(1)))
