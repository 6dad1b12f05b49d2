"""fp32 rows to ggml types and back, through ggml's own code: the same bytes as llama.cpp for any split into rows."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from gguf.constants import GGMLQuantizationType

from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.gguf.container import tensor_bytes

_FLOAT_POINTER = ctypes.POINTER(ctypes.c_float)


@cache
def _ggml() -> ctypes.CDLL:
    """libggml-base out of the libggml-python wheel; its C calls release Python's lock."""
    spec = find_spec("libggml")
    found = (
        sorted(Path(spec.origin).parent.glob("lib*/libggml-base.*")) if spec and spec.origin else []
    )
    if not found:
        raise EnvironmentProblem(
            "libggml-python is not installed", fix="pip install 'phoenix-forge[train]'"
        )
    library = ctypes.CDLL(str(found[0]))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        _FLOAT_POINTER,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        _FLOAT_POINTER,
    ]
    return library


def to_float32(array: np.ndarray, dtype: str) -> np.ndarray:
    """Weights as stored in safetensors (BF16 as uint16 bits) widened without loss."""
    if dtype == "BF16":
        bits = array.astype(np.uint32)
        bits <<= 16  # in place: half the memory of a thread that quantises
        return bits.view(np.float32)
    return np.ascontiguousarray(array, np.float32)


def to_bfloat16(rows: np.ndarray) -> np.ndarray:
    """Bits of the nearest bf16, ties to even. NaN must have been refused before."""
    bits = rows.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def quantize_rows(
    type_name: str, rows: np.ndarray, importance: np.ndarray | None = None
) -> np.ndarray:
    """Rows of C-contiguous finite fp32, shape (n, row), as bytes of one ggml type.

    `importance` weights the row's columns, shape (row,); llama.cpp calls it the importance matrix.
    """
    if type_name == "F32":
        return rows.reshape(-1).view(np.uint8)
    if type_name == "F16":
        with np.errstate(over="ignore"):  # the caller refuses values beyond fp16's range
            return rows.astype(np.float16).reshape(-1).view(np.uint8)
    if type_name == "BF16":
        return to_bfloat16(rows).reshape(-1).view(np.uint8)
    out = np.empty(tensor_bytes(type_name, rows.shape), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = _ggml().ggml_quantize_chunk(
        GGMLQuantizationType[type_name].value,
        rows.ctypes.data_as(_FLOAT_POINTER),
        out.ctypes.data,
        0,
        *rows.shape,
        None if weights is None else weights.ctypes.data_as(_FLOAT_POINTER),
    )
    if written != out.nbytes:
        raise AssertionError(f"ggml wrote {written} bytes of {type_name}, expected {out.nbytes}")
    return out


def dequantize_rows(type_name: str, raw: np.ndarray, count: int) -> np.ndarray:
    """`count` fp32 values out of the bytes of one ggml type.

    Raises UsageError for a type that this build of ggml cannot decode.
    """
    if type_name == "F32":
        return raw.view(np.float32)
    if type_name == "F16":
        return raw.view(np.float16).astype(np.float32)
    if type_name == "BF16":
        return to_float32(raw.view(np.uint16), "BF16")
    decode = getattr(_ggml(), f"dequantize_row_{_c_name(type_name)}", None)
    if decode is None:
        raise UsageError(
            f"tensors of type {type_name} cannot be decoded",
            fix="take another quantisation of the model",
        )
    out = np.empty(count, np.float32)
    decode(
        ctypes.c_void_p(raw.ctypes.data), ctypes.c_void_p(out.ctypes.data), ctypes.c_int64(count)
    )
    return out


def _c_name(type_name: str) -> str:
    """ggml's spelling: q4_K, but q4_0 and iq4_nl."""
    return f"{type_name[:-2].lower()}_K" if type_name.endswith("_K") else type_name.lower()
