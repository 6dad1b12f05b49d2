"""A tokenizer as GGUF metadata: byte-level BPE, which llama.cpp calls gpt2, and SentencePiece, which it calls llama."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.catalog.families import Family
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.core.fsio import TOKENIZER_LIMIT
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.gguf.container import Field
from phoenix_forge.weights.base import ModelFolder, read_json
from phoenix_forge.weights.tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    PRE_TOKENIZERS,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    sentencepiece_pieces,
)

_SPECIALS = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
}  # [sic]: ggml's own spelling
_LOOKS_SPECIAL = re.compile(
    r"<pad>|<mask>|<2mass>|\[@BOS@\]|<\|.*\|>|<｜.*｜>|<unused.*>", re.DOTALL
)
_ADDED_SCORE, _FREE_SCORE = -1000.0, -10000.0
_OTHER = "choose a base of a supported family"


def tokenizer_fields(base: ModelFolder) -> dict[str, Field]:
    """All tokenizer.* fields. Raises UsageError for a tokenizer that llama.cpp would misread."""
    tokenizer = read_json(base.tokenizer / "tokenizer.json", TOKENIZER_LIMIT)
    settings = read_json(base.tokenizer / "tokenizer_config.json")
    where = str(base.tokenizer / "tokenizer.json")
    model = tokenizer.get("model")
    if (
        not isinstance(model, dict)
        or model.get("type") != "BPE"
        or not isinstance(model.get("vocab"), dict)
    ):
        raise UsageError(f"{where}: its model is not a BPE with a vocabulary", fix=_OTHER)
    prefix = settings.get("add_prefix_space") if base.family.gguf == "llama" else None
    fields = (
        {} if prefix is None else {"tokenizer.ggml.add_space_prefix": Field("bool", bool(prefix))}
    )
    if (base.tokenizer / "tokenizer.model").is_file() or model.get("byte_fallback"):
        fields |= _sentencepiece(base, tokenizer, settings, where)
    else:
        fields |= _byte_level(base, tokenizer, where)
    fields |= _special_ids(tokenizer, settings, base.config)
    fields |= {
        f"tokenizer.ggml.add_{kind}_token": Field("bool", value)
        for kind, value in _added_around(tokenizer, settings).items()
    }
    template = ChatTemplate.load(base.tokenizer, base.adapter)
    fields["tokenizer.chat_template"] = Field("string", template.source)
    if template.tool_use:
        fields["tokenizer.chat_template.tool_use"] = Field("string", template.tool_use)
    if base.family.name == "gemma3" and fields["tokenizer.ggml.model"].value == "llama":
        fields["tokenizer.ggml.add_space_prefix"] = Field("bool", False)
    return fields


# ---- byte-level BPE ----


def _byte_level(base: ModelFolder, tokenizer: dict[str, Any], where: str) -> dict[str, Field]:
    tokens, types = vocabulary(tokenizer, base.config["vocab_size"], where)
    return {
        "tokenizer.ggml.model": Field("string", "gpt2"),
        "tokenizer.ggml.pre": Field("string", _pre_tokenizer(tokenizer, where, base.family)),
        "tokenizer.ggml.tokens": Field("[string]", tokens),
        "tokenizer.ggml.token_type": Field("[int32]", types),
        "tokenizer.ggml.merges": Field("[string]", _merges(tokenizer["model"].get("merges", []))),
    }


def vocabulary(tokenizer: dict[str, Any], size: int, where: str) -> tuple[list[str], np.ndarray]:
    """Token texts and llama.cpp's token types by id; ids that the tokenizer leaves free become [PADid], unused.

    A token outside the BPE is control if it is marked special or looks like one, else user-defined.
    """
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = np.full(size, UNUSED, np.int32)
    added = {entry["content"]: entry for entry in tokenizer.get("added_tokens", [])}
    for token, i in _ids(tokenizer, size, where):
        kind = _added_kind(token, added[token]["special"]) if token in added else NORMAL
        tokens[i], types[i] = token.replace(SPACE, " ") if kind == USER_DEFINED else token, kind
    return tokens, types


def _ids(tokenizer: dict[str, Any], size: int, where: str) -> Iterable[tuple[str, int]]:
    added = ((entry["content"], entry["id"]) for entry in tokenizer.get("added_tokens", []))
    for token, i in [*tokenizer["model"]["vocab"].items(), *added]:
        if not isinstance(i, int) or not 0 <= i < size:
            raise UsageError(
                f"{where}: token {token!r} has id {i}, the embedding has {size} rows",
                fix="choose a base whose tokenizer fits its weights",
            )
        yield token, i


def _added_kind(token: str, special: bool) -> int:
    return CONTROL if special or _LOOKS_SPECIAL.fullmatch(token) else USER_DEFINED


def _merges(merges: list[Any]) -> list[str]:
    """ "left right"; a space inside a half is written as its byte-level stand-in."""
    return [
        m if isinstance(m, str) else " ".join(half.replace(" ", "Ġ") for half in m) for m in merges
    ]


def _pre_tokenizer(tokenizer: dict[str, Any], where: str, family: Family) -> str:
    """By its pattern; where two have the same, the family tells."""
    text = json.dumps(tokenizer.get("pre_tokenizer"), ensure_ascii=False)
    for name, pattern in PRE_TOKENIZERS.items():
        if name in family.pre and json.dumps(pattern, ensure_ascii=False) in text:
            return name
    raise UsageError(
        f"{where}: its pre-tokenizer is none that llama.cpp knows for {family.name}",
        fix="choose a base with its family's own tokenizer",
    )


# ---- SentencePiece ----


def _sentencepiece(
    base: ModelFolder, tokenizer: dict[str, Any], settings: dict[str, Any], where: str
) -> dict[str, Field]:
    size = base.config["vocab_size"]
    tokens = [f"[PAD{i}]" for i in range(size)]
    scores = np.full(size, _FREE_SCORE, np.float32)
    types = np.full(size, UNUSED, np.int32)
    model = base.tokenizer / "tokenizer.model"
    pieces = _model_pieces(model) if model.is_file() else _json_pieces(tokenizer, size, where)
    for i, (text, score, kind) in enumerate(pieces[:size]):
        tokens[i], scores[i], types[i] = text, score, kind
    for i, text, kind in _added(base, tokenizer, settings):
        if not 0 <= i < size:
            raise UsageError(
                f"{where}: token {text!r} has id {i}, the embedding has {size} rows",
                fix="choose a base whose tokenizer fits its weights",
            )
        tokens[i], scores[i], types[i] = text, _ADDED_SCORE, kind
    return {
        "tokenizer.ggml.model": Field("string", "llama"),
        "tokenizer.ggml.pre": Field("string", "default"),
        "tokenizer.ggml.tokens": Field("[string]", tokens),
        "tokenizer.ggml.scores": Field("[float32]", scores),
        "tokenizer.ggml.token_type": Field("[int32]", types),
    }


def _model_pieces(path: Path) -> list[tuple[str, float, int]]:
    try:
        return sentencepiece_pieces(str(path))
    except ImportError:
        raise EnvironmentProblem(
            "sentencepiece is not installed", fix="pip install 'phoenix-forge[train]'"
        ) from None
    except (RuntimeError, OSError) as error:
        raise UsageError(
            f"{path} is not a SentencePiece model: {error}", fix="forge download --force"
        ) from None


def _json_pieces(tokenizer: dict[str, Any], size: int, where: str) -> list[tuple[str, float, int]]:
    """The same where only tokenizer.json is there: a piece scores as early as its first merge comes."""
    merges = (
        m if isinstance(m, list) else m.split(" ", 1) for m in tokenizer["model"].get("merges", [])
    )
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    pieces = [(f"[PAD{i}]", _FREE_SCORE, UNUSED) for i in range(size)]
    for text, i in _ids(tokenizer, size, where):
        byte = re.fullmatch(r"<0x[0-9A-F]{2}>", text)
        kind = UNKNOWN if text == tokenizer["model"].get("unk_token") else BYTE if byte else NORMAL
        pieces[i] = (text, float(-ranks.get(text, len(ranks))) if kind == NORMAL else 0.0, kind)
    return pieces


def _added(
    base: ModelFolder, tokenizer: dict[str, Any], settings: dict[str, Any]
) -> Iterable[tuple[int, str, int]]:
    """Tokens outside the pieces, as the converter lists them: Phi's marks alone say what is special."""
    added = {int(i): token for i, token in settings.get("added_tokens_decoder", {}).items()}
    if base.family.name == "phi3" or not added:
        added |= {entry["id"]: entry for entry in tokenizer.get("added_tokens", [])}
    for i, entry in added.items():
        text = entry["content"]
        if base.family.name == "phi3":
            yield i, text, CONTROL if entry.get("special") else USER_DEFINED
        else:
            kind = _added_kind(text, bool(entry.get("special")))
            yield i, text.replace(SPACE, " ") if kind == USER_DEFINED else text, kind


# ---- special tokens ----


def _content(settings: dict[str, Any], kind: str) -> Any:
    token = settings.get(f"{kind}_token")
    return token.get("content") if isinstance(token, dict) else token


def _special_ids(
    tokenizer: dict[str, Any], settings: dict[str, Any], config: dict[str, Any]
) -> dict[str, Field]:
    """Ids by role: the tokenizer's settings first, config.json for the roles they leave open."""
    added = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", [])}
    found: dict[str, int] = {}
    for kind in _SPECIALS:
        i = added.get(_content(settings, kind))
        if i is not None:
            found[kind] = i
    for kind in _SPECIALS:
        i = config.get(f"{kind}_token_id")
        if isinstance(i, int):
            found.setdefault(kind, i)
    return {
        f"tokenizer.ggml.{_SPECIALS[kind]}_token_id": Field("uint32", i)
        for kind, i in found.items()
    }


def _added_around(tokenizer: dict[str, Any], settings: dict[str, Any]) -> dict[str, bool]:
    """Which special tokens a text is put between: by tokenizer.json's template, then by the settings' own word."""
    found: dict[str, bool] = {}
    processor = tokenizer.get("post_processor") or {}
    for step in processor.get("processors", [processor]):
        if step.get("type") == "TemplateProcessing":
            found |= _template(step, _content(settings, "bos"), _content(settings, "eos"))
    return found | {
        kind: settings[f"add_{kind}_token"]
        for kind in _SPECIALS
        if isinstance(settings.get(f"add_{kind}_token"), bool)
    }


def _template(step: dict[str, Any], bos: Any, eos: Any) -> dict[str, bool]:
    """The converter's reading of a template: its first and last token, and what stands between two texts."""
    found: dict[str, bool] = {}
    single, pair = (
        [part.get("SpecialToken", {}).get("id") for part in step.get(key, [])]
        for key in ("single", "pair")
    )
    first, last = (single[0], single[-1]) if len(single) > 1 else (None, None)
    if first:
        found["bos"] = first == bos
    if last:
        found["eos"] = last == eos
    inner = pair[
        1 if first and pair[0] == first else 0 : -1 if last and pair[-1] == last else None
    ][1:-1]
    if inner:
        found["sep"] = (inner[0] == eos and not last) or (len(inner) == 2 and inner[1] == eos)
    return found
