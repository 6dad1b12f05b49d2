"""Examples to an adapter."""

from __future__ import annotations

from pathlib import Path

import psutil

from forge.catalog import costs
from forge.core.config import Config
from forge.core.fsio import human, remove, require_disk, sha256_json
from forge.errors import EnvironmentProblem, UsageError
from forge.stages import Context
from forge.stages.dataset import encoder

SUMMARY = "examples to an adapter (QLoRA)"
VERSION = 1
TOOLS = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    # How often is saved and logged, and how many loaders prepare batches, does not change what is learned.
    return ctx.config.train.model_dump(exclude={"save_steps", "keep_checkpoints", "log_steps", "loader_workers",
                                                "report_to"})


def inputs(ctx: Context) -> dict[str, Path]:
    found = {"base": ctx.base_dir, "dataset": ctx.workspace.dataset}
    return found | ({"validation": ctx.workspace.validation} if ctx.workspace.validation.exists() else {})


def outputs(ctx: Context) -> dict[str, Path]:
    return {"adapter": ctx.workspace.adapter}


def check(ctx: Context) -> None:
    w = ctx.workspace
    if "dataset" not in ctx.pending and not w.dataset.exists():
        raise UsageError(f"no dataset at {w.shown(w.dataset)}", fix="forge dataset")
    if "download" not in ctx.pending and not ctx.base_dir.exists():
        raise UsageError(f"no base at {w.shown(ctx.base_dir)}", fix="forge download")
    base = ctx.base
    if not base.parameters:
        return  # sizes unknown until it is there; torch's own error is then the message
    adapter = base.layers * ctx.config.train.rank * base.hidden * 26 * 4
    require_disk(w.checkpoints, adapter * (1 + 3 * ctx.config.train.keep_checkpoints), "checkpoints")
    needed = int(base.parameters * 0.6)  # the base in NF4, the least that any method takes
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise EnvironmentProblem(f"training {base.identity} needs {human(needed)} of memory at least, {human(free)} "
                                 "are free", fix="close programs, add swap, or choose a smaller base")


def prediction(ctx: Context) -> dict:
    """Peak memory of training on this machine, from the catalog's sizes; for `forge plan`."""
    base, train = ctx.base, ctx.config.train
    if not base.parameters:
        return {}
    tokens = train.max_length * (train.micro_batch or 1)
    four_bit = train.method == "qlora" or base.parameters > 2_000_000_000
    peak = costs.train_memory(base.parameters, base.layers, base.hidden, base.vocabulary, tokens, train.rank,
                              four_bit=four_bit, recompute=train.recompute is not False,
                              bytes_per_value=4 if train.precision == "fp32" else 2)
    return {"memory_bytes": peak, "disk_bytes": base.layers * train.rank * base.hidden * 26 * 4}


def run(ctx: Context) -> dict:
    from forge.train.loop import Job, train
    from forge.weights.base import open_base
    w, config = ctx.workspace, ctx.config
    model = open_base(ctx.base_dir)
    identity = sha256_json([settings(ctx), {r: ctx.digests.tree(p) for r, p in inputs(ctx).items()}])
    if ctx.options.get("force"):
        remove(w.checkpoints)  # asked to train again, not to resume what is finished
    job = Job(base=ctx.base_dir, base_name=ctx.base.identity, parameters=model.parameters,
              targets=model.family.targets, dataset=w.dataset,
              validation=w.validation if w.validation.exists() else None, checkpoints=w.checkpoints,
              metrics=w.metrics, adapter=ctx.staged(w.adapter), identity=identity)
    figures = train(job, config.train, config.lora_alpha, encoder(ctx), ctx.report)
    return {**figures, "adapter": w.shown(w.adapter)}
