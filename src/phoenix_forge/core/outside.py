"""What of a workspace reaches outside of it, and whether the user allowed that.

A folder from elsewhere brings its forge.yaml and its links along. What these name beyond the folder is neither read,
written nor sent to before the user said so once: `forge allow`, a flag on the command line, or FORGE_ALLOW=1. What was
allowed is kept below the user's own configuration as one digest a line, so another value, another target of a link or
another folder asks anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phoenix_forge.core.checkout import CHECKOUT
from phoenix_forge.core.config import KINDS, MODEL, OWNER, PUBLISH, READ, SEND, Kind, Loaded
from phoenix_forge.core.fsio import PARTIAL, inside, open_own, partial_path, sha256_json
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import EnvironmentProblem, UsageError, escaped

LINK = Kind("follow the link to")
FOLDERS = (
    "outputs",
    "models",
    "dataset_package",
    "huggingface",
)  # where Forge writes by itself, beside state and logs
VARIABLE = "FORGE_ALLOW"


@dataclass(frozen=True)
class Reach:
    """`where` is the setting or link that leads outside, `value` what stands there, `target` where that is."""

    where: str
    kind: Kind
    value: str
    target: str

    def __str__(self) -> str:
        place = self.target if self.value == self.target else f"{self.target} ({self.value})"
        return f"{self.where}: {self.kind.does} {place}"


# -- the config
def settings(
    loaded: Loaded, root: Path, files: Iterable[str], listed: Iterable[str] = ()
) -> list[Reach]:
    """What the settings that come from `files` lead to outside of `root`; `listed` are the entries of corpus.manifest.

    Other origins are the user's word, or shipped. A base or an importance matrix may lie anywhere: these are read as
    models, which have no room for a document.
    """
    own, found = set(files), []
    for key, kind in KINDS.items():
        if kind in (MODEL, OWNER) or loaded.origins.get(key) not in own:
            continue
        section, _, name = key.partition(".")
        value = getattr(getattr(loaded.config, section), name)
        entries = [*value] if isinstance(value, list) else [value] if value else []
        found += [
            Reach(key, kind, entry, target)
            for entry in entries
            if (target := _target(kind, entry, root))
        ]
        if key == "corpus.manifest":
            found += [
                Reach(value, READ, entry, target)
                for entry in listed
                if (target := _target(READ, str(root / entry), root))
            ]
    return found


def _target(kind: Kind, value: str, root: Path) -> str:
    """Where a setting's value leads outside of `root`; empty where it stays inside."""
    if kind == PUBLISH:
        return value
    if kind == SEND:
        return value if value.startswith(("http://", "https://")) and not loopback(value) else ""
    path = place(value, root)
    # In Forge's own tree the demonstration reads docs/.
    shipped = (
        kind == READ and CHECKOUT is not None and inside(root, CHECKOUT) and inside(path, CHECKOUT)
    )
    return "" if shipped or inside(path, root) else os.path.realpath(path)


def place(value: str, root: Path) -> Path:
    """The path that a setting names."""
    return root / os.path.expanduser(value)  # noqa: PTH111 - of a user that does not exist, it stays as it is


def loopback(url: str) -> bool:
    """Whether an address is this machine's own. A name is no proof but for localhost."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# -- links
def links(space: Workspace) -> list[Reach]:
    """Links that lead from the workspace to places outside, on the way to what Forge writes or below it.

    Raises UsageError for those that no use is known of: files of Forge's own state and logs, and unfinished ones.
    """
    root = space.root
    paths = [
        space.state,
        space.logs,
        *space.artifacts,
        *map(partial_path, space.artifacts),
        *(root / name for name in FOLDERS),
    ]
    found = {first for path in paths if (first := _first(path, root))}
    for top in (space.state, space.logs, *(root / name for name in FOLDERS)):
        found |= {path for path in _below(top) if not inside(path, root)}
    for path in found:
        if not path.is_dir() and (
            path.name.endswith(PARTIAL)
            or path.is_relative_to(space.state)
            or path.is_relative_to(space.logs)
        ):
            raise UsageError(
                f"{space.shown(path)} is a link to {os.path.realpath(path)}, and Forge keeps such files "
                "in the workspace",
                fix=f"rm {path}; where you did not make it, distrust the folder",
            )
    bases = (
        root / "models" / "base"
    )  # single files may be links into a cache: they are read and replaced, not written
    return [
        link(path, root)
        for path in sorted(found)
        if path.is_dir() or not path.exists() or not path.is_relative_to(bases)
    ]


def link(path: Path, root: Path) -> Reach:
    """What a link in `root` asks for."""
    return Reach(str(path.relative_to(root)), LINK, os.path.realpath(path), os.path.realpath(path))


def _first(path: Path, root: Path) -> Path | None:
    """The first link on the way from `root` down to `path` that leads out of `root`."""
    if not path.is_relative_to(root) or inside(path, root):
        return None
    return next(
        (
            p
            for p in [*reversed(path.parents), path]
            if p.is_relative_to(root) and p.is_symlink() and not inside(p, root)
        ),
        None,
    )


def _below(top: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(top):
        yield from (
            path for name in (*folders, *files) if (path := Path(folder, name)).is_symlink()
        )


# -- the user's word
class Allowed:
    """What the user of this account allowed, whatever folder it is about."""

    @cached_property
    def path(self) -> Path:
        """Raises EnvironmentProblem where the user has no home."""
        configured = os.environ.get("XDG_CONFIG_HOME", "")
        try:
            folder = Path(configured) if os.path.isabs(configured) else Path.home() / ".config"  # noqa: PTH117
        except RuntimeError:
            raise EnvironmentProblem(
                "there is no home to keep in what is allowed",
                fix=f"set XDG_CONFIG_HOME to a folder of yours, or {VARIABLE}=1",
            ) from None
        return folder / "forge" / "allowed"

    def missing(self, root: Path, reaches: Iterable[Reach]) -> list[Reach]:
        """Those that nobody allowed yet."""
        if os.environ.get(VARIABLE, "").lower() in ("1", "true", "yes", "on"):
            return []
        asked = [*reaches]
        known = self._known() if asked else set()
        return [reach for reach in asked if _digest(root, reach) not in known]

    def _known(self) -> set[str]:
        try:
            if self.path.stat().st_uid != os.getuid():
                return set()  # a home in everybody's temporary folder can be somebody else's
            return {
                line.partition(" ")[0]
                for line in self.path.read_text(encoding="utf-8").splitlines()
            }
        except (OSError, ValueError, EnvironmentProblem):
            return set()

    def require(self, root: Path, reaches: Iterable[Reach]) -> None:
        """Raises UsageError where something is asked for that nobody allowed."""
        if missing := self.missing(root, reaches):
            listed = "\n  ".join(map(str, missing))
            raise UsageError(
                f"{root} reaches outside of itself, which you have not allowed yet:\n  {listed}",
                fix="forge allow, if you want all of this (once; in CI, FORGE_ALLOW=1); else change or "
                "remove what asks for it",
            )

    def add(self, root: Path, reaches: Iterable[Reach]) -> None:
        """Remembers what is allowed from now on. Raises EnvironmentProblem where that cannot be kept."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open_own(self.path, "a", encoding="utf-8") as out:
                out.writelines(
                    f"{_digest(root, reach)} {escaped(f'{root} {reach}')}\n" for reach in reaches
                )
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.path} cannot be written: {error.strerror}",
                fix=f"set XDG_CONFIG_HOME to a folder that can, or {VARIABLE}=1",
            ) from None


def _digest(root: Path, reach: Reach) -> str:
    asked: list[Any] = [str(root), reach.where, reach.kind.does, reach.value, reach.target]
    return sha256_json(asked)
