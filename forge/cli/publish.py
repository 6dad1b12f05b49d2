"""forge publish: what was made, its card, and one commit on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from forge.cli.setup import Setup
from forge.core.fsio import human, write_text
from forge.core.manifest import Manifest
from forge.stages import STAGES, Context

if TYPE_CHECKING:
    from forge.hub.card import Facts

MARK = "written by forge publish; remove this line to keep your changes"


def facts(ctx: Context, repo: str | None) -> Facts:
    """What the model card tells, from what the stages recorded."""
    import json
    from dataclasses import asdict

    from forge.hub.card import Facts
    from forge.stages.modelfile import system_prompt
    w = ctx.workspace
    manifests = [m for name in STAGES if (m := Manifest.read(w.manifest(name)))]
    trained: dict = next((m.metrics for m in manifests if m.stage == "train"), {})
    quantized: list[dict] = next((m.metrics["files"] for m in manifests if m.stage == "quantize"), [])
    return Facts(
        name=ctx.config.model.name, repo=repo, base=ctx.base.identity, license=ctx.config.publish.license,
        system=system_prompt(ctx) or None, num_ctx=ctx.config.deploy.num_ctx,
        files=[(Path(f["path"]).name, f["bytes"], f["sha256"]) for f in quantized],
        dataset=json.loads(w.card.read_text(encoding="utf-8")) if w.card.exists() else {},
        training={k: trained[k] for k in ("steps", "loss", "eval_loss", "method") if trained.get(k) is not None},
        evaluation=_evaluation(ctx, manifests), manifests=[asdict(m) for m in manifests])


def _evaluation(ctx: Context, manifests: list[Manifest]) -> str:
    """The summary of the evaluation, if it was of the adapter and the GGUFs that are there now."""
    of, summary = {m.stage: m for m in manifests}, ctx.workspace.evaluation_files["summary"]
    if "evaluate" not in of or not summary.exists():
        return ""
    made = {o["sha256"] for name in ("train", "quantize") if name in of for o in of[name].outputs.values()}
    asked = [read["sha256"] for role, read in of["evaluate"].inputs.items() if role == "adapter" or "gguf" in role]
    if not asked or not set(asked) <= made:
        ctx.report.warn("the card leaves out the evaluation: it was of another model; forge evaluate does it again")
        return ""
    return summary.read_text(encoding="utf-8")


def write_cards(ctx: Context, repo: str | None) -> None:
    """The three cards at their paths, written anew each time; one without our mark is the user's and stays."""
    from forge.hub import card
    known = facts(ctx, repo)
    w = ctx.workspace
    for path, text in ((w.readme, card.readme(known)), (w.readme_lora, card.readme_lora(known)),
                       (w.model_card, card.model_card_yaml(known))):
        if path.exists() and MARK not in path.read_text(encoding="utf-8"):
            ctx.report.info(f"{w.shown(path)} is yours and kept as it is")
            continue
        mark = f"# {MARK}\n" if path.suffix == ".yaml" else f"\n<!-- {MARK} -->\n"
        write_text(path, mark + text if path.suffix == ".yaml" else text + mark)


def publish_files(setup: Setup, repo: str | None, chosen: dict[str, bool], files: list[Path], private: bool | None,
                  dry_run: bool) -> None:
    """Publishes the chosen kinds; without any, everything that exists."""
    from forge.hub.account import token
    from forge.hub.publish import ollama_files, plan, publish
    from forge.runtime.modelfile import parse
    ctx = setup.context()
    w, settings = ctx.workspace, ctx.config.publish
    repo = repo or settings.repo
    if not any(chosen.values()) and not files:
        chosen = {"gguf": True, "modelfile": True, "readme": True, "lora": w.adapter.exists(), "model_card": True}
    write_cards(ctx, repo)
    template = parse(w.modelfile.read_text(encoding="utf-8")) if w.modelfile.exists() else None
    intended = plan(
        repo, private=settings.private if private is None else private, create=settings.create,
        ggufs=[w.gguf(t) for t in ctx.config.quantize.types] if chosen["gguf"] else (),
        modelfile=w.modelfile if chosen["modelfile"] else None, readme=w.readme if chosen["readme"] else None,
        adapter=w.adapter if chosen["lora"] else None, readme_lora=w.readme_lora if chosen["lora"] else None,
        model_card=w.model_card if chosen["model_card"] else None, files=files,
        ollama=ollama_files(template.template, template.system, template.options())
        if template and template.template else None)
    listed = [{"path": item.path, "bytes": item.size} for item in intended.items]
    if dry_run:
        lines = [f"would send to {intended.repo} ({'private' if intended.private else 'public'}):"]
        lines += [f"  {item.path}  {human(item.size)}" for item in intended.items]
        setup.emit({"repo": intended.repo, "private": intended.private, "dry_run": True, "files": listed},
                   "\n".join([*lines, "", intended.card]))
        return
    done = publish(intended, token=token(w.root), message=f"{ctx.config.model.name}, made with Forge",
                   report=setup.report)
    setup.emit({"repo": intended.repo, "url": done.url, "commit": done.commit, "files": listed},
               f"published {len(done.files)} files: {done.url}")
