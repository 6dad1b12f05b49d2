"""Text → structure. One file a format; a format is added as a file and a row."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import PurePosixPath

from forge.corpus.document import Structure

# File suffix → module of this package with `read(text) -> Structure`. Imported when the first such file is met.
READERS = {
    ".md": "markdown", ".markdown": "markdown", ".mdx": "markdown",
    ".py": "python", ".pyi": "python",
    ".txt": "plain", ".text": "plain", ".rst": "plain", ".log": "plain", "": "plain",
    ".json": "lines", ".jsonl": "lines", ".yaml": "lines", ".yml": "lines", ".toml": "lines", ".ini": "lines",
    ".cfg": "lines", ".csv": "lines", ".mmd": "lines", ".mermaid": "lines", ".sh": "lines", ".bash": "lines",
    ".js": "lines", ".ts": "lines", ".go": "lines", ".rs": "lines", ".java": "lines", ".c": "lines", ".h": "lines",
    ".cpp": "lines", ".hpp": "lines", ".html": "lines", ".css": "lines", ".sql": "lines", ".xml": "lines",
}


def structure(name: str, text: str) -> Structure:
    """The structure of a text by its file's suffix; text of an unknown suffix is read as plain text."""
    module = READERS.get(PurePosixPath(name).suffix.lower(), "plain")
    read: Callable[[str], Structure] = importlib.import_module(f"{__name__}.{module}").read
    return read(text)
