"""Files and folders that are either whole or absent, and their digests."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from phoenix_forge.errors import EnvironmentProblem, UsageError

CHUNK = 1 << 20
# Most bytes of a model folder's small files: the index of the largest models has 9 MB, the largest tokenizer.json 35.
JSON_LIMIT, TOKENIZER_LIMIT = 16_000_000, 64_000_000
PARTIAL = (
    ".partial"  # suffix of everything unfinished; nothing that ends in it is ever read as a result
)


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


def open_own(path: Path, mode: str, **options: Any) -> IO:
    """Opens a file of Forge's own for writing. Raises UsageError where a link or a pipe lies in its place, which a
    folder from elsewhere may bring along: what is written would go into any file of the user's, or nowhere."""
    try:
        return open(path, mode, opener=_no_link, **options)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise UsageError(
            f"{path} is a link or a pipe, and Forge writes through none",
            fix=f"rm {path}; where you did not make it, distrust the folder",
        ) from None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def inside(path: Path, folder: Path) -> bool:
    """Whether `path`, all links followed, lies in `folder`; neither has to exist."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def sync_tree(path: Path) -> None:
    """Flushes a file, or every file of a folder and the folder itself, to the disk."""
    for item in [path, *path.rglob("*")] if path.is_dir() else [path]:
        descriptor = os.open(item, os.O_RDONLY)
        try:
            with naming(item):
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
def naming(path: Path, needed: int = 0) -> Iterator[None]:
    """Errors of the system in this block name `path`: those of an open handle say neither file nor folder.

    Raises EnvironmentProblem where its disk is full; `needed` are the bytes that the file will have, where known.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(Path(error.filename or path), needed, error) from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


FULL = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
)  # EFBIG: `ulimit -f`, or a file system of small files
_WHY = {
    errno.ENOSPC: "the disk of {} is full",
    errno.EDQUOT: "the disk quota in {} is used up",
    errno.EFBIG: "files in {} may not become so large (ulimit -f, or the kind of file system)",
}


def unread(error: OSError, path: Path, otherwise: str) -> str:
    """The way out where a file that somebody named cannot be read: `otherwise`, unless it is there and kept from us."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"chmod u+r {path}; ls -ld {path} says whose it is"
    return otherwise


def disk_full(path: Path, needed: int = 0, error: OSError | None = None) -> EnvironmentProblem:
    """Says of a file, or a folder of files, that could not be written whole what is there, needed and free."""
    code = error.errno if error and error.errno in _WHY else errno.ENOSPC
    with contextlib.suppress(OSError):
        return _full(
            path,
            needed,
            code,
            sum(p.stat().st_size for p in files_below(path) if p.exists()),
            free_bytes(path),
        )
    return _full(path, needed, code, 0, 0)


def _full(path: Path, needed: int, code: int, there: int, free: int) -> EnvironmentProblem:
    wanted = (
        f"needs {human(needed)}, of which {human(there)} are there"
        if needed
        else f"ended after {human(there)}"
    )
    lacking = human(needed - there - free) if needed > there + free else "some space"
    fix = (
        "ulimit -f unlimited, or choose another disk with --workspace"
        if code == errno.EFBIG
        else f"free {lacking} there, or choose another disk with --workspace"
    )
    return EnvironmentProblem(
        f"{_WHY[code].format(path.parent)}: {path.name} {wanted}; {human(free)} are free", fix=fix
    )


def as_umask_says(path: Path) -> None:
    """Gives a file that a library made for its owner alone the rights of one that is simply opened."""
    probe = partial_path(path.with_name(f"{path.name}.mode"))
    remove(probe)
    probe.touch()
    try:
        path.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()


@contextlib.contextmanager
def atomic_file(destination: Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a staged file for writing and publishes it when the block ends without an error."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(destination)
    try:
        if staged.is_symlink():
            staged.unlink()
        with (
            naming(destination),
            open_own(staged, mode, encoding=None if "b" in mode else "utf-8") as handle,
        ):
            yield handle
        publish(staged, destination)
    finally:
        remove(staged)  # still there only if the block or the publishing failed


def write_text(destination: Path, text: str) -> None:
    with atomic_file(destination, "w") as handle:
        handle.write(text)


def write_json(destination: Path, value: object) -> None:
    """Indented, keys in the order given, one newline at the end: stable bytes for equal values."""
    write_text(
        destination, _encoded(json.dumps(value, indent=2, ensure_ascii=False)).decode() + "\n"
    )


def _encoded(text: str) -> bytes:
    """JSON in UTF-8. A file's name that is not UTF-8 holds halves of surrogate pairs: as `\\udce9`, which JSON reads
    back as it was."""
    return text.encode("utf-8", "backslashreplace")


def read_limited(
    path: Path,
    limit: int,
    fix: str = "fetch it again from a source you trust: forge download --force",
) -> bytes:
    """A file that is read at once. Raises UsageError where it is larger than such files are, or no file (a pipe would
    never end), before any of it is read; FileNotFoundError where there is nothing."""
    size = path.stat().st_size
    if not path.is_file():
        raise UsageError(
            f"{path} is no file, but a directory or a pipe", fix="put a file there, or name one"
        )
    if size > limit:
        raise UsageError(
            f"{path} has {human(size)}; of such a file no more than {human(limit)} are read",
            fix=fix,
        )
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
    return sha256_bytes(
        _encoded(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    )


def files_below(path: Path) -> list[Path]:
    """Every finished regular file below a folder, sorted by path; the file itself if `path` is one."""
    if not path.is_dir():
        return [path]
    return sorted(
        p
        for p in path.rglob("*")
        if p.is_file() and not any(part.endswith(PARTIAL) for part in p.relative_to(path).parts)
    )


def _absolute(path: Path) -> str:
    """Links are not followed, which for a thousand files takes longer than to look at them."""
    return os.path.abspath(path)  # noqa: PTH100


def _mark(path: Path) -> list[int]:
    """What a file's change shows in: a write that keeps size and time (`touch -r`, `cp -p`) moves the change time, and
    a file put in its place has another number."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


class DigestCache:
    """SHA-256 of files, remembered by size, modification and change time and inode, so that 15 GB are not read to see
    that nothing changed. What a disk did to a file without the system's knowledge shows only when it is read again:
    after forget()."""

    def __init__(self, store: Path) -> None:
        self.store = store
        known = read_sealed(store)
        self._known: dict[str, list] = (
            known if isinstance(known, dict) else {}
        )  # losing it costs time alone
        self._changed = False

    def file(self, path: Path) -> str:
        key, mark = _absolute(path), _mark(path)
        known = self._known.get(key)
        if known and known[:-1] == mark:
            return known[-1]
        with naming(path):
            digest = sha256_file(path)
        if _mark(path) == mark:  # else somebody is writing to it
            self._known[key] = [*mark, digest]
            self._changed = True
        return digest

    def tree(self, path: Path) -> str:
        """Digest of a folder's file names and contents, or of a single file's content."""
        if not path.is_dir():
            return self.file(path)
        return sha256_json([[str(p.relative_to(path)), self.file(p)] for p in files_below(path)])

    def forget(self, path: Path | None = None) -> None:
        """What is asked for next is read from the disk: of a file or folder, or of everything."""
        for key in self._below(path) if path else list(self._known):
            del self._known[key]

    def moved(self, old: Path, new: Path) -> None:
        """Carries what is known of `old`, a file or folder, over to `new`, which it was renamed to."""
        for key in self._below(old):
            name = _absolute(new) + key[len(_absolute(old)) :]
            known, mark = self._known.pop(key), _mark(Path(name))
            if [known[0], known[1], known[3]] == [
                mark[0],
                mark[1],
                mark[3],
            ]:  # renaming moves the change time alone
                self._known[name] = [*mark, known[-1]]
            self._changed = True

    def _below(self, path: Path) -> list[str]:
        key = _absolute(path)
        return [k for k in self._known if k == key or k.startswith(f"{key}/")]

    def save(self) -> None:
        """Keeps what is known, where the workspace may be written to."""
        if self._changed:
            with contextlib.suppress(OSError, EnvironmentProblem):
                write_sealed(self.store, self._known)
            self._changed = False


def write_sealed(destination: Path, value: object) -> None:
    """JSON with its digest, for what is used again without being made again: read_sealed() sees a flipped bit."""
    write_text(
        destination, _encoded(json.dumps({"sha256": sha256_json(value), "value": value})).decode()
    )


def read_sealed(path: Path) -> Any:
    """What write_sealed() wrote, or None where it is missing, cannot be read, or is not as it was written."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != {"sha256", "value"}:
        return None
    return found["value"] if found["sha256"] == sha256_json(found["value"]) else None


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
            fix=f"free {human(wanted - free)} there, or choose another disk with --workspace",
        )
