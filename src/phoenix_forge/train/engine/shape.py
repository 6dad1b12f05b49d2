"""What the engine has to know of an architecture, read from config.json, and what it does not do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Families whose decoder layer is: norm, attention with rotary positions, norm, SwiGLU, each added to the stream.
_NAMES = ("qwen2", "qwen3", "llama", "mistral", "phi3")
FUSED = ("phi3",)  # q, k and v are one matrix on disk, gate and up another


@dataclass(frozen=True)
class Group:
    """Linear layers that share their input and are multiplied as one matrix, (out, in).

    `parts` are PEFT's module names with their rows, in order. `expands`: the output is the wide side; see linear.py.
    """

    name: str
    module: str
    parts: tuple[tuple[str, int], ...]
    inputs: int
    bias: bool
    expands: bool

    @property
    def outputs(self) -> int:
        return sum(rows for _, rows in self.parts)


@dataclass(frozen=True)
class Shape:
    """Sizes of one decoder. `groups` are a layer's linear layers."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    eps: float
    tied: bool
    qk_norm: bool
    groups: tuple[Group, ...]


def unsupported(config: dict[str, Any], family: str, longest: int) -> str | None:
    """Why the engine cannot train this model on examples of up to `longest` tokens, or None."""
    if family not in _NAMES:
        return (
            f"{family} layers are not among those the engine has written out ({', '.join(_NAMES)})"
        )
    if config.get("hidden_act", "silu") != "silu":
        return f"hidden_act {config['hidden_act']!r}"
    window = config.get("sliding_window")
    if window and config.get("use_sliding_window", True) and window < longest:
        return f"a sliding window of {window} tokens, shorter than train.max_length"
    if config.get("mlp_bias"):
        return "biases in the MLP"
    return None


def shape(config: dict[str, Any], family: str) -> Shape:
    """From config.json, with the defaults of transformers' configuration classes for keys that are absent."""
    hidden, ffn, heads = (
        config["hidden_size"],
        config["intermediate_size"],
        config["num_attention_heads"],
    )
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or hidden // heads
    q, kv = heads * head_dim, kv_heads * head_dim
    bias = family == "qwen2" or bool(config.get("attention_bias"))
    out_bias = family != "qwen2" and bool(config.get("attention_bias"))
    qkv = (
        (("qkv_proj", q + 2 * kv),)
        if family in FUSED
        else (("q_proj", q), ("k_proj", kv), ("v_proj", kv))
    )
    gate_up = (
        (("gate_up_proj", 2 * ffn),) if family in FUSED else (("gate_proj", ffn), ("up_proj", ffn))
    )
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=hidden,
        ffn=ffn,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=config["vocab_size"],
        eps=config.get("rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        qk_norm=family == "qwen3",
        groups=(
            Group("qkv", "self_attn", qkv, hidden, bias, True),
            Group("o", "self_attn", (("o_proj", hidden),), q, out_bias, False),
            Group("gate_up", "mlp", gate_up, hidden, False, True),
            Group("down", "mlp", (("down_proj", hidden),), ffn, False, False),
        ),
    )


def rotary(folder: Path, head_dim: int) -> tuple[Tensor, float]:
    """Angles a position (half of the turned part of a head, fp32), and the factor on cos and sin that some scalings of
    long contexts use."""
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    parameters = config.rope_parameters
    if parameters["rope_type"] == "default":
        dimensions = int(head_dim * (parameters.get("partial_rotary_factor") or 1.0))
        steps = torch.arange(0, dimensions, 2, dtype=torch.int64).float() / dimensions
        return 1.0 / parameters["rope_theta"] ** steps, 1.0
    angles, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config, torch.device("cpu"))
    return angles, factor
