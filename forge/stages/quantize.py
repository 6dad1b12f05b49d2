"""Base and adapter to quantised GGUF files, without the merged folder in between."""

from __future__ import annotations

from pathlib import Path

from forge.catalog import costs
from forge.catalog.families import require_convertible
from forge.catalog.quants import quant
from forge.core.config import Config
from forge.core.fsio import require_disk
from forge.core.manifest import Manifest
from forge.errors import UsageError
from forge.stages import Context
from forge.stages.memory import peak_rss, require_memory
from forge.stages.merge import require_parts, size

SUMMARY = "base + adapter to quantised GGUF"
VERSION = 1
TOOLS = ("libggml-python", "torch")


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {"types": [quant(t).name for t in ctx.config.quantize.types], "name": ctx.config.model.name}


def inputs(ctx: Context) -> dict[str, Path]:
    return {"base": ctx.base_dir, "adapter": ctx.workspace.adapter}


def outputs(ctx: Context) -> dict[str, Path]:
    return {f"gguf {quant(t).name}": ctx.workspace.gguf(quant(t).name) for t in ctx.config.quantize.types}


def check(ctx: Context) -> None:
    import os
    if ctx.config.quantize.imatrix not in ("auto", "none"):
        raise UsageError(f"quantize.imatrix {ctx.config.quantize.imatrix!r}: importance matrices are not read yet",
                         fix="--set quantize.imatrix=none")
    for name in ctx.config.quantize.types:
        quant(name)
    require_convertible_base(ctx)
    require_parts(ctx)
    parameters = size(ctx)
    require_disk(ctx.workspace.gguf(), sum(costs.gguf_bytes(parameters, t) for t in ctx.config.quantize.types),
                 "the GGUF")
    require_memory(costs.stream_memory(parameters, os.cpu_count() or 1), "quantising")


def require_convertible_base(ctx: Context) -> None:
    """Refuses a base that cannot become a GGUF; of one that is still to be fetched nothing is known."""
    if "download" not in ctx.pending and ctx.base_dir.exists():
        from forge.weights.base import open_base
        require_convertible(open_base(ctx.base_dir).family, ctx.workspace.shown(ctx.base_dir))


def _warn_of_coarse_steps(ctx: Context, types: list[str]) -> None:
    """A base that was a quantised file has its weights exactly on that file's steps. Rounding them to steps as wide as
    those takes small changes back: after the demo's training the 16-bit model and Q8_0 answered, Q4_K_M half forgot."""
    download = Manifest.read(ctx.workspace.manifest("download"))
    coarse = [t for t in types if quant(t).bits < 6]
    if coarse and download and download.metrics.get("from_gguf"):
        ctx.report.warn(f"the base came from a GGUF; {', '.join(coarse)} may round away what it learned: "
                        "Q8_0 keeps more (--quant Q8_0)")


def run(ctx: Context) -> dict:
    from forge.gguf.verify import verify
    from forge.gguf.write import quantize
    w = ctx.workspace
    targets = {t: w.gguf(t) for t in settings(ctx)["types"]}
    _warn_of_coarse_steps(ctx, list(targets))
    files = quantize(ctx.base_dir, w.adapter, {t: ctx.staged(p) for t, p in targets.items()},
                     name=ctx.config.model.name, threads=ctx.config.quantize.threads, report=ctx.report)
    for name, path in targets.items():
        verify(ctx.staged(path))
        ctx.report.info(f"{w.shown(path)}: {name}, structure verified")
    return {"files": [{**f, "path": w.shown(targets[f["type"]])} for f in files], "peak_rss_bytes": peak_rss()}
