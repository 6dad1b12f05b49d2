"""What a stage made is used as it was recorded: a bit that flipped in a weight or an example shows nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import STAGES, Context

EDITED = "modelfile"  # a role whose file is there to be edited in place; what comes of it is checked where it is used


def require_as_made(
    ctx: Context, *paths: Path, pending: Collection[str] = (), afresh: bool = False
) -> None:
    """Refuses what is not as its manifest has it, of the files and folders that stages made; `pending` ones are about
    to make theirs again. What no manifest records is the user's own. --force takes it as it is.

    Digests are remembered, so this costs nothing for files that the system has not seen change. `afresh` reads them
    again and knows no force, for what leaves the workspace.
    """
    if ctx.options.get("force") and not afresh:
        return
    for stage, role, made, sha256 in records(ctx):
        used = made.exists() and any(path.is_relative_to(made) for path in paths)
        if not used or stage in pending or role == EDITED:
            continue
        if afresh:
            ctx.digests.forget(made)
        if ctx.digests.tree(made) != sha256:
            raise UsageError(
                f"{ctx.workspace.shown(made)} is not as forge {stage} made it: damaged, or edited since",
                fix=f"forge {stage} --force makes it again{_as_it_is(ctx, made, afresh)}",
            )
    ctx.digests.save()


def records(ctx: Context) -> Iterator[tuple[str, str, Path, str]]:
    """(stage, role, path, SHA-256) of every output."""
    for stage in STAGES:
        manifest = Manifest.read(ctx.workspace.manifest(stage))
        for role, output in manifest.outputs.items() if manifest else ():
            yield stage, role, ctx.workspace.at(output["path"]), output["sha256"]


def _as_it_is(ctx: Context, made: Path, afresh: bool) -> str:
    """How an edited file is used nevertheless."""
    if "force" in ctx.options and not afresh:
        return "; with --force this command takes it as it is"
    w = ctx.workspace
    settings = {
        w.dataset: "dataset",
        w.validation: "validation",
        w.adapter: "adapter",
        w.merged: "merged",
    }
    if made.suffix == ".gguf":
        settings[made] = "gguf"
    return (
        f"; to use it as it is, move it and name its new place: --set paths.{settings[made]}=…"
        if made in settings
        else ""
    )
