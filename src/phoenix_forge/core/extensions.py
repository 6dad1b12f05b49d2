"""What a room adds to the tables of rooms below it, which do not know it: the file extensions.json in its folder.

{"dataset styles": {"plain": "phoenix_forge.room.module:NAME"}} is table → name → where the thing lies. The room that
owns a table asks for an entry by its name, and only then is the module imported. A room whose folder is not there adds
nothing, and is not missed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


@cache
def tables() -> dict[str, dict[str, str]]:
    """Every table with its entries, in the order of the rooms' names."""
    merged: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(PACKAGE.glob("*/extensions.json")):
        for table, entries in json.loads(path.read_bytes()).items():
            merged[table] |= entries
    return dict(merged)


def names(table: str) -> list[str]:
    """The names of a table's entries; none where no room adds any."""
    return list(tables().get(table, {}))


def extension(table: str, name: str) -> Any:
    """The entry itself, imported now. Raises KeyError for a name that `names` does not give."""
    module, _, attribute = tables()[table][name].partition(":")
    return getattr(import_module(module), attribute)
