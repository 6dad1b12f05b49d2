"""Every family's tensors are those that transformers makes of the same config, and its tiny model runs there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.catalog.families import FAMILIES, Family
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.layout import layout, tied

BY_NAME = {family.name: family for family in FAMILIES}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", {}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {}),
    ("qwen3", {"head_dim": 32}),
    ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    ("llama3", {}),
    ("llama3", {"attention_bias": True, "mlp_bias": True}),
    ("llama3", {"head_dim": 8}),
    ("mistral", {}),
    ("mistral", {"head_dim": None}),
    ("mistral", {"head_dim": 32}),
    ("gemma3", {}),
    ("gemma3", {"head_dim": 24, "tie_word_embeddings": False}),
    ("gemma3", {"attention_bias": True}),
    ("phi3", {}),
    ("phi3", {"tie_word_embeddings": True, "partial_rotary_factor": 0.75}),
]


@pytest.mark.parametrize(("name", "settings"), CONFIGS)
def test_tensors_are_those_of_transformers(name: str, settings: dict[str, Any]) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = SIZES | settings
    made = transformers.AutoConfig.for_model(BY_NAME[name].model_type, **config)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(made)
    expected = {
        key: tuple(value.shape) for key, value in model.named_parameters()
    }  # a tied output is named once
    assert layout(name, config, "config.json") == expected
    assert tied(name, config) == made.tie_word_embeddings
    linear = {
        key.split(".")[-1]
        for key, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert linear - {"lm_head"} == set(BY_NAME[name].targets)


@pytest.mark.parametrize("untied", [False, True])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_transformers_runs_the_tiny_model(
    family: Family, untied: bool, tmp_path: Path, make_tiny: Callable[..., Path]
) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = make_tiny(tmp_path, family=family, dtype="F32", tied=not untied)
    base = open_base(folder)
    assert (base.family, base.tied) == (family, not untied)
    model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert type(model).__name__ == family.architecture
    assert not any(loaded.values()), loaded
    assert sum(p.numel() for p in model.parameters()) == base.parameters
    encoder = Encoder.load(folder, stop=family.stop, pad=family.pad)
    assert model.generation_config.eos_token_id[0] == encoder.stop_id
    assert model.config.pad_token_id in (encoder.pad_id, None)  # Qwen2's config.json has none
    messages = [
        {"role": "user", "content": "naïve 東京 123?"},
        {"role": "assistant", "content": "Yes."},
    ]
    encoded = encoder.conversation(messages)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert encoded.ids == tokenizer.apply_chat_template(messages, return_dict=False)
    labels = [
        i if trained else -100 for i, trained in zip(encoded.ids, encoded.trained, strict=True)
    ]
    loss = model(torch.tensor([encoded.ids]), labels=torch.tensor([labels])).loss
    assert 3 < loss.item() < 10  # near the logarithm of the vocabulary: it is untrained, and sound


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_shapes_follow_the_config(
    family: Family, tmp_path: Path, make_tiny: Callable[..., Path]
) -> None:
    folder = make_tiny(tmp_path, family=family)
    entries = list(open_base(folder).entries)
    assert entries[0] == "model.embed_tokens.weight"
    assert entries[-1] == "model.norm.weight"
    config = json.loads((folder / "config.json").read_text())
    assert (config["architectures"], config["model_type"]) == (
        [family.architecture],
        family.model_type,
    )
