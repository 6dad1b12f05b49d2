"""GGUF metadata from config.json and the tokenizer files, key for key as llama.cpp's converter and quantiser write it.

What differs from the oracle (converter, then quantiser, at forge.gguf.recipe.LLAMA_CPP_TAG), and why:

| key | oracle | here |
|---|---|---|
| general.name | guessed from the folder or README unless given | the configured name, always |
| general.basename, finetune, version, organization | the folder's name cut at dashes | not written: guesses |
| general.size_label | a size in the folder's name wins over counting | the parameters, counted |
| general.license, tags, languages, base_model.* | from README.md of the folder | not written: the model card has them |
| tokenizer.chat_template with several named templates | all of them | the one called default |
| tokenizer.ggml.pre | hash of a fixed text's token ids, for known vocabularies | the pre-tokenizer's pattern |
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from forge.catalog.families import Family
from forge.catalog.quants import quant
from forge.chat.template import ChatTemplate
from forge.errors import UsageError
from forge.gguf.container import Field
from forge.weights.base import ModelFolder, read_json
from forge.weights.layout import number
from forge.weights.tokenizer import PATTERN

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama_token_type in llama.h
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION in ggml.h
_PRE = {PATTERN: "qwen2"}  # pre-tokenizer patterns that llama.cpp has under a name
_SAMPLING = {"top_k": "int32", "top_p": "float32", "min_p": "float32", "temperature": "float32"}
_SPECIALS = {"bos": "bos", "eos": "eos", "unk": "unknown", "sep": "seperator", "pad": "padding", "cls": "cls",
             "mask": "mask"}  # [sic]: ggml's own spelling


def metadata(base: ModelFolder, name: str, quant_name: str) -> dict[str, Field]:
    """All fields of a file of one type, in the order the quantiser leaves them in."""
    fields = {"general.architecture": Field("string", base.family.gguf), "general.type": Field("string", "model")}
    fields |= _sampling(base.folder)
    fields["general.name"] = Field("string", name)
    fields["general.size_label"] = Field("string", size_label(base.parameters))
    fields |= {f"{base.family.gguf}.{key}": value for key, value in _HYPERPARAMETERS[base.family.name](base).items()}
    fields |= _tokenizer(base)
    fields["general.quantization_version"] = Field("uint32", QUANTIZATION_VERSION)
    fields["general.file_type"] = Field("uint32", quant(quant_name).ftype)
    return fields


def size_label(parameters: int) -> str:
    """494M, 7.6B: at least two digits, as llama.cpp's naming convention has it."""
    scale, suffix = next(((s, x) for s, x in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if parameters > s), (1e3, "K"))
    value = parameters * (1 / scale)  # multiplied as the oracle does: the last digit can depend on it
    digits = max(2 - len(str(round(value)).lstrip("0")), 0)
    return f"{value:.{digits}f}{suffix}"


def _sampling(folder: Path) -> dict[str, Field]:
    path = folder / "generation_config.json"
    generation = read_json(path) if path.exists() else {}
    return {f"general.sampling.{'temp' if key == 'temperature' else key}": Field(kind, generation[key])
            for key, kind in _SAMPLING.items() if generation.get(key) is not None}


def rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings, from transformers 5's rope_parameters or the older rope_theta and rope_scaling."""
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    found.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    found["rope_type"] = found.get("rope_type", found.get("type", "default"))
    return found


def _qwen2(base: ModelFolder) -> dict[str, Field]:
    config, where = base.config, str(base.folder / "config.json")
    heads = number(config, "num_attention_heads", where)
    fields = {
        "block_count": Field("uint32", number(config, "num_hidden_layers", where)),
        "context_length": Field("uint32", number(config, "max_position_embeddings", where)),
        "embedding_length": Field("uint32", number(config, "hidden_size", where)),
        "feed_forward_length": Field("uint32", number(config, "intermediate_size", where)),
        "attention.head_count": Field("uint32", heads),
        "attention.head_count_kv": Field("uint32", config.get("num_key_value_heads", heads)),
    }
    rotary = rope(config)
    fields |= _rope_scaling(rotary, where)
    fields["rope.freq_base"] = Field("float32", _real(rotary["rope_theta"], "rope_theta", where))
    fields["attention.layer_norm_rms_epsilon"] = Field(
        "float32", _real(config.get("rms_norm_eps"), "rms_norm_eps", where))
    if config.get("head_dim") is not None:
        fields["attention.key_length"] = fields["attention.value_length"] = Field("uint32", config["head_dim"])
    return fields


_HYPERPARAMETERS = {"qwen2": _qwen2}


def _rope_scaling(rotary: dict[str, Any], where: str) -> dict[str, Field]:
    kind = rotary["rope_type"]
    if kind == "default":
        return {}
    if kind not in ("linear", "yarn"):
        raise UsageError(f"{where}: rope_type {kind!r} is not supported; supported: default, linear, yarn",
                         fix="choose a base with plain rotary embeddings")
    fields = {"rope.scaling.type": Field("string", kind),
              "rope.scaling.factor": Field("float32", _real(rotary.get("factor"), "rope factor", where))}
    if kind == "yarn":
        fields["rope.scaling.original_context_length"] = Field(
            "uint32", number(rotary, "original_max_position_embeddings", where))
        for key, name in (("extrapolation_factor", "yarn_ext_factor"), ("attention_factor", "yarn_attn_factor"),
                          ("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
            if rotary.get(key) is not None:
                fields[f"rope.scaling.{name}"] = Field("float32", _real(rotary[key], key, where))
    return fields


def _real(value: object, key: str, where: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise UsageError(f"{where}: {key} is {value!r}, expected a positive number", fix="forge download --force")
    return float(value)


def _tokenizer(base: ModelFolder) -> dict[str, Field]:
    tokenizer = read_json(base.folder / "tokenizer.json")
    settings = read_json(base.folder / "tokenizer_config.json")
    where = str(base.folder / "tokenizer.json")
    tokens, types = vocabulary(tokenizer, base.config["vocab_size"], where)
    fields = {"tokenizer.ggml.model": Field("string", "gpt2"),
              "tokenizer.ggml.pre": Field("string", _pre_tokenizer(tokenizer, where, base.family)),
              "tokenizer.ggml.tokens": Field("[string]", tokens),
              "tokenizer.ggml.token_type": Field("[int32]", types),
              "tokenizer.ggml.merges": Field("[string]", _merges(tokenizer["model"].get("merges", [])))}
    fields |= _special_ids(tokenizer, settings, base.config)
    fields |= {f"tokenizer.ggml.add_{kind}_token": Field("bool", settings[f"add_{kind}_token"])
               for kind in _SPECIALS if isinstance(settings.get(f"add_{kind}_token"), bool)}
    fields["tokenizer.chat_template"] = Field("string", ChatTemplate.load(base.folder).source)
    return fields


def vocabulary(tokenizer: dict[str, Any], size: int, where: str) -> tuple[list[str], np.ndarray]:
    """Token texts and llama.cpp's token types by id; ids that the tokenizer leaves free become [PADid], unused.

    A token outside the BPE is control if it is marked special or looks like <|this|>, else user-defined.
    """
    model = tokenizer.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise UsageError(f"{where}: its model is not a BPE with a vocabulary",
                         fix="choose a base of a supported family")
    tokens = [f"[PAD{i}]" for i in range(size)]
    types = np.full(size, UNUSED, np.int32)
    added = {entry["content"]: entry for entry in tokenizer.get("added_tokens", [])}
    entries: Iterable[tuple[str, int]] = [*model["vocab"].items(), *((t, e["id"]) for t, e in added.items())]
    for token, i in entries:
        if not isinstance(i, int) or not 0 <= i < size:
            raise UsageError(f"{where}: token {token!r} has id {i}, the embedding has {size} rows",
                             fix="choose a base whose tokenizer fits its weights")
        tokens[i] = token
        if token not in added:
            types[i] = NORMAL
        elif added[token]["special"] or (token.startswith("<|") and token.endswith("|>")):
            types[i] = CONTROL
        else:
            types[i] = USER_DEFINED
    return tokens, types


def _merges(merges: list[Any]) -> list[str]:
    """"left right"; a space inside a half is written as its byte-level stand-in."""
    return [m if isinstance(m, str) else " ".join(half.replace(" ", "Ġ") for half in m) for m in merges]


def _pre_tokenizer(tokenizer: dict[str, Any], where: str, family: Family) -> str:
    text = json.dumps(tokenizer.get("pre_tokenizer"), ensure_ascii=False)
    for pattern, name in _PRE.items():
        if json.dumps(pattern, ensure_ascii=False) in text:
            return name
    raise UsageError(f"{where}: its pre-tokenizer is none that llama.cpp knows for {family.name}",
                     fix="choose a base with its family's own tokenizer")


def _special_ids(tokenizer: dict[str, Any], settings: dict[str, Any], config: dict[str, Any]) -> dict[str, Field]:
    """Ids by role: the tokenizer's settings first, config.json for the roles they leave open."""
    added = {entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens", [])}
    found: dict[str, int] = {}
    for kind in _SPECIALS:
        token = settings.get(f"{kind}_token")
        i = added.get(token["content"] if isinstance(token, dict) else token)
        if i is not None:
            found[kind] = i
    for kind in _SPECIALS:
        i = config.get(f"{kind}_token_id")
        if isinstance(i, int):
            found.setdefault(kind, i)
    return {f"tokenizer.ggml.{_SPECIALS[kind]}_token_id": Field("uint32", i) for kind, i in found.items()}
