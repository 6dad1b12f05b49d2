import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.safetensors import NUMPY, Tensor, write
from phoenix_forge.weights.tiny import build_tiny

_TEXTS = [
    "The forge turns documents into a model. It merges, quantises and writes.\n" * 20,
    "def merge(base, adapter):\n    return base + adapter\n" * 20,
]


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Path]:
    """Builds a model of 3 layers; keywords as for build_tiny."""

    def make(folder: Path, **settings: Any) -> Path:
        build_tiny(
            folder, _TEXTS, **{"hidden": 64, "ffn": 128, "layers": 3, "vocab": 400} | settings
        )
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., Path]) -> Path:
    """A tied bf16 model that nobody changes."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny(tiny_source: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return shutil.copytree(tiny_source, tmp_path / "base")


@pytest.fixture
def adapter(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a rank-4 adapter for q_proj and down_proj; keywords change its config, `tensors` its weights."""

    def make(
        tensors: Callable[[dict[str, np.ndarray]], None] | None = None,
        dtype: str = "F32",
        **config: Any,
    ) -> Path:
        folder = tmp_path / "adapter"
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(1)
        weights: dict[str, np.ndarray] = {}
        for name, entry in open_base(tiny).entries.items():
            if name.endswith(("q_proj.weight", "down_proj.weight")):
                stem = f"base_model.model.{name.removesuffix('.weight')}"
                out, width = entry.shape
                weights[f"{stem}.lora_A.weight"] = random.standard_normal((4, width), np.float32)
                weights[f"{stem}.lora_B.weight"] = random.standard_normal((out, 4), np.float32) / 50
        if tensors:
            tensors(weights)
        settings = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 4,
            "lora_alpha": 8,
            "bias": "none",
            "target_modules": ["q_proj", "down_proj"],
            "base_model_name_or_path": str(tiny),
        } | config
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        stored = {
            k: v.astype(NUMPY[dtype])
            if dtype != "BF16"
            else (v.view(np.uint32) >> 16).astype("<u2")
            for k, v in weights.items()
        }
        write(
            folder / "adapter_model.safetensors",
            [Tensor(k, dtype, v.shape, lambda v=v: v) for k, v in stored.items()],
        )
        return folder

    return make
