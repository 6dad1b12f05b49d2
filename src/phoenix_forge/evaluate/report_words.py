"""How an evaluation's numbers are written, what is said about them in words, and the summary for a model card.

A value that was not measured is written as such, never as 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, TypeGuard

Result = dict[str, Any]

NOT_MEASURED = "not measured"
_CONTROLS = {i: 0x2400 + i for i in range(32) if i not in (9, 10)} | {0x7F: 0x2421}


def measured(value: object) -> TypeGuard[float]:
    """Whether it is a finite number; null, true and NaN are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def percent(share: object) -> str:
    """0.25 → 25.0 %, with a no-break space and a true minus."""
    return f"{_signed(share * 100)}\N{NO-BREAK SPACE}%" if measured(share) else NOT_MEASURED


def points(share: object, plus: str = "+", unit: str = "") -> str:
    """A difference of shares in percentage points: 0.11 → +11.0."""
    return f"{_signed(share * 100, plus)}{unit}" if measured(share) else NOT_MEASURED


def decimal(value: object, plus: str = "") -> str:
    return _signed(value, plus, 2) if measured(value) else NOT_MEASURED


def count(value: object) -> str:
    return f"{value:,.0f}" if measured(value) else NOT_MEASURED


def several(number: object, noun: str) -> str:
    """1 document, 2 documents."""
    return f"{count(number) if measured(number) else 'an unknown number of'} {noun}{'' if number == 1 else 's'}"


def duration(seconds: object) -> str:
    if not measured(seconds):
        return NOT_MEASURED
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours:,} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{seconds:.1f} s"
    )


def interval(low: object, high: object) -> str:
    """Two shares: "17.0 to 34.0 %"; empty without them."""
    return f"{_signed(low * 100)} to {percent(high)}" if measured(low) and measured(high) else ""


def difference(one: object, other: object) -> float | None:
    return one - other if measured(one) and measured(other) else None


def _signed(value: float, plus: str = "", places: int = 1) -> str:
    rounded = round(value, places)
    return f"{'−' if rounded < 0 else plus if rounded > 0 else ''}{abs(rounded):,.{places}f}"


def day(created: object) -> str:
    """2026-11-26T09:00:00+00:00 → 2026-11-26 09:00 UTC."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)\S*", str(created or ""))
    if not found:
        return str(created or "at an unknown time")
    return f"{found[1]} {found[2]}{' UTC' if str(created).endswith(('+00:00', 'Z')) else ''}"


def visible(value: object) -> str:
    """Control characters and lone surrogates made visible."""
    return str(value).translate(_CONTROLS).encode("utf-8", "backslashreplace").decode()


# -- what a result says ------------------------------------------------------------------------------------------------


KNOWLEDGE, RECALL = "Knowledge gained", "Recall of taught facts"


def rule_made(result: Result) -> bool:
    """Whether the rules that wrote the examples wrote the questions, too. An older result does not say, and is taken to
    be of such."""
    return bool(result.get("rule_made", True))


def learned(result: Result) -> str:
    """What the headline's figure is a measure of."""
    return RECALL if rule_made(result) else KNOWLEDGE


def headline(result: Result) -> str:
    """What was learned, in a sentence, and in a second one what casts doubt on it."""
    if not result.get("questions"):
        return "No question was asked, so nothing is known about what the model learned."
    gained = result.get("knowledge_gained") or {}
    value, low, high = (gained.get(key) for key in ("value", "low", "high"))
    scores = _scores(result)
    if not measured(value):
        return f"{learned(result)} was not measured{f': {scores}' if scores else ''}."
    known = interval(low, high)
    sure = f" (95\N{NO-BREAK SPACE}% interval {known})" if known else ""
    name = learned(result).lower()
    said = (
        f"Training gave the model {percent(value)} of what reading the right passage gives the base"
    )
    if rule_made(result):
        said = f"{RECALL}: training gave the model {percent(value)} of what reading the right passage gives the base"
    if value < 0:
        said = f"Training left the model below its base, with {percent(value)} {name}"
    chance_too = measured(low) and measured(high) and low <= 0 <= high
    doubt = " The interval includes 0, so this may be chance." if chance_too else ""
    return f"{said}{sure}{f': {scores}' if scores else ''}.{doubt}"


def _scores(result: Result) -> str:
    accuracy = {one["name"]: one.get("choice_accuracy") for one in result.get("conditions") or []}
    who = {"tuned": "it", "base": "the base", "base + passage": "the base with the passage"}
    shares = [
        (words, percent(accuracy[name]))
        for name, words in who.items()
        if measured(accuracy.get(name))
    ]
    if not shares:
        return ""
    (first, share), *others = shares
    rest = "".join(f", {words} in {other}" for words, other in others)
    return f"asked {several(result['questions'], 'question')} closed book, {first} chooses right in {share}{rest}"


def gguf(result: Result) -> str | None:
    """The first GGUF type of the conditions: those that are neither the base nor the tuned model, merged or not."""
    return next(
        (
            str(one["name"])
            for one in result.get("conditions") or []
            if not str(one["name"]).startswith(("base", "tuned", "merged"))
        ),
        None,
    )


def chance(result: Result) -> float | None:
    """The share right by guessing: the mean of 1 / number of options over the questions that have options."""
    shares = [1 / len(one["options"]) for one in result.get("answers") or [] if one.get("options")]
    return sum(shares) / len(shares) if shares else None


def gate(result: Result) -> str:
    verdict = result.get("gate") or {}
    passed = verdict.get("passed")
    if passed and verdict.get("limits") == {}:
        return "none is set"
    return NOT_MEASURED if passed is None else "passed" if passed else "failed"


RULES = (
    " The questions were made by the rules that made the training examples, in other wordings: this tells what of "
    "the taught facts is recalled, not what the model would answer to people's own questions."
)


def _believed(result: Result) -> str:
    """When an answer can be believed."""
    quoted = result.get("quotations")
    if not quoted or not all(map(measured, quoted.values())):
        return ""
    stands, right, others = (
        percent(quoted.get(key))
        for key in ("stands", "contained_where_it_stands", "contained_elsewhere")
    )
    return (
        f" {stands} of the tuned model's answers quote a sentence that stands in the documents; of these {right} "
        f"contain the answer key, of the others {others}."
    )


def measurement(result: Result) -> str:
    """How the figures were made."""
    guessing = chance(result)
    by_chance = (
        f" Guessing would choose right in {percent(guessing)}." if guessing is not None else ""
    )
    whose = RULES if rule_made(result) else ""
    return (
        f"{several(result.get('questions'), 'question')} from {several(result.get('documents'), 'document')}, asked "
        "closed book: no document is in the prompt, except in “+ passage” and “+ index”. Intervals are 95 % bootstrap "
        f"intervals, clustered by document. Evidence: the answer, or the sentence quoted before it, contains the "
        f"answer key.{_believed(result)}{by_chance}{whose}"
    ).replace(" %", "\N{NO-BREAK SPACE}%")


# -- the summary for a model card --------------------------------------------------------------------------------------


def markdown(result: Result) -> str:
    """The section of a model card: the headline, the conditions, what was lost, and how it was measured."""
    rows = [
        (
            one["name"],
            percent(one.get("choice_accuracy")),
            interval(one.get("choice_low"), one.get("choice_high")),
            percent(one.get("likeliest")),
            percent(one.get("contained")),
            percent(one.get("evidence")),
            percent(one.get("exact_match")),
            percent(one.get("f1")),
            decimal(one.get("nats_per_token")),
        )
        for one in result.get("conditions") or []
    ]
    table = _table(
        (
            "condition",
            "choice accuracy",
            "95 % interval",
            "likeliest",
            "answer contained",
            "evidence",
            "exact match",
            "F1",
            "nats a token",
        ),
        rows,
    )
    lost = _table(("measure", "value"), _lost(result))
    parts = [
        "## Evaluation",
        _escaped(headline(result)),
        *([table] if rows else []),
        lost,
        _escaped(measurement(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _lost(result: Result) -> Iterable[tuple[str, str]]:
    general, refusals = (result.get(key) or {} for key in ("general", "refusals"))
    quantised = f"tuned − {gguf(result)}" if gguf(result) else "no GGUF was evaluated"
    yield f"quantisation loss ({quantised})", points(result.get("quantisation_loss"), "", " points")
    asked = (
        f" ({count(general['questions'])} general questions)"
        if measured(general.get("questions"))
        else ""
    )
    yield f"forgetting{asked}", points(result.get("forgetting"), "", " points")
    for who in ("base", "tuned"):
        yield (
            f"says of invented names that it does not know them, {who}",
            percent(refusals.get(who)),
        )
    yield "gate", gate(result)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        heads,
        ["---", *["---:"] * (len(heads) - 1)],
        *([_escaped(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(value: object) -> str:
    """Text that Markdown leaves alone, on one line."""
    line = escape(visible(" ".join(str(value).split())), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)
