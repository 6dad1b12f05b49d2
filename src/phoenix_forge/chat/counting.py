"""Counting tokens about five times as fast, where a tokenizer is of the kind that tiktoken does too.

That is byte-level BPE over the pieces of one regular expression, with merges in the order of the vocabulary: Qwen's,
Llama 3's, GPT-4's. (Measured: 808,619 tokens of 18,838 paragraphs in 0.28 s instead of 1.37 s, every count equal.)
tiktoken may also join a pair that the tokenizer does not list, so the same text can in principle come out otherwise:
who relies on a count compares it with the tokenizer's own ids where it has them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import orjson
from tokenizers import Tokenizer

# Byte-level BPE spells visible bytes of Latin-1 as themselves and the others, in order, from U+0100 on (GPT-2's table).
VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTES = {byte: byte for byte in VISIBLE} | {
    0x100 + i: byte for i, byte in enumerate(b for b in range(256) if b not in VISIBLE)
}
FEW = 1000  # texts below which making the second tokenizer (0.6 s) costs more than it saves


class Counter:
    """Tokens of each text, without special ones added. `description` is the tokenizer's JSON, where it is at hand."""

    def __init__(self, tokenizer: Tokenizer, description: bytes | None = None) -> None:
        self.tokenizer, self.description = tokenizer, description
        added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        self._marked = re.compile("|".join(map(re.escape, added)) or r"(?!)")
        self._encode: Callable[[str], int] | None = None
        self._seen = 0

    def __reduce__(self) -> tuple:
        """Travels to another process as its tokenizer."""
        return Counter, (self.tokenizer, self.description or self.tokenizer.to_str().encode())

    def prepare(self) -> None:
        """Makes the second tokenizer now: for many texts to come, or for processes that are to share it."""
        if self.description is not None:
            self._encode, self.description = _encoding(orjson.loads(self.description)), None

    def __call__(self, texts: Sequence[str]) -> list[int]:
        self._seen += len(texts)
        if self._seen > FEW:
            self.prepare()
        if self._encode is None:
            return self._own(texts)
        return [
            self._own([text])[0] if self._marked.search(text) else self._encode(text)
            for text in texts
        ]

    def _own(self, texts: Sequence[str]) -> list[int]:
        return [
            len(e.ids)
            for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]


def _encoding(described: dict[str, Any]) -> Callable[[str], int] | None:
    """A text's tokens by tiktoken; None where the tokenizer is of another kind, or tiktoken is not installed."""
    pattern, model = _pattern(described), described["model"]
    if pattern is None or not _ordered(model):
        return None
    try:
        import tiktoken
    except ImportError:
        return None
    ranks = {token.translate(BYTES).encode("latin-1"): i for token, i in model["vocab"].items()}
    encoding = tiktoken.Encoding("base", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    composed = described["normalizer"] is not None

    def count(text: str) -> int:
        if composed and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        return len(encoding.encode_ordinary(text))

    return count


def _pattern(described: dict[str, Any]) -> str | None:
    """The regular expression of a pre-tokenizer that splits by one and then spells bytes; None for any other."""
    normalizer, pre = described["normalizer"], described["pre_tokenizer"] or {}
    steps = pre.get("pretokenizers", [])
    if (normalizer or {"type": "NFC"})["type"] != "NFC" or [step["type"] for step in steps] != [
        "Split",
        "ByteLevel",
    ]:
        return None
    split, spell = steps
    plain = (
        split["behavior"] == "Isolated" and not split["invert"] and not spell["add_prefix_space"]
    )
    return split["pattern"].get("Regex") if plain and not spell["use_regex"] else None


def _ordered(model: dict[str, Any]) -> bool:
    """Whether merging by the place in the vocabulary is merging by the place in the list of merges."""
    plain = model["type"] == "BPE" and not any(
        model.get(key)
        for key in (
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
        )
    )
    if not plain:
        return False
    vocab = model["vocab"]
    places = [
        vocab.get(merge.replace(" ", "") if isinstance(merge, str) else "".join(merge), -1)
        for merge in model["merges"]
    ]
    return (
        BYTES.keys() >= set(map(ord, set("".join(vocab))))
        and len(vocab) == len(set(vocab.values()))
        and all(a < b for a, b in pairwise(places))
    )
