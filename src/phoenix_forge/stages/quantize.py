"""Base and adapter to quantised GGUF files, without the merged folder in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.quants import quant
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import require_disk, sha256_json
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context, target
from phoenix_forge.stages.convertible import require_convertible_base
from phoenix_forge.stages.memory import peak_rss, require_memory
from phoenix_forge.stages.merge import require_parts, size

if TYPE_CHECKING:
    from phoenix_forge.gguf.imatrix import Matrix
    from phoenix_forge.weights.base import ModelFolder
    from phoenix_forge.weights.merge import Frozen

SUMMARY = "base + adapter to quantised GGUF"
VERSION = 2
TOOLS = ("libggml-python", "torch", "transformers")


def wanted(config: Config) -> bool:
    return True


def settings(ctx: Context) -> dict:
    own = ctx.config.quantize
    weighting = (
        {"imatrix": own.imatrix, "imatrix_tokens": own.imatrix_tokens}
        if _weighting(ctx) != "none"
        else {}
    )
    return {
        "types": [quant(t).name for t in own.types],
        "name": ctx.config.model.name,
        **weighting,
        **target.settings(ctx),
    }


def _weighting(ctx: Context) -> str:
    """quantize.imatrix, and "none" where no type, or the way this base goes, can use one."""
    own = ctx.config.quantize
    usable = any(quant(t).weighted for t in own.types) and not (
        own.imatrix == "auto" and converted(ctx)
    )
    return own.imatrix if usable else "none"


def inputs(ctx: Context) -> dict[str, Path]:
    found = {"base": ctx.base_dir, "adapter": ctx.workspace.adapter, **target.inputs(ctx)}
    weighting = _weighting(ctx)
    if weighting == "auto" and ctx.workspace.dataset.exists():
        found["dataset"] = ctx.workspace.dataset
    elif weighting not in ("auto", "none"):
        found["imatrix"] = ctx.workspace.at(weighting)
    return found


def outputs(ctx: Context) -> dict[str, Path]:
    return {
        f"gguf {quant(t).name}": ctx.workspace.gguf(quant(t).name)
        for t in ctx.config.quantize.types
    }


def check(ctx: Context) -> None:
    for name in ctx.config.quantize.types:
        quant(name)
    by_converter = converted(ctx)
    if _weighting(ctx) not in ("auto", "none"):
        _given(ctx)
        if by_converter:
            raise UsageError(
                "quantize.imatrix: the GGUF of this base is made by llama.cpp's converter, which Forge's "
                "importance matrix does not reach",
                fix="--imatrix none",
            )
    require_convertible_base(ctx)
    require_parts(ctx)
    target.check(ctx)
    parameters = size(ctx)
    meanwhile = (
        2 * costs.base_bytes(parameters) if by_converter else 0
    )  # the merged folder and one 16-bit file
    require_disk(
        ctx.workspace.gguf(),
        sum(costs.gguf_bytes(parameters, t) for t in ctx.config.quantize.types) + meanwhile,
        "the GGUF",
    )
    require_memory(costs.stream_memory(parameters, os.cpu_count() or 1), "quantising")


def converted(ctx: Context) -> bool:
    """Whether llama.cpp's own converter makes the GGUF of this base, as far as is known before it is there."""
    from phoenix_forge.weights.base import read_json
    from phoenix_forge.weights.foreign import family_of

    config = ctx.base_dir / "config.json"
    if not config.exists():
        return ctx.base.converted
    return family_of(ctx.base_dir, read_json(config)).converted


def _given(ctx: Context) -> Matrix:
    """The matrix that quantize.imatrix names."""
    from phoenix_forge.gguf.imatrix import read

    path = ctx.workspace.at(ctx.config.quantize.imatrix)
    if not path.is_file():
        raise UsageError(
            f"quantize.imatrix: there is no file {ctx.workspace.shown(path)}",
            fix="--imatrix auto, --imatrix none, or another file",
        )
    return read(path)


def _matrix(ctx: Context, frozen: Frozen | None) -> tuple[Matrix | None, dict[str, Any]]:
    """The importance matrix that was asked for, or none, and what the manifest says of it. `frozen` are the weights
    that the adapter is merged into, where they are not the base's."""
    from phoenix_forge.gguf.imatrix import require_fitting

    weighting = _weighting(ctx)
    if weighting == "none":
        return None, {"imatrix": "none"}
    if weighting == "auto":
        return _collected(ctx, frozen)
    matrix, path = _given(ctx), ctx.workspace.at(weighting)
    require_fitting(matrix, _merged(ctx), ctx.workspace.shown(path))
    return matrix, {"imatrix": ctx.workspace.shown(path), "sha256": ctx.digests.file(path)}


def _collected(ctx: Context, frozen: Frozen | None) -> tuple[Matrix | None, dict[str, Any]]:
    """Runs the model over the dataset, unless the matrix that lies there came of the same; says so where it cannot."""
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.gguf.imatrix import read, write
    from phoenix_forge.stages.train import cpu_flags
    from phoenix_forge.train.importance import METHOD, Place, chosen_chunks, collect, place

    w = ctx.workspace
    if not w.dataset.exists():
        ctx.report.info(
            f"no importance matrix: there is no dataset to collect it from ({w.shown(w.dataset)})"
        )
        return None, {"imatrix": "none", "reason": "no dataset"}
    flags, model = cpu_flags(), _merged(ctx)
    chosen = place(
        model.config,
        ctx.config.quantize.imatrix_tokens,
        fast_bf16="avx512_bf16" in flags or "amx_bf16" in flags,
        cores=len(os.sched_getaffinity(0)),
    )
    if not isinstance(chosen, Place):
        ctx.report.warn(f"no importance matrix: collecting one needs {chosen}")
        return None, {"imatrix": "none", "reason": f"needs {chosen}"}
    identity = sha256_json(
        [
            METHOD,
            chosen.precision,
            chosen.device,
            chosen.tokens,
            frozen is None,
            *(ctx.digests.tree(path) for path in (ctx.base_dir, w.adapter, w.dataset)),
        ]
    )
    known = _known(ctx, identity)
    if known is None:
        own = Encoder.load(
            model.tokenizer, stop=model.family.stop, pad=model.family.pad, adapter=model.adapter
        )
        chunks = chosen_chunks(w.dataset, own, chosen.tokens)
        write(
            w.imatrix,
            collect(
                ctx.base_dir,
                w.adapter,
                chunks,
                chosen,
                frozen=frozen,
                dataset=w.shown(w.dataset),
                file=w.imatrix.name,
                identity=identity,
                report=ctx.report,
            ),
        )
        known = read(w.imatrix)
    tokens = int(max(count.max() for count in known.counts.values()))
    ctx.report.info(
        f"{w.shown(w.imatrix)}: importance matrix of {tokens:,} tokens of {w.shown(w.dataset)}"
    )
    return known, {
        "imatrix": w.shown(w.imatrix),
        "sha256": ctx.digests.file(w.imatrix),
        "tokens": tokens,
        "device": chosen.device,
        "precision": chosen.precision,
    }


def _known(ctx: Context, identity: str) -> Matrix | None:
    """The matrix collected before, if it came of the same. Raises UsageError for a file that is not Forge's."""
    from phoenix_forge.gguf.imatrix import read

    path = ctx.workspace.imatrix
    if not path.exists() or ctx.options.get("force"):
        return None
    found = read(path)
    if found.identity is None:
        raise UsageError(
            f"{ctx.workspace.shown(path)} exists and was not collected by Forge",
            fix=f"--imatrix {ctx.workspace.shown(path)} uses it; or move it away",
        )
    if found.identity != identity:
        return None
    last = Manifest.read(ctx.workspace.manifest("quantize"))
    record = last.metrics.get("weighting", {}) if last else {}
    if record.get("imatrix") == ctx.workspace.shown(path) and record.get(
        "sha256"
    ) != ctx.digests.file(path):
        ctx.report.warn(f"{ctx.workspace.shown(path)} is damaged, and is collected again")
        return None
    return found


def _warn_of_coarse_steps(ctx: Context, types: list[str]) -> None:
    """A base that was a quantised file has its weights exactly on that file's steps. Rounding them to steps as wide as
    those takes small changes back: after the demo's training the 16-bit model and Q8_0 answered, Q4_K_M half forgot."""
    download = Manifest.read(ctx.workspace.manifest("download"))
    coarse = [t for t in types if quant(t).bits < 6]
    if coarse and download and download.metrics.get("from_gguf"):
        ctx.report.warn(
            f"the base came from a GGUF; {', '.join(coarse)} may round away what it learned: "
            "Q8_0 keeps more (--quant Q8_0)"
        )


def run(ctx: Context) -> dict:
    from phoenix_forge.gguf.make import make

    w = ctx.workspace
    targets = {t: w.gguf(t) for t in settings(ctx)["types"]}
    _warn_of_coarse_steps(ctx, list(targets))
    frozen, choice = target.chosen(ctx)
    matrix, weighting = _matrix(ctx, frozen)
    files = make(
        ctx.base_dir,
        w.adapter,
        {t: ctx.staged(p) for t, p in targets.items()},
        name=ctx.config.model.name,
        threads=ctx.config.quantize.threads,
        matrix=matrix,
        frozen=frozen,
        report=ctx.report,
    )
    peak = peak_rss()  # of collecting and writing, not of the models that check it
    _verify(ctx, files, matrix)
    return {
        "files": [{**f, "path": w.shown(targets[f["type"]])} for f in files],
        "peak_rss_bytes": peak,
        "merge": choice,
        "weighting": weighting,
        "gate": _gate(ctx, {t: ctx.staged(p) for t, p in targets.items()}, frozen),
    }


def _verify(ctx: Context, files: list[dict], matrix: Matrix | None) -> None:
    """Structure, size and checksum of the staged files. The pipeline wants their digests as well: they are read once
    for both."""
    from phoenix_forge.gguf.verify import require_digest, require_planned, verify
    from phoenix_forge.gguf.write import layout

    model = _merged(ctx)
    for file in files:
        path = Path(file["path"])
        verify(path)
        if not model.family.converted:
            require_planned(path, layout(model, ctx.config.model.name, file["type"], matrix))
        require_digest(path, ctx.digests.file(path), file["sha256"])
        ctx.report.info(
            f"{ctx.workspace.shown(ctx.workspace.gguf(file['type']))}: {file['type']}, structure, size and "
            "checksum verified"
        )


def _merged(ctx: Context) -> ModelFolder:
    """What base and adapter make together: the adapter may bring tokens of its own."""
    from phoenix_forge.weights.adapter import open_adapter
    from phoenix_forge.weights.base import open_base

    return open_adapter(ctx.workspace.adapter, open_base(ctx.base_dir)).model


def _gate(ctx: Context, staged: dict[str, Path], frozen: Frozen | None) -> dict:
    """Loads each file in a process of its own, and holds its answers against the Hugging Face model's."""
    if ctx.config.quantize.gate == "none":
        from phoenix_forge.runtime.llama import require_loadable

        for path in staged.values():
            require_loadable(path)
        return {"answers": "skipped", "reason": "quantize.gate is none"}
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.evaluate.parity import cases, gate

    model = _merged(ctx)
    own = Encoder.load(
        model.tokenizer, stop=model.family.stop, pad=model.family.pad, adapter=model.adapter
    )
    questions = cases(
        own, [ctx.workspace.validation, ctx.workspace.dataset], ctx.config.deploy.system
    )
    return gate(
        staged,
        ctx.base_dir,
        ctx.workspace.adapter,
        own,
        questions,
        frozen=frozen,
        report=ctx.report,
    )
