"""Which files are the corpus. What is left out for another reason than the user's own patterns is listed, with why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pathspec

from forge.core.config import CorpusConfig
from forge.core.fsio import PARTIAL, human
from forge.errors import UsageError

SNIFF = 8192  # bytes looked at to tell text from binary, as git does
# The workspace's own artifacts and settings, at its root; a corpus that holds them would teach a model its own output.
ARTIFACTS = ("models", "outputs", "dataset_package", ".forge", "logs", "forge.yaml", ".env")
# Folders of tools: never documents, and outside git nothing else says so.
TOOL_FOLDERS = {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".mypy_cache",
                ".ruff_cache", ".pytest_cache"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class File:
    """`relative` is shown and recorded (from the workspace); `name` is what people call it (from its corpus root)."""

    path: Path
    relative: str
    name: str


@dataclass(frozen=True)
class Skipped:
    path: str
    reason: str


class Walked(NamedTuple):
    files: list[File]
    skipped: list[Skipped]


def walk(config: CorpusConfig, root: Path, own: Iterable[Path] = ()) -> Walked:
    """The corpus's readable text files, ordered by path, and what was skipped.

    `root` is the workspace; `own` are further artifacts of it. Raises UsageError for a missing root or an empty corpus.
    """
    include = pathspec.GitIgnoreSpec.from_lines(config.include) if config.include else None
    exclude = pathspec.GitIgnoreSpec.from_lines(config.exclude)
    artifacts = {root / name for name in ARTIFACTS} | set(own)
    found: dict[str, File] = {}
    skipped: dict[str, Skipped] = {}
    for entry in config.roots:
        start = Path(os.path.normpath(root / Path(entry).expanduser()))
        if not start.exists():
            raise UsageError(f"corpus.roots: {entry!r} does not exist (looked for {start})",
                             fix="name an existing folder: --set 'corpus.roots=[docs]'")
        for at in sorted(_listed(start)):
            path = Path(os.path.relpath(at, root)).as_posix()
            name = at.relative_to(start).as_posix() if at != start else at.name
            if artifacts & {at, *at.parents} or at.name.endswith(PARTIAL):
                continue
            if exclude.match_file(name) or exclude.match_file(path):
                continue
            if include and not (include.match_file(name) or include.match_file(path)):
                continue
            reason = _unfit(at, config.max_bytes)
            if reason:
                skipped[path] = Skipped(path, reason)
            else:
                found.setdefault(path, File(at, path, name))
    if not found:
        why = "\n  ".join(f"{s.path}: {s.reason}" for s in list(skipped.values())[:20])
        raise UsageError(f"the corpus is empty: nothing readable in {', '.join(config.roots)}"
                         + (f"; skipped {len(skipped)}:\n  {why}" if skipped else ""),
                         fix="check corpus.roots, corpus.include and corpus.exclude, and what .gitignore leaves out")
    return Walked([found[key] for key in sorted(found)], [skipped[key] for key in sorted(skipped)])


def _unfit(at: Path, max_bytes: int) -> str | None:
    """Why a file cannot be a document, or None."""
    if at.is_symlink() and not at.exists():
        return "dangling symlink"
    if at.is_dir():
        return "a folder that is not walked (a submodule or a tool's folder)"
    if not at.is_file():
        return "gone, or not a regular file"
    try:
        size = at.stat().st_size
        with open(at, "rb") as handle:
            head = handle.read(SNIFF)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    if size > max_bytes:
        return f"too large: {human(size)}, corpus.max_bytes is {human(max_bytes)}"
    if not head.strip():
        return "empty" if size <= SNIFF else None
    if b"\0" in head and not head.startswith(UTF16):
        return "binary"
    return None


def _listed(start: Path) -> Iterator[Path]:
    """Files below `start` that ignore rules leave: git's own where there is a work tree, else .gitignore files."""
    if start.is_file():
        yield start
        return
    listed = _git(start)
    if listed is None:
        yield from _walk(start, [])
    else:
        yield from listed


def _git(start: Path) -> list[Path] | None:
    """What git lists below a folder; None where there is no git, no work tree, or the folder itself is ignored."""
    try:
        ignored = subprocess.run(["git", "check-ignore", "-q", "."], cwd=start, capture_output=True, check=False)
        listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--deduplicate", "-z"], cwd=start,
                                 capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if listing.returncode or ignored.returncode == 0:
        return None
    return [start / os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]


def _walk(folder: Path, rules: list[tuple[Path, pathspec.GitIgnoreSpec]]) -> Iterator[Path]:
    """Without git: every .gitignore on the way down applies below its folder. Links to folders are not followed."""
    ignore_file = folder / ".gitignore"
    if ignore_file.is_file():
        lines = ignore_file.read_text(encoding="utf-8", errors="replace").splitlines()
        rules = [*rules, (folder, pathspec.GitIgnoreSpec.from_lines(lines))]
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        at = Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and entry.name == ".git":
            continue
        if any(spec.match_file(at.relative_to(base).as_posix() + ("/" if is_folder else "")) for base, spec in rules):
            continue
        if is_folder and entry.name not in TOOL_FOLDERS and os.access(at, os.R_OK | os.X_OK):
            yield from _walk(at, rules)
        else:
            yield at  # a folder that comes out here is listed as skipped
