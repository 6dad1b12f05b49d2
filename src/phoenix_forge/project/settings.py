"""The settings in force: a profile, the config file, and what was set beside it, over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phoenix_forge.core import compat
from phoenix_forge.core import config as c
from phoenix_forge.core.checkout import CHECKOUT
from phoenix_forge.errors import UsageError
from phoenix_forge.project.folder import CONFIG


def load(
    root: Path,
    named: Path | None,
    overrides: Mapping[str, Any],
    *,
    seed: bool,
    optional: bool,
    theirs: Sequence[Path] = (),
) -> c.Loaded:
    """The config of the folder `root`, or of the file that is `named`, with `overrides` by dotted key.

    `seed`: on the ground of the workflow's YAML files; `optional`: defaults will do where there is no file. `theirs`
    are configs that belong to other users. Raises UsageError for a file that is missing or wrong, with all that is
    wrong in it.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    notices: list[str] = []
    if seed:
        layers.append(c.profile_layer("sanctuary"))
        own = root / "forge" / "config"
        shipped = (CHECKOUT or root) / "forge" / "config"
        seed_layers, notices = compat.seed_layers(own if own.is_dir() else shipped)
        layers += seed_layers
    path = named or root / CONFIG
    if path.exists() or named:
        tree = c.read_yaml(path)
        flat = c.dotted(tree)
        if compat.kind_of(flat):
            flat, said = compat.translate(path, tree)
            notices += said
        profile = overrides.get("profile", flat.get("profile"))
        if profile and not seed:
            layers.append(_profile(profile))
        layers.append((str(path), flat))
    elif not (seed or optional):
        also = "".join(f"; {other} belongs to another user" for other in theirs)
        fix = (
            f"forge init, or take theirs: --workspace {theirs[0].parent}"
            if theirs
            else "forge init"
        )
        raise UsageError(f"no {CONFIG} in {root}{also}", fix=fix)
    layers.append(("--set", dict(overrides)))
    return c.assemble(layers, notices)


def _profile(name: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(name, str) or not (c.PROFILES / f"{name}.yaml").exists():
        raise UsageError(f"profile {name!r} is not one of quick, sanctuary", fix="profile: quick")
    return c.profile_layer(name)
