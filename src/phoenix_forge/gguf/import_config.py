"""A GGUF's metadata as a Hugging Face config.json, family by family.

A GGUF does not hold everything that config.json says. What is missing is either the same for every model of the family
(and in its row here) or follows from what is there; where neither holds, the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from phoenix_forge.catalog.families import MISTRAL, QWEN2, Family, by_gguf
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Header
from phoenix_forge.gguf.rope import attention_factor, llama3_factors

Config = dict[str, Any]
Array = Callable[[str], np.ndarray]  # a tensor's values by its GGUF name, fp32

OTHER = "take another file of the model, or its Hugging Face folder"
ROPE_FREQS, LONG_FACTORS, SHORT_FACTORS = (
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
)
SENTENCEPIECE = "llama"  # llama.cpp's name for that kind of tokenizer


def family_of(header: Header) -> tuple[Family, str]:
    """The family, and llama.cpp's name for the pre-tokenizer ("default" for SentencePiece).

    llama.cpp calls both Llama and Mistral "llama": a Llama 3 has a byte-level tokenizer of its own, a Mistral Tekken or
    SentencePiece's. Raises UsageError for an architecture or tokenizer that is not supported, by name.
    """
    arch, kind = header.get("general.architecture"), header.get("tokenizer.ggml.model")
    pre = "default" if kind == SENTENCEPIECE else header.get("tokenizer.ggml.pre")
    family = by_gguf(arch, pre, str(header.path))
    expected = SENTENCEPIECE if pre == "default" else "gpt2"
    if kind != expected:
        raise UsageError(
            f"{header.path}: tokenizer {kind!r} with pre-tokenizer {pre!r}, expected {expected!r}",
            fix=OTHER,
        )
    experts = _Meta(header, family).get("expert_count")
    if experts:
        raise UsageError(
            f"{header.path} is a mixture of {experts} experts, which is not supported", fix=OTHER
        )
    if family is MISTRAL and kind == SENTENCEPIECE:
        _require_mistral(header)
    return family, pre


def _require_mistral(header: Header) -> None:
    """Llama 2 and its kin have the same architecture, the same tokenizer and nearly the same turns as Mistral."""
    template = header.get("tokenizer.chat_template")
    if template is None:
        reason = "it has no chat template that would tell a Mistral from an older Llama"
    elif "[INST]" not in template or "<<SYS>>" in template:
        reason = "its chat template is not Mistral's, so it is an older Llama or a relative of one"
    else:
        return
    raise UsageError(
        f"{header.path} has Llama's architecture with a SentencePiece tokenizer, and {reason}; of these "
        "only Mistral is supported",
        fix="choose a Llama 3 or a Mistral",
    )


def config_of(header: Header, family: Family, array: Array, *, tied: bool, dtype: str) -> Config:
    """config.json. Raises UsageError where a value is missing, senseless, or nothing that the family's class has."""
    meta = _Meta(header, family)
    config = _common(meta, family, tied=tied, dtype=dtype) | _CONFIGS[family.name](meta)
    config |= _biases(meta, family)
    config |= _ROPE[family.gguf](meta, config, array)
    return config


class _Meta:
    """The metadata under the architecture's prefix, each value checked when it is asked for."""

    def __init__(self, header: Header, family: Family) -> None:
        self.header, self.prefix, self.where = header, f"{family.gguf}.", str(header.path)

    def __contains__(self, key: str) -> bool:
        return self.prefix + key in self.header.fields

    def get(self, key: str, default: Any = None) -> Any:
        value = self.header.get(self.prefix + key, default)
        if isinstance(
            value, list | np.ndarray
        ):  # one a layer: no class here has layers that differ
            raise self.refuse(key, "one value for all layers")
        return value

    def refuse(self, key: str, expected: str) -> UsageError:
        found = self.header.get(self.prefix + key)
        return UsageError(
            f"{self.where}: {self.prefix}{key} is {found!r}, expected {expected}", fix=OTHER
        )

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.refuse(key, "a positive whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        value = self.get(key, default)
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not 0 < value < float("inf")
        ):
            raise self.refuse(key, "a positive number")
        return shortest(value)


def shortest(value: float) -> float:
    """The shortest decimal that is this fp32 value: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(value)))


def _common(meta: _Meta, family: Family, *, tied: bool, dtype: str) -> Config:
    header, heads = meta.header, meta.whole("attention.head_count")
    tokens = header.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise UsageError(f"{meta.where} has no vocabulary (tokenizer.ggml.tokens)", fix=OTHER)
    config = {
        "architectures": [family.architecture],
        "attention_dropout": 0.0,
        "bos_token_id": header.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": header.get("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": meta.whole("embedding_length"),
        "initializer_range": 0.02,
        "intermediate_size": meta.whole("feed_forward_length"),
        "max_position_embeddings": meta.whole("context_length"),
        "model_type": family.model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": meta.whole("block_count"),
        "num_key_value_heads": meta.whole("attention.head_count_kv", heads),
        "rms_norm_eps": meta.real("attention.layer_norm_rms_epsilon", 1e-6),
        "rope_theta": meta.real("rope.freq_base", 10000.0),
        "tie_word_embeddings": tied,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}[dtype],
        "use_cache": True,
        "vocab_size": len(tokens),
    }
    if "attention.key_length" in meta:
        config["head_dim"] = meta.whole("attention.key_length")
        if meta.get("attention.value_length", config["head_dim"]) != config["head_dim"]:
            raise meta.refuse("attention.value_length", f"the keys' {config['head_dim']}")
    if (
        family is not QWEN2
    ):  # whose class pads with nothing; the others' defaults may lie outside the vocabulary
        config["pad_token_id"] = header.get("tokenizer.ggml.padding_token_id")
    return config


def _biases(meta: _Meta, family: Family) -> Config:
    """Settings that add biases, where the family has any and the file has them."""
    keys = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_gate.bias"}
    return {key: keys[key] in meta.header.tensors for key in _BIASES.get(family.name, ())}


_BIASES = {
    "qwen3": ("attention_bias",),
    "llama3": ("attention_bias", "mlp_bias"),
    "gemma3": ("attention_bias",),
}


def _qwen(meta: _Meta) -> Config:
    return {"use_sliding_window": False}


def _llama(meta: _Meta) -> Config:
    width = meta.get(
        "attention.key_length", meta.whole("embedding_length") // meta.whole("attention.head_count")
    )
    if meta.get("rope.dimension_count", width) != width:
        raise meta.refuse("rope.dimension_count", f"the whole head, {width}")
    return {}


def _mistral(meta: _Meta) -> Config:
    return _llama(meta) | {
        "sliding_window": None
    }  # llama.cpp has none; the class's default is 4,096


_GEMMA_27B = (
    62  # layers: of all Gemma 3 this one divides by the width that its hidden size gives a head
)


def _gemma3(meta: _Meta) -> Config:
    """llama.cpp's loader (llm_load_hparams) takes what the metadata do not hold from the number of layers."""
    layers, width = meta.whole("block_count"), meta.whole("attention.key_length")
    scalar = (
        meta.whole("embedding_length") // meta.whole("attention.head_count")
        if layers == _GEMMA_27B
        else width
    )
    cap = meta.real("final_logit_softcapping") if "final_logit_softcapping" in meta else None
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "rope_local_base_freq": meta.real("rope.freq_base_swa", 10000.0),
        "rope_theta": meta.real("rope.freq_base", 1000000.0),
        "sliding_window": meta.whole("attention.sliding_window"),
        "sliding_window_pattern": 6,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": cap,
    }


def _phi3(meta: _Meta) -> Config:
    hidden, heads = meta.whole("embedding_length"), meta.whole("attention.head_count")
    rotated, width = meta.whole("rope.dimension_count", hidden // heads), hidden // heads
    share = rotated / width
    if int(share * hidden) // heads != rotated or int(share * width) != rotated:
        raise meta.refuse("rope.dimension_count", f"a share of a head's {width}")
    window = meta.get("attention.sliding_window")
    return {
        "partial_rotary_factor": share,
        "sliding_window": window or None,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "original_max_position_embeddings": meta.whole(
            "rope.scaling.original_context_length", meta.whole("context_length")
        ),
    }


_CONFIGS: dict[str, Callable[[_Meta], Config]] = {
    "qwen2": _qwen,
    "qwen3": _qwen,
    "llama3": _llama,
    "mistral": _mistral,
    "gemma3": _gemma3,
    "phi3": _phi3,
}


# ---- rotary embeddings ----


def _scaled(meta: _Meta, config: Config, array: Array) -> Config:
    """rope_scaling from the metadata: none, linear or YaRN."""
    kind = meta.get("rope.scaling.type", "none")
    if kind == "none":
        return {}
    if kind not in ("linear", "yarn"):
        raise UsageError(
            f"{meta.where}: rope scaling {kind!r} cannot be imported; supported: none, linear, yarn",
            fix=OTHER,
        )
    scaling: Config = {"rope_type": kind, "factor": meta.real("rope.scaling.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = meta.whole(
            "rope.scaling.original_context_length"
        )
        scaling |= {key: meta.real(name) for key, name in _YARN.items() if name in meta}
    return {"rope_scaling": scaling}


_YARN = {
    "extrapolation_factor": "rope.scaling.yarn_ext_factor",
    "attention_factor": "rope.scaling.yarn_attn_factor",
    "beta_fast": "rope.scaling.yarn_beta_fast",
    "beta_slow": "rope.scaling.yarn_beta_slow",
}
_CONTEXTS = (8192, *(2**power for power in range(8, 18) if power != 13))  # Llama 3's own first


def _llama_scaled(meta: _Meta, config: Config, array: Array) -> Config:
    """Llama 3's scaling back from the factors that the converter made of it.

    The longest wavelength is stretched by `factor` itself. For the rest the published settings are tried: frequencies
    that count double or four times (low 1, high 4) and a context that is a power of two. Converters' powers differ in
    the last bit from one processor to the next, hence the allowance; two settings differ by far more.
    """
    if ROPE_FREQS not in meta.header.tensors:
        return _scaled(meta, config, array)
    found = array(ROPE_FREQS).reshape(-1)
    for context in _CONTEXTS:
        scaling = {
            "rope_type": "llama3",
            "factor": shortest(found.max()),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": context,
        }
        made = llama3_factors(config | {"rope_scaling": scaling}, meta.where)[ROPE_FREQS]
        if made.shape == found.shape and np.allclose(made, found, rtol=4e-7, atol=0):
            return {"rope_scaling": scaling}
    raise UsageError(
        f"{meta.where}: {ROPE_FREQS} is made by no known setting of Llama 3's rotary scaling",
        fix=OTHER,
    )


def _phi_scaled(meta: _Meta, config: Config, array: Array) -> Config:
    """LongRoPE's factors are tensors; the factor for attention has to be the one that follows from the contexts."""
    if LONG_FACTORS not in meta.header.tensors:
        return _scaled(meta, config, array)
    scaling = {"rope_type": "longrope", "type": "longrope"} | {
        key: [shortest(value) for value in array(name).reshape(-1)]
        for key, name in (("long_factor", LONG_FACTORS), ("short_factor", SHORT_FACTORS))
    }
    expected = attention_factor(config | {"rope_scaling": scaling}, meta.where)
    if np.float32(meta.get("rope.scaling.attn_factor", expected)) != np.float32(expected):
        raise meta.refuse(
            "rope.scaling.attn_factor", f"{expected:g}, which follows from its contexts"
        )
    return {"rope_scaling": scaling}


_ROPE: dict[str, Callable[[_Meta, Config, Array], Config]] = {
    "qwen2": _scaled,
    "qwen3": _scaled,
    "gemma3": _scaled,
    "llama": _llama_scaled,
    "phi3": _phi_scaled,
}
