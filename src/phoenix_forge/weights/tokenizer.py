"""Tokenizers as `tokenizers` objects, trained or rebuilt: byte-level and SentencePiece's BPE; tokenizer_config.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Pre-tokenizers by llama.cpp's name for them, with the patterns that the models' own tokenizer.json have.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_WORD = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s|%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
# Phi-4's "dbrx" splits as Llama 3's does: https://github.com/ggml-org/llama.cpp/pull/7132
_THREE_DIGITS = PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")
PRE_TOKENIZERS = {
    "qwen2": PATTERN,
    "llama-bpe": _THREE_DIGITS,
    "dbrx": _THREE_DIGITS,
    "tekken": _WORD % ("", "", r"\p{N}"),
    "gpt-4o": _WORD % (_CONTRACTION, _CONTRACTION, r"\p{N}{1,3}"),
}
# llama.cpp's token types (llama_token_type in llama.h), which are SentencePiece's.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"  # what SentencePiece writes for a space
QWEN2_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level_bpe(
    vocabulary: dict[str, int] | None = None,
    merges: list[tuple[str, str]] | None = None,
    pre: str = "qwen2",
) -> Tokenizer:
    """A vocabulary in the byte-level alphabet behind one of PRE_TOKENIZERS; Qwen's also composes (NFC) first."""
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary or {}, merges=merges or [], fuse_unk=False, byte_fallback=False)
    )
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZERS[pre]), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    return tokenizer


def sentencepiece_bpe(pieces: Sequence[tuple[str, float, int]], *, space_prefix: bool) -> Tokenizer:
    """A SentencePiece BPE with byte fallback as `tokenizers` has it: for each piece its text, score and llama.cpp type.

    SentencePiece joins the neighbours whose joined text is the piece with the best score, the leftmost of equals. A
    merge list ranks pairs, so every split of a piece into two pieces is a merge, the best score first; among equals the
    longest left half comes first, which makes runs of one character grow from the left. Control and unknown pieces are
    special tokens, user-defined ones are cut out of the text first, and `[PADid]` is padding without a text of its own.

    `space_prefix` puts a space before each stretch of text between special tokens, as Llama's, Mistral's and Phi-3's
    tokenizers do and Gemma's does not.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    texts = [text for text, _, _ in pieces]
    ids = {
        text: i
        for i, (text, _, kind) in enumerate(pieces)
        if not (kind == UNUSED and text == f"[PAD{i}]")
    }
    unknown = next((text for text, _, kind in pieces if kind == UNKNOWN), None)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=_splits({text: score for text, score, kind in pieces if kind == NORMAL}),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=any(kind == BYTE for _, _, kind in pieces),
        )
    )
    spaces: list[normalizers.Normalizer] = [normalizers.Replace(" ", SPACE)]
    decoded: list[decoders.Decoder] = [
        decoders.Replace(SPACE, " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
    ]
    if space_prefix:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), *spaces])
        decoded.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = spaces[0]
        tokenizer.pre_tokenizer = pre_tokenizers.Split(
            " ", "merged_with_previous"
        )  # Gemma's; no space is left to cut
    tokenizer.decoder = decoders.Sequence(decoded)
    added = [i for i, (_, _, kind) in enumerate(pieces) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]
    # Normalising only writes \u2581 for spaces where none is put first, so user-defined pieces are found after it.
    tokenizer.add_tokens(
        [
            AddedToken(
                texts[i],
                special=pieces[i][2] != USER_DEFINED,
                normalized=pieces[i][2] == USER_DEFINED and not space_prefix,
            )
            for i in added
        ]
    )
    return tokenizer


def _splits(scores: dict[str, float]) -> list[tuple[str, str]]:
    """All ways to make a piece out of two, the best piece first."""
    found = [
        (score, cut, text)
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    ]
    return [(text[:cut], text[cut:]) for _, cut, text in sorted(found, reverse=True)]


def train_tokenizer(
    texts: Iterable[str], vocab: int, special: Sequence[str] = QWEN2_SPECIAL, pre: str = "qwen2"
) -> Tokenizer:
    """At most `vocab` tokens: the 256 bytes, merges learned from `texts`, and the special ones last."""
    from tokenizers import AddedToken, pre_tokenizers, trainers

    tokenizer = byte_level_bpe(pre=pre)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - len(special),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in special]
    )
    return tokenizer


def train_sentencepiece(texts: Iterable[str], vocab: int, special: Sequence[str]) -> bytes:
    """A SentencePiece BPE with byte fallback, as the bytes of a tokenizer.model; `special` tokens come first and are
    control pieces, but for <unk>. Equal arguments give equal bytes."""
    import io

    from sentencepiece import SentencePieceTrainer

    made, ids = io.BytesIO(), {token: i for i, token in enumerate(special)}
    SentencePieceTrainer.train(
        sentence_iterator=(line for text in texts for line in text.splitlines()),
        model_writer=made,
        vocab_size=vocab,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        unk_id=ids["<unk>"],
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        control_symbols=[token for token in special if token != "<unk>"],
    )
    return made.getvalue()


def sentencepiece_pieces(path: str) -> list[tuple[str, float, int]]:
    """Text, score and llama.cpp's type of each piece of a tokenizer.model; RuntimeError or OSError where it is none."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor()
    model.Load(path)
    kinds = (
        (model.IsUnknown, UNKNOWN),
        (model.IsControl, CONTROL),
        (model.IsUnused, UNUSED),
        (model.IsByte, BYTE),
    )
    return [
        (
            model.IdToPiece(i),
            model.GetScore(i),
            next((kind for test, kind in kinds if test(i)), NORMAL),
        )
        for i in range(model.GetPieceSize())
    ]


def tokenizer_config(
    added: Mapping[int, str],
    *,
    stop: str,
    pad: str,
    max_length: int,
    chat_template: str | None,
    plain: frozenset[str] = frozenset(),
    bos: str | None = None,
    unk: str | None = None,
    kind: str = "Qwen2Tokenizer",
    space_prefix: bool = False,
) -> dict[str, Any]:
    """tokenizer_config.json. `added` are the tokens outside the BPE by id; those in `plain` are text, not control.
    `kind` is the class that transformers makes of it."""
    config: dict[str, Any] = {
        "add_bos_token": False,
        "add_prefix_space": space_prefix,
        "added_tokens_decoder": {
            str(i): {
                "content": token,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": token not in plain,
            }
            for i, token in sorted(added.items())
        },
        "additional_special_tokens": [
            token
            for _, token in sorted(added.items())
            if token not in plain and token not in (stop, pad, bos, unk)
        ],
        "bos_token": bos,
        "clean_up_tokenization_spaces": False,
        "eos_token": stop,
        "errors": "replace",
        "model_max_length": max_length,
        "pad_token": pad,
        "split_special_tokens": False,
        "tokenizer_class": kind,
        "unk_token": unk,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    return config
