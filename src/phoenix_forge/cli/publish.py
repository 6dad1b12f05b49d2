"""forge publish: what was made, its card, and one commit on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.fsio import human, write_text
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.core.outside import loopback
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import STAGES, Context
from phoenix_forge.stages.recorded import require_as_made

if TYPE_CHECKING:
    from phoenix_forge.core.report import Reporter
    from phoenix_forge.hub.card import Facts, Quant, Relation
    from phoenix_forge.hub.publish import Item

MARK = "written by forge publish; remove this line to keep your changes"
MODELS = ("gguf", "lora", "merged")  # what evaluate.gate and the base's licence are about
ADDRESS = "e-mail address"
EXAMPLES = ".jsonl"
LINES = 1 << 20  # characters of a text that are looked through at a time


# -- the cards
def facts(
    ctx: Context, repo: str | None, private: bool, ggufs: Sequence[Path], terms: Sequence[str]
) -> Facts:
    """What the model card tells, from what the stages recorded."""
    import json
    from dataclasses import asdict

    from phoenix_forge.hub.card import Facts
    from phoenix_forge.stages.download import base_license, license_in_force
    from phoenix_forge.stages.modelfile import system_prompt, takes_tools

    w = ctx.workspace
    manifests = [m for name in STAGES if (m := Manifest.read(w.manifest(name)))]
    of = {m.stage: m for m in manifests}
    evaluation = _evaluation(ctx)
    return Facts(
        name=ctx.config.model.name,
        repo=repo,
        base=ctx.base.identity,
        license=license_in_force(ctx),
        system=system_prompt(ctx) or None,
        num_ctx=ctx.config.deploy.num_ctx,
        private=private,
        tools=takes_tools(ctx),
        base_license=base_license(ctx),
        terms=terms,
        files=[_quant(ctx, path, evaluation) for path in ggufs],
        dataset=json.loads(w.card.read_text(encoding="utf-8")) if w.card.exists() else {},
        training=_training(of.get("train")),
        revision=of["download"].metrics.get("revision") if "download" in of else None,
        evaluation=w.evaluation_files["summary"].read_text(encoding="utf-8") if evaluation else "",
        manifests=[asdict(m) for m in manifests],
    )


def _training(manifest: Manifest | None) -> dict[str, Any]:
    """What was set and what came of it; a setting that was left to Forge is not shown."""
    if manifest is None:
        return {}
    shown = [
        (
            manifest.settings,
            ("epochs", "max_length", "tokens_per_update", "rank", "alpha", "learning_rate"),
        ),
        (manifest.metrics, ("steps", "loss", "eval_loss", "method")),
    ]
    return {
        key: values[key] for values, keys in shown for key in keys if values.get(key) is not None
    }


def _quant(ctx: Context, path: Path, evaluation: dict[str, Any]) -> Quant:
    import math

    from phoenix_forge.catalog.quants import QUANTS
    from phoenix_forge.gguf.container import read_header
    from phoenix_forge.hub.card import Quant

    header = read_header(path)
    kind = next(
        (q.name for q in QUANTS.values() if q.ftype == header.get("general.file_type")), "unknown"
    )
    weights = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    measured: dict[str, Any] = next(
        (one for one in evaluation.get("conditions", []) if one["name"] == kind), {}
    )
    return Quant(
        path.name, kind, header.size, ctx.digests.file(path), header.size * 8 / weights, measured
    )


def _evaluation(ctx: Context) -> dict[str, Any]:
    """The evaluation, if it was of the models that are there now; else nothing."""
    import json

    from phoenix_forge.stages.gate import evaluation_problem

    w = ctx.workspace
    if not w.evaluation.exists() or not w.evaluation_files["summary"].exists():
        return {}
    if problem := evaluation_problem(ctx):
        ctx.report.warn(
            f"the card leaves out the evaluation: {problem}; forge evaluate does it again"
        )
        return {}
    return json.loads(w.evaluation.read_text(encoding="utf-8"))


def write_cards(ctx: Context, known: Facts, relation: Relation) -> None:
    """The three cards at their paths, written anew each time; one without our mark is the user's and stays."""
    from phoenix_forge.hub import card

    w = ctx.workspace
    for path, text in (
        (w.readme, card.readme(known, relation)),
        (w.readme_lora, card.readme_lora(known)),
        (w.model_card, card.model_card_yaml(known, relation)),
    ):
        if path.exists() and MARK not in path.read_text(encoding="utf-8"):
            ctx.report.info(f"{w.shown(path)} is yours and kept as it is")
            continue
        mark = f"# {MARK}\n" if path.suffix == ".yaml" else f"\n<!-- {MARK} -->\n"
        write_text(path, mark + text if path.suffix == ".yaml" else text + mark)


# -- secrets
def require_no_secrets(items: Sequence[Item], report: Reporter) -> None:
    """Refuses what holds a secret, in any text that would be sent: files, cards, examples, metadata of GGUFs and
    safetensors.

    An e-mail address is refused in the examples, where Forge redacts them, and only reported elsewhere: a card may name
    whom to ask. What is found is never shown.
    """
    from phoenix_forge.corpus.secrets import scan

    found, total, done = [], sum(item.size for item in items), 0
    for item in items:
        for line, text in _texts(item, report):
            for finding in scan(text):
                at = line if item.path.endswith(EXAMPLES) else line + finding.line - 1
                where = f"{item.path}:{at}: {finding.kind}"
                if finding.kind == ADDRESS and not item.path.endswith(EXAMPLES):
                    report.warn(f"{where}; it will be sent")
                else:
                    found.append(where)
        done += item.size
        report.progress("looking for secrets", done, total, "B")
    if found:
        more = f"\n  and {len(found) - 10} more" if len(found) > 10 else ""
        raise UsageError(
            f"what would be sent holds secrets ({len(found)}):\n  "
            + "\n  ".join(found[:10])
            + more,
            fix="take them out (forge dataset redacts what its rules know), make new keys in their place, "
            "or leave the file out",
        )


def _texts(item: Item, report: Reporter) -> Iterator[tuple[int, str]]:
    """(first line, text) of a file: pieces of whole lines, or an example a piece, or the strings that a binary file
    carries beside its numbers."""
    import io

    from phoenix_forge.gguf.container import read_header

    if item.path.endswith(".gguf") and isinstance(item.content, Path):
        yield (
            1,
            "\n".join(
                f"{key} = {field.value}"
                for key, field in read_header(item.content).fields.items()
                if field.type == "string"
            ),
        )
    elif item.path.endswith(".safetensors") and isinstance(item.content, Path):
        yield 1, _safetensors_metadata(item.content)
    else:
        content, line = item.content, 1
        with (
            open(content, "rb") if isinstance(content, Path) else io.BytesIO(content) as raw,
            io.TextIOWrapper(raw, encoding="utf-8", newline="\n") as lines,
        ):
            try:
                while piece := lines.readlines(LINES):
                    if item.path.endswith(EXAMPLES):
                        yield from ((line + i, _unescaped(own)) for i, own in enumerate(piece))
                    else:
                        yield line, "".join(piece)
                    line += len(piece)
            except UnicodeDecodeError:
                report.warn(f"{item.path} is no text and was not looked through for secrets")


def _unescaped(line: str) -> str:
    """The strings of a line of JSON, each after its key: with \\n written out, "\\n@fixture" looks like an address."""
    import orjson

    def strings(value: object, key: str) -> Iterator[str]:
        if isinstance(value, str):
            yield f"{key} = {value}"
        elif isinstance(value, list):
            yield from (text for one in value for text in strings(one, key))
        elif isinstance(value, dict):
            yield from (text for name, one in value.items() for text in strings(one, name))

    try:
        return "\n".join(strings(orjson.loads(line), "text"))
    except orjson.JSONDecodeError:
        return line


def _safetensors_metadata(path: Path) -> str:
    import json
    import struct

    from phoenix_forge.weights.safetensors import read_header

    read_header(path)  # refuses a file that is not sound
    with open(path, "rb") as handle:
        header = json.loads(handle.read(struct.unpack("<Q", handle.read(8))[0]))
    return json.dumps(header.get("__metadata__", {}), ensure_ascii=False, indent=0)


# -- publishing
def publish_files(
    setup: Setup,
    repo: str | None,
    chosen: dict[str, bool],
    files: list[Path],
    private: bool | None,
    dry_run: bool,
) -> None:
    """Publishes the chosen kinds; without any, everything that exists but the merged model and the examples.

    Whatever would be refused is refused before the first byte, by a dry run as well.
    """
    from phoenix_forge.hub.account import endpoint, token
    from phoenix_forge.hub.card import readme_dataset
    from phoenix_forge.hub.licenses import require_compatible
    from phoenix_forge.hub.publish import Item, prepare, publish, require_repo
    from phoenix_forge.stages.download import base_license, license_in_force
    from phoenix_forge.stages.gate import require_passed

    ctx = setup.context()
    w, settings = ctx.workspace, ctx.config.publish
    if not (repo or dry_run or loopback(endpoint())):
        setup.project.may_publish()
    repo = require_repo(repo or settings.repo)
    hidden = settings.private if private is None else private
    if not any(chosen.values()) and not files:
        chosen |= {
            "gguf": True,
            "modelfile": True,
            "readme": True,
            "lora": w.adapter.exists(),
            "model_card": True,
        }
    ggufs = _ggufs(ctx) if chosen["gguf"] else []
    terms: list[str] = []
    if any(chosen[kind] for kind in MODELS):
        require_passed(ctx, "the model", "published")
        terms = require_compatible(
            ctx.base.identity, base_license(ctx), license_in_force(ctx), hidden
        )
    known = facts(ctx, repo, hidden, [path for path in _ggufs(ctx) if path.is_file()], terms)
    merged_alone = chosen["merged"] and not ggufs
    write_cards(ctx, known, "finetune" if merged_alone else "quantized")
    examples = {
        "train": Item("train.jsonl", w.dataset),
        "validation": Item("validation.jsonl", w.validation),
    }
    if not w.validation.exists() or not w.validation.stat().st_size:
        del examples["validation"]
    intended = prepare(
        repo,
        private=hidden,
        create=settings.create,
        ggufs=ggufs,
        ollama=_ollama(ctx) if ggufs else None,
        modelfile=w.modelfile if chosen["modelfile"] else None,
        readme=w.readme if chosen["readme"] or merged_alone else None,
        adapter=w.adapter if chosen["lora"] else None,
        readme_lora=w.readme_lora if chosen["lora"] else None,
        merged=w.merged if chosen["merged"] else None,
        model_card=w.model_card if chosen["model_card"] else None,
        dataset=list(examples.values()) if chosen["dataset"] else (),
        files=files,
        dataset_card=readme_dataset(
            known, {split: item.path for split, item in examples.items()}
        ).encode(),
    )
    require_as_made(
        ctx,
        *(item.content for item in intended.items if isinstance(item.content, Path)),
        afresh=True,
    )
    require_no_secrets(intended.items, ctx.report)
    for term in terms:
        ctx.report.warn(term)
    result = {
        "repo": intended.repo,
        "kind": intended.kind,
        "private": intended.private,
        "files": [{"path": item.path, "bytes": item.size} for item in intended.items],
    }
    if dry_run:
        lines = [
            f"would send {len(intended.items)} files, {human(intended.size)}, to {intended.url} "
            f"({'private' if intended.private else 'public'}):"
        ]
        lines += [f"  {item.path}  {human(item.size)}" for item in intended.items]
        setup.emit(
            {**result, "dry_run": True, "card": intended.card},
            "\n".join([*lines, "", intended.card]),
        )
        return
    done = publish(
        intended,
        token=token(w.root),
        message=f"{ctx.config.model.name}, made with Forge",
        report=setup.report,
    )
    setup.emit(
        {**result, "url": done.url, "commit": done.commit},
        f"published {len(done.files)} files: {done.url}",
    )


def _ggufs(ctx: Context) -> list[Path]:
    """The configured types, or the one file that paths.gguf names in their place."""
    made = [ctx.workspace.gguf(t) for t in ctx.config.quantize.types]
    named = ctx.workspace.gguf()
    return [named] if named not in made and named.is_file() else made


def _ollama(ctx: Context) -> dict[str, bytes] | None:
    """What Ollama reads beside a GGUF when it pulls from the Hub: as the Modelfile has it, so as it is deployed."""
    from phoenix_forge.hub.publish import ollama_files
    from phoenix_forge.runtime.modelfile import parse

    w = ctx.workspace
    if not w.modelfile.exists():
        return None
    own = parse(w.modelfile.read_bytes().decode())
    return ollama_files(own.template, own.system, own.options()) if own.template else None
