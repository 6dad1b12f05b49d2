"""phoenix_forge.doctor: findings of real checks on this machine, and of machines made up by moving one thing at a
time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phoenix_forge.core.report import Silent
from phoenix_forge.doctor import (
    CHECKS,
    critical_failed,
    environment,
    examine,
    gpu,
    libraries,
    machine,
)
from phoenix_forge.doctor.environment import environment as check_environment
from phoenix_forge.doctor.finding import SETUP, Ctx, Finding
from phoenix_forge.doctor.table import Check, outcome
from phoenix_forge.errors import EnvironmentProblem, UsageError

KEYS = {"name", "level", "status", "found", "fix"}


@pytest.fixture
def no_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def fake_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def fake_driver(folder: Path, monkeypatch, row: str, serves: str) -> None:
    fake_program(
        folder / "bin",
        "nvidia-smi",
        f'case "$*" in *query*) echo "{row}";; *) echo "| CUDA Version: {serves}  |";; esac',
    )
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


# The real machine


def test_every_check_answers_here_without_raising(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = examine(tmp_path, report=Silent())
    assert [row["name"] for row in found] == list(CHECKS)
    for row in found:
        assert set(row) == KEYS
        assert row["status"] in ("ok", "warning", "failed")
        assert row["found"], row
        assert row["status"] == "ok" or row["fix"] or row["name"] == "triton", (
            f"nothing to do about {row}"
        )
    status = {row["name"]: row["status"] for row in found}
    for name in (
        "python",
        "torch",
        "attention",
        "bitsandbytes",
        "transformers",
        "peft",
        "runtime",
        "quantiser",
    ):
        assert status[name] == "ok", found


def test_only_runs_the_named_checks_and_suggests_for_a_misspelt_one(tmp_path):
    assert [row["name"] for row in examine(tmp_path, only=["disk", "python"], report=Silent())] == [
        "python",
        "disk",
    ]
    with pytest.raises(UsageError, match="'tritn'") as caught:
        examine(tmp_path, only=["tritn"], report=Silent())
    assert "triton" in (caught.value.fix or "")


@pytest.mark.parametrize(
    "error",
    [
        ImportError("no such symbol"),
        OSError("libfoo.so: not found"),
        RuntimeError("no kernel\n image"),
        EnvironmentProblem("gone"),
    ],
)
def test_a_check_that_cannot_be_tried_failed_with_the_reason(tmp_path, error):
    def run(ctx: Ctx) -> Finding:
        raise error

    finding = outcome(Check("x", "X", "required", run, "mend it"), Ctx(tmp_path))
    assert finding.status == "failed"
    assert " ".join(str(error).split()) in finding.found
    assert finding.fix == "mend it"


def test_a_bug_in_a_check_is_not_hidden(tmp_path):
    def run(ctx: Ctx) -> Finding:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        outcome(Check("x", "X", "required", run), Ctx(tmp_path))


# Environments


def with_libraries(prefix: Path) -> Path:
    for name in environment.TRAINING:
        (prefix / "lib/python3.11/site-packages" / name).mkdir(parents=True)
    return prefix


def test_an_environment_without_the_libraries_names_the_one_that_has_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    alone = check_environment(Ctx(tmp_path))
    assert (alone.status, alone.fix) == ("failed", SETUP)

    (tmp_path / ".venv").mkdir()  # one that lacks them too is no help
    assert check_environment(Ctx(tmp_path)).fix == SETUP

    other = with_libraries(tmp_path / "home/ml_env")
    wrong = check_environment(Ctx(tmp_path))
    assert wrong.status == "failed"
    assert "wrong environment" in wrong.found
    assert wrong.fix == f"source {other}/bin/activate"


def test_another_activated_environment_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "other"))
    finding = check_environment(Ctx(tmp_path))
    assert finding.status == "warning"
    assert str(tmp_path / "other") in finding.found


def test_forge_from_another_checkout_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    (tmp_path / "src/phoenix_forge/doctor").mkdir(parents=True)
    (tmp_path / "src/phoenix_forge/doctor/table.py").touch()
    finding = check_environment(Ctx(tmp_path))
    assert finding.status == "warning"
    assert str(tmp_path / "src/phoenix_forge") in finding.found


# GPUs that are there, are not, or cannot be used


def test_without_a_gpu_cuda_is_a_warning(tmp_path, monkeypatch, no_gpu):
    monkeypatch.setattr(gpu, "nvidia_smi", gpu.Driver)
    finding = gpu.cuda(Ctx(tmp_path))
    assert finding.status == "warning"
    assert finding.found.startswith("no CUDA GPU")


@pytest.mark.parametrize(
    ("visible", "built", "status", "says"),
    [
        ("", "12.6", "warning", "hidden by CUDA_VISIBLE_DEVICES"),
        ("0", None, "failed", "built without CUDA"),
        ("0", "13.0", "failed", "built for CUDA 13.0, the driver serves up to 12.4"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_explained(
    tmp_path, monkeypatch, no_gpu, visible, built, status, says
):
    import torch

    fake_driver(tmp_path, monkeypatch, "NVIDIA RTX A2000, 550.90", "12.4")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.version, "cuda", built)
    finding = gpu.cuda(Ctx(tmp_path))
    assert finding.status == status
    assert "NVIDIA RTX A2000" in finding.found
    assert says in finding.found


def test_a_driver_tool_without_a_driver_is_no_gpu(tmp_path, monkeypatch):
    fake_program(
        tmp_path / "bin", "nvidia-smi", "echo 'could not communicate with the driver'; exit 9"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert gpu.nvidia_smi() == gpu.Driver()


@pytest.mark.gpu
def test_a_working_gpu_is_ok(tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here")
    for check in (gpu.driver, gpu.cuda, gpu.capability, gpu.attention, gpu.triton):
        finding = check(Ctx(tmp_path))
        assert finding.status == "ok", finding
    assert "a kernel compiled" in gpu.triton(Ctx(tmp_path)).found


@pytest.mark.parametrize(
    ("built", "served", "says"),
    [
        ("12.6", "13.0", "older CUDA builds"),
        ("12.8", "12.4", "builds of a major version"),
        ("12.9", "12.10", "older"),
        ("13.0", "13.0", ""),
        ("12.6", None, ""),
    ],
)
def test_two_versions_of_cuda_are_explained(built, served, says):
    said = gpu.mismatch(built, served)
    assert says in said
    assert bool(said) == bool(says)
    assert not said or "harmless" in said


@pytest.mark.parametrize(
    ("row", "status", "says"),
    [
        ("NVIDIA RTX A2000, 581.42", "ok", "581.42 for NVIDIA RTX A2000, serves CUDA up to 13.0"),
        ("Tesla K80, 470.82", "warning", "older than the 525"),
    ],
)
def test_the_driver_is_named_and_an_old_one_warned_about(tmp_path, monkeypatch, row, status, says):
    fake_driver(tmp_path, monkeypatch, row, "13.0")
    finding = gpu.driver(Ctx(tmp_path))
    assert finding.status == status
    assert says in finding.found


@pytest.mark.parametrize(
    ("vendor", "kind", "status"),
    [("0x10de", "0x030000", "warning"), ("0x10de", "0x020000", "ok"), ("0x1002", "0x030000", "ok")],
)
def test_a_gpu_without_a_driver_is_seen_on_the_bus(tmp_path, monkeypatch, vendor, kind, status):
    card = tmp_path / "0000:01:00.0"
    card.mkdir()
    (card / "vendor").write_text(f"{vendor}\n")
    (card / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(gpu, "PCI", tmp_path)
    monkeypatch.setattr(gpu, "nvidia_smi", gpu.Driver)
    assert gpu.driver(Ctx(tmp_path)).status == status


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        ((7, 5), "warning", "7.5; too low for bf16 and flash attention (8.0), fp8 (8.9)"),
        ((8, 6), "ok", "8.6, enough for bf16 and flash attention; too low for fp8 (8.9)"),
        (
            (8, 9),
            "ok",
            "8.9, enough for bf16 and flash attention, fp8; too low for train.method=fp8 (9.0)",
        ),
        ((9, 0), "ok", "9.0, enough for bf16 and flash attention, fp8, train.method=fp8"),
    ],
)
def test_what_a_compute_capability_allows(tmp_path, monkeypatch, found, status, says):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: found)
    finding = gpu.capability(Ctx(tmp_path))
    assert finding.status == status
    assert finding.found.startswith(says)


def test_attention_that_looks_ahead_is_found(tmp_path, monkeypatch, no_gpu):
    import torch.nn.functional

    real = torch.nn.functional.scaled_dot_product_attention
    assert gpu.attention(Ctx(tmp_path)).status == "ok"
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v, is_causal: real(q, k, v, is_causal=False),
    )
    assert "computes wrongly" in gpu.attention(Ctx(tmp_path)).found


def test_without_any_kernel_attention_is_a_warning(tmp_path, monkeypatch, no_gpu):
    def none(*_):
        raise RuntimeError("No available kernel")

    monkeypatch.setattr(gpu, "attention_error", none)
    finding = gpu.attention(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "no kernel on cpu; not float32, bfloat16" in finding.found


# The runtime


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import os; os.abort()", "signal 6"),
        ("print(0)", "does not generate: 0"),
        ("raise SystemExit('libllama.so: no such file')", "no such file"),
    ],
)
def test_a_runtime_that_crashes_or_makes_no_token_failed(tmp_path, monkeypatch, program, says):
    monkeypatch.setattr(libraries, "GENERATE", program)
    finding = libraries.runtime(Ctx(tmp_path))
    assert finding.status == "failed"
    assert says in finding.found
    assert finding.fix == SETUP


def test_a_runtime_without_the_gpu_that_is_there_is_a_warning_with_the_build_that_fits(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(
        libraries, "nvidia_smi", lambda: gpu.Driver(("NVIDIA RTX A2000",), "581.42", "13.0")
    )
    finding = libraries.runtime_gpu(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "on the CPU, and there is NVIDIA RTX A2000" in finding.found
    assert "--index-url" in finding.fix
    assert "/cu128 xllamacpp==" in finding.fix
    monkeypatch.setattr(
        libraries, "nvidia_smi", lambda: gpu.Driver(("Tesla K80",), "470.82", "11.4")
    )
    assert libraries.runtime_gpu(Ctx(tmp_path)).status == "ok", "there is no build for it"


@pytest.mark.parametrize(
    ("serves", "build"),
    [
        ("12.8", "cu128"),
        ("13.0", "cu128"),
        ("13.2", "cu132"),
        ("14.0", "cu132"),
        ("12.4", None),
        (None, None),
    ],
)
def test_the_newest_build_of_llama_cpp_that_the_driver_serves(serves, build):
    found = libraries.gpu_build(serves)
    assert (found and found.rpartition("/")[2]) == build


# The machine


@pytest.mark.parametrize(("free", "status"), [(1e9, "failed"), (10e9, "warning"), (60e9, "ok")])
def test_disk(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(machine, "free_bytes", lambda path: int(free))
    assert machine.disk(Ctx(tmp_path)).status == status


def test_a_container_limit_counts_as_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "memory_limit", lambda: 2_000_000_000)
    finding = machine.ram(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "the container allows 2.0 GB" in finding.found


@pytest.mark.parametrize(
    ("release", "root", "status"),
    [
        ("6.8.0-generic", "/home/me", "ok"),
        ("4.4.0-19041-Microsoft", "/home/me", "warning"),
        ("5.15.1-microsoft-standard-WSL2", "/home/me", "ok"),
        ("5.15.1-microsoft-standard-WSL2", "/mnt/c/me", "warning"),
    ],
)
def test_wsl(monkeypatch, release, root, status):
    monkeypatch.setattr(machine.os, "uname", lambda: type("U", (), {"release": release})())
    assert machine.wsl(Ctx(Path(root))).status == status


def test_only_a_critical_failure_is_critical():
    def row(name: str, status: str) -> dict:
        return {"name": name, "level": CHECKS[name].level, "status": status}

    assert critical_failed([row("torch", "failed")])
    assert not critical_failed([row("bitsandbytes", "failed"), row("cuda", "warning")])
