"""What the evaluation's page draws, and how it writes text.

Drawings are SVG with places in per cent, so text and marks keep their size at any width. Each series has a colour and a
shape of its own. A value that was not measured is drawn nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

from phoenix_forge.evaluate.report_words import (
    NOT_MEASURED,
    count,
    interval,
    measured,
    percent,
    several,
    visible,
)

CELLS = (
    20_000  # documents drawn one by one; above it, those without a question are one cell a folder
)
GROUPS = 48  # folders of the map, before deeper ones are put together
MAP, LONGEST = (
    44_000,
    1_000,
)  # widths in px: of all cells of the map together, and of the longest one
NONE = f"<span class=none>{NOT_MEASURED}</span>"


def text(value: object) -> str:
    """Escaped for HTML, in text and in attributes."""
    return escape(visible(value), quote=True)


def html(written: str) -> str:
    """A written number as HTML: what was not measured looks different."""
    return NONE if written == NOT_MEASURED else text(written)


def path_html(path: object) -> str:
    """A path that may break after each of its parts."""
    return f"<code>{text(path).replace('/', '/<wbr>')}</code>"


# -- the conditions ----------------------------------------------------------------------------------------------------


def conditions_plot(conditions: Sequence[dict[str, Any]], guessing: float | None) -> str:
    """A row a condition: a blue dot for choice accuracy, an orange diamond for answers contained, with intervals."""
    ticks = "".join(
        f'<text class=tick x="{at}%" y="16" text-anchor="{anchor}">{at}\N{NO-BREAK SPACE}%</text>'
        for at, anchor in (
            (0, "start"),
            (25, "middle"),
            (50, "middle"),
            (75, "middle"),
            (100, "end"),
        )
    )
    rows = "".join(_condition(one, guessing) for one in conditions)
    return (
        f"{_conditions_key(guessing)}<div class=conditions>{rows}<div class='condition axis' aria-hidden=true>"
        f"<svg class=plot>{ticks}</svg></div></div>"
    )


def _conditions_key(guessing: float | None) -> str:
    marks = [
        (
            f"<svg aria-hidden=true>{_interval(0, 1, 7, 'c')}{_dot(0.5, 7)}</svg>",
            "choice accuracy, 95 % interval",
        ),
        (
            f"<svg aria-hidden=true>{_interval(0, 1, 7, 'f')}{_diamond(0.5, 7)}</svg>",
            "answer contained, 95 % interval",
        ),
    ]
    if guessing is not None:
        line = "<svg aria-hidden=true><line class=chance x1=0 x2='100%' y1=7 y2=7 /></svg>"
        marks.append((line, f"choices by chance: {percent(guessing)}"))
    return "<ul class=key>" + "".join(f"<li>{mark}{label}</li>" for mark, label in marks) + "</ul>"


def _condition(one: dict[str, Any], guessing: float | None) -> str:
    lines = "".join(
        f'<line class=grid x1="{at}%" x2="{at}%" y1=0 y2="100%" />' for at in range(0, 101, 25)
    )
    if guessing is not None:
        lines += f'<line class=chance x1="{_at(guessing)}" x2="{_at(guessing)}" y1=0 y2="100%" />'
    series = (
        ("choice", "choice_accuracy", 18, "c", _dot),
        ("contained", "contained", 36, "f", _diamond),
    )
    marks, values = "", ""
    for name, key, y, style, mark in series:
        low, high, value = one.get(f"{name}_low"), one.get(f"{name}_high"), one.get(key)
        if measured(value):
            marks += _interval(low, high, y, style) + mark(value, y)
            values += f"<b>{percent(value)}</b><span class=iv>{interval(low, high)}</span>"
        else:
            values += NONE
    return (
        f"<div class=condition><div class=name>{text(one.get('name', ''))}</div>"
        f"<svg class=plot aria-hidden=true>{lines}{marks}</svg><div class=values>{values}</div></div>"
    )


def _at(share: float) -> str:
    return f"{share:.2%}"


def _interval(low: object, high: object, y: int, style: str) -> str:
    if not (measured(low) and measured(high)):
        return ""
    return f'<line class="iv {style}" x1="{_at(low)}" x2="{_at(high)}" y1={y} y2={y} />'


def _dot(share: float, y: int, style: str = "c") -> str:
    return f'<circle class={style} cx="{_at(share)}" cy={y} r=6 />'


def _diamond(share: float, y: int) -> str:
    return (
        f'<svg x="{_at(share)}" y={y} overflow=visible><path class=f d="M0-7 7 0 0 7-7 0z" /></svg>'
    )


# -- base, passage and tuned in a row of a table -----------------------------------------------------------------------

DOTS_KEY = (
    "<ul class=key><li><svg aria-hidden=true><circle class=hollow cx=13 cy=7 r=5 /></svg>base</li>"
    "<li><svg aria-hidden=true><line class=most-given x1=13 x2=13 y1=0 y2=14 /></svg>base + passage</li>"
    "<li><svg aria-hidden=true><circle class=c cx=13 cy=7 r=6 /></svg>tuned</li></ul>"
)


def dots(base: object, passage: object, tuned: object) -> str:
    """Three shares on one line from 0 to 100 %."""
    drawn = '<line class=grid x1=0 x2="100%" y1=8 y2=8 />'
    if measured(base) and measured(tuned):
        drawn += f'<line class=way x1="{_at(base)}" x2="{_at(tuned)}" y1=8 y2=8 />'
    if measured(passage):
        drawn += f'<line class=most-given x1="{_at(passage)}" x2="{_at(passage)}" y1=1 y2=15 />'
    if measured(base):
        drawn += f'<circle class=hollow cx="{_at(base)}" cy=8 r=5 />'
    return f"<svg aria-hidden=true>{drawn}{_dot(tuned, 8) if measured(tuned) else ''}</svg>"


# -- the coverage map --------------------------------------------------------------------------------------------------

LEVELS = {
    "all": "all questions right",
    "most": "half or more right",
    "some": "fewer than half right",
    "wrong": "none right",
    "unmeasured": f"asked, {NOT_MEASURED}",
    "unasked": "no question",
}


def level(asked: object, right: object) -> str:
    """Key of LEVELS for one document or several."""
    if asked == 0:
        return "unasked"
    if not measured(asked) or not measured(right):
        return "unmeasured"
    return (
        "all" if right >= asked else "most" if right * 2 >= asked else "some" if right else "wrong"
    )


def _told(document: dict[str, Any]) -> str:
    tokens, taught = document.get("tokens"), document.get("taught")
    part = (
        f" ({count(taught)} taught)"
        if measured(taught) and measured(tokens) and taught < tokens
        else ""
    )
    share = _share(document.get("questions"), document.get("right"))
    return f"{document['path']}: {count(tokens)} tokens{part}, {share}"


def _share(asked: object, right: object) -> str:
    if asked == 0:
        return "no question"
    found = f"{count(right)} of {several(asked, 'question')} right"
    return (
        found
        if measured(asked) and measured(right)
        else f"{several(asked, 'question')}, {NOT_MEASURED}"
    )


def coverage_map(documents: Sequence[dict[str, Any]]) -> str:
    """A cell a document, as long as it has tokens, in its folder; its colour is the share of its questions that the
    tuned model got right."""
    sizes = [_tokens(one) for one in documents]
    scale = max(sum(sizes) / MAP, max(sizes, default=0) / LONGEST, 1.0)
    levels = [level(one.get("questions"), one.get("right")) for one in documents]
    key = "".join(
        f"<li><i class={name}></i>{label} <span>{levels.count(name):,}</span></li>"
        for name, label in LEVELS.items()
        if name in levels
    )
    folders = "".join(
        _folder(name, members, scale, len(documents) > CELLS)
        for name, members in _folders(documents)
    )
    return f"<ul class=legend>{key}</ul><div class=map>{folders}</div>"


def _tokens(document: dict[str, Any]) -> int:
    """What a cell's size is taken from."""
    tokens = document.get("tokens")
    return int(tokens) if measured(tokens) else 0


def _folders(documents: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Documents by folder and path; folders are told apart only as deep as keeps them GROUPS at most."""
    parts = {str(one["path"]): str(one["path"]).split("/")[:-1] for one in documents}
    depth = max(map(len, parts.values()), default=0)
    while depth > 1 and len({tuple(folder[:depth]) for folder in parts.values()}) > GROUPS:
        depth -= 1
    grouped = defaultdict(list)
    for one in sorted(documents, key=lambda one: str(one["path"])):
        grouped["".join(f"{part}/" for part in parts[str(one["path"])][:depth])].append(one)
    return sorted(grouped.items())


def _sum(documents: Sequence[dict[str, Any]], key: str) -> float | None:
    """Of all documents that were or may have been asked about; None where one was not measured."""
    values = [one.get(key) for one in documents if one.get("questions") != 0]
    known = [value for value in values if measured(value)]
    return sum(known) if len(known) == len(values) else None


def _folder(name: str, documents: list[dict[str, Any]], scale: float, crowded: bool) -> str:
    drawn = [one for one in documents if one.get("questions") != 0 or not crowded]
    cells = [
        (level(one.get("questions"), one.get("right")), _tokens(one), _told(one)) for one in drawn
    ]
    if rest := len(documents) - len(drawn):
        tokens = sum(_tokens(one) for one in documents if one.get("questions") == 0)
        cells.append(
            (
                "unasked",
                tokens,
                f"{name}: {tokens:,} tokens, {several(rest, 'document')} without a question",
            )
        )
    blocks = "".join(
        f'<i class={style} style="width:{min(max(tokens / scale, 4), LONGEST):.0f}px" '
        f'title="{text(title)}"></i>'
        for style, tokens, title in cells
    )
    files, share = (
        several(len(documents), "document"),
        _share(_sum(documents, "questions"), _sum(documents, "right")),
    )
    return (
        f"<div class=folder><h3>{text(name or 'top folder')}</h3><p>{files}, {share}</p>"
        f"<div class=cells>{blocks}</div></div>"
    )
