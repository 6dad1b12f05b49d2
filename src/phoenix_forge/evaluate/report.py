"""The evaluation as one HTML page: evaluation.json, drawn and told. Its summary for a model card is in report_words.

The page is self-contained: inline CSS and SVG, nothing fetched, light or dark as the reader has it. It is complete
without its script, which only sorts tables.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from phoenix_forge.core.fsio import human
from phoenix_forge.evaluate.report_answers import best_html, worst_html
from phoenix_forge.evaluate.report_plots import (
    DOTS_KEY,
    conditions_plot,
    coverage_map,
    dots,
    html,
    path_html,
    text,
)
from phoenix_forge.evaluate.report_style import PLOTS_CSS, SORT
from phoenix_forge.evaluate.report_words import (
    NOT_MEASURED,
    Result,
    chance,
    count,
    day,
    decimal,
    difference,
    duration,
    gate,
    gguf,
    headline,
    interval,
    learned,
    markdown,
    measured,
    measurement,
    percent,
    points,
    several,
)
from phoenix_forge.examples.report_style import CSS

__all__ = ["markdown", "page"]

ROWS = 200  # of a table
ROUGE = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}


def page(result: Result, loss_curve: bytes | None) -> str:
    """The whole page; `loss_curve` is a PNG."""
    name = text(result.get("model") or "model")
    sections = (
        ("conditions", "How much it answers", _conditions(result)),
        ("knowledge", learned(result), _knowledge(result)),
        ("change", "Since the last evaluation", _change(result)),
        ("groups", "Where it learned", _breakdowns(result)),
        ("coverage", "Document by document", _coverage(result)),
        ("best", "Best answers", best_html(result)),
        ("worst", "Worst answers", worst_html(result)),
        ("kept", "What training must not break", _kept(result)),
        ("loss", "Training loss", _curve(loss_curve)),
        ("costs", "What it cost", _costs(result)),
        ("method", "How it was measured", _method(result)),
    )
    there = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{key}">{title}</a>' for key, title, _ in there)
    body = "".join(
        f'<section id="{key}"><h2>{title}</h2>{content}</section>' for key, title, content in there
    )
    base = text(result.get("base") or "an unknown base")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}: evaluation report</title><style>{CSS}\n{PLOTS_CSS}</style></head><body>"
        f"<header><p class=over>Forge evaluation report</p><h1>{name}</h1><p class=lead>"
        f"tuned from <code>{base}</code>, {text(day(result.get('created')))}</p></header>"
        f"<main><p class=verdict>{text(headline(result))}</p>{_tiles(result)}{_failures(result)}"
        f"<nav>{links}</nav>{body}</main><script>{SORT}</script></body></html>\n"
    )


# -- tiles -------------------------------------------------------------------------------------------------------------


def _tiles(result: Result) -> str:
    gained, general, refusals = (
        result.get(key) or {} for key in ("knowledge_gained", "general", "refusals")
    )
    costs, before = result.get("costs") or {}, result.get("previous") or {}
    spread = interval(gained.get("low"), gained.get("high"))
    failures = (result.get("gate") or {}).get("failures") or []
    change = points(difference(gained.get("value"), before.get("knowledge_gained")), unit=" points")
    tiles = (
        (
            learned(result),
            percent(gained.get("value")),
            f"95\N{NO-BREAK SPACE}% interval {spread}" if spread else "",
        ),
        ("Gate", gate(result), f"{len(failures)} not met, see below" if failures else ""),
        (
            "Forgetting",
            points(result.get("forgetting"), "", " points"),
            f"general questions: {percent(general.get('base'))} before, {percent(general.get('tuned'))} after"
            if general
            else "",
        ),
        (
            "Quantisation loss",
            points(result.get("quantisation_loss"), "", " points"),
            f"choice accuracy, tuned − {gguf(result)}" if gguf(result) else "no GGUF was evaluated",
        ),
        (
            "Gained since last time",
            change if before else "first time",
            f"{percent(before.get('knowledge_gained'))} on {day(before.get('created'))}"
            if before
            else "no earlier evaluation",
        ),
        (
            "Says it does not know",
            percent(refusals.get("tuned")),
            f"of invented names; the base {percent(refusals.get('base'))}"
            if refusals
            else "of invented names",
        ),
        (
            "Questions",
            count(result.get("questions")),
            f"from {several(result.get('documents'), 'document')}",
        ),
        ("Time", duration(costs.get("seconds")), costs.get("device") or ""),
    )
    return (
        "<dl class=figures>"
        + "".join(
            f"<div><dt>{label}</dt><dd>{html(value)}</dd>{f'<p>{text(note)}</p>' if note else ''}</div>"
            for label, value, note in tiles
        )
        + "</dl>"
    )


def _failures(result: Result) -> str:
    failures = (result.get("gate") or {}).get("failures") or []
    listed = "".join(f"<li>{text(failure)}</li>" for failure in failures)
    return f"<div class=alert><p>The gate failed:</p><ul>{listed}</ul></div>" if listed else ""


# -- tables ------------------------------------------------------------------------------------------------------------


def _cell(written: str, style: str = "n") -> str:
    return f"<td class='{style}'>{html(written)}</td>"


def _sorted(written: str, key: object, style: str = "n") -> str:
    """A cell of a table that the script sorts, by `key`; what was not measured comes last."""
    return (
        f'<td class="{style}" data-v="{f"{key:.6f}" if measured(key) else ""}">{html(written)}</td>'
    )


def _interval(of: dict[str, Any], prefix: str = "", style: str = "n iv") -> str:
    return f"<td class='{style}'>{text(interval(of.get(f'{prefix}low'), of.get(f'{prefix}high')))}</td>"


def _head(label: object) -> str:
    return f"<th scope=row>{text(label)}</th>"


# First character of a column's head → its class. A narrow screen leaves out the second kind, which is told elsewhere.
HEADS = {">": "n", "=": "n dup", "~": "dots", "*": "free"}


def _table(heads: Sequence[str], rows: Sequence[str], style: str = "") -> str:
    """`rows` are cells in HTML, `heads` as in HEADS."""
    if not rows:
        return ""
    head = "".join(
        f"<th class='{HEADS.get(head[:1], '')}'>{head.lstrip('>=~*')}</th>" for head in heads
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows[:ROWS])
    left = (
        f"<p class=note>And {len(rows) - ROWS:,} more, in evaluation.json.</p>"
        if len(rows) > ROWS
        else ""
    )
    return (
        f"<div class=scroll><table class='num {style}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"</div>{left}"
    )


def _conditions(result: Result) -> str:
    conditions = result.get("conditions") or []
    if not conditions:
        return "<p>No condition was measured.</p>"
    rows = [
        _head(one["name"])
        + _cell(percent(one.get("choice_accuracy")), "n dup")
        + _interval(one, "choice_", "n iv dup")
        + _cell(percent(one.get("likeliest")))
        + _cell(percent(one.get("contained")), "n dup")
        + _interval(one, "contained_", "n iv dup")
        + _cell(percent(one.get("evidence")))
        + _cell(percent(one.get("exact_match")))
        + _cell(percent(one.get("f1")))
        + _cell(decimal(one.get("nats_per_token")))
        + _cell(duration(one.get("seconds")))
        + _cell(count(one.get("tokens")))
        for one in conditions
    ]
    heads = (
        "Condition",
        "=Choice",
        "=95&nbsp;% interval",
        ">Likeliest",
        "=Contained",
        "=95&nbsp;% interval",
        ">Evidence",
        ">Exact",
        ">F1",
        ">Nats a token",
        ">Time",
        ">Tokens",
    )
    return (
        "<p>Each question is asked alone, as a choice between options and as a question to answer freely. “+ passage” "
        "has the right passage in the prompt, the most that reading can give; “+ index” what a search found.</p>"
        f"{conditions_plot(conditions, chance(result))}{_table(heads, rows, 'wide')}"
        "<p class=note>Choice: the option that gains most by the question. Likeliest: the most probable option is the "
        "right one; what a tuned model says often, it can choose less well than say. Contained: the answer key occurs "
        "in what was written. Evidence: it occurs there, or in the sentence quoted before it. Nats a token: of the "
        "answer key; lower is better.</p>"
    )


MEASURES = {
    "choice_accuracy": "Choice accuracy",
    "likeliest": "Likeliest option right",
    "contained": "Answer contained",
    "nats_per_token": "Nats a token",
}


def _knowledge(result: Result) -> str:
    by = (result.get("knowledge_gained") or {}).get("by") or {}
    rows = [
        _head(label) + _cell(percent(of.get("value"))) + _interval(of)
        for key, label in MEASURES.items()
        for of in [by.get(key) or {}]
    ]
    return (
        "<p>(tuned − base) / (base + passage − base): 0&nbsp;% is what the base knew, 100&nbsp;% as good as having the "
        "passage at hand. The figure at the top is by choice accuracy.</p>"
        f"{_table(('By', '>Gained', '>95&nbsp;% interval'), rows, 'small')}"
    )


def _change(result: Result) -> str:
    before = result.get("previous")
    if not before:
        return ""
    gained = (result.get("knowledge_gained") or {}).get("value")
    totals = [
        _head(label) + _changed(old, new)
        for label, old, new in (
            (learned(result), before.get("knowledge_gained"), gained),
            ("Forgetting (less is better)", before.get("forgetting"), result.get("forgetting")),
        )
    ]
    then, now = (
        {one["name"]: one for one in of.get("conditions") or []} for of in (before, result)
    )
    rows = [
        _head(name)
        + "".join(
            _changed(then.get(name, {}).get(key), now.get(name, {}).get(key), "n dup")
            for key in ("choice_accuracy", "contained")
        )
        for name in now | then
    ]
    heads = (
        "Condition",
        ">Choice before",
        "=Now",
        ">Change",
        ">Contained before",
        "=Now",
        ">Change",
    )
    return (
        f"<p>The last one was made on {text(day(before.get('created')))}. Changes are in points.</p>"
        f"{_table(('', '>Before', '>Now', '>Change'), totals, 'small')}{_table(heads, rows, 'small')}"
    )


def _changed(old: object, new: object, style: str = "n") -> str:
    return _cell(percent(old)) + _cell(percent(new), style) + _cell(points(difference(new, old)))


def _breakdowns(result: Result) -> str:
    found = result.get("breakdowns") or {}
    titles = (
        ("position", "By position in the file"),
        ("folder", "By folder"),
        ("kind", "By kind of question"),
    )
    tables = "".join(
        f"<h3>{title}</h3>{_groups(found[key])}" for key, title in titles if found.get(key)
    )
    said = (
        "<p>Choice accuracy; gain in points; the tuned model’s answers that contain the answer key. Groups of few "
        "questions say little.</p>"
    )
    return (
        f"{said}{DOTS_KEY}{tables}"
        if tables
        else f"<p>Groups of questions: {html(NOT_MEASURED)}.</p>"
    )


def _groups(groups: Sequence[dict[str, Any]]) -> str:
    def row(one: dict[str, Any]) -> str:
        base, passage, tuned = (one.get(key) for key in ("base", "passage", "tuned"))
        gain = difference(tuned, base)
        name = "top folder" if one["group"] == "/" else text(one["group"]).replace("/", "/<wbr>")
        return (
            f"<th scope=row class=free>{name}</th><td class=dots>{dots(base, passage, tuned)}</td>"
            + _sorted(count(one.get("questions")), one.get("questions"))
            + _sorted(percent(base), base)
            + _sorted(percent(passage), passage)
            + _sorted(percent(tuned), tuned)
            + _sorted(points(gain), gain, "n dup")
            + _sorted(percent(one.get("contained")), one.get("contained"))
        )

    heads = (
        "*Group",
        "~0 to 100&nbsp;%",
        ">Asked",
        ">Base",
        ">Passage",
        ">Tuned",
        "=Gain",
        ">Contained",
    )
    return _table(heads, [row(one) for one in groups], "groups sort")


def _coverage(result: Result) -> str:
    documents = result.get("coverage") or []
    if not documents:
        return f"<p>Coverage: {html(NOT_MEASURED)}.</p>"
    asked = sorted(
        (one for one in documents if one.get("questions")), key=lambda one: str(one["path"])
    )
    rows = [
        f'<td class=free data-v="{text(one["path"])}">{path_html(one["path"])}</td>'
        + "".join(
            _sorted(count(one.get(key)), one.get(key))
            for key in ("tokens", "taught", "questions", "right")
        )
        for one in asked
    ]
    listed = _table(("*Document", ">Tokens", ">Taught", ">Asked", ">Right"), rows, "sort")
    few = several(len(asked), "document")
    table = f"<details><summary>The same as a table <span>{few} with questions</span></summary>{listed}</details>"
    return (
        f"<p>{several(len(documents), 'document')}, a block each, as long as it has tokens; its colour is the share of "
        "its questions that the tuned model chose right. Hold the pointer over one for its name.</p>"
        f"{coverage_map(documents)}{table if listed else ''}"
    )


# -- forgetting, loss, costs -------------------------------------------------------------------------------------------

TEXTS = {
    "trained": "Documents trained on",
    "held_out": "Documents held out",
    "neutral": "Other text",
}


def _kept(result: Result) -> str:
    general, refusals, bits = (
        result.get(key) or {} for key in ("general", "refusals", "bits_per_byte")
    )
    rows = [
        _head(label) + _cell(count(of.get("questions"))) + _changed(of.get("base"), of.get("tuned"))
        for label, of in (
            ("General questions, right", general),
            ("Invented names, not known", refusals),
        )
    ]
    texts = [
        _head(label)
        + _cell(decimal(base))
        + _cell(decimal(tuned))
        + _cell(decimal(difference(tuned, base), "+"))
        for key, label in TEXTS.items()
        for of in [bits.get(key) or {}]
        for base, tuned in [(of.get("base"), of.get("tuned"))]
    ]
    return (
        "<p>General questions are about nothing in the documents: what is lost there is the forgetting. Invented names "
        "stand for nothing, and the answer is not to know them. Changes are in points.</p>"
        f"{_table(('', '>Asked', '>Base', '>Tuned', '>Change'), rows, 'small')}<h3>Bits per byte</h3>"
        "<p>How well each model predicts a text; lower is better. Other text should stay where it was.</p>"
        f"{_table(('Text', '>Base', '>Tuned', '>Change'), texts, 'small')}{_rouge(result)}"
    )


def _rouge(result: Result) -> str:
    """The overlap of words, for those who compare with figures measured so."""
    found = result.get("rouge") or {}
    rows = [
        _head(name)
        + "".join(_cell(decimal((found.get(model) or {}).get(kind))) for model in ("base", "tuned"))
        for kind, name in ROUGE.items()
        if any(kind in (own or {}) for own in found.values())
    ]
    table = _table(("", ">Base", ">Tuned"), rows, "small")
    return table and (
        "<h3>ROUGE</h3><p>Overlap of words with the answer keys, as older evaluations have it. It says "
        f"little of short answers.</p>{table}"
    )


def _curve(drawn: bytes | None) -> str:
    if not drawn:
        return "<p>There is no loss curve.</p>"
    encoded = base64.b64encode(drawn).decode()
    return f'<figure class=curve><img src="data:image/png;base64,{encoded}" alt="Training loss by step"></figure>'


COSTS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("device", "Device", str),
    ("seconds", "Time", duration),
    ("peak_rss_bytes", "Memory at its peak", human),
    ("peak_vram_bytes", "GPU memory at its peak", human),
    ("energy_joules", "Energy", lambda joules: f"{joules:,.0f} J ({joules / 3600:.2f} Wh)"),
)


def _costs(result: Result) -> str:
    costs = result.get("costs") or {}
    rows = [
        _head(label)
        + _cell(written(value) if measured(value) or isinstance(value, str) else NOT_MEASURED)
        for key, label, written in COSTS
        for value in [costs.get(key)]
    ]
    return f"<p>This evaluation; each condition's part is in its row above.</p>{_table(('', '>'), rows, 'small')}"


def _method(result: Result) -> str:
    skipped = result.get("skipped") or {}
    listed = "".join(f"<li>{text(why)}: {count(number)}</li>" for why, number in skipped.items())
    left = (
        f"<p>Questions not asked:</p><ul>{listed}</ul>"
        if listed
        else "<p>No question was left out.</p>"
    )
    versions = ", ".join(
        f"{text(name)} {text(version or 'unknown')}"
        for name, version in (result.get("versions") or {}).items()
    )
    return f"<p>{text(measurement(result))}</p>{left}<p class=note>{versions}</p>"
