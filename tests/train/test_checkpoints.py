"""Which checkpoint a run continues from."""

from pathlib import Path

import pytest
from train_helpers import Recorder

from forge.core.config import TrainConfig
from forge.train import checkpoints
from forge.train.optimise import optimizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Owned by the training "me"."""
    folder = tmp_path / "checkpoints"
    checkpoints.latest(folder, "me", Recorder())
    return folder


def make(folder: Path, step: int, sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(b"weights %d" % step)
    (path / "optimizer.pt").write_bytes(b"state")
    if sealed:
        checkpoints.seal(path)
    return path


def test_order_is_by_number(folder):
    last = make(folder, 1000)
    make(folder, 400)
    assert [step for step, _ in checkpoints.by_step(folder)] == [400, 1000]
    assert checkpoints.latest(folder, "me", Recorder()) == last


def test_what_is_no_checkpoint_is_not_looked_at(folder):
    good = make(folder, 2)
    for name in ("failed-at-step-9", "checkpoint-best", "checkpoint-8.partial", "checkpoint-"):
        (folder / name).mkdir()
    assert checkpoints.latest(folder, "me", Recorder()) == good


def test_an_unfinished_one_is_passed_over_and_said(folder):
    good, unfinished = make(folder, 400), make(folder, 1000, sealed=False)
    report = Recorder()
    assert checkpoints.latest(folder, "me", report) == good
    assert report.said == ["warning: checkpoint at step 1000 was not finished; going back to the one before"]
    assert not unfinished.exists()


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


@pytest.mark.parametrize(("damage", "said"), [
    (lambda p: flip(p / "adapter_model.safetensors"), "has a damaged adapter_model.safetensors"),
    (lambda p: (p / "optimizer.pt").unlink(), "has a damaged optimizer.pt"),
    (lambda p: (p / "optimizer.pt").write_bytes(b""), "has a damaged optimizer.pt"),
    (lambda p: (p / checkpoints.MARK).write_bytes(b'{"adapter_mo'), "has a broken mark")])
def test_a_damaged_one_is_passed_over(folder, damage, said):
    good = make(folder, 4)
    damage(make(folder, 6))
    report = Recorder()
    assert checkpoints.latest(folder, "me", report) == good
    assert said in report.said[0]


def test_none_is_left(folder):
    make(folder, 4, sealed=False)
    assert checkpoints.latest(folder, "me", Recorder()) is None


@pytest.mark.parametrize("beside", [checkpoints.CHOICE, checkpoints.ANCHORS])
def test_those_of_another_training_are_discarded_with_what_lies_beside_them(folder, beside):
    make(folder, 4)
    (folder / beside).write_text("{}")
    assert checkpoints.latest(folder, "me", Recorder()) == folder / "checkpoint-4"
    assert (folder / beside).exists()
    report = Recorder()
    assert checkpoints.latest(folder, "you", report) is None
    assert report.said == ["1 checkpoints of another training discarded"]
    assert checkpoints.by_step(folder) == []
    assert not (folder / beside).exists()
    mine = make(folder, 2)
    assert checkpoints.latest(folder, "you", report) == mine


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
