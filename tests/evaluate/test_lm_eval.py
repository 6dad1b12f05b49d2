"""The exported task holds every question as it is, and lm-eval scores the ids that Forge scores."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from phoenix_forge.catalog.families import by_config
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.errors import UsageError
from phoenix_forge.evaluate import lm_eval
from phoenix_forge.evaluate.questions import Question, options

SYSTEM = "Answer {{ shortly }}, {% from memory %}."
# Options of dates only, and braces and quotes that a template or a parser could take for its own.
ASKED = (
    ("When was the bell cast?", "2020-01-01", ("2020-01-02", "2021-01-01", "1999-12-31")),
    (
        "{{ gold }} {% raw\nWhich?",
        'it\'s "q" \\ and\ttab\u2028',
        ("Größe 東京 🚀", "{{ options }}", "[1, 2]"),
    ),
    ("  2020 ", "Maren Holt", ("None",)),
)


def question(
    number: int, asked: str, answer: str, distractors: tuple[str, ...], path: str | None = None
) -> Question:
    return Question(
        f"{number:016x}",
        "fact",
        asked,
        answer,
        ("other",),
        distractors,
        path,
        (3, 9) if path else None,
        "ab" * 32 if path else None,
    )


QUESTIONS = [question(i, *row) for i, row in enumerate(ASKED)]


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_the_task_points_at_its_questions(tmp_path: Path):
    folder = tmp_path / "tasks [1]"
    task, data = lm_eval.export(
        [*QUESTIONS, question(9, "What?", "no options", ())], folder, "my-model", SYSTEM
    )
    assert [task, data] == [folder / "my-model.yaml", folder / "my-model.jsonl"]
    settings = yaml.safe_load(task.read_text(encoding="utf-8"))
    assert settings["task"] == "my-model"
    assert settings["target_delimiter"] == ""
    assert settings["output_type"] == "multiple_choice"
    assert [row["metric"] for row in settings["metric_list"]] == ["acc", "acc_mutual_info"]
    pattern = Path(settings["dataset_kwargs"]["data_files"]["test"])
    assert list(pattern.parent.parent.glob(f"{pattern.parent.name}/{pattern.name}")) == [
        data.resolve()
    ]
    found = rows(data)
    assert len(found) == len(QUESTIONS)
    for row, asked in zip(found, QUESTIONS, strict=True):
        assert set(row) > {
            settings["doc_to_text"],
            settings["doc_to_target"],
            settings["description"],
        }
        assert (row["id"], row["question"], row["system"]) == (asked.id, asked.question, SYSTEM)


def test_without_a_system_prompt_there_is_none(tmp_path: Path):
    task, data = lm_eval.export(QUESTIONS, tmp_path, "t", None)
    assert "description" not in yaml.safe_load(task.read_text(encoding="utf-8"))
    assert all("system" not in row for row in rows(data))


@given(st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True))
def test_options_are_a_literal_with_the_answer_at_gold(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
):
    answer, *others = texts
    folder = tmp_path_factory.mktemp("task")
    row = rows(
        lm_eval.export([question(1, "Which?", answer, tuple(others))], folder, "t", None)[1]
    )[0]
    offered = ast.literal_eval(row["options"])  # what lm-eval parses it with
    assert offered[row["gold"]] == answer
    assert sorted(offered) == sorted(texts)


def test_the_answer_is_not_always_in_the_same_place(tmp_path: Path):
    many = [question(i, "Which?", "right", ("a", "b", "c")) for i in range(100)]
    gold = [row["gold"] for row in rows(lm_eval.export(many, tmp_path, "t", None)[1])]
    assert all(10 < gold.count(place) < 40 for place in range(4))


@pytest.mark.parametrize(
    ("questions", "name", "said"),
    [
        (QUESTIONS, "a,b", "cannot name"),
        (QUESTIONS, "../x", "cannot name"),
        (QUESTIONS, "qwen*", "cannot name"),
        ([question(1, "What?", "a", ())], "t", "none of 1 questions has distractors"),
        ([], "t", "none of 0 questions"),
    ],
)
def test_what_cannot_be_a_task_is_refused(
    tmp_path: Path, questions: list[Question], name: str, said: str
):
    with pytest.raises(UsageError, match=said):
        lm_eval.export(questions, tmp_path / "tasks", name, None)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.slow
def test_lm_eval_scores_the_ids_that_forge_scores(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    lm_eval.export(QUESTIONS, tmp_path / "tasks [1]", "t", SYSTEM)
    for name, value in {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval",
            "--model",
            "hf",
            "--model_args",
            f"pretrained={tiny_base},dtype=float32",
            "--tasks",
            "t",
            "--include_path",
            str(tmp_path / "tasks [1]"),
            "--apply_chat_template",
            "--device",
            "cpu",
            "--log_samples",
            "--output_path",
            str(tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scored = rows(next((tmp_path / "out").rglob("samples_t_*.jsonl")))
    assert len(scored) == len(QUESTIONS)
    family = by_config(
        json.loads((tiny_base / "config.json").read_text(encoding="utf-8")), str(tiny_base)
    )
    encoder = Encoder.load(tiny_base, stop=family.stop, pad=family.pad)
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    for sample, asked in zip(scored, QUESTIONS, strict=True):
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": asked.question},
        ]
        texts = options(asked)
        requests = [sample["arguments"][f"gen_args_{i}"] for i in range(len(texts))]
        assert [(r["arg_0"], r["arg_1"]) for r in requests] == [
            (encoder.template.render(messages, prompt=True), text) for text in texts
        ]
        theirs = [float(response[0][0]) for response in sample["resps"][: len(texts)]]
        ours = [
            _log_likelihood(model, encoder.prompt(messages), encoder.ids(text)) for text in texts
        ]
        shared = [
            a - b for a, b in zip(theirs, ours, strict=True)
        ]  # the line break before an answer
        assert max(shared) - min(shared) < 1e-3
        assert sample["acc"] == (ours.index(max(ours)) == sample["doc"]["gold"])


def _log_likelihood(model: torch.nn.Module, prompt: list[int], ids: list[int]) -> float:
    """Σ log p of the ids behind the prompt."""
    with torch.inference_mode():
        logprobs = (
            model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        )
    return logprobs.gather(-1, torch.tensor(ids)[:, None]).sum().item()
