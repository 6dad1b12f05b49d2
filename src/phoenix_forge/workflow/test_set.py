"""The frozen questions in the form of the workflow's evaluation set, for tools that read instruction, input and output.

The workflow's set asked for whole documents that were kept out of training. These questions are about documents that were
trained, in wordings that were not: what was learned from a document shows in no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from phoenix_forge.core.fsio import atomic_file
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.questions import Question


def write(questions: Sequence[Question], workspace: Workspace) -> Path:
    """Writes the file beside the workspace's dataset; returns its path. Raises as `write_test_set` does."""
    target = workspace.dataset.with_name("sanctuary_evaluation_data.jsonl")
    write_test_set(questions, target)
    return target


def write_test_set(questions: Sequence[Question], target: Path) -> None:
    """Writes a line of JSON a question, with its source where it has one.

    Raises UsageError, and leaves a file that is there as it is, if there are no questions.
    """
    if not questions:
        raise UsageError(
            f"{target} would be empty: the dataset has no frozen questions",
            fix="forge dataset --set dataset.probes=60",
        )
    with atomic_file(target) as lines:
        lines.writelines(
            orjson.dumps(_row(question), option=orjson.OPT_APPEND_NEWLINE) for question in questions
        )


def _row(question: Question) -> dict[str, object]:
    row: dict[str, object] = {
        "instruction": question.question,
        "input": "",
        "output": question.answer,
    }
    if question.path is None:
        return row
    return row | {
        "source": {"path": question.path, "span": question.span, "sha256": question.sha256}
    }
