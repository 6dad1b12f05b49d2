"""A GGUF's tokenizer as Hugging Face files: tokenizer.json, its settings, the chat template, SentencePiece's own model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phoenix_forge.catalog.families import QWEN2, QWEN3, Family
from phoenix_forge.core.fsio import atomic_file, write_json, write_text
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Header
from phoenix_forge.gguf.import_config import OTHER
from phoenix_forge.weights.spm import sentencepiece_model
from phoenix_forge.weights.tokenizer import (
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    byte_level_bpe,
    sentencepiece_bpe,
    tokenizer_config,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ADDS_BOS = (
    "llama-bpe",
    "tekken",
    "default",
)  # where llama.cpp opens a text with bos unless told otherwise
_WHOLE_WORDS = (
    "llama-bpe",
    "tekken",
)  # whose words that are tokens llama.cpp takes without asking the merges
_STRIPPING = (
    "phi-3",
    "phi3",
)  # in a model's name: llama.cpp eats white space after its special tokens, as its own do
_KEEPING = ("<unk>", "<s>", "<|endoftext|>")  # but not after these


def write_tokenizer(header: Header, family: Family, pre: str, folder: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja where there is one, and
    tokenizer.model for SentencePiece's. `pre` is llama.cpp's name for the pre-tokenizer, "default" SentencePiece's.

    Raises UsageError where the vocabulary contradicts itself.
    """
    found = _Vocabulary(header, family, pre)
    tokenizer = _sentencepiece(found, folder) if pre == "default" else _byte_level(found, pre)
    document = json.loads(_enclosed(tokenizer, found).to_str())
    document["added_tokens"] = _stripping(header, document["added_tokens"])
    write_text(folder / "tokenizer.json", json.dumps(document, ensure_ascii=False) + "\n")

    template = header.get("tokenizer.chat_template")
    settings = tokenizer_config(
        {i: found.tokens[i] for i in found.added},
        stop=found.tokens[found.eos],
        pad=found.tokens[found.pad],
        bos=found.text(found.bos),
        unk=found.text(found.unk),
        plain=frozenset(found.tokens[i] for i in found.plain),
        max_length=header.get(f"{family.gguf}.context_length"),
        chat_template=template,
        kind="Qwen2Tokenizer" if family in (QWEN2, QWEN3) else "PreTrainedTokenizerFast",
        space_prefix=found.space_prefix,
    )
    # transformers adds each of these again, so they have to say what tokenizer.json says.
    settings["added_tokens_decoder"] = {
        str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
        for entry in document["added_tokens"]
    }
    write_json(folder / "tokenizer_config.json", _said(settings, found, family))
    if template:
        write_text(folder / "chat_template.jinja", template)
    ids = found.ids
    stops = dict.fromkeys([found.eos, *(ids[token] for token in family.stops if token in ids)])
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": header.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": list(stops),
            "pad_token_id": found.pad,
        },
    )


class _Vocabulary:
    """The file's tokens and types by id, who plays which role, and which of them are put around a text. Of the `added`
    ones, those in `plain` are text."""

    def __init__(self, header: Header, family: Family, pre: str) -> None:
        self.header = header
        self.space_prefix = pre == "default" and bool(
            header.get("tokenizer.ggml.add_space_prefix", True)
        )
        self.adds = {
            role: bool(
                header.get(f"tokenizer.ggml.add_{role}_token", role == "bos" and pre in ADDS_BOS)
            )
            for role in ("bos", "eos")
        }
        self.tokens: list[str] = list(header.get("tokenizer.ggml.tokens"))
        self.types = self.column("token_type", NORMAL).astype(np.int32)
        self.unk = self._optional("unknown")
        if self.unk is not None:
            self.types[self.unk] = (
                UNKNOWN  # a converter marks it as special, which loses what it is
            )
        self.plain = np.flatnonzero(self.types == USER_DEFINED).tolist()
        self.added = np.flatnonzero(np.isin(self.types, (UNKNOWN, CONTROL, USER_DEFINED))).tolist()
        if pre == "default" and not self.space_prefix:
            for i in self.plain:
                self.tokens[i] = self.tokens[i].replace(
                    " ", SPACE
                )  # as the pieces have it; converters write spaces
        unused = np.flatnonzero(self.types == UNUSED).tolist()
        padding = {i for i in unused if self.tokens[i] == f"[PAD{i}]"}
        self.ids = {token: i for i, token in enumerate(self.tokens) if i not in padding}
        if len(self.ids) != len(self.tokens) - len(padding):
            raise UsageError(f"{header.path}: a token occurs twice in its vocabulary", fix=OTHER)
        self.eos, self.pad = self._id("eos", family.stop), self._id("padding", family.pad)
        if self.pad == self.eos and family.pad in self.ids:
            self.pad = self.ids[
                family.pad
            ]  # a model that pads with its stop token never learns to stop
        self.bos = self._optional("bos")
        if self.bos == self.pad and not self.adds["bos"]:
            self.bos = (
                None  # as with Qwen, whose config.json names its padding for want of a first token
            )

    def column(self, key: str, default: float) -> np.ndarray:
        """One number a token."""
        values = self.header.get(
            f"tokenizer.ggml.{key}", np.full(len(self.tokens), default, np.float32)
        )
        if len(values) != len(self.tokens):
            raise UsageError(
                f"{self.header.path}: tokenizer.ggml.{key} has {len(values):,} values for "
                f"{len(self.tokens):,} tokens",
                fix=OTHER,
            )
        return np.asarray(values)

    def text(self, i: int | None) -> str | None:
        return None if i is None else self.tokens[i]

    def _optional(self, role: str) -> int | None:
        return (
            self._id(role, None)
            if f"tokenizer.ggml.{role}_token_id" in self.header.fields
            else None
        )

    def _id(self, role: str, default: str | None) -> int:
        found = self.header.get(
            f"tokenizer.ggml.{role}_token_id", self.ids.get(default) if default else None
        )
        if not isinstance(found, int) or not 0 <= found < len(self.tokens):
            raise UsageError(
                f"{self.header.path}: its {role} token is {found!r}, of {len(self.tokens):,} tokens",
                fix=OTHER,
            )
        return found


def _byte_level(found: _Vocabulary, pre: str) -> Tokenizer:
    """Added tokens stand in the BPE's vocabulary as well: that alone pins their ids, also where ids are left out."""
    from tokenizers import AddedToken

    pairs = [_merge(found.header, text) for text in found.header.get("tokenizer.ggml.merges", [])]
    missing = next(
        (part for a, b in pairs for part in (a, b, a + b) if part not in found.ids), None
    )
    if missing is not None:
        raise UsageError(
            f"{found.header.path}: a merge names the token {missing!r}, which is not in the vocabulary",
            fix=OTHER,
        )
    tokenizer = byte_level_bpe(found.ids, pairs, pre)
    tokenizer.model.ignore_merges = pre in _WHOLE_WORDS
    plain = set(found.plain)
    tokenizer.add_tokens(
        [AddedToken(found.tokens[i], special=i not in plain, normalized=False) for i in found.added]
    )
    return tokenizer


def _merge(header: Header, text: str) -> tuple[str, str]:
    left, space, right = text.partition(" ")
    if not (left and space and right):
        raise UsageError(f"{header.path}: {text!r} is not a merge of two tokens", fix=OTHER)
    return left, right


def _sentencepiece(found: _Vocabulary, folder: Path) -> Tokenizer:
    pieces = list(
        zip(found.tokens, found.column("scores", 0).tolist(), found.types.tolist(), strict=True)
    )
    size = max(found.ids.values()) + 1  # the rest is padding
    with atomic_file(folder / "tokenizer.model") as handle:
        handle.write(sentencepiece_model(pieces[:size], space_prefix=found.space_prefix))
    return sentencepiece_bpe(pieces, space_prefix=found.space_prefix)


def _enclosed(tokenizer: Tokenizer, found: _Vocabulary) -> Tokenizer:
    """With a post-processor that puts bos before each text, eos after it, or both."""
    from tokenizers import processors

    before = [found.tokens[found.bos]] if found.adds["bos"] and found.bos is not None else []
    after = [found.tokens[found.eos]] if found.adds["eos"] else []
    if not before + after:
        return tokenizer
    template = processors.TemplateProcessing(
        single=[*before, "$A:0", *after],
        pair=[
            *before,
            "$A:0",
            *after,
            *(f"{token}:1" for token in before),
            "$B:1",
            *(f"{token}:1" for token in after),
        ],
        special_tokens=[(token, found.ids[token]) for token in dict.fromkeys(before + after)],
    )
    inner = tokenizer.post_processor
    tokenizer.post_processor = template if inner is None else processors.Sequence([inner, template])
    return tokenizer


def _stripping(header: Header, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """tokenizer.json's added tokens, with the white space that llama.cpp lets some models' special tokens eat."""
    name = str(header.get("general.name", "")).lower()
    if not any(part in name for part in _STRIPPING):
        return entries
    return [entry | {"rstrip": entry["content"] not in _KEEPING} for entry in entries]


def _said(settings: dict[str, Any], found: _Vocabulary, family: Family) -> dict[str, Any]:
    """Settings that a converter turns into metadata: said where the file says them or they are the case."""
    fields = found.header.fields
    settings = settings | {f"add_{role}_token": value for role, value in found.adds.items()}
    unsaid = {
        f"add_{role}_token"
        for role, value in found.adds.items()
        if not value and f"tokenizer.ggml.add_{role}_token" not in fields
    }
    if family.gguf == "llama" and "tokenizer.ggml.add_space_prefix" not in fields:
        unsaid.add("add_prefix_space")
    return {key: value for key, value in settings.items() if key not in unsaid}
