"""From command-line flags to a loaded config, a workspace and a reporter."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forge.errors import UsageError

if TYPE_CHECKING:
    from forge.core.config import Loaded
    from forge.core.report import Reporter
    from forge.core.workspace import Workspace
    from forge.stages import Context

CONFIG = "forge.yaml"


def find_workspace(start: Path) -> Path:
    """The nearest folder upwards with forge.yaml; else the git repository's root; else `start`."""
    for folder in (start, *start.parents):
        if (folder / CONFIG).exists():
            return folder
    try:
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=start, capture_output=True, text=True,
                             check=False).stdout.strip()
    except FileNotFoundError:
        top = ""
    return Path(top) if top else start


@dataclass
class Setup:
    """The common flags of one command, and what follows from them."""

    config: Path | None = None
    set: list[str] = field(default_factory=list)
    workspace: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    seed: bool = False  # run under one of the seed's script names: its YAMLs are the ground layer
    optional: bool = False  # the command also makes sense without a config

    @cached_property
    def root(self) -> Path:
        if self.workspace:
            if not self.workspace.is_dir():
                raise UsageError(f"--workspace {self.workspace} is not a folder", fix="mkdir it, or name another")
            return self.workspace.resolve()
        if self.config and self.config.name == CONFIG:
            return self.config.resolve().parent
        return Path.cwd() if self.seed else find_workspace(Path.cwd())

    @cached_property
    def loaded(self) -> Loaded:
        from forge.core import compat
        from forge.core import config as c
        layers: list[tuple[str, dict[str, Any]]] = []
        notices: list[str] = []
        overrides = c.parse_overrides(self.set)
        if self.seed:
            layers.append(c.profile_layer("sanctuary"))
            own = self.root / "forge" / "config"
            seed_layers, notices = compat.seed_layers(own if own.is_dir() else c.PROFILES)
            layers += seed_layers
        path = self.config or self.root / CONFIG
        if path.exists() or self.config:
            tree = c.read_yaml(path)
            flat = c.dotted(tree)
            if compat.kind_of(flat):
                flat, said = compat.translate(path, tree)
                notices += said
            profile = overrides.get("profile", flat.get("profile"))
            if profile and not self.seed:
                layers.append(self._profile(profile))
            layers.append((str(path), flat))
        elif not (self.seed or self.optional):
            raise UsageError(f"no {CONFIG} in {self.root}", fix="forge init")
        layers.append(("--set", overrides))
        return c.assemble(layers, notices)

    def _profile(self, name: object) -> tuple[str, dict[str, Any]]:
        from forge.core import config as c
        if not isinstance(name, str) or not (c.PROFILES / f"{name}.yaml").exists() or name.endswith("_config"):
            raise UsageError(f"profile {name!r} is not one of quick, sanctuary", fix="profile: quick")
        return c.profile_layer(name)

    @cached_property
    def space(self) -> Workspace:
        from forge.core.workspace import Workspace
        return Workspace(self.root, self.loaded.config)

    @cached_property
    def report(self) -> Reporter:
        from forge.cli.consoles import Logged, Plain, Quiet, Terminal
        console: Reporter
        loud = not (self.quiet or self.json)
        console = Quiet() if not loud else Terminal() if sys.stderr.isatty() else Plain()
        return Logged(console, self.root / "logs" / "forge.log")

    def context(self, **options: Any) -> Context:
        from forge.stages import Context
        for notice in self.loaded.notices:
            if self.verbose:
                self.report.info(notice)
        if self.loaded.notices and not self.verbose:
            self.report.info(f"{len(self.loaded.notices)} settings translated from the workflow's YAML files "
                             "(--verbose lists them)")
        return Context(self.loaded.config, self.space, self.report, options=options)

    def emit(self, result: dict, text: str = "") -> None:
        """The command's result on stdout: one JSON object with --json, else the text."""
        if self.json:
            print(json.dumps(result, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")))
        elif text:
            print(text)
