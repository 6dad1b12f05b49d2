"""A small dataset for the tiny base, and training jobs on it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train_helpers import conversation, write_examples

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.train.loop import Job
from phoenix_forge.weights.base import open_base


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """More threads than free cores make steps of a tiny model many times slower."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def encoder(tiny_base: Path) -> Encoder:
    return Encoder.load(tiny_base, stop=QWEN2.stop, pad=QWEN2.pad)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(
        tmp_path_factory.mktemp("data") / "train.jsonl", [conversation(i) for i in range(24)]
    )


@pytest.fixture
def settings() -> Callable[..., TrainConfig]:
    """Train settings that suit the tiny base, which is held to nothing and learns in full; keywords change them."""
    return lambda **changes: TrainConfig.model_validate(
        {
            "precision": "fp32",
            "rank": 4,
            "max_length": 192,
            "tokens_per_update": 384,
            "max_steps": 6,
            "save_steps": 2,
            "learning_rate": 5e-3,
            "anchor": 0,
            "strength": 1,
        }
        | changes
    )


@pytest.fixture
def make_job(tiny_base: Path, dataset: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job in a folder of this test's own, by name; keywords change it."""

    def make(name: str = "job", **changes: Any) -> Job:
        model, folder = open_base(tiny_base), tmp_path / name
        folder.mkdir(exist_ok=True)
        job = Job(
            base=tiny_base,
            base_name="forge/tiny",
            targets=model.family.targets,
            dataset=dataset,
            validation=None,
            checkpoints=folder / "checkpoints",
            metrics=folder / "metrics.jsonl",
            adapter=folder / "adapter",
            identity={"settings": "this training"},
        )
        return dataclasses.replace(job, **changes)

    return make
