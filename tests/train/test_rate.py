"""The learning rate: up over the warm-up and down the schedule."""

import pytest

from phoenix_forge.core.config import TrainConfig
from phoenix_forge.train.optimise import learning_rate


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_it_rises_to_the_peak_and_follows_the_schedule(schedule):
    train = TrainConfig(schedule=schedule, warmup=0.1, learning_rate=1e-3)
    rates = [learning_rate(train, step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1e-3 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert (rates[99] < 5e-5) is (schedule != "constant")
