"""What a check is and what it finds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

from phoenix_forge.core.checkout import CHECKOUT

if TYPE_CHECKING:
    from phoenix_forge.doctor.hub import Reply

Level = Literal["critical", "required", "optional"]
Status = Literal["ok", "warning", "failed"]

READY = ".ready"  # the file by which `make setup` marks the environments that are its own
OURS = (Path(sys.prefix) / READY).is_file()
_VENV = Path(sys.prefix) if OURS or CHECKOUT is None else CHECKOUT / ".venv"
SETUP = (
    "pip install --upgrade 'phoenix-forge[train]'"
    if CHECKOUT is None
    else f"make -C {quote(str(CHECKOUT))} setup VENV={quote(str(_VENV))} && source {quote(str(_VENV))}/bin/activate"
)
FITTING_TORCH = SETUP.replace(
    " setup ", " setup ACCEL=auto "
)  # PyTorch's build is chosen anew as well
CUDA_GUIDE = str(Path(__file__).with_name("CUDA-ML-ENV-SETUP.md"))


@dataclass(frozen=True)
class Ctx:
    """`root`: the workspace."""

    root: Path

    @cached_property
    def hub(self) -> Reply | str:
        """What the Hub says to the token found here, or why it was not asked; asked once for all checks."""
        from phoenix_forge.doctor.hub import ask_hub

        return ask_hub(self.root)


@dataclass(frozen=True)
class Finding:
    """`found` is what the check saw; `fix` can be pasted, or names the page that helps."""

    status: Status
    found: str
    fix: str | None = None
