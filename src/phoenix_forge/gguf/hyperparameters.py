"""A family's hyperparameters as GGUF metadata, key for key and in the order of llama.cpp's converter."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from phoenix_forge.catalog.families import Family
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Field
from phoenix_forge.gguf.rope import attention_factor, head_width, local_theta, real, rope, rotated
from phoenix_forge.weights.layout import number

Config = dict[str, Any]
Fields = dict[str, Field]


def hyperparameters(family: Family, config: Config, where: str) -> Fields:
    """The fields of general.architecture, without its prefix.

    Raises UsageError where a setting is missing, senseless, or one that llama.cpp's graph of this family has not.
    """
    return _ROWS[family.name](config, where)


def leading(family: Family, config: Config, where: str) -> Fields:
    """The fields that the converter writes before all others, because they come up with a tensor."""
    factor = attention_factor(config, where) if family.name == "phi3" else None
    return {} if factor is None else {"rope.scaling.attn_factor": Field("float32", factor)}


def _common(config: Config, where: str, head: int | None = None) -> Fields:
    """`head` is a head's width where the family's configuration class always has one."""
    heads = number(config, "num_attention_heads", where)
    fields = {
        "block_count": Field("uint32", number(config, "num_hidden_layers", where)),
        "context_length": Field("uint32", number(config, "max_position_embeddings", where)),
        "embedding_length": Field("uint32", number(config, "hidden_size", where)),
        "feed_forward_length": Field("uint32", number(config, "intermediate_size", where)),
        "attention.head_count": Field("uint32", heads),
        "attention.head_count_kv": Field("uint32", config.get("num_key_value_heads", heads)),
    }
    rotary = rope(config)
    fields |= _rope_scaling(rotary, where)
    fields["rope.freq_base"] = Field("float32", real(rotary["rope_theta"], "rope_theta", where))
    if (theta := local_theta(config)) is not None:
        fields["rope.freq_base_swa"] = Field("float32", real(theta, "rope_local_base_freq", where))
    fields["attention.layer_norm_rms_epsilon"] = Field(
        "float32", real(config.get("rms_norm_eps"), "rms_norm_eps", where)
    )
    if (width := config.get("head_dim") or head) is not None:
        fields["attention.key_length"] = fields["attention.value_length"] = Field("uint32", width)
    return fields


def _llama(config: Config, where: str) -> Fields:
    return _common(config, where, head_width(config)) | {
        "vocab_size": Field("uint32", number(config, "vocab_size", where)),
        "rope.dimension_count": Field("uint32", head_width(config)),
    }


def _mistral(config: Config, where: str) -> Fields:
    window, context = config.get("sliding_window"), number(config, "max_position_embeddings", where)
    if window and window < context:
        raise UsageError(
            f"{where}: sliding_window is {window}, which llama.cpp's Mistral does not have",
            fix="choose a Mistral from v0.2 on",
        )
    return _llama(config, where)


_GEMMA_PATTERN = 6  # every sixth layer sees the whole context; llama.cpp takes it for granted


def _gemma3(config: Config, where: str) -> Fields:
    kinds = config.get("layer_types") or [
        "full_attention"
        if (i + 1) % config.get("sliding_window_pattern", _GEMMA_PATTERN) == 0
        else "sliding_attention"
        for i in range(number(config, "num_hidden_layers", where))
    ]
    whole = [i for i, kind in enumerate(kinds) if kind == "full_attention"]
    if whole != list(range(_GEMMA_PATTERN - 1, len(kinds), _GEMMA_PATTERN)):
        raise UsageError(
            f"{where}: layers {whole} see the whole context, llama.cpp's Gemma 3 has every sixth do so",
            fix="choose a published Gemma 3",
        )
    if config.get("attn_logit_softcapping") is not None:
        raise UsageError(
            f"{where}: attn_logit_softcapping is {config['attn_logit_softcapping']}, which llama.cpp's "
            "Gemma 3 does not have",
            fix="choose a published Gemma 3",
        )
    fields = _common(config, where, 256)
    if config.get("final_logit_softcapping"):
        fields["final_logit_softcapping"] = Field(
            "float32", float(config["final_logit_softcapping"])
        )
    fields["attention.sliding_window"] = Field("uint32", number(config, "sliding_window", where))
    return fields


def _phi3(config: Config, where: str) -> Fields:
    rotary, heads = rope(config), number(config, "num_attention_heads", where)
    return {
        "context_length": Field("uint32", number(config, "max_position_embeddings", where)),
        "rope.scaling.original_context_length": Field(
            "uint32", number(rotary, "original_max_position_embeddings", where)
        ),
        "embedding_length": Field("uint32", number(config, "hidden_size", where)),
        "feed_forward_length": Field("uint32", number(config, "intermediate_size", where)),
        "block_count": Field("uint32", number(config, "num_hidden_layers", where)),
        "attention.head_count": Field("uint32", heads),
        "attention.head_count_kv": Field("uint32", config.get("num_key_value_heads", heads)),
        "attention.layer_norm_rms_epsilon": Field(
            "float32", real(config.get("rms_norm_eps"), "rms_norm_eps", where)
        ),
        "rope.dimension_count": Field("uint32", rotated(config)),
        "rope.freq_base": Field("float32", real(rotary["rope_theta"], "rope_theta", where)),
        "attention.sliding_window": Field("uint32", config.get("sliding_window") or 0),
    }


_ROWS: dict[str, Callable[[Config, str], Fields]] = {
    "qwen2": _common,
    "qwen3": partial(_common, head=128),
    "llama3": _llama,
    "mistral": _mistral,
    "gemma3": _gemma3,
    "phi3": _phi3,
}


def _rope_scaling(rotary: dict[str, Any], where: str) -> Fields:
    kind = rotary["rope_type"]
    if kind in ("default", "llama3"):  # llama3's factors are a tensor
        return {}
    if kind not in ("linear", "yarn"):
        raise UsageError(
            f"{where}: rope_type {kind!r} is not supported; supported: default, linear, yarn, llama3",
            fix="choose a base with plain rotary embeddings",
        )
    fields = {
        "rope.scaling.type": Field("string", kind),
        "rope.scaling.factor": Field("float32", real(rotary.get("factor"), "rope factor", where)),
    }
    if kind == "yarn":
        fields["rope.scaling.original_context_length"] = Field(
            "uint32", number(rotary, "original_max_position_embeddings", where)
        )
        for key, name in (
            ("extrapolation_factor", "yarn_ext_factor"),
            ("attention_factor", "yarn_attn_factor"),
            ("beta_fast", "yarn_beta_fast"),
            ("beta_slow", "yarn_beta_slow"),
        ):
            if rotary.get(key) is not None:
                fields[f"rope.scaling.{name}"] = Field("float32", real(rotary[key], key, where))
    return fields
