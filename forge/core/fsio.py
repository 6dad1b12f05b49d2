"""Files and folders that are either whole or absent, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from forge.errors import EnvironmentProblem, UsageError

CHUNK = 1 << 20
# Most bytes of a model folder's small files: the index of the largest models has 9 MB, the largest tokenizer.json 35.
JSON_LIMIT, TOKENIZER_LIMIT = 16_000_000, 64_000_000
PARTIAL = ".partial"  # suffix of everything unfinished; nothing that ends in it is ever read as a result


def partial_path(destination: Path) -> Path:
    """The staging path beside `destination`: the same file system, so publishing is one rename."""
    return destination.parent / f".{destination.name}{PARTIAL}"


def replaced_path(destination: Path) -> Path:
    """Where publishing puts the folder that it replaces, until the new one is in place."""
    return destination.parent / f".{destination.name}.replaced{PARTIAL}"


def remove(path: Path) -> None:
    """Removes a file, link or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(path: Path) -> None:
    """Flushes a file, or every file of a folder and the folder itself, to the disk."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def publish(staged: Path, destination: Path) -> None:
    """Moves a finished file or folder to its place; a folder already there is replaced, never merged into.

    A file is replaced in one step. A folder cannot be: the old one is renamed aside first, so a kill in between leaves
    no folder at the destination rather than a mixed one.
    """
    sync_tree(staged)
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = replaced_path(destination)
    remove(aside)
    if destination.is_dir() or (destination.exists() and staged.is_dir()):
        os.rename(destination, aside)
    os.replace(staged, destination)
    remove(aside)
    descriptor = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_file(destination: Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a staged file for writing and publishes it when the block ends without an error."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(destination)
    try:
        with open(staged, mode, encoding=None if "b" in mode else "utf-8") as handle:
            yield handle
        publish(staged, destination)
    finally:
        remove(staged)  # still there only if the block or the publishing failed


def write_text(destination: Path, text: str) -> None:
    with atomic_file(destination, "w") as handle:
        handle.write(text)


def write_json(destination: Path, value: object) -> None:
    """Indented, keys in the order given, one newline at the end: stable bytes for equal values."""
    write_text(destination, _encoded(json.dumps(value, indent=2, ensure_ascii=False)).decode() + "\n")


def _encoded(text: str) -> bytes:
    """JSON in UTF-8. A file's name that is not UTF-8 holds halves of surrogate pairs: as `\\udce9`, which JSON reads
    back as it was."""
    return text.encode("utf-8", "backslashreplace")


def read_limited(path: Path, limit: int, fix: str = "fetch it again from a source you trust: forge download --force"
                 ) -> bytes:
    """A file that is read at once. Raises UsageError where it is larger than such files are, or no file (a pipe would
    never end), before any of it is read; FileNotFoundError where there is nothing."""
    size = path.stat().st_size
    if not path.is_file():
        raise UsageError(f"{path} is no file, but a directory or a pipe", fix="put a file there, or name one")
    if size > limit:
        raise UsageError(f"{path} has {human(size)}; of such a file no more than {human(limit)} are read", fix=fix)
    with open(path, "rb") as handle:
        return handle.read(limit)


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
            if on_bytes:
                on_bytes(len(block))
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Digest of a JSON value in canonical form (sorted keys, no spaces)."""
    return sha256_bytes(_encoded(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)))


def files_below(path: Path) -> list[Path]:
    """Every finished regular file below a folder, sorted by path; the file itself if `path` is one."""
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.rglob("*")
                  if p.is_file() and not any(part.endswith(PARTIAL) for part in p.relative_to(path).parts))


def _absolute(path: Path) -> str:
    """Links are not followed, which for a thousand files takes longer than to look at them."""
    return os.path.abspath(path)  # noqa: PTH100


class DigestCache:
    """SHA-256 of files, remembered by size and modification time, so that 15 GB are not read to see nothing changed."""

    def __init__(self, store: Path) -> None:
        self.store = store
        try:
            known = json.loads(store.read_text())
        except (FileNotFoundError, ValueError):
            known = None  # a cache: losing it costs time, never correctness
        self._known: dict[str, list] = known if isinstance(known, dict) else {}
        self._changed = False

    def file(self, path: Path) -> str:
        stat = path.stat()
        key, mark = _absolute(path), [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(key)
        if known and known[:2] == mark:
            return known[2]
        digest = sha256_file(path)
        self._known[key] = [*mark, digest]
        self._changed = True
        return digest

    def tree(self, path: Path) -> str:
        """Digest of a folder's file names and contents, or of a single file's content."""
        if not path.is_dir():
            return self.file(path)
        return sha256_json([[str(p.relative_to(path)), self.file(p)] for p in files_below(path)])

    def moved(self, old: Path, new: Path) -> None:
        """Carries what is known of `old` (a file or folder about to be renamed) over to `new`."""
        before, after = _absolute(old), _absolute(new)
        for key in [k for k in self._known if k == before or k.startswith(f"{before}/")]:
            self._known[after + key[len(before):]] = self._known.pop(key)
            self._changed = True

    def save(self) -> None:
        if self._changed:
            write_text(self.store, json.dumps(self._known))
            self._changed = False


def free_bytes(path: Path) -> int:
    """Free space of the file system that holds `path`, which need not exist yet."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def human(count: float) -> str:
    """Bytes as people read them, in powers of 1000 as disks are sold: 4.7 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def require_disk(path: Path, needed: int, what: str) -> None:
    """Refuses before any work when the file system of `path` has less than `needed` bytes and a 2 % margin."""
    free, wanted = free_bytes(path), int(needed * 1.02)
    if free < wanted:
        raise EnvironmentProblem(
            f"{what} needs {human(wanted)} on the disk of {path}, {human(free)} are free",
            fix=f"free {human(wanted - free)} there, or choose another disk with --workspace")
