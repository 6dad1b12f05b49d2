"""Jupyter notebooks, format 3 and 4: cells in order as Markdown; outputs as text, images left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from forge.corpus.readers import Unreadable, markdown, writing

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
MAGIC = re.compile(r"%%(bash|sh|html|javascript|js|latex|perl|ruby|sql|writefile|cython)\b")
read = markdown.read


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is not a notebook: https://nbformat.readthedocs.io/en/latest/format_description.html"""
    try:
        book = json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable("not a notebook: no valid JSON") from None
    cells = _cells(book)
    if cells is None:
        raise Unreadable("not a notebook: no list of cells")
    language = _language(book)
    parts = [part for cell in cells if isinstance(cell, dict) for part in _cell(cell, language)]
    if not parts:
        raise Unreadable("a notebook without text")
    return "\n\n".join(parts) + "\n"


def _cells(book: Any) -> list | None:
    if not isinstance(book, dict):
        return None
    if isinstance(book.get("worksheets"), list):
        return [cell for sheet in book["worksheets"] if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    return book["cells"] if isinstance(book.get("cells"), list) else None


def _language(book: dict) -> str:
    named = book.get("metadata")
    metadata: dict = named if isinstance(named, dict) else {}
    for section, key in (("kernelspec", "language"), ("language_info", "name")):
        about = metadata.get(section)
        if isinstance(about, dict) and isinstance(about.get(key), str):
            return about[key].lower()
    return "python"


def _cell(cell: dict, language: str) -> Iterator[str]:
    source = _text(cell.get("source", cell.get("input")))
    kind = cell.get("cell_type")
    if kind == "heading" and source.strip():
        level = cell.get("level")
        yield writing.heading(level if isinstance(level, int) else 1, source)
    elif kind == "code":
        if source.strip():
            magic = MAGIC.match(source)
            yield writing.fence(source.rstrip(), magic[1] if magic and magic[1] != "writefile" else language)
        for output in cell.get("outputs") or []:
            text = _output(output) if isinstance(output, dict) else ""
            if text.strip():
                yield writing.fence(text.rstrip(), "output")
    elif source.strip():
        yield _without_attachments(source).strip("\n")


def _output(output: dict) -> str:
    """Streams, plain results and errors; the text that stands for an image says nothing."""
    kind = output.get("output_type")
    if kind in ("error", "pyerr"):
        trace = output.get("traceback")
        lines = trace if isinstance(trace, list) else []
        text = "\n".join(_text(line) for line in lines) or f"{output.get('ename')}: {output.get('evalue')}"
    elif kind == "stream":
        text = _text(output.get("text"))
    else:
        data = output.get("data", output)  # format 3 has the kinds beside each other
        if not isinstance(data, dict) or any(key.startswith("image/") or key in ("png", "jpeg", "svg") for key in data):
            return ""
        text = _text(data.get("text/markdown", data.get("text/plain", data.get("text"))))
    text = ANSI.sub("", text).replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))  # a progress bar's last state


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _without_attachments(source: str) -> str:
    """Drops images that the notebook itself holds."""
    first, *rest = source.split("![")
    kept = [first]
    for piece in rest:
        _, found, after = piece.partition("](")
        held = found and after.startswith(("attachment:", "data:")) and ")" in after
        kept.append(after.partition(")")[2] if held else "![" + piece)
    return "".join(kept)
