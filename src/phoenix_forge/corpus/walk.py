"""Which files are the corpus. What is left out for another reason than the user's own patterns is listed, with why.

Paths are strings in here: arithmetic on Path objects is what a walk would otherwise spend its time on.
"""
# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH113, PTH114, PTH116, PTH118, PTH120

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pathspec

from phoenix_forge.core.config import CorpusConfig
from phoenix_forge.core.fsio import PARTIAL, human
from phoenix_forge.core.git import git
from phoenix_forge.corpus import companions, exclusions
from phoenix_forge.corpus.encodings import utf16
from phoenix_forge.corpus.readers import extracts
from phoenix_forge.corpus.sources import Sources, read_sources
from phoenix_forge.errors import UsageError

SNIFF = 8192  # bytes looked at to tell text from binary, as git does
# The workspace's own artifacts and settings, at its root; a corpus that holds them would teach a model its own output.
ARTIFACTS = ("models", "outputs", "dataset_package", ".forge", "logs", "forge.yaml", ".env")
# Folders of tools: never documents, and outside git nothing else says so.
TOOL_FOLDERS = {
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    "node_modules",
    "__pycache__",
    ".tox",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
}
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Bytes of a file at most, where corpus.max_bytes says nothing: of a text, and of a file that a text is extracted from.
LARGEST_TEXT, LARGEST_EXTRACTED = 5_000_000, 100_000_000
EVERYWHERE = [
    "."
]  # corpus.roots as it comes; a list of sources takes its place, and adds to any other

Rules = list[
    tuple[str, pathspec.GitIgnoreSpec]
]  # a folder, with a separator at its end, and its .gitignore


@dataclass(frozen=True, slots=True)
class File:
    """`relative` is shown and recorded (from the workspace); `name` is what people call it (from its corpus root).

    `size` in bytes is that of the walk. `given` is what other files of the same document define
    (`phoenix_forge.corpus.companions`).
    """

    path: Path
    relative: str
    name: str
    size: int = 0
    given: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    path: str
    reason: str


class Walked(NamedTuple):
    """`notices` are what the user should know of the list of sources."""

    files: list[File]
    skipped: list[Skipped]
    notices: list[str]


class _Root(NamedTuple):
    """Where to look, and the folder from which its files are named."""

    start: str
    base: str


def walk(config: CorpusConfig, root: Path, own: Iterable[Path] = ()) -> Walked:
    """What `survey` finds. Raises UsageError also for an empty corpus."""
    walked = survey(config, root, own)
    if not walked.files:
        raise _empty(config, walked.skipped)
    return walked


def survey(config: CorpusConfig, root: Path, own: Iterable[Path] = ()) -> Walked:
    """The corpus's readable files, ordered by path, and what was skipped.

    `root` is the workspace; `own` are further artifacts of it. Raises UsageError for a missing root, or a list of
    sources that cannot be followed. A symlink is never read through: its target may lie outside the corpus,
    or be ignored; where it lies inside it is read there.
    """
    home = os.path.abspath(root)
    sources = (
        read_sources(Path(home) / Path(config.manifest).expanduser(), Path(home))
        if config.manifest
        else None
    )
    left_out = _left_out(config, sources, home, own)
    files: dict[str, File] = {}
    skipped: dict[str, Skipped] = {}
    outputs: Counter[Skipped] = Counter()
    seen: set[str] = set()
    for start, base in _roots(config, sources, home):
        real = os.path.realpath(start)
        excluded = exclusions.Exclusions(start)
        ahead = _ahead(start, home)
        named_ahead = _ahead(start, base)
        for below in sorted(_listed(start, home)):
            at, name, path = _join(start, below), _join(named_ahead, below), _join(ahead, below)
            identity = _join(real, below)
            if identity in seen or (wanted := left_out(at, name, path)) is True:
                continue
            seen.add(identity)
            why = excluded.of(below) if wanted is None and below else None
            if why and why.folder:
                outputs[Skipped(_writable(_join(ahead, why.folder)) + "/", why.reason)] += 1
                continue
            status, reason = (
                (None, why.reason) if why else _fitness(at, real, config.max_bytes, bool(below))
            )
            if reason or not status:
                skipped.setdefault(path, Skipped(_writable(path), reason))
            else:
                files[path] = File(Path(at), _writable(path), _writable(name), status.st_size)
    skipped |= {
        folder.path: replace(folder, reason=f"{folder.reason}: {_files(count)}")
        for folder, count in outputs.items()
    }
    given = companions.given({file.path: file.name for file in files.values()})
    files |= {
        path: replace(file, given=given[file.path])
        for path, file in files.items()
        if file.path in given
    }
    return Walked(
        [files[key] for key in sorted(files)],
        [skipped[key] for key in sorted(skipped)],
        sources.notices if sources else [],
    )


def ignored(config: CorpusConfig, root: Path, own: Iterable[Path] = ()) -> list[Skipped]:
    """What .gitignore leaves out below the roots, counted by the folder at their top; no artifacts and tools' folders.

    Walks the whole tree. Raises as `survey` does.
    """
    home = os.path.abspath(root)
    sources = (
        read_sources(Path(home) / Path(config.manifest).expanduser(), Path(home))
        if config.manifest
        else None
    )
    left_out = _left_out(config, sources, home, own)
    counts: Counter[str] = Counter()
    for start, _ in _roots(config, sources, home):
        listed = set(_listed(start, home))
        unlisted = _unlisted(start, listed) if os.path.isdir(start) else []
        ahead = _ahead(start, home)
        for below in unlisted:
            path = _join(ahead, below)
            if left_out(_join(start, below), below, path) is not True:
                counts[_join(ahead, f"{below.partition('/')[0]}/" if "/" in below else "")] += 1
    return [
        Skipped(_writable(top) or "./", f".gitignore leaves it out: {_files(count)}")
        for top, count in sorted(counts.items())
    ]


def _unlisted(start: str, listed: set[str]) -> Iterator[str]:
    """Files below a folder that are not listed; nothing below what is listed as a folder, and is not walked."""
    for folder, folders, names in os.walk(start):
        ahead = _ahead(folder, start)
        folders[:] = [
            name
            for name in folders
            if name not in TOOL_FOLDERS
            and _join(ahead, name) not in listed
            and f"{_join(ahead, name)}/" not in listed
        ]
        yield from (below for name in names if (below := _join(ahead, name)) not in listed)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _writable(name: str) -> str:
    """A file's name as text that can be written: the bytes of one that is not UTF-8 as `\\xe9`."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def _empty(config: CorpusConfig, skipped: list[Skipped]) -> UsageError:
    why = "\n  ".join(f"{s.path}: {s.reason}" for s in skipped[:20])
    where = ", ".join([*config.roots, *([config.manifest] if config.manifest else [])])
    return UsageError(
        f"the corpus is empty: nothing readable in {where}"
        + (f"; skipped {len(skipped)}:\n  {why}" if skipped else ""),
        fix=way_out(skipped),
    )


def way_out(skipped: list[Skipped]) -> str:
    """What may be done where no file can be read."""
    if not skipped:
        return (
            "put documents there, or name their folder in corpus.roots; .gitignore, corpus.include and "
            "corpus.exclude leave files out, too"
        )
    reasons = Counter(s.reason.partition(":")[0] for s in skipped)
    most = next(s for s in skipped if s.reason.startswith(reasons.most_common(1)[0][0]))
    lifted = exclusions.lift(most.path)
    if lifted:
        return f"to read them all the same: --set 'corpus.exclude=[\"{lifted}\"]'"
    return f"{most.path}: {most.reason}; or name a folder with other documents in corpus.roots"


def _roots(config: CorpusConfig, sources: Sources | None, home: str) -> list[_Root]:
    """Sources of a list keep their path in the repository as their name: `ADRs/001.md`, not `001.md`."""
    roots = []
    for entry in [] if sources and config.roots == EVERYWHERE else config.roots:
        start = os.path.normpath(os.path.join(home, os.path.expanduser(entry)))
        if not os.path.exists(start):
            raise UsageError(
                f"corpus.roots: {entry!r} does not exist (looked for {start})",
                fix="name an existing folder: --set 'corpus.roots=[docs]'",
            )
        roots.append(_Root(start, start if os.path.isdir(start) else os.path.dirname(start)))
    for entry in sources.roots if sources else []:
        start = os.path.normpath(os.path.join(home, entry))
        inside = start == home or start.startswith(_folder(home))
        roots.append(_Root(start, home if inside else os.path.dirname(start)))
    return roots


def _folder(path: str) -> str:
    return path if path.endswith("/") else path + "/"


def _join(ahead: str, below: str) -> str:
    return f"{_folder(ahead)}{below}" if ahead and below else ahead or below


def _ahead(start: str, base: str) -> str:
    """How `start` is reached from `base`; empty where it is the same."""
    relative = os.path.relpath(start, base).replace(os.sep, "/")
    return "" if relative == "." else relative


def _left_out(
    config: CorpusConfig, sources: Sources | None, home: str, own: Iterable[Path]
) -> Callable[[str, str, str], bool | None]:
    """Whether the user, or Forge itself, wants a file kept out: nothing that needs saying. False where the user takes
    it in by name, whatever it is (`!*.svg`); None where nobody says anything."""
    include = pathspec.GitIgnoreSpec.from_lines(config.include) if config.include else None
    exclude = pathspec.GitIgnoreSpec.from_lines(
        [*config.exclude, *(sources.exclude if sources else [])]
    )
    regexes = [re.compile(pattern) for pattern in (sources.exclude_regex if sources else [])]
    artifacts = {_join(home, name) for name in ARTIFACTS} | {os.path.abspath(path) for path in own}
    below = tuple(sorted(path + "/" for path in artifacts))

    def left_out(at: str, name: str, path: str) -> bool | None:
        if at in artifacts or at.startswith(below) or at.endswith(PARTIAL):
            return True
        decided = {exclude.check_file(each).include for each in {name, path}} if exclude else {None}
        if True in decided or any(
            r.search(path) or r.search(path.rpartition("/")[2]) for r in regexes
        ):
            return True
        if include and not (include.match_file(name) or include.match_file(path)):
            return True
        return False if False in decided else None

    return left_out


def _fitness(
    at: str, root: str, max_bytes: int | None, inside: bool
) -> tuple[os.stat_result | None, str]:
    """A file's status, and why it cannot be a document, or nothing. `inside`: found below a root, not named as one."""
    if exclusions.is_secret(at):
        return None, exclusions.SECRET
    try:
        status = os.stat(at, follow_symlinks=not inside)
        reason = _link(at, root) if stat.S_ISLNK(status.st_mode) else _unfit(at, status, max_bytes)
    except FileNotFoundError:
        return None, "gone, or not a regular file"
    except OSError as error:
        return None, f"unreadable: {error.strerror}"
    return status, reason


def _link(at: str, root: str) -> str:
    target = os.path.realpath(at)
    if not os.path.exists(target):
        return "dangling symlink"
    if target != root and not target.startswith(_folder(root)):
        return "a symlink that leads out of its corpus root"
    return "a symlink: its target is read where it lies, unless it is left out there"


def _unfit(at: str, status: os.stat_result, max_bytes: int | None) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "a folder that is not walked (another repository or a tool's folder)"
    if not stat.S_ISREG(status.st_mode):
        return "gone, or not a regular file"
    with open(at, "rb", buffering=0) as handle:
        head = handle.read(SNIFF)
    if reason := _too_large(at, status.st_size, max_bytes):
        return reason
    if not head.strip():
        return "empty" if status.st_size <= SNIFF else ""
    if b"\0" in head and not head.startswith(UTF16) and not utf16(head) and not extracts(at):
        return exclusions.by_bytes(at)
    return ""


def _too_large(at: str, size: int, max_bytes: int | None) -> str:
    if max_bytes:
        return (
            f"too large: {human(size)}, corpus.max_bytes is {human(max_bytes)}"
            if size > max_bytes
            else ""
        )
    most, kind = (LARGEST_EXTRACTED, "document") if extracts(at) else (LARGEST_TEXT, "text file")
    return (
        f"too large: {human(size)}; a {kind} has {human(most)} at most, unless corpus.max_bytes says more"
        if size > most
        else ""
    )


def _listed(start: str, home: str) -> Iterable[str]:
    """Files below `start` that ignore rules leave: git's own where there is a work tree, else .gitignore files.

    Relative to `start`, with `/`; one empty name where `start` is itself a file.
    """
    if os.path.isfile(start):
        return [""]
    listed = _git(start)
    return _walk(_folder(start), "", _above(start, home)) if listed is None else listed


def _git(start: str) -> list[str] | None:
    """What git lists below a folder; None where there is no git, no work tree, or the folder itself is ignored.

    A submodule that is checked out is listed as the repository that it is (`--recurse-submodules` knows no `-o`).
    """
    listing = git(start, "ls-files", "-co", "--exclude-standard", "--deduplicate", "-z")
    if listing is None or git(start, "check-ignore", "-q", ".") is not None:
        return None
    names = [os.fsdecode(name) for name in listing.split(b"\0") if name]
    stays: dict[str, bool] = {}
    return [
        below
        for name in names
        if _stays(start, name.rstrip("/").rpartition("/")[0], stays)
        for below in _with_submodule(start, name)
    ]


def _stays(start: str, ahead: str, cache: dict[str, bool]) -> bool:
    """Whether the folder `ahead` lies below `start`. A forged index has names like `../x`, and names below what is a
    link by now; git lists both."""
    if not ahead:
        return True
    if ahead not in cache:
        above, _, name = ahead.rpartition("/")
        cache[ahead] = (
            name not in ("", ".", "..", ".git")
            and not os.path.islink(f"{_folder(start)}{ahead}")
            and not ahead.startswith("/")
            and _stays(start, above, cache)
        )
    return cache[ahead]


def _with_submodule(start: str, name: str) -> list[str]:
    """A name that git lists, or what the submodule of that name holds. An untracked repository ends in `/`: no part."""
    folder = f"{_folder(start)}{name}"
    if name.endswith("/") or not os.path.lexists(f"{folder}/.git") or os.path.islink(folder):
        return [name]
    inner = _git(folder)
    return [name] if inner is None else [f"{name}/{below}" for below in inner]


def _above(start: str, home: str) -> Rules:
    """Rules of the folders from the workspace down to the one above `start`, unless they would leave it out whole."""
    if not start.startswith(_folder(home)):
        return []
    names = start[len(_folder(home)) :].split("/")
    folders = [_folder("/".join([home.rstrip("/"), *names[:depth]])) for depth in range(len(names))]
    rules = [(folder, spec) for folder in folders for spec in _spec(folder)]
    return [] if _ignored(_folder(start), rules) else rules


def _spec(folder: str) -> list[pathspec.GitIgnoreSpec]:
    try:
        with open(folder + ".gitignore", encoding="utf-8", errors="replace") as handle:
            return [pathspec.GitIgnoreSpec.from_lines(handle.read().splitlines())]
    except OSError:
        return []


def _ignored(at: str, rules: Rules) -> bool:
    """The deepest .gitignore that says anything about a path decides; a later pattern of it over an earlier one."""
    for folder, spec in reversed(rules):
        decided = spec.check_file(at[len(folder) :]).include
        if decided is not None:
            return decided
    return False


def _walk(folder: str, ahead: str, rules: Rules) -> Iterator[str]:
    """Without git: every .gitignore on the way down applies below its folder. Links to folders are not followed."""
    rules = [*rules, *((folder, spec) for spec in _spec(folder))]
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        is_folder = entry.is_dir(follow_symlinks=False)
        at = f"{folder}{entry.name}"
        if (is_folder and entry.name == ".git") or _ignored(f"{at}/" if is_folder else at, rules):
            continue
        if is_folder and entry.name not in TOOL_FOLDERS and os.access(at, os.R_OK | os.X_OK):
            yield from _walk(f"{at}/", f"{ahead}{entry.name}/", rules)
        else:
            yield f"{ahead}{entry.name}"  # a folder that comes out here is listed as skipped
