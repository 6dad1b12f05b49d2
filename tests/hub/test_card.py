"""The model card: valid front matter, what was recorded, and nothing about the machine."""

from __future__ import annotations

import yaml
from huggingface_hub import ModelCard

from forge.hub.card import Facts, model_card_yaml, readme, readme_lora

FACTS = Facts(
    name="mine", repo="me/mine", base="Qwen/Qwen2-7B-Instruct", license="apache-2.0", system="You are ```G```.",
    num_ctx=4096, files=[("mine-Q4_K_M.gguf", 4_680_000_000, "ab" * 32), ("mine-Q8_0.gguf", 8_000_000_000, "cd" * 32)],
    dataset={"documents": 790, "coverage": 0.9991, "trained_tokens": 7_500_000, "unknown": 1},
    training={"rank": 64, "final loss": 0.15, "odd|name": "a\nb"},
    manifests=[{"stage": "quantize", "started": "2026-01-02T03:04:05", "versions": {"forge": "0.1", "gguf": "0.19"},
                "outputs": {"gguf": {"path": "/home/someone/models/mine-Q4_K_M.gguf", "sha256": "ef" * 32}}}])


def test_front_matter_is_what_the_hub_reads() -> None:
    data = ModelCard(readme(FACTS)).data
    assert (data.base_model, data.license, data.pipeline_tag) == ("Qwen/Qwen2-7B-Instruct", "apache-2.0",
                                                                  "text-generation")
    assert data.to_dict()["base_model_relation"] == "quantized"
    assert "gguf" in data.tags
    assert ModelCard(readme_lora(FACTS)).data.to_dict()["base_model_relation"] == "adapter"
    assert yaml.safe_load(model_card_yaml(FACTS, "finetune"))["base_model_relation"] == "finetune"


def test_the_card_says_how_to_run_it_and_what_it_is_made_of() -> None:
    text = readme(FACTS)
    for words in ("ollama run hf.co/me/mine:Q4_K_M", "ollama run hf.co/me/mine:Q8_0", "| `mine-Q4_K_M.gguf` | 4.7 GB |",
                  "| documents | 790 |", "| share of the documents trained on | 99.9% |", "| odd\\|name | a b |",
                  "forge 0.1, gguf 0.19", "````\nYou are ```G```.\n````"):
        assert words in text
    assert "unknown" not in text
    assert "/home/someone" not in text


def test_a_base_that_is_not_on_the_hub_is_not_linked() -> None:
    for base in ("local/model", "forge/tiny", "ollama/qwen2-7b"):
        assert "base_model:" not in readme(Facts("n", None, base, "other", None, 1024))


def test_the_adapters_card_loads_from_the_repository() -> None:
    assert 'PeftModel.from_pretrained(base, "me/mine")' in readme_lora(FACTS)
