"""How the machine is used, and why."""

from types import SimpleNamespace

import pytest

from phoenix_forge.core.config import TrainConfig
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.train import choose as module
from phoenix_forge.train.base import load_base, quiet
from phoenix_forge.train.choose import choose

HALF_A_BILLION = 500_000_000


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def memory(monkeypatch):
    """Makes the machine believe that so many bytes are free."""

    def be(free: float) -> None:
        monkeypatch.setattr(
            module.psutil, "virtual_memory", lambda: SimpleNamespace(available=int(free))
        )

    be(64e9)
    return be


def test_fp16_on_a_cpu_becomes_fp32_and_says_why(memory):
    compute = choose(TrainConfig(precision="fp16"), HALF_A_BILLION)
    assert (compute.device, compute.precision) == ("cpu", "fp32")
    assert "fp16 is for GPUs" in compute.why


@pytest.mark.parametrize(("bf16_speed", "expected"), [(0.5, "fp32"), (1.1, "fp32"), (2.0, "bf16")])
def test_precision_is_measured(memory, monkeypatch, bf16_speed, expected):
    import torch

    monkeypatch.setattr(
        module, "matmul_seconds", lambda kind: 1.0 if kind is torch.float32 else 1 / bf16_speed
    )
    compute = choose(TrainConfig(), HALF_A_BILLION)
    assert compute.precision == expected
    assert f"{bf16_speed:.1f}× as fast" in compute.why


def test_the_measurement_measures(memory):
    import torch

    assert module.matmul_seconds(torch.float32, repeats=1) > 0


def test_a_given_precision_is_taken(memory):
    assert choose(TrainConfig(precision="bf16"), HALF_A_BILLION).precision == "bf16"


def test_plain_lora_is_refused_when_memory_lacks(memory):
    memory(1e9)
    with pytest.raises(
        EnvironmentProblem, match=r"the base takes 2\.0 GB in fp32, 1\.0 GB of memory"
    ) as caught:
        choose(TrainConfig(precision="fp32", method="lora"), HALF_A_BILLION)
    assert "qlora" in caught.value.fix


def test_auto_takes_nf4_when_memory_lacks_and_says_why(memory):
    memory(2.5e9)
    compute = choose(TrainConfig(precision="fp32"), HALF_A_BILLION)
    assert compute.bits == 4
    assert "would not fit" in compute.why
    memory(4e9)
    assert choose(TrainConfig(precision="fp32"), HALF_A_BILLION).bits == 32


def test_8_bit_optimizers_are_cuda_only(memory):
    assert (
        choose(
            TrainConfig(precision="fp32", optimizer="paged_adamw_8bit"), HALF_A_BILLION
        ).optimizer
        == "adamw"
    )


def test_qlora_on_a_cpu_is_really_nf4(memory, tiny_base):
    import torch
    from bitsandbytes.nn import Linear4bit

    quiet()
    model = load_base(
        tiny_base, choose(TrainConfig(precision="fp32", method="qlora"), HALF_A_BILLION)
    )
    linear = [m for name, m in model.named_modules() if name.endswith(("_proj",))]
    assert len(linear) == 14
    for layer in linear:
        assert isinstance(layer, Linear4bit)
        assert layer.weight.quant_type == "nf4"
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.numel() == layer.in_features * layer.out_features / 2


def test_fp8_is_refused_without_the_gpu_for_it(memory):
    with pytest.raises(EnvironmentProblem, match="needs a Hopper GPU") as caught:
        choose(TrainConfig(method="fp8"), HALF_A_BILLION)
    assert caught.value.fix
