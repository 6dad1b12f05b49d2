"""What the base writes before the first step, and that a model which is held to it stays nearer to the base."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_helpers import Recorder

from phoenix_forge.catalog.memory import Placement
from phoenix_forge.chat.encode import Encoded, Encoder
from phoenix_forge.errors import Preempted
from phoenix_forge.train import anchor, checkpoints
from phoenix_forge.train.anchor import (
    Anchors,
    Continuation,
    judged,
    packed,
    restored,
    store,
    written,
)
from phoenix_forge.train.base import load_base, quiet
from phoenix_forge.train.batches import Batch
from phoenix_forge.train.choose import Compute
from phoenix_forge.train.loop import Job, train
from phoenix_forge.train.trainable import EngineModel, Trainable, Wanted, open_trainable
from phoenix_forge.weights.base import open_base

FP32 = Compute("cpu", "fp32", 32, "adamw", "")
LENGTH, COUNT = 48, 6


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and short passages, two to an update."""
    quiet()
    monkeypatch.setattr(anchor, "LENGTH", {"cpu": LENGTH})
    monkeypatch.setattr(anchor, "PASSAGES", {"cpu": COUNT})
    monkeypatch.setattr(anchor, "ROWS", 2)
    monkeypatch.setattr(anchor, "SHARE", 1 / 4)


@pytest.fixture
def passages(tiny_base: Path, encoder: Encoder, settings, _little: None) -> list[Continuation]:
    return written(tiny_base, encoder, FP32, settings(seed=0))


# -- what the base writes


def test_half_begin_as_a_text_and_half_as_a_question_in_the_chat_template(
    passages: list[Continuation], encoder: Encoder
) -> None:
    asked = encoder.tokenizer.encode(
        "<|im_start|>system\nYou are a small test model.<|im_end|>\n<|im_start|>user\n",
        add_special_tokens=False,
    ).ids
    assert encoder.prompt([{"role": "user", "content": "Who?"}])[: len(asked)] == asked
    assert [given for given, _ in passages] == [1] * 3 + [len(asked)] * 3
    for given, ids in passages:
        assert ids[:given] in ([encoder.pad_id], asked)
        assert len(ids) == LENGTH
    assert len({tuple(ids) for _, ids in passages}) == COUNT


def test_a_template_that_begins_with_a_page_leaves_its_room_to_texts(
    tiny_base: Path, encoder: Encoder, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor, "starts", lambda encoder: ([encoder.pad_id], [7] * LENGTH))
    assert [given for given, _ in written(tiny_base, encoder, FP32, settings(seed=0))] == [
        1
    ] * COUNT


def test_the_same_seed_writes_the_same_and_no_more_than_an_example_may_hold(
    passages: list[Continuation], tiny_base: Path, encoder: Encoder, settings
) -> None:
    assert written(tiny_base, encoder, FP32, settings(seed=0)) == passages
    other = written(tiny_base, encoder, FP32, settings(seed=1, max_length=40))
    assert {len(ids) for _, ids in other} == {40}
    assert not {tuple(ids) for _, ids in other} & {tuple(ids[:40]) for _, ids in passages}


def test_no_token_ends_a_passage_and_no_setting_of_the_base_narrows_it(
    tiny_base: Path, encoder: Encoder, settings, passages: list[Continuation], tmp_path: Path
) -> None:
    """To this base every token is an end, and only its likeliest one is to be taken."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "eos_token_id": list(range(600)),
                "pad_token_id": 5,
                "do_sample": True,
                "top_k": 1,
                "top_p": 0.1,
                "temperature": 0.1,
                "repetition_penalty": 9.0,
            }
        )
    )
    assert written(folder, encoder, FP32, settings(seed=0)) == passages


def test_passages_are_kept_as_they_were_written(
    passages: list[Continuation], tmp_path: Path
) -> None:
    store(tmp_path / "anchors.json", passages)
    assert restored(tmp_path / "anchors.json") == passages


# -- which of them a step takes


@pytest.mark.parametrize(
    ("update", "capacity", "sizes"),
    [
        (8 * LENGTH, 10**6, [2, 2, 1]),
        (8 * LENGTH, LENGTH, [1] * 5),
        (10**6, 10**6, [5]),
        (64, 10**6, [1] * 5),
        (10**6, 3 * LENGTH, [3, 2]),
    ],
)
def test_an_update_takes_its_share_of_passages_as_many_as_fit_and_at_least_one(
    update: int, capacity: int, sizes: list[int], settings
) -> None:
    made = [Continuation(1 + i, list(range(100 * i, 100 * i + LENGTH))) for i in range(5)]
    batches = packed(made, settings(tokens_per_update=update), capacity)
    assert [len(batch.examples) for batch in batches] == sizes
    assert [(e.ids, e.trained) for b in batches for e in b.examples] == [
        (ids, [0] * given + [1] * (LENGTH - given)) for given, ids in made
    ]
    assert {batch.prefix for batch in batches} == {0}


def numbered(count: int) -> list[Batch]:
    return [Batch((Encoded([i, i, i], [0, 1, 1]),), 0) for i in range(count)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_step_takes_one_batch_in_one_process_and_each_batch_before_any_again(
    processes: int,
) -> None:
    anchors = Anchors(numbered(5), 1.0, 7)
    steps = [
        [
            b.examples[0].ids[0]
            for rank in range(processes)
            for b in anchors.of(step, rank, processes)
        ]
        for step in range(20)
    ]
    assert all(len(taken) == 1 for taken in steps)
    turns = [[number for taken in steps[at : at + 5] for number in taken] for at in range(0, 20, 5)]
    assert all(sorted(turn) == list(range(5)) for turn in turns)
    assert len(set(map(tuple, turns))) > 1, "in another order each time"
    assert {
        rank for step in range(20) for rank in range(processes) if anchors.of(step, rank, processes)
    } == set(range(processes))


def test_a_batch_weighs_as_much_as_all_examples_whatever_its_size() -> None:
    for batch in (*numbered(1), Batch((Encoded([1] * 9, [0] * 2 + [1] * 7),) * 3, 0)):
        assert Anchors([batch], 0.5, 0).share([batch]) * batch.targets == pytest.approx(0.5)


def test_without_passages_no_step_takes_any() -> None:
    assert Anchors([], 1.0, 0).of(0, 0, 1) == []


# -- what the model makes of them


@pytest.mark.parametrize("changes", [{}, {"dora": True}], ids=["by the engine", "by PEFT"])
def test_passages_are_judged_by_the_base_and_pull_by_their_distance_from_it(
    passages: list[Continuation],
    tiny_base: Path,
    settings,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict,
) -> None:
    monkeypatch.setattr(anchor, "LIKELIEST", 600)
    chosen = settings(dropout=0.5, **changes)
    model = opened(tiny_base, chosen)
    batches = judged(packed(passages, chosen, 2 * LENGTH), model)
    base = logs(load_base(tiny_base, FP32).eval(), passages)
    found = torch.cat([torch.zeros_like(b.soft[1]).scatter(1, *b.soft) for b in batches])
    assert torch.allclose(found, torch.cat(base).exp(), rtol=1e-3)
    assert sum(model.loss(batch).item() for batch in batches) == pytest.approx(0, abs=1e-3)
    for parameter in model.groups["b"]:
        parameter.data += 0.05
    model.updated()
    other = torch.cat(
        [torch.zeros_like(b.soft[1]).scatter(1, *model.likeliest(b, 600)) for b in batches]
    )
    away = (found * (found.log() - other.log())).sum().item()
    assert away > 0.1
    assert sum(model.loss(batch).item() for batch in batches) == pytest.approx(away, rel=1e-2)


def opened(base: Path, settings) -> Trainable:
    model = open_base(base)
    return open_trainable(
        model, Wanted("forge/tiny", model.family.targets, 8, settings), FP32, Placement(2, 2, 2)
    )


def logs(model, passages: list[Continuation]) -> list[torch.Tensor]:
    """The logarithms of a model's probabilities of all tokens at each place that the base chose."""
    with torch.no_grad():
        return [
            torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, given - 1 : -1], -1)
            for given, ids in passages
        ]


def distance(job: Job, passages: list[Continuation]) -> float:
    """Mean divergence of an adapted model from its base, by PEFT, over all tokens."""
    from peft import PeftModel

    base = torch.cat(logs(load_base(job.base, FP32).eval(), passages))
    model = PeftModel.from_pretrained(load_base(job.base, FP32), str(job.adapter)).eval()
    return (base.exp() * (base - torch.cat(logs(model, passages)))).sum(-1).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"dora": True}], ids=["by the engine", "by PEFT"])
def test_a_model_that_is_held_stays_nearer_to_its_base_and_still_learns(
    make_job: Callable[..., Job],
    settings,
    encoder: Encoder,
    passages: list[Continuation],
    changes: dict,
) -> None:
    away = []
    for weight in (0.0, 1.0):
        job = make_job(f"weight-{weight}")
        figures = train(
            job, settings(anchor=weight, max_steps=12, **changes), 8, encoder, Recorder()
        )
        assert figures["loss"] < figures["first_loss"] - 0.1
        assert (job.checkpoints / checkpoints.ANCHORS).exists() == bool(weight)
        away.append(distance(job, passages))
    assert 0 < away[1] < 0.5 * away[0]


def test_memory_that_runs_out_over_the_passages_costs_no_step(
    make_job: Callable[..., Job], settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty, scarce = make_job("plenty"), make_job("scarce")
    chosen = settings(anchor=1.0, max_steps=2)
    train(plenty, chosen, 8, encoder, Recorder())
    step = EngineModel.step

    def one_at_a_time(self: EngineModel, batch: Batch, scale: float, seed: int) -> torch.Tensor:
        if batch.soft and len(batch.examples) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, batch, scale, seed)

    monkeypatch.setattr(EngineModel, "step", one_at_a_time)
    train(scarce, chosen, 8, encoder, Recorder())
    found, expected = (
        load_file(str(job.adapter / "adapter_model.safetensors")) for job in (scarce, plenty)
    )
    assert all(torch.allclose(found[name], t, atol=1e-4) for name, t in expected.items())


# -- the same again


def adapter_bytes(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(job.adapter.iterdir())}


def test_a_stopped_training_goes_on_with_its_passages_to_the_same_bytes(
    make_job: Callable[..., Job], settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(anchor=1.0, max_steps=6, dropout=0.1)
    straight, again, stopped = (make_job(name) for name in ("straight", "again", "stopped"))
    for job in (straight, again):
        train(job, chosen, 8, encoder, Recorder())
    assert adapter_bytes(again) == adapter_bytes(straight)
    asked = Recorder(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 3 else None)
    with pytest.raises(Preempted):
        train(stopped, chosen, 8, encoder, asked)
    monkeypatch.setattr(anchor, "written", None)
    rest = Recorder()
    train(stopped, chosen, 8, encoder, rest)
    assert rest.steps == [4, 5, 6]
    assert adapter_bytes(stopped) == adapter_bytes(straight)


def test_another_training_writes_its_own_passages(
    make_job: Callable[..., Job], settings, encoder: Encoder, passages: list[Continuation]
) -> None:
    kept = make_job().checkpoints / checkpoints.ANCHORS
    said = []
    for dataset, seed in (("one", 0), ("one", 0), ("two", 1)):
        report = Recorder()
        train(
            make_job(identity={"dataset": dataset}),
            settings(anchor=1.0, max_steps=1, seed=seed),
            8,
            encoder,
            report,
        )
        said.append(any("the base writes some passages" in line for line in report.said))
        assert (restored(kept) == passages) == (seed == 0)
    assert said == [True, False, True]


def test_the_loss_that_is_told_is_that_of_the_examples(
    make_job: Callable[..., Job], settings, encoder: Encoder
) -> None:
    plain, held = (
        train(
            make_job(f"weight-{weight}"),
            settings(anchor=weight, max_steps=1),
            8,
            encoder,
            Recorder(),
        )
        for weight in (0.0, 1.0)
    )
    assert held["first_loss"] == plain["first_loss"] > 0
