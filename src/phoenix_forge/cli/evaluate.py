"""forge evaluate: what is printed, and the questions in the forms that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phoenix_forge.cli.setup import Setup
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.report_words import learned


def summary(result: dict[str, Any]) -> str:
    """The conditions as a table, and the figures below it."""
    lines = [
        f"{'':16} {'choices':>14} {'answers contain':>18} {'evidence':>9} {'F1':>6} {'nats/token':>11}"
    ]
    for c in result["conditions"]:
        choice = _share(c["choice_accuracy"], c["choice_low"], c["choice_high"])
        contained = _share(c["contained"], c["contained_low"], c["contained_high"])
        lines.append(
            f"{c['name']:16} {choice:>14} {contained:>18} {_number(c['evidence']):>9} {_number(c['f1']):>6} "
            f"{_number(c['nats_per_token']):>11}"
        )
    gained, name = result["knowledge_gained"], learned(result).lower()
    if gained and gained["value"] is not None:
        lines.append(
            f"{name}: {gained['value']:.2f} ({gained['low']:.2f} to {gained['high']:.2f}) of what "
            f"the right passage in the prompt is worth; {result['questions']} questions, "
            f"{result['documents']} documents"
        )
    else:
        lines.append(
            f"{name}: not told apart from nothing by these questions"
            if gained
            else f"{name}: needs base and adapter"
        )
    for key in ("forgetting", "quantisation_loss"):
        if result[key] is not None:
            lines.append(
                f"{key.replace('_', ' ')}: {100 * result[key]:.1f} points of choice accuracy"
            )
    lines += [f"gate: {failure}" for failure in result["gate"]["failures"]]
    return "\n".join([*lines, f"report: {result['report']}"])


def _share(value: float | None, low: float | None, high: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ({low:.2f}–{high:.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def exported(setup: Setup, lm_eval: Path | None) -> list[str]:
    """Writes the questions as a task for lm-evaluation-harness into a folder, or else as instruction, input and
    output; returns the paths as shown."""
    from phoenix_forge.core.extensions import extension
    from phoenix_forge.evaluate.lm_eval import export
    from phoenix_forge.evaluate.questions import read

    ctx = setup.context()
    w, given = ctx.workspace, ctx.config.evaluate.questions
    source = w.at(given) if given else w.probes
    if not source.exists():
        raise UsageError(
            f"no questions at {w.shown(source)}", fix="forge dataset, or --questions FILE.jsonl"
        )
    questions = read(source)
    if lm_eval:
        return [
            w.shown(path)
            for path in export(questions, lm_eval, ctx.config.model.name, ctx.config.deploy.system)
        ]
    return [w.shown(extension("question files", "test-set")(questions, w))]
