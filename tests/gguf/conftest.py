import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.weights.tiny import build_tiny

_TEXTS = [
    "The forge turns documents into a model. It merges, quantises and writes.\n" * 20,
    "def merge(base, adapter):\n    return base + adapter\n" * 20,
    "Größe, naïve, 東京, 🚀 and 12345.\n" * 20,
]


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Path]:
    """Builds a small model; keywords as for build_tiny."""

    def make(folder: Path, **settings: Any) -> Path:
        build_tiny(folder, _TEXTS, **{"ffn": 256, "layers": 2, "vocab": 500} | settings)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., Path]) -> Path:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def real_gguf() -> Path:
    path = Path(
        os.environ.get(
            "FORGE_TEST_MODEL",
            Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        )
    )
    if not path.exists():
        pytest.skip(f"the real model is not at {path}")
    return path
