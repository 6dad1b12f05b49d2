"""The workflow's verification harness: its seven tests, told from the findings of the checks. Nothing goes online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phoenix_forge.core.report import Reporter
from phoenix_forge.doctor.finding import Level, Status
from phoenix_forge.doctor.table import CHECKS, examine


@dataclass(frozen=True)
class HarnessTest:
    """One of the workflow's seven tests: the script that runs it alone, and the checks it stands for."""

    script: str | None
    label: str
    level: Level
    checks: tuple[str, ...]


HARNESS = (
    HarnessTest(None, "environment", "critical", ("environment", "python")),
    HarnessTest("test_torch_cuda", "PyTorch + CUDA", "critical", ("torch", "cuda")),
    HarnessTest("test_bitsandbytes", "bitsandbytes", "required", ("bitsandbytes",)),
    HarnessTest("test_triton", "triton", "required", ("triton",)),
    HarnessTest("test_transformers", "transformers", "required", ("transformers", "peft")),
    HarnessTest("test_xformers", "xformers", "optional", ("xformers",)),
    # The workflow's test bears the name of the binding it used.
    HarnessTest("test_llama_cpp", "llama-cpp-python", "required", ("runtime", "quantiser")),
)
TENSORFLOW = HarnessTest("test_tensorflow", "TensorFlow", "optional", ("tensorflow",))
SCRIPTS = {test.script: test for test in (*HARNESS, TENSORFLOW) if test.script}


def harness_line(test: HarnessTest, rows: list[dict]) -> str:
    """`rows`: the findings of the test's checks; the worst of them is the test's."""

    def having(status: Status) -> list[dict]:
        return [row for row in rows if row["status"] == status]

    if failed := having("failed"):
        return "\n".join(
            [
                f"❌ {test.label} FAILED ({test.level}): {'; '.join(row['found'] for row in failed)}",
                *(f"   fix: {row['fix']}" for row in failed),
            ]
        )
    if warned := having("warning"):
        passed = ", ".join(CHECKS[row["name"]].title for row in having("ok"))
        return f"⚠️ {f'{passed} OK, ' if passed else f'{test.label}: '}{'; '.join(row['found'] for row in warned)}"
    return f"✅ {test.label} OK ({test.level}: {'; '.join(row['found'] for row in rows)})"


def harness_lines(tests: Sequence[HarnessTest], checks: list[dict]) -> tuple[list[str], bool]:
    """What the harness prints, its verdict last, and whether every critical and required test passed."""
    found = {row["name"]: row for row in checks}
    rows = [(test, [found[name] for name in test.checks]) for test in tests]
    passed = not any(
        row["status"] == "failed" for test, its in rows if test.level != "optional" for row in its
    )
    verdict = "VERIFICATION COMPLETE" if passed else "VERIFICATION FAILED"
    return [*(harness_line(test, its) for test, its in rows), verdict], passed


def verify(script: str, root: Path, report: Reporter) -> tuple[list[str], bool]:
    """Runs `verify_environment` (all seven tests) or one of SCRIPTS: lines for stdout, and False for exit code 3."""
    tests = [SCRIPTS[script]] if script in SCRIPTS else list(HARNESS)
    return harness_lines(
        tests, examine(root, only=[name for test in tests for name in test.checks], report=report)
    )
