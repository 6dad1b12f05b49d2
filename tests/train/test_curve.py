"""The curve and its page, from the lines a training writes."""

from __future__ import annotations

import base64
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phoenix_forge.core.config import assemble
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.train.curve import FEW, NOTHING, read_curve, smoothed, write_curve

FIGURES = {
    "steps": 1200,
    "loss": 0.41234,
    "eval_loss": 0.5,
    "tokens_per_second": 3504.2,
    "train_seconds": 4210.3,
    "peak_vram_bytes": 14_300_000_000,
    "peak_rss_bytes": 3_012_000_000,
    "method": "NF4 base, bf16 adapters",
    "adapter": "x",
}
BLUE, ORANGE = (0, 0x72, 0xB2), (0xD5, 0x5E, 0)


def lines(steps: int, at: float = 3.0, evals: int = 0) -> list[dict[str, Any]]:
    train = [
        {
            "step": s,
            "loss": at * math.exp(-s / steps) + 0.1 * math.sin(9 * s),
            "tokens_per_second": 50.1,
            "learning_rate": 2e-4 * (1 - s / steps),
            "grad_norm": 0.8,
            "epoch": s / steps,
            "novel": None,
        }
        for s in range(1, steps + 1)
    ]
    return train + [
        {"step": s, "eval_loss": at / 2 + s}
        for s in range(evals, steps + 1, evals or steps + 1)
        if s
    ]


class Drawn:
    def __init__(
        self, folder: Path, logged: list[dict[str, Any]] | bytes | None, **figures: Any
    ) -> None:
        self.metrics, self.png, self.html = (
            folder / "metrics.jsonl",
            folder / "out/loss.png",
            folder / "out/train.html",
        )
        text = (
            logged
            if isinstance(logged, bytes)
            else "".join(f"{json.dumps(x)}\n" for x in logged or []).encode()
        )
        if logged is not None:
            self.metrics.write_bytes(text)
        write_curve(self.metrics, self.png, self.html, "ada <7B>", FIGURES | figures)
        self.page = self.html.read_text(encoding="utf-8")
        self.image = np.asarray(Image.open(self.png).convert("RGB")).astype(int)

    def has(self, colour: tuple[int, int, int]) -> int:
        """Pixels of a colour."""
        return int((np.abs(self.image - np.array(colour)).sum(axis=2) < 12).sum())


@pytest.fixture
def draw(tmp_path: Path):
    def draw(
        logged: list[dict[str, Any]] | bytes | None, name: str = "one", **figures: Any
    ) -> Drawn:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return Drawn(folder, logged, **figures)

    return draw


# -- the image ---------------------------------------------------------------------------------------------------------


def test_both_losses_are_drawn_at_twice_1200_pixels(draw):
    drawn = draw(lines(200, evals=50))
    assert drawn.image.shape == (1320, 2400, 3)
    assert drawn.has(BLUE) > 5000
    assert drawn.has(ORANGE) > 500
    assert draw(lines(200), "unvalidated").has(ORANGE) == 0


def test_another_training_is_another_picture_and_the_same_one_the_same_bytes(draw):
    one, same, other = draw(lines(60)), draw(lines(60), "same"), draw(lines(60, at=2.0), "other")
    assert one.png.read_bytes() == same.png.read_bytes() != other.png.read_bytes()
    assert one.html.read_bytes() == same.html.read_bytes() != other.html.read_bytes()


def test_where_the_line_runs_follows_the_loss(draw):
    """The blue of a falling loss is higher at its left end than at its right."""
    image = draw(lines(300)).image
    y, x = np.nonzero(np.abs(image - np.array(BLUE)).sum(axis=2) < 12)
    inside = y > 150  # below the legend
    left, right = (y[inside & (np.abs(x - at) < 40)].mean() for at in (x.min() + 60, x.max() - 60))
    assert right - left > 300


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3, FEW, FEW + 1, 40, 3000])
def test_any_number_of_steps(draw, steps):
    assert draw(lines(steps)).has(BLUE) > 50


def test_the_users_own_style_and_pyplot_stay_out_of_it(draw):
    program = (
        "import sys, matplotlib\nfrom pathlib import Path\nfrom phoenix_forge.train.curve import write_curve\n"
        "matplotlib.rcParams.update({'figure.facecolor': 'black', 'font.size': 5})\n"
        "write_curve(*map(Path, sys.argv[1:]), 'ada <7B>', {})\n"
        "assert [matplotlib.rcParams[key] for key in ('figure.facecolor', 'font.size')] == ['black', 5]\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    drawn = draw(lines(30))
    other = drawn.png.with_name("other.png")
    subprocess.run(
        [sys.executable, "-c", program, drawn.metrics, other, other.with_suffix(".html")],
        check=True,
        timeout=60,
    )
    assert other.read_bytes() == drawn.png.read_bytes()


def test_importing_loads_no_matplotlib():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, phoenix_forge.train.curve\nsys.exit('matplotlib' in sys.modules)",
        ],
        check=True,
        timeout=60,
    )


# -- what the file may hold --------------------------------------------------------------------------------------------


def test_a_torn_line_and_other_rubbish_are_passed_over(draw):
    whole = "".join(f"{json.dumps(line)}\n" for line in lines(30)).encode()
    clean = draw(whole)
    torn = draw(whole + b'{"step": 31, "loss": 0.\xe2\x82', "torn")
    odd = draw(b'[]\n7\n\n{"loss": 9}\n{"step": 2, "loss": "nan"}\n' + whole, "odd")
    assert clean.png.read_bytes() == torn.png.read_bytes() == odd.png.read_bytes()


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_a_gap_and_said(draw, broken):
    logged = lines(40)
    logged[29]["loss"] = broken
    drawn = draw(logged, loss=broken)
    assert drawn.has(BLUE) > 2000
    assert "At step 30 the loss is no number." in drawn.page
    assert "<dt>Training loss at the end</dt><dd>no number</dd>" in drawn.page


def test_only_losses_that_are_no_number(draw):
    assert (
        "At step 1 the loss is no number."
        in draw([{"step": s, "loss": math.nan} for s in (1, 2)]).page
    )
    assert (
        "no number"
        in draw(
            [{"step": s, "loss": math.nan, "eval_loss": math.nan} for s in range(1, 40)], "b"
        ).page
    )


def test_a_step_written_again_counts_once_with_its_last_value(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "loss": 9}\n{"step": 1, "loss": 3}\n{"step": 2, "loss": 2}\n')
    loss = read_curve(path).loss
    assert (loss.steps.tolist(), loss.values.tolist()) == ([1, 2], [3, 2])


@pytest.mark.parametrize("logged", [None, b"", b'{"step": 1, "lo'])
def test_nothing_logged_says_so_in_place_of_an_older_curve(draw, logged):
    draw(lines(30))
    drawn = draw(logged) if logged is not None else draw(None, "new")
    assert NOTHING in drawn.page
    assert "data:image" not in drawn.page
    assert "1,200" in drawn.page, "the figures are there all the same"
    assert drawn.has(BLUE) == 0
    assert drawn.image.min() < 200, "the image says it as well"


# -- smoothing ---------------------------------------------------------------------------------------------------------


def test_a_straight_line_is_its_own_smoothing_to_both_ends():
    line = np.linspace(3, 1, 200)
    assert np.allclose(smoothed(line), line)
    holes = line.copy()
    holes[[5, 60, 61, 199]] = np.nan
    assert np.allclose(smoothed(holes)[np.isfinite(holes)], line[np.isfinite(holes)])
    assert (np.isnan(smoothed(holes)) == np.isnan(holes)).all()


def test_noise_is_taken_out():
    noise = np.random.default_rng(0).normal(size=2000)
    assert smoothed(noise).std() < 0.2


# -- the page ----------------------------------------------------------------------------------------------------------


def test_figures_in_units_people_read(draw):
    page = draw(lines(30)).page
    shown = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert shown == {
        "Steps": "1,200",
        "Training loss at the end": "0.4123",
        "Validation loss at the end": "0.5000",
        "Time": "1 h 10 min",
        "Tokens a second": "3,504",
        "GPU memory at its peak": "14.3 GB",
        "Memory at its peak": "3.0 GB",
    }
    assert "NF4 base, bf16 adapters" in page
    assert "ada &lt;7B&gt;" in page


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.42, "0.4 s"),
        (59.4, "59.4 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7199.8, "2 h 0 min"),
    ],
)
def test_time(draw, seconds, told):
    assert f"<dt>Time</dt><dd>{told}</dd>" in draw(lines(2), train_seconds=seconds).page


def test_figures_that_are_not_there_are_left_out(draw):
    page = draw(lines(3), eval_loss=None, peak_vram_bytes=0, method=None).page
    assert "Validation loss" not in page
    assert "GPU" not in page


def test_the_page_holds_the_image_itself_and_fetches_nothing(draw):
    drawn = draw(lines(30, evals=10))
    assert (
        base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", drawn.page)[1])
        == drawn.png.read_bytes()
    )
    assert not re.search(r"https?://|<script|<link|@import", drawn.page)


def test_validation_losses_are_listed_and_the_lowest_named(draw):
    logged = lines(30) + [
        {"step": s, "eval_loss": v} for s, v in ((10, 1.5), (20, 1.25), (30, 1.75))
    ]
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", draw(logged).page)
    assert rows == [("10", "1.5000", ""), ("20", "1.2500", "lowest"), ("30", "1.7500", "")]


def test_every_tag_is_closed(draw):
    open_tags: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balance().feed(draw(lines(30, evals=10)).page)
    assert open_tags == []


def test_the_workspace_places_them_beside_the_dataset_report():
    space = Workspace(Path("/w"), assemble([], []).config)
    assert space.shown(space.train_report) == "outputs/report/train.html"
    assert space.shown(space.loss_curve) == "outputs/report/loss.png"
    assert {space.train_report, space.loss_curve} <= {*space.artifacts}
