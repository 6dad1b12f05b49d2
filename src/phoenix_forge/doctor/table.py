"""The checks, in the order in which they are shown, and running them."""

from __future__ import annotations

import difflib
import importlib
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from phoenix_forge.core.extensions import extension, names
from phoenix_forge.core.report import Reporter
from phoenix_forge.doctor.environment import environment, python
from phoenix_forge.doctor.finding import CUDA_GUIDE, SETUP, Ctx, Finding, Level
from phoenix_forge.doctor.fixes import FIXES
from phoenix_forge.doctor.gpu import (
    attention,
    capability,
    cuda,
    driver,
    gpu_memory,
    torch_works,
    triton,
)
from phoenix_forge.doctor.libraries import (
    bitsandbytes,
    extra,
    library,
    quantiser,
    runtime,
    runtime_gpu,
)
from phoenix_forge.doctor.machine import disk, ram, swap, wsl
from phoenix_forge.doctor.services import clock, ollama, token
from phoenix_forge.errors import ForgeError, UsageError


@dataclass(frozen=True)
class Check:
    """`fix` is for a `run` that ends in an ImportError, OSError, RuntimeError or ForgeError: then the check failed."""

    name: str
    title: str
    level: Level
    run: Callable[[Ctx], Finding]
    fix: str = SETUP


def _added(name: str) -> Check:
    """A check of another room, which is loaded when the check runs."""
    return Check(name, name, "optional", lambda ctx: extension("doctor checks", name)(ctx))


CHECKS = {
    check.name: check
    for check in (
        Check("environment", "environment", "critical", environment),
        Check("python", "Python", "critical", python),
        Check("torch", "PyTorch", "critical", torch_works),
        Check("driver", "NVIDIA driver", "optional", driver, f"see {CUDA_GUIDE}"),
        Check("cuda", "CUDA", "critical", cuda, f"see {CUDA_GUIDE}"),
        Check("capability", "compute capability", "optional", capability),
        Check("gpu_memory", "GPU memory", "optional", gpu_memory),
        Check("attention", "attention", "required", attention),
        Check("bitsandbytes", "bitsandbytes", "required", bitsandbytes),
        Check("triton", "triton", "required", triton),
        Check(
            "transformers",
            "transformers",
            "required",
            library("transformers", "AutoModelForCausalLM"),
        ),
        Check("peft", "peft", "required", library("peft", "LoraConfig")),
        Check("runtime", "llama.cpp runtime", "required", runtime),
        Check("runtime_gpu", "llama.cpp on the GPU", "optional", runtime_gpu),
        Check("quantiser", "quantiser", "required", quantiser),
        Check(
            "xformers",
            "xformers",
            "optional",
            extra("xformers", "PyTorch's own attention serves"),
            "pip uninstall xformers",
        ),
        Check(
            "tensorflow",
            "TensorFlow",
            "optional",
            extra("tensorflow", "Forge trains with PyTorch"),
            "pip uninstall tensorflow",
        ),
        Check("ram", "memory", "required", ram),
        Check("swap", "swap", "optional", swap),
        Check("disk", "disk", "required", disk),
        Check("wsl", "WSL", "optional", wsl),
        Check("clock", "clock", "optional", clock),
        Check("ollama", "Ollama", "optional", ollama),
        Check("token", "Hub token", "optional", token),
        *map(_added, names("doctor checks")),
    )
}


def outcome(check: Check, ctx: Ctx) -> Finding:
    """The check's finding; what it could not even try counts as failed, with the reason."""
    try:
        return check.run(ctx)
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding(
            "failed", f"{type(error).__name__}: {' '.join(str(error).split())}", check.fix
        )
    except ForgeError as error:
        return Finding("failed", error.message, error.fix or check.fix)


def examine(root: Path, *, only: Collection[str] | None = None, report: Reporter) -> list[dict]:
    """Runs every check, or those named in `only`, in the table's order.

    Rows have the keys name, level, status, found, fix. Raises UsageError for a name that is no check.
    """
    for name in only or ():
        if name not in CHECKS:
            close = difflib.get_close_matches(name, CHECKS, 1)
            raise UsageError(
                f"no check is called {name!r}; there are {', '.join(CHECKS)}",
                fix=f"--only {close[0] if close else 'torch'}",
            )
    chosen = [check for check in CHECKS.values() if not only or check.name in only]
    ctx, rows = Ctx(root.resolve()), []
    for position, check in enumerate(chosen, 1):
        report.progress("checking", position, len(chosen), check=check.title)
        finding = outcome(check, ctx)
        rows.append(
            {
                "name": check.name,
                "level": check.level,
                "status": finding.status,
                "found": finding.found,
                "fix": finding.fix,
            }
        )
    return rows


def critical_failed(checks: list[dict]) -> bool:
    """Whether `forge doctor` ends with exit code 3."""
    return any(row["level"] == "critical" and row["status"] == "failed" for row in checks)


def mend(rows: list[dict], root: Path, *, report: Reporter) -> tuple[list[dict], list[dict]]:
    """Does what FIXES has for checks that are not ok, and runs those again: all rows anew, and what was done.

    The latter has the keys name, done, what: `done` is False where a fix was tried and failed.
    """
    ctx = Ctx(root.resolve())
    done: list[dict] = []
    for row in rows:
        if row["status"] == "ok" or row["name"] not in FIXES:
            continue
        report.progress("mending", len(done), None, check=row["name"])
        try:
            what = FIXES[row["name"]](ctx)
        except ForgeError as error:
            done.append({"name": row["name"], "done": False, "what": error.message})
        else:
            done += [{"name": row["name"], "done": True, "what": what}] if what else []
    importlib.invalidate_caches()
    again = (
        {row["name"]: row for row in examine(root, only=[d["name"] for d in done], report=report)}
        if done
        else {}
    )
    return [again.get(row["name"], row) for row in rows], done
