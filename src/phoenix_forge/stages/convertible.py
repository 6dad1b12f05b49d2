"""What the dataset's and the quantise stage ask of the base alike: that it can become a GGUF."""

from __future__ import annotations

from phoenix_forge.stages import Context


def require_convertible_base(ctx: Context) -> None:
    """Refuses a base that cannot become a GGUF; of one that is still to be fetched nothing is known."""
    if "download" not in ctx.pending and ctx.base_dir.exists():
        from phoenix_forge.gguf.converted import require_convertible
        from phoenix_forge.gguf.hyperparameters import hyperparameters
        from phoenix_forge.weights.base import open_base

        base = open_base(ctx.base_dir)
        if base.family.converted:
            require_convertible(base)
        else:
            hyperparameters(
                base.family, base.config, f"{ctx.workspace.shown(ctx.base_dir)}/config.json"
            )
