"""Training on the tiny base: it learns, it resumes exactly, and a failure never looks like success."""

import json
import math
import os
import signal
from pathlib import Path

import pytest
from train_helpers import Recorder, conversation, write_examples

from phoenix_forge.core.fsio import read_sealed
from phoenix_forge.errors import Preempted, StageFailed, UsageError
from phoenix_forge.train import checkpoints
from phoenix_forge.train.base import load_base
from phoenix_forge.train.batches import encode
from phoenix_forge.train.choose import choose
from phoenix_forge.train.loop import Job, train


def adapter_bytes(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(job.adapter.iterdir())}


def logged_steps(job: Job, key: str = "loss") -> list[int]:
    lines = [json.loads(line) for line in job.metrics.read_text().splitlines()]
    return [line["step"] for line in lines if key in line]


def test_six_steps_lower_the_loss(make_job, settings, encoder, capfd):
    job, report = make_job(), Recorder()
    figures = train(job, settings(), 8, encoder, report)
    assert figures["steps"] == 6
    assert figures["loss"] < figures["first_loss"] - 0.1
    assert figures["tokens_per_second"] > 0
    assert figures["peak_rss_bytes"] > 0
    assert report.steps == [1, 2, 3, 4, 5, 6]
    assert logged_steps(job) == [1, 2, 3, 4, 5, 6]
    assert capfd.readouterr().out == "", "stdout belongs to results"


def test_the_adapter_is_what_peft_expects_and_the_same_bytes_each_time(make_job, settings, encoder):
    one, two = make_job("one"), make_job("two")
    for job in (one, two):
        train(job, settings(), 8, encoder, Recorder())
    assert adapter_bytes(one) == adapter_bytes(two)
    assert set(adapter_bytes(one)) == {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads(adapter_bytes(one)["adapter_config.json"])
    assert config["base_model_name_or_path"] == "forge/tiny", (
        "never a path of the machine that trained it"
    )
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert config["target_modules"] == sorted(one.targets)
    assert list(config) == sorted(config)
    assert str(one.base) not in adapter_bytes(one)["adapter_config.json"].decode()


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_the_first_loss_is_the_mean_over_the_trained_tokens_of_unpacked_examples(
    make_job, settings, encoder, tiny_base, micro_batch
):
    """All rows in one step, before the adapter does anything: the whole path from examples to the loss is right."""
    import torch

    job = make_job()
    chosen = settings(max_steps=1, tokens_per_update=10**6, micro_batch=micro_batch)
    figures = train(job, chosen, 8, encoder, Recorder())
    model, total, count = load_base(tiny_base, choose(chosen, 1)).eval(), 0.0, 0
    for example in encode(job.dataset, encoder, chosen.max_length):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([example.ids])).logits[0, :-1]
        for token, trained, row in zip(example.ids[1:], example.trained[1:], logits, strict=True):
            if trained:
                total -= torch.log_softmax(row, -1)[token].item()
                count += 1
    assert figures["first_loss"] == pytest.approx(total / count, abs=1e-4)


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    return write_examples(tmp_path / "val.jsonl", [conversation(i) for i in range(30, 34)])


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 4])
def test_a_stopped_training_resumes_exactly(make_job, settings, encoder, held_out, stop_at):
    """Stopped by SIGTERM between two checkpoints or on one; dropout makes the random state matter."""
    chosen = settings(max_steps=8, dropout=0.1)
    straight, stopped = (
        make_job("straight", validation=held_out),
        make_job("stopped", validation=held_out),
    )
    figures = train(straight, chosen, 8, encoder, Recorder())

    asked = Recorder(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == stop_at else None)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match=f"SIGTERM after step {stop_at} of 8") as caught:
        train(stopped, chosen, 8, encoder, asked)
    assert caught.value.exit_code == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert asked.steps[-1] == stop_at
    assert not stopped.adapter.exists()
    assert any("SIGTERM" in message for message in asked.said)

    rest = Recorder()
    resumed = train(stopped, chosen, 8, encoder, rest)
    assert rest.steps == list(range(stop_at + 1, 9)), "it goes on where it stopped"
    assert adapter_bytes(stopped) == adapter_bytes(straight)
    assert logged_steps(stopped) == list(range(1, 9))
    assert (resumed["loss"], resumed["eval_loss"]) == (figures["loss"], figures["eval_loss"])


def test_a_training_that_was_finished_is_not_repeated(make_job, settings, encoder, held_out):
    job = make_job(validation=held_out)
    figures = train(job, settings(), 8, encoder, Recorder())
    made = adapter_bytes(job)
    again = Recorder()
    repeated = train(job, settings(), 8, encoder, again)
    assert again.steps == []
    assert adapter_bytes(job) == made
    for key in ("steps", "loss", "first_loss", "eval_loss"):
        assert repeated[key] == figures[key] is not None


def test_a_torn_checkpoint_is_passed_over_and_the_result_is_the_same(make_job, settings, encoder):
    straight, torn = make_job("straight"), make_job("torn")
    for job in (straight, torn):
        train(job, settings(), 8, encoder, Recorder())
    (torn.checkpoints / "checkpoint-6/optimizer.safetensors").write_bytes(b"half")
    report = Recorder()
    train(torn, settings(), 8, encoder, report)
    assert report.steps == [5, 6]
    assert any(
        "checkpoint at step 6 has a damaged optimizer.safetensors" in message
        for message in report.said
    )
    assert adapter_bytes(torn) == adapter_bytes(straight)
    assert logged_steps(torn) == [1, 2, 3, 4, 5, 6]


def test_only_the_last_checkpoints_are_kept_and_each_is_complete(make_job, settings, encoder):
    job = make_job()
    train(job, settings(max_steps=5, save_steps=1, keep_checkpoints=2), 8, encoder, Recorder())
    assert [step for step, _ in checkpoints.by_step(job.checkpoints)] == [4, 5]
    assert (
        checkpoints.latest(job.checkpoints, job.identity, Recorder())
        == job.checkpoints / "checkpoint-5"
    )


def test_the_machine_is_used_the_same_way_after_a_resume_but_not_for_another_training(
    make_job, settings, encoder
):
    job = make_job()
    train(job, settings(max_steps=2), 8, encoder, Recorder())
    kept = read_sealed(job.checkpoints / checkpoints.CHOICE)["choice"]
    assert kept["bits"] == 32
    report = Recorder()
    train(
        make_job(identity={"settings": "another"}),
        settings(max_steps=2, method="qlora"),
        8,
        encoder,
        report,
    )
    assert read_sealed(job.checkpoints / checkpoints.CHOICE)["choice"]["bits"] == 4
    assert report.steps == [1, 2]


def test_qlora_trains_on_a_cpu(make_job, settings, encoder):
    job, report = make_job(), Recorder()
    figures = train(job, settings(max_steps=2, method="qlora"), 8, encoder, report)
    assert "NF4" in figures["method"]
    assert figures["loss"] < figures["first_loss"]
    assert "adapter_model.safetensors" in adapter_bytes(job)


def test_a_loss_that_is_no_number_stops_it_and_nothing_is_kept(make_job, settings, encoder):
    job, report = make_job(), Recorder()
    with pytest.raises(StageFailed, match="the loss became nan at step 2") as caught:
        train(
            job,
            settings(learning_rate=1e30, schedule="constant", warmup=0, save_steps=1),
            8,
            encoder,
            report,
        )
    assert "learning_rate" in caught.value.fix
    assert max(report.steps) < 6, "it did not go on"
    assert not job.adapter.exists()
    assert checkpoints.by_step(job.checkpoints) == [], (
        "no checkpoint with lost weights can be resumed from"
    )
    assert math.isnan(json.loads(job.metrics.read_text().splitlines()[1])["loss"])


def test_an_error_in_a_step_leaves_marked_weights_and_is_never_resumed_from(
    make_job, settings, encoder
):
    def fail(step: int) -> None:
        if step == 3:
            raise RuntimeError("the sizes do not match")

    straight, job = make_job("straight"), make_job("broken")
    train(straight, settings(), 8, encoder, Recorder())
    with pytest.raises(
        StageFailed, match=r"training failed after step 3: .*do not match"
    ) as caught:
        train(job, settings(), 8, encoder, Recorder(fail))
    assert caught.value.exit_code == 4
    left = job.checkpoints / "failed-after-step-3"
    assert str(left) in caught.value.fix
    assert (left / "FAILED.txt").read_text() == "RuntimeError: the sizes do not match\n"
    assert (left / "adapter_model.safetensors").stat().st_size > 0
    assert not job.adapter.exists()
    report = Recorder()
    train(job, settings(), 8, encoder, report)
    assert report.steps == [3, 4, 5, 6], "from checkpoint-2, not from the weights of the failure"
    assert adapter_bytes(job) == adapter_bytes(straight)


def test_an_empty_dataset_is_refused(make_job, settings, encoder, tmp_path):
    empty = write_examples(tmp_path / "empty.jsonl", [])
    with pytest.raises(UsageError, match=r"empty\.jsonl holds no example"):
        train(make_job(dataset=empty), settings(), 8, encoder, Recorder())
