"""Several processes train as one: on the CPU, through torchrun as on GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from train_helpers import bells_workspace, conversation, write_examples

from phoenix_forge.train.parallel import World, first, launched

pytestmark = pytest.mark.slow

TRAIN = "max_length: 256, tokens_per_update: 1024, max_steps: 4, save_steps: 2, micro_batch: 1"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = bells_workspace(tmp_path_factory.mktemp("pair"), "pair", 0.02, TRAIN)
    forge(folder, "run", "--to", "dataset")
    return folder


def forge(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "phoenix_forge", *arguments, "--workspace", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path.cwd() / "src"),
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def losses(folder: Path) -> list[float]:
    lines = (folder / "logs" / "metrics.jsonl").read_text().splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_two_processes_train_what_one_trains(workspace):
    alone = json.loads(forge(workspace, "train", "--json").stdout)
    expected = losses(workspace)
    together = forge(workspace, "train", "--force", "--gpus", "2", "--json")
    result = json.loads(together.stdout)
    assert (
        (result["steps"], result["tokens"])
        == (alone["steps"], alone["tokens"])
        == (4, alone["tokens"])
    )
    assert losses(workspace) == pytest.approx(expected, abs=1e-5)
    again = forge(workspace, "train", "--gpus", "2")
    assert "up to date" in again.stderr, (
        "the first process has nothing to do and lets the others go"
    )


def test_a_process_that_keeps_no_record_writes_nothing(tmp_path):
    from train_helpers import Recorder

    from phoenix_forge.train.trackers import open_tracker
    from phoenix_forge.train.watch import History, Watch

    watch = Watch(None, Recorder(), open_tracker("none", tmp_path, "x", {}), 3, History(step=1))
    watch.log(2, loss=1.0)
    assert list(tmp_path.iterdir()) == []
    assert Path(os.devnull).is_char_device()


def test_alone_there_is_nobody_to_ask(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert first()
    assert not launched()
    assert World().share("value") == "value"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert launched()
    assert not first()


def test_sharded_layers_are_gathered_whole(tmp_path):
    """Two processes, each with half of every layer: the same loss and gradients as with all of it."""
    data = write_examples(tmp_path / "d.jsonl", [conversation(i) for i in range(4)])
    script = Path(__file__).with_name("sharded_process.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(script),
            str(tmp_path),
            str(data),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{Path.cwd() / 'src'}:{script.parent}",
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("equal") == 2
