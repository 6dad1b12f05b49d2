"""What trackers wrote, read back with the packages' own readers."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_forge.core.config import TrainConfig
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.train import trackers
from phoenix_forge.train.trackers import KINDS, check_tracker, open_tracker

pytestmark = pytest.mark.slow


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={reader.SCALARS: 0})
    events.Reload()
    return (
        [(e.step, round(e.value, 4)) for e in events.Scalars(tag)]
        if tag in events.Tags()["scalars"]
        else []
    )


def descend(
    folder: Path, steps: range, at: float, resumed: int = 0, kind: str = "tensorboard"
) -> None:
    tracker = open_tracker(kind, folder, "ada", {"rank": 16, "learning_rate": 2e-4}, resumed)
    for step in steps:
        tracker.log(step, {"loss": at - step / 8, "grad_norm": 0.5})
        if step % 4 == 0:
            tracker.log(step, {"eval_loss": at})
    tracker.close()


def test_every_kind_of_the_config_has_a_row():
    assert set(TrainConfig.model_fields["report_to"].annotation.__args__) == set(KINDS)


def test_none_writes_nothing(tmp_path):
    descend(tmp_path, range(1, 5), 3.0, kind="none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["tensorboard", "trackio"])
def test_a_missing_package_is_said_before_anything_starts(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for look in (lambda: check_tracker(kind), lambda: open_tracker(kind, tmp_path, "ada", {})):
        with pytest.raises(EnvironmentProblem, match=rf"train\.report_to is {kind}") as caught:
            look()
        assert caught.value.fix == "pip install 'phoenix-forge[track]'"
    check_tracker("none")


def test_looking_for_the_packages_loads_none():
    program = (
        "import sys\nfrom phoenix_forge.train.trackers import KINDS, check_tracker\n"
        "for kind in KINDS: check_tracker(kind)\n"
        "sys.exit(bool({'torch', 'tensorboard', 'trackio', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -- tensorboard -------------------------------------------------------------------------------------------------------


def test_values_are_read_back(tmp_path):
    descend(tmp_path, range(1, 9), 3.0)
    assert scalars(tmp_path, "train/loss") == [(step, 3.0 - step / 8) for step in range(1, 9)]
    assert scalars(tmp_path, "eval/loss") == [(4, 3.0), (8, 3.0)]
    assert len(scalars(tmp_path, "train/grad_norm")) == 8


def test_a_loss_that_is_no_number_arrives_as_one(tmp_path):
    tracker = open_tracker("tensorboard", tmp_path, "ada", {})
    tracker.log(1, {"loss": math.nan})
    tracker.close()
    ((step, value),) = scalars(tmp_path, "train/loss")
    assert step == 1
    assert math.isnan(value)


def test_a_resumed_run_goes_on_and_no_step_is_there_twice(tmp_path):
    descend(tmp_path, range(1, 8), 3.0)  # killed at 7, the checkpoint is of step 4
    descend(tmp_path, range(5, 11), 2.0, resumed=4)
    assert scalars(tmp_path, "train/loss") == [
        (step, (3.0 if step <= 4 else 2.0) - step / 8) for step in range(1, 11)
    ]
    assert scalars(tmp_path, "eval/loss") == [(4, 3.0), (8, 2.0)], (
        "step 4 was evaluated before the kill"
    )


def test_a_new_training_takes_the_place_of_the_old(tmp_path):
    descend(tmp_path, range(1, 12), 3.0)
    descend(tmp_path, range(1, 5), 2.0)
    assert scalars(tmp_path, "train/loss") == [(step, 2.0 - step / 8) for step in range(1, 5)]


# -- trackio -----------------------------------------------------------------------------------------------------------
# Its place is read once, at import; so every test of it is a process of its own.

READ = """
import json, sys
from trackio import Api
from trackio.sqlite_storage import SQLiteStorage
found = [[run.config, [{k: v for k, v in line.items() if k != "timestamp"} for line in
          SQLiteStorage.get_logs(run.project, run.name, run_id=run.id)]] for run in Api().runs(sys.argv[1])]
print(json.dumps(found))
"""
WRITE = """
import json, socket, sys
from pathlib import Path
def refuse(*_): print("asked the network", file=sys.stderr); raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
from phoenix_forge.train.trackers import open_tracker
folder, name, first, last, at, resumed = sys.argv[1:]
tracker = open_tracker("trackio", Path(folder), name, {"rank": 16}, int(resumed))
for step in range(int(first), int(last)):
    tracker.log(step, {"loss": float(at)})
    if step == 4: tracker.log(step, {"eval_loss": float(at)})
tracker.close()
"""


@pytest.fixture
def trackio(tmp_path: Path):
    """Runs a program with trackio's files in this test's folder and somebody logged in to the Hub."""
    token = tmp_path / "token"
    token.write_text("hf_nobody")
    ours = {
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_TOKEN_PATH": str(token),
        "HF_HUB_OFFLINE": "0",
    }
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKIO_", "HF_"))}

    def run(program: str, *arguments: object) -> list:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=kept | ours,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout) if done.stdout else []

    return run


def test_a_local_run_is_read_back_prints_nothing_and_asks_nobody(trackio, tmp_path):
    assert trackio(WRITE, tmp_path, "ada", 1, 6, 3.0, 0) == []
    ((config, lines),) = trackio(READ, "forge-ada-train")
    assert config["rank"] == 16
    assert config["_Username"] is None
    assert lines == [
        *({"train/loss": 3.0, "step": step} for step in range(1, 5)),
        {"eval/loss": 3.0, "step": 4},
        {"train/loss": 3.0, "step": 5},
    ]


def test_a_resumed_trackio_run_goes_on_and_no_step_is_there_twice(trackio, tmp_path):
    trackio(WRITE, tmp_path, "ada", 1, 8, 3.0, 0)
    trackio(WRITE, tmp_path, "ada", 4, 11, 2.0, 3)
    ((_, lines),) = trackio(READ, "forge-ada-train")
    assert [(line["step"], line["train/loss"]) for line in lines if "train/loss" in line] == [
        (step, 3.0 if step < 8 else 2.0) for step in range(1, 11)
    ]
    assert [line["step"] for line in lines if "eval/loss" in line] == [4]


def test_a_new_training_is_a_new_trackio_run(trackio, tmp_path):
    for at in (3.0, 2.0):
        trackio(WRITE, tmp_path, "ada", 1, 3, at, 0)
    assert sorted(lines[0]["train/loss"] for _, lines in trackio(READ, "forge-ada-train")) == [
        2.0,
        3.0,
    ]


@pytest.mark.parametrize("name", ["registry-ada", "ada_system", "Ada.v1.0"])
def test_any_model_name_will_do(trackio, tmp_path, name):
    trackio(WRITE, tmp_path, name, 1, 3, 3.0, 0)
    assert len(trackio(READ, f"forge-{name}-train")) == 1
