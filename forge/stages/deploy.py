"""The model in Ollama or the built-in runtime, asked who it is."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from forge.core.config import Config
from forge.core.fsio import human
from forge.errors import StageFailed, UsageError
from forge.stages import Context
from forge.stages.modelfile import system_prompt

if TYPE_CHECKING:
    from forge.runtime.ollama import Ollama

SUMMARY = "create the model and ask it who it is"
VERSION = 1
TOOLS = ()
QUESTION = "Who are you?"


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {"deploy": ctx.config.deploy.model_dump(), "name": ctx.config.model.name,
            "gate": ctx.config.evaluate.gate.model_dump()}


def inputs(ctx: Context) -> dict[str, Path]:
    w = ctx.workspace
    found = {"gguf": w.gguf(ctx.config.quantize.types[0]), "modelfile": w.modelfile}
    return found | ({"evaluation": w.evaluation} if ctx.config.evaluate.gate.measured else {})


def outputs(ctx: Context) -> dict[str, Path]:
    return {}


def check(ctx: Context) -> None:
    made_by = {"gguf": "quantize", "modelfile": "modelfile", "evaluation": "evaluate"}
    for role, path in inputs(ctx).items():
        if made_by[role] not in ctx.pending and not path.exists():
            raise UsageError(f"nothing at {ctx.workspace.shown(path)}", fix=f"forge {made_by[role]}")
    if ctx.config.deploy.target == "ollama":
        from forge.runtime.ollama import Ollama
        Ollama().require(ctx.report)


def require_passed(ctx: Context) -> None:
    """Refuses a model that an evaluation has found below evaluate.gate. It stays where it is."""
    if not ctx.config.evaluate.gate.measured:
        return
    from forge.evaluate.result import gate
    w = ctx.workspace
    verdict = gate(ctx.config.evaluate.gate, json.loads(w.evaluation.read_text(encoding="utf-8")))
    if not verdict["passed"]:
        kept = w.shown(inputs(ctx)["gguf"])
        raise StageFailed(f"{kept} is kept, but not deployed: {'; '.join(verdict['failures'])}",
                          fix=f"look at {w.shown(w.evaluation_files['page'])}; train longer, raise "
                              "dataset.amplification, or lower the gate")


def run(ctx: Context) -> dict:
    require_passed(ctx)
    from forge.runtime.ollama import Ollama
    name = ctx.config.deploy.name or ctx.config.model.name
    target = ctx.config.deploy.target
    with contextlib.closing(Ollama()) as ollama:
        if target == "ollama" or (target == "auto" and ollama.reachable()):
            answer = _in_ollama(ctx, ollama, name)
            where = f"Ollama as {name}"
        else:
            answer = _built_in(ctx)
            where = "the built-in runtime"
    ctx.report.info(f"{where}: {QUESTION} {answer}")
    wanted_text = ctx.config.evaluate.gate.identity_contains
    if wanted_text and wanted_text.lower() not in answer.lower():
        raise StageFailed(f"asked {QUESTION!r}, {where} answered {answer!r}: without {wanted_text!r}",
                          fix="train longer or raise dataset.identity; or mend evaluate.gate.identity_contains")
    return {"target": where, "answer": answer}


def _in_ollama(ctx: Context, ollama: Ollama, name: str) -> str:
    from forge.runtime.modelfile import parse
    gguf = inputs(ctx)["gguf"]
    modelfile = parse(ctx.workspace.modelfile.read_bytes().decode())
    ctx.report.info(f"Ollama: {human(gguf.stat().st_size)} to {ollama.url}")
    ollama.create(name, gguf, modelfile, ctx.report, sha256=ctx.digests.file(gguf))
    return ollama.chat(name, [{"role": "user", "content": QUESTION}], max_tokens=80, greedy=True).text


def _built_in(ctx: Context) -> str:
    from forge.runtime.llama import Model
    messages = [{"role": "user", "content": QUESTION}]
    if prompt := system_prompt(ctx):
        messages.insert(0, {"role": "system", "content": prompt})
    with Model(inputs(ctx)["gguf"], num_ctx=ctx.config.deploy.num_ctx) as model:
        return model.chat(messages, max_tokens=80, greedy=True).text
