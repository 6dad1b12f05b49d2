"""What only a GPU shows: the same bits wherever layers and activations lie, an exact resume, memory that runs out."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_helpers import Recorder, conversation, write_examples

from phoenix_forge.catalog.memory import MemoryPlan, Placement
from phoenix_forge.errors import Preempted
from phoenix_forge.train import loop
from phoenix_forge.train.batches import Batch, encode, pack, tensors
from phoenix_forge.train.choose import choose
from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load, reader
from phoenix_forge.train.engine.shape import shape
from phoenix_forge.train.loop import train
from phoenix_forge.weights.base import open_base

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def batches(dataset: Path, encoder) -> list[Batch]:
    return pack(encode(dataset, encoder, 192), 2048, 0)


def gradients(base: Path, batches: list[Batch], placement: Placement) -> list[torch.Tensor]:
    """Losses and gradients of two passes, in bf16 on an NF4 base."""
    model = open_base(base)
    decoder = load(
        base,
        shape(model.config, "qwen2"),
        reader(model),
        LoraSettings(model.family.targets, 4, 2.0, 0),
        placement,
        ComputeDevice(torch.device("cuda"), torch.bfloat16),
    )
    decoder.lora.b.copy_(torch.linspace(-0.02, 0.02, len(decoder.lora.b)))
    decoder.lora.refresh()
    losses = [
        decoder.step(tensors(b, decoder.device, decoder.embedding.device), 1.0)
        for b in [*batches, *batches]
    ]
    return [*losses, decoder.lora.a_grad, decoder.lora.b_grad]


@pytest.mark.parametrize(
    "placement",
    [
        Placement(0, bits=4, streamed=True),
        Placement(4, bits=4, expanded=True),
        Placement(0, bits=4, embedding_on_host=True),
        Placement(0, bits=4, on_host=True),
        Placement(0, bits=4, on_host=True, attention=True),
        Placement(2, bits=4, on_host=True, attention=True, embedding_on_host=True),
    ],
    ids=str,
)
def test_wherever_things_lie_the_bits_are_the_same(tiny_base, batches, placement):
    at_hand = Placement(placement.whole, bits=4, attention=placement.attention)
    expected = gradients(tiny_base, batches, at_hand)
    found = gradients(tiny_base, batches, placement)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def history(path: Path) -> list[tuple]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        (line["step"], line.get("loss"), line.get("grad_norm"), line.get("eval_loss"))
        for line in lines
    ]


@pytest.mark.parametrize("stop_at", [3, 5])
def test_a_stopped_training_resumes_to_the_last_digit(make_job, settings, encoder, stop_at):
    chosen = settings(
        precision="auto", method="qlora", deterministic=True, dropout=0.1, max_steps=8
    )
    straight, stopped = make_job("straight"), make_job("stopped")
    train(straight, chosen, 8, encoder, Recorder())
    asked = Recorder(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == stop_at else None)
    with pytest.raises(Preempted):
        train(stopped, chosen, 8, encoder, asked)
    train(stopped, chosen, 8, encoder, Recorder())
    assert history(stopped.metrics) == history(straight.metrics)
    a, b = (
        load_file(str(job.adapter / "adapter_model.safetensors")) for job in (straight, stopped)
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_memory_that_runs_out_costs_no_step(make_job, settings, encoder, monkeypatch, tmp_path):
    """The planner is made to believe that all of an update fits at once; the card is capped so that it does not."""
    many = write_examples(tmp_path / "many.jsonl", [conversation(i) for i in range(2000)])
    plenty = settings(precision="auto", method="qlora", tokens_per_update=10**6, max_steps=3)
    placement = Placement(4, 2, 4)
    monkeypatch.setattr(
        loop, "_chosen", lambda *_: (choose(plenty, 1), MemoryPlan(placement, 10**6, 0, 0))
    )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train(make_job("plenty", dataset=many), plenty, 8, encoder, Recorder())
    scarce = plenty.model_copy(update={"memory": 0.8 * torch.cuda.max_memory_reserved() / 2**30})
    torch.cuda.empty_cache()
    report = Recorder()
    figures = train(make_job("scarce", dataset=many), scarce, 8, encoder, report)
    assert figures["steps"] == 3
    assert any("split in two" in said or "less is kept" in said for said in report.said), (
        report.said
    )
