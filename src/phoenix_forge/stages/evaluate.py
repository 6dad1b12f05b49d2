"""What the model knows: the questions put to base, tuned model and GGUFs, and a report about it."""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from phoenix_forge import __version__
from phoenix_forge.catalog.quants import quant
from phoenix_forge.core.config import Config, TrainConfig
from phoenix_forge.core.fsio import read_sealed, remove, write_json, write_sealed, write_text
from phoenix_forge.core.manifest import tool_versions
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context
from phoenix_forge.stages.dataset import encoder
from phoenix_forge.stages.memory import peak_rss

if TYPE_CHECKING:
    from phoenix_forge.corpus.index import Index
    from phoenix_forge.evaluate.conditions import Condition, EvaluatedModel, Runner
    from phoenix_forge.evaluate.engine import Engine
    from phoenix_forge.evaluate.questions import Placed
    from phoenix_forge.train.choose import Compute

    E = TypeVar("E", bound=Engine)

SUMMARY = "what the model learned, measured"
VERSION = 3  # 2: the result says whose questions were asked; 3: what a model quotes is no part of its answer
TOOLS = ("torch", "transformers", "peft", "xllamacpp")
COUNT = {"cuda": 400, "cpu": 60}
TEXT_TOKENS = {"cuda": 16384, "cpu": 2048}  # of each text whose bits are counted


def wanted(config: Config) -> bool:
    return config.evaluate.enabled or config.evaluate.gate.measured


def settings(ctx: Context) -> dict:
    return {
        **ctx.config.evaluate.model_dump(exclude={"enabled"}),
        "system": ctx.config.deploy.system,
    }


def inputs(ctx: Context) -> dict[str, Path]:
    w, models = ctx.workspace, ctx.config.evaluate.models
    found = {"base": ctx.base_dir, "card": w.card, "questions": _questions_file(ctx)}
    if "adapter" in models:
        found["adapter"] = w.adapter
    if "merged" in models:
        found["merged"] = w.merged
    return found | {f"gguf {name}": path for name, path in _ggufs(ctx).items()}


def _questions_file(ctx: Context) -> Path:
    given = ctx.config.evaluate.questions
    return ctx.workspace.at(given) if given else ctx.workspace.probes


def _ggufs(ctx: Context) -> dict[str, Path]:
    """The configured types that are there or will be."""
    if "gguf" not in ctx.config.evaluate.models:
        return {}
    types = [quant(name).name for name in ctx.config.quantize.types]
    return {
        name: path
        for name in types
        if (path := ctx.workspace.gguf(name)).exists() or "quantize" in ctx.pending
    }


def outputs(ctx: Context) -> dict[str, Path]:
    return ctx.workspace.evaluation_files


def check(ctx: Context) -> None:
    w, models = ctx.workspace, ctx.config.evaluate.models
    if ctx.config.evaluate.questions and not _questions_file(ctx).is_file():
        raise UsageError(
            f"evaluate.questions: there is no file {w.shown(_questions_file(ctx))}",
            fix="--questions FILE.jsonl, or leave it out for the dataset's probes",
        )
    for stage, path in (
        ("download", ctx.base_dir),
        ("dataset", w.card),
        *((("train", w.adapter),) if "adapter" in models else ()),
        *((("merge", w.merged),) if "merged" in models else ()),
    ):
        if stage not in ctx.pending and not path.exists():
            raise UsageError(f"nothing at {w.shown(path)}", fix=f"forge {stage}")


def run(ctx: Context) -> dict:
    from phoenix_forge.evaluate.energy import Energy
    from phoenix_forge.evaluate.report import markdown, page
    from phoenix_forge.evaluate.result import gate, previous

    w, energy, started = ctx.workspace, Energy(), time.perf_counter()
    result = _measured(ctx)
    result |= {"gate": gate(ctx.config.evaluate.gate, result), "previous": previous(w.evaluation)}
    result["costs"] |= {
        "seconds": round(time.perf_counter() - started, 1),
        "energy_joules": energy.joules(),
        "peak_rss_bytes": peak_rss(),
        "peak_vram_bytes": _peak_vram(),
    }
    curve = w.loss_curve.read_bytes() if w.loss_curve.exists() else None
    write_json(ctx.staged(w.evaluation), result)
    write_text(ctx.staged(w.evaluation_files["page"]), page(result, curve))
    write_text(ctx.staged(w.evaluation_files["summary"]), markdown(result))
    kept = (
        "conditions",
        "knowledge_gained",
        "forgetting",
        "quantisation_loss",
        "quotations",
        "questions",
        "documents",
        "skipped",
        "rule_made",
        "refusals",
        "bits_per_byte",
        "gate",
    )
    return {key: result[key] for key in kept} | {
        "path": w.shown(w.evaluation),
        "report": w.shown(w.evaluation_files["page"]),
    }


def _measured(ctx: Context) -> dict[str, Any]:
    from phoenix_forge.evaluate.questions import chosen, placed, read
    from phoenix_forge.exam.probe import EXAM

    w, own = ctx.workspace, ctx.config.evaluate
    with ExitStack() as opened:
        index = opened.enter_context(open_index(ctx))
        questions, skipped = placed(read(_questions_file(ctx)), index)
        compute = _choice(ctx)
        asked = chosen(questions, own.count or COUNT[compute.device], ctx.config.dataset.seed)
        if not asked:
            raise UsageError(
                f"{w.shown(_questions_file(ctx))} has no question that can be asked: "
                + "; ".join(f"{count} × {why}" for why, count in skipped.items()),
                fix="forge dataset makes them anew; or --questions FILE.jsonl",
            )
        for why, count in skipped.items():
            ctx.report.warn(f"{count} questions are not asked: {why}")
        card = json.loads(w.card.read_text(encoding="utf-8"))
        return {
            "model": ctx.config.model.name,
            "base": ctx.base.identity,
            "skipped": skipped,
            "rule_made": _questions_file(ctx) == w.probes
            and any(one.question.kind != EXAM for one in asked),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **_conditions(ctx, asked, index, compute, card, opened),
            "costs": {"device": _device(compute)},
            "versions": {"forge": __version__, **tool_versions(TOOLS)},
        }


def _conditions(
    ctx: Context,
    asked: Sequence[Placed],
    index: Index,
    compute: Compute,
    card: dict[str, Any],
    opened: ExitStack,
) -> dict[str, Any]:
    """The questions under each condition, and what else is asked of base and tuned model."""
    from phoenix_forge.evaluate import result as found
    from phoenix_forge.evaluate.conditions import INDEX, PASSAGE, Runner, neutral_texts

    own = ctx.config.evaluate
    runner = Runner(
        encoder(ctx, tuned=True),
        ctx.config.deploy.system,
        asked,
        index,
        passages=own.passages,
        max_tokens=own.max_tokens,
        cache=ctx.workspace.state / "evaluation",
        report=ctx.report,
        quotes=any(kind.endswith("_quoted") for kind in card.get("kinds", {})),
    )
    opened_models = _evaluated_models(ctx, runner, compute, opened)
    rows = [
        (found.BASE, "base", ""),
        (found.BASE_INDEX, "base", INDEX),
        (found.BASE_PASSAGE, "base", PASSAGE),
        (found.TUNED, "tuned", ""),
        (found.TUNED_INDEX, "tuned", INDEX),
        *((name, name, "") for name in opened_models if name not in ("base", "tuned")),
    ]
    conditions: list[Condition] = []
    aside: dict[str, Any] = {"general": {}, "refusals": {}, "bits_per_byte": {}}
    texts = {
        "trained": [p.text for one in asked for p in one.passages[:1]],
        "held_out": [p.text for path in card.get("held_out", []) for p in index.sections(path)],
        "neutral": neutral_texts(),
    }
    for name, model, material in rows:
        if model not in opened_models:
            continue
        conditions.append(runner.condition(name, opened_models[model], material))
        if name in ("base", "tuned"):
            _aside(runner, opened_models[name], texts, TEXT_TOKENS[compute.device], aside)
    runner.forget()
    tuned = next((c for c in conditions if c.name == found.TUNED), None)
    general = aside["general"]
    return {
        **found.figures(asked, conditions),
        "coverage": found.coverage(card, asked, tuned),
        "forgetting": round(general["base"] - general["tuned"], 4)
        if {"base", "tuned"} <= general.keys()
        else None,
        **aside,
    }


def _aside(
    runner: Runner,
    model: EvaluatedModel,
    texts: dict[str, list[str]],
    tokens: int,
    into: dict[str, Any],
) -> None:
    """What is measured of base and tuned model beside the questions."""
    for key, shares in (
        ("general", runner.general(model)),
        ("refusals", runner.refusals(model)),
    ):
        if shares:
            into[key] |= {
                "questions": len(shares),
                model.name: round(sum(shares) / len(shares), 4),
            }
    for name, own in texts.items():
        bits = runner.bits_per_byte(model, f"{name.replace('_', ' ')} text", own, tokens)
        if bits is not None:
            into["bits_per_byte"].setdefault(name, {})[model.name] = round(bits, 4)


def _evaluated_models(
    ctx: Context, runner: Runner, compute: Compute, opened: ExitStack
) -> dict[str, EvaluatedModel]:
    """By name, in the order of the conditions. An engine gives its memory back when the next one opens."""
    from phoenix_forge.evaluate.conditions import EvaluatedModel
    from phoenix_forge.evaluate.engine import HuggingFace, LlamaCpp

    w, models, digests = ctx.workspace, ctx.config.evaluate.models, ctx.digests
    adapter = w.adapter if "adapter" in models else None
    current = ExitStack()
    opened.push(current)

    def only(make: Callable[[], E]) -> Callable[[], E]:
        @cache
        def open_engine() -> E:
            current.close()
            engine = make()
            current.callback(engine.close)
            return engine

        return open_engine

    how = f"{compute.device} {compute.precision} {compute.bits}"
    found = {}
    if "base" in models:
        found["base"] = EvaluatedModel(
            "base",
            f"{digests.tree(ctx.base_dir)} {how}",
            only(lambda: HuggingFace(ctx.base_dir, runner.encoder, compute)),
        )
    if adapter:
        found["tuned"] = EvaluatedModel(
            "tuned",
            f"{digests.tree(ctx.base_dir)} {digests.tree(adapter)} {how}",
            only(lambda: HuggingFace(ctx.base_dir, runner.encoder, compute, adapter)),
        )
    if "merged" in models:
        found["merged"] = EvaluatedModel(
            "merged",
            f"{digests.tree(w.merged)} {how}",
            only(lambda: HuggingFace(w.merged, runner.encoder, compute)),
        )
    for name, path in _ggufs(ctx).items():
        opened_as = only(partial(LlamaCpp, path, runner.encoder, runner.longest))
        found[name] = EvaluatedModel(name, digests.file(path), opened_as)
    return found


def open_index(ctx: Context) -> Index:
    """The index over the corpus as it is now; one that is not as it was written is made again.

    Beside it lies what was true when it was made: its own digest, and of the tokenizer, which takes half a second to
    load, what tells that it is the same.
    """
    from phoenix_forge.corpus.index import SAMPLE, ensure, fresh, identity

    cfg, root, path, digest = ctx.config, ctx.workspace.root, ctx.workspace.index, ctx.digests.file
    known = _known(ctx)
    tokenizer = digest(ctx.base_dir / "tokenizer.json")
    whole = path.exists() and known.get("sha256") == digest(path)
    if (
        whole
        and known["tokenizer"] == tokenizer
        and (index := fresh(cfg, root, known["sampled"], path, digest))
    ):
        ctx.digests.save()
        return index
    if path.exists() and known and not whole and known["of"] == identity(path):
        ctx.report.warn(f"{ctx.workspace.shown(path)} is damaged, and is made again")
        remove(path)
    own = encoder(ctx)
    index = ensure(cfg, root, own.fast_counts, path, digest, ctx.report)
    now = {
        "of": identity(path),
        "sha256": digest(path),
        "tokenizer": tokenizer,
        "sampled": own.fast_counts(SAMPLE.split()),
        "control": own.control_tokens.pattern,
    }
    if now != known:
        with suppress(OSError):  # a read-only workspace's index is as good without
            write_sealed(_mark(ctx), now)
    ctx.digests.save()
    return index


def control_tokens(ctx: Context) -> re.Pattern[str]:
    """What finds the base's control tokens in a text, as `open_index` left it; without that, of the base itself."""
    return re.compile(known["control"]) if (known := _known(ctx)) else encoder(ctx).control_tokens


def _mark(ctx: Context) -> Path:
    return ctx.workspace.index.with_suffix(".json")


def _known(ctx: Context) -> dict[str, Any]:
    """What lies beside the index; nothing where it was written by another version of Forge."""
    known = read_sealed(_mark(ctx))
    return known if isinstance(known, dict) and "tokenizer" in known else {}


def _choice(ctx: Context) -> Compute:
    """As training chooses, but the base in 16 bits, which is what the adapter is merged into, where it fits."""
    from phoenix_forge.train.choose import choose, sixteen_bits
    from phoenix_forge.weights.base import open_base

    base = open_base(ctx.base_dir)
    return sixteen_bits(choose(TrainConfig(), base.parameters), base.parameters)


def _device(compute: Compute) -> str:
    if compute.device == "cpu":
        return f"CPU, {len(os.sched_getaffinity(0))} cores, {compute.precision}"
    import torch

    return f"{torch.cuda.get_device_name()}, {compute.precision if compute.bits == 16 else 'NF4'}"


def _peak_vram() -> int | None:
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
