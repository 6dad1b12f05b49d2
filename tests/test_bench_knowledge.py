"""bench/knowledge.py: SQuAD's JSON becomes questions, rows take each other's place, tables tell what rows say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench/knowledge.py"
LIGHT = "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt."
FOG = "When fog comes in, the bell rings three times every minute."


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_knowledge", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


knowledge = load()


def asked(name: str, question: str, *answers: str) -> dict[str, Any]:
    return {
        "id": name,
        "question": question,
        "answers": [{"text": text, "answer_start": 0} for text in answers],
    }


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Harbour_Nine,_Light",
            "paragraphs": [
                {
                    "context": LIGHT,
                    "qas": [
                        asked("a", "Who lights the lamp?", "Maren Holt", "Holt", "maren holt"),
                        asked("b", "When is it lit?", "at dusk"),
                        asked("c", "Where is it?", "Harbour Nine"),
                        asked("d", "Who  lights the LAMP?", "the keeper"),
                        asked("e", "Why?"),
                    ],
                },
                {
                    "context": FOG,
                    "qas": [
                        asked("f", "How often does the bell ring?", "three times every minute"),
                        asked("g", "What does Holt keep?", "the keeper, Maren Holt"),
                    ],
                },
            ],
        },
        {
            "title": "Ferry",
            "paragraphs": [
                {"context": "x", "qas": [asked("h", "What does it cost?", "four crowns")]}
            ],
        },
    ],
}


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/Harbour_Nine__Light.md").write_text(
        f"# Größe\n\n{LIGHT}\n\n{FOG}\n", encoding="utf-8"
    )
    return folder


def test_squads_json_becomes_our_questions(documents: Path, tmp_path: Path):
    file = tmp_path / "squad.json"
    file.write_text(json.dumps(SQUAD))
    found = {one["id"]: one for one in knowledge.read_questions(file, documents)}
    assert list(found) == [
        "a",
        "b",
        "c",
        "f",
        "g",
        "h",
    ]  # each wording once, and only where there is an answer
    first = found["a"]
    assert (first["answer"], first["aliases"], first["path"]) == (
        "Maren Holt",
        ["Holt"],
        "sub/Harbour_Nine__Light.md",
    )
    data = (documents / first["path"]).read_bytes()
    assert data[slice(*first["span"])].decode() == LIGHT
    assert first["distractors"] == [
        "Harbour Nine",
        "at dusk",
        "three times every minute",
    ]  # the most alike first
    assert "the keeper, Maren Holt" not in first["distractors"]  # it would be right as well
    assert found["h"] == {
        "id": "h",
        "question": "What does it cost?",
        "answer": "four crowns",
        "aliases": [],
        "distractors": [],
    }
    assert found == {one["id"]: one for one in knowledge.read_questions(file, documents)}


def test_forge_reads_what_squad_became(documents: Path, tmp_path: Path):
    from phoenix_forge.evaluate.questions import read

    file, lines = tmp_path / "squad.json", tmp_path / "questions.jsonl"
    file.write_text(json.dumps(SQUAD))
    lines.write_text(
        "".join(json.dumps(one) + "\n" for one in knowledge.read_questions(file, documents))
    )
    assert [question.id for question in read(lines)] == ["a", "b", "c", "f", "g", "h"]
    assert knowledge.read_questions(lines, documents) == knowledge.read_questions(file, documents)


def test_distractors_look_like_the_answer():
    others = ["1895", "in a long sentence about nothing", "12 %", "1901", "Maren", "1774"]
    assert set(knowledge.distractors("1774", [], others, "x")[:2]) == {"1895", "1901"}
    assert knowledge.distractors("1774", ["1901"], others, "x")[0] == "1895"


def made(
    set_name: str = "xquad-en",
    recipe: str = "before",
    seed: int = 42,
    contained: float = 0.05,
    **costs: Any,
) -> dict[str, Any]:
    """A row as a run writes it."""

    def condition(value: float) -> dict[str, float]:
        return {
            "contained": value,
            "contained_low": value - 0.02,
            "contained_high": value + 0.02,
            "exact_match": value / 2,
            "f1": value,
            "choice_accuracy": 0.56,
            "choice_accuracy_low": 0.5,
            "choice_accuracy_high": 0.6,
            "likeliest": 0.5,
            "nats_per_token": 3.0,
        }

    values = {
        "base": 0.02,
        "base + index": 0.43,
        "base + passage": 0.5,
        "tuned": contained,
        "tuned + index": 0.16,
    }
    return {
        "set": set_name,
        "base": "0.5B",
        "recipe": recipe,
        "seed": seed,
        "questions": 300,
        "conditions": {name: condition(value) for name, value in values.items()},
        "knowledge_gained": {
            "choices": {"value": -0.03, "low": -0.2, "high": 0.1},
            "likeliest": None,
            "contained": {"value": 0.07, "low": 0.0, "high": 0.1},
        },
        "forgetting": 0.017,
        "cost": {
            "teacher_tokens": None,
            "source_tokens": 100,
            "trained_tokens": 1050,
            "gpu_seconds": 200.0,
        }
        | costs,
    }


def test_a_row_takes_the_place_of_the_same_before(tmp_path: Path):
    result = tmp_path / "results/knowledge.json"
    for row in (made(), made(seed=43), made("xquad-de"), made(contained=0.3)):
        knowledge.keep_row(row, result)
    rows = json.loads(result.read_text())["rows"]
    assert [(row["set"], row["seed"]) for row in rows] == [
        ("xquad-de", 42),
        ("xquad-en", 43),
        ("xquad-en", 42),
    ]
    assert rows[-1]["conditions"]["tuned"]["contained"] == 0.3
    assert list(result.parent.iterdir()) == [result]


def test_the_table_tells_means_ranges_and_shares():
    rows = [
        made(),
        made(seed=43, contained=0.15),
        made("xquad-de", "default", teacher_tokens=12345, gpu_seconds=None),
    ]
    lines = knowledge.table(rows).splitlines()
    assert len(lines) == 4
    before, default = (
        dict(
            zip(
                map(str.strip, lines[0].split("|")[1:-1]),
                map(str.strip, line.split("|")[1:-1]),
                strict=True,
            )
        )
        for line in lines[2:]
    )
    assert (before["set"], before["seeds"]) == ("xquad-en", "42, 43")
    assert before["tuned"] == ".56 · .10 [.05 to .15]"
    assert before["contained, tuned (95 %)"] == ".10 [.05 to .15] (.08 to .12)"
    assert before["of the passage's worth"] == ".20 [.10 to .30]"
    assert before["against base + index"] == ".37"
    assert before["knowledge gained (choices, contained)"] == "−.03, .07"
    assert (before["tokens a source token"], before["teacher tokens"], before["GPU s"]) == (
        "10.5",
        "–",
        "200",
    )
    assert (default["forgetting, points"], default["teacher tokens"], default["GPU s"]) == (
        "1.7",
        "12,345",
        "–",
    )


def test_the_plot_is_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    result = tmp_path / "rows.json"
    result.write_text(
        json.dumps({"rows": [made(), made(recipe="x", trained_tokens=5000), made("xquad-de")]})
    )
    knowledge.main(["--plot", "--result", str(result)])
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


# A checkout that answers as Forge does, in no time.
STAND_IN = """
import json, pathlib, sys
command, out = sys.argv[1], {}
if pathlib.Path("../fail").exists() and command == "train":
    print("the weights are damaged", file=sys.stderr)
    sys.exit(4)
if command == "dataset":
    out = {"documents": 2, "examples": 8, "source_tokens": 65, "trained_tokens": 140, "seconds": 99.5}
    pathlib.Path("dataset_package").mkdir(exist_ok=True)
    pathlib.Path("dataset_package/dataset_card.json").write_text(json.dumps({"teacher": "base", "teacher_tokens": 77}))
if command == "train":
    out = {"tokens": 1350, "steps": 2, "seconds": 1.0}
if command == "evaluate":
    kept = pathlib.Path(".forge/evaluation")
    kept.mkdir(parents=True, exist_ok=True)
    known = (kept / "said.json").exists()
    (kept / "said.json").write_text("{}")
    pathlib.Path("outputs/report").mkdir(parents=True, exist_ok=True)
    figures = {key: 0.5 for key in ("choice_accuracy", "choice_low", "choice_high", "contained", "contained_low",
                                    "contained_high", "likeliest", "exact_match", "f1", "nats_per_token")}
    names = ["base", "base + index", "base + passage", "tuned", "tuned + index", "Q8_0"]
    gained = {"value": 0.1, "low": 0.0, "high": 0.2}
    result = {"questions": 4, "skipped": {}, "conditions": [{"name": name, **figures} for name in names],
              "knowledge_gained": {**gained, "by": {"choice_accuracy": gained, "contained": None}}, "forgetting": 0.0,
              "bits_per_byte": {}, "refusals": {"known": known, "arguments": sys.argv[1:]},
              "breakdowns": {"kind": [{"group": "own"}, {"group": "why"}]}, "versions": {"forge": "0"},
              "costs": {"device": "A GPU, bf16", "seconds": 33.0}}
    pathlib.Path("outputs/report/evaluation.json").write_text(json.dumps(result))
print(json.dumps(out))
"""


@pytest.fixture
def call(documents: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "checkout/src/phoenix_forge").mkdir(parents=True)
    (tmp_path / "checkout/src/phoenix_forge/__init__.py").touch()
    (tmp_path / "checkout/src/phoenix_forge/__main__.py").write_text(STAND_IN)
    (tmp_path / "base").mkdir()
    (tmp_path / "squad.json").write_text(json.dumps(SQUAD))
    paths = {
        "--base": "base",
        "--forge": "checkout",
        "--answers": "answers",
        "--work": "work",
        "--keep": "keep",
        "--result": "knowledge.json",
    }
    return [
        sys.executable,
        str(SCRIPT),
        str(documents),
        str(tmp_path / "squad.json"),
        "--set-name",
        "harbour",
        "--seeds",
        "42,43",
        "--set",
        "train.epochs=1",
        "--set",
        "evaluate.gate.forgetting=0.1",
        *(text for option, name in paths.items() for text in (option, str(tmp_path / name))),
    ]


def test_a_run_from_folder_to_rows(call: list[str], tmp_path: Path):
    import yaml

    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = json.loads((tmp_path / "knowledge.json").read_text())["rows"]
    assert (first["set"], first["base"], first["recipe"], first["seed"], second["seed"]) == (
        "harbour",
        "base",
        "default",
        42,
        43,
    )
    assert list(first["conditions"]) == [
        "base",
        "base + index",
        "base + passage",
        "tuned",
        "tuned + index",
    ]
    assert first["conditions"]["tuned"]["choice_accuracy_low"] == 0.5
    assert first["knowledge_gained"]["choices"]["high"] == 0.2
    assert first["knowledge_gained"]["contained"] is None
    assert len(first["by_kind"]) == 2
    cost = first["cost"]
    assert (cost["teacher_tokens"], cost["trained_tokens"], cost["computed_tokens"]) == (
        77,
        140,
        1350,
    )
    assert cost["dataset_seconds"] == 99.5  # what an earlier run did is not free
    assert cost["gpu_seconds"] >= 133.5  # a teacher wrote on the GPU
    assert [row["refusals"]["known"] for row in (first, second)] == [
        False,
        True,
    ]  # the base is asked once
    said = first["refusals"]["arguments"]
    assert (
        said
        == second["refusals"]["arguments"]
        == [
            "evaluate",
            "--questions",
            str(tmp_path / "work/harbour-questions.jsonl"),
            "--set",
            "dataset.seed=42",
            "--json",
        ]
    )
    config = yaml.safe_load((tmp_path / "work/harbour-base-default-43/forge.yaml").read_text())
    assert (
        config["corpus"],
        (tmp_path / "work/harbour-base-default-43/documents/sub").is_dir(),
    ) == ({"roots": ["documents"]}, True)
    assert (config["dataset"], config["train"]) == ({"seed": 43}, {"seed": 43, "epochs": 1})
    assert config["evaluate"] == {
        "models": ["base", "adapter"],
        "count": 6,
        "gate": {"forgetting": 0.1},
    }
    assert (tmp_path / "keep/harbour-base-default-43/dataset_card.json").exists()


def test_a_failure_shows_the_command_and_what_it_said(call: list[str], tmp_path: Path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/fail").touch()
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "-m phoenix_forge train --json exited with 4\nthe weights are damaged" in done.stderr
    assert not (tmp_path / "knowledge.json").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--set", "epochs"), "--set takes section.key=value"),
        (("--forge", "nowhere"), "is no checkout of Forge"),
    ],
)
def test_bad_arguments_are_refused(call: list[str], change: tuple[str, str], words: str):
    done = subprocess.run([*call, *change], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.slow
def test_a_run_of_forge_itself(documents: Path, tmp_path: Path):
    (tmp_path / "squad.json").write_text(json.dumps(SQUAD))
    small = {
        "dataset.amplification": 2,
        "dataset.probes": 4,
        "dataset.replay": 0.0,
        "train.precision": "fp32",
        "train.rank": 4,
        "train.max_length": 256,
        "train.max_steps": 2,
        "evaluate.max_tokens": 6,
    }
    done = subprocess.run(
        [
            sys.executable,
            str(SCRIPT),
            str(documents),
            str(tmp_path / "squad.json"),
            "--base",
            "tiny",
            "--count",
            "4",
            "--result",
            str(tmp_path / "knowledge.json"),
            *(text for key, value in small.items() for text in ("--set", f"{key}={value}")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "knowledge.json").read_text())["rows"]
    assert (row["set"], row["base"], row["questions"]) == ("docs", "tiny", 4)
    assert row["conditions"].keys() == set(knowledge.CONDITIONS)
    assert row["cost"]["gpu_seconds"] is None
