"""One file → one document: decoded or extracted, secrets handled, structure read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from forge.core.fsio import sha256_bytes
from forge.corpus import secrets
from forge.corpus.document import Document
from forge.corpus.readers import Unreadable, extract, extracts, structure
from forge.corpus.walk import File
from forge.errors import StageFailed

PROSE = {".md", ".markdown", ".txt", ".rst", ".html", ".htm", ".docx", ".pdf", ".ipynb"}
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Loaded:
    """`document` is None where the file cannot be one, or the secrets policy keeps it out; `skipped` says why."""

    document: Document | None
    sha256: str
    findings: list[secrets.Finding]
    skipped: str | None = None


def load(file: File, policy: Literal["redact", "drop", "fail"], data: bytes | None = None) -> Loaded:
    """Reads a file, or takes its bytes. Under the policy `fail` its findings are the caller's to refuse.

    Of a format that is extracted (a Word file, say), byte offsets count in the UTF-8 form of the extracted text.
    """
    data = read(file) if data is None else data
    digest = sha256_bytes(data)
    try:
        text, offsets, notes = _extracted(file.name, data) if extracts(file.name) else decode(data)
    except Unreadable as problem:
        fix = f"; fix: {problem.fix}" if problem.fix else ""
        return Loaded(None, digest, [], f"{problem.message}{fix}")
    findings = secrets.scan(text)
    if findings and policy == "drop":
        return Loaded(None, digest, findings, f"holds {len(findings)} secrets; dataset.secrets is drop")
    if findings:
        text, offsets = secrets.redact(text, offsets, findings)
    found = structure(file.name, text)
    title = found.title or _title(file.name)
    document = Document(file.relative, file.name, digest, text, title, found.blocks, offsets, notes)
    return Loaded(document, digest, findings)


def read(file: File) -> bytes:
    """The file's bytes. Raises StageFailed where it cannot be read."""
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise StageFailed(f"{file.relative} could be opened but not read: {error.strerror}",
                          fix="check the file, or leave it out with corpus.exclude") from None


def _extracted(name: str, data: bytes) -> tuple[str, np.ndarray, tuple[str, ...]]:
    text = extract(name, data)
    return text, _offsets(text, 0), ()


def decode(data: bytes) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Text, the byte where each character starts (and the end), and what had to be assumed.

    UTF-8 first; else what charset-normalizer finds, where it is installed; else UTF-8 with its broken bytes replaced.
    """
    base = len(BOM) if data.startswith(BOM) else 0
    try:
        text = data[base:].decode("utf-8")
    except UnicodeDecodeError as error:
        text, note = _guess(data, error)
        return text, _offsets(text, 0), (note,)
    return text, _offsets(text, base), ()


def _guess(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    where = f"not UTF-8 (byte {error.start})"
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return data.decode("utf-8", "replace"), f"{where}: broken bytes were replaced"
    best = from_bytes(data).best()
    if best is None:
        return data.decode("utf-8", "replace"), f"{where}, no other encoding fits: broken bytes were replaced"
    return str(best), f"{where}: read as {best.encoding}"


def _offsets(text: str, base: int) -> np.ndarray:
    if text.isascii():
        return np.arange(base, base + len(text) + 1, dtype=np.int64)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([[base], base + np.cumsum(widths)])


def _title(name: str) -> str:
    """A file's name as words: `getting_started.md` → getting started; other files keep their name."""
    path = PurePosixPath(name)
    prose = path.suffix.lower() in PROSE
    return re.sub(r"[_-]+", " ", path.stem).strip() if prose else path.name
