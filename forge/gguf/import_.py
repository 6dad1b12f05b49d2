"""A GGUF as a base: back to a Hugging Face folder with config, tokenizer, chat template and 16-bit safetensors.

Weights come out at the precision the file has; nothing is recovered that quantisation lost. Memory: one tensor.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forge.catalog.families import Family, by_gguf
from forge.core.fsio import write_json, write_text
from forge.core.report import Reporter
from forge.errors import UsageError
from forge.gguf.container import Header, TensorInfo, block_size, read_header, tensor_bytes
from forge.gguf.metadata import CONTROL, NORMAL, UNUSED, USER_DEFINED
from forge.gguf.names import gguf_names
from forge.gguf.quantise import dequantise, quantise, to_bfloat16
from forge.weights.layout import layout
from forge.weights.safetensors import NUMPY, Tensor
from forge.weights.tokenizer import byte_level_bpe, tokenizer_config
from forge.weights.writer import write_shards

_BLOCK = 2_000_000  # values that one job decodes: 8 MB of fp32
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_OTHER = "take another file of the model, or its Hugging Face folder"


def import_gguf(gguf_path: Path, out_folder: Path, *, report: Reporter) -> dict[str, Any]:
    """Writes the model of a GGUF as a Hugging Face folder and returns what it found: name, architecture, parameters,
    dtype, tied, and the tensor that tied embeddings were taken from.

    `out_folder` is a staging folder that the caller publishes. Raises UsageError for a damaged file, an architecture or
    tensor type that is not supported, or metadata that does not describe the tensors.
    """
    header = read_header(gguf_path)
    family = by_gguf(header.get("general.architecture"), str(gguf_path))
    out_folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        source = _Source(header, np.memmap(gguf_path, np.uint8, "r"), pool)
        kept = _shared_matrix(source)
        dtype = _dtype(source)
        config = _CONFIGS[family.name](header, family, tied=kept is not None, dtype=dtype)
        shapes = layout(family.name, config, str(gguf_path))
        found = gguf_names(family.gguf, config["num_hidden_layers"], shapes)
        _require_tensors(header, {name: shapes[hf] for name, hf in found.items()})
        places = {hf: name for name, hf in found.items()}
        if kept:
            places["model.embed_tokens.weight"] = kept
        parameters = sum(math.prod(shape) for shape in shapes.values())
        done = 0

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            report.progress("import", done, parameters * 2, "B")

        tensors = [Tensor(hf, dtype, shape, _loader(source, places[hf], dtype)) for hf, shape in shapes.items()]
        write_shards(out_folder, tensors, on_bytes=on_bytes)
    write_json(out_folder / "config.json", config)
    _write_tokenizer(header, family, out_folder)
    return {"name": header.get("general.name"), "architecture": family.architecture, "parameters": parameters,
            "dtype": config["torch_dtype"], "tied": kept is not None, "tied_from": kept}


@dataclass(frozen=True)
class _Source:
    """The file's tensors, decoded in blocks of rows on all cores."""

    header: Header
    data: np.memmap
    pool: ThreadPoolExecutor

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of a tensor as fp32; a one-dimensional tensor is one row."""
        info = self.header.tensors[name]
        width = info.shape[-1]
        row = tensor_bytes(info.type, (width,))
        at = self.header.start + info.offset
        raw = self.data[at + start * row:at + stop * row]
        return dequantise(info.type, raw, (stop - start) * width).reshape(stop - start, width)

    def blocks(self, name: str) -> list[tuple[int, int]]:
        shape = self.header.tensors[name].shape
        count, step = math.prod(shape[:-1]), max(1, _BLOCK // shape[-1])
        return [(start, min(start + step, count)) for start in range(0, count, step)]


def _loader(source: _Source, name: str, dtype: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        info = source.header.tensors[name]
        out = np.empty((math.prod(info.shape[:-1]), info.shape[-1]), NUMPY[dtype])

        def fill(span: tuple[int, int]) -> None:
            values = source.rows(name, *span)
            out[slice(*span)] = to_bfloat16(values) if dtype == "BF16" else _half(values, name)

        list(source.pool.map(fill, source.blocks(name)))
        return out.reshape(info.shape)
    return load


def _half(values: np.ndarray, name: str) -> np.ndarray:
    largest = np.abs(values).max(initial=0)
    if not largest <= np.finfo(np.float16).max:  # true for NaN as well
        raise UsageError(f"tensor {name} holds {largest:g}, which fp16 cannot hold", fix=_OTHER)
    return values.astype(np.float16)


def _dtype(source: _Source) -> str:
    """BF16 where that loses nothing, else F16.

    A decoded quant is an fp16 scale times a small integer (plus an fp16 minimum): of its up to 22 significant bits fp16
    keeps 11 and bf16 only 8, so fp16's error is an eighth of bf16's, and it is far below the quantisation error itself.
    fp16's narrow range does not matter for weights that come from fp16 scales. A file in BF16, or in F32 made from bf16
    weights, is copied exactly as BF16.
    """
    matrices = [t for t in source.header.tensors.values() if len(t.shape) > 1]
    if {t.type for t in matrices} == {"BF16"}:
        return "BF16"
    if {t.type for t in matrices} == {"F32"} and not any(
            (source.rows(t.name, *span).view(np.uint32) & 0xFFFF).any()
            for t in matrices for span in source.blocks(t.name)[:1]):
        return "BF16"
    return "F16"


def _shared_matrix(source: _Source) -> str | None:
    """The tensor to take tied embeddings from, or None where input and output matrices are two different ones.

    Files of tied models may carry both, quantised to different types. They are two renderings of one matrix if they
    differ by no more than quantising the finer one to the coarser one's type changes it: measured over each row (twice
    the change is allowed there) and over all (1.5 times; an importance matrix makes the coarser one a little worse).
    Matrices trained apart differ by more than their own size, even when they started out equal.
    """
    tensors = source.header.tensors
    if _OUTPUT not in tensors or _EMBEDDING not in tensors:
        return _EMBEDDING
    if tensors[_OUTPUT].shape != tensors[_EMBEDDING].shape:
        return None
    finer, coarser = sorted((_EMBEDDING, _OUTPUT), reverse=True,
                            key=lambda name: tensor_bytes(tensors[name].type, tensors[name].shape))

    def differences(span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        fine, coarse = source.rows(finer, *span), source.rows(coarser, *span)
        again = dequantise(tensors[coarser].type, quantise(tensors[coarser].type, fine), fine.size)
        return _squares(fine - coarse), _squares(fine - again.reshape(fine.shape))

    for apart, allowed in source.pool.map(differences, source.blocks(finer)):
        if (apart > 2 ** 2 * allowed).any() or apart.sum() > 1.5 ** 2 * allowed.sum():
            return None
    return finer


def _squares(values: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", values, values)


def _require_tensors(header: Header, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        info: TensorInfo | None = header.tensors.get(name)
        if info is None:
            raise UsageError(f"{header.path} lacks tensor {name}", fix=_OTHER)
        if info.shape != shape:
            raise UsageError(f"{header.path}: tensor {name} has shape {list(info.shape)}, its metadata implies "
                             f"{list(shape)}", fix=_OTHER)
        if block_size(info.type) > 1:
            dequantise(info.type, np.zeros(tensor_bytes(info.type, (block_size(info.type),)), np.uint8),
                       block_size(info.type))  # refuses a type that cannot be decoded, before anything is written
    extra = [name for name in header.tensors if name not in shapes and name != _OUTPUT]
    if extra:
        raise UsageError(f"{header.path} has {len(extra)} tensors that its architecture lacks, such as {extra[0]}",
                         fix=_OTHER)


def _number(header: Header, key: str) -> int:
    value = header.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise UsageError(f"{header.path}: {key} is {value!r}, expected a positive whole number", fix=_OTHER)
    return value


def _shortest(value: float) -> float:
    """The shortest decimal that is this fp32 value: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(value)))


def _qwen2_config(header: Header, family: Family, *, tied: bool, dtype: str) -> dict[str, Any]:
    prefix = f"{family.gguf}."
    if header.get(f"{prefix}rope.scaling.type", "none") != "none":
        raise UsageError(f"{header.path}: rope scaling {header.get(f'{prefix}rope.scaling.type')!r} cannot be imported",
                         fix=_OTHER)
    heads = _number(header, f"{prefix}attention.head_count")
    tokens = header.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise UsageError(f"{header.path} has no vocabulary (tokenizer.ggml.tokens)", fix=_OTHER)
    config = {
        "architectures": [family.architecture], "attention_dropout": 0.0,
        "bos_token_id": header.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": header.get("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu", "hidden_size": _number(header, f"{prefix}embedding_length"),
        "initializer_range": 0.02, "intermediate_size": _number(header, f"{prefix}feed_forward_length"),
        "max_position_embeddings": _number(header, f"{prefix}context_length"), "model_type": family.model_type,
        "num_attention_heads": heads, "num_hidden_layers": _number(header, f"{prefix}block_count"),
        "num_key_value_heads": header.get(f"{prefix}attention.head_count_kv", heads),
        "rms_norm_eps": _shortest(header.get(f"{prefix}attention.layer_norm_rms_epsilon", 1e-6)),
        "rope_theta": _shortest(header.get(f"{prefix}rope.freq_base", 10000.0)), "tie_word_embeddings": tied,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16"}[dtype], "use_cache": True, "use_sliding_window": False,
        "vocab_size": len(tokens),
    }
    if f"{prefix}attention.key_length" in header.fields:
        config["head_dim"] = _number(header, f"{prefix}attention.key_length")
    return config


_CONFIGS = {"qwen2": _qwen2_config}


def _write_tokenizer(header: Header, family: Family, folder: Path) -> None:
    """tokenizer.json, tokenizer_config.json, generation_config.json and chat_template.jinja."""
    _require_tokenizer(header, family)
    tokens: list[str] = header.get("tokenizer.ggml.tokens")
    types: np.ndarray = header.get("tokenizer.ggml.token_type", np.full(len(tokens), NORMAL, np.int32))
    unused = {i for i in np.flatnonzero(types == UNUSED).tolist() if tokens[i] == f"[PAD{i}]"}
    added = {i: tokens[i] for i in np.flatnonzero((types == CONTROL) | (types == USER_DEFINED)).tolist()}
    plain = frozenset(tokens[i] for i in added if types[i] == USER_DEFINED)
    # Added tokens stand in the BPE's vocabulary as well: that alone pins their ids, also where ids are left out before.
    ids = {token: i for i, token in enumerate(tokens) if i not in unused}
    if len(ids) != len(tokens) - len(unused):
        raise UsageError(f"{header.path}: a token occurs twice in its vocabulary", fix=_OTHER)
    pairs = [_merge(header, text) for text in header.get("tokenizer.ggml.merges", [])]
    missing = next((part for a, b in pairs for part in (a, b, a + b) if part not in ids), None)
    if missing is not None:
        raise UsageError(f"{header.path}: a merge names the token {missing!r}, which is not in the vocabulary",
                         fix=_OTHER)
    tokenizer = json.loads(byte_level_bpe(ids, pairs).to_str())
    tokenizer["added_tokens"] = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": token not in plain} for i, token in sorted(added.items())]
    write_text(folder / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False) + "\n")

    eos = _token_id(header, "eos", ids.get(family.stop), len(tokens))
    pad = _token_id(header, "padding", ids.get(family.pad), len(tokens))
    if pad == eos and family.pad in ids:
        pad = ids[family.pad]  # a file may pad with its stop token; a model trained so would never learn to stop
    template = header.get("tokenizer.chat_template")
    write_json(folder / "tokenizer_config.json", tokenizer_config(
        added, stop=tokens[eos], pad=tokens[pad], max_length=_number(header, f"{family.gguf}.context_length"),
        chat_template=template, plain=plain))
    if template:
        write_text(folder / "chat_template.jinja", template)
    stops = dict.fromkeys([eos, *(ids[token] for token in family.stops if token in ids)])
    write_json(folder / "generation_config.json",
               {"bos_token_id": header.get("tokenizer.ggml.bos_token_id"), "eos_token_id": list(stops),
                "pad_token_id": pad})


def _require_tokenizer(header: Header, family: Family) -> None:
    kind, pre = header.get("tokenizer.ggml.model"), header.get("tokenizer.ggml.pre")
    if (kind, pre) != ("gpt2", "qwen2"):
        raise UsageError(f"{header.path}: tokenizer {kind!r} with pre-tokenizer {pre!r} is not supported for "
                         f"{family.name}; supported: 'gpt2' with 'qwen2'", fix=_OTHER)


def _merge(header: Header, text: str) -> tuple[str, str]:
    left, space, right = text.partition(" ")
    if not (left and space and right):
        raise UsageError(f"{header.path}: {text!r} is not a merge of two tokens", fix=_OTHER)
    return left, right


def _token_id(header: Header, role: str, default: int | None, size: int) -> int:
    found = header.get(f"tokenizer.ggml.{role}_token_id", default)
    if not isinstance(found, int) or not 0 <= found < size:
        raise UsageError(f"{header.path}: its {role} token is {found!r}, of {size:,} tokens", fix=_OTHER)
    return found
