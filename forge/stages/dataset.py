"""Documents to examples."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from forge.catalog.families import by_config
from forge.chat.encode import Encoder
from forge.core.config import Config
from forge.core.fsio import partial_path, publish, require_disk
from forge.errors import UsageError
from forge.stages import Context

if TYPE_CHECKING:
    from forge.corpus.walk import File
    from forge.dataset.build import Models

SUMMARY = "documents to examples"
VERSION = 4
TOOLS = ("semantic-text-splitter", "markdown-it-py", "rensa", "tokenizers")
HERE = {"engine", "workers", "teacher_workers"}  # settings that change where and how fast, not what


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {"corpus": ctx.config.corpus.model_dump(), "dataset": ctx.config.dataset.model_dump(exclude=HERE),
            "max_length": ctx.config.train.max_length, "section_tokens": ctx.config.section_tokens,
            "system": ctx.config.deploy.system, "name": ctx.config.model.name}


def _walked(ctx: Context) -> list[File]:
    from forge.corpus.walk import walk
    return walk(ctx.config.corpus, ctx.workspace.root, ctx.workspace.artifacts).files


def inputs(ctx: Context) -> dict[str, Path]:
    documents = {f"document {file.relative}": file.path for file in _walked(ctx)}
    listed = {"corpus manifest": ctx.workspace.at(name)} if (name := ctx.config.corpus.manifest) else {}
    return {"tokenizer": ctx.base_dir / "tokenizer.json", **listed, **documents}


def outputs(ctx: Context) -> dict[str, Path]:
    w = ctx.workspace
    return {"dataset": w.dataset, "validation": w.validation, "probes": w.probes, "card": w.card}


def check(ctx: Context) -> None:
    if "download" not in ctx.pending and not (ctx.base_dir / "tokenizer.json").exists():
        raise UsageError(f"no base at {ctx.workspace.shown(ctx.base_dir)}: its tokenizer counts the tokens",
                         fix="forge download")
    read = sum(file.size for file in _walked(ctx))
    # The dataset, 3.5 bytes a byte and amplification (measured), and as much again for what is remembered of it.
    require_disk(ctx.workspace.dataset, int(read * (ctx.config.dataset.amplification * 7 + 10)), "the dataset")
    if "base" in (ctx.config.dataset.teacher, ctx.config.dataset.replay_answers):
        from forge.stages.quantize import require_convertible_base
        require_convertible_base(ctx)  # it is asked as a GGUF
    if ctx.config.dataset.teacher not in ("none", "base"):
        from forge.dataset.teacher import check as check_teacher
        check_teacher(ctx.config.dataset.teacher)


def encoder(ctx: Context) -> Encoder:
    """The base's tokenizer and chat template."""
    described = json.loads((ctx.base_dir / "config.json").read_text(encoding="utf-8"))
    family = by_config(described, str(ctx.base_dir))
    return Encoder.load(ctx.base_dir, stop=family.stop, pad=family.pad)


def run(ctx: Context) -> dict:
    from forge.dataset.build import build
    staged = {role: ctx.staged(path) for role, path in outputs(ctx).items()}
    with ExitStack() as opened:
        metrics = build(ctx.config, ctx.workspace.root, encoder(ctx), staged, ctx.report,
                        cache=ctx.workspace.state / "dataset.sqlite", digest=ctx.digests.file,
                        models=_models(ctx, opened))
    _tell_skipped(ctx, staged["card"])
    return {**metrics, "path": ctx.workspace.shown(ctx.workspace.dataset)}


def _models(ctx: Context, opened: ExitStack) -> Models:
    """The models that write along, as the config asks: started only then."""
    from forge.dataset.build import NO_MODELS, Models
    from forge.dataset.teacher import Teacher, open_teacher
    own = ctx.config.dataset
    if own.teacher == "none" and own.replay_answers == "shipped":
        return NO_MODELS
    base = _base_gguf(ctx) if "base" in (own.teacher, own.replay_answers) else None

    def start(spec: str) -> Teacher:
        return opened.enter_context(open_teacher(spec, workers=own.teacher_workers, report=ctx.report, base=base))

    teacher = start(own.teacher) if own.teacher != "none" else None
    answering = None
    if own.replay_answers == "base":
        answering = teacher if own.teacher == "base" else start("base")
    return Models(teacher, answering, ctx.workspace.state / "teacher.sqlite")


def _base_gguf(ctx: Context) -> Path:
    """The base as a Q8_0 GGUF for the built-in runtime, made once and named after its weights."""
    from forge.gguf.write import quantize
    made = ctx.workspace.state / f"base-{ctx.digests.tree(ctx.base_dir)[:16]}-Q8_0.gguf"
    if not made.exists():
        ctx.report.info("the base as a GGUF, to be asked: made once")
        made.parent.mkdir(parents=True, exist_ok=True)
        quantize(ctx.base_dir, None, {"Q8_0": partial_path(made)}, name="base", report=ctx.report)
        publish(partial_path(made), made)
    return made


def _tell_skipped(ctx: Context, card: Path) -> None:
    """One warning about the files that could not be documents; empty ones are expected and only in the card."""
    left = [entry for entry in json.loads(card.read_text(encoding="utf-8"))["skipped"] if entry["reason"] != "empty"]
    if left:
        shown = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in left[:5])
        ctx.report.warn(f"{len(left)} files left out ({shown}{'; …' if len(left) > 5 else ''}); "
                        f"{ctx.workspace.card.name} lists them all")
