"""A short, seeded run of bench/fuzz.py's targets: only a ForgeError may come out. bench/README.md has the long ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    path = Path(__file__).parents[2] / "bench/fuzz.py"
    sys.path.append(str(path.parent))  # what it takes from beside it
    spec = importlib.util.spec_from_file_location("bench_fuzz", path)
    assert spec
    assert spec.loader
    module = sys.modules["bench_fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Enough to meet most of what refuses: lines of Forge that raised, as of the day this was written less a few.
COUNTS = {
    "gguf header": (1000, 10),
    "gguf import": (300, 15),
    "safetensors": (1000, 7),
    "model folder": (500, 15),
    "tokenizer": (150, 2),
    "modelfile": (1500, 5),
    "chat template": (300, 2),
    "examples": (600, 1),
}
DOCUMENTS = 15  # inputs of each kind


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_nothing_but_a_forge_error_comes_out(name: str, fuzz: ModuleType, tmp_path: Path) -> None:
    count, refusals = COUNTS[name]
    fuzz._Seen.refused.clear()
    found = fuzz.seeded(name, count, 7, tmp_path)
    assert [(problem, data[:2000]) for problem, data in found] == []
    assert len(fuzz._Seen.refused) >= refusals, "the inputs no longer reach what refuses them"


@pytest.mark.slow
def test_no_document_ends_its_reader_or_loses_a_token(fuzz: ModuleType, tmp_path: Path) -> None:
    for name in filter(fuzz._is_document, fuzz.TARGETS):
        found = fuzz.seeded(name, DOCUMENTS, 7, tmp_path)
        assert [(name, problem, data[:2000]) for problem, data in found] == []


def test_every_target_is_run(fuzz: ModuleType) -> None:
    assert [*COUNTS] == [name for name in fuzz.TARGETS if not fuzz._is_document(name)]
