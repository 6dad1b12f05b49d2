"""From command-line flags to a loaded config, a workspace and a reporter."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.errors import UsageError, escaped
from phoenix_forge.project.folder import CONFIG, find_workspace, passed_over

if TYPE_CHECKING:
    from phoenix_forge.core.config import Loaded
    from phoenix_forge.core.report import Reporter
    from phoenix_forge.core.workspace import Workspace
    from phoenix_forge.project.project import Project
    from phoenix_forge.project.settings import Ground
    from phoenix_forge.stages import Context

# What JSON leaves as it is and a terminal acts on.
UNSEEN = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass
class Setup:
    """The common flags of one command, and what follows from them."""

    config: Path | None = None
    set: list[str] = field(default_factory=list)
    workspace: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    ground: Ground | None = None  # layers below forge.yaml: the folder is then the current one
    optional: bool = False  # the command also makes sense without a config

    @cached_property
    def root(self) -> Path:
        if self.workspace:
            if not self.workspace.is_dir():
                raise UsageError(
                    f"--workspace {self.workspace} is not a folder", fix="mkdir it, or name another"
                )
            return self.workspace.resolve()
        if self.config and self.config.name == CONFIG:
            return self.config.resolve().parent
        return Path.cwd() if self.ground else find_workspace(Path.cwd())

    @cached_property
    def project(self) -> Project:
        from phoenix_forge.core.config import parse_overrides
        from phoenix_forge.project.project import Project

        return Project(
            self.root,
            self.config,
            parse_overrides(self.set),
            self.report,
            ground=self.ground,
            optional=self.optional,
            theirs=self._passed_over,
        )

    @property
    def loaded(self) -> Loaded:
        return self.project.loaded

    @cached_property
    def _passed_over(self) -> list[Path]:
        named = self.workspace or self.ground or (self.config and self.config.name == CONFIG)
        return (
            [] if named else [path for path in passed_over(Path.cwd()) if path.parent != self.root]
        )

    @property
    def space(self) -> Workspace:
        """Raises UsageError where something reaches outside that the user has not allowed."""
        return self.project.workspace

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
        ctx = self.project.context(**options)
        self._told  # noqa: B018 - once
        return ctx

    def of_this_base(self, error: UsageError) -> UsageError:
        """The error, with a way out that this workspace's base has."""
        if "forge download" not in (error.fix or ""):
            return error
        from phoenix_forge.stages.download import of_own_base

        with contextlib.suppress(UsageError):
            return of_own_base(self.project.context(), error)
        return error

    @cached_property
    def _told(self) -> None:
        """What the user should know of how the settings were read."""
        notices = self.loaded.notices
        for path in self._passed_over:
            self.report.warn(
                f"{path} belongs to another user and is not taken (--workspace {path.parent} takes it)"
            )
        if self.verbose:
            for notice in notices:
                self.report.info(notice)
        elif notices:
            self.report.info(
                f"{len(notices)} settings translated from their old names (--verbose lists them)"
            )
        if said := self.loaded.without_effect:
            self.report.warn(said)

    def emit(self, result: dict, text: str = "", coloured: str = "") -> None:
        """The command's result on stdout: one JSON object with --json, else the text; `coloured` was made for a
        terminal and is printed as it is."""
        if self.json:
            text = json.dumps(
                result, ensure_ascii=(sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
            )
            print(UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
        elif text or coloured:
            print("\n".join(part for part in (escaped(text, keep="\n\t"), coloured) if part))
