"""forge init: what was found in the folder, said."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phoenix_forge.cli.planning import duration
from phoenix_forge.core.fsio import human
from phoenix_forge.corpus import exclusions
from phoenix_forge.corpus.walk import Skipped
from phoenix_forge.project.init import (
    Survey,
    counted,
    look,
    place,
    training_seconds,
    way_to_read,
    write_config,
)
from phoenix_forge.project.project import Project

PLACES = 3  # that are named of what is left out for one reason
LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def init(folder: Path, force: bool) -> tuple[dict[str, Any], str]:
    """Writes the config; returns what was found as data and as text."""
    place(folder, force)
    found = look(folder.resolve())
    path, text = write_config(folder, force, found)
    result: dict[str, Any] = {
        "path": str(path),
        "documents": len(found.files),
        "bytes": found.size,
        "kinds": dict(found.kinds.most_common()),
        "languages": dict(found.languages.most_common()),
        "held": {
            kind: {"total": total, "read": read} for kind, (total, read) in found.held.items()
        },
        "missing": {extra: len(files) for extra, files in found.missing.items()},
        "left_out": [{"path": each.path, "reason": each.reason} for each in found.left_out],
    }
    if found.files:
        result["seconds"] = training_seconds(Project.open(path.parent).context(), found)
        end = [f"wrote {path}; next: forge plan, then forge run"]
    else:
        result["fix"] = way_to_read(found)
        end = [
            f"wrote {path}, but nothing here can be read yet",
            f"fix: {result['fix']}; then forge plan",
        ]
    return result, "\n".join([text, *_told(found, result.get("seconds")), *end])


def _told(found: Survey, seconds: int | None) -> Iterator[str]:
    """Lines about what was found."""
    yield f"documents: {len(found.files):,} ({counted(found.kinds, 12) or 'none'}), {human(found.size)}"
    if found.languages:
        named = Counter({LANGUAGES.get(code, code): n for code, n in found.languages.items()})
        yield f"languages: {counted(named, 6)}" + (
            f" (of {found.languages.total()} that were opened)"
            if found.languages.total() < len(found.files)
            else ""
        )
    if found.held:
        yield f"in the {found.opened:,} that were opened: {'; '.join(_held(*each) for each in found.held.items())}"
    for extra, files in found.missing.items():
        kinds = counted(Counter(file.path.suffix.lower() for file in files), 6)
        yield f"not read yet: {kinds}; fix: pip install 'phoenix-forge[{extra}]'"
    groups: dict[str, list[Skipped]] = {}
    for each in found.left_out:
        groups.setdefault(each.reason.partition(":")[0], []).append(each)
    for group in sorted(groups.values(), key=len, reverse=True):
        yield f"left out: {_group(group)}"
    if seconds is not None:
        yield f"time: training takes about {duration(seconds)} here, by the documents' size; forge plan says more"


def _held(kind: str, counts: tuple[int, int]) -> str:
    """How many pages, equations, pictures and the like there are, and how many of them gave no text."""
    total, read = counts
    number = f"{total:,} {kind}" if total > 1 else f"1 {kind[:-1]}"
    if kind == "pictures":
        return f"{number}, of which only the words beside them are known"
    return number + (f", {total - read:,} without text" if total > read else "")


def _group(group: list[Skipped]) -> str:
    """Files that are left out for one reason, some of them by name."""
    before, _, detail = group[0].reason.partition(": ")
    counted = bool(re.fullmatch(r"[\d,]+ files?", detail))  # whole folders, with what they hold
    same = all(each.reason == group[0].reason for each in group)
    shown = [
        f"{each.path} ({each.reason.rpartition(': ')[2]})"
        if counted or (detail and not same)
        else each.path
        for each in group[:PLACES]
    ]
    places = ", ".join(shown) + (", …" if len(group) > PLACES else "")
    reason = group[0].reason if same and not counted else before
    lifted = sorted(
        {exclusions.lift(each.path) for each in group if exclusions.is_liftable(each.reason)} - {""}
    )
    read = (
        f"; exclude: [{', '.join(map(repr, lifted[:PLACES]))}] in forge.yaml reads them"
        if lifted
        else ""
    )
    return f"{len(group):,} × {reason}: {places}{read}"
