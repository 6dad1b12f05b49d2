"""Killed by the system, or asked to stop: the next run goes on, and the result is the same to the byte."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from train_helpers import bells_workspace

pytestmark = pytest.mark.slow

TRAIN = (
    "max_length: 256, tokens_per_update: 512, max_steps: 40, save_steps: 5, dropout: 0.1, anchor: 0"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with a dataset and, trained without a break, its adapter."""
    folder = bells_workspace(tmp_path_factory.mktemp("straight"), "bells", 0.05, TRAIN)
    assert forge(folder, "run", "--to", "train").wait(300) == 0
    return folder


def forge(folder: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "phoenix_forge", *arguments, "--workspace", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd() / "src")},
    )


def digest(folder: Path) -> str:
    return hashlib.sha256(
        (folder / "models/bells-adapter/adapter_model.safetensors").read_bytes()
    ).hexdigest()


def metrics(folder: Path) -> list[dict]:
    path = folder / "logs" / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def copy(made: Path, target: Path) -> Path:
    """The same workspace, not trained yet."""
    assert subprocess.run(["cp", "-r", str(made), str(target)], check=False).returncode == 0
    for path in ("outputs", "models/bells-adapter", ".forge/manifests/train.json", "logs"):
        subprocess.run(["rm", "-rf", str(target / path)], check=True)
    return target


def until(folder: Path, step: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not any(line["step"] >= step for line in metrics(folder)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_after_17_steps_and_resumed_the_adapter_is_the_same_to_the_byte(made, tmp_path):
    work = copy(made, tmp_path / "killed")
    process = forge(work, "train")
    until(work, 17, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (work / "models/bells-adapter").exists()
    resumed = forge(work, "train", "--json")
    out, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert json.loads(out)["steps"] == 40
    assert digest(work) == digest(made)
    expected, found = (
        [
            (line["step"], line.get("loss"), line.get("eval_loss"), line.get("grad_norm"))
            for line in metrics(folder)
        ]
        for folder in (made, work)
    )
    assert found == expected, "the losses to the last digit, each step once"


def test_asked_to_stop_it_saves_and_ends_well(made, tmp_path):
    work = copy(made, tmp_path / "stopped")
    process = forge(work, "train")
    until(work, 8, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "stopped by SIGTERM after step" in said
    assert "error" not in said
    stopped = max(line["step"] for line in metrics(work))
    assert 8 <= stopped < 40
    assert (work / f"outputs/checkpoints/bells/checkpoint-{stopped}/complete.json").exists()
    again = forge(work, "train")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert digest(work) == digest(made)
