"""A list of sources, corpus.manifest: which files and folders of a repository are for the forge.

The form is that of ingest_manifest.json in the repository of docs/workflow.md (mcp_servers/lib, read at 134bfab):
`common_content` for every consumer, `unique_forge_content` for this one, `unique_rag_content` and the like for others.
The keys that leave out are those of exclusion_manifest.json beside it, where a pattern is a regular expression on the
file's name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from phoenix_forge.core.fsio import unread
from phoenix_forge.errors import UsageError

# `base_genome` is what the workflow's documents call the common section.
INCLUDED = ("common_content", "base_genome", "unique_forge_content")
OTHERS = re.compile(r"unique_\w+_content")
# Key → how one of its entries reads as a git-style pattern.
EXCLUDED = {
    "exclude": "{}",
    "excludes": "{}",
    "exclude_patterns": "{}",
    "always_exclude_files": "{}",
    "recursive_exclude": "**/{}",
    "exclude_dir_names": "**/{}/",
}
SAID = ("description", "version", "name", "title", "comment", "last_updated")
REGEX = re.compile(r"\\|\.\*|^\^|\$$|[(|]")


@dataclass(frozen=True, slots=True)
class Sources:
    """`roots` are relative to the repository; `exclude` are git-style patterns, `exclude_regex` are searched for in a
    file's name and in its path; `notices` say what the list holds that is not read.
    """

    roots: list[str]
    exclude: list[str]
    exclude_regex: list[str]
    notices: list[str]


def read_sources(path: Path, root: Path) -> Sources:
    """Reads a list whose entries are relative to `root`. Raises UsageError with everything that is wrong with it."""
    data = _parsed(path)
    if not isinstance(data, dict):
        raise _wrong(path, [f"holds a {type(data).__name__}, not sections"])
    problems = _unknown(data)
    roots: list[str] = []
    for section in INCLUDED:
        entries = _entries(data, section, problems)
        problems += [
            f"{section}: {entry!r} does not exist (looked for {root / entry})"
            for entry in entries
            if not (root / entry).exists()
        ]
        roots += entries
    patterns, regexes = _excluded(data, problems)
    if not roots and not problems:
        problems.append("names no source in common_content or unique_forge_content")
    if problems:
        raise _wrong(path, problems)
    return Sources(list(dict.fromkeys(roots)), patterns, regexes, _notices(path, data))


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"corpus.manifest: {path} does not exist", fix="name a JSON or YAML file"
        ) from None
    except OSError as error:
        raise UsageError(
            f"corpus.manifest: {path} cannot be read: {error.strerror}",
            fix=unread(error, path, "name a JSON or YAML file"),
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"corpus.manifest: {path} is not UTF-8: {error}",
            fix=f"save {path} as UTF-8, or name another JSON or YAML file",
        ) from None
    try:
        return json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise _wrong(path, [str(error)]) from None


def _wrong(path: Path, problems: list[str]) -> UsageError:
    listed = "\n  ".join(problems)
    return UsageError(
        f"corpus.manifest: {path}:\n  {listed}",
        fix='write {"common_content": ["docs", "README.md"], "unique_forge_content": []}',
    )


def _unknown(data: dict) -> list[str]:
    keys = [*INCLUDED, *EXCLUDED, *SAID]
    close = {
        str(key): get_close_matches(str(key), keys, 1, 0.85) for key in data if key not in keys
    }
    return [
        f"unknown section {key!r}: did you mean {guess[0]!r}?"
        for key, guess in close.items()
        if guess and not OTHERS.fullmatch(key)
    ]


def _entries(data: dict, section: str, problems: list[str]) -> list[str]:
    """A section's entries, each a string or an object with `path`."""
    listed = data.get(section)
    if listed is None:
        return []
    if not isinstance(listed, list):
        problems.append(f"{section}: is a {type(listed).__name__}, not a list")
        return []
    named = [entry.get("path") if isinstance(entry, dict) else entry for entry in listed]
    problems += [
        f"{section}[{i}]: {entry!r} is neither a path nor an object with a path"
        for i, (entry, name) in enumerate(zip(listed, named, strict=True))
        if not (isinstance(name, str) and name.strip())
    ]
    return [name for name in named if isinstance(name, str) and name.strip()]


def _excluded(data: dict, problems: list[str]) -> tuple[list[str], list[str]]:
    patterns: list[str] = []
    regexes: list[str] = []
    for section, form in EXCLUDED.items():
        for entry in _entries(data, section, problems):
            if section == "exclude_patterns" and REGEX.search(entry):
                regexes.append(entry)
            else:
                patterns.append(form.format(entry.strip("/")) if form != "{}" else entry)
    for regex in regexes:
        try:
            re.compile(regex)
        except re.error as error:
            problems.append(f"exclude_patterns: {regex!r}: {error}")
    return patterns, regexes


def _notices(path: Path, data: dict) -> list[str]:
    others = [str(key) for key in data if OTHERS.fullmatch(str(key)) and key not in INCLUDED]
    unread = [str(key) for key in data if key not in (*INCLUDED, *EXCLUDED, *SAID, *others)]
    notices = (
        [f"{path.name}: {', '.join(others)} is for others than the forge and is left alone"]
        if others
        else []
    )
    if unread:
        notices.append(f"{path.name}: {', '.join(unread)} means nothing here and is left alone")
    return notices
