"""Files → documents: decoded, secrets handled, structure read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from forge.core.config import CorpusConfig
from forge.core.fsio import sha256_bytes
from forge.core.report import Reporter
from forge.corpus import secrets
from forge.corpus.document import Document
from forge.corpus.readers import structure
from forge.corpus.walk import File, Skipped, walk
from forge.errors import StageFailed

SHOWN = 20  # findings that an error lists
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Redaction:
    path: str
    line: int
    kind: str


@dataclass(frozen=True)
class Corpus:
    """`dropped` are documents left out by the secrets policy: they count as explained, not as lost."""

    documents: list[Document]
    skipped: list[Skipped]
    redactions: list[Redaction]
    dropped: list[Skipped]


def load(config: CorpusConfig, policy: Literal["redact", "drop", "fail"], root: Path, report: Reporter,
         own: Iterable[Path] = ()) -> Corpus:
    """Reads the corpus. Raises UsageError where it is missing or empty, StageFailed where secrets must not be there."""
    walked = walk(config, root, own)
    documents: list[Document] = []
    redactions: list[Redaction] = []
    dropped: list[Skipped] = []
    for done, file in enumerate(walked.files):
        document, findings = _document(file)
        redactions += [Redaction(file.relative, finding.line, finding.kind) for finding in findings]
        if findings and policy == "drop":
            dropped.append(Skipped(file.relative, f"holds {len(findings)} secrets; dataset.secrets is drop"))
        else:
            documents.append(document)
        for note in document.notes:
            report.warn(f"{file.relative}: {note}")
        report.progress("reading", done + 1, len(walked.files), "files")
    if redactions and policy == "fail":
        listed = "\n  ".join(f"{r.path}:{r.line}: {r.kind}" for r in redactions[:SHOWN])
        raise StageFailed(f"{len(redactions)} secrets in the corpus:\n  {listed}",
                          fix="remove them, or --set dataset.secrets=redact")
    if not documents:
        raise StageFailed(f"every document was dropped for its secrets: {', '.join(s.path for s in dropped[:SHOWN])}",
                          fix="--set dataset.secrets=redact")
    return Corpus(documents, walked.skipped, redactions, dropped)


def _document(file: File) -> tuple[Document, list[secrets.Finding]]:
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise StageFailed(f"{file.relative} could be opened but not read: {error.strerror}",
                          fix="check the file, or leave it out with corpus.exclude") from None
    text, offsets, notes = decode(data)
    findings = secrets.scan(text)
    if findings:
        text, offsets = secrets.redact(text, offsets, findings)
    read = structure(file.name, text)
    title = read.title or _title(file.name)
    return Document(file.relative, file.name, sha256_bytes(data), text, title, read.blocks, offsets, notes), findings


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
    prose = path.suffix in (".md", ".markdown", ".txt", ".rst")
    return re.sub(r"[_-]+", " ", path.stem).strip() if prose else path.name
