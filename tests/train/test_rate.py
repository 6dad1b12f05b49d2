"""The learning rate: by the base's size where none is chosen, up over the warm-up and down the schedule."""

import pytest

from forge.core.config import TrainConfig
from forge.train.optimise import learning_rate, peak_rate


@pytest.mark.parametrize(("chosen", "parameters", "peak"), [
    (None, 494_032_768, 5e-4), (None, 1_543_714_304, 5e-4), (None, 7_615_616_512, 2e-4), (3e-5, 494_032_768, 3e-5)])
def test_the_peak_follows_the_size_unless_it_is_chosen(chosen, parameters, peak):
    assert peak_rate(TrainConfig(learning_rate=chosen), parameters) == peak


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_it_rises_to_the_peak_and_follows_the_schedule(schedule):
    train = TrainConfig(schedule=schedule, warmup=0.1)
    rates = [learning_rate(train, 1e-3, step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == 1e-3 == max(rates)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert (rates[99] < 5e-5) is (schedule != "constant")
