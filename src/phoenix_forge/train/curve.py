"""The loss curve as a PNG, and one HTML page with it and a training's figures: the dataset report's sibling."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phoenix_forge.core.fsio import atomic_file, human, write_text
from phoenix_forge.examples.report_style import CSS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, DPI = (12.0, 6.6), 200  # inches; 2,400 px wide, for screens that show 1,200 of them as 2,400
FEW = 12  # points that are drawn as they are: a smoothed line would only repeat them
ROWS = 200  # of the table of validation losses
NOTHING = "No step has been logged yet, so there is no curve."
# The page's own blue and orange, which are told apart with any colour vision.
DARK, LIGHT, ORANGE, INK, SOFT, LINE = (
    "#0072b2",
    "#9cc3de",
    "#d55e00",
    "#1c2127",
    "#5b6570",
    "#e1e3e0",
)
STYLE: dict[Any, Any] = {
    "font.size": 13,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "text.parse_math": False,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.15,
    "figure.constrained_layout.h_pad": 0.12,
}
PAGE_CSS = """
.figures{display:flex;flex-wrap:wrap}.figures div{flex:1 1 200px}
.curve{margin:0}.curve img{display:block;width:100%;height:auto;background:#fff;border:1px solid var(--line);
border-radius:8px}
.losses{width:auto}.losses th,.losses td{padding-right:28px;font-variant-numeric:tabular-nums}
""".strip()


def write_curve(metrics: Path, png: Path, html: Path, title: str, figures: dict[str, Any]) -> None:
    """Draws metrics.jsonl. Both files are always written, so neither can be left over from another training: without a
    logged step they say so. The same inputs give the same bytes."""
    curve = read_curve(metrics)
    drawn = _png(curve, title)
    with atomic_file(png) as handle:
        handle.write(drawn)
    write_text(html, _page(curve, drawn, title, figures))


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """Steps in order, each once, and a value a step, which may be no number."""

    steps: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        return np.isfinite(self.values)


@dataclass(frozen=True)
class Curve:
    loss: Series
    eval_loss: Series
    learning_rate: Series


def read_curve(metrics: Path) -> Curve:
    lines = [
        line
        for text in (metrics.read_bytes().splitlines() if metrics.exists() else [])
        if (line := _line(text))
    ]
    return Curve(*(_series(lines, key) for key in ("loss", "eval_loss", "learning_rate")))


def _line(text: bytes) -> dict[str, Any] | None:
    """None for a line that a kill cut short."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def _series(lines: list[dict[str, Any]], key: str) -> Series:
    """Of a step that is there twice the last line counts."""
    found = dict(
        sorted(
            {
                line["step"]: line[key] for line in lines if isinstance(line.get(key), int | float)
            }.items()
        )
    )
    return Series(np.array([*found], dtype=float), np.array([*found.values()], dtype=float))


def smoothed(values: np.ndarray) -> np.ndarray:
    """A straight line fitted around each point with Gaussian weights; no value where there is none.

    A plain average lags behind a loss that falls fast, and bends at both ends.
    """
    reach = min(
        max(len(values) / 40, 1.5), 250.0
    )  # a wider one takes seconds and shows nothing more
    half = min(math.ceil(3 * reach), (len(values) - 1) // 2)
    away = np.arange(-half, half + 1)
    weight = np.exp(-0.5 * (away / reach) ** 2)
    there = np.isfinite(values)
    known = np.where(there, values, 0.0)

    def around(of: np.ndarray, power: int) -> np.ndarray:
        return np.convolve(of, weight * (-away) ** power, mode="same")

    n, x, xx = (around(there.astype(float), power) for power in (0, 1, 2))
    y, xy = around(known, 0), around(known, 1)
    alone = n * xx - x * x < 1e-9  # one point in reach: no slope
    fitted = np.where(
        alone, y / np.maximum(n, 1e-9), (xx * y - x * xy) / np.where(alone, 1.0, n * xx - x * x)
    )
    return np.where(there, fitted, np.nan)


# -- drawing -----------------------------------------------------------------------------------------------------------


def _png(curve: Curve, title: str) -> bytes:
    from matplotlib import rc_context, rcdefaults

    file = BytesIO()
    with rc_context():
        rcdefaults()  # a style of the user's own would change what the colours below were chosen for
        with rc_context(STYLE):
            _figure(curve, title).savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def _figure(curve: Curve, title: str) -> Figure:
    """The canvas of a bare Figure is Agg when a PNG is saved; pyplot, and with it any window, stays out of it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=SIZE, layout="constrained")
    rows = 2 if len(curve.learning_rate.steps) else 1
    loss, *below = figure.subplots(rows, sharex=True, squeeze=False, height_ratios=[5, 1][:rows])[
        :, 0
    ]
    loss.set_title(
        title, color=INK, fontsize=17, pad=38
    )  # the legend lies between, where no loss gets in its way
    loss.set_ylabel("loss")
    _draw_losses(loss, curve)
    for axes in below:
        _draw_rate(axes, curve.learning_rate)
    last = (below or [loss])[-1]
    last.set_xlabel("step")
    last.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure


def _draw_losses(axes: Axes, curve: Curve) -> None:
    train, held_out = curve.loss, curve.eval_loss
    if not len(train.steps) and not len(held_out.steps):
        axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", color=SOFT, fontsize=15)
        axes.set_axis_off()
        return
    if len(train.steps) <= FEW:
        axes.plot(
            train.steps,
            train.values,
            color=DARK,
            linewidth=2.2,
            marker="o",
            markersize=5,
            label="training",
        )
    else:
        axes.plot(
            train.steps, train.values, color=LIGHT, linewidth=1.2, label="training, as logged"
        )
        axes.plot(
            train.steps,
            smoothed(train.values),
            color=DARK,
            linewidth=2.6,
            label="training, smoothed",
        )
    if len(held_out.steps):
        axes.plot(
            held_out.steps,
            held_out.values,
            color=ORANGE,
            linestyle="none",
            marker="o",
            markersize=8,
            markeredgecolor="white",
            zorder=3,
            label="validation",
        )
    for i, step in enumerate(train.steps[~train.finite]):
        axes.axvline(
            step, color=INK, linestyle=":", linewidth=1.5, label="" if i else "loss is no number"
        )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, borderpad=0)


def _draw_rate(axes: Axes, rate: Series) -> None:
    axes.plot(rate.steps, rate.values, color=SOFT, linewidth=1.5)
    axes.set_ylabel("learning\nrate")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}")


# -- the page ----------------------------------------------------------------------------------------------------------


def _page(curve: Curve, drawn: bytes, title: str, figures: dict[str, Any]) -> str:
    name, method = escape(title), figures.get("method")
    lead = f"<p class=lead>{escape(str(method))}</p>" if method else ""
    sections = (
        ("curve", "How the loss went", _image(curve, drawn)),
        ("validation", "On examples it was not trained on", _validation(curve.eval_loss)),
    )
    body = "".join(
        f'<section id="{key}"><h2>{head}</h2>{html}</section>'
        for key, head, html in sections
        if html
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}: training report</title><style>{CSS}\n{PAGE_CSS}</style></head><body>"
        f"<header><p class=over>Forge training report</p><h1>{name}</h1>{lead}</header>"
        f"<main>{_tiles(figures)}{body}</main></body></html>\n"
    )


def _loss(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "no number"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours:,} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{seconds:.1f} s"
    )


# Key of the figures, its label, and how it is written.
FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("steps", "Steps", "{:,}".format),
    ("loss", "Training loss at the end", _loss),
    ("eval_loss", "Validation loss at the end", _loss),
    ("train_seconds", "Time", _duration),
    ("tokens_per_second", "Tokens a second", _rate),
    ("peak_vram_bytes", "GPU memory at its peak", human),
    ("peak_rss_bytes", "Memory at its peak", human),
)


def _tiles(figures: dict[str, Any]) -> str:
    """Figures that are there; no GPU memory where no GPU was used."""
    shown = [
        (label, written(figures[key]))
        for key, label, written in FIGURES
        if figures.get(key) is not None and not (key == "peak_vram_bytes" and not figures[key])
    ]
    tiles = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in shown)
    return f"<dl class=figures>{tiles}</dl>" if tiles else ""


def _image(curve: Curve, drawn: bytes) -> str:
    told = _told(curve.loss)
    if not len(curve.loss.steps) and not len(curve.eval_loss.steps):
        return f"<p>{NOTHING}</p>"
    encoded = base64.b64encode(drawn).decode()
    return f'<p>{told}</p><figure class=curve><img src="data:image/png;base64,{encoded}" alt="{told}"></figure>'


def _told(loss: Series) -> str:
    steps, values = loss.steps[loss.finite], loss.values[loss.finite]
    broken = loss.steps[~loss.finite]
    went = (
        f"Training loss from {_loss(values[0])} at step {steps[0]:,.0f} to {_loss(values[-1])} at step "
        f"{steps[-1]:,.0f}."
        if len(steps)
        else ""
    )
    stopped = f" At step {broken[0]:,.0f} the loss is no number." if len(broken) else ""
    return (went + stopped).strip() or "Validation loss alone was logged."


def _validation(losses: Series) -> str:
    """The table; the last ROWS of it."""
    best = np.nanargmin(losses.values) if losses.finite.any() else -1
    rows = [
        f"<tr><td>{step:,.0f}</td><td>{_loss(value)}</td><td>{'lowest' if i == best else ''}</td></tr>"
        for i, (step, value) in enumerate(zip(losses.steps, losses.values, strict=True))
    ][-ROWS:]
    head = "<thead><tr><th>Step</th><th>Loss</th><th></th></tr></thead>"
    return f"<table class=losses>{head}<tbody>{''.join(rows)}</tbody></table>" if rows else ""
