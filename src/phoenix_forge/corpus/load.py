"""One file → one document: decoded or extracted, secrets handled, structure read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from phoenix_forge.core.fsio import sha256_bytes
from phoenix_forge.corpus import encodings, holdings, legible, secrets
from phoenix_forge.corpus.document import Document, Held, cut
from phoenix_forge.corpus.guarded import Limits, Pool
from phoenix_forge.corpus.readers import (
    Unreadable,
    extract,
    extracts,
    hidden,
    recognises,
    structure,
)
from phoenix_forge.corpus.walk import File
from phoenix_forge.errors import StageFailed

PROSE = {
    ".md",
    ".markdown",
    ".mdx",
    ".qmd",
    ".rmd",
    ".txt",
    ".text",
    ".rst",
    ".rest",
    ".adoc",
    ".asciidoc",
    ".asc",
    ".org",
    ".tex",
    ".html",
    ".htm",
    ".docx",
    ".pdf",
    ".ipynb",
    ".pptx",
    ".xlsx",
    ".ods",
    ".odt",
    ".odp",
    ".eml",
    ".mbox",
    ".epub",
    ".rtf",
    ".srt",
    ".vtt",
    ".xls",
    ".xlsb",
    ".doc",
    ".ppt",
    ".mhtml",
    ".mht",
    ".webarchive",
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".webp",
    ".bmp",
}
LETTER = re.compile(r"[^\W\d_]")
RETURNS = re.compile(r"\r+(\n)?")
RECOGNISING = 60  # times as long as a file's text may take, where text in images is recognised


@dataclass(frozen=True)
class Loaded:
    """`document` is None where the file cannot be one, or the secrets policy keeps it out; `skipped` says why. `held`
    counts pages, equations, pictures and the like in the file, whether it became a document or not."""

    document: Document | None
    sha256: str
    findings: list[secrets.Finding]
    skipped: str | None = None
    held: tuple[Held, ...] = ()


Policy = Literal["redact", "drop", "fail"]


def load_all(files: Sequence[File], policy: Policy, workers: int = 1) -> Iterator[Loaded]:
    """Each file's `load`, in their order, in processes of their own: what takes too long or too much, or ends its
    process, is left out with the reason. `sha256` is then empty."""
    with closing(Pool(workers, str, (policy,))) as pool:
        yield from pool.map(
            _load, zip(files), limits, lambda lost, _: Loaded(None, "", [], lost.reason)
        )


def _load(policy: Policy, file: File) -> Loaded:
    return load(file, policy)


def limits(file: File, _: bytes | None = None) -> Limits:
    """What reading a file may take. A page that is an image takes seconds, however few bytes it has."""
    limit = Limits.of(file.size)
    return Limits(limit.seconds * RECOGNISING, limit.memory * 2) if recognises(file.name) else limit


def load(
    file: File, policy: Policy, data: bytes | None = None, *, personal: bool = False
) -> Loaded:
    """Reads a file, or takes its bytes. Under the policy `fail` its findings are the caller's to refuse; `personal`
    data count among them where asked for.

    Of a format that is extracted (a Word file, say), byte offsets count in the UTF-8 form of the extracted text.
    """
    data = read(file) if data is None else data
    digest = sha256_bytes(data)
    try:
        text, offsets, notes = _extracted(file.name, data) if extracts(file.name) else decode(data)
    except Unreadable as problem:
        fix = f"; fix: {problem.fix}" if problem.fix else ""
        return Loaded(
            None, digest, [], f"{problem.message}{fix}", holdings.counted(file.name, data, problem)
        )
    held = holdings.counted(file.name, data, text)
    whole = text = str(text)
    text, offsets = _visible(file, text, offsets)
    if not text.strip() and whole.strip():
        return Loaded(
            None,
            digest,
            [],
            "holds nothing that is shown: comments, settings or pictures alone",
            held,
        )
    notes = (*notes, *legible.hidden(text, whole))
    findings = secrets.scan(text, personal=personal)
    if findings and text is not whole:
        findings = _placed(findings, offsets, whole.encode())
    if findings and policy == "drop":
        return Loaded(
            None, digest, findings, f"holds {len(findings)} secrets; dataset.secrets is drop", held
        )
    if findings:
        text, offsets = secrets.redact(text, offsets, findings)
    gated = legible.gated(text, offsets, whole)
    if gated.fault:
        return Loaded(None, digest, findings, gated.fault, held)
    text, offsets, notes = gated.text, gated.offsets, (*notes, *gated.notes)
    outline = structure(file.name, text)
    title = outline.title or _title(file.name)
    document = Document(
        file.relative, file.name, digest, text, title, outline.blocks, offsets, notes
    )
    return Loaded(document, digest, findings, held=held)


def read(file: File) -> bytes:
    """The file's bytes. Raises StageFailed where it cannot be read."""
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise StageFailed(
            f"{file.relative} could be opened but not read: {error.strerror}",
            fix="check the file, or leave it out with corpus.exclude",
        ) from None


def _extracted(name: str, data: bytes) -> tuple[str, np.ndarray, tuple[str, ...]]:
    text = extract(name, data)
    return text, _offsets(text, 0), getattr(text, "notes", ())


def decode(data: bytes) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Text, the byte where each character starts (and the end), and what had to be assumed.

    The line ends of old Macs become those of today, in the same place.
    """
    decoded = encodings.decode(data)
    text = RETURNS.sub(_line_end, decoded.text) if "\r" in decoded.text else decoded.text
    return text, _offsets(text, decoded.skip), (decoded.note,) if decoded.note else ()


def _line_end(match: re.Match[str]) -> str:
    """Characters keep their number, so that they keep their places."""
    return match[0] if match[1] else "\n" * len(match[0])


def _visible(file: File, text: str, offsets: np.ndarray) -> tuple[str, np.ndarray]:
    cuts = hidden(file.name, text, file.given)
    return cut(text, offsets, cuts) if cuts else (text, offsets)


def _placed(
    findings: list[secrets.Finding], offsets: np.ndarray, data: bytes
) -> list[secrets.Finding]:
    """Findings in a text that something was cut out of, with the lines of the file."""
    return [
        replace(finding, line=data.count(b"\n", 0, int(offsets[finding.start])) + 1)
        for finding in findings
    ]


def _offsets(text: str, base: int) -> np.ndarray:
    if text.isascii():
        return np.arange(base, base + len(text) + 1, dtype=np.int64)
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = np.ones(len(points), np.uint8)
    for least in (0x80, 0x800, 0x10000):  # from which UTF-8 takes a byte more
        widths += points >= least
    offsets = np.empty(len(points) + 1, np.int64)
    offsets[0] = base
    np.cumsum(widths, out=offsets[1:])
    offsets[1:] += base
    return offsets


def _title(name: str) -> str:
    """A file's name as words: `getting_started.md` → getting started; code, and what has no letters, keeps its name."""
    path = PurePosixPath(name)
    prose = path.suffix.lower() in PROSE and LETTER.search(path.stem)
    return re.sub(r"[_-]+", " ", path.stem).strip() if prose else path.name
