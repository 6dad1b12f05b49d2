"""The frozen questions in the form of the seed's evaluation set, for tools that read instruction, input and output.

The seed's set asked for whole documents that were kept out of training. These questions are about documents that were
trained, in wordings that were not: what was learned from a document shows in no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from phoenix_forge.core.fsio import atomic_file
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.questions import Question


def write_test_set(questions: Sequence[Question], target: Path) -> int:
    """Writes a line of JSON a question, with its source where it has one; returns their number.

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
    return len(questions)


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
