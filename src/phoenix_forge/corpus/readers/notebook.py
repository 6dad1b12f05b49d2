"""Jupyter notebooks, format 3 and 4: cells in order as Markdown; outputs as text, images left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import Unreadable, html, markdown, writing

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
MAGIC = re.compile(r"%%(bash|sh|html|javascript|js|latex|perl|ruby|sql|writefile|cython)\b")
# What Python prints of a thing that says nothing of itself, and of what it draws.
NOTHING = re.compile(
    r"<[\w.]+(?: object)?(?: [^<>\n]{0,200})? at 0x[0-9a-fA-F]+>|<Figure size [^<>\n]*>|"
    r"<IPython\.[^<>\n]*>|<Axes[^<>\n]*>|\[?<matplotlib\.[^\n]*>\]?|\bAxesSubplot\([^\n]*\)|\(?None\)?"
)
BLOB = re.compile(r"[A-Za-z0-9+/=_-]{200,}")  # base64 that was printed
WRITTEN = (
    "text/markdown",
    "text/latex",
    "text/plain",
    "text",
)  # the kinds of a result that are text, best first
read = markdown.read
hidden = markdown.hidden


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is not a notebook:
    https://nbformat.readthedocs.io/en/latest/format_description.html"""
    try:
        book = json.loads(encodings.decode(data).text)
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
        return [
            cell
            for sheet in book["worksheets"]
            if isinstance(sheet, dict)
            for cell in sheet.get("cells") or []
        ]
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
            yield writing.fence(
                source.rstrip(), magic[1] if magic and magic[1] != "writefile" else language
            )
        for output in cell.get("outputs") or []:
            if isinstance(output, dict):
                yield from _shown(output)
    elif source.strip():
        yield _without_attachments(source).strip("\n")


def _shown(output: dict) -> Iterator[str]:
    """Streams, plain results and errors in a fence, Markdown and equations as they are."""
    kind, text = _output(output)
    if not text.strip():
        return
    yield (
        text.strip("\n")
        if kind in ("text/markdown", "text/latex")
        else writing.fence(text.rstrip(), "output")
    )


def _output(output: dict) -> tuple[str, str]:
    """What kind of text an output is, and the text; the text that stands for an image or a drawing says nothing."""
    kind = output.get("output_type")
    if kind in ("error", "pyerr"):
        trace = output.get("traceback")
        lines = trace if isinstance(trace, list) else []
        return "error", _printed(
            "\n".join(_text(line) for line in lines)
            or f"{output.get('ename')}: {output.get('evalue')}"
        )
    if kind == "stream":
        return "stream", _printed(_text(output.get("text")))
    data = output.get("data", output)  # format 3 has the kinds beside each other
    if not isinstance(data, dict) or any(
        key.startswith("image/") or key in ("png", "jpeg", "svg") for key in data
    ):
        return "image", ""
    if (table := _table(data)) and not _text(data.get("text/markdown")).strip():
        return "text/markdown", table
    found = next((each for each in WRITTEN if _text(data.get(each)).strip()), "")
    text = _printed(_text(data.get(found)))
    return found, "" if NOTHING.fullmatch(text.strip()) else text


def _table(data: dict) -> str:
    """A table as the notebook shows it; the plain form of a wide one is broken into pieces."""
    page = _text(data.get("text/html", data.get("html")))
    if "<table" not in page:
        return ""
    try:
        made = html.to_markdown(page)
    except ImportError:  # the library that reads HTML is not installed
        return ""
    return made if "|---" in made else ""


def _printed(text: str) -> str:
    """As a terminal shows it at the end: without colours, of a progress bar the last state, without base64."""
    text = ANSI.sub("", text).replace("\r\n", "\n")
    return BLOB.sub(
        "…", "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    )


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
