"""The page of an evaluation and its summary: every figure of the result, nothing of it as markup, nothing fetched."""

from __future__ import annotations

import base64
import copy
import json
import random
import re
from collections.abc import Iterator
from functools import reduce
from html.parser import HTMLParser
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from phoenix_forge.evaluate import report_plots, report_style, report_words
from phoenix_forge.evaluate.report import markdown, page
from phoenix_forge.evaluate.report_answers import best, worst
from phoenix_forge.examples.report_style import CSS

CONDITIONS = {  # name → choice accuracy, answer contained, nats a token: what a small model was measured at
    "base": (0.25, 0.02, 5.97),
    "base + index": (0.55, 0.31, 2.44),
    "base + passage": (0.7, 0.55, 1.79),
    "tuned": (0.41, 0.22, 2.76),
    "tuned + index": (0.63, 0.4, 1.52),
    "Q4_K_M": (0.39, 0.21, 2.81),
    "Q8_0": (0.41, 0.22, 2.77),
}
FOLDERS = ("docs/", "docs/guides/", "src/engine/", "notes/2024/spring/", "")
WORDS = (
    "The limit is 4,096 tokens a batch",
    "retry_budget: 3",
    "It returns the adapter's path",
    "because the cache is keyed by digest and not by time",
    "`forge quantize --types Q8_0`",
    "Two: warm and cold",
)


def condition(name: str, choice: float, contained: float, nats: float) -> dict[str, Any]:
    return {
        "name": name,
        "choice_accuracy": choice,
        "choice_low": choice - 0.081,
        "choice_high": choice + 0.093,
        "likeliest": choice + 0.137,
        "exact_match": contained / 2,
        "f1": contained * 1.3,
        "contained": contained,
        "contained_low": max(contained - 0.043, 0.0),
        "contained_high": contained + 0.067,
        "evidence": contained + 0.09,
        "nats_per_token": nats,
        "seconds": 12.3 + nats,
        "tokens": 12_345 + round(nats * 1000),
    }


def answers(number: int, paths: list[str], draw: random.Random) -> list[dict[str, Any]]:
    found = []
    for i in range(number):
        gold = f"{draw.choice(WORDS)} ({i})"
        options = draw.sample([gold, "none of these", f"{draw.choice(WORDS)}, mostly", "7"], 4)
        said = {}
        for name, (choice, contained, nats) in CONDITIONS.items():
            right, there = draw.random() < choice, draw.random() < contained
            wrong = draw.choice([option for option in options if option != gold])
            said[name] = {
                "choice": gold if right else wrong,
                "right": right,
                "text": f"I think: {gold}." if there else wrong * 4,
                "exact": False,
                "f1": 0.5 * there,
                "contained": there,
                "nats": round(nats * draw.uniform(0.3, 2), 3),
            }
        found.append(
            {
                "id": f"{i:04x}",
                "kind": draw.choice(["definition", "table", "code"]),
                "answer": gold,
                "options": options,
                "question": f"What does section {i} of the guide say about the batch, and where is it set?",
                "path": draw.choice(paths),
                "span": [i * 1000, i * 1000 + 777],
                "position": draw.random(),
                "conditions": said,
            }
        )
    return found


def group(name: str, questions: int, base: float) -> dict[str, Any]:
    return {
        "group": name,
        "questions": questions,
        "base": base,
        "passage": base + 0.46,
        "tuned": base + 0.173,
        "likeliest": base + 0.212,
        "contained": base + 0.094,
    }


def made(number: int = 100, documents: int = 63, **changed: object) -> dict[str, Any]:
    """A result as an evaluation leaves it, its counts in keeping with its answers."""
    draw = random.Random(7)
    paths = [
        f"{FOLDERS[i % 5]}{draw.choice(['setup', 'batches', 'faq', 'merge'])}-{i}.md"
        for i in range(documents)
    ]
    asked = answers(number, paths, draw) if documents else []
    coverage = []
    for path in paths:
        own = [one["conditions"]["tuned"]["right"] for one in asked if one["path"] == path]
        tokens = round(draw.lognormvariate(7, 1))
        coverage.append(
            {
                "path": path,
                "tokens": tokens,
                "taught": tokens,
                "questions": len(own),
                "right": sum(own),
            }
        )
    return {
        "model": "my-model",
        "base": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        "created": "2026-11-26T09:00:00+00:00",
        "rule_made": False,
        "questions": number,
        "documents": len({one["path"] for one in asked}),
        "skipped": {"passage left the corpus": 2},
        "conditions": [condition(name, *scores) for name, scores in CONDITIONS.items()],
        "knowledge_gained": {
            "value": 0.356,
            "low": 0.124,
            "high": 0.587,
            "by": {
                "choice_accuracy": {"value": 0.356, "low": 0.124, "high": 0.587},
                "likeliest": {"value": 0.413, "low": 0.262, "high": 0.571},
                "contained": {"value": 0.377, "low": 0.211, "high": 0.498},
                "nats_per_token": {"value": 0.768, "low": 0.699, "high": 0.823},
            },
        },
        "forgetting": 0.018,
        "general": {"questions": 60, "base": 0.817, "tuned": 0.799},
        "quantisation_loss": 0.021,
        "refusals": {"questions": 30, "base": 0.1, "tuned": 0.933},
        "bits_per_byte": {
            "trained": {"base": 1.213, "tuned": 0.441},
            "held_out": {"base": 1.196, "tuned": 0.982},
            "neutral": {"base": 0.874, "tuned": 0.893},
        },
        "breakdowns": {
            "position": [
                group("early", 34, 0.27),
                group("middle", 41, 0.21),
                group("late", 25, 0.28),
            ],
            "folder": [group(name or "/", 20 + i, 0.2 + i / 50) for i, name in enumerate(FOLDERS)],
            "kind": [
                group("definition", 37, 0.31),
                group("table", 31, 0.22),
                group("code", 32, 0.19),
            ],
        },
        "coverage": coverage,
        "answers": asked,
        "gate": {"passed": True, "failures": []},
        "costs": {
            "seconds": 754.0,
            "peak_rss_bytes": 3_120_000_000,
            "peak_vram_bytes": None,
            "energy_joules": None,
            "device": "CPU, 2 cores",
        },
        "previous": {
            "created": "2026-11-19T17:30:00+00:00",
            "knowledge_gained": 0.204,
            "forgetting": 0.034,
            "conditions": [
                {
                    "name": name,
                    "choice_accuracy": choice - 0.06 * name.startswith("tuned"),
                    "contained": contained - 0.012,
                }
                for name, (choice, contained, _) in CONDITIONS.items()
                if name != "Q8_0"
            ],
        },
        "versions": {"forge": "0.1", "torch": "2.13.0"},
        **changed,
    }


def parsed(result: dict[str, Any], curve: bytes | None = None) -> LexborHTMLParser:
    return LexborHTMLParser(page(result, curve))


def words(node: Any) -> str:
    return " ".join(node.text().replace("\N{NO-BREAK SPACE}", " ").split())


def rows(tree: LexborHTMLParser, section: str, table: int = 0) -> list[list[str]]:
    found = tree.css(f"#{section} table")[table]
    return [[words(cell) for cell in row.css("td, th")] for row in found.css("tbody tr")]


def heads(tree: LexborHTMLParser, section: str) -> list[str]:
    return [words(head) for head in tree.css_first(f"#{section} table").css("thead th")]


def tiles(tree: LexborHTMLParser) -> dict[str, tuple[str, str]]:
    return {
        words(tile.css_first("dt")): (words(tile.css_first("dd")), words(note) if note else "")
        for tile in tree.css(".figures div")
        for note in [tile.css_first("p")]
    }


# -- every figure ------------------------------------------------------------------------------------------------------


def test_the_key_figures():
    tree = parsed(made())
    assert tiles(tree) == {
        "Knowledge gained": ("35.6 %", "95 % interval 12.4 to 58.7 %"),
        "Gate": ("passed", ""),
        "Forgetting": ("1.8 points", "general questions: 81.7 % before, 79.9 % after"),
        "Quantisation loss": ("2.1 points", "choice accuracy, tuned − Q4_K_M"),
        "Gained since last time": ("+15.2 points", "20.4 % on 2026-11-19 17:30 UTC"),
        "Says it does not know": ("93.3 %", "of invented names; the base 10.0 %"),
        "Questions": ("100", "from 51 documents"),
        "Time": ("12 min 34 s", "CPU, 2 cores"),
    }
    assert words(tree.css_first("h1")) == "my-model"
    assert (
        words(tree.css_first(".lead"))
        == "tuned from Qwen/Qwen2.5-Coder-0.5B-Instruct, 2026-11-26 09:00 UTC"
    )


@pytest.mark.parametrize(
    ("gained", "said"),
    [
        (
            (0.356, 0.124, 0.587),
            "Training gave the model 35.6 % of what reading the right passage gives the base (95 % "
            "interval 12.4 to 58.7 %): asked 100 questions closed book, it chooses right in 41.0 %, the base in 25.0 %, the "
            "base with the passage in 70.0 %.",
        ),
        ((0.05, -0.1, 0.2), "The interval includes 0, so this may be chance."),
        (
            (-0.04, -0.2, -0.01),
            "Training left the model below its base, with −4.0 % knowledge gained (95 % interval −20.0 "
            "to −1.0 %)",
        ),
        (
            (0.356, None, None),
            "Training gave the model 35.6 % of what reading the right passage gives the base: asked",
        ),
        (
            (None, None, None),
            "Knowledge gained was not measured: asked 100 questions closed book, it chooses",
        ),
    ],
)
def test_the_headline_says_what_the_figure_means(gained, said):
    result = made(knowledge_gained=dict(zip(("value", "low", "high"), gained, strict=True)))
    tree = parsed(result)
    assert tiles(tree)["Knowledge gained"][1].startswith("95 % interval") == (gained[1] is not None)
    shown = words(tree.css_first(".verdict"))
    assert said in shown
    assert ("chance" in shown) == (gained[1] == -0.1)
    assert shown in " ".join(markdown(result).replace("\N{NO-BREAK SPACE}", " ").split())


def test_questions_of_forges_own_rules_tell_recall_and_not_knowledge():
    for result in (
        made(rule_made=True),
        {key: value for key, value in made().items() if key != "rule_made"},
    ):
        tree = parsed(result)
        assert tiles(tree)["Recall of taught facts"] == ("35.6 %", "95 % interval 12.4 to 58.7 %")
        assert (
            rows(tree, "change")[0][0]
            == words(tree.css_first("#knowledge h2"))
            == "Recall of taught facts"
        )
        said = markdown(result).replace("\N{NO-BREAK SPACE}", " ")
        assert said.startswith(
            "## Evaluation\n\nRecall of taught facts: training gave the model 35.6 % of what"
        )
        assert "not what the model would answer to people's own questions" in said
        assert "nowledge" not in words(tree.css_first("body")) + said
    low = markdown(made(rule_made=True, knowledge_gained={"value": -0.04})).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    assert "below its base, with −4.0 % recall of taught facts" in low
    assert "Recall of taught facts was not measured" in markdown(
        made(rule_made=True, knowledge_gained=None)
    )


def test_the_conditions_table():
    tree = parsed(made())
    assert [*zip(heads(tree, "conditions"), rows(tree, "conditions")[3], strict=True)] == [
        ("Condition", "tuned"),
        ("Choice", "41.0 %"),
        ("95 % interval", "32.9 to 50.3 %"),
        ("Likeliest", "54.7 %"),
        ("Contained", "22.0 %"),
        ("95 % interval", "17.7 to 28.7 %"),
        ("Evidence", "31.0 %"),
        ("Exact", "11.0 %"),
        ("F1", "28.6 %"),
        ("Nats a token", "2.76"),
        ("Time", "15.1 s"),
        ("Tokens", "15,105"),
    ]
    assert [row[0] for row in rows(tree, "conditions")] == [*CONDITIONS]


def test_knowledge_gained_by_each_measure():
    assert rows(parsed(made()), "knowledge") == [
        ["Choice accuracy", "35.6 %", "12.4 to 58.7 %"],
        ["Likeliest option right", "41.3 %", "26.2 to 57.1 %"],
        ["Answer contained", "37.7 %", "21.1 to 49.8 %"],
        ["Nats a token", "76.8 %", "69.9 to 82.3 %"],
    ]


def test_the_change_since_the_last_evaluation():
    tree = parsed(made())
    assert rows(tree, "change") == [
        ["Knowledge gained", "20.4 %", "35.6 %", "+15.2"],
        ["Forgetting (less is better)", "3.4 %", "1.8 %", "−1.6"],
    ]
    by_name = {row[0]: row[1:] for row in rows(tree, "change", 1)}
    assert by_name["tuned"] == ["35.0 %", "41.0 %", "+6.0", "20.8 %", "22.0 %", "+1.2"]
    assert by_name["Q8_0"] == [
        "not measured",
        "41.0 %",
        "not measured",
        "not measured",
        "22.0 %",
        "not measured",
    ]


def test_the_groups():
    tree = parsed(made())
    assert [*zip(heads(tree, "groups"), rows(tree, "groups")[0], strict=True)] == [
        ("Group", "early"),
        ("0 to 100 %", ""),
        ("Asked", "34"),
        ("Base", "27.0 %"),
        ("Passage", "73.0 %"),
        ("Tuned", "44.3 %"),
        ("Gain", "+17.3"),
        ("Contained", "36.4 %"),
    ]
    assert [
        float(cell.attributes["data-v"]) for cell in tree.css_first("#groups tbody tr").css("td.n")
    ] == ([34, 0.27, 0.73, 0.443, 0.173, 0.364]), "what the script sorts by"
    (in_grid,) = re.findall(
        r"\.groups tr\{display:grid;grid-template-columns:repeat\((\d),", report_style.PLOTS_CSS
    )
    for row in tree.css("#groups tr"):
        assert len(row.css(".n:not(.dup)")) == int(in_grid), (
            "one line of figures on a narrow screen"
        )
    assert [row[0] for row in rows(tree, "groups", 1)] == [*FOLDERS[:4], "top folder"]
    assert rows(tree, "groups", 2)[2] == [
        "code",
        "",
        "32",
        "19.0 %",
        "65.0 %",
        "36.3 %",
        "+17.3",
        "28.4 %",
    ]


def test_what_must_not_break_and_what_it_cost():
    tree = parsed(made())
    assert rows(tree, "kept") == [
        ["General questions, right", "60", "81.7 %", "79.9 %", "−1.8"],
        ["Invented names, not known", "30", "10.0 %", "93.3 %", "+83.3"],
    ]
    assert rows(tree, "kept", 1) == [
        ["Documents trained on", "1.21", "0.44", "−0.77"],
        ["Documents held out", "1.20", "0.98", "−0.21"],
        ["Other text", "0.87", "0.89", "+0.02"],
    ]
    spent = {
        "seconds": 4000,
        "peak_rss_bytes": 3_120_000_000,
        "peak_vram_bytes": 8_000_000_000,
        "energy_joules": 7200.0,
        "device": "GPU",
    }
    assert rows(parsed(made(costs=spent)), "costs") == [
        ["Device", "GPU"],
        ["Time", "1 h 6 min"],
        ["Memory at its peak", "3.1 GB"],
        ["GPU memory at its peak", "8.0 GB"],
        ["Energy", "7,200 J (2.00 Wh)"],
    ]
    assert rows(tree, "costs")[3:] == [
        ["GPU memory at its peak", "not measured"],
        ["Energy", "not measured"],
    ]


def test_how_it_was_measured():
    said = words(parsed(made()).css_first("#method"))
    assert "100 questions from 51 documents, asked closed book" in said
    assert "contains the answer key. Guessing would choose right in 25.0 %." in said
    assert "passage left the corpus: 2" in said
    assert "forge 0.1, torch 2.13.0" in said


def test_a_failed_gate_says_why():
    why = "knowledge gained 0.05 is below evaluate.gate.knowledge_gained 0.2"
    tree = parsed(made(gate={"passed": False, "failures": [why, "forgetting"]}))
    assert tiles(tree)["Gate"] == ("failed", "2 not met, see below")
    assert [words(item) for item in tree.css(".alert li")] == [why, "forgetting"]
    assert not parsed(made()).css(".alert")


# -- drawings ----------------------------------------------------------------------------------------------------------


def test_the_conditions_are_drawn_where_the_figures_are():
    result = made()
    result["conditions"][1]["contained_low"] = None
    result["conditions"][2]["choice_accuracy"] = None
    rows = parsed(result).css(".condition:not(.axis)")
    assert [words(row.css_first(".name")) for row in rows] == [*CONDITIONS]
    tuned, index, passage = rows[3], rows[1], rows[2]
    assert tuned.css_first("circle.c").attributes["cx"] == "41.00%"
    assert tuned.css_first("svg svg").attributes["x"] == "22.00%"
    assert [(line.attributes["x1"], line.attributes["x2"]) for line in tuned.css("line.iv")] == [
        ("32.90%", "50.30%"),
        ("17.70%", "28.70%"),
    ]
    assert [line.attributes["x1"] for line in tuned.css(".chance")] == ["25.00%"]
    assert len(index.css("line.iv")) == 1
    assert words(index.css_first(".values")) == "55.0 %46.9 to 64.3 %31.0 %"
    assert not passage.css("circle")
    assert words(passage.css_first(".values")).startswith("not measured55.0 %")


def test_chance_is_the_mean_over_the_questions_that_have_options():
    result = made(3)
    for one, options in zip(result["answers"], (["a", "b"], ["a", "b", "c", "d"], []), strict=True):
        one["options"] = options
    assert "choices by chance: 37.5 %" in words(parsed(result).css_first("#conditions .key"))
    for one in result["answers"]:
        one["options"] = []
    assert not parsed(result).css(".chance")


def test_groups_are_drawn_where_the_figures_are():
    tree = parsed(
        made(
            breakdowns={
                "kind": [
                    {
                        "group": "a",
                        "questions": 4,
                        "base": 0.25,
                        "passage": 0.75,
                        "tuned": 0.5,
                        "contained": 0.6,
                    },
                    {
                        "group": "b",
                        "questions": 0,
                        "base": None,
                        "passage": 1.0,
                        "tuned": None,
                        "contained": None,
                    },
                ]
            }
        )
    )
    first, second = tree.css("#groups tbody tr")
    assert [dot.attributes["cx"] for dot in first.css("circle")] == ["25.00%", "50.00%"]
    assert first.css_first("line.most-given").attributes["x1"] == "75.00%"
    assert not second.css("circle, line.way")
    assert [words(cell) for cell in second.css("td.n")] == [
        "0",
        *["not measured", "100.0 %"],
        *["not measured"] * 3,
    ]


def document(path: str, tokens: int | None, questions: int, right: int | None) -> dict[str, Any]:
    return {
        "path": path,
        "tokens": tokens,
        "taught": tokens,
        "questions": questions,
        "right": right,
    }


def test_the_coverage_map():
    tree = parsed(
        made(
            coverage=[
                document("docs/b.md", 200, 2, 1),
                document("docs/a.md", 800, 3, 3),
                document("docs/deep/c.md", 400, 3, 1),
                document("d.md", 40, 1, 0),
                document("e.md", 60, 0, 0),
                {**document("f.md", 10, 2, None), "taught": 7},
            ]
        )
    )
    folders = {words(folder.css_first("h3")): folder for folder in tree.css(".folder")}
    assert [*folders] == ["top folder", "docs/", "docs/deep/"]
    cells = {
        i.attributes["title"]: (i.attributes["class"], i.attributes["style"])
        for i in tree.css(".cells i")
    }
    assert cells == {
        "docs/a.md: 800 tokens, 3 of 3 questions right": ("all", "width:800px"),
        "docs/b.md: 200 tokens, 1 of 2 questions right": ("most", "width:200px"),
        "docs/deep/c.md: 400 tokens, 1 of 3 questions right": ("some", "width:400px"),
        "d.md: 40 tokens, 0 of 1 question right": ("wrong", "width:40px"),
        "e.md: 60 tokens, no question": ("unasked", "width:60px"),
        "f.md: 10 tokens (7 taught), 2 questions, not measured": ("unmeasured", "width:10px"),
    }
    assert words(folders["docs/"].css_first("p")) == "2 documents, 4 of 5 questions right"
    assert words(folders["top folder"].css_first("p")) == "3 documents, 3 questions, not measured"
    assert rows(tree, "coverage")[1] == ["docs/a.md", "800", "800", "3", "3"]
    assert words(tree.css_first("#coverage p")).startswith("6 documents, a block each")
    assert words(tree.css_first("summary")) == "The same as a table 5 documents with questions"


def test_many_documents_without_a_question_are_one_cell_a_folder(monkeypatch):
    monkeypatch.setattr(report_plots, "CELLS", 10)
    tree = parsed(
        made(coverage=[document(f"f{i % 2}/{i}.md", 100, int(i < 4), 1) for i in range(30)])
    )
    titles = [i.attributes["title"] for i in tree.css(".cells i")]
    assert [title for title in titles if "without" in title] == [
        "f0/: 1,300 tokens, 13 documents without a question",
        "f1/: 1,300 tokens, 13 documents without a question",
    ]
    assert len(titles) == 6


def test_deep_folders_are_put_together_until_they_are_few():
    many = [document(f"{i % 40}/{i}/{'x' * 200}.md", 9, 1, 1) for i in range(300)]
    tree = parsed(made(coverage=many))
    assert {words(h3) for h3 in tree.css(".folder h3")} == {f"{i}/" for i in range(40)}
    assert len(tree.css(".cells i")) == 300
    assert "And 100 more, in evaluation.json." in words(tree.css_first("#coverage"))


# Machado, Oliveira and Fernandes (2009): what is left of linear RGB without one kind of cone.
VISIONS = {
    "all cones": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "no L": (
        0.152286,
        1.052583,
        -0.204868,
        0.114503,
        0.786281,
        0.099216,
        -0.003882,
        -0.048116,
        1.051998,
    ),
    "no M": (
        0.367322,
        0.860646,
        -0.227968,
        0.280085,
        0.672501,
        0.047413,
        -0.011820,
        0.042940,
        0.968881,
    ),
    "no S": (
        1.255528,
        -0.076749,
        -0.178779,
        -0.078411,
        0.930809,
        0.147602,
        0.004733,
        0.691367,
        0.303900,
    ),
}
XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # of linear sRGB, D65


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    relative = XYZ @ rgb.clip(0, 1) / XYZ.sum(axis=1)
    x, y, z = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart_with_any_colour_vision(scheme):
    sheets = (CSS, report_style.PLOTS_CSS)
    known = {
        name: f"#{value[1] * 2 + value[2] * 2 + value[3] * 2}" if len(value) == 4 else value
        for sheet in sheets
        for found in [re.findall(r":root\{(.*?)\}", sheet, re.S)[scheme == "dark"]]
        for name, value in re.findall(r"--(\w+):(#\w+)", found)
    }
    for group in (("t4", "most", "t1", "lost", "empty"), ("choice", "found", "soft")):
        for vision, left in VISIONS.items():
            seen = {
                name: cielab(np.reshape(left, (3, 3)) @ linear(known[name]))
                for name in (*group, "paper")
            }
            for one, other in combinations(seen, 2):
                apart = np.linalg.norm(seen[one] - seen[other])
                assert apart > (10 if {one, other} == {"empty", "paper"} else 18), (
                    vision,
                    one,
                    other,
                    apart,
                )


# -- answers -----------------------------------------------------------------------------------------------------------


Outcome = tuple[bool | None, float | None]  # right, nats


def answer(name: str, base: Outcome, tuned: Outcome) -> dict[str, Any]:
    said = {
        who: {"choice": None, "right": right, "text": "t", "contained": True, "nats": nats}
        for who, (right, nats) in (("base", base), ("tuned", tuned))
    }
    return {
        "id": name,
        "kind": "k",
        "question": name,
        "answer": "g",
        "path": "p",
        "span": [0, 1],
        "position": 0.0,
        "options": ["g", "h"],
        "conditions": said,
    }


def test_the_best_are_right_after_training_only_and_the_worst_wrong_after_it():
    asked = [
        answer("small gain", (False, 5.0), (True, 4.0)),
        answer("large gain", (False, 5.0), (True, 1.0)),
        answer("unknown gain", (False, None), (True, 0.1)),
        answer("knew before", (True, 9.0), (True, 0.1)),
        answer("still wrong", (False, 9.0), (False, 8.0)),
        answer("lost", (True, 0.1), (False, 8.5)),
        answer("no choice, contained", (None, 3.0), (None, 1.0)),
        answer("no nats", (False, 1.0), (False, None)),
    ]
    assert [one["id"] for one in best({"answers": asked})] == [
        "large gain",
        "small gain",
        "unknown gain",
    ]
    assert [one["id"] for one in worst({"answers": asked})] == ["lost", "still wrong", "no nats"]
    asked[6]["conditions"]["base"]["contained"] = None  # not measured is not wrong
    assert [one["id"] for one in best({"answers": asked})] == [
        "large gain",
        "small gain",
        "unknown gain",
    ]
    asked[6]["conditions"]["base"]["contained"] = False
    assert [one["id"] for one in best({"answers": asked})][1] == "no choice, contained"
    many = [answer(f"{i:02}", (False, 1.0), (i % 2 == 0, i / 9)) for i in range(60)]
    assert [one["id"] for one in worst({"answers": many})] == [f"{i}" for i in range(59, 40, -2)]
    assert [one["id"] for one in best({"answers": many})] == [f"{i:02}" for i in range(0, 20, 2)]


def test_an_answer_is_shown_with_both_sides_and_its_passage():
    result = made()
    one = worst(result)[0]
    shown = parsed(result).css("#worst article")[0]
    assert words(shown.css_first(".ask")) == one["question"]
    assert words(shown.css_first(".answer-key")) == f"Answer key: {one['answer']}"
    for side, who in zip(shown.css(".sides > div"), ("base", "tuned"), strict=True):
        said = one["conditions"][who]
        verdict = "✓ right" if said["right"] else "✗ wrong"
        assert words(side.css_first("h4")) == f"{who} {verdict}{said['nats']:.2f} nats"
        assert [words(value) for value in side.css("dd")] == [said["choice"], said["text"]]
    start, end = one["span"]
    assert (
        words(shown.css_first("footer")) == f"{one['path']} bytes {start:,}–{end:,}, {one['kind']}"
    )


def test_a_long_answer_is_cut_and_says_so():
    result = made(1, 1)
    result["answers"][0]["conditions"]["tuned"] |= {"right": False, "text": "a" * 5000}
    assert "… (4,400 characters more)" in words(parsed(result).css_first("#worst article"))
    result["answers"][0]["conditions"]["tuned"]["text"] = "\n" * 3 + "b\n" * 500
    assert parsed(result).css("#worst dd")[-1].text().count("b") == 12
    result["answers"][0]["conditions"]["tuned"]["text"] = " "
    assert words(parsed(result).css("#worst dd")[-1]) == "nothing"


# -- what is missing, and what is hostile ------------------------------------------------------------------------------


def without_figures(value: Any) -> Any:
    """The same result, with null for every number and truth value."""
    if isinstance(value, dict):
        return {key: without_figures(of) for key, of in value.items()}
    if isinstance(value, list):
        return [without_figures(of) for of in value]
    return value if isinstance(value, str) else None


def test_what_was_not_measured_is_never_a_number():
    result = without_figures(made()) | {"questions": 100}
    tree = parsed(result)
    assert {value for value, _ in tiles(tree).values()} == {"not measured", "100"}
    for table in tree.css("table"):
        for cell in table.css("tbody td.n:not(.iv)"):
            if words(cell) != "CPU, 2 cores":
                assert words(cell) == "not measured"
    assert not tree.css(
        ".condition circle, .condition svg svg, .condition line.iv, .groups circle, .groups .most-given, .groups .way"
    )
    assert {i.attributes["class"] for i in tree.css(".cells i")} == {"unmeasured"}
    assert words(tree.css_first(".verdict")) == "Knowledge gained was not measured."
    body = words(tree.css_first("main"))
    for never in ("None", "nan", "0.0 %", "0.0 points", "0 tokens", "0 of"):
        assert never not in body
    card = markdown(result)
    assert "None" not in card
    assert "| gate | not measured |" in card


def test_a_result_from_before_a_measure_was_made_lacks_it_and_nothing_else():
    """Neither the likeliest option nor, of a group, the answers that contain the answer key were always measured."""
    result = made()
    for of in result["conditions"], *result["breakdowns"].values():
        for one in of:
            del one["likeliest"]
    for one in (one for groups in result["breakdowns"].values() for one in groups):
        del one["contained"]
    del result["knowledge_gained"]["by"]["likeliest"]

    def without(row: list[str], column: int) -> list[str]:
        return [*row[:column], "not measured", *row[column + 1 :]]

    now, before = parsed(made()), parsed(result)
    assert rows(before, "conditions") == [without(row, 3) for row in rows(now, "conditions")]
    for table in range(3):
        assert rows(before, "groups", table) == [
            without(row, 7) for row in rows(now, "groups", table)
        ]
    assert {row.css("td.n")[-1].attributes["data-v"] for row in before.css("#groups tbody tr")} == {
        ""
    }
    by = rows(now, "knowledge")
    assert rows(before, "knowledge") == [
        by[0],
        ["Likeliest option right", "not measured", ""],
        *by[2:],
    ]
    assert tables(markdown(result))[0][1:] == [
        without(row, 3) for row in tables(markdown(made()))[0][1:]
    ]
    assert tiles(before) == tiles(now)


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    if at and at[-1] not in ("name", "path", "group") and not isinstance(at[-1], int):
        yield at
    for key, of in inside:
        yield from leaves(of, (*at, key))


def test_any_one_value_may_be_missing():
    whole = made(2, 2)
    for at in leaves(whole):
        result = copy.deepcopy(whole)
        reduce(lambda of, key: of[key], at[:-1], result)[at[-1]] = None
        written = page(result, None) + markdown(result)
        assert "None" not in written, at
        assert "nan" not in written, at


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (
            made(0, 0, conditions=[], knowledge_gained=None, breakdowns={}, previous=None),
            "No question was asked, so nothing is known",
        ),
        (made(1, 1), "asked 1 question closed book"),
        (made(1, 1), "1 question from 1 document, asked"),
        (made(previous=None), "Gained since last time first time no earlier evaluation"),
        (
            made(
                conditions=[*made()["conditions"][:4], condition("merged", 0.4, 0.2, 3.0)],
                quantisation_loss=None,
            ),
            "Quantisation loss not measured no GGUF was",
        ),
        (made(skipped={}), "No question was left out."),
        (made(), "There is no loss curve."),
    ],
)
def test_small_and_first_runs(result, says):
    text = page(result, None)
    shown = words(LexborHTMLParser(text.replace("</", " </")).body)
    assert says in shown
    assert_well_formed(text)


def test_without_a_last_evaluation_nothing_points_to_it():
    tree = parsed(made(previous=None))
    assert not tree.css("#change, nav a[href='#change']")
    assert parsed(made()).css("nav a[href='#change']")


EVIL = (
    "<script>alert(\"x\")</script>|<img src=x onerror=alert(1)>\n# & 'quotes' \x1b[31m \ud800 "
    "http://example.org/a `|` **b**"
)


def hostile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: hostile(of) for key, of in value.items()}
    if isinstance(value, list):
        return [hostile(of) for of in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


class Nesting(HTMLParser):
    """Follows the tags: each is closed by its own name, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "circle", "path"), tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_well_formed(text: str) -> None:
    nesting = Nesting()
    nesting.feed(text)
    nesting.close()
    assert nesting.open == []


@pytest.mark.parametrize(
    "result", [hostile(made()), hostile(without_figures(made())), hostile(made(5, 300))]
)
def test_nothing_of_a_document_becomes_markup_and_nothing_is_fetched(result):
    text = page(result, b"\x89PNG")
    assert_well_formed(text)
    tree = LexborHTMLParser(text)
    assert words(tree.css_first("h1")) == " ".join(report_words.visible(f"my-model{EVIL}").split())
    (script,) = tree.css("script")
    assert script.text() == report_style.SORT
    assert not tree.css("link, iframe, object, embed, base, form, h1 *, .ask *, .verdict *")
    for node in tree.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "data", "action", "xlink:href"):
                assert value.startswith("data:image/png;base64," if node.tag == "img" else "#")
            if name == "style":
                assert re.fullmatch(r"width:\d+px", value)
    ids = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(ids) == len(set(ids))
    assert {a.attributes["href"][1:] for a in tree.css("a")} <= set(ids)
    style = tree.css_first("style").text()
    assert not re.search(r"url\(|@import|http|expression", style + script.text())
    text.encode("utf-8")


@given(st.text())
def test_any_text_is_shown_as_it_is(value):
    shown = LexborHTMLParser(
        f'<p title="{report_plots.text(value)}">{report_plots.text(value)}</p>'
    ).css_first("p")
    assert not shown.css("p *")
    plain = report_words.visible(value)
    assert shown.text() == plain
    assert (shown.attributes["title"] or "") == plain


# -- the model card's section ------------------------------------------------------------------------------------------


def tables(card: str) -> list[list[list[str]]]:
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    for token in tokens:
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 2:
            assert {child.type for child in token.children} <= {"text", "text_special"}, (
                token.content
            )
            found[-1][-1].append(
                "".join(child.content for child in token.children).replace(
                    "\N{NO-BREAK SPACE}", " "
                )
            )
    return found


def test_the_summary():
    card = markdown(made())
    measured, lost = tables(card)
    assert [*zip(measured[0], measured[1:][3], strict=True)] == [
        ("condition", "tuned"),
        ("choice accuracy", "41.0 %"),
        ("95 % interval", "32.9 to 50.3 %"),
        ("likeliest", "54.7 %"),
        ("answer contained", "22.0 %"),
        ("evidence", "31.0 %"),
        ("exact match", "11.0 %"),
        ("F1", "28.6 %"),
        ("nats a token", "2.76"),
    ]
    assert [row[0] for row in measured[1:]] == [*CONDITIONS]
    assert lost[1:] == [
        ["quantisation loss (tuned − Q4_K_M)", "2.1 points"],
        ["forgetting (60 general questions)", "1.8 points"],
        ["says of invented names that it does not know them, base", "10.0 %"],
        ["says of invented names that it does not know them, tuned", "93.3 %"],
        ["gate", "passed"],
    ]
    said = card.replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith("## Evaluation\n\nTraining gave the model 35.6 % of what")
    assert "100 questions from 51 documents, asked closed book" in said
    assert "95 % bootstrap intervals, clustered by document" in said
    assert len(card.splitlines()) < 30


def test_when_to_believe_an_answer():
    quoted = {"stands": 0.625, "contained_where_it_stands": 0.44, "contained_elsewhere": 0.11}
    said = markdown(made(quotations=quoted)).replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "62.5 % of the tuned model's answers quote a sentence that stands in the documents; of these 44.0 % "
        "contain the answer key, of the others 11.0 %."
    ) in said
    for none in (None, quoted | {"stands": 0.0, "contained_where_it_stands": None}):
        assert "quote a sentence" not in markdown(made(quotations=none))


def test_hostile_names_stay_in_their_cells():
    measured, lost = tables(markdown(hostile(made())))
    assert {len(row) for row in measured} == {9}
    assert {len(row) for row in lost} == {2}
    assert measured[1][0].startswith(
        "base<script>alert(\"x\")</script>|<img src=x onerror=alert(1)> # & 'quotes' ␛[31m"
    )


@given(st.text())
def test_any_text_is_one_cell_of_the_summary(value):
    measured, _ = tables(markdown({"conditions": [{"name": value}]}))
    assert len(measured) == 2
    assert measured[1] == [
        report_words.visible(" ".join(value.split())),
        "not measured",
        "",
        *["not measured"] * 6,
    ]


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_curve_is_inside_and_equal_results_have_equal_bytes():
    curve = bytes(range(256))
    tree = LexborHTMLParser(page(made(), curve))
    head, _, data = tree.css_first("#loss img").attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == curve
    assert page(made(), curve) == page(made(), curve) != page(made(knowledge_gained=None), curve)


def test_a_gate_without_limits_has_not_been_passed():
    without = page(made(gate={"passed": True, "failures": [], "limits": {}}), None)
    assert "none is set" in without
    assert "passed" in page(
        made(gate={"passed": True, "failures": [], "limits": {"forgetting": 0.02}}), None
    )


def test_rouge_is_there_where_it_was_measured():
    assert "ROUGE-Lsum" not in page(made(), None)
    shown = page(
        made(rouge={"base": {"rouge1": 0.101, "rougeLsum": 0.092}, "tuned": {"rouge1": 0.314}}),
        None,
    )
    assert all(text in shown for text in ("ROUGE-1", "ROUGE-Lsum", "0.10", "0.31", "0.09"))


def test_a_result_from_a_file_gives_the_same_page():
    assert page(json.loads(json.dumps(made())), None) == page(made(), None)
