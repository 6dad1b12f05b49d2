"""Documents to examples."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import partial_path, publish, require_disk
from phoenix_forge.core.machine import has_gpu
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context
from phoenix_forge.weights.foreign import family_of

if TYPE_CHECKING:
    from phoenix_forge.corpus.walk import File
    from phoenix_forge.dataset.build import Models
    from phoenix_forge.teacher import Teacher

SUMMARY = "documents to examples"
VERSION = 4
TOOLS = ("semantic-text-splitter", "markdown-it-py", "rensa", "tokenizers")
HERE = {
    "engine",
    "workers",
    "teacher_workers",
    "teacher",
}  # settings that change where and how fast, not what


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {
        "corpus": ctx.config.corpus.model_dump(),
        "dataset": ctx.config.dataset.model_dump(exclude=HERE),
        "teacher": teacher(ctx),
        "max_length": ctx.config.train.max_length,
        "section_tokens": ctx.config.section_tokens,
        "system": ctx.config.deploy.system,
        "name": ctx.config.model.name,
    }


def _walked(ctx: Context) -> list[File]:
    from phoenix_forge.corpus.walk import walk

    return walk(ctx.config.corpus, ctx.workspace.root, ctx.workspace.artifacts).files


def inputs(ctx: Context) -> dict[str, Path]:
    documents = {f"document {file.relative}": file.path for file in _walked(ctx)}
    listed = (
        {"corpus manifest": ctx.workspace.at(name)} if (name := ctx.config.corpus.manifest) else {}
    )
    return {"tokenizer": ctx.base_dir / "tokenizer.json", **listed, **documents}


def outputs(ctx: Context) -> dict[str, Path]:
    w = ctx.workspace
    return {"dataset": w.dataset, "validation": w.validation, "probes": w.probes, "card": w.card}


def teacher(ctx: Context) -> str:
    """dataset.teacher, with auto decided by this machine: a random base has nothing to ask."""
    from phoenix_forge.dataset.extract import style_of

    own = ctx.config.dataset.teacher
    if own != "auto":
        return own
    return (
        "base"
        if style_of(ctx.config.dataset.style).asks and ctx.config.model.base != "tiny" and has_gpu()
        else "none"
    )


def check(ctx: Context) -> None:
    if "download" not in ctx.pending and not (ctx.base_dir / "tokenizer.json").exists():
        raise UsageError(
            f"no base at {ctx.workspace.shown(ctx.base_dir)}: its tokenizer counts the tokens",
            fix="forge download",
        )
    if ctx.config.dataset.personal_data:
        from phoenix_forge.corpus.personal import require

        require()
    read = sum(file.size for file in _walked(ctx))
    # The dataset, 3.5 bytes a byte and amplification (measured), and as much again for what is remembered of it.
    require_disk(
        ctx.workspace.dataset,
        int(read * (ctx.config.dataset.amplification * 7 + 10)),
        "the dataset",
    )
    asked = teacher(ctx)
    if "base" in (asked, ctx.config.dataset.replay_answers) and not has_gpu():
        from phoenix_forge.stages.convertible import require_convertible_base

        require_convertible_base(ctx)  # it is asked as a GGUF
    if asked not in ("none", "base") and not _folder(ctx, asked):
        from phoenix_forge.teacher import check as check_teacher

        check_teacher(_placed(ctx, asked))


def encoder(ctx: Context, *, tuned: bool = False) -> Encoder:
    """The base's tokenizer and chat template; `tuned`: the template that the adapter was trained with, if another."""
    described = json.loads((ctx.base_dir / "config.json").read_text(encoding="utf-8"))
    family = family_of(ctx.base_dir, described)
    return Encoder.load(
        ctx.base_dir,
        stop=family.stop,
        pad=family.pad,
        adapter=ctx.workspace.adapter if tuned else None,
    )


def run(ctx: Context) -> dict:
    from phoenix_forge.dataset.store import Damaged

    staged = {role: ctx.staged(path) for role, path in outputs(ctx).items()}
    try:
        metrics = _built(ctx, staged)
    except Damaged as error:  # what is damaged is forgotten by now
        ctx.report.warn(error.message)
        metrics = _built(ctx, staged)
    card = json.loads(staged["card"].read_text(encoding="utf-8"))
    _tell_skipped(ctx, card)
    if few := card["little_asked"]:
        shown = ", ".join(few[:5]) + (", …" if len(few) > 5 else "")
        ctx.report.warn(
            f"{len(few)} files gave little to ask for ({shown}); {ctx.workspace.card.name} lists them all"
        )
    return {**metrics, "path": ctx.workspace.shown(ctx.workspace.dataset)}


def _built(ctx: Context, staged: dict[str, Path]) -> dict:
    from phoenix_forge.dataset.build import build

    with ExitStack() as opened:
        return build(
            ctx.config,
            ctx.workspace.root,
            encoder(ctx),
            staged,
            ctx.report,
            cache=ctx.workspace.state / "dataset.sqlite",
            digest=ctx.digests.file,
            models=_models(ctx, opened),
        )


def _models(ctx: Context, opened: ExitStack) -> Models:
    """The models that write along, as the config asks: started only then."""
    from phoenix_forge.dataset.build import NO_MODELS, Models
    from phoenix_forge.teacher import open_teacher

    own, asked = ctx.config.dataset, teacher(ctx)
    if asked == "none" and own.replay_answers == "shipped":
        return NO_MODELS
    from phoenix_forge.train.choose import cuda

    def start(spec: str) -> Teacher:
        folder = _folder(ctx, spec)
        if folder and cuda():
            return opened.enter_context(_together(ctx, folder))
        runs = str(_gguf_of(ctx, folder)) if folder else _placed(ctx, spec)
        return opened.enter_context(
            open_teacher(runs, workers=own.teacher_workers, report=ctx.report)
        )

    asking = start(asked) if asked != "none" else None
    answering = None
    if own.replay_answers == "base":
        answering = asking if asked == "base" else start("base")
    most, slow = own.requests, limited(ctx)
    if slow:
        folder = _folder(ctx, asked)
        gguf = _gguf_of(ctx, folder) if folder else ctx.workspace.at(asked)
        most = min(most, requests_within(own.teacher_minutes / 2, gguf))
    return Models(asking, answering, ctx.workspace.state / "teacher.sqlite", most, slow)


def limited(ctx: Context) -> bool:
    """Whether the teacher runs in the built-in runtime, which dataset.teacher_minutes limits."""
    asked = teacher(ctx)
    return asked.endswith(".gguf") or bool(_folder(ctx, asked) and not has_gpu())


def requests_within(minutes: float, gguf: Path) -> int:
    """Requests that the built-in runtime answers in so many minutes on this machine's cores."""
    from phoenix_forge.catalog.costs import teacher_requests
    from phoenix_forge.runtime.llama import usable_cores

    return int(minutes * 60 * teacher_requests(gguf.stat().st_size, usable_cores()))


def _placed(ctx: Context, spec: str) -> str:
    """A GGUF is named from the workspace, wherever the command is run."""
    return str(ctx.workspace.at(spec)) if spec.endswith(".gguf") else spec


def _folder(ctx: Context, spec: str) -> Path | None:
    """The model folder that a teacher is, if it is one."""
    if spec == "base":
        return ctx.base_dir
    folder = ctx.workspace.at(spec)
    return folder if (folder / "config.json").is_file() else None


def _together(ctx: Context, folder: Path) -> Teacher:
    """A model folder that answers in batches on the GPU."""
    from phoenix_forge.core.config import TrainConfig
    from phoenix_forge.teacher import Teacher
    from phoenix_forge.train.choose import choose, sixteen_bits
    from phoenix_forge.train.generate import Writer
    from phoenix_forge.weights.base import open_base

    base = open_base(folder)
    family = base.family
    compute = sixteen_bits(choose(TrainConfig(), base.parameters), base.parameters)
    writer = Writer(folder, Encoder.load(folder, stop=family.stop, pad=family.pad), compute)
    identity = f"folder {ctx.digests.tree(folder)} {compute.precision} {compute.bits} greedy"
    return Teacher(
        folder.name, identity, writer.complete, lambda: None, writer.close, writer.together
    )


def _gguf_of(ctx: Context, folder: Path) -> Path:
    """A model folder as a Q8_0 GGUF for the built-in runtime, made once and named after its weights."""
    from phoenix_forge.gguf.make import make

    made = ctx.workspace.state / f"teacher-{ctx.digests.tree(folder)[:16]}-Q8_0.gguf"
    if not made.exists():
        ctx.report.info(f"{folder.name} as a GGUF, to be asked: made once")
        made.parent.mkdir(parents=True, exist_ok=True)
        make(folder, None, {"Q8_0": partial_path(made)}, name="teacher", report=ctx.report)
        publish(partial_path(made), made)
    return made


def _tell_skipped(ctx: Context, card: dict) -> None:
    """One warning about the files that could not be documents; empty ones are expected and only in the card."""
    left = [entry for entry in card["skipped"] if entry["reason"] != "empty"]
    if left:
        shown = "; ".join(f"{entry['path']}: {entry['reason']}" for entry in left[:5])
        ctx.report.warn(
            f"{len(left)} files left out ({shown}{'; …' if len(left) > 5 else ''}); "
            f"{ctx.workspace.card.name} lists them all"
        )
