"""Every artifact's path: the workflow's table with its names, and the defaults with another."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_forge.core.config import assemble, profile_layer
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.workflow.old_config import read_all

ROOT = Path("/w")
SEED = {
    "dataset": "dataset_package/sanctuary_whole_genome_data.jsonl",
    "validation": "dataset_package/sanctuary_whole_genome_data_val.jsonl",
    "probes": "dataset_package/probes.jsonl",
    "card": "dataset_package/dataset_card.json",
    "adapter": "models/Sanctuary-Qwen2-7B-v1.0-adapter",
    "merged": "models/merged/Sanctuary-Qwen2-7B-v1.0-merged",
    "gguf": "models/gguf/Sanctuary-Qwen2-7B-v1.0-Q4_K_M.gguf",
    "gguf_manifest": "forge/gguf_model_manifest.json",
    "modelfile": "Modelfile",
    "checkpoints": "outputs/checkpoints/Sanctuary-Qwen2-7B-v1.0",
    "readme": "huggingface/README.md",
    "readme_lora": "huggingface/README_LORA.md",
    "model_card": "huggingface/model_card.yaml",
    "metrics": "logs/metrics.jsonl",
}
PLAIN = SEED | {
    "dataset": "dataset_package/ada.jsonl",
    "validation": "dataset_package/ada_val.jsonl",
    "adapter": "models/ada-adapter",
    "merged": "models/merged/ada-merged",
    "gguf": "models/gguf/ada-Q4_K_M.gguf",
    "gguf_manifest": "models/gguf/gguf_model_manifest.json",
    "checkpoints": "outputs/checkpoints/ada",
}


def shown(space: Workspace, name: str) -> str:
    path = space.gguf() if name == "gguf" else getattr(space, name)
    return space.shown(path)


@pytest.fixture(scope="module")
def seed() -> Workspace:
    layers, notices = read_all(Path(__file__).parents[2] / "forge/config")
    return Workspace(ROOT, assemble([profile_layer("sanctuary"), *layers], notices).config)


@pytest.mark.parametrize(("name", "path"), SEED.items())
def test_the_workflows_outputs(seed, name, path):
    assert shown(seed, name) == path


@pytest.mark.parametrize(("name", "path"), PLAIN.items())
def test_the_defaults(name, path):
    assert (
        shown(Workspace(ROOT, assemble([("file", {"model.name": "ada"})], []).config), name) == path
    )


def test_the_base_and_other_types(seed):
    assert seed.base("Qwen/Qwen2-7B-Instruct") == ROOT / "models/base/Qwen/Qwen2-7B-Instruct"
    assert seed.gguf("Q8_0") == ROOT / "models/gguf/Sanctuary-Qwen2-7B-v1.0-Q8_0.gguf"
    assert seed.manifest("train") == ROOT / ".forge/manifests/train.json"


def test_a_configured_path_may_lie_anywhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    config = assemble(
        [("file", {"paths.adapter": "~/a", "paths.merged": "/m", "paths.gguf": "my.gguf"})], []
    ).config
    space = Workspace(ROOT, config)
    assert (space.adapter, space.merged, space.gguf()) == (
        Path("/home/ada/a"),
        Path("/m"),
        ROOT / "my.gguf",
    )
    assert space.shown(space.adapter) == "/home/ada/a"
    assert space.gguf("Q4_K_M") == ROOT / "models/gguf/my-model-Q4_K_M.gguf", (
        "what is quantised is never that file"
    )
