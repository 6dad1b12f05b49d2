"""Tiny models whose layers and logits matter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.safetensors import Tensor, write
from phoenix_forge.weights.tiny import build_tiny

TEXTS = [
    "The forge turns documents into a model. It merges, quantises and writes.\n" * 20,
    "Größe, naïve, 東京, 🚀 and 12345.\n" * 20,
]


def build_loud(folder: Path) -> None:
    """A tiny model whose layers and logits matter: with weights of 0.02, as they start out, a layer changes nothing."""
    build_tiny(folder, TEXTS, ffn=256, layers=2, vocab=500, dtype="F32")
    base = open_base(folder)
    arrays = {
        name: base.read(name) * np.float32(1 if "norm" in name else 5) for name in base.entries
    }
    write(
        folder / "model.safetensors",
        [Tensor(n, "F32", a.shape, lambda a=a: a) for n, a in arrays.items()],
    )


def write_adapter(folder: Path, scale: float) -> None:
    chance = np.random.default_rng(1)
    halves = {"A": (8, 256), "B": (256, 8)}
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(
        json.dumps(
            {
                "peft_type": "LORA",
                "r": 8,
                "lora_alpha": 8,
                "task_type": "CAUSAL_LM",
                "target_modules": ["o_proj"],
            }
        )
    )
    write(
        folder / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.model.layers.{layer}.self_attn.o_proj.lora_{half}.weight",
                "F32",
                shape,
                lambda shape=shape: chance.standard_normal(shape, np.float32) * np.float32(scale),
            )
            for layer in range(2)
            for half, shape in halves.items()
        ],
    )


def encoder_of(base: Path, **overrides: str) -> Encoder:
    family = open_base(base).family
    return Encoder.load(base, **({"stop": family.stop, "pad": family.pad} | overrides))
