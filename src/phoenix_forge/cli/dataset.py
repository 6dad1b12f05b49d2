"""forge dataset: what people look at before they train, and the same for other trainers."""

from __future__ import annotations

from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.fsio import partial_path, publish
from phoenix_forge.errors import UsageError
from phoenix_forge.stages.dataset import encoder


def exported(setup: Setup, names: list[str]) -> list[str]:
    """Writes the dataset in other formats beside it; returns their paths as shown."""
    from phoenix_forge.examples.export import FORMATS, export

    w = setup.context().workspace
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise UsageError(
            f"--export {unknown[0]!r} is no format", fix=f"--export {','.join(FORMATS)}"
        )
    export(w.dataset, {name: partial_path(w.export(name)) for name in names})
    for name in names:
        publish(partial_path(w.export(name)), w.export(name))
    return [w.shown(w.export(name)) for name in names]


def write_report(setup: Setup) -> str:
    """Writes the page about the dataset; returns its path as shown."""
    from phoenix_forge.examples.report import report

    ctx = setup.context()
    w = ctx.workspace
    w.dataset_report.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(w.dataset_report)
    report(w.dataset, w.card, staged, encoder(ctx), probes=w.probes)
    publish(staged, w.dataset_report)
    return w.shown(w.dataset_report)


def previewed(setup: Setup, count: int) -> str:
    """`count` examples as text, coloured where stdout is a terminal."""
    from phoenix_forge.cli.look import render
    from phoenix_forge.examples.preview import preview

    ctx = setup.context()
    return render(
        preview(
            ctx.workspace.dataset, count, ctx.config.dataset.seed, encoder(ctx), ctx.workspace.root
        )
    )
