"""The Python API: held against the commands on the same workspace, and as its pages show it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge import Event, ForgeError, Project
from phoenix_forge.core.report import Told
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.project import models
from phoenix_forge.runtime.answer import Answer

DOCS = Path(__file__).parents[2] / "docs"
LAMP = "When is the lamp of Harbour Nine lit?"
Run = Callable[..., Any]


def as_json(result: dict) -> dict:
    return json.loads(json.dumps(result))


@pytest.mark.slow
def test_results_are_those_of_the_commands(done: Path, run_forge: Run) -> None:
    with Project.open(done) as project:
        planned, told = project.plan(), run_forge("plan", "--json", cwd=done).json
        assert as_json(planned)["steps"] == told["steps"]
        assert as_json(project.status()) == run_forge("status", "--json", cwd=done).json
        said, told = as_json(project.ask(LAMP)), run_forge("ask", LAMP, "--json", cwd=done).json
        assert said.keys() == told.keys()
        assert {**said, "seconds": 0} == {**told, "seconds": 0}


def test_what_is_up_to_date_is_not_done_again(done: Path, first_run: tuple[Path, Any]) -> None:
    project = Project.open(done)
    ran, first = project.run(), first_run[1].json
    assert {stage["status"] for stage in ran["stages"]} == {"skipped"}
    assert [stage["name"] for stage in ran["stages"]] == [
        stage["name"] for stage in first["stages"]
    ]
    assert as_json(ran)["artifacts"] == first["artifacts"]
    assert project.train()["seconds"] == 0.0


def test_settings_beside_the_file_are_this_objects_alone(done: Path) -> None:
    project = Project.open(done, set={"train.rank": 8, "evaluate": {"count": 3}})
    other = project.with_settings({"train.rank": 16})
    assert (project.config.train.rank, other.config.train.rank, other.config.evaluate.count) == (
        8,
        16,
        3,
    )
    assert Project.open(done).config.train.rank == 4
    named = done.parent / "other.yaml"
    named.write_text("model: {base: tiny, name: other}\n")
    assert Project.open(done, config=named).config.model.name == "other"


def test_arguments_of_a_step_are_settings_of_that_step(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, Any]] = []
    monkeypatch.setattr(Project, "stage", lambda self, name, **_: ran.append((name, self.config)))
    project = Project.open(done)
    project.evaluate(questions=done / "q.jsonl", models=["gguf"], count=5)
    project.quantize(types=["Q4_K_M"], imatrix="none")
    asked, written = ran[0][1].evaluate, ran[1][1].quantize
    assert (asked.questions, asked.models, asked.count) == (str(done / "q.jsonl"), ["gguf"], 5)
    assert (written.types, written.imatrix) == (["Q4_K_M"], "none")
    assert project.config.evaluate.count is None


def test_errors_are_the_commands_errors(done: Path, tmp_path: Path, run_forge: Run) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        Project.open(tmp_path / "none")
    with pytest.raises(UsageError) as missing:
        Project.open(tmp_path)
    assert missing.value.message in run_forge("plan", "--workspace", tmp_path, cwd=tmp_path).stderr
    assert missing.value.fix == "forge init"
    with pytest.raises(UsageError, match=r"did you mean train\.rank"):
        Project.open(done, set={"rank": 8})
    with pytest.raises(ForgeError, match="choose from base, adapter"):
        Project.open(done).ask(LAMP, model="best")


def test_what_the_folder_reaches_outside_needs_the_users_word(copy: Path, tmp_path: Path) -> None:
    (copy / "forge.yaml").write_text(
        f"model: {{base: tiny}}\npaths: {{modelfile: {tmp_path}/Modelfile}}\n"
    )
    with pytest.raises(UsageError, match=r"paths\.modelfile") as outside:
        Project.open(copy)
    assert "forge allow" in str(outside.value.fix)


def test_a_library_that_is_not_there_is_named(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phoenix_forge.runtime.llama", None)
    with pytest.raises(EnvironmentProblem, match="cannot be imported") as lacking:
        Project.open(done).ask(LAMP)
    assert "phoenix-forge[train]" in str(lacking.value.fix)


def test_a_model_stays_loaded_until_a_step_runs_or_the_project_is_closed(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    class Stand:
        def __init__(self, ctx: Any) -> None:
            events.append("opened")

        def chat(self, messages: Any, *, on_text: Callable[[str], None] | None, **_: Any) -> Answer:
            for piece in ("At ", "dusk."):
                if on_text:
                    on_text(piece)
            return Answer("At dusk.", True, 2, 0.0)

        def close(self) -> None:
            events.append("closed")

    monkeypatch.setitem(models.MODELS, "gguf", Stand)
    heard: list[str] = []
    with Project.open(done) as project:
        assert project.ask(LAMP, on_text=heard.append)["answer"] == "".join(heard) == "At dusk."
        said = project.ask(LAMP)
        assert (said["supported"], said["citations"][0]["path"]) == (True, "docs/lighthouse.md")
        assert project.ask(LAMP, closed_book=True)["passages"] == []
        assert events == ["opened"]
        index = project.index
        assert project.index is index
        project.dataset()
        assert events == ["opened", "closed"]
        assert project.index is not index
        project.ask(LAMP)
    assert events == ["opened", "closed"] * 2


def test_progress_is_told_once_a_second_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("phoenix_forge.core.report.time.monotonic", lambda: now)
    heard: list[Event] = []
    report = Told(heard.append)
    for step in range(1, 11):
        now += 0.25
        report.progress("train", step, 10, "steps", loss=1.5)
    report.warn("a\x1b]0;x")
    assert [event.done for event in heard[:-1]] == [1, 5, 9, 10]
    assert heard[0].fields == {"loss": 1.5}
    assert (str(heard[0]), str(heard[-1])) == ("train: 1 of 10 steps", r"warning: a\x1b]0;x")


@pytest.mark.slow
def test_a_script_needs_no_guard_by_its_name(docs: Path, tmp_path: Path) -> None:
    """Documents are read in processes of their own, and spawning one would run the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, threading, time\nfrom phoenix_forge import Project\nprint('once')\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()  # so they are spawned\n"
        "print(Project.init(sys.argv[1], set={'model.base': 'tiny'}).config.model.name)\n"
    )
    done = subprocess.run(
        [sys.executable, script, docs], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.stdout.split(), done.returncode) == (["once", "docs"], 0), done.stderr


@pytest.mark.slow
def test_the_page_says_what_works(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy)
    names: dict[str, Any] = {}
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "python.md").read_text(encoding="utf-8"), re.M | re.S
    )
    for block in blocks:
        exec(compile(block, "python.md", "exec"), names)
    names["project"].close()
    said = capsys.readouterr().out
    assert len(blocks) == 7
    assert all(
        word in said for word in ("train is up to date", "dataset: done", "did you mean train.rank")
    )


@pytest.mark.slow
def test_the_notebook_runs_from_documents_to_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "notebooks/documents-to-model.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "kept without outputs"
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    said = capsys.readouterr().out
    assert names["said"]["passages"]
    assert all(
        word in said
        for word in (
            "100% of the documents' tokens",
            "3 steps, loss",
            "notes-Q8_0.gguf",
            "of the choices right",
            "('modelfile', False), ('deploy', False)",
        )
    )
