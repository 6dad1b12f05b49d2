"""The questions as a task of lm-evaluation-harness (lm-eval), for the same figures from another hand.

    lm_eval --model hf --model_args pretrained=MODEL --include_path FOLDER --tasks NAME --apply_chat_template

acc takes the largest log p(option | prompt), of the token ids that Forge scores (read from lm-eval 0.4.13, and measured
on Qwen2.5-Coder-0.5B: 160 options within 3e-5 nats). acc_mutual_info subtracts log p(option | the model's first or last
special token). Forge's own choice compares means over tokens, and takes off what a prompt that asks nothing gives;
lm-eval has no such figure.

lm-eval counts white space at a prompt's end with the option: with ChatML each of its sums also holds the log p of the
line break behind "assistant". Nothing trains that token: it costs about 14 nats there. All options of a question
share it, so neither figure changes; acc_norm, which divides by each option's length, would (0.68 for 0.78), and is left
out.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path

import orjson
import yaml

from phoenix_forge.core.fsio import atomic_file, write_text
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate.questions import Question, options

METRICS = ("acc", "acc_mutual_info")


def export(
    questions: Sequence[Question], folder: Path, name: str, system: str | None
) -> list[Path]:
    """Writes NAME.yaml and NAME.jsonl for the questions that have distractors; returns the two paths.

    The task names the questions by their absolute path (lm-eval would look for a relative one where it is started), so
    a folder that has moved is exported again. Raises UsageError where no question has distractors, and for a name that
    lm-eval would take for several or for a pattern.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(
            f"{name!r} cannot name an lm-eval task: letters, digits, '.', '_' and '-' can",
            fix="choose another name",
        )
    rows = [_row(question, system) for question in questions if question.distractors]
    if not rows:
        raise UsageError(
            f"none of {len(questions)} questions has distractors: there is nothing to choose from",
            fix='add "distractors": [...] to the questions',
        )
    task, data = folder / f"{name}.yaml", folder / f"{name}.jsonl"
    with atomic_file(data) as lines:
        lines.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    write_text(
        task,
        yaml.safe_dump(_task(name, data.resolve(), system), sort_keys=False, allow_unicode=True),
    )
    return [task, data]


def _row(question: Question, system: str | None) -> dict[str, object]:
    offered = options(question)
    return {
        "id": question.id,
        "kind": question.kind,
        "path": question.path,
        "question": question.question,
        # As text, because a column of dates would be read as points in time.
        "options": json.dumps(offered, ensure_ascii=False),
        "gold": offered.index(question.answer),
        **({"system": system} if system else {}),
    }


def _task(name: str, data: Path, system: str | None) -> dict[str, object]:
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": glob.escape(str(data))}},
        "test_split": "test",
        "output_type": "multiple_choice",
        # Columns, not templates: what is written in braces in a question or a system prompt stays as it is.
        **({"description": "system"} if system else {}),
        "doc_to_text": "question",
        "doc_to_choice": "{{options}}",  # parsed as a Python literal, which a JSON list of strings is
        "doc_to_target": "gold",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
        "metadata": {"version": 1.0},
    }
