"""From command-line flags to a loaded config, a workspace and a reporter."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.errors import UsageError, escaped

if TYPE_CHECKING:
    from phoenix_forge.core.config import Loaded
    from phoenix_forge.core.outside import Reach
    from phoenix_forge.core.report import Reporter
    from phoenix_forge.core.workspace import Workspace
    from phoenix_forge.stages import Context

CONFIG = "forge.yaml"
# What JSON leaves as it is and a terminal acts on.
UNSEEN = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def find_workspace(start: Path) -> Path:
    """The nearest folder upwards with forge.yaml; else the git repository's root; else `start`.

    What lies in a folder above and belongs to another user is not taken: anybody can put a forge.yaml into /tmp.
    """
    for mark in (CONFIG, ".git"):
        for folder in (start, *start.parents):
            if (folder / mark).exists() and (folder == start or not foreign(folder / mark)):
                return folder
    return start


def foreign(path: Path) -> bool:
    """Whether a file, or the link in its place, belongs to another user, who is not the system's administrator."""
    return not {path.lstat().st_uid, path.stat().st_uid} <= {os.getuid(), 0}


def passed_over(start: Path) -> list[Path]:
    """Configs above `start` that find_workspace does not take."""
    above = [folder / CONFIG for folder in start.parents if (folder / CONFIG).exists()]
    return [path for path in above if foreign(path)]


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
        from phoenix_forge.core import compat
        from phoenix_forge.core import config as c
        from phoenix_forge.core.checkout import CHECKOUT
        layers: list[tuple[str, dict[str, Any]]] = []
        notices: list[str] = []
        overrides = c.parse_overrides(self.set)
        if self.seed:
            layers.append(c.profile_layer("sanctuary"))
            own = self.root / "forge" / "config"
            shipped = (CHECKOUT or self.root) / "forge" / "config"
            seed_layers, notices = compat.seed_layers(own if own.is_dir() else shipped)
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
            theirs = "".join(f"; {path} belongs to another user" for path in self._passed_over)
            fix = f"forge init, or take theirs: --workspace {self._passed_over[0].parent}" if theirs else "forge init"
            raise UsageError(f"no {CONFIG} in {self.root}{theirs}", fix=fix)
        layers.append(("--set", overrides))
        return c.assemble(layers, notices)

    def _profile(self, name: object) -> tuple[str, dict[str, Any]]:
        from phoenix_forge.core import config as c
        if not isinstance(name, str) or not (c.PROFILES / f"{name}.yaml").exists():
            raise UsageError(f"profile {name!r} is not one of quick, sanctuary", fix="profile: quick")
        return c.profile_layer(name)

    @cached_property
    def _passed_over(self) -> list[Path]:
        named = self.workspace or self.seed or (self.config and self.config.name == CONFIG)
        return [] if named else [path for path in passed_over(Path.cwd()) if path.parent != self.root]

    @cached_property
    def space(self) -> Workspace:
        """Raises UsageError where something reaches outside that the user has not allowed."""
        from phoenix_forge.core.config import PUBLISH
        from phoenix_forge.core.outside import Allowed
        Allowed().require(self.root, [reach for reach in self.outside if reach.kind != PUBLISH])
        return self._space

    @property
    def _space(self) -> Workspace:
        from phoenix_forge.core.workspace import Workspace
        return Workspace(self.root, self.loaded.config)

    @cached_property
    def outside(self) -> list[Reach]:
        """What the folder's own files ask for beyond it: its links, and its config unless --config names that."""
        from phoenix_forge.core import outside
        from phoenix_forge.corpus.sources import read_sources
        files = [] if self.config else [str(self.root / CONFIG)]
        if self.seed:
            files += [origin for origin in self.loaded.origins.values() if Path(origin).is_relative_to(self.root)]
        manifest, listed = self.loaded.config.corpus.manifest, []
        if manifest:
            with contextlib.suppress(UsageError):  # who walks the corpus says what is wrong with it
                listed = read_sources(outside.place(manifest, self.root), self.root).roots
        return [*outside.links(self._space), *outside.settings(self.loaded, self.root, files, listed)]

    def may_publish(self) -> None:
        """Raises UsageError where publish.repo is the folder's word alone: its .env may name the account, too."""
        from phoenix_forge.core.config import PUBLISH
        from phoenix_forge.core.outside import Allowed
        Allowed().require(self.root, [reach for reach in self.outside if reach.kind == PUBLISH])

    @cached_property
    def report(self) -> Reporter:
        from phoenix_forge.cli.consoles import Logged, Plain, Quiet, Terminal
        from phoenix_forge.core.fsio import inside
        console: Reporter
        loud = not (self.quiet or self.json)
        console = Quiet() if not loud else Terminal() if sys.stderr.isatty() else Plain()
        log = self.root / "logs" / "forge.log"
        return Logged(console, log) if inside(log, self.root) or self._allowed("logs") else console

    def _allowed(self, folder: str) -> bool:
        """Whether the user allowed a folder of the workspace to be a link that leads outside."""
        from phoenix_forge.core.outside import Allowed, link
        return not Allowed().missing(self.root, [link(self.root / folder, self.root)])

    def context(self, **options: Any) -> Context:
        from phoenix_forge.stages import Context
        space = self.space  # first: a log can be a link
        for path in self._passed_over:
            self.report.warn(f"{path} belongs to another user and is not taken (--workspace {path.parent} takes it)")
        for notice in self.loaded.notices:
            if self.verbose:
                self.report.info(notice)
        if self.loaded.notices and not self.verbose:
            self.report.info(f"{len(self.loaded.notices)} settings translated from the workflow's YAML files "
                             "(--verbose lists them)")
        if said := self.loaded.without_effect:
            self.report.warn(said)
        return Context(self.loaded.config, space, self.report, options=options)

    def emit(self, result: dict, text: str = "", coloured: str = "") -> None:
        """The command's result on stdout: one JSON object with --json, else the text; `coloured` was made for a
        terminal and is printed as it is."""
        if self.json:
            text = json.dumps(result, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8"))
            print(UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
        elif text or coloured:
            print("\n".join(part for part in (escaped(text, keep="\n\t"), coloured) if part))
