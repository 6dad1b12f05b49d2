"""The fast count is the tokenizer's own, where it is used at all."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from phoenix_forge.chat import counting
from phoenix_forge.chat.counting import Counter

PIECES = (
    r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "",
    "It's 42.",
    "a  b\n\n c\t",
    "Über Größe — naïve",
    "e\u0301 \u212b",
    "日本語",
    "<|end|> x <|end|>",
    "🙂🙂",
]


def byte_level(*, split=True):
    """A tokenizer of the kind that Qwen has, or (without `split`) GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    sample = [
        "The quick brown fox's number is 42, and that isn't it.\n\nAnother text — naïve.\n"
    ] * 3
    tokenizer.train_from_iterator(
        sample,
        trainers.BpeTrainer(
            vocab_size=600,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if split:
        described = json.loads(tokenizer.to_str())
        described["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": PIECES},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": False,
                    "use_regex": False,
                },
            ],
        }
        described["normalizer"] = {"type": "NFC"}
        tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.add_special_tokens([AddedToken("<|end|>", special=True)])
    return tokenizer


def fast(tokenizer, monkeypatch):
    monkeypatch.setattr(counting, "FEW", 0)
    return Counter(tokenizer, tokenizer.to_str().encode())


def own(tokenizer, texts):
    return [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


QWEN = byte_level()
FAST = counting._encoding(json.loads(QWEN.to_str()))


def test_fast_counts_are_the_tokenizers(monkeypatch):
    assert fast(QWEN, monkeypatch)(TEXTS) == own(QWEN, TEXTS)


@given(st.text(max_size=80).filter(lambda text: "<|end|>" not in text))
def test_any_text(text):
    assert FAST is not None
    assert FAST(text) == own(QWEN, [text])[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].update(byte_fallback=True),
        lambda d: d["model"].update(dropout=0.1),
        lambda d: d.update(normalizer={"type": "NFKC"}),
        lambda d: d["pre_tokenizer"]["pretokenizers"][1].update(use_regex=True),
        lambda d: d["model"]["merges"].reverse(),
        lambda d: d.update(model={"type": "Unigram", "vocab": []}),
    ],
)
def test_another_kind_is_counted_by_itself(change):
    described = json.loads(QWEN.to_str())
    change(described)
    assert counting._encoding(described) is None


def test_gpt2s_kind_and_no_tiktoken_and_few_texts(monkeypatch):
    tokenizer = byte_level(split=False)
    assert fast(tokenizer, monkeypatch)(TEXTS) == own(tokenizer, TEXTS)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert fast(QWEN, monkeypatch)(TEXTS) == own(QWEN, TEXTS)
    monkeypatch.setattr(counting, "FEW", 100)
    assert Counter(QWEN, b"not read for a few texts")(TEXTS) == own(QWEN, TEXTS)
