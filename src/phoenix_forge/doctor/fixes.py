"""What `forge doctor --fix` does by itself: no privileges, no large download, nothing that is not Forge's own.

A fix returns what it did, or None where there is nothing that it may do; all other fixes are shown, to be pasted.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

from phoenix_forge.core import proc
from phoenix_forge.core.checkout import CHECKOUT
from phoenix_forge.core.extensions import extension, names
from phoenix_forge.core.fsio import write_text
from phoenix_forge.doctor.finding import OURS, Ctx
from phoenix_forge.hub.download import cache_folder

CONSTRAINTS = CHECKOUT / "constraints.txt" if CHECKOUT else None
ENV = """\
# Read by Forge, ignored by git. Put your token in place of this one:
HUGGING_FACE_TOKEN=hf_your_token_here
"""


def reinstall(name: str, size: str) -> Callable[[Ctx], str | None]:
    """Puts the pinned version of one small library back; only into an environment that `make setup` made."""

    def fix(ctx: Ctx) -> str | None:
        if not OURS or CONSTRAINTS is None:
            return None
        pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS)]
        # By itself: what it needs is there, and PyTorch, which most of them need, must not come along by the gigabyte.
        proc.run([*pip, "--force-reinstall", "--no-deps", name])
        return f"installed the pinned {name} again ({size})"

    return fix


def runtime(ctx: Ctx) -> str | None:
    """A library that was replaced or moved makes what was remembered of it worthless."""
    markers = cache_folder() / "loadable"
    said = [f"forgot which files had loaded ({markers})"] if markers.is_dir() else []
    if markers.is_dir():
        shutil.rmtree(markers)
    if again := reinstall("xllamacpp", "50 MB")(ctx):
        said.append(again)
    return "; ".join(said) or None


def token(ctx: Ctx) -> str | None:
    """A .env with a place for the token, where there is none yet."""
    path = ctx.root / ".env"
    if path.exists():
        return None
    write_text(path, ENV)
    path.chmod(0o600)
    return f"wrote {path} with a place for the token"


def _added(name: str) -> Callable[[Ctx], str | None]:
    return lambda ctx: extension("doctor fixes", name)(ctx)


FIXES: dict[str, Callable[[Ctx], str | None]] = {
    "bitsandbytes": reinstall("bitsandbytes", "60 MB"),
    "transformers": reinstall("transformers", "12 MB"),
    "peft": reinstall("peft", "1 MB"),
    "quantiser": reinstall("libggml-python", "10 MB"),
    "runtime": runtime,
    "token": token,
    **{name: _added(name) for name in names("doctor fixes")},
}
