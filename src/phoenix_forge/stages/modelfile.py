"""The Modelfile, and the JSON description of the GGUF with its provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import write_json, write_text
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context
from phoenix_forge.stages.download import base_license, license_in_force

if TYPE_CHECKING:
    from phoenix_forge.catalog.families import Family
    from phoenix_forge.gguf.container import Header

SUMMARY = "the Modelfile for Ollama"
VERSION = 5
TOOLS = ()


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    return {
        "name": ctx.config.model.name,
        "gguf": ctx.workspace.shown(_gguf(ctx)),
        "generation": ctx.config.generation.sampling,
        "license": license_in_force(ctx),
        "deploy": ctx.config.deploy.model_dump(include={"system", "num_ctx"}),
    }


def _gguf(ctx: Context) -> Path:
    return ctx.workspace.gguf(ctx.config.quantize.types[0])


def inputs(ctx: Context) -> dict[str, Path]:
    return {"gguf": _gguf(ctx)}


def outputs(ctx: Context) -> dict[str, Path]:
    return {"modelfile": ctx.workspace.modelfile, "gguf manifest": ctx.workspace.gguf_manifest}


def check(ctx: Context) -> None:
    if "quantize" not in ctx.pending and not _gguf(ctx).exists():
        raise UsageError(f"no GGUF at {ctx.workspace.shown(_gguf(ctx))}", fix="forge quantize")


def system_prompt(ctx: Context) -> str:
    """The configured system prompt, or the one the model was tuned with: its template's default."""
    if ctx.config.deploy.system:
        return ctx.config.deploy.system
    from phoenix_forge.chat.template import ChatTemplate

    return ChatTemplate.load(ctx.base_dir, ctx.workspace.adapter).default_system or ""


def takes_tools(ctx: Context) -> bool:
    """Whether `forge serve` answers requests with tools by the model's own template. Its Go template never has words
    for them: Ollama writes tools and calls as JSON without spaces, in an order of its own, which nothing was trained
    on."""
    from phoenix_forge.chat.calls import spoken
    from phoenix_forge.chat.template import ChatTemplate

    try:
        spoken(ChatTemplate.load(ctx.base_dir, ctx.workspace.adapter))
    except UsageError:
        return False
    return True


def adds_bos(header: Header) -> bool:
    """Whether llama.cpp opens a text with the beginning-of-text token: as the GGUF says, else by its vocabulary."""
    from phoenix_forge.gguf.import_tokenizer import ADDS_BOS

    sentencepiece = header.get("tokenizer.ggml.model") == "llama"
    return bool(
        header.get(
            "tokenizer.ggml.add_bos_token",
            sentencepiece or header.get("tokenizer.ggml.pre") in ADDS_BOS,
        )
    )


def template(ctx: Context, family: Family, system: str, header: Header) -> str:
    """The Go template that writes what the base's own writes; warns of conversations where it does not."""
    from phoenix_forge.chat.ollama import CONVERSATIONS, go_template
    from phoenix_forge.chat.template import ChatTemplate

    chosen, apart = go_template(
        family.go_template,
        ChatTemplate.load(ctx.base_dir, ctx.workspace.adapter),
        system,
        adds_bos=adds_bos(header),
    )
    if apart:
        ctx.report.warn(
            f"Ollama's template does not give the base's own prompts in {len(apart)} of "
            f"{len(CONVERSATIONS)} conversations: answers there begin from words that were not trained; "
            f"{apart[0]}"
        )
    else:
        ctx.report.info(
            f"Ollama's template gives the base's own prompts in all {len(CONVERSATIONS)} conversations"
        )
    return chosen


def run(ctx: Context) -> dict:
    from phoenix_forge.gguf.container import read_header
    from phoenix_forge.runtime.modelfile import build, lossy, write
    from phoenix_forge.weights.base import read_json
    from phoenix_forge.weights.foreign import family_of

    gguf, w = _gguf(ctx), ctx.workspace
    header = read_header(gguf)
    architecture = header.get("general.architecture")
    family = family_of(ctx.base_dir, read_json(ctx.base_dir / "config.json"))
    shown = (
        gguf.relative_to(w.modelfile.parent) if gguf.is_relative_to(w.modelfile.parent) else gguf
    )
    prompt = system_prompt(ctx)
    modelfile = build(
        f"./{shown}" if not shown.is_absolute() else str(shown),
        template(ctx, family, prompt, header),
        family.stops,
        system=prompt,
        generation=ctx.config.generation,
        num_ctx=ctx.config.deploy.num_ctx,
    )
    for warning in lossy(modelfile):
        ctx.report.warn(f"Modelfile: {warning}")
    write_text(ctx.staged(w.modelfile), write(modelfile))
    quantized = Manifest.read(w.manifest("quantize"))
    write_json(
        ctx.staged(w.gguf_manifest),
        {
            "model_format": "gguf",
            "architecture": architecture,
            "files": [
                {
                    "name": gguf.name,
                    "size": gguf.stat().st_size,
                    "format": "gguf",
                    "type": ctx.config.quantize.types[0],
                    "sha256": ctx.digests.file(gguf),
                }
            ],
            "modelfile": w.shown(w.modelfile),
            "description": f"{ctx.config.model.name}: {ctx.base.identity} tuned on its owner's documents by Forge",
            "license": license_in_force(ctx),
            "parameters": {key: modelfile.options()[key] for key in ("temperature", "num_ctx")},
            "template": modelfile.template,
            "system": prompt,
            "tools": {"forge serve": takes_tools(ctx), "ollama": False},
            "base": {"name": ctx.base.identity, "license": base_license(ctx)},
            "provenance": {
                stage: _chain(ctx, stage) for stage in ("download", "dataset", "train", "quantize")
            },
            "versions": quantized.versions if quantized else {},
        },
    )
    return {"path": w.shown(w.modelfile)}


def _chain(ctx: Context, stage: str) -> dict | None:
    """Fingerprint and output digests of a stage: what the GGUF was made from, without times or machine names."""
    manifest = Manifest.read(ctx.workspace.manifest(stage))
    if manifest is None:
        return None
    return json.loads(
        json.dumps({"fingerprint": manifest.fingerprint, "outputs": manifest.outputs})
    )
