"""Which base is proposed for a machine and a folder, and that the catalog's numbers describe a model."""

from __future__ import annotations

import math

import pytest

from phoenix_forge.catalog.bases import BASES, Base
from phoenix_forge.catalog.choose import proposed
from phoenix_forge.catalog.memory import Sizes
from phoenix_forge.weights.layout import layout

# Catalog name begins with → row of the families' table that has the same tensors, and a head's width.
_ROWS = {
    "qwen3": ("qwen3", 128),
    "qwen2": ("qwen2", 64),
    "llama": ("llama3", 64),
    "smollm3": ("llama3", 64),
    "phi": ("phi3", 64),
    "gemma-3": ("gemma3", 256),
    "tiny": ("qwen2", 64),
}


@pytest.mark.parametrize(
    "base", [base for base in BASES.values() if base.sizes], ids=lambda base: base.name
)
def test_sizes_give_the_parameters(base: Base) -> None:
    row, head = next(value for start, value in _ROWS.items() if base.name.startswith(start))
    s = base.sizes
    config = {
        "hidden_size": s.hidden,
        "intermediate_size": s.ffn,
        "num_attention_heads": s.attention // head,
        "num_key_value_heads": s.kv // head,
        "head_dim": head,
        "vocab_size": s.vocabulary,
        "num_hidden_layers": s.layers,
        "tie_word_embeddings": s.tied,
    }
    assert sum(map(math.prod, layout(row, config, base.name).values())) == base.parameters


@pytest.mark.parametrize(
    ("gib", "name"),
    [
        (0.0, "qwen3-0.6b"),
        (3.0, "qwen3-1.7b"),
        (6.0, "qwen3-4b"),
        (8.0, "qwen3-8b"),
        (16.0, "qwen3-14b"),
        (141.0, "qwen3-14b"),
    ],
)
def test_the_largest_that_a_gpu_trains(gib: float, name: str) -> None:
    assert proposed(gib).name == name


def test_nobody_is_given_a_restricted_licence_a_coding_model_or_a_slow_way_unasked() -> None:
    for gib in (0.0, 4.0, 8.0, 24.0, 80.0):
        for languages in ((), ("de",), ("hi", "th"), ("sw",)):
            base = proposed(gib, languages)
            assert base.license in ("apache-2.0", "mit")
            assert "coder" not in base.name
            assert not base.converted


def test_languages_decide_before_size(monkeypatch) -> None:
    def made(name: str, layers: int, languages: str) -> Base:
        sizes = Sizes(layers, 1024, 3072, 1024, 1024, 50_000, True)
        return Base(
            name,
            f"x/{name}",
            layers * sizes.layer,
            "mit",
            (),
            sizes,
            languages=languages,
            chat=True,
        )

    known = {
        base.name: base for base in (made("large", 40, "en fr"), made("small", 10, "en de fr"))
    }
    monkeypatch.setattr("phoenix_forge.catalog.choose.BASES", known)
    assert proposed(80.0, ["en"]).name == "large"
    assert proposed(80.0, ["de", "en"]).name == "small"
    assert proposed(80.0, ["ja"]).name == "large"  # none has it: then it does not decide
