"""What evaluate.gate asks of a model before it leaves this workspace."""

from __future__ import annotations

import json
from pathlib import Path

from phoenix_forge.core.manifest import Manifest
from phoenix_forge.errors import StageFailed
from phoenix_forge.stages import Context


def evaluated(ctx: Context) -> dict[str, Path]:
    """The models that the last evaluation asked, by its roles for them; their paths are where they lie now."""
    manifest = Manifest.read(ctx.workspace.manifest("evaluate"))
    return {
        role: ctx.workspace.at(read["path"])
        for role, read in (manifest.inputs if manifest else {}).items()
        if role in ("adapter", "merged") or role.startswith("gguf")
    }


def evaluation_problem(ctx: Context) -> str | None:
    """None when there is an evaluation, of the adapter, merged model and GGUFs that are there now; else what is
    wrong."""
    w, manifest = ctx.workspace, Manifest.read(ctx.workspace.manifest("evaluate"))
    if manifest is None or not w.evaluation.exists():
        return "the model was not evaluated"
    for role, path in evaluated(ctx).items():
        if not path.exists() or ctx.digests.tree(path) != manifest.inputs[role]["sha256"]:
            return f"the evaluation was of another {role.partition(' ')[0]} than {w.shown(path)} is now"
    return None


def require_passed(ctx: Context, what: str, deed: str) -> None:
    """Refuses to have `what` deployed or published (`deed`) where evaluate.gate looks at measurements and they fall
    short, are missing, or were taken of another model. It stays where it is."""
    if not ctx.config.evaluate.gate.measured:
        return
    if problem := evaluation_problem(ctx):
        raise StageFailed(
            f"{what} is kept, but not {deed}: evaluate.gate is set, and {problem}",
            fix="forge evaluate",
        )
    from phoenix_forge.evaluate.result import gate

    w = ctx.workspace
    result = gate(ctx.config.evaluate.gate, json.loads(w.evaluation.read_text(encoding="utf-8")))
    if not result["passed"]:
        raise StageFailed(
            f"{what} is kept, but not {deed}: {'; '.join(result['failures'])}",
            fix=f"look at {w.shown(w.evaluation_files['page'])}; train longer, raise "
            "dataset.amplification, or lower the gate",
        )
