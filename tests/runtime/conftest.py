"""A GGUF small enough to be written in milliseconds, and the real one where it is at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

REAL = Path(
    os.environ.get(
        "FORGE_TEST_MODEL",
        Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    )
)
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _byte_characters() -> list[str]:
    """The 256 characters that stand for bytes in GPT-2's vocabulary: printable ones for themselves, others from 256."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b if b in plain else next(others)) for b in range(256)]


def write_tiny(path: Path, template: str = TEMPLATE, says: Sequence[str] = ()) -> None:
    """A Qwen2 of two layers with random weights and one token a byte. With `says` it answers just that, each text a
    token of its own behind the one before, the first behind a line feed or `]`; those in brackets are control tokens.
    """
    hidden, heads, ffn, layers = 64, 2, 128, 2
    tokens = [*_byte_characters(), "<|endoftext|>", "<|im_start|>", "<|im_end|>", *says]
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(2**18)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(ffn)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * 256
        + [gguf.TokenType.CONTROL] * 3
        + [
            gguf.TokenType.CONTROL
            if text.startswith("[") and text.endswith("]")
            else gguf.TokenType.USER_DEFINED
            for text in says
        ]
    )
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(258)
    writer.add_pad_token_id(256)
    writer.add_chat_template(template)
    random = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = np.ones(shape) if name.endswith("norm.weight") else random.normal(0, 0.3, shape)
        if says and ("attn_output" in name or "ffn_down" in name):
            values = values * 0  # then the last token alone says what follows
        writer.add_tensor(name, values.astype(np.float32))

    if says:
        known = random.normal(0, 1, (len(tokens), hidden))
        follows = {
            10: 259,
            ord("]"): 259,
            **{259 + i: 260 + i for i in range(len(says))},
            258 + len(says): 258,
        }
        output = np.zeros_like(known)
        for token, following in follows.items():
            output[following] += known[token]
        writer.add_tensor("token_embd.weight", known.astype(np.float32))
        writer.add_tensor("output.weight", output.astype(np.float32))
    else:
        add("token_embd.weight", len(tokens), hidden)
    for i in range(layers):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{i}.{name}.weight", hidden)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{i}.{name}.weight", hidden, hidden)
        for name in ("attn_q", "attn_k", "attn_v"):
            add(f"blk.{i}.{name}.bias", hidden)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{i}.{name}.weight", ffn, hidden)
        add(f"blk.{i}.ffn_down.weight", hidden, ffn)
    add("output_norm.weight", hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny(path)
    return path


@pytest.fixture
def with_template(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the tiny model with another chat template, as hostile.gguf."""

    def write(template: str) -> Path:
        write_tiny(tmp_path / "hostile.gguf", template)
        return tmp_path / "hostile.gguf"

    return write


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.exists():
        pytest.skip(f"the real model is not at {REAL}")
    return REAL
