"""Examples to an adapter."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.families import has_row
from phoenix_forge.catalog.memory import Sizes, sizes
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import human, remove, require_disk, sha256_json
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.stages import Context
from phoenix_forge.stages.dataset import encoder
from phoenix_forge.train.choose import Compute, described, options

SUMMARY = "examples to an adapter (QLoRA)"
VERSION = 2
TOOLS = ("torch", "transformers", "peft", "bitsandbytes")
# How often is saved and shown, and how the machine is used, does not change what is learned.
HERE = {
    "save_steps",
    "keep_checkpoints",
    "log_steps",
    "report_to",
    "recompute",
    "stream",
    "memory",
    "micro_batch",
}


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return ctx.config.train.model_dump(exclude=HERE)


def inputs(ctx: Context) -> dict[str, Path]:
    found = {"base": ctx.base_dir, "dataset": ctx.workspace.dataset}
    return found | (
        {"validation": ctx.workspace.validation} if ctx.workspace.validation.exists() else {}
    )


def outputs(ctx: Context) -> dict[str, Path]:
    return {"adapter": ctx.workspace.adapter}


def base_sizes(ctx: Context) -> Sizes | None:
    """From the base's config.json where it is there, else from the catalog; None where neither knows."""
    config = ctx.base_dir / "config.json"
    if not config.exists():
        return ctx.base.sizes
    described = json.loads(config.read_text(encoding="utf-8"))
    if has_row(described):
        return sizes(described)
    from phoenix_forge.weights.base import open_base

    return open_base(ctx.base_dir).sizes


def check(ctx: Context) -> None:
    from phoenix_forge.train.trackers import check_tracker

    w, train = ctx.workspace, ctx.config.train
    check_tracker(train.report_to)
    if "dataset" not in ctx.pending and not w.dataset.exists():
        raise UsageError(f"no dataset at {w.shown(w.dataset)}", fix="forge dataset")
    if "download" not in ctx.pending and not ctx.base_dir.exists():
        raise UsageError(f"no base at {w.shown(ctx.base_dir)}", fix="forge download")
    if train.early_stopping and not ctx.config.dataset.validation:
        raise UsageError(
            "train.early_stopping watches the validation loss, and dataset.validation is 0",
            fix="--set dataset.validation=0.02",
        )
    size = base_sizes(ctx)
    if size is None:
        return  # sizes unknown until it is there
    require_disk(w.checkpoints, disk(ctx, size), "checkpoints")
    needed = (
        int(size.layers * size.layer * 0.53) + size.vocabulary * size.hidden * 2
    )  # what the leanest way loads
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise EnvironmentProblem(
            f"training {ctx.base.identity} needs {human(needed)} of memory at least, "
            f"{human(free)} are free",
            fix="close programs, add swap, or choose a smaller base",
        )


LIBRARIES = 1_100_000_000  # torch, transformers and tokenizers, and the dataset's token ids


def prediction(ctx: Context, gpu: str, gpu_gib: float, tokens: float) -> dict[str, Any]:
    """How training will use this machine, and what that takes; for `forge plan`. Empty where sizes are unknown.

    `gpu` and `gpu_gib` are the first GPU's name and memory, or "" and 0; `tokens` will be read, prompts included.
    """
    train, size = ctx.config.train, base_sizes(ctx)
    if size is None:
        return {}
    fast = "avx512_bf16" in (flags := cpu_flags()) or "amx_bf16" in flags
    width = 2 if gpu or (train.precision == "auto" and fast) or train.precision == "bf16" else 4
    precision = {2: "bf16", 4: "fp32"}[width]
    auto = 4 if gpu else 8 * width
    bits = {"auto": auto, "qlora": 4, "fp8": 8, "lora": 8 * width}[train.method]
    compute = Compute(
        "cuda" if gpu else "cpu", precision, bits, "adamw_8bit" if gpu else "adamw", ""
    )
    total = (
        int((train.memory or gpu_gib * 0.97) * 2**30) if gpu else psutil.virtual_memory().available
    )
    memory = next(options(train, compute, size, total), None)
    if memory is None:
        return {"disk_bytes": disk(ctx, size), "how": "does not fit this machine"}
    from phoenix_forge.train.anchor import SHARE

    if train.anchor:
        tokens *= 1 + SHARE
    flops = costs.gpu_flops(gpu) if gpu else costs.CORE_FLOPS[width == 2] * (os.cpu_count() or 1)
    on_device = (
        {
            "vram_bytes": memory.device_bytes,
            "memory_bytes": memory.host_bytes + LIBRARIES + size.layer * 4,
        }
        if gpu
        else {"memory_bytes": memory.device_bytes + LIBRARIES}
    )
    if rowless(ctx):  # how fast transformers is with it, nobody has measured
        return {**on_device, "disk_bytes": disk(ctx, size), "how": BY_TRANSFORMERS}
    return {
        **on_device,
        "disk_bytes": disk(ctx, size),
        "how": described(memory, size),
        "seconds": round(
            costs.train_seconds(size, tokens, flops, memory.placement.whole < size.layers)
        ),
    }


# What is lost where no row describes the base's family.
BY_TRANSFORMERS = (
    "no training step written out for this model: transformers and PEFT, several times slower, one "
    "example at a time; experts in one tensor, routers and gates stay as they are"
)


def rowless(ctx: Context) -> bool:
    """Whether no row of Forge's table describes the base, as far as is known before it is there."""
    config = ctx.base_dir / "config.json"
    if not config.exists():
        return ctx.base.converted
    return not has_row(json.loads(config.read_text(encoding="utf-8")))


def cpu_flags() -> set[str]:
    """What the processor can do, as Linux lists it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return set(
        next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split()
    )


def run(ctx: Context) -> dict[str, Any]:
    from phoenix_forge.train import parallel
    from phoenix_forge.train.curve import write_curve

    parallel.begin()
    figures = trained(ctx)
    w = ctx.workspace
    write_curve(w.metrics, w.loss_curve, w.train_report, ctx.config.model.name, figures)
    ctx.report.info(f"loss curve: {w.shown(w.loss_curve)}, report: {w.shown(w.train_report)}")
    return {**figures, "adapter": w.shown(w.adapter)}


def trained(ctx: Context) -> dict[str, Any]:
    """The work of one process of the training; all of them together, where there are several."""
    from phoenix_forge.train import parallel
    from phoenix_forge.train.loop import Job, train
    from phoenix_forge.weights.base import read_json
    from phoenix_forge.weights.foreign import family_of

    w, config = ctx.workspace, ctx.config
    described = read_json(ctx.base_dir / "config.json")
    family = family_of(ctx.base_dir, described)
    identity: dict[str, str] = {}
    if parallel.first():
        identity = {role: ctx.digests.tree(path) for role, path in inputs(ctx).items()} | {
            f"train.{name}": sha256_json(value) for name, value in settings(ctx).items()
        }
        if ctx.options.get("force"):
            remove(w.checkpoints)  # asked to train again, not to resume what is finished
    job = Job(
        base=ctx.base_dir,
        base_name=ctx.base.identity,
        targets=family.targets,
        dataset=w.dataset,
        validation=w.validation if w.validation.exists() else None,
        checkpoints=w.checkpoints,
        metrics=w.metrics,
        adapter=ctx.staged(w.adapter),
        identity=identity,
        name=config.model.name,
    )
    return train(job, config.train, config.lora_alpha, encoder(ctx), ctx.report)


def disk(ctx: Context, size: Sizes) -> int:
    """Bytes of the adapter and its checkpoints: fp32 weights and at most two fp32 moments in each, and one checkpoint
    more while the oldest still lies there."""
    return (
        size.adapter(ctx.config.train.rank) * 4 * (1 + 3 * (ctx.config.train.keep_checkpoints + 1))
    )
