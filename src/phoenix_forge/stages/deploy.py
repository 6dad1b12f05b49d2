"""The model in Ollama or the built-in runtime, asked who it is.

In Ollama a new version is made and checked under a name of its own, before the model's name is given to it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import human
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.stages import Context
from phoenix_forge.stages.gate import require_passed
from phoenix_forge.stages.modelfile import system_prompt
from phoenix_forge.stages.recorded import require_as_made

if TYPE_CHECKING:
    from phoenix_forge.runtime.deployments import Deployments, Version
    from phoenix_forge.runtime.ollama import Ollama

SUMMARY = "create the model and ask it who it is"
VERSION = 2
TOOLS = ()
QUESTION = "Who are you?"


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {
        "deploy": ctx.config.deploy.model_dump(),
        "name": ctx.config.model.name,
        "gate": ctx.config.evaluate.gate.model_dump(),
    }


def inputs(ctx: Context) -> dict[str, Path]:
    w = ctx.workspace
    found = {"gguf": w.gguf(ctx.config.quantize.types[0])}
    if ctx.config.deploy.target != "builtin":
        found["modelfile"] = w.modelfile
    return found | ({"evaluation": w.evaluation} if ctx.config.evaluate.gate.measured else {})


def outputs(ctx: Context) -> dict[str, Path]:
    return {}


def check(ctx: Context) -> None:
    made_by = {"gguf": "quantize", "modelfile": "modelfile", "evaluation": "evaluate"}
    for role, path in inputs(ctx).items():
        if made_by[role] not in ctx.pending and not path.exists():
            raise UsageError(
                f"nothing at {ctx.workspace.shown(path)}", fix=f"forge {made_by[role]}"
            )
    if ctx.config.deploy.target == "ollama":
        from phoenix_forge.runtime.ollama import Ollama

        Ollama().require(ctx.report)


def stale(ctx: Context) -> str | None:
    """What only the server can say: an `auto` that found none finds one by now, or what was deployed is no longer
    there."""
    done = Manifest.read(ctx.workspace.manifest("deploy"))
    if done is None or ctx.config.deploy.target == "builtin":
        return None
    from phoenix_forge.runtime.ollama import Ollama

    version = done.metrics.get("version")
    with contextlib.closing(Ollama()) as ollama:
        if not ollama.reachable():
            return None
        if version is None:
            return f"Ollama answers at {ollama.url} by now"
        return None if ollama.manifests()(version) else f"{ollama.url} has no {version} any more"


def run(ctx: Context) -> dict:
    gguf = inputs(ctx)["gguf"]
    require_passed(ctx, ctx.workspace.shown(gguf), "deployed")
    require_as_made(ctx, gguf, afresh=True)
    from phoenix_forge.runtime.ollama import Ollama

    target = ctx.config.deploy.target
    with contextlib.closing(Ollama()) as ollama:
        if target == "ollama" or (target == "auto" and ollama.reachable()):
            return _in_ollama(ctx, ollama)
    answer = _built_in(ctx)
    _require_identity(ctx, "the built-in runtime", answer)
    return {"target": "the built-in runtime", "answer": answer}


def model_name(ctx: Context) -> str:
    return ctx.config.deploy.name or ctx.config.model.name


def deployments(ctx: Context, ollama: Ollama) -> Deployments:
    from phoenix_forge.runtime.deployments import Deployments

    return Deployments(ollama, ctx.workspace.state / "deployments.json")


def _require_identity(ctx: Context, where: str, answer: str) -> None:
    ctx.report.info(f"{where}: {QUESTION} {answer}")
    wanted_text = ctx.config.evaluate.gate.identity_contains
    if wanted_text and wanted_text.lower() not in answer.lower():
        raise StageFailed(
            f"asked {QUESTION!r}, {where} answered {answer!r}: without {wanted_text!r}",
            fix="train longer or raise dataset.identity; or mend evaluate.gate.identity_contains",
        )


def _in_ollama(ctx: Context, ollama: Ollama) -> dict:
    from phoenix_forge.runtime.modelfile import parse

    gguf, name, record = inputs(ctx)["gguf"], model_name(ctx), deployments(ctx, ollama)
    modelfile = parse(ctx.workspace.modelfile.read_bytes().decode())
    version = record.begin(name, ctx.digests.file(gguf), modelfile)
    ctx.report.info(f"Ollama: {human(gguf.stat().st_size)} to {ollama.url} as {version.name}")
    ollama.create(version.name, gguf, modelfile, ctx.report, sha256=version.sha256)
    same = _require_file(ctx, ollama, version)
    served = _require_parity(ctx, ollama, version, modelfile.system)
    answer = ollama.chat(
        version.name, [{"role": "user", "content": QUESTION}], max_tokens=80, greedy=True
    ).text
    _require_identity(ctx, f"Ollama as {version.name}", answer)
    for gone in record.go_live(name, version):
        ctx.report.info(f"Ollama: {gone} was two versions old and is deleted")
    return {
        "target": f"Ollama as {name}",
        "answer": answer,
        "version": version.name,
        "same_file": same,
        "parity": served,
    }


def _require_file(ctx: Context, ollama: Ollama, version: Version) -> bool:
    from phoenix_forge.runtime.deployments import require_same_file

    other = require_same_file(ollama, version)
    if other:
        ctx.report.warn(
            f"Ollama's llama.cpp wrote the file anew, in another order: its SHA-256 is {other[:16]}…, ours "
            f"{str(version.sha256)[:16]}…. Whether it is the same model, its answers tell"
        )
    return other is None


def _require_parity(
    ctx: Context, ollama: Ollama, version: Version, system: str | None
) -> dict | None:
    """Refuses a server that puts other words before the answers; None where the base's tokenizer is not at hand."""
    from phoenix_forge.evaluate.parity import CONTEXT, TOKENS, cases
    from phoenix_forge.evaluate.served import compare
    from phoenix_forge.runtime.llama import Model
    from phoenix_forge.stages.dataset import encoder

    if not (ctx.base_dir / "tokenizer.json").exists():
        ctx.report.warn(
            f"Ollama's answers were not compared: no base at {ctx.workspace.shown(ctx.base_dir)}"
        )
        return None
    own = encoder(ctx, tuned=True)
    w = ctx.workspace
    chosen = cases(
        own, [w.validation, w.dataset], system if system != own.template.default_system else None
    )
    with Model(inputs(ctx)["gguf"], num_ctx=CONTEXT) as model:
        served = compare(
            model,
            lambda messages: ollama.chat(version.name, messages, max_tokens=TOKENS, greedy=True),
            own,
            chosen,
            system,
        )
    ctx.report.info(f"Ollama as {version.name}: {served}")
    if served.broken and not ctx.options.get("anyway"):
        raise StageFailed(
            f"Ollama's answers are not the built-in runtime's from the first token on: {served}",
            fix=f"look at TEMPLATE, PARSER and stop in {w.shown(w.modelfile)} (forge modelfile --force "
            "writes it anew) and update Ollama; or take it as it is: forge deploy --anyway",
        )
    return {"prompts": served.prompts, "same": served.prompts - len(served.partings)}


def _built_in(ctx: Context) -> str:
    from phoenix_forge.runtime.llama import Model

    messages = [{"role": "user", "content": QUESTION}]
    if prompt := system_prompt(ctx):
        messages.insert(0, {"role": "system", "content": prompt})
    with Model(inputs(ctx)["gguf"], num_ctx=ctx.config.deploy.num_ctx) as model:
        return model.chat(messages, max_tokens=80, greedy=True).text
