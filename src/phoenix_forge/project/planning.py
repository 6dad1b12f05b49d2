"""What would run and what exists, as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phoenix_forge import pipeline
from phoenix_forge.catalog import costs
from phoenix_forge.core.fsio import free_bytes
from phoenix_forge.core.machine import gpu
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.corpus.walk import walk
from phoenix_forge.stages import STAGES, Context, load


def training_tokens(ctx: Context) -> float:
    """Tokens that training will read, prompts included: counted where there is a dataset, else from the documents."""
    made = Manifest.read(ctx.workspace.manifest("dataset"))
    if made:
        source = made.metrics["source_tokens"]
    else:
        chosen = walk(ctx.config.corpus, ctx.workspace.root, ctx.workspace.artifacts).files
        source = sum(file.path.stat().st_size for file in chosen) / costs.BYTES_A_TOKEN
    return costs.train_tokens(source, ctx.config.dataset.amplification, ctx.config.train.epochs)


def training(ctx: Context) -> dict[str, Any]:
    """Device memory, RAM, disk and time of training here; the time by the last training's speed where there is one."""
    from phoenix_forge.stages.train import prediction

    found = prediction(ctx, *gpu(), training_tokens(ctx))
    before = Manifest.read(ctx.workspace.manifest("train"))
    if (
        found and before and before.metrics["tokens_per_second"]
    ):  # 0 where a resume found the training finished
        found["seconds"] = round(training_tokens(ctx) / before.metrics["tokens_per_second"])
    return found


def asking(ctx: Context) -> dict[str, Any]:
    """Who asks, and how long that may take where it has a limit."""
    from phoenix_forge.stages.dataset import limited, teacher

    who = teacher(ctx)
    if who == "none":
        return {"how": "rules ask, no teacher: no exam"}
    found: dict[str, Any] = {"how": f"teacher: {who}"}
    return found | {"seconds": ctx.config.dataset.teacher_minutes * 60} if limited(ctx) else found


def needs(ctx: Context, name: str) -> dict[str, Any]:
    """Predicted disk, memory and time of a stage, from the base's size; empty where nothing is known."""
    p = ctx.base.parameters
    table: dict[str, Callable[[], dict[str, Any]]] = {
        "download": lambda: {"disk_bytes": costs.import_disk(p)},
        "merge": lambda: {
            "disk_bytes": costs.base_bytes(p),
            "memory_bytes": costs.stream_memory(p, 1),
        },
        "quantize": lambda: {
            "disk_bytes": sum(costs.gguf_bytes(p, t) for t in ctx.config.quantize.types),
            "memory_bytes": costs.stream_memory(p, 2),
        },
    }
    if name == "train":
        return training(ctx)
    if name == "dataset":
        return asking(ctx)
    found = table[name]() if p and name in table else {}
    return found | _way(ctx) if name == "quantize" else found


def _way(ctx: Context) -> dict[str, Any]:
    """What is lost where no row describes the base's family."""
    from phoenix_forge.stages.quantize import converted

    if not converted(ctx):
        return {}
    return {
        "how": "no one-pass writer for this model: merged on disk, then llama.cpp's own converter; no importance "
        "matrix"
    }


def planned(ctx: Context, first: str | None, last: str | None) -> dict[str, Any]:
    """What `forge run` would do. Times are those of the last run, where there was one."""
    from phoenix_forge.stages.download import require_known

    require_known(ctx)
    steps = []
    for step in pipeline.plan(ctx, pipeline.selected(ctx, first, last)):
        before = Manifest.read(ctx.workspace.manifest(step.name))
        steps.append(
            {
                "name": step.name,
                "run": step.reason is not None,
                "reason": step.reason,
                "seconds_last_time": before.seconds if before else None,
                **needs(ctx, step.name),
            }
        )
    return {"steps": steps, "disk_free_bytes": free_bytes(ctx.workspace.root)}


def state(ctx: Context) -> dict[str, Any]:
    """Every stage with its state, and every artifact with its size."""
    wanted = [name for name in STAGES if load(name).wanted(ctx.config)]
    stages = [
        {"name": step.name, "up_to_date": step.reason is None, "reason": step.reason}
        for step in pipeline.plan(ctx, wanted)
    ]
    return {"stages": stages, "artifacts": pipeline.artifacts(ctx)}
