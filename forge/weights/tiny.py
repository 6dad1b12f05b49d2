"""A tiny Qwen2 with random weights and a real byte-level BPE: the catalog's `tiny` base. Needs no network, no torch.

It learns nothing worth knowing, but every stage takes it: transformers loads it, llama.cpp runs it, K-quants apply.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from forge.catalog.families import QWEN2
from forge.core.fsio import write_json
from forge.weights.layout import layout
from forge.weights.safetensors import NUMPY, Tensor
from forge.weights.tokenizer import SPECIAL, tokenizer_config, train_tokenizer
from forge.weights.writer import write_shards

CHAT_TEMPLATE = (
    "{% if not messages or messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a small test model.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny(folder: Path, texts: Iterable[str], *, hidden: int = 256, ffn: int = 512, layers: int = 4,
               heads: int = 4, kv_heads: int = 2, vocab: int = 2048, tied: bool = True, dtype: str = "BF16",
               seed: int = 0, max_shard_bytes: int = 4_000_000_000) -> None:
    """Writes config, tokenizer trained on `texts`, and seeded random weights; equal arguments give equal bytes.

    The embedding has `vocab` rows; the tokenizer may learn fewer tokens from little text, and the rest is padding, as
    in the real Qwen2. Its last three tokens are <|endoftext|>, <|im_start|>, <|im_end|>. `dtype` is F32, F16 or BF16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(texts, vocab)
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = tokenizer.get_vocab()
    pad, stop = ids[QWEN2.pad], ids[QWEN2.stop]
    config: dict[str, Any] = {
        "architectures": [QWEN2.architecture], "attention_dropout": 0.0, "bos_token_id": pad, "eos_token_id": stop,
        "hidden_act": "silu", "hidden_size": hidden, "initializer_range": 0.02, "intermediate_size": ffn,
        "max_position_embeddings": 4096, "model_type": QWEN2.model_type, "num_attention_heads": heads,
        "num_hidden_layers": layers, "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "torch_dtype": {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}[dtype],
        "use_cache": True, "use_sliding_window": False, "vocab_size": vocab,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json",
               {"bos_token_id": pad, "eos_token_id": [stop, pad], "pad_token_id": pad})
    write_json(folder / "tokenizer_config.json",
               tokenizer_config({ids[token]: token for token in SPECIAL}, stop=QWEN2.stop,
                                pad=QWEN2.pad, max_length=4096, chat_template=CHAT_TEMPLATE))
    random = np.random.default_rng(seed)
    shapes = layout(QWEN2.name, config, str(folder / "config.json"))
    write_shards(folder, [Tensor(name, dtype, shape, partial(_weights, random, name, shape, dtype))
                          for name, shape in shapes.items()], max_shard_bytes=max_shard_bytes)


def _weights(random: np.random.Generator, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Norms near 1, everything else normal with Qwen2's own deviation of 0.02; drawn in the order of writing."""
    values = random.standard_normal(shape, np.float32) * np.float32(0.02)
    if "norm" in name:
        values += 1
    if dtype != "BF16":
        return values.astype(NUMPY[dtype])
    return (values.view(np.uint32) >> 16).astype("<u2")  # truncated: the values are random anyway
