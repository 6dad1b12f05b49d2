"""Documents to examples."""

from __future__ import annotations

import json
from pathlib import Path

from forge.catalog.families import by_architecture
from forge.chat.encode import Encoder
from forge.core.config import Config
from forge.core.fsio import require_disk
from forge.errors import UsageError
from forge.stages import Context

SUMMARY = "documents to examples"
VERSION = 1
TOOLS = ("semantic-text-splitter", "markdown-it-py", "rensa", "tokenizers")


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {"corpus": ctx.config.corpus.model_dump(), "dataset": ctx.config.dataset.model_dump(),
            "max_length": ctx.config.train.max_length, "section_tokens": ctx.config.section_tokens,
            "system": ctx.config.deploy.system, "name": ctx.config.model.name}


def inputs(ctx: Context) -> dict[str, Path]:
    from forge.corpus.walk import walk
    chosen = walk(ctx.config.corpus, ctx.workspace.root, ctx.workspace.artifacts).files
    documents = {f"document {file.relative}": file.path for file in chosen}
    return {"tokenizer": ctx.base_dir / "tokenizer.json", **documents}


def outputs(ctx: Context) -> dict[str, Path]:
    w = ctx.workspace
    return {"dataset": w.dataset, "validation": w.validation, "probes": w.probes, "card": w.card}


def check(ctx: Context) -> None:
    if "download" not in ctx.pending and not (ctx.base_dir / "tokenizer.json").exists():
        raise UsageError(f"no base at {ctx.workspace.shown(ctx.base_dir)}: its tokenizer counts the tokens",
                         fix="forge download")
    read = sum(path.stat().st_size for role, path in inputs(ctx).items() if role != "tokenizer")
    require_disk(ctx.workspace.dataset, int(read * (ctx.config.dataset.amplification * 2 + 2)), "the dataset")


def encoder(ctx: Context) -> Encoder:
    """The base's tokenizer and chat template."""
    described = json.loads((ctx.base_dir / "config.json").read_text(encoding="utf-8"))
    family = by_architecture((described.get("architectures") or [None])[0], str(ctx.base_dir))
    return Encoder.load(ctx.base_dir, stop=family.stop, pad=family.pad)


def run(ctx: Context) -> dict:
    from forge.dataset.build import build
    staged = {role: ctx.staged(path) for role, path in outputs(ctx).items()}
    metrics = build(ctx.config, ctx.workspace.root, encoder(ctx), staged, ctx.report)
    _tell_skipped(ctx, staged["card"])
    return {**metrics, "path": ctx.workspace.shown(ctx.workspace.dataset)}


def _tell_skipped(ctx: Context, card: Path) -> None:
    """One warning about the files that could not be documents; empty ones are expected and only in the card."""
    left = [entry for entry in json.loads(card.read_text(encoding="utf-8"))["skipped"] if entry["reason"] != "empty"]
    if left:
        shown = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in left[:5])
        ctx.report.warn(f"{len(left)} files left out ({shown}{'; …' if len(left) > 5 else ''}); "
                        f"{ctx.workspace.card.name} lists them all")
