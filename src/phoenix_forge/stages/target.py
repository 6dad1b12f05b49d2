"""Which weights the adapter is merged into, for `forge merge` and `forge quantize` alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.fsio import read_sealed
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context

if TYPE_CHECKING:
    from phoenix_forge.weights.merge import Frozen

_PLAIN = "--set merge.target=base"


def settings(ctx: Context) -> dict[str, str]:
    """What of it changes a result; nothing by default."""
    return {} if ctx.config.merge.target == "base" else {"target": ctx.config.merge.target}


def inputs(ctx: Context) -> dict[str, Path]:
    """The examples that decide, where they do."""
    decides = ctx.config.merge.target == "auto" and ctx.workspace.validation.exists()
    return {"validation": ctx.workspace.validation} if decides else {}


def check(ctx: Context) -> None:
    """Refuses a target that the adapter does not have, as far as is known before it is trained."""
    if ctx.config.merge.target == "dequantised" and "train" not in ctx.pending:
        _trained(ctx)


def chosen(ctx: Context) -> tuple[Frozen | None, dict[str, Any]]:
    """What merged() takes, and what the manifest says of the choice. Both targets are scored where there are validation
    examples; `auto` takes the lower loss, and the base where the two cannot be compared."""
    target = ctx.config.merge.target
    if target == "base":
        return None, {"target": "base"}
    try:
        frozen = _frozen(ctx)
    except UsageError as error:
        if target == "dequantised":
            raise
        ctx.report.info(f"merged into the base: {error.message}")
        return None, {"target": "base", "why": error.message}
    losses, record = _scored(ctx, frozen)
    best = min(losses, key=lambda name: losses[name]) if losses else "base"
    taken = best if target == "auto" else target
    return (frozen if taken == "dequantised" else None), {"target": taken, **record}


def _trained(ctx: Context) -> tuple[TrainConfig, dict[str, Any]]:
    """With which settings, and how, the adapter at hand was trained here."""
    w = ctx.workspace
    manifest, way = Manifest.read(w.manifest("train")), w.checkpoints / "choice.json"
    chosen_then = read_sealed(way)
    made = manifest and any(
        w.at(o["path"]) == w.adapter and ctx.digests.tree(w.adapter) == o["sha256"]
        for o in manifest.outputs.values()
    )
    if manifest is None or not made or chosen_then is None:
        raise UsageError(
            f"merge.target {ctx.config.merge.target}: how {w.shown(w.adapter)} was trained is not "
            f"recorded here ({w.shown(w.manifest('train'))} and {w.shown(way)} tell)",
            fix=_PLAIN,
        )
    return TrainConfig(**manifest.settings), chosen_then


def _frozen(ctx: Context) -> Frozen:
    from phoenix_forge.train.choose import restored
    from phoenix_forge.train.target import frozen_weights
    from phoenix_forge.weights.base import open_base

    train, way = _trained(ctx)
    return frozen_weights(open_base(ctx.base_dir), train, restored(way)[0])


def _scored(ctx: Context, frozen: Frozen) -> tuple[dict[str, float], dict[str, Any]]:
    from phoenix_forge.stages.dataset import encoder
    from phoenix_forge.train.target import held_out
    from phoenix_forge.weights.adapter import open_adapter
    from phoenix_forge.weights.base import open_base

    validation = ctx.workspace.validation
    if not validation.exists() or not validation.stat().st_size:
        return {}, {"not_scored": "there are no validation examples (dataset.validation)"}
    base = open_base(ctx.base_dir)
    scores = held_out(
        base,
        open_adapter(ctx.workspace.adapter, base),
        {"base": None, "dequantised": frozen},
        validation,
        encoder(ctx, tuned=True),
        ctx.report,
    )
    if scores.why_not:
        return {}, {"not_scored": scores.why_not}
    rounded = {name: round(loss, 6) for name, loss in scores.losses.items()}
    return scores.losses, {"eval_loss": rounded, "eval_tokens": scores.tokens}
