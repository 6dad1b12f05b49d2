"""The settings in force: a profile, the config file, and what was set beside it, over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phoenix_forge.core import config as c
from phoenix_forge.core import extensions
from phoenix_forge.errors import UsageError
from phoenix_forge.project.folder import CONFIG

Layer = tuple[str, dict[str, Any]]  # where settings come from, and the settings by dotted key
# A project's folder → the layers below its forge.yaml, and what the user should know of how they were read.
Ground = Callable[[Path], tuple[list[Layer], list[str]]]


def load(
    root: Path,
    named: Path | None,
    overrides: Mapping[str, Any],
    *,
    ground: Ground | None,
    optional: bool,
    theirs: Sequence[Path] = (),
) -> c.Loaded:
    """The config of the folder `root`, or of the file that is `named`, with `overrides` by dotted key.

    `ground` takes the place of a profile; `optional`: defaults will do where there is no file. `theirs` are configs
    that belong to other users. Raises UsageError for a file that is missing or wrong, with all that is wrong in it.
    """
    layers, notices = ground(root) if ground else ([], [])
    path = named or root / CONFIG
    if path.exists() or named:
        tree = c.read_yaml(path)
        flat = c.dotted(tree)
        for name in extensions.names("config translations"):
            if translation := extensions.extension("config translations", name)(path, tree):
                flat, notices = translation[0], [*notices, *translation[1]]
        profile = overrides.get("profile", flat.get("profile"))
        if profile and not ground:
            layers.append(_profile(profile))
        layers.append((str(path), flat))
    elif not (ground or optional):
        also = "".join(f"; {other} belongs to another user" for other in theirs)
        fix = (
            f"forge init, or take theirs: --workspace {theirs[0].parent}"
            if theirs
            else "forge init"
        )
        raise UsageError(f"no {CONFIG} in {root}{also}", fix=fix)
    layers.append(("--set", dict(overrides)))
    return c.assemble(layers, notices)


def _profile(name: object) -> Layer:
    if not isinstance(name, str) or name not in c.PROFILE_NAMES:
        raise UsageError(
            f"profile {name!r} is not one of {', '.join(c.PROFILE_NAMES)}", fix="profile: quick"
        )
    return c.profile_layer(name)
