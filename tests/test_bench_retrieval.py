"""bench/retrieval.py: what answers a question, rows in each other's place, and a whole run on hand-made documents."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus.index import ensure

SCRIPT = Path(__file__).resolve().parents[1] / "bench/retrieval.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_retrieval", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


retrieval = load()


def words(texts: list[str]) -> list[int]:
    """Counts as a tokenizer would; by name, so that another process can be told of it."""
    return [len(text.split()) for text in texts]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "span", "rank"),
    [
        (
            "Tarvik",
            (0, 500),
            2,
        ),  # the first passage found is of the same span, but does not hold the answer
        ("bell Bells", (0, 500), 1),  # no section holds all of it: where it lies is enough
        ("Tarvik", (500, 501), 0),
    ],
)
def test_a_question_is_answered_by_a_passage_that_holds_the_answer(
    tmp_path: Path, answer: str, span: tuple[int, int], rank: int
):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text(
        "# Bells\n\nThe bell rings; bell, bell, bell.\n\nBells come by ship from Tarvik each "
        "year in spring.\n"
    )
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 10}}
    )
    question: dict[str, Any] = {
        "question": "bell",
        "answer": answer,
        "aliases": [],
        "path": "a.md",
        "span": span,
    }
    with ensure(config, tmp_path, words, tmp_path / "index.sqlite", sha256_file, Silent()) as index:
        assert retrieval._asked(index, question)[0] == rank


def test_figures():
    found = retrieval._figures([(1, 1.0), (3, 2.0), (4, 3.0), (0, 9.0)])
    assert found == {
        "questions": 4,
        "at_1": 0.25,
        "at_3": 0.5,
        "at_5": 0.75,
        "mrr": 0.3958,
        "search_ms": 2.5,
    }


def run(*given: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_writes_rows_and_what_is_left_out_shows(tmp_path: Path, tiny_base: Path):
    result = tmp_path / "rows.json"
    same = ["--base", str(tiny_base), "--sets", "village-ru", "--result", str(result)]
    run(*same)
    run(*same, "--label", "words alone", "--without", "stems,stops,compounds")
    table = run(*same)
    rows = json.loads(result.read_text())["rows"]
    assert {row["label"]: row["questions"] for row in rows} == {"now": 6, "words alone": 6}
    at_first = {row["label"]: row["at_1"] for row in rows}
    assert at_first["now"] == 1 > at_first["words alone"]
    assert table == run("--table", "--result", str(result))
    assert table.count("\n| village-ru |") == 2


def test_a_step_that_is_not_there(tmp_path: Path, tiny_base: Path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--base", str(tiny_base), "--without", "stemming"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "stemming is none of stems, stops, compounds" in done.stderr
