"""A GGUF as a base: back to a Hugging Face folder with config, tokenizer, chat template and safetensors.

Weights come out at the precision the file has; nothing is recovered that quantisation lost. Memory: one tensor.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.catalog.families import Family
from phoenix_forge.core.fsio import write_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import Header, TensorInfo, block_size, read_header, tensor_bytes
from phoenix_forge.gguf.import_config import (
    LONG_FACTORS,
    OTHER,
    ROPE_FREQS,
    SHORT_FACTORS,
    config_of,
    family_of,
)
from phoenix_forge.gguf.import_tokenizer import write_tokenizer
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.gguf.quantization import dequantize_rows, quantize_rows, to_bfloat16
from phoenix_forge.gguf.transforms import from_gguf
from phoenix_forge.weights.layout import layout
from phoenix_forge.weights.safetensors import NUMPY, Tensor
from phoenix_forge.weights.writer import write_shards

_BLOCK = 2_000_000  # values that one job decodes: 8 MB of fp32
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
_FACTORS = (ROPE_FREQS, LONG_FACTORS, SHORT_FACTORS)  # they become settings of config.json


def import_gguf(gguf_path: Path, out_folder: Path, *, report: Reporter) -> dict[str, Any]:
    """Writes the model of a GGUF as a Hugging Face folder and returns what it found: name, architecture, parameters,
    dtype, tied, and the tensor that tied embeddings were taken from.

    `out_folder` is a staging folder that the caller publishes. Raises UsageError for a damaged file, an architecture,
    tokenizer or tensor type that is not supported, or metadata that does not describe the tensors.
    """
    header = read_header(gguf_path)
    family, pre = family_of(header)
    out_folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        source = _Source(header, np.memmap(gguf_path, np.uint8, "r"), pool)
        kept = _shared_matrix(source)
        dtype = _dtype(source)
        config = config_of(header, family, source.whole, tied=kept is not None, dtype=dtype)
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
            report.progress("import", done, parameters * NUMPY[dtype].itemsize, "B")

        tensors = [
            Tensor(hf, dtype, shape, _loader(source, places[hf], hf, family, config, dtype))
            for hf, shape in shapes.items()
        ]
        write_shards(out_folder, tensors, on_bytes=on_bytes)
    write_json(out_folder / "config.json", config)
    write_tokenizer(header, family, pre, out_folder)
    return {
        "name": header.get("general.name"),
        "architecture": family.architecture,
        "parameters": parameters,
        "dtype": config["torch_dtype"],
        "tied": kept is not None,
        "tied_from": kept,
    }


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
        raw = self.data[at + start * row : at + stop * row]
        return dequantize_rows(info.type, raw, (stop - start) * width).reshape(stop - start, width)

    def whole(self, name: str) -> np.ndarray:
        """A small tensor, fp32."""
        shape = self.header.tensors[name].shape
        return self.rows(name, 0, math.prod(shape[:-1])).reshape(shape)

    def blocks(self, name: str) -> list[tuple[int, int]]:
        shape = self.header.tensors[name].shape
        count, step = math.prod(shape[:-1]), max(1, _BLOCK // shape[-1])
        return [(start, min(start + step, count)) for start in range(0, count, step)]


def _loader(
    source: _Source, name: str, hf: str, family: Family, config: dict[str, Any], dtype: str
) -> Callable[[], np.ndarray]:
    """Loads a tensor under its Hugging Face name. A matrix's rows are at most moved, so that comes after rounding, at
    half the size; what is computed for a vector comes before."""
    info = source.header.tensors[name]

    def load_vector() -> np.ndarray:
        return _encoded(from_gguf(source.whole(name), hf, family, config), dtype, name)

    def load_matrix() -> np.ndarray:
        out = np.empty((math.prod(info.shape[:-1]), info.shape[-1]), NUMPY[dtype])

        def fill(span: tuple[int, int]) -> None:
            out[slice(*span)] = _encoded(source.rows(name, *span), dtype, name)

        list(source.pool.map(fill, source.blocks(name)))
        return from_gguf(out.reshape(info.shape), hf, family, config)

    return load_vector if len(info.shape) == 1 else load_matrix


def _encoded(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    if dtype == "F16":
        return _half(values, name)
    return to_bfloat16(values) if dtype == "BF16" else values


def _half(values: np.ndarray, name: str) -> np.ndarray:
    largest = np.abs(values).max(initial=0)
    if not largest <= np.finfo(np.float16).max:  # true for NaN as well
        raise UsageError(f"tensor {name} holds {largest:g}, which fp16 cannot hold", fix=OTHER)
    return values.astype(np.float16)


def _dtype(source: _Source) -> str:
    """F32 where only that loses nothing, BF16 where that loses nothing, else F16.

    A decoded quant is an fp16 scale times a small integer (plus an fp16 minimum): of its up to 22 significant bits fp16
    keeps 11 and bf16 only 8, so fp16's error is an eighth of bf16's, and it is far below the quantisation error itself.
    fp16's narrow range does not matter for weights that come from fp16 scales. The scales of MXFP4 and NVFP4 are powers
    of two and 8-bit floats, which bf16 holds exactly and over all their range. A file in F32 is as a rule made from
    16-bit weights, told by the beginnings of its matrices.
    """
    matrices = [t for t in source.header.tensors.values() if len(t.shape) > 1]
    types = {t.type for t in matrices}
    if types <= {"BF16", "MXFP4", "NVFP4"}:
        return "BF16"
    if "F32" not in types:
        return "F16"
    beginnings = [
        source.rows(t.name, *source.blocks(t.name)[0]) for t in matrices if t.type == "F32"
    ]
    if types == {"F32"} and not any(
        (values.view(np.uint32) & 0xFFFF).any() for values in beginnings
    ):
        return "BF16"
    with np.errstate(over="ignore"):
        halved = all((values.astype(np.float16) == values).all() for values in beginnings)
    return "F16" if halved or types != {"F32"} else "F32"


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
    finer, coarser = sorted(
        (_EMBEDDING, _OUTPUT),
        reverse=True,
        key=lambda name: tensor_bytes(tensors[name].type, tensors[name].shape),
    )

    def differences(span: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        fine, coarse = source.rows(finer, *span), source.rows(coarser, *span)
        again = dequantize_rows(
            tensors[coarser].type, quantize_rows(tensors[coarser].type, fine), fine.size
        )
        return _squares(fine - coarse), _squares(fine - again.reshape(fine.shape))

    for apart, allowed in source.pool.map(differences, source.blocks(finer)):
        if (apart > 2**2 * allowed).any() or apart.sum() > 1.5**2 * allowed.sum():
            return None
    return finer


def _squares(values: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", values, values)


def _require_tensors(header: Header, shapes: dict[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        info: TensorInfo | None = header.tensors.get(name)
        if info is None:
            raise UsageError(f"{header.path} lacks tensor {name}", fix=OTHER)
        if info.shape != shape:
            raise UsageError(
                f"{header.path}: tensor {name} has shape {list(info.shape)}, its metadata implies "
                f"{list(shape)}",
                fix=OTHER,
            )
        dequantize_rows(
            info.type,
            np.zeros(tensor_bytes(info.type, (block_size(info.type),)), np.uint8),
            block_size(info.type),
        )  # refuses a type that cannot be decoded, before anything is written
    extra = [
        name for name in header.tensors if name not in shapes and name not in (_OUTPUT, *_FACTORS)
    ]
    if extra:
        raise UsageError(
            f"{header.path} has {len(extra)} tensors that its architecture lacks, such as {extra[0]}",
            fix=OTHER,
        )
