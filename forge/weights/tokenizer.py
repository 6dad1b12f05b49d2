"""Qwen2's byte-level BPE as a `tokenizers` object, trained or rebuilt, and the tokenizer_config.json beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The pattern is Qwen2's published one; llama.cpp knows it as pre-tokenizer "qwen2".
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
QWEN2_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level_bpe(vocabulary: dict[str, int] | None = None,
                   merges: list[tuple[str, str]] | None = None) -> Tokenizer:
    """Qwen2's pipeline (NFC, its pattern, bytes as characters) around a vocabulary in the byte-level alphabet."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary or {}, merges=merges or [], fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab: int, special: Sequence[str] = QWEN2_SPECIAL) -> Tokenizer:
    """At most `vocab` tokens: the 256 bytes, merges learned from `texts`, and the special ones last."""
    from tokenizers import AddedToken, pre_tokenizers, trainers

    tokenizer = byte_level_bpe()
    trainer = trainers.BpeTrainer(vocab_size=vocab - len(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def tokenizer_config(added: Mapping[int, str], *, stop: str, pad: str, max_length: int, chat_template: str | None,
                     plain: frozenset[str] = frozenset(), bos: str | None = None, unk: str | None = None,
                     kind: str = "Qwen2Tokenizer") -> dict[str, Any]:
    """tokenizer_config.json. `added` are the tokens outside the BPE by id; those in `plain` are text, not control.
    `kind` is the class that transformers makes of it."""
    config: dict[str, Any] = {
        "add_bos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {
            str(i): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                     "special": token not in plain}
            for i, token in sorted(added.items())},
        "additional_special_tokens": [token for _, token in sorted(added.items())
                                      if token not in plain and token not in (stop, pad, bos, unk)],
        "bos_token": bos, "clean_up_tokenization_spaces": False, "eos_token": stop, "errors": "replace",
        "model_max_length": max_length, "pad_token": pad, "split_special_tokens": False,
        "tokenizer_class": kind, "unk_token": unk,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    return config
