"""The workflow's seven tests, told from the doctor's findings, and the scripts that run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_forge.core.report import Silent
from phoenix_forge.doctor import CHECKS
from phoenix_forge.workflow import harness
from phoenix_forge.workflow.harness import HARNESS, SCRIPTS, harness_lines, verify

ROOT = Path(__file__).resolve().parents[2]


def rows(**status: str) -> list[dict]:
    """Findings for every check of the harness: ok, unless named otherwise."""
    names = [name for test in HARNESS for name in test.checks]
    return [
        {
            "name": n,
            "level": CHECKS[n].level,
            "status": status.get(n, "ok"),
            "found": f"{n} found",
            "fix": f"mend {n}",
        }
        for n in names
    ]


def test_the_harness_completes_where_everything_is_ok():
    lines, passed = harness_lines(HARNESS, rows())
    assert passed
    assert [line.split(" (")[0] for line in lines] == [
        "✅ environment OK",
        "✅ PyTorch + CUDA OK",
        "✅ bitsandbytes OK",
        "✅ triton OK",
        "✅ transformers OK",
        "✅ xformers OK",
        "✅ llama-cpp-python OK",
        "VERIFICATION COMPLETE",
    ]


def test_without_a_gpu_the_harness_completes_and_says_so():
    lines, passed = harness_lines(
        HARNESS, rows(cuda="warning", triton="warning", xformers="warning")
    )
    assert passed
    assert lines[1] == "⚠️ PyTorch OK, cuda found"
    assert lines[5] == "⚠️ xformers: xformers found"
    assert lines[-1] == "VERIFICATION COMPLETE"


@pytest.mark.parametrize(
    "name", [n for test in HARNESS if test.level != "optional" for n in test.checks]
)
def test_any_critical_or_required_failure_fails_the_harness_with_its_fix(name):
    lines, passed = harness_lines(HARNESS, rows(**{name: "failed"}))
    assert not passed
    assert lines[-1] == "VERIFICATION FAILED"
    assert any(
        line.startswith("❌") and f"{name} found" in line and f"fix: mend {name}" in line
        for line in lines
    )


def test_a_broken_optional_library_does_not_fail_the_harness():
    lines, passed = harness_lines(HARNESS, rows(xformers="failed"))
    assert passed
    assert lines[5].startswith("❌ xformers FAILED (optional)")
    assert lines[-1] == "VERIFICATION COMPLETE"


def test_verify_runs_one_test_or_all_seven(tmp_path, monkeypatch):
    asked = []

    def fake(root, *, only, report):
        asked.append(list(only))
        return [
            row for row in [*rows(), {**rows()[0], "name": "tensorflow"}] if row["name"] in only
        ]

    monkeypatch.setattr(harness, "examine", fake)
    assert len(verify("verify_environment", tmp_path, Silent())[0]) == 8
    assert verify("test_llama_cpp", tmp_path, Silent())[0][-1] == "VERIFICATION COMPLETE"
    assert asked[1] == ["runtime", "quantiser"]


def test_the_harness_asks_nothing_of_the_network():
    assert not {"clock", "ollama", "token"} & {name for test in HARNESS for name in test.checks}


# The wrappers


def test_every_single_check_has_its_script():
    assert {f"{name}.py" for name in SCRIPTS} == {
        path.name for path in (ROOT / "forge/tests").glob("test_*.py")
    }


def test_a_wrapper_without_forges_libraries_says_what_to_do(tmp_path):
    """A Python that sees only the standard library: -I -S keeps site-packages out."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "forge/tests/test_xformers.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr


def bash(script: Path, *arguments: str, cwd: Path) -> list[str]:
    done = subprocess.run(
        ["bash", script, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "VIRTUAL_ENV": sys.prefix},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_harness_runs_from_any_folder(tmp_path):
    lines = bash(ROOT / "forge/tests/verify_environment.sh", cwd=tmp_path)
    assert lines[-1] == "VERIFICATION COMPLETE"
    assert any(line.startswith("✅ bitsandbytes OK") for line in lines)


def test_a_link_to_the_scripts_runs_too(tmp_path):
    (tmp_path / "forge").symlink_to(ROOT / "forge")
    lines = bash(tmp_path / "forge/scripts/run.sh", "test_llama_cpp", cwd=tmp_path)
    assert lines[0].startswith("✅ llama-cpp-python OK")
