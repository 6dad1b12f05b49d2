"""Checks a GGUF file's structure before anyone relies on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from forge.catalog.families import by_gguf
from forge.catalog.quants import QUANTS
from forge.errors import UsageError
from forge.gguf.container import padded, read_header

_AGAIN = "forge quantize --force"


def verify(path: Path) -> dict[str, Any]:
    """What the file is: name, architecture, type, tensors, parameters, context length, bytes.

    Raises UsageError where the file is no GGUF, cut short, longer than its tensors, of inconsistent offsets, of an
    unsupported architecture, or lacks what a runtime needs. Reads the header only: whether the bytes are the ones that
    were written is a question for their SHA-256.
    """
    header = read_header(path)
    family = by_gguf(header.get("general.architecture"), str(path))
    if not header.tensors:
        raise UsageError(f"{path} holds no tensors: it is a vocabulary only", fix=_AGAIN)
    last = list(header.tensors.values())[-1]
    end = header.start + last.offset + last.nbytes
    if header.size not in (end, header.start + last.offset + padded(last.nbytes, header.alignment)):
        raise UsageError(f"{path} has {header.size:,} bytes, its tensors end at {end:,}", fix=_AGAIN)
    tokens = header.get("tokenizer.ggml.tokens")
    embedding = header.tensors.get("token_embd.weight")
    if not isinstance(tokens, list) or embedding is None or embedding.shape[0] != len(tokens):
        raise UsageError(f"{path}: {len(tokens or []):,} tokens, embedding {embedding.shape if embedding else None}: "
                         "vocabulary and weights do not belong together", fix=_AGAIN)
    ftype = header.get("general.file_type")
    return {
        "path": str(path), "bytes": header.size, "name": header.get("general.name"), "architecture": family.gguf,
        "type": next((q.name for q in QUANTS.values() if q.ftype == ftype), f"file type {ftype}"),
        "tensors": len(header.tensors), "parameters": sum(math.prod(t.shape) for t in header.tensors.values()),
        "context_length": header.get(f"{family.gguf}.context_length"), "vocabulary": len(tokens),
        "chat_template": "tokenizer.chat_template" in header.fields,
    }
