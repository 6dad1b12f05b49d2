"""The best and the worst answers of an evaluation, as the base and the tuned model gave them, side by side."""

from __future__ import annotations

from typing import Any

from phoenix_forge.evaluate.report_plots import html, path_html, text
from phoenix_forge.evaluate.report_words import (
    NOT_MEASURED,
    Result,
    count,
    decimal,
    difference,
    measured,
)

SHOWN = 10  # best answers, and worst
CLIPPED, LINES = 600, 12  # characters and lines of a question or an answer


def best(result: Result) -> list[dict[str, Any]]:
    """The answers that training brought: tuned right and base wrong, the largest gain first.

    The gain is the base's nats of the answer key less the tuned model's. Right is the choice; where a question has no
    options, that the answer written contains the answer key.
    """
    found = [
        one
        for one in result.get("answers") or []
        if _right(one, "tuned") is True and _right(one, "base") is False
    ]
    return sorted(
        found, key=lambda one: _descending(difference(_nats(one, "base"), _nats(one, "tuned")), one)
    )[:SHOWN]


def worst(result: Result) -> list[dict[str, Any]]:
    """The tuned model's wrong answers (as in `best`), those first whose answer key takes it most nats."""
    found = [one for one in result.get("answers") or [] if _right(one, "tuned") is False]
    return sorted(found, key=lambda one: _descending(_nats(one, "tuned"), one))[:SHOWN]


def best_html(result: Result) -> str:
    pairs = "".join(map(_pair, best(result)))
    return (
        "<p>The tuned model is right where the base was wrong; first where the answer key gained most nats.</p>"
        f"{pairs}"
        if pairs
        else "<p>There is no answer that the tuned model has right and the base wrong.</p>"
    )


def worst_html(result: Result) -> str:
    pairs = "".join(map(_pair, worst(result)))
    return (
        "<p>The tuned model is wrong; first where it expects the answer key least (most nats).</p>"
        f"{pairs}"
        if pairs
        else "<p>There is no wrong answer of the tuned model.</p>"
    )


def _said(one: dict[str, Any], condition: str) -> dict[str, Any]:
    return (one.get("conditions") or {}).get(condition) or {}


def _right(one: dict[str, Any], condition: str) -> bool | None:
    said = _said(one, condition)
    return said.get("contained") if said.get("right") is None else said["right"]


def _nats(one: dict[str, Any], condition: str) -> float | None:
    return _said(one, condition).get("nats")


def _descending(value: float | None, one: dict[str, Any]) -> tuple[bool, float, str]:
    """Sorts large values first, those not measured last, equal ones by id."""
    return not measured(value), -value if measured(value) else 0.0, str(one.get("id"))


def _pair(one: dict[str, Any]) -> str:
    start, end = one.get("span") or (None, None)
    where = (
        f" <span class=span>bytes {count(start)}–{count(end)}</span>"
        if measured(start) and measured(end)
        else ""
    )
    foot = f"{path_html(one['path'])}{where}" if one.get("path") else "no passage"
    kind = f", {text(one['kind'])}" if one.get("kind") else ""
    return (
        f"<article class=pair><p class=ask dir=auto>{_clipped(one.get('question'))}</p>"
        f"<p class=answer-key dir=auto><span>Answer key:</span> {_clipped(one.get('answer'))}</p>"
        f"<div class=sides>{_side(one, 'base')}{_side(one, 'tuned')}</div><footer>{foot}{kind}</footer></article>"
    )


# What of an answer is shown, and where it stands.
WRITTEN = (("chose", "choice"), ("quoted", "quote"), ("wrote", "text"))


def _side(one: dict[str, Any], condition: str) -> str:
    said, right = _said(one, condition), _right(one, condition)
    verdict = (
        html(NOT_MEASURED)
        if right is None
        else ("<i class=yes>✓</i> right" if right else "<i class=no>✗</i> wrong")
    )
    nats = f"{decimal(said['nats'])} nats" if measured(said.get("nats")) else html(NOT_MEASURED)
    shown = [(label, said[key]) for label, key in WRITTEN if said.get(key)]
    listed = "".join(f"<dt>{label}</dt><dd dir=auto>{_clipped(text)}</dd>" for label, text in shown)
    return f"<div><h4>{condition} <span>{verdict}</span><span class=sum>{nats}</span></h4><dl>{listed}</dl></div>"


def _clipped(value: object) -> str:
    if value is None:
        return html(NOT_MEASURED)
    whole = str(value).strip()
    shown = "\n".join(whole[:CLIPPED].split("\n")[:LINES])
    left = f" … ({len(whole) - len(shown):,} characters more)" if len(shown) < len(whole) else ""
    return text(shown + left) if whole else "<span class=none>nothing</span>"
