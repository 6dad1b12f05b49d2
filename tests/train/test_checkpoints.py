"""Which checkpoint a run continues from."""

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from train_helpers import Recorder

from phoenix_forge.core.config import TrainConfig
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.train import checkpoints
from phoenix_forge.train.optimise import optimizer
from phoenix_forge.train.trackers import open_tracker
from phoenix_forge.train.watch import History, Watch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Owned by the training ME."""
    folder = tmp_path / "checkpoints"
    checkpoints.latest(folder, ME, Recorder())
    return folder


ME, YOU = {"dataset": "0", "base": "0"}, {"dataset": "1", "base": "0"}


def make(folder: Path, step: int, sealed: bool = True, of: dict[str, str] = ME) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / checkpoints.STATE).write_text(json.dumps({checkpoints.IDENTITY: of}))
    (path / "adapter_model.safetensors").write_bytes(b"weights %d" % step)
    (path / "optimizer.pt").write_bytes(b"state")
    if sealed:
        checkpoints.seal(path)
    return path


def test_order_is_by_number(folder):
    last = make(folder, 1000)
    make(folder, 400)
    assert [step for step, _ in checkpoints.by_step(folder)] == [400, 1000]
    assert checkpoints.latest(folder, ME, Recorder()) == last


def test_what_is_no_checkpoint_is_not_looked_at(folder):
    good = make(folder, 2)
    for name in ("failed-at-step-9", "checkpoint-best", "checkpoint-8.partial", "checkpoint-"):
        (folder / name).mkdir()
    assert checkpoints.latest(folder, ME, Recorder()) == good


def test_an_unfinished_one_is_passed_over_and_said(folder):
    good, unfinished = make(folder, 400), make(folder, 1000, sealed=False)
    report = Recorder()
    assert checkpoints.latest(folder, ME, report) == good
    assert report.said == [
        "warning: checkpoint at step 1000 was not finished; going back to the one before"
    ]
    assert not unfinished.exists()


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            lambda p: flip(p / "adapter_model.safetensors"),
            "has a damaged adapter_model.safetensors",
        ),
        (lambda p: (p / "optimizer.pt").unlink(), "has a damaged optimizer.pt"),
        (lambda p: (p / "optimizer.pt").write_bytes(b""), "has a damaged optimizer.pt"),
        (lambda p: (p / checkpoints.MARK).write_bytes(b'{"adapter_mo'), "has a broken mark"),
    ],
)
def test_a_damaged_one_is_passed_over(folder, damage, said):
    good = make(folder, 4)
    damage(make(folder, 6))
    report = Recorder()
    assert checkpoints.latest(folder, ME, report) == good
    assert said in report.said[0]


def test_none_is_left(folder):
    make(folder, 4, sealed=False)
    assert checkpoints.latest(folder, ME, Recorder()) is None


@pytest.mark.parametrize("beside", [checkpoints.CHOICE, checkpoints.ANCHORS])
def test_those_of_another_training_are_discarded_with_what_lies_beside_them(folder, beside):
    make(folder, 4)
    (folder / beside).write_text("{}")
    assert checkpoints.latest(folder, ME, Recorder()) == folder / "checkpoint-4"
    assert (folder / beside).exists()
    report = Recorder()
    assert checkpoints.latest(folder, YOU, report) is None
    assert report.said == ["1 checkpoints of another training discarded"]
    assert checkpoints.by_step(folder) == []
    assert not (folder / beside).exists()
    yours = make(folder, 2, of=YOU)
    assert checkpoints.latest(folder, YOU, report) == yours


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (YOU, "its dataset is not"),
        ({"base": "0"}, "its dataset is not"),
        (ME | {"base": "1"}, "its base is not"),
    ],
)
def test_one_that_was_copied_from_another_training_is_refused_and_the_fix_leads_out(
    folder, of, said
):
    before = make(folder, 2)
    copied = make(folder, 4, of=of)
    with pytest.raises(UsageError, match=said) as caught:
        checkpoints.latest(folder, ME, Recorder())
    command = str(caught.value.fix).partition(":")[0]
    assert command == f"rm -r {copied}"
    subprocess.run(shlex.split(command), check=True)
    assert checkpoints.latest(folder, ME, Recorder()) == before


def test_a_disk_that_is_full_leaves_the_last_good_one(folder, monkeypatch):
    good = make(folder, 2)

    def full(*arguments, **options):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr("safetensors.torch.save_file", full)
    parameter = torch.nn.Parameter(torch.ones(1000))
    with pytest.raises(
        EnvironmentProblem, match=r"adapter_model\.safetensors needs 4\.0 kB"
    ) as caught:
        checkpoints.save(
            folder,
            4,
            {"a": parameter},
            {},
            optimizer("adamw", {"a": [parameter], "b": []}, TrainConfig()),
            {checkpoints.IDENTITY: ME},
        )
    assert "--workspace" in str(caught.value.fix)
    assert list(folder.glob(".*")) == []
    assert checkpoints.latest(folder, ME, Recorder()) == good


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_what_was_saved_goes_on_to_the_same_bits(tmp_path, name):
    """Three steps, saved; the fourth is the same from memory and from the checkpoint."""
    import torch

    def made() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 9000))
        return parameter, optimizer(name, {"a": [parameter], "b": []}, TrainConfig())

    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, i: int) -> None:
        parameter.grad = torch.sin(torch.arange(9000) * (i + 1.0))
        optimizer.step()

    parameter, adam = made()
    for i in range(3):
        step(parameter, adam, i)
    path = checkpoints.save(tmp_path, 3, {"w": parameter.data}, {}, adam, {"note": 1})
    again, other = made()
    assert checkpoints.restore(path, {"w": again.data}, other) == {"note": 1}
    for own, opt in ((parameter, adam), (again, other)):
        step(own, opt, 3)
    assert torch.equal(parameter, again)
    assert adam.state_dict()["param_groups"] == other.state_dict()["param_groups"]


def test_pruning_keeps_the_newest(folder):
    for step in (1000, 50, 400):
        make(folder, step)
    checkpoints.prune(folder, 2)
    assert [step for step, _ in checkpoints.by_step(folder)] == [400, 1000]


@pytest.mark.parametrize(
    ("number", "ignored"), [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGHUP, True)]
)
def test_a_signal_asks_for_a_checkpoint_unless_it_is_to_be_ignored(tmp_path, number, ignored):
    """nohup has SIGHUP ignored from the start."""
    before = signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
    report = Recorder()
    watch = Watch(None, report, open_tracker("none", tmp_path, "x", {}), 3, History())
    try:
        with watch.signals():
            os.kill(os.getpid(), number)
        assert (watch.stop, len(report.said)) == ((0, 0) if ignored else (number, 1))
    finally:
        signal.signal(number, before)
