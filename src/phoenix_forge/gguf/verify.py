"""Checks a GGUF file's structure before anyone relies on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from phoenix_forge.catalog.quants import QUANTS
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.gguf.container import padded, read_header
from phoenix_forge.gguf.write import GGUFLayout

_AGAIN = "forge quantize --force"


def verify(path: Path) -> dict[str, Any]:
    """What the file is: name, architecture, type, tensors, parameters, context length, bytes.

    Raises UsageError where the file is no GGUF, cut short, longer than its tensors, of inconsistent offsets, or lacks
    what a runtime needs. Reads the header only: whether the bytes are the ones that were written is a question for
    their SHA-256.
    """
    header = read_header(path)
    architecture = header.get("general.architecture")
    if f"{architecture}.context_length" not in header.fields:
        raise UsageError(
            f"{path} names the architecture {architecture!r} and says nothing of it", fix=_AGAIN
        )
    if not header.tensors:
        raise UsageError(f"{path} holds no tensors: it is a vocabulary only", fix=_AGAIN)
    last = list(header.tensors.values())[-1]
    end = header.start + last.offset + last.nbytes
    if header.size not in (end, header.start + last.offset + padded(last.nbytes, header.alignment)):
        raise UsageError(
            f"{path} has {header.size:,} bytes, its tensors end at {end:,}", fix=_AGAIN
        )
    tokens = header.get("tokenizer.ggml.tokens")
    embedding = header.tensors.get("token_embd.weight")
    if not isinstance(tokens, list) or embedding is None or embedding.shape[0] != len(tokens):
        raise UsageError(
            f"{path}: {len(tokens or []):,} tokens, embedding {embedding.shape if embedding else None}: "
            "vocabulary and weights do not belong together",
            fix=_AGAIN,
        )
    ftype = header.get("general.file_type")
    return {
        "path": str(path),
        "bytes": header.size,
        "name": header.get("general.name"),
        "architecture": architecture,
        "type": next((q.name for q in QUANTS.values() if q.ftype == ftype), f"file type {ftype}"),
        "tensors": len(header.tensors),
        "parameters": sum(math.prod(t.shape) for t in header.tensors.values()),
        "context_length": header.get(f"{architecture}.context_length"),
        "vocabulary": len(tokens),
        "chat_template": "tokenizer.chat_template" in header.fields,
    }


def require_planned(path: Path, planned: GGUFLayout) -> None:
    """Raises StageFailed where a file just written differs from its plan: in size, metadata, or a tensor's name,
    shape, type or place. The plan has them from config.json and the architecture's layout; the file is parsed afresh.
    """
    header = read_header(path)
    if header.size != planned.size:
        raise StageFailed(
            f"{path} has {header.size:,} bytes, predicted were {planned.size:,}", fix=_AGAIN
        )
    for name in planned.tensors.keys() | header.tensors.keys():
        expected, found = planned.tensors.get(name), header.tensors.get(name)
        if expected != found:
            raise StageFailed(
                f"{path}: tensor {name} is {found or 'not there'}, expected {expected or 'none'}",
                fix=_AGAIN,
            )
    with open(path, "rb") as handle:
        if handle.read(len(planned.header)) != planned.header:
            raise StageFailed(
                f"{path}: its metadata are not those that were to be written", fix=_AGAIN
            )


def require_digest(path: Path, found: str, written: str) -> None:
    """Raises StageFailed where the SHA-256 of the file as read back is not the one taken while it was written.

    Read back through the page cache: that sees what our own writing got wrong and what another process changed, at the
    speed of SHA-256; a disk that returns other bytes later is for the file system to notice.
    """
    if found != written:
        raise StageFailed(
            f"{path} reads back as SHA-256 {found[:16]}…, written was {written[:16]}…",
            fix=f"{_AGAIN}; if it comes again, check disk and memory",
        )
