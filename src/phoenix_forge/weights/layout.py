"""Which tensors a model of a family consists of: Hugging Face names and shapes, from config.json alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phoenix_forge.errors import UsageError

Shapes = dict[str, tuple[int, ...]]
Sizes = dict[str, tuple[str, ...]]  # a tensor's shape by the names of its sizes, see _sizes
_MOST_LAYERS = 1024  # no model has more than some 130; a config that says 10^12 must not be listed layer by layer

_NORMS: Sizes = {
    "input_layernorm.weight": ("hidden",),
    "post_attention_layernorm.weight": ("hidden",),
}
_FFN_NORMS: Sizes = {
    "pre_feedforward_layernorm.weight": ("hidden",),
    "post_feedforward_layernorm.weight": ("hidden",),
}
_OUTPUT: Sizes = {
    "self_attn.o_proj.weight": ("hidden", "q"),
    "mlp.down_proj.weight": ("hidden", "ffn"),
}
_SEPARATE: Sizes = _OUTPUT | {
    "self_attn.q_proj.weight": ("q", "hidden"),
    "self_attn.k_proj.weight": ("kv", "hidden"),
    "self_attn.v_proj.weight": ("kv", "hidden"),
    "mlp.gate_proj.weight": ("ffn", "hidden"),
    "mlp.up_proj.weight": ("ffn", "hidden"),
}
_FUSED: Sizes = _OUTPUT | {
    "self_attn.qkv_proj.weight": ("qkv", "hidden"),
    "mlp.gate_up_proj.weight": ("gate_up", "hidden"),
}
_QKV_BIAS: Sizes = {
    "self_attn.q_proj.bias": ("q",),
    "self_attn.k_proj.bias": ("kv",),
    "self_attn.v_proj.bias": ("kv",),
}
_ATTENTION_BIAS: Sizes = _QKV_BIAS | {"self_attn.o_proj.bias": ("hidden",)}
_MLP_BIAS: Sizes = {
    "mlp.gate_proj.bias": ("ffn",),
    "mlp.up_proj.bias": ("ffn",),
    "mlp.down_proj.bias": ("hidden",),
}
_QK_NORM: Sizes = {"self_attn.q_norm.weight": ("head",), "self_attn.k_norm.weight": ("head",)}


@dataclass(frozen=True)
class _Layout:
    """`layer` are a layer's tensors; `switched` those that a setting of config.json adds; `defaults` what the family's
    configuration class takes for a setting that config.json leaves out."""

    layer: Sizes
    switched: dict[str, Sizes] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


_LAYOUTS = {
    "qwen2": _Layout(_NORMS | _SEPARATE | _QKV_BIAS),
    "qwen3": _Layout(
        _NORMS | _SEPARATE | _QK_NORM, {"attention_bias": _ATTENTION_BIAS}, {"head_dim": 128}
    ),
    "llama3": _Layout(
        _NORMS | _SEPARATE, {"attention_bias": _ATTENTION_BIAS, "mlp_bias": _MLP_BIAS}
    ),
    "mistral": _Layout(_NORMS | _SEPARATE),
    "gemma3": _Layout(
        _NORMS | _FFN_NORMS | _SEPARATE | _QK_NORM,
        {"attention_bias": _ATTENTION_BIAS},
        {"head_dim": 256, "tie_word_embeddings": True},
    ),
    "phi3": _Layout(_NORMS | _FUSED),
}


def number(config: dict[str, Any], key: str, where: str, most: int = 1 << 40) -> int:
    """A positive whole number out of config.json; with larger ones than any model has, shapes would not end."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise UsageError(
            f"{where}: {key} is {value!r}, expected a positive whole number up to {most:,}",
            fix="fetch the base again with forge download --force",
        )
    return value


def tied(family: str, config: dict[str, Any]) -> bool:
    """Whether the output matrix is the embedding itself; where config.json does not say, its family's class does."""
    return bool(
        config.get(
            "tie_word_embeddings", _LAYOUTS[family].defaults.get("tie_word_embeddings", False)
        )
    )


def _sizes(config: dict[str, Any], where: str) -> dict[str, int]:
    """The sizes that tensors have, by the names in the rows. A head need not be hidden / heads wide."""
    hidden, ffn = number(config, "hidden_size", where), number(config, "intermediate_size", where)
    heads = number(config, "num_attention_heads", where)
    kv_heads = number({"num_key_value_heads": heads} | config, "num_key_value_heads", where)
    head = number({"head_dim": hidden // heads} | config, "head_dim", where)
    q, kv = heads * head, kv_heads * head
    return {
        "hidden": hidden,
        "ffn": ffn,
        "gate_up": 2 * ffn,
        "head": head,
        "q": q,
        "kv": kv,
        "qkv": q + 2 * kv,
    }


def layout(family: str, config: dict[str, Any], where: str) -> Shapes:
    """Name → shape of every tensor, in canonical order: embedding, layers by number, final norm, output if untied.

    `family` is a row's name in phoenix_forge.catalog.families; `where` is the config's path for messages.
    """
    row = _LAYOUTS[family]
    config = row.defaults | {
        key: value for key, value in config.items() if value is not None
    }  # null: the default
    sizes, vocabulary = _sizes(config, where), number(config, "vocab_size", where)
    layer = dict(row.layer)
    for setting, tensors in row.switched.items():
        layer |= tensors if config.get(setting) else {}
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, sizes["hidden"])}
    for i in range(number(config, "num_hidden_layers", where, _MOST_LAYERS)):
        shapes |= {
            f"model.layers.{i}.{name}": tuple(sizes[size] for size in layer[name])
            for name in sorted(layer)
        }
    shapes["model.norm.weight"] = (sizes["hidden"],)
    if not tied(family, config):
        shapes["lm_head.weight"] = (vocabulary, sizes["hidden"])
    return shapes
