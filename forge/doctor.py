"""What this machine and this environment can do for Forge: one check a line, each with what was found and a fix.

A check asks the thing itself (multiplies on the GPU, quantises a tensor, asks Ollama) instead of reading version
numbers only. Heavy libraries load inside the checks. Nothing here goes online.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import psutil

from forge.core import proc
from forge.core.fsio import free_bytes, human
from forge.core.report import Reporter
from forge.errors import EnvironmentProblem, ForgeError, UsageError

Level = Literal["critical", "required", "optional"]
Status = Literal["ok", "warning", "failed"]

CHECKOUT = Path(__file__).resolve().parent.parent
SETUP = (f"make -C {CHECKOUT} setup && source {CHECKOUT}/.venv/bin/activate" if (CHECKOUT / "Makefile").is_file()
         else "pip install --upgrade 'phoenix-forge[train]'")
NEWEST_PYTHON = (3, 13)
CUDA_GUIDE = "forge/CUDA-ML-ENV-SETUP.md"
TRAINING = ("torch", "transformers", "peft")  # what tells a Forge environment from any other
LEAST_GPU = 8e9  # bytes: 7B in NF4 with 1 x 2048 tokens peaks at 6.4 GB
LEAST_RAM = 4e9  # bytes: 0.5B trains in fp32 within this
MERGE_RAM = 16e9  # bytes of memory and swap that merging 7B in 16 bits asks for
LEAST_DISK, GOOD_DISK = 2e9, 50e9  # bytes: a 0.5B run; a 7B run with base, merged model and GGUF


@dataclass(frozen=True)
class Ctx:
    """`root`: the workspace."""

    root: Path


@dataclass(frozen=True)
class Finding:
    """`found` is what the check saw; `fix` can be pasted, or names the page that helps."""

    status: Status
    found: str
    fix: str | None = None


@dataclass(frozen=True)
class Check:
    """`fix` is for a `run` that ends in an ImportError, OSError, RuntimeError or ForgeError: then the check failed."""

    name: str
    title: str
    level: Level
    run: Callable[[Ctx], Finding]
    fix: str = SETUP


# environment

def environments(root: Path) -> list[Path]:
    """Where Forge may have been set up: the environment that is activated, .venv here, the workflow's ~/ml_env."""
    active = os.environ.get("VIRTUAL_ENV")
    return [*([Path(active)] if active else []), root / ".venv", Path.home() / "ml_env"]


def can_train(prefix: Path) -> bool:
    """Whether another environment holds the training libraries; looked up in its folders, since it is not running."""
    return any(all((site / name).is_dir() for name in TRAINING) for site in prefix.glob("lib*/python3*/site-packages"))


def environment(ctx: Ctx) -> Finding:
    here = Path(sys.prefix)
    others = [p for p in environments(ctx.root) if p.is_dir() and p.resolve() != here.resolve()]
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        better = next((p for p in others if can_train(p)), None)
        if better:
            return Finding("failed", f"wrong environment: {here} has no {', '.join(missing)}, {better} has",
                           f"source {better}/bin/activate")
        return Finding("failed", f"{here} has no {', '.join(missing)}", SETUP)
    active = os.environ.get("VIRTUAL_ENV")
    if active and Path(active).resolve() != here.resolve():
        return Finding("warning", f"{active} is activated, but this is the Python of {here}",
                       f"deactivate; source {here}/bin/activate")
    code = Path(__file__).resolve().parent
    checkout = ctx.root / "forge"
    if (checkout / "doctor.py").is_file() and checkout.resolve() != code:
        return Finding("warning", f"{here} imports Forge from {code}, not from {checkout}",
                       f"pip install -e {ctx.root}")
    if sys.prefix == sys.base_prefix:
        return Finding("warning", f"{here}: not a virtual environment", SETUP)
    return Finding("ok", str(here))


def python(ctx: Ctx) -> Finding:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] > NEWEST_PYTHON:
        return Finding("warning", f"{here}: newer than the {'.'.join(map(str, NEWEST_PYTHON))} that Forge is tested "
                       "with", "none needed while everything below is ok; else make setup with an older one")
    return Finding("ok", here)


# GPU

def torch_works(ctx: Ctx) -> Finding:
    import torch

    product = (torch.full((8, 8), 2.0) @ torch.eye(8)).sum().item()
    if product != 128:
        return Finding("failed", f"torch {torch.__version__} multiplies wrongly: {product} for 128", SETUP)
    return Finding("ok", torch.__version__)


def nvidia_smi() -> tuple[list[str], str | None]:
    """Names of the GPUs that the driver sees, and the newest CUDA version it serves."""
    if shutil.which("nvidia-smi") is None:
        return [], None
    try:
        names = proc.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], timeout=20)
        banner = proc.run(["nvidia-smi"], timeout=20)
    except ForgeError:  # the tool is there and no GPU answers: the same as none
        return [], None
    cuda = re.search(r"CUDA Version:\s*([\d.]+)", banner)
    return [line.strip() for line in names.splitlines() if line.strip()], cuda and cuda[1]


def cuda(ctx: Ctx) -> Finding:
    import torch

    if torch.cuda.is_available():
        torch.ones(256, device="cuda").sum().item()  # RuntimeError where this build has no kernels for the GPU
        served = nvidia_smi()[1]
        major = ".".join(map(str, torch.cuda.get_device_capability(0)))
        found = f"{torch.cuda.get_device_name(0)}, compute capability {major}, CUDA {torch.version.cuda}"
        if served and served != torch.version.cuda:
            found += f" (the driver serves up to {served}: harmless, drivers run older CUDA builds)"
        return Finding("ok", found)
    names, served = nvidia_smi()
    if not names:
        return Finding("warning", "no CUDA GPU: training will run on the CPU",
                       "none needed for models up to about 1B; a GPU that should be here: run nvidia-smi")
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding("warning", f"{names[0]} is hidden by CUDA_VISIBLE_DEVICES: training will run on the CPU",
                       "unset CUDA_VISIBLE_DEVICES")
    if torch.version.cuda is None:
        return Finding("failed", f"{names[0]} is here, but torch {torch.__version__} was built without CUDA",
                       f"pip uninstall torch, then install a CUDA build: {CUDA_GUIDE}")
    return Finding("failed", f"torch cannot reach {names[0]}: it was built for CUDA {torch.version.cuda}, the driver "
                   f"serves up to {served or 'an unknown version'}", f"update the NVIDIA driver: {CUDA_GUIDE}")


def gpu_memory(ctx: Ctx) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "no GPU to measure")
    free, total = torch.cuda.mem_get_info(0)
    found = f"{human(free)} free of {human(total)}"
    if total < LEAST_GPU:
        return Finding("warning", f"{found}: a 7B model needs {human(LEAST_GPU)}",
                       "--set model.base=qwen2.5-coder-0.5b")
    if free < 0.8 * total:
        return Finding("warning", found, "end what nvidia-smi lists as using the GPU")
    return Finding("ok", found)


# libraries

@contextlib.contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keeps a library's own log lines off the screen while it is tried."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def bitsandbytes(ctx: Ctx) -> Finding:
    import torch

    with quiet("bitsandbytes"):
        import bitsandbytes
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        device = "cuda" if torch.cuda.is_available() else "cpu"
        values = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = quantize_4bit(values, quant_type="nf4")
        error = (dequantize_4bit(packed, state) - values).abs().max().item()
    # NF4's widest gap between neighbouring levels is 0.304 (-1 to -0.696): rounding errs by half of it at most.
    if error > 0.16:
        return Finding("failed", f"{bitsandbytes.__version__} quantises wrongly on {device}: error {error:.3f} "
                       "where NF4 allows 0.152", SETUP)
    return Finding("ok", f"{bitsandbytes.__version__}, NF4 quantised on {device}")


def triton(ctx: Ctx) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("warning", "not needed, there is no CUDA GPU")
    return Finding("ok", importlib.import_module("triton").__version__)


def library(module: str, symbol: str | None = None) -> Callable[[Ctx], Finding]:
    """A check that imports `module` and, where its parts load lazily, the one that Forge uses."""

    def run(ctx: Ctx) -> Finding:
        loaded = importlib.import_module(module)
        if symbol and not hasattr(loaded, symbol):
            return Finding("failed", f"{module} {loaded.__version__} has no {symbol}", SETUP)
        return Finding("ok", loaded.__version__)

    return run


def extra(module: str, why: str) -> Callable[[Ctx], Finding]:
    """A check of a library that Forge does without: absent is only a note."""

    def run(ctx: Ctx) -> Finding:
        if importlib.util.find_spec(module) is None:
            return Finding("warning", f"not installed (optional): {why}", f"none needed; else pip install {module}")
        return Finding("ok", importlib.import_module(module).__version__)

    return run


def runtime(ctx: Ctx) -> Finding:
    import xllamacpp

    devices = ", ".join(device["description"] for device in xllamacpp.get_device_info())
    return Finding("ok", f"xllamacpp {xllamacpp.__version__} on {devices}")


def quantiser(ctx: Ctx) -> Finding:
    import numpy as np

    from forge.gguf.quantise import dequantise, quantise

    values = np.linspace(-1, 1, 512, dtype=np.float32)
    error = np.abs(dequantise("Q4_K", quantise("Q4_K", values.reshape(2, 256)), values.size) - values).max()
    # 16 levels for 32 neighbouring values, their scale and offset in 6 bits: 0.032 on this ramp.
    if error > 0.05:
        return Finding("failed", f"ggml quantises wrongly: error {error:.3f} where Q4_K makes 0.032", SETUP)
    return Finding("ok", f"libggml-python {version('libggml-python')}, Q4_K quantised")


# machine

def memory_limit() -> int | None:
    """Bytes that this process's container allows (cgroup v2), where it sets a limit."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:  # no cgroup v2 here
        return None
    return int(text) if text.isdigit() else None


def ram(ctx: Ctx) -> Finding:
    memory = psutil.virtual_memory()
    limit = memory_limit()
    available = min(memory.available, limit) if limit else memory.available
    found = f"{human(available)} available of {human(memory.total)}" + (
        f", the container allows {human(limit)}" if limit and limit < memory.total else "")
    if available < LEAST_RAM:
        return Finding("warning", found, "close other programs, or add swap (docs/workflow.md, phase 4.0)")
    return Finding("ok", found)


def swap(ctx: Ctx) -> Finding:
    total, memory = psutil.swap_memory().total, psutil.virtual_memory().available
    if total + memory < MERGE_RAM:
        return Finding("warning", f"{human(total)}; with the available memory {human(total + memory)}, merging a 7B "
                       f"model asks for {human(MERGE_RAM)}", "docs/workflow.md, phase 4.0, adds 16 GB of swap")
    return Finding("ok", human(total) if total else "none, and enough memory without")


def disk(ctx: Ctx) -> Finding:
    free = free_bytes(ctx.root)
    found = f"{human(free)} free at {ctx.root}"
    if free < LEAST_DISK:
        return Finding("failed", f"{found}: even a 0.5B model needs {human(LEAST_DISK)}",
                       "free some, or choose another disk with --workspace")
    if free < GOOD_DISK:
        return Finding("warning", f"{found}: a 7B model needs {human(GOOD_DISK)}",
                       "enough for models up to about 1.5B; for more, another disk with --workspace")
    return Finding("ok", found)


def wsl(ctx: Ctx) -> Finding:
    release = os.uname().release
    if "microsoft" not in release.lower():
        return Finding("ok", "not under WSL")
    if "wsl2" not in release.lower():
        return Finding("warning", f"WSL 1 ({release}): it has no GPU", "in PowerShell: wsl --set-version Ubuntu 2")
    if str(ctx.root.resolve()).startswith("/mnt/"):
        return Finding("warning", f"WSL2, and {ctx.root} lies on the Windows disk: slow",
                       "move the workspace below your Linux home folder")
    return Finding("ok", f"WSL2 ({release})")


# services

def ollama(ctx: Ctx) -> Finding:
    from forge.runtime.ollama import OLDEST, Ollama

    server = Ollama()
    try:
        release = server.version()
    except EnvironmentProblem as error:
        return Finding("warning", f"{error.message} (optional: forge chat and forge serve do without)", error.fix)
    finally:
        server.close()
    if (numbers := tuple(int(n) for n in re.findall(r"\d+", release)[:3])) and numbers < OLDEST:
        return Finding("warning", f"{release} at {server.url} is older than {'.'.join(map(str, OLDEST))}",
                       "update it: https://ollama.com/download")
    return Finding("ok", f"{release} at {server.url}")


def token(ctx: Ctx) -> Finding:
    from forge.hub.account import PLACEHOLDERS, TOKEN_NAMES, read_env
    from forge.hub.account import token as find_token

    written = {f"{name} in {place}": values.get(name, "").strip() for place, values in
               (("the environment", dict(os.environ)), (".env", read_env(ctx.root / ".env"))) for name in TOKEN_NAMES}
    if value := find_token(ctx.root):
        where = next((where for where, text in written.items() if text == value), "stored by hf auth login")
        return Finding("ok", where)
    placeholder = next((where for where, text in written.items() if text in PLACEHOLDERS), None)
    return Finding("warning", f"{placeholder} is still the placeholder" if placeholder else
                   "none (only private or gated models and uploading need one)",
                   "HUGGING_FACE_TOKEN=hf_… in .env, from huggingface.co/settings/tokens")


CHECKS = {check.name: check for check in (
    Check("environment", "environment", "critical", environment),
    Check("python", "Python", "critical", python),
    Check("torch", "PyTorch", "critical", torch_works),
    Check("cuda", "CUDA", "critical", cuda, f"see {CUDA_GUIDE}"),
    Check("gpu_memory", "GPU memory", "optional", gpu_memory),
    Check("bitsandbytes", "bitsandbytes", "required", bitsandbytes),
    Check("triton", "triton", "required", triton),
    Check("transformers", "transformers", "required", library("transformers", "AutoModelForCausalLM")),
    Check("peft", "peft", "required", library("peft", "LoraConfig")),
    Check("runtime", "llama.cpp runtime", "required", runtime),
    Check("quantiser", "quantiser", "required", quantiser),
    Check("xformers", "xformers", "optional", extra("xformers", "PyTorch's own attention serves"),
          "pip uninstall xformers"),
    Check("tensorflow", "TensorFlow", "optional", extra("tensorflow", "Forge trains with PyTorch"),
          "pip uninstall tensorflow"),
    Check("ram", "memory", "required", ram),
    Check("swap", "swap", "optional", swap),
    Check("disk", "disk", "required", disk),
    Check("wsl", "WSL", "optional", wsl),
    Check("ollama", "Ollama", "optional", ollama),
    Check("token", "Hub token", "optional", token),
)}


def outcome(check: Check, ctx: Ctx) -> Finding:
    """The check's finding; what it could not even try counts as failed, with the reason."""
    try:
        return check.run(ctx)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding("failed", f"{type(error).__name__}: {' '.join(str(error).split())}", check.fix)
    except ForgeError as error:
        return Finding("failed", error.message, error.fix or check.fix)


def examine(root: Path, *, only: Collection[str] | None = None, report: Reporter) -> list[dict]:
    """Runs every check, or those named in `only`, in the table's order.

    Rows have the keys name, level, status, found, fix. Raises UsageError for a name that is no check.
    """
    for name in only or ():
        if name not in CHECKS:
            close = difflib.get_close_matches(name, CHECKS, 1)
            raise UsageError(f"no check is called {name!r}; there are {', '.join(CHECKS)}",
                             fix=f"--only {close[0] if close else 'torch'}")
    chosen = [check for check in CHECKS.values() if not only or check.name in only]
    rows = []
    for position, check in enumerate(chosen, 1):
        report.progress("checking", position, len(chosen), check=check.title)
        finding = outcome(check, Ctx(root.resolve()))
        rows.append({"name": check.name, "level": check.level, "status": finding.status, "found": finding.found,
                     "fix": finding.fix})
    return rows


def critical_failed(checks: list[dict]) -> bool:
    """Whether `forge doctor` ends with exit code 3."""
    return any(row["level"] == "critical" and row["status"] == "failed" for row in checks)


# the workflow's verification harness

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
        return "\n".join([f"❌ {test.label} FAILED ({test.level}): {'; '.join(row['found'] for row in failed)}",
                          *(f"   fix: {row['fix']}" for row in failed)])
    if warned := having("warning"):
        passed = ", ".join(CHECKS[row["name"]].title for row in having("ok"))
        return f"⚠️ {f'{passed} OK, ' if passed else f'{test.label}: '}{'; '.join(row['found'] for row in warned)}"
    return f"✅ {test.label} OK ({test.level}: {'; '.join(row['found'] for row in rows)})"


def harness_lines(tests: Sequence[HarnessTest], checks: list[dict]) -> tuple[list[str], bool]:
    """What the harness prints, its verdict last, and whether every critical and required test passed."""
    found = {row["name"]: row for row in checks}
    rows = [(test, [found[name] for name in test.checks]) for test in tests]
    passed = not any(row["status"] == "failed" for test, its in rows if test.level != "optional" for row in its)
    verdict = "VERIFICATION COMPLETE" if passed else "VERIFICATION FAILED"
    return [*(harness_line(test, its) for test, its in rows), verdict], passed


def verify(script: str, root: Path, report: Reporter) -> tuple[list[str], bool]:
    """Runs `verify_environment` (all seven tests) or one of SCRIPTS: lines for stdout, and False for exit code 3."""
    tests = [SCRIPTS[script]] if script in SCRIPTS else list(HARNESS)
    return harness_lines(tests, examine(root, only=[name for test in tests for name in test.checks], report=report))
