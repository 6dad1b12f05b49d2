"""The planner's arithmetic, and what happens when it was wrong."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from train_helpers import Recorder

from phoenix_forge.catalog.bases import BASES
from phoenix_forge.catalog.memory import GIB, Placement, device_bytes, passes, placements, plans
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import read_sealed
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.stages import Context
from phoenix_forge.stages.train import prediction
from phoenix_forge.train import checkpoints
from phoenix_forge.train.loop import train
from phoenix_forge.train.trainable import EngineModel

SEVEN, FOURTEEN = BASES["qwen2-7b"].sizes, BASES["qwen2.5-14b"].sizes
HALF = BASES["qwen2-0.5b"].sizes
GPU = {"width": 2, "bits": 4, "gpu": True, "recompute": None, "streamed": None}


@pytest.mark.parametrize(
    ("size", "placement", "tokens", "measured"),
    [  # GiB reserved on an H200, rank 16, 8-bit AdamW
        (SEVEN, Placement(28, 2, 4), 2048, 12.54),
        (SEVEN, Placement(28, 2, 4), 8192, 29.86),
        (SEVEN, Placement(28, 2, 8), 2048, 21.31),
        (SEVEN, Placement(28, 2, 8), 8192, 38.63),
        (SEVEN, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 2048, 5.93),
        (SEVEN, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 8192, 7.31),
        (
            SEVEN,
            Placement(0, 2, 4, embedding_on_host=True, on_host=True, chunk=512, logits=256),
            2048,
            5.36,
        ),
        (
            SEVEN,
            Placement(0, 2, 4, embedding_on_host=True, on_host=True, chunk=1024, logits=256),
            16384,
            6.65,
        ),
        (
            SEVEN,
            Placement(0, 2, 4, embedding_on_host=True, on_host=True, chunk=1024, logits=256),
            32768,
            7.84,
        ),
        (
            SEVEN,
            Placement(
                0,
                2,
                4,
                embedding_on_host=True,
                on_host=True,
                attention=True,
                chunk=2048,
                logits=512,
            ),
            2048,
            5.58,
        ),
        (
            SEVEN,
            Placement(
                0,
                2,
                4,
                embedding_on_host=True,
                on_host=True,
                attention=True,
                chunk=2048,
                logits=512,
            ),
            8192,
            6.12,
        ),
        (SEVEN, Placement(28, 2, 4), 256, 7.00),
        (SEVEN, Placement(28, 2, 4), 1024, 9.39),
        (SEVEN, Placement(28, 2, 4), 4096, 18.30),
        (SEVEN, Placement(28, 2, 4, expanded=True), 8192, 38.88),
        (
            FOURTEEN,
            Placement(0, 2, 4, streamed=True, embedding_on_host=True, chunk=512, logits=256),
            2048,
            4.19,
        ),
        (FOURTEEN, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 256, 9.57),
        (FOURTEEN, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 8192, 13.91),
        (HALF, Placement(24, 2, 4), 256, 0.84),
        (HALF, Placement(24, 2, 4), 1024, 1.54),
        (HALF, Placement(24, 2, 4), 8192, 6.30),
        (HALF, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 256, 0.71),
        (HALF, Placement(0, 2, 4, embedding_on_host=True, chunk=2048, logits=512), 8192, 1.15),
        (
            SEVEN,
            Placement(0, 2, 4, streamed=True, embedding_on_host=True, chunk=256, logits=128),
            512,
            2.33,
        ),
    ],
)
def test_predictions_are_not_below_what_was_measured_and_not_far_above(
    size, placement, tokens, measured
):
    assert measured <= device_bytes(size, placement, tokens, 16, 2) / GIB <= 1.15 * measured


@given(
    st.integers(256, 8192),
    st.integers(8, 128),
    st.sampled_from([SEVEN, FOURTEEN, BASES["tiny"].sizes]),
)
def test_more_tokens_and_rank_never_take_less_and_what_is_recomputed_never_more(tokens, rank, size):
    for placement in placements(size, **GPU):
        assert device_bytes(size, placement, tokens, rank, 2) <= device_bytes(
            size, placement, tokens + 64, rank, 2
        )
        assert device_bytes(size, placement, tokens, rank, 2) <= device_bytes(
            size, placement, tokens, rank + 8, 2
        )
    keep, again = Placement(size.layers, 2, 4), Placement(0, 2, 4, chunk=2048)
    assert device_bytes(size, again, tokens, rank, 2) <= device_bytes(size, keep, tokens, rank, 2)


def first(size, gib, tokens=(8192, 4096, 2048), host=64):
    return next(
        plans(size, placements(size, **GPU), list(tokens), 16, 2, int(gib * GIB), host * GIB), None
    )


def test_memory_decides_what_is_kept():
    assert first(SEVEN, 130).placement.expanded
    assert first(SEVEN, 40).placement.whole == 28
    middle = first(SEVEN, 16)
    assert middle.tokens >= 2048
    assert first(SEVEN, 5.8, (2048,)).placement.whole == 0
    assert first(SEVEN, 3.2, (512,)).placement.streamed
    assert first(FOURTEEN, 8, (2048,)).placement.streamed
    assert first(SEVEN, 1, (512,)) is None
    assert first(SEVEN, 3.2, (512,), host=2) is None, "streamed layers need RAM"


@given(st.floats(3, 140))
def test_what_is_chosen_fits_and_more_memory_never_means_fewer_kept(gib):
    plan = first(SEVEN, gib, (2048, 1024, 512))
    if plan:
        assert plan.device_bytes <= gib * GIB
        more = first(SEVEN, gib * 1.3, (2048, 1024, 512))
        assert more.placement.whole >= plan.placement.whole or more.tokens > plan.tokens


def test_recompute_and_stream_can_be_demanded():
    demanded = GPU | {"recompute": True}
    assert all(placement.whole == 0 for placement in placements(SEVEN, **demanded))
    assert all(placement.streamed for placement in placements(SEVEN, **(GPU | {"streamed": True})))
    assert not any(
        placement.streamed for placement in placements(SEVEN, **(GPU | {"streamed": False}))
    )
    assert all(
        placement.whole == 28 for placement in placements(SEVEN, **(GPU | {"recompute": False}))
    )


def test_passes():
    assert passes(2048, 16384, None, True) == [8192, 4096, 2048]
    assert passes(2048, 16384, 2, True) == [4096]
    assert passes(512, 512, None, True) == [512]
    assert passes(512, 4096, None, False) == [512]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. More text."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 1073741824 bytes. Error code 12 (Cannot allocate memory)"
        ),
        MemoryError(),
    ],
    ids=type,
)
def test_out_of_memory_costs_no_step_and_changes_nothing(
    make_job, settings, encoder, monkeypatch, error
):
    """Passes above a size fail: they are split, the step begins anew, and the adapter comes out as it would have."""
    chosen = settings(tokens_per_update=400, max_length=192, max_steps=4, micro_batch=2)
    plain, short = make_job("plain"), make_job("short")
    train(plain, chosen, 8, encoder, Recorder())
    real, seen = EngineModel.step, []

    def step(self, batch, scale, seed):
        seen.append(batch.computed)
        result = real(self, batch, scale, seed)
        if batch.computed > 150:  # after its gradients were added: they must not count twice
            raise error
        return result

    monkeypatch.setattr(EngineModel, "step", step)
    report = Recorder()
    figures = train(short, chosen, 8, encoder, report)
    assert max(seen) > 150
    assert figures["steps"] == 4
    assert report.steps == [1, 2, 3, 4]
    assert any(": passes of" in said and "split in two" in said for said in report.said)
    from safetensors.torch import load_file

    a, b = (load_file(str(j.adapter / "adapter_model.safetensors")) for j in (plain, short))
    assert all(torch.allclose(a[n], b[n], atol=1e-4) for n in a)


def test_one_example_that_does_not_fit_keeps_less_of_each_layer_then_gives_up(
    make_job, settings, encoder, monkeypatch
):
    real = EngineModel.step

    def step(self, batch, scale, seed):
        if self.placement.whole > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried")
        return real(self, batch, scale, seed)

    monkeypatch.setattr(EngineModel, "step", step)
    job, report = make_job(), Recorder()
    train(job, settings(max_steps=2), 8, encoder, report)
    assert any("less is kept of each layer" in said for said in report.said)
    kept = read_sealed(job.checkpoints / checkpoints.CHOICE)
    assert kept["use"]["whole"] <= 1, "a resumed run starts with what was found"

    def never(self, batch, scale, seed):
        raise MemoryError

    monkeypatch.setattr(EngineModel, "step", never)
    with pytest.raises(EnvironmentProblem, match="with one example of") as caught:
        train(make_job("hopeless"), settings(max_steps=2), 8, encoder, Recorder())
    assert "train.max_length" in caught.value.fix
    assert "train.stream" not in caught.value.fix, "that is for GPUs"


@pytest.mark.parametrize(
    ("gpu", "gib", "how"),
    [
        ("NVIDIA H200", 140.0, "laid out once"),
        ("NVIDIA RTX 4060", 8.0, "RAM"),
        ("NVIDIA RTX 3050", 4.0, "streamed"),
        ("NVIDIA T400", 1.0, "not fit"),
    ],
)
def test_the_plan_says_what_training_takes_before_the_base_is_there(
    tmp_path, monkeypatch, gpu, gib, how
):
    config = Config.model_validate(
        {"model": {"base": "qwen2-7b"}, "train": {"rank": 16, "max_length": 1024}}
    )
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=64 * GIB))
    found = prediction(Context(config, Workspace(tmp_path, config), Recorder()), gpu, gib, 1e6)
    assert how in found["how"]
    assert found["disk_bytes"] > 40_370_176 * 4 * 9
    if gib > 1:
        assert found["vram_bytes"] <= gib * GIB
        assert found["seconds"] > 50


def test_on_a_cpu_the_plan_counts_ram(tmp_path):
    config = Config.model_validate({"model": {"base": "tiny"}})
    found = prediction(Context(config, Workspace(tmp_path, config), Recorder()), "", 0.0, 1e4)
    assert found["memory_bytes"] > 1e9
    assert "vram_bytes" not in found
    assert found["seconds"] >= 0
