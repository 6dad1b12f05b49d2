"""`forge evaluate` on a workspace: its conditions, its report, the gate, and what happens to bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from phoenix_forge.evaluate.questions import read

pytestmark = pytest.mark.slow

QUESTIONS = [
    {
        "question": "Who lights the lamp of Harbour Nine?",
        "answer": "Maren Holt",
        "aliases": ["Holt"],
        "distractors": ["The ferry", "Tarvik", "Selkie"],
        "path": "docs/lighthouse.md",
    },
    {
        "question": "What does a crossing cost?",
        "answer": "four crowns",
        "distractors": ["two crowns", "nothing"],
        "path": "docs/ferry.md",
    },
    {
        "question": "How often does the bell ring in fog?",
        "answer": "three times every minute",
        "distractors": ["once an hour"],
        "path": "docs/lighthouse.md",
    },
    {"question": "When does the Selkie leave?", "answer": "at seven"},
]
KEYS = {"name", "choice_accuracy", "exact_match", "f1", "nats_per_token"}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path], run_forge: Any
) -> Path:
    root = make_workspace(
        tmp_path_factory.mktemp("evaluated") / "work",
        quantize={"types": ["Q8_0"], "gate": "none"},
        evaluate={"max_tokens": 6},
    )
    (root / "questions.jsonl").write_bytes(
        b"".join(orjson.dumps(q, option=orjson.OPT_APPEND_NEWLINE) for q in QUESTIONS)
    )
    done = run_forge("run", "--to", "modelfile", cwd=root)
    assert done.code == 0, done.stderr
    return root


@pytest.fixture
def space(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "work", symlinks=True)


def test_the_conditions_and_their_report(space: Path, run_forge: Any) -> None:
    done = run_forge("evaluate", "--questions", "questions.jsonl", "--json", cwd=space)
    assert done.code == 0, done.stderr
    found = done.json
    assert [c["name"] for c in found["conditions"]] == [
        "base",
        "base + index",
        "base + passage",
        "tuned",
        "tuned + index",
        "Q8_0",
    ]
    assert all(c.keys() >= KEYS and 0 <= c["choice_accuracy"] <= 1 for c in found["conditions"])
    assert found.keys() >= {"knowledge_gained", "forgetting", "quantisation_loss"}
    assert (found["questions"], found["documents"], found["skipped"], found["rule_made"]) == (
        4,
        2,
        {},
        False,
    )
    page, card = (space / f"outputs/report/evaluation.{suffix}" for suffix in ("html", "md"))
    assert QUESTIONS[0]["question"] in page.read_text()
    assert "closed book" in card.read_text()
    result = json.loads((space / "outputs/report/evaluation.json").read_text())
    assert {a["question"] for a in result["answers"]} == {q["question"] for q in QUESTIONS}
    free = next(a for a in result["answers"] if a["question"] == QUESTIONS[3]["question"])
    assert free["path"] is free["position"] is free["conditions"]["tuned"]["choice"] is None
    assert "skipped" in run_forge("evaluate", "--questions", "questions.jsonl", cwd=space).stderr
    again = run_forge("evaluate", "--questions", "questions.jsonl", "--force", "--json", cwd=space)
    result = json.loads((space / "outputs/report/evaluation.json").read_text())
    assert result["previous"]["conditions"][0]["name"] == "base"
    assert again.json["conditions"] == found["conditions"]


def test_the_model_card_tells_what_was_measured_of_this_model(space: Path, run_forge: Any) -> None:
    limits = ["--set", "evaluate.questions=questions.jsonl"]
    assert (
        "## Evaluation"
        not in run_forge("publish", "--repo", "me/small", "--dry-run", cwd=space).stdout
    )
    assert run_forge("evaluate", *limits, cwd=space).code == 0
    shown = run_forge("publish", "--repo", "me/small", "--dry-run", cwd=space)
    assert shown.code == 0, shown.stderr
    assert "## Evaluation" in shown.stdout
    assert "| tuned + index |" in shown.stdout
    assert run_forge("train", "--set", "train.max_steps=3", cwd=space).code == 0
    shown = run_forge("publish", "--repo", "me/small", "--dry-run", cwd=space)
    assert "## Evaluation" not in shown.stdout
    assert "the evaluation was of another adapter" in shown.stderr


def test_a_killed_evaluation_goes_on_where_it_was(space: Path, run_forge: Any) -> None:
    """What was said by then is kept, and a model of which everything is known is not opened again."""
    program = "import sys; sys.argv[0] = 'forge'; from phoenix_forge.cli.boundary import main; sys.exit(main())"
    running = subprocess.Popen(
        [sys.executable, "-c", program, "evaluate", "--questions", "questions.jsonl"],
        cwd=space,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "tuned" in line:
            break
    running.send_signal(signal.SIGKILL)
    running.communicate()
    kept = {path: path.stat().st_mtime_ns for path in (space / ".forge/evaluation").glob("*.json")}
    assert len(kept) >= 5
    assert not (space / "outputs/report/evaluation.json").exists()
    done = run_forge("evaluate", "--questions", "questions.jsonl", cwd=space)
    assert done.code == 0, done.stderr
    assert "base + passage: " not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_model_below_its_gate_is_kept_and_not_deployed(space: Path, run_forge: Any) -> None:
    limits = ["--set", "evaluate.questions=questions.jsonl", "--set", "evaluate.gate.forgetting=-1"]
    done = run_forge("run", *limits, cwd=space)
    assert done.code == 4
    assert "small-Q8_0.gguf is kept, but not deployed: forgetting is" in done.stderr
    assert (space / "models/gguf/small-Q8_0.gguf").exists()
    assert (space / "outputs/report/evaluation.html").exists()
    assert not (space / ".forge/manifests/deploy.json").exists()
    assert run_forge("evaluate", *limits, cwd=space).code == 4
    done = run_forge("run", *limits[:2], "--set", "evaluate.gate.forgetting=1", cwd=space)
    assert done.code == 0, done.stderr
    assert (space / ".forge/manifests/deploy.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it holds no question"),
        ('{"question": "Who?"}\n[1]\n', "line 1: answer is missing"),
        (
            '{"question": "Who?", "answer": "x", "path": "docs/gone.md"}\n',
            "1 × path is not in the corpus",
        ),
    ],
)
def test_bad_question_files_are_refused(space: Path, run_forge: Any, text: str, words: str) -> None:
    (space / "bad.jsonl").write_text(text)
    done = run_forge("evaluate", "--questions", "bad.jsonl", cwd=space)
    assert done.code == 2
    assert words in done.stderr
    assert not (space / "outputs/report/evaluation.json").exists()


def test_a_gguf_with_another_tokenizer_is_refused(space: Path, run_forge: Any) -> None:
    other = space / "models/gguf/small-Q8_0.gguf"
    before, key, after = other.read_bytes().partition(b"tokenizer.chat_template")
    assert b"<|im_start|>" in after
    other.write_bytes(before + key + after.replace(b"<|im_start|>", b"<|im_START|>"))
    done = run_forge(
        "evaluate", "--questions", "questions.jsonl", "--model", "gguf", "--force", cwd=space
    )
    assert done.code == 2
    assert "its tokenizer or chat template is another than the base's" in done.stderr


def test_the_questions_in_other_forms(space: Path, run_forge: Any) -> None:
    done = run_forge(
        "evaluate", "--test-set", "--questions", "questions.jsonl", "--json", cwd=space
    )
    assert done.json == {"files": ["dataset_package/sanctuary_evaluation_data.jsonl"]}
    rows = [json.loads(line) for line in (space / done.json["files"][0]).read_text().splitlines()]
    assert [(r["instruction"], r["input"], r["output"]) for r in rows] == [
        (q["question"], "", q["answer"]) for q in QUESTIONS
    ]
    assert [(q.question, q.answer) for q in read(space / done.json["files"][0])] == [
        (q["question"], q["answer"]) for q in QUESTIONS
    ]
    done = run_forge(
        "evaluate", "--lm-eval", "tasks", "--questions", "questions.jsonl", "--json", cwd=space
    )
    assert sorted(Path(path).name for path in done.json["files"]) == ["small.jsonl", "small.yaml"]


def test_the_seeds_scripts_take_their_own_flags(space: Path) -> None:
    """evaluate.py --dataset FILE --model PATH, of a merged folder; forge_test_set.py writes what it reads."""
    scripts = Path(__file__).resolve().parents[1] / "forge" / "scripts"

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(scripts / script), "--config", "forge.yaml", *arguments],
            cwd=space,
            capture_output=True,
            text=True,
            check=False,
        )

    wrote = run("forge_test_set.py", "--questions", "questions.jsonl", "--json")
    assert wrote.returncode == 0, wrote.stderr
    file = json.loads(wrote.stdout)["files"][0]
    assert run("evaluate.py", "--dataset", file, "--model", "models/merged/none").returncode == 2
    merged = subprocess.run(
        [sys.executable, "-m", "phoenix_forge", "merge"],
        cwd=space,
        capture_output=True,
        text=True,
        check=False,
    )
    assert merged.returncode == 0, merged.stderr
    done = run(
        "evaluate.py", f"--dataset={file}", "--model", "models/merged/small-merged", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert [c["name"] for c in json.loads(done.stdout)["conditions"]][-1] == "merged"
