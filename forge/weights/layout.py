"""Which tensors a model of a family consists of: Hugging Face names and shapes, from config.json alone."""

from __future__ import annotations

from typing import Any

from forge.errors import UsageError

Shapes = dict[str, tuple[int, ...]]


def number(config: dict[str, Any], key: str, where: str) -> int:
    """A positive whole number out of config.json."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise UsageError(f"{where}: {key} is {value!r}, expected a positive whole number",
                         fix="fetch the base again with forge download --force")
    return value


def tied(config: dict[str, Any]) -> bool:
    """Whether the output matrix is the embedding itself. Absent means untied, as in Qwen2's configuration class."""
    return bool(config.get("tie_word_embeddings", False))


def _qwen2(config: dict[str, Any], where: str) -> Shapes:
    """Bias on q, k and v only; grouped-query attention; SwiGLU feed-forward."""
    hidden, ffn = number(config, "hidden_size", where), number(config, "intermediate_size", where)
    heads, vocabulary = number(config, "num_attention_heads", where), number(config, "vocab_size", where)
    kv_heads = number({"num_key_value_heads": heads, **config}, "num_key_value_heads", where)
    head = number({"head_dim": hidden // heads, **config}, "head_dim", where)
    layer: Shapes = {
        "input_layernorm.weight": (hidden,),
        "mlp.down_proj.weight": (hidden, ffn),
        "mlp.gate_proj.weight": (ffn, hidden),
        "mlp.up_proj.weight": (ffn, hidden),
        "post_attention_layernorm.weight": (hidden,),
        "self_attn.k_proj.bias": (kv_heads * head,),
        "self_attn.k_proj.weight": (kv_heads * head, hidden),
        "self_attn.o_proj.weight": (hidden, heads * head),
        "self_attn.q_proj.bias": (heads * head,),
        "self_attn.q_proj.weight": (heads * head, hidden),
        "self_attn.v_proj.bias": (kv_heads * head,),
        "self_attn.v_proj.weight": (kv_heads * head, hidden),
    }
    shapes: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(number(config, "num_hidden_layers", where)):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not tied(config):
        shapes["lm_head.weight"] = (vocabulary, hidden)
    return shapes


_LAYOUTS = {"qwen2": _qwen2}


def layout(family: str, config: dict[str, Any], where: str) -> Shapes:
    """Name → shape of every tensor, in canonical order: embedding, layers by number, final norm, output if untied.

    `family` is a row's name in forge.catalog.families; `where` is the config's path for messages.
    """
    return _LAYOUTS[family](config, where)
