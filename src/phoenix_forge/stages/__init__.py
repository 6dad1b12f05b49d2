"""The steps of the pipeline, in order: thin modules that bind one room each to the workspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from phoenix_forge.catalog.bases import Base, resolve
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import DigestCache, partial_path
from phoenix_forge.core.report import Reporter
from phoenix_forge.core.workspace import Workspace

# Name → module. The order is the order of work; modules load when a stage is used. Publishing is no stage: what leaves
# the machine does so because somebody asked for it, never because something changed.
STAGES = {
    name: f"phoenix_forge.stages.{name}"
    for name in (
        "download",
        "dataset",
        "train",
        "merge",
        "quantize",
        "modelfile",
        "evaluate",
        "deploy",
    )
}


@dataclass
class Context:
    """What a stage gets. `pending` names the stages that will run before it in this run: their outputs are to come."""

    config: Config
    workspace: Workspace
    report: Reporter
    pending: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def base(self) -> Base:
        return resolve(self.config.model.base, self.workspace.root)

    @cached_property
    def digests(self) -> DigestCache:
        return DigestCache(self.workspace.state / "digests.json")

    @property
    def base_dir(self) -> Path:
        """The base's folder: the user's own where model.base is one, else below models/base."""
        source = self.base.sources[0]
        return (
            Path(source.at) if source.kind == "folder" else self.workspace.base(self.base.identity)
        )

    def staged(self, destination: Path) -> Path:
        """Where a stage writes what will be published at `destination`."""
        return partial_path(destination)


class Stage(Protocol):
    """A stage module. Paths in `inputs` and `outputs` are by role; a role's output is written to ctx.staged(path). One
    whose work lies elsewhere has a `stale(ctx)` as well: why it has to be done again though nothing here changed."""

    SUMMARY: str
    VERSION: int  # raise it when the same inputs give another output
    TOOLS: tuple[str, ...]  # distributions whose version changes the output

    def wanted(self, config: Config) -> bool:
        """Whether `forge run` includes it."""

    def settings(self, ctx: Context) -> dict:
        """Only what changes the output."""

    def inputs(self, ctx: Context) -> dict[str, Path]:
        """Files and folders that are read."""

    def outputs(self, ctx: Context) -> dict[str, Path]:
        """Files and folders that are made."""

    def check(self, ctx: Context) -> None:
        """Cheap refusals, without torch, before anything expensive starts."""

    def run(self, ctx: Context) -> dict:
        """Does the work; returns metrics."""


def load(name: str) -> Stage:
    return cast(Stage, import_module(STAGES[name]))
