"""The one place where errors become messages and exit codes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_forge import pipeline, stages
from phoenix_forge.cli import boundary
from phoenix_forge.cli.boundary import guarded, invoke
from phoenix_forge.errors import EnvironmentProblem, ForgeError, StageFailed, UsageError


def fail(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("m", fix="f"), 2),
        (EnvironmentProblem("m", fix="f"), 3),
        (StageFailed("m", fix="f"), 4),
        (ForgeError("m", fix="f"), 4),
        (OSError(28, "No space left on device", "/x"), 3),
        (MemoryError(), 3),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 3),
    ],
)
def test_expected_failures_are_one_message_with_a_fix(error, code, capsys):
    assert guarded(fail(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("error: ") == err.count("fix: ") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "error", [ValueError("odd"), EOFError("short file"), AssertionError(), KeyError("k")]
)
def test_a_bug_ends_with_1_and_names_its_log(error, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert guarded(fail(error)) == 1
    assert "logs/forge-bug.log" in capsys.readouterr().err
    assert type(error).__name__ in (tmp_path / "logs/forge-bug.log").read_text()


def test_without_room_for_its_log_the_traceback_is_shown(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").write_text("a file, for want of a full disk")
    monkeypatch.setattr(boundary.tempfile, "gettempdir", lambda: str(tmp_path / "logs"))
    assert guarded(fail(ValueError("odd"))) == 1
    err = capsys.readouterr().err
    assert "fix: report it with that text" in err
    assert "ValueError: odd" in err


def test_the_log_of_a_bug_follows_no_link(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "keys").write_text("mine")
    (tmp_path / "logs/forge-bug.log").symlink_to(tmp_path / "keys")
    monkeypatch.setattr(boundary.tempfile, "gettempdir", lambda: str(tmp_path / "absent"))
    assert guarded(fail(ValueError("odd"))) == 1
    assert (tmp_path / "keys").read_text() == "mine"


def test_results(capsys):
    assert guarded(lambda: None) == 0
    assert guarded(lambda: 4) == 4
    assert guarded(fail(KeyboardInterrupt())) == 130
    assert "the next run continues" in capsys.readouterr().err


SAID = "from phoenix_forge.cli.boundary import guarded; import sys; sys.exit(guarded(lambda: print('✓ 3 × 4 → 漢')))"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_a_terminal_cannot_show_is_said_with_other_characters(encoding):
    done = subprocess.run(
        [sys.executable, "-c", SAID],
        capture_output=True,
        env={"PYTHONIOENCODING": encoding},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode(encoding).strip() in ("+ 3 x 4 -> ?", "+ 3 × 4 -> ?")


def test_a_user_without_a_home_gets_one_of_his_own(monkeypatch, tmp_path):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert guarded(lambda: 0) == 0
    assert Path.home().parent == tmp_path
    assert Path.home().stat().st_mode & 0o077 == 0


# The first argument of each list that starts Python.
STARTS = re.compile(r"\[\s*sys\.executable,\s*([^,\s]+)")


def test_documents_called_like_a_library_are_never_run(tmp_path):
    """Of every place that starts Python: what is given to it, and what it inherits."""
    (tmp_path / "json.py").write_text("open('ran', 'w')")
    inherited = (
        "from phoenix_forge.cli.boundary import guarded; import subprocess, sys; "
        "guarded(lambda: subprocess.run([sys.executable, '-c', 'import json'], check=True).returncode)"
    )
    subprocess.run([sys.executable, "-P", "-c", inherited], cwd=tmp_path, check=True)
    assert not (tmp_path / "ran").exists()
    sources = [
        path.read_text(encoding="utf-8")
        for path in Path(boundary.__file__).parents[1].rglob("*.py")
    ]
    started = [start for text in sources for start in STARTS.findall(text)]
    assert len(started) > 5
    assert set(started) == {'"-P"'}


@pytest.fixture
def broken(workspace, monkeypatch):
    """`forge status` in a workspace, with something wrong inside."""

    def run(error: BaseException) -> int:
        folder = workspace()
        monkeypatch.chdir(folder)
        monkeypatch.setattr(pipeline, "plan", lambda *arguments, **named: fail(error)())
        return guarded(lambda: invoke(["status"]))

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("x"), 1, "a bug in Forge"),
        (EOFError("x"), 1, "a bug in Forge"),
        (StageFailed("it broke", fix="mend it"), 4, "error: it broke\nfix: mend it"),
    ],
)
def test_through_a_real_command(broken, error, code, said, capsys):
    assert broken(error) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["run", "--nope"],
        ["validate"],
        ["config"],
        ["config", "nope"],
        ["serve", "--port", "many"],
        ["run", "--from"],
        ["run", "extra"],
    ],
)
def test_a_wrong_command_line(arguments, capsys):
    assert guarded(lambda: invoke(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "\nfix: " in err
    assert "--help" in err


@pytest.mark.parametrize(
    "error",
    [
        StageFailed("it broke", fix="f"),
        UsageError("it broke", fix="f"),
        OSError(28, "it broke", "/x"),
        RuntimeError("it broke"),
        KeyboardInterrupt(),
    ],
)
@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["modelfile"]])
def test_a_failing_stage_never_ends_with_0(error, arguments, copy, monkeypatch, capsys):
    monkeypatch.chdir(copy)
    monkeypatch.setattr(stages.load("modelfile"), "run", lambda ctx: fail(error)())
    before = (copy / "Modelfile").read_bytes()
    assert guarded(lambda: invoke([*arguments, "--set", "generation.max_tokens=9"])) not in (
        0,
        None,
    )
    assert (copy / "Modelfile").read_bytes() == before
    out = capsys.readouterr().out
    if arguments == ["run", "--json"] and isinstance(error, StageFailed | UsageError | OSError):
        assert '"name": "modelfile", "status": "failed"' in out
        assert '"name": "deploy"' not in out
    else:
        assert out == ""
    monkeypatch.undo()
    monkeypatch.chdir(copy)
    reasons = {
        step.name: step.reason for step in pipeline.plan(_context(copy), ["quantize", "modelfile"])
    }
    assert reasons["quantize"] is None, "what was finished stays"


def _context(folder: Path) -> stages.Context:
    from phoenix_forge.cli.setup import Setup

    return Setup(workspace=folder, quiet=True).context()


def test_the_log_of_a_bug_where_nothing_can_be_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(boundary.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "here").mkdir()
    (tmp_path / "here/logs").write_text("no folder")
    monkeypatch.chdir(tmp_path / "here")
    assert guarded(fail(ValueError("x"))) == 1
    assert str(tmp_path / "forge-bug.log") in capsys.readouterr().err


def test_ctrl_c_in_a_process_of_its_own(workspace):
    # Where the tests run in the background, SIGINT is ignored, and Python leaves it so.
    program = (
        "import signal\nfrom phoenix_forge import pipeline\n"
        "from phoenix_forge.cli.boundary import guarded, invoke\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "pipeline.plan = lambda *a, **k: signal.raise_signal(signal.SIGINT)\n"
        "raise SystemExit(guarded(lambda: invoke(['run'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=workspace(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
