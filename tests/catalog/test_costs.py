"""Predictions against what was measured on real runs."""

import pytest

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.bases import BASES

SMALL = BASES["qwen2.5-coder-0.5b"]


def test_tokens_of_a_training():
    """The demo: 274 source tokens at 6 became 4,482 tokens an epoch."""
    assert costs.train_tokens(274, 6, 1) == pytest.approx(4482, rel=0.15)


@pytest.mark.parametrize(("bf16", "speed"), [(True, 140), (False, 60)])
def test_seconds_on_two_cores(bf16, speed):
    """Tokens through the model a second, with and without bf16 instructions."""
    flops = 2 * costs.CORE_FLOPS[bf16]
    assert costs.train_seconds(SMALL.sizes, speed, flops, recompute=False) == pytest.approx(
        1, rel=0.15
    )


def test_seconds_of_7b_on_an_h200():
    size = BASES["qwen2-7b"].sizes
    assert (
        11_500
        < 1e6 / costs.train_seconds(size, 1e6, costs.gpu_flops("NVIDIA H200"), recompute=True)
        < 14_500
    )
    assert (
        16_000
        < 1e6 / costs.train_seconds(size, 1e6, costs.gpu_flops("NVIDIA H200"), recompute=False)
        < 20_000
    )


@pytest.mark.parametrize(("quant", "written"), [("Q4_K_M", 397_807_296), ("Q8_0", 531_067_584)])
def test_a_gguf_is_never_larger_than_predicted(quant, written):
    assert written <= costs.gguf_bytes(SMALL.parameters, quant) <= 1.3 * written


def test_an_import_is_never_larger_than_predicted():
    assert costs.base_bytes(SMALL.parameters) >= 994_077_701
