"""A tiny model of any family, with random weights and a tokenizer of its kind; Qwen2's is the catalog's `tiny` base.

It learns nothing worth knowing, but every stage takes it: transformers loads it, llama.cpp runs it, K-quants apply.
Needs no network, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phoenix_forge.catalog.families import QWEN2, Family
from phoenix_forge.core.fsio import write_json
from phoenix_forge.weights.layout import layout
from phoenix_forge.weights.safetensors import NUMPY, Tensor
from phoenix_forge.weights.tokenizer import (
    QWEN2_SPECIAL,
    sentencepiece_bpe,
    sentencepiece_pieces,
    tokenizer_config,
    train_sentencepiece,
    train_tokenizer,
)
from phoenix_forge.weights.writer import write_shards

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHAT_TEMPLATE = (
    "{% if not messages or messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a small test model.<|im_end|>\n{% endif %}" + _CHATML
)
_LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_MISTRAL_TEMPLATE = (  # the system prompt moves along to the last question, as with the real ones
    "{{ bos_token }}{% set turns = messages | rejectattr('role', 'equalto', 'system') | list %}"
    "{% set asked = turns | selectattr('role', 'equalto', 'user') | list | length %}"
    "{% set seen = namespace(users=0) %}"
    "{% for message in turns %}{% if message['role'] == 'user' %}{% set seen.users = seen.users + 1 %}[INST] "
    "{% if seen.users == asked and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n\n{% endif %}"
    "{{ message['content'] }}[/INST]"
    "{% else %} {{ message['content'] | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
_GEMMA_TEMPLATE = (
    "{{ bos_token }}{% set system = namespace(text='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set system.text = message['content'] ~ '\n\n' %}"
    "{% else %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['role'] == 'user' %}{{ system.text }}{% set system.text = '' %}{% endif %}"
    "{{ message['content'] | trim }}<end_of_turn>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_PHI3_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class _Row:
    """What a tiny model of a family has that Qwen2's has not. `config` is made from the width of a head that comes of
    hidden / heads; the norms' weights lie around `norm`. `pre` names a byte-level tokenizer's pre-tokenizer; None makes
    it SentencePiece's, with a space put first where `space_prefix` says so."""

    template: str
    special: tuple[str, ...]
    bos: str | None = None
    unk: str | None = None
    kind: str = "PreTrainedTokenizerFast"
    config: Callable[[int], dict[str, Any]] = lambda head: {}
    norm: int = 1
    pre: str | None = "qwen2"
    space_prefix: bool = False


_ROWS = {
    "qwen2": _Row(CHAT_TEMPLATE, QWEN2_SPECIAL, kind="Qwen2Tokenizer"),
    "qwen3": _Row(
        _CHATML,
        QWEN2_SPECIAL,
        kind="Qwen2Tokenizer",
        config=lambda head: {"head_dim": 2 * head, "attention_bias": False},
    ),
    "llama3": _Row(
        _LLAMA3_TEMPLATE,
        (
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|finetune_right_pad_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
        ),
        bos="<|begin_of_text|>",
        pre="llama-bpe",
        config=lambda head: {
            "rope_theta": 500000.0,
            "rope_scaling": {
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 512,
                "rope_type": "llama3",
            },
        },
    ),
    "mistral": _Row(
        _MISTRAL_TEMPLATE,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        bos="<s>",
        unk="<unk>",
        pre=None,
        space_prefix=True,
        config=lambda head: {"head_dim": 2 * head, "sliding_window": None},
    ),
    "gemma3": _Row(
        _GEMMA_TEMPLATE,
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        bos="<bos>",
        unk="<unk>",
        pre=None,
        norm=0,  # Gemma multiplies by one more than the weight
        config=lambda head: {
            "head_dim": 2 * head,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 2 * head,
            "rope_local_base_freq": 10000.0,
            "rope_theta": 1000000.0,
            "sliding_window": 32,
            "sliding_window_pattern": 6,
        },
    ),
    "phi3": _Row(
        _PHI3_TEMPLATE,
        ("<unk>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        unk="<unk>",
        pre=None,
        space_prefix=True,
        config=lambda head: {
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 4096,
            "sliding_window": None,
        },
    ),
}


def build_tiny(
    folder: Path,
    texts: Iterable[str],
    *,
    family: Family = QWEN2,
    hidden: int = 256,
    ffn: int = 512,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 2048,
    tied: bool = True,
    dtype: str = "BF16",
    seed: int = 0,
    max_shard_bytes: int = 4_000_000_000,
) -> None:
    """Writes config, tokenizer trained on `texts`, and seeded random weights; equal arguments give equal bytes.

    The embedding has `vocab` rows; the tokenizer may learn fewer tokens from little text, and the rest is padding, as
    in the real Qwen2. Its last tokens are the family's special ones. `dtype` is F32, F16 or BF16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    row = _ROWS[family.name]
    tokenizer = _tokenizer(folder, row, texts, vocab)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    pad, stop = ids[family.pad], ids[family.stop]
    bos = ids[row.bos] if row.bos else pad
    config: dict[str, Any] = {
        "architectures": [family.architecture],
        "attention_dropout": 0.0,
        "bos_token_id": bos,
        "eos_token_id": stop,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": ffn,
        "max_position_embeddings": 4096,
        "model_type": family.model_type,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype],
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": vocab,
    } | row.config(hidden // heads)
    if family is not QWEN2:
        config["pad_token_id"] = (
            pad  # else the class's own default, which may lie outside this vocabulary
        )
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": [ids[token] for token in family.stops],
            "pad_token_id": pad,
        },
    )
    write_json(
        folder / "tokenizer_config.json",
        tokenizer_config(
            {ids[token]: token for token in row.special},
            stop=family.stop,
            pad=family.pad,
            bos=row.bos,
            unk=row.unk,
            kind=row.kind,
            max_length=4096,
            chat_template=row.template,
            space_prefix=row.space_prefix,
        ),
    )
    random = np.random.default_rng(seed)
    shapes = layout(family.name, config, str(folder / "config.json"))
    write_shards(
        folder,
        [
            Tensor(name, dtype, shape, partial(_weights, random, name, shape, dtype, row.norm))
            for name, shape in shapes.items()
        ],
        max_shard_bytes=max_shard_bytes,
    )


def _tokenizer(folder: Path, row: _Row, texts: Iterable[str], vocab: int) -> Tokenizer:
    if row.pre:
        return train_tokenizer(texts, vocab, row.special, row.pre)
    model = folder / "tokenizer.model"
    model.write_bytes(train_sentencepiece(texts, vocab, row.special))
    return sentencepiece_bpe(sentencepiece_pieces(str(model)), space_prefix=row.space_prefix)


def _weights(
    random: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str, norm: int
) -> np.ndarray:
    """Norms near `norm`, everything else normal with Qwen2's own deviation of 0.02; drawn in the order of writing."""
    values = random.standard_normal(shape, np.float32) * np.float32(0.02)
    if "norm" in name:
        values += norm
    if dtype != "BF16":
        return values.astype(NUMPY[dtype])
    return (values.view(np.uint32) >> 16).astype("<u2")  # truncated: the values are random anyway
