"""The frozen questions as the workflow's evaluation set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.questions import Question
from phoenix_forge.workflow.test_set import write_test_set

SOURCED = Question(
    "0001", "key", "Who?", "Maren", ("Maren Holt",), ("Tarvik",), "docs/a.md", (3, 9), "ab" * 32
)
OWN = Question("0002", "own", "Größe?\u2028", '東京 "9"', (), (), None, None, None)


def test_lines_are_those_of_the_seed_with_their_source(tmp_path: Path):
    target = tmp_path / "dataset_package/sanctuary_evaluation_data.jsonl"
    write_test_set([SOURCED, OWN], target)
    assert [
        json.loads(line) for line in target.read_text(encoding="utf-8").split("\n") if line
    ] == [
        {
            "instruction": "Who?",
            "input": "",
            "output": "Maren",
            "source": {"path": "docs/a.md", "span": [3, 9], "sha256": "ab" * 32},
        },
        {"instruction": "Größe?\u2028", "input": "", "output": '東京 "9"'},
    ]


def test_without_questions_what_was_there_stays(tmp_path: Path):
    target = tmp_path / "set.jsonl"
    target.write_text("before", encoding="utf-8")
    with pytest.raises(UsageError, match="would be empty"):
        write_test_set([], target)
    assert target.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [target]
