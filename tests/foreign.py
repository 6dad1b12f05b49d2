"""Tiny random models of families that Forge has no row for, written by transformers itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from phoenix_forge.catalog.families import QWEN3
from phoenix_forge.weights.tiny import build_tiny

_COMMON: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "pad_token_id": 1,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 64, "mamba_d_state": 64, "mamba_n_groups": 1}
_DELTA = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "layer_types": ["linear_attention", "full_attention"],
}
# By model type: mixtures of experts, hybrids of attention with state spaces or convolutions, one that also sees.
TINY: dict[str, dict[str, Any]] = {
    "qwen3_moe": {
        "moe_intermediate_size": 256,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    },
    "mixtral": _EXPERTS,
    "gpt_oss": {
        **_EXPERTS,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "granitemoehybrid": {
        **_EXPERTS,
        **_MAMBA,
        "shared_intermediate_size": 256,
        "layer_types": ["mamba", "attention"],
        "position_embedding_type": None,
    },
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 512},
    "lfm2": {
        "block_ff_dim": 256,
        "block_auto_adjust_ff_dim": False,
        "layer_types": ["conv", "full_attention"],
    },
    "qwen3_5": {
        "text_config": {**_COMMON, **_DELTA},
        "vision_config": {
            "depth": 1,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 256,
        },
    },
}
# What published config.json files say in other words than save_pretrained of transformers 5.
_AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "falcon_h1": {"head_dim": 64},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
}


def build_foreign(folder: Path, model_type: str) -> Path:
    """A model folder with a Qwen tokenizer and template; the same weights every time."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    own = TINY[model_type]
    build_tiny(
        folder / "seed",
        ["The forge makes bells, hinges and anchors.\n" * 40],
        family=QWEN3,
        ffn=64,
        layers=1,
        vocab=512,
        hidden=64,
    )
    config = AutoConfig.for_model(model_type, **(own if "text_config" in own else _COMMON | own))
    torch.manual_seed(0)
    make = AutoModelForImageTextToText if "text_config" in own else AutoModelForCausalLM
    make.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.move(folder / "seed" / name, folder / name)
    shutil.rmtree(folder / "seed")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | _AS_PUBLISHED.get(model_type, {})))
    return folder
