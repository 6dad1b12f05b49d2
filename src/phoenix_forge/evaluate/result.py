"""An evaluation as one JSON object: figures with intervals, breakdowns, every answer, the gate's verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.core.config import GateConfig
from phoenix_forge.evaluate.conditions import Condition
from phoenix_forge.evaluate.questions import Placed, options
from phoenix_forge.evaluate.rouge import rouge
from phoenix_forge.evaluate.scoring import MEASURES, NOT_ASKED, Interval, Resamples, column

BASE, BASE_INDEX, BASE_PASSAGE, TUNED, TUNED_INDEX = (
    "base",
    "base + index",
    "base + passage",
    "tuned",
    "tuned + index",
)
THIRDS = ("early", "middle", "late")
COMPARED = (
    "base",
    "base + passage",
    "tuned",
)  # of a breakdown; in the result "passage" is the second's name


def figures(placed: Sequence[Placed], conditions: Sequence[Condition]) -> dict[str, Any]:
    """What the judgements say: conditions, knowledge_gained, quantisation_loss, breakdowns, answers."""
    draws = Resamples([one.question.path or one.question.id for one in placed])
    conditions = [
        _with_passages(condition, placed) if condition.name == BASE_PASSAGE else condition
        for condition in conditions
    ]
    by_name = {condition.name: condition for condition in conditions}
    return {
        "questions": len(placed),
        "documents": len({one.question.path for one in placed} - {None}),
        "conditions": [_condition(condition, draws) for condition in conditions],
        "knowledge_gained": _gained(by_name, draws),
        "quantisation_loss": _lost(by_name),
        "quotations": _quotations(by_name.get(TUNED)),
        "rouge": {
            name: rouge(
                [one.text or "" for one in by_name[name].judged],
                [one.question.answer for one in placed],
            )
            for name in (BASE, TUNED)
            if name in by_name
        },
        "breakdowns": {kind: _groups(placed, by_name, group) for kind, group in GROUPINGS.items()},
        "answers": [_answer(i, one, conditions) for i, one in enumerate(placed)],
    }


def _with_passages(condition: Condition, placed: Sequence[Placed]) -> Condition:
    """Without the judgements of questions that name no document: nothing stood before those."""
    judged = [
        own if one.passages else NOT_ASKED
        for own, one in zip(condition.judged, placed, strict=True)
    ]
    return replace(condition, judged=judged)


def _condition(condition: Condition, draws: Resamples) -> dict[str, Any]:
    found: dict[str, Any] = {"name": condition.name}
    for measure in ("choice_accuracy", "contained"):
        interval = draws.mean(column(condition.judged, measure))
        found |= {
            measure: _rounded(interval and interval.value),
            f"{measure.partition('_')[0]}_low": _rounded(interval and interval.low),
            f"{measure.partition('_')[0]}_high": _rounded(interval and interval.high),
        }
    for measure in ("likeliest", "exact_match", "f1", "nats_per_token", "evidence"):
        interval = draws.mean(column(condition.judged, measure))
        found[measure] = _rounded(interval and interval.value)
    return found | {"seconds": condition.seconds, "tokens": condition.tokens}


def _gained(by_name: dict[str, Condition], draws: Resamples) -> dict[str, Any] | None:
    """By each measure; `value` by choice accuracy, which guessing and wording bear on least."""
    if any(name not in by_name for name in COMPARED):
        return None
    by = {}
    for measure in MEASURES:
        base, passage, tuned = (column(by_name[name].judged, measure) for name in COMPARED)
        by[measure] = _interval(draws.gained(base, passage, tuned))
    return {**(by[MEASURES[0]] or {"value": None, "low": None, "high": None}), "by": by}


def _lost(by_name: dict[str, Condition]) -> float | None:
    """Choice accuracy of the tuned model less the first GGUF's."""
    first = next((c for name, c in by_name.items() if name not in CONDITIONS), None)
    if first is None or TUNED not in by_name:
        return None
    return _rounded(_mean(by_name[TUNED]) - _mean(first))


def _quotations(tuned: Condition | None) -> dict[str, float | None] | None:
    """How many of the tuned model's answers quote a sentence that stands in the documents, and how many contain the
    answer key where it does and where it does not. None where the model does not quote."""
    judged = [one for one in tuned.judged if one.stands is not None] if tuned else []
    if not judged:
        return None
    stands, contained = column(judged, "stands") > 0, column(judged, "contained")
    return {
        "stands": _rounded(float(stands.mean())),
        "contained_where_it_stands": _rounded(_average(contained[stands])),
        "contained_elsewhere": _rounded(_average(contained[~stands])),
    }


CONDITIONS = (BASE, BASE_INDEX, BASE_PASSAGE, TUNED, TUNED_INDEX, "merged")


def _mean(condition: Condition) -> float:
    values = column(condition.judged, "choice_accuracy")
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _third(one: Placed) -> str | None:
    return None if one.position is None else THIRDS[min(2, int(one.position * 3))]


def _folder(one: Placed) -> str | None:
    """The first two folders of its path."""
    return (
        None
        if one.question.path is None
        else "/".join(Path(one.question.path).parent.parts[:2]) + "/"
    )


GROUPINGS: dict[str, Callable[[Placed], str | None]] = {
    "position": _third,
    "folder": _folder,
    "kind": lambda one: one.question.kind,
}


def _groups(
    placed: Sequence[Placed], by_name: dict[str, Condition], group: Callable[[Placed], str | None]
) -> list[dict[str, Any]]:
    """Choice accuracy of each group's questions, and how many of the tuned model's answers contain the answer key; the
    thirds in their order, else the largest group first."""
    members: dict[str, list[int]] = {}
    for i, one in enumerate(placed):
        if (name := group(one)) is not None:
            members.setdefault(name, []).append(i)
    order = sorted(
        members,
        key=lambda name: (THIRDS.index(name) if name in THIRDS else 3, -len(members[name]), name),
    )
    values = {
        name: column(by_name[name].judged, "choice_accuracy")
        for name in COMPARED
        if name in by_name
    }
    found = {key.rpartition(" ")[2]: own for key, own in values.items()}
    if TUNED in by_name:
        found |= {key: column(by_name[TUNED].judged, key) for key in ("likeliest", "contained")}
    return [
        {
            "group": name,
            "questions": len(members[name]),
            **{key: _rounded(_average(own[members[name]])) for key, own in found.items()},
        }
        for name in order
    ]


def _average(values: np.ndarray) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None


def _answer(i: int, one: Placed, conditions: Sequence[Condition]) -> dict[str, Any]:
    q = one.question
    return {
        "id": q.id,
        "kind": q.kind,
        "question": q.question,
        "answer": q.answer,
        "path": q.path,
        "span": list(q.span) if q.span else None,
        "position": _rounded(one.position),
        "options": options(q) if q.distractors else [],
        "conditions": {
            c.name: c.judged[i].record() | {"nats": _rounded(c.judged[i].nats)} for c in conditions
        },
    }


def coverage(
    card: dict[str, Any], placed: Sequence[Placed], tuned: Condition | None
) -> list[dict[str, Any]]:
    """Each document of the dataset's card with how many questions were asked of it and answered right."""
    asked: dict[str, list[bool]] = {}
    for i, one in enumerate(placed):
        if one.question.path and tuned:
            asked.setdefault(one.question.path, []).append(bool(tuned.judged[i].right))
    return [
        {
            "path": path,
            "tokens": own["tokens"],
            "taught": own["taught"],
            "questions": len(asked.get(path, [])),
            "right": sum(asked.get(path, [])),
        }
        for path, own in card.get("coverage_by_file", {}).items()
    ]


# -- the gate ----------------------------------------------------------------------------------------------------------


def gate(config: GateConfig, result: dict[str, Any]) -> dict[str, Any]:
    """Whether the figures keep to evaluate.gate, and what does not. A figure that is missing does not, nor does
    knowledge gained that rule-made questions measured: that is recall of what was taught."""
    gained = None if result.get("rule_made") else (result["knowledge_gained"] or {}).get("value")
    rows = (
        ("knowledge_gained", gained, config.knowledge_gained, 1),
        ("forgetting", result["forgetting"], config.forgetting, -1),
        ("quantisation_loss", result["quantisation_loss"], config.quantisation_loss, -1),
    )
    failures = []
    for name, found, limit, sign in rows:
        if limit is not None and (found is None or sign * found < sign * limit):
            said = f"is {found:.3f}" if found is not None else "was not measured"
            if name == "knowledge_gained" and result.get("rule_made"):
                said = "was only asked by rules, which measure recall of taught facts"
            failures.append(
                f"{name.replace('_', ' ')} {said}; evaluate.gate.{name} asks for at "
                f"{'least' if sign > 0 else 'most'} {limit:g}"
            )
    limits = {name: limit for name, _, limit, _ in rows if limit is not None}
    return {"passed": not failures, "failures": failures, "limits": limits}


def previous(path: Path) -> dict[str, Any] | None:
    """What an earlier result said, to compare with; None where there is none that can be read."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return {
            "created": before["created"],
            "knowledge_gained": (before["knowledge_gained"] or {}).get("value"),
            "forgetting": before["forgetting"],
            "conditions": [
                {key: c[key] for key in ("name", "choice_accuracy", "contained")}
                for c in before["conditions"]
            ],
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    return (
        {name: _rounded(value) for name, value in interval._asdict().items()} if interval else None
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 4)
