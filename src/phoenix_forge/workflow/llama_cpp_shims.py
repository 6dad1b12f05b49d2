"""llama.cpp's folder beside the workspace: what stands there, and Forge's own commands laid under llama.cpp's names.

Guides and scripts name four of its programs by path. Each is laid as a few lines that hand over to
phoenix_forge.workflow.llama_tools in the environment that laid them. What Forge did not write stays as it is.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from phoenix_forge.core.fsio import write_text
from phoenix_forge.doctor.finding import Ctx, Finding
from phoenix_forge.errors import UsageError

State = Literal["absent", "ours", "outdated", "foreign"]

MARK: Final = b"Written by `forge tools link`"
# -P: the folder that the command is typed in is no place to look for Forge.
_SHELL = """#!/bin/sh
# Written by `forge tools link`: {name} over Forge's own runtime. Link again after moving the environment.
exec {quoted} -P -m phoenix_forge.workflow.llama_tools {name} "$@"
"""
# By whichever Python it is started, it runs in Forge's.
_PYTHON = """#!/usr/bin/env python3
# Written by `forge tools link`: {name} over Forge's own writer. Link again after moving the environment.
import os
import sys

python = {python!r}
os.execv(python, [python, "-P", "-m", "phoenix_forge.workflow.llama_tools", "{name}", *sys.argv[1:]])
"""
TOOLS: Final = {
    "build/bin/llama-cli": _SHELL,
    "build/bin/llama-server": _SHELL,
    "build/bin/llama-quantize": _SHELL,
    "convert_hf_to_gguf.py": _PYTHON,
}
_CHECKOUT: Final = ("CMakeLists.txt", ".git")


@dataclass(frozen=True)
class Shims:
    """`tools`: the state of each of TOOLS. `checkout`: the folder holds llama.cpp's own sources."""

    folder: Path
    checkout: bool
    tools: dict[str, State]

    def having(self, state: State) -> list[str]:
        return [name for name, its in self.tools.items() if its == state]


def look(folder: Path) -> Shims:
    """What stands at `folder`, which need not exist."""
    return Shims(
        folder,
        any((folder / name).exists() for name in _CHECKOUT),
        {name: _state(folder / name, _text(name)) for name in TOOLS},
    )


def link(folder: Path) -> dict[str, Literal["linked", "unchanged", "left alone"]]:
    """Lays what is absent or outdated, and says for each of TOOLS what became of it.

    Raises UsageError where llama.cpp's own sources stand without all of their programs: those have to be built there.
    """
    shims = look(folder)
    if shims.checkout and (missing := shims.having("absent")):
        raise UsageError(
            f"{folder} is a checkout of llama.cpp without {', '.join(missing)}; it is left alone",
            fix="build it (cmake -B build && cmake --build build --config Release), or link another "
            "folder",
        )
    for name in () if shims.checkout else (*shims.having("absent"), *shims.having("outdated")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _text(name))
        path.chmod(0o755)
    became: dict[State, Literal["linked", "unchanged", "left alone"]] = {
        "absent": "linked",
        "outdated": "linked",
        "ours": "unchanged",
        "foreign": "left alone",
    }
    return {name: became[state] for name, state in shims.tools.items()}


def _text(name: str) -> str:
    return TOOLS[name].format(
        name=Path(name).name, python=sys.executable, quoted=shlex.quote(sys.executable)
    )


def _state(path: Path, wanted: str) -> State:
    if not path.exists():
        return "foreign" if path.is_symlink() else "absent"
    if not path.is_file():
        return "foreign"
    with open(path, "rb") as handle:
        start = handle.read(4096)
    if MARK not in start:
        return "foreign"
    return "ours" if start == wanted.encode() else "outdated"


def _beside(ctx: Ctx) -> Path:
    return ctx.root.parent / "llama.cpp"


def check(ctx: Ctx) -> Finding:
    """What stands beside the workspace, for the doctor."""
    shims = look(_beside(ctx))
    foreign, ours = shims.having("foreign"), shims.having("ours")
    if shims.checkout or foreign:
        kind = "a checkout" if shims.checkout else "programs"
        built = f"with {', '.join(foreign)}" if foreign else "not built"
        return Finding(
            "ok",
            f"{kind} of llama.cpp at {shims.folder}, {built}; left alone, and not used: Forge has its "
            "own runtime, quantiser and converter",
        )
    if len(ours) == len(shims.tools):
        return Finding("ok", f"{shims.folder} holds Forge's own commands under llama.cpp's names")
    if len(shims.having("absent")) == len(shims.tools):
        return Finding(
            "ok",
            f"none at {shims.folder}, and none needed; forge tools link {shims.folder} would lay "
            "Forge's own commands there",
        )
    return Finding(
        "warning",
        f"{shims.folder}: the commands that Forge laid there are incomplete or of another "
        "environment",
        f"forge tools link {shims.folder}",
    )


def mend(ctx: Ctx) -> str | None:
    """Lays again what was laid before, and says what; None where there is nothing to do."""
    laid = [name for name, what in link(_beside(ctx)).items() if what == "linked"]
    return f"laid {', '.join(laid)} again" if laid else None
