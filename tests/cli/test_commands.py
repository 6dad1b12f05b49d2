"""Every command on a finished workspace: help, results for people and for machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from phoenix_forge.cli.app import GROUPS, app
from phoenix_forge.cli.init import init
from phoenix_forge.core.config import KNOWN, SECTIONS
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.project.init import write_config

COMMANDS = [
    "init",
    "doctor",
    "download",
    "dataset",
    "validate",
    "train",
    "ask",
    "merge",
    "quantize",
    "modelfile",
    "evaluate",
    "deploy",
    "chat",
    "serve",
    "mcp",
    "publish",
    "run",
    "plan",
    "status",
    "verify",
    "tools link",
    "config show",
    "config schema",
]
COMMON = ["--config", "--set", "--workspace", "--json", "--quiet", "--verbose"]
STAGES = ["download", "dataset", "train", "quantize", "modelfile", "deploy"]
DATASET = "dataset_package/small.jsonl"
FILES = {"path", "type", "bytes", "sha256"}
# Command line → the keys that DESIGN fixes for it.
RESULTS = {
    "dataset": {
        "documents",
        "sections",
        "examples",
        "source_tokens",
        "trained_tokens",
        "coverage",
        "duplicates",
        "redactions",
        "seconds",
        "path",
    },
    f"validate {DATASET}": {
        "examples",
        "errors",
        "warnings",
        "tokens",
        "truncated",
        "trained_share",
    },
    "train": {
        "adapter",
        "steps",
        "loss",
        "eval_loss",
        "tokens_per_second",
        "peak_vram_bytes",
        "peak_rss_bytes",
        "seconds",
    },
    "merge": {"files", "seconds", "peak_rss_bytes"},
    "quantize": {"files", "seconds", "peak_rss_bytes"},
    "ask hello --max-tokens 3": {"answer", "stopped", "tokens", "seconds"},
    "run": {"stages", "artifacts"},
    "doctor --only disk": {"checks"},
    "plan": {"steps"},
    "status": {"stages", "artifacts"},
    "config show": {"config", "origins"},
    "config schema": {"$defs", "properties"},
    "download": {"source", "path", "seconds"},
    "modelfile": {"path", "seconds"},
    "deploy": {"target", "answer", "seconds"},
    "ask hello --max-tokens 3 --model gguf --model base": {"answers"},
    "publish --repo ada/small --dry-run": {"repo", "private", "files"},
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, run_forge, tmp_path):
    ran = run_forge(*command.split(), "--help", cwd=tmp_path)
    assert ran.code == 0
    assert ran.stdout.startswith(f"Usage: forge {command} ")
    assert all(flag in ran.stdout for flag in COMMON)
    assert not list(tmp_path.iterdir()), "help writes nothing"


def test_the_command_alone_shows_them_all(run_forge, tmp_path):
    ran = run_forge(cwd=tmp_path)
    assert ran.code == 2
    assert all(f"\n  {command.split()[0]} " in ran.stdout for command in COMMANDS)
    assert run_forge("--version", cwd=tmp_path).stdout.strip()[0].isdigit()


def test_the_first_run(first_run):
    folder, ran = first_run
    result = ran.json
    assert [stage["name"] for stage in result["stages"]] == STAGES
    assert all(set(stage) == {"name", "status", "seconds"} for stage in result["stages"])
    assert {stage["status"] for stage in result["stages"]} == {"done"}
    assert all((folder / artifact["path"]).exists() for artifact in result["artifacts"])
    assert (folder / "models/gguf/small-Q4_K_M.gguf").read_bytes()[:4] == b"GGUF"
    assert ran.stderr == "" or "warning" in ran.stderr, "--json is quiet"


def test_the_second_run_does_nothing_and_says_so(done, run_forge):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if "logs" not in path.parts}
    ran = run_forge("run", cwd=done, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert (ran.code, ran.stdout) == (0, "nothing to do: everything is up to date\n")
    assert ran.stderr.count("skipped") == len(STAGES)
    after = {path: path.stat().st_mtime_ns for path in done.rglob("*") if "logs" not in path.parts}
    assert {p for p in after if after[p] != before.get(p)} <= {done / ".forge/lock"}
    imported = {
        line.rpartition("|")[2].strip()
        for line in ran.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "phoenix_forge.pipeline" in imported
    assert not imported & {"torch", "transformers", "xllamacpp"}, (
        "what it takes to find that nothing is to be done"
    )


def test_verify_reads_everything_again(copy, run_forge):
    path = copy / "models/small-adapter/adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    ran = run_forge("verify", "--json", cwd=copy)
    assert (ran.code, ran.json["intact"]) == (4, False)
    wrong = {
        row["path"]: (row["status"], row["fix"])
        for row in ran.json["files"]
        if row["status"] != "intact"
    }
    assert wrong == {"models/small-adapter": ("changed", "forge train --force makes it again")}
    assert {row["role"] for row in ran.json["files"]} >= {
        "base",
        "dataset",
        "gguf Q4_K_M",
        "checkpoint",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("line", "keys"), RESULTS.items(), ids=RESULTS)
def test_one_json_object_with_the_fixed_keys(line, keys, copy, run_forge):
    ran = run_forge(*line.split(), "--json", cwd=copy)
    assert ran.code == 0, ran.stderr
    assert keys <= set(ran.json)


@pytest.mark.slow
def test_what_the_objects_hold(copy, run_forge):
    dataset = run_forge("dataset", "--json", cwd=copy).json
    assert dataset["coverage"] == 1.0
    assert dataset["documents"] == 4
    assert len((copy / dataset["path"]).read_text().splitlines()) == dataset["examples"]
    checked = run_forge("validate", DATASET, "--json", cwd=copy).json
    assert (checked["examples"], checked["errors"]) == (dataset["examples"], 0)
    assert 0 < checked["trained_share"] < 1
    for command in ("quantize", "merge"):
        for file in run_forge(command, "--json", cwd=copy).json["files"]:
            assert set(file) >= FILES
            assert (copy / file["path"]).stat().st_size == file["bytes"]
    for stage in run_forge("run", "--json", cwd=copy).json["stages"]:
        assert stage["status"] == "skipped"
    (check,) = run_forge("doctor", "--only", "disk", "--json", cwd=copy).json["checks"]
    assert set(check) == {"name", "level", "status", "found", "fix"}
    answer = run_forge("ask", "hello", "--max-tokens", "3", "--json", cwd=copy).json
    assert answer["stopped"] or answer["tokens"] == 3


def test_train_names_the_adapter(done, run_forge):
    trained = run_forge("train", "--json", cwd=done).json
    assert (done / trained["adapter"] / "adapter_config.json").is_file()
    assert trained["steps"] == 2
    assert trained["tokens_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reruns"),
    [
        (
            ["--set", "deploy.system=You are Ada."],
            ["dataset", "train", "quantize", "modelfile", "deploy"],
        ),
        (["--set", "train.rank=8"], ["train", "quantize", "modelfile", "deploy"]),
        (["--set", "train.log_steps=9"], []),
        (["--set", "generation.max_tokens=9"], ["modelfile"]),
        (["--set", "generation.grounded=false"], []),
        (["--set", "train.rank=8", "--to", "train"], ["train"]),
        (["--set", "merge.enabled=true"], ["merge"]),
    ],
)
def test_plan_says_what_would_run_and_why(change, reruns, done, run_forge):
    steps = run_forge("plan", *change, "--json", cwd=done).json["steps"]
    assert [step["name"] for step in steps if step["run"]] == reruns
    assert all(bool(step["reason"]) == step["run"] for step in steps)


def test_plan_and_status_for_people(done, run_forge):
    plan = run_forge("plan", "--set", "train.rank=8", cwd=done)
    assert plan.code == 0
    assert "skip  dataset: up to date" in plan.stdout
    assert "run   train: rank changed" in plan.stdout
    assert "disk free" in plan.stdout
    status = run_forge("status", cwd=done)
    assert "✓ train: up to date" in status.stdout
    assert "models/gguf/small-Q4_K_M.gguf" in status.stdout


@pytest.mark.slow
def test_an_edited_document_is_noticed(copy, run_forge):
    (copy / "docs/ferry.md").write_text("# The ferry\n\nIt leaves at eight.\n")
    steps = run_forge("plan", "--json", cwd=copy).json["steps"]
    assert (
        next(s for s in steps if s["name"] == "dataset")["reason"]
        == "document docs/ferry.md changed"
    )


@pytest.mark.slow
def test_config_show_names_every_setting_and_its_origin(done, run_forge):
    ran = run_forge("config", "show", "--set", "train.rank=8", "--json", cwd=done)
    origins = ran.json["origins"]
    assert set(origins) == set(KNOWN) - SECTIONS
    assert origins["train.rank"] == "--set"
    assert origins["model.base"].endswith("forge.yaml")
    assert origins["publish.repo"] == "default"
    text = run_forge("config", "show", "--set", "train.rank=8", cwd=done).stdout
    assert "train.rank: 8  # --set" in text


def test_config_schema_needs_no_config(tmp_path, run_forge):
    ran = run_forge("config", "schema", cwd=tmp_path)
    assert json.loads(ran.stdout)["properties"]["train"]
    written = Path(__file__).parents[2] / "docs/schema.json"
    assert ran.stdout == written.read_text(), "make docs"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["handbook", "2024", "true", "a folder: with, odd 'signs'", "x" * 120]
)
def test_init_writes_a_config_that_loads(name, tmp_path, run_forge):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.md").write_text("# A\n\nText.\n")
    ran = run_forge("init", cwd=folder)
    assert ran.code == 0, ran.stderr
    assert "1 documents" in ran.stdout
    shown = run_forge("config", "show", "--json", cwd=folder)
    assert shown.code == 0, shown.stderr
    assert isinstance(yaml.safe_load((folder / "forge.yaml").read_text())["model"]["name"], str)
    (folder / "forge.yaml").write_text("model: {name: mine}\n")
    again = run_forge("init", cwd=folder)
    assert again.code == 2
    assert "fix: " in again.stderr
    assert (folder / "forge.yaml").read_text() == "model: {name: mine}\n"
    assert run_forge("init", "--force", cwd=folder).code == 0


@pytest.mark.parametrize(
    ("memory", "size", "amplification", "base"),
    [(8.0, 1000, 15, "qwen3-8b"), (8.0, 600_000, 10, "qwen3-8b"), (0.0, 1000, 6, "qwen3-0.6b")],
)
def test_init_chooses_by_the_machine_and_the_folder(
    memory, size, amplification, base, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "phoenix_forge.project.init.gpu", lambda: ("A GPU" if memory else "", memory)
    )
    (tmp_path / "a.md").write_text("A word. " * (size // 8))
    config = yaml.safe_load(write_config(tmp_path, force=False)[1])
    assert (config["dataset"]["amplification"], config["model"]["base"]) == (amplification, base)


@pytest.mark.slow
def test_init_shows_what_it_found(tmp_path, run_forge):
    (tmp_path / "node_modules").mkdir()
    for name, text in {
        "a.md": "# Lamp\n\n![the lamp](lamp.jpg)\n\n"
        + "The lamp is lit at dusk, and the keeper writes it into the log of the harbour. " * 3,
        "b.md": "# Lampe\n\n"
        + "Die Lampe wird am Abend entzündet, und der Wärter trägt es in das Buch ein. " * 3,
        "yarn.lock": "x",
        "logo.svg": "<svg/>",
        ".env.local": "K=1",
        ".gitignore": "old.md\n",
        "old.md": "x",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "song.mp3").write_bytes(b"ID3\0\0")
    found = run_forge("init", "--json", cwd=tmp_path).json
    assert found["kinds"] == {".md": 2, ".gitignore": 1}
    assert found["languages"] == {"en": 1, "de": 1}
    assert found["seconds"] > 0
    reasons = {each["path"]: each["reason"] for each in found["left_out"]}
    assert set(reasons) == {"yarn.lock", "logo.svg", ".env.local", "song.mp3", "node_modules", "./"}
    said = run_forge("init", "--force", cwd=tmp_path).stdout
    assert "languages: 1 English, 1 German" in said
    assert found["held"] == {"pictures": {"total": 1, "read": 0}}
    assert (
        "in the 3 that were opened: 1 picture, of which only the words beside them are known"
        in said
    )
    assert "a drawing: logo.svg; exclude: ['!*.svg'] in forge.yaml reads them" in said
    assert ".gitignore leaves it out: ./ (1 file)" in said
    assert "time: training takes about" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({}, "put documents there"),
        ({"a.svg": b"<svg/>"}, "!*.svg"),
        ({"a.mp3": b"ID3\0\0"}, "sound: write down"),
    ],
)
def test_init_writes_a_config_where_nothing_can_be_read_and_says_what_to_do(
    files, fix, tmp_path, run_forge
):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    ran = run_forge("init", cwd=tmp_path)
    assert (ran.code, (tmp_path / "forge.yaml").exists()) == (0, True)
    assert "nothing here can be read yet" in ran.stdout
    assert fix in ran.stdout.partition("\nfix: ")[2]
    assert fix in run_forge("plan", cwd=tmp_path).stderr, "the same way out"


def test_init_names_what_is_to_be_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("phoenix_forge.project.init.importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\0")
    found, said = init(tmp_path, force=False)
    assert found["documents"] == 0
    assert found["fix"] == "pip install 'phoenix-forge[docs]'"
    assert "not read yet: 1 .pdf; fix: pip install 'phoenix-forge[docs]'" in said


def test_init_needs_a_folder_that_can_be_written(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="does not exist") as missing:
        init(tmp_path / "none", force=False)
    assert "mkdir -p" in missing.value.fix
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(EnvironmentProblem, match="cannot be written to") as locked:
        init(tmp_path, force=False)
    assert str(tmp_path) in locked.value.fix
    assert not (tmp_path / "forge.yaml").exists()


def test_commands_find_the_workspace_from_below(done, run_forge, tmp_path):
    from_below = run_forge("status", "--json", cwd=done / "docs")
    named = run_forge("status", "--json", "--workspace", done, cwd=tmp_path)
    assert from_below.json["stages"] == named.json["stages"]


@pytest.mark.slow
def test_questions_come_from_arguments_a_file_or_stdin(done, run_forge, tmp_path):
    (tmp_path / "question.txt").write_text("hello\n")
    said = [
        run_forge("ask", *arguments, "--greedy", "--json", cwd=done, stdin=stdin).json["answer"]
        for arguments, stdin in (
            (["hello"], ""),
            (["--file", tmp_path / "question.txt"], ""),
            ([], "hello\n"),
        )
    ]
    assert len(set(said)) == 1
    nothing = run_forge("ask", cwd=done)
    assert nothing.code == 2
    assert "nothing was asked" in nothing.stderr


def test_progress_goes_to_stderr_and_to_the_log(copy, run_forge):
    ran = run_forge("modelfile", "--force", cwd=copy)
    assert ran.code == 0, ran.stderr
    assert "modelfile: running" in ran.stderr
    assert "running" not in ran.stdout
    assert "stage modelfile done" in (copy / "logs/forge.log").read_text()
    assert run_forge("modelfile", "--force", "--quiet", cwd=copy).stderr == ""


def test_every_command_is_in_one_group_of_the_help() -> None:
    named = [name for names in GROUPS.values() for name in names]
    assert sorted(named) == sorted(get_command(app).commands)


def test_the_help_shows_whole_sentences(tmp_path: Path, run_forge) -> None:
    said = " ".join(run_forge("--help", cwd=tmp_path).stdout.split())
    assert "..." not in said.replace("[ARGS]...", "")
    assert (
        "Look: plan Show what would run and why, with the time, memory and disk it needs." in said
    )
