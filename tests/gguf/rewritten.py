"""GGUF files with changed metadata."""

from __future__ import annotations

from pathlib import Path

from phoenix_forge.gguf.container import Field, Header, encode_header, read_header


def rewrite(path: Path, fields: dict[str, Field | None]) -> Path:
    """Changes metadata and leaves the tensors as they are; None removes a key."""
    header: Header = read_header(path)
    data = path.read_bytes()[header.start :]
    kept = {k: f for k, f in (header.fields | fields).items() if f is not None}
    path.write_bytes(encode_header(kept, list(header.tensors.values())) + data)
    return path
