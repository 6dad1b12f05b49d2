"""Files that are one document: what some of them define is said in others (a book's terms, a paper's own commands).

A document's files are those in and below the folder of its main file, which names its class; without one, a folder's.
Several main files in a folder are papers of their own: what one of them defines is said in it alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import defined, together

LONGEST = 500_000  # characters of definitions that a file is given
# A part that can also be set by itself names its class, too, and is no document of its own.
MAIN = re.compile(
    r"(?m)^[^%\n]*\\documentclass(?!\s{0,9}(?:\[[^\[\]]{0,200}\]\s{0,9})?\{(?:subfiles|standalone)\})"
)


def given(names: Mapping[Path, str]) -> dict[Path, str]:
    """Of files, which come with their names, those that others of the same document define something for, with these
    definitions. The files of such documents are read for it."""
    texts = {path: _text(path) for path, name in names.items() if together(name)}
    mains = {path for path, text in texts.items() if MAIN.search(text)}
    folders = {path.parent for path in mains}
    documents: dict[Path, list[Path]] = defaultdict(list)
    for path in texts:
        above = (at for at in path.parents if at in folders)
        documents[next(above, path.parent)].append(path)
    made: dict[Path, str] = {}
    for group in documents.values():
        said = {path: defined(names[path], texts[path]) for path in group}
        several = len(mains.intersection(group)) > 1
        shared = [path for path in group if not several or path not in mains]
        whole = "\n".join(filter(None, map(said.__getitem__, shared)))[:LONGEST]
        made |= {path: whole for path in group if whole and said[path] != whole}
    return made


def _text(path: Path) -> str:
    """What it says; "" for one that cannot be read, which is told where it is to be."""
    try:
        return encodings.decode(path.read_bytes()).text
    except OSError:
        return ""
