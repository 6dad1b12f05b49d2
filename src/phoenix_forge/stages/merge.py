"""Base and adapter to one 16-bit model folder."""

from __future__ import annotations

from pathlib import Path

from phoenix_forge.catalog import costs
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import require_disk
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context, target
from phoenix_forge.stages.memory import peak_rss, require_memory

SUMMARY = "base + adapter to a 16-bit model folder"
VERSION = 1
TOOLS = ("torch",)


def wanted(config: Config) -> bool:
    return config.merge.enabled


def settings(ctx: Context) -> dict:
    return target.settings(ctx)


def inputs(ctx: Context) -> dict[str, Path]:
    return {"base": ctx.base_dir, "adapter": ctx.workspace.adapter, **target.inputs(ctx)}


def outputs(ctx: Context) -> dict[str, Path]:
    return {"merged": ctx.workspace.merged}


def check(ctx: Context) -> None:
    require_parts(ctx)
    target.check(ctx)
    parameters = size(ctx)
    require_disk(ctx.workspace.merged, costs.base_bytes(parameters), "the merged model")
    require_memory(costs.stream_memory(parameters, 1), "merging")


def require_parts(ctx: Context) -> None:
    """Refuses when base or adapter are neither there nor about to be made; opens the headers of those that are."""
    w = ctx.workspace
    for stage, path, fix in (
        ("download", ctx.base_dir, "forge download"),
        ("train", w.adapter, "forge train"),
    ):
        if stage not in ctx.pending and not path.exists():
            raise UsageError(f"nothing at {w.shown(path)}", fix=fix)
    if not ctx.pending & {"download", "train"}:
        from phoenix_forge.weights.adapter import open_adapter
        from phoenix_forge.weights.base import open_base

        open_adapter(w.adapter, open_base(ctx.base_dir))


def size(ctx: Context) -> int:
    """Parameters of the base: from its files where they are there, else from the catalog."""
    if "download" in ctx.pending or not ctx.base_dir.exists():
        return ctx.base.parameters
    from phoenix_forge.weights.base import open_base

    return open_base(ctx.base_dir).parameters


def run(ctx: Context) -> dict:
    from phoenix_forge.weights.merge import write_merged

    staged = ctx.staged(ctx.workspace.merged)
    frozen, choice = target.chosen(ctx)
    written = write_merged(
        ctx.base_dir, ctx.workspace.adapter, staged, frozen=frozen, report=ctx.report
    )
    files = [
        {
            "path": ctx.workspace.shown(ctx.workspace.merged / path.relative_to(staged)),
            "type": path.suffix.removeprefix("."),
            "bytes": path.stat().st_size,
            "sha256": ctx.digests.file(path),
        }
        for path in written
    ]
    return {"files": files, "merge": choice, "peak_rss_bytes": peak_rss()}
