"""Text → structure, and files of other formats → text. One file a format; a format is added as a file and a row."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import ModuleType

from forge.corpus.document import Cut, Structure
from forge.corpus.readers import pictures
from forge.errors import UsageError


class Unreadable(UsageError):
    """A file that cannot become a document: damaged, encrypted, without text, or its library is not installed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """`module` of this package has `read(text) -> Structure`, or `read(text, language)` where the row names one.

    An `extracted` format's module also has `extract(data) -> str`, which gives the text that `read` is for;
    `needs` is the optional library that extracting takes. Where a row `hides`, the module has
    `hidden(text) -> list[Cut]` too (with the language, as `read`): what of the text nobody who reads the document
    sees; `read` gets the rest.
    """

    module: str
    language: str = ""
    extracted: bool = False
    needs: str = ""
    hides: bool = False


_MARKDOWN = Reader("markdown", hides=True)
_PLAIN = Reader("plain")
_LINES = Reader("lines")
_HTML = Reader("html", extracted=True, needs="selectolax")
_ROWS: dict[str, Reader] = {
    ".md .markdown .qmd .rmd": _MARKDOWN,
    ".mdx": Reader("mdx", hides=True),
    ".py .pyi .pyw": Reader("python"),
    ".txt .text .log .adoc .asciidoc .org": _PLAIN,
    ".rst .rest": Reader("rst", hides=True),
    ".tex .latex": Reader("latex", hides=True),
    ".html .htm .xhtml": _HTML,
    ".ipynb": Reader("notebook", extracted=True, hides=True),
    ".docx": Reader("docx", extracted=True, needs="mammoth"),
    ".pdf": Reader("pdf", extracted=True, needs="pypdfium2"),
    ".xlsx .xlsm .ods": Reader("sheets", extracted=True, needs="python_calamine"),
    ".eml": Reader("mail", extracted=True, needs="selectolax"),
    ".mbox": Reader("mailbox", extracted=True, needs="selectolax"),
    ".epub": Reader("epub", extracted=True, needs="selectolax"),
    ".odt .ott .odp": Reader("opendocument", extracted=True),
    ".srt .vtt": Reader("subtitles", extracted=True),
    ".rtf": Reader("rtf", extracted=True),
    ".pptx .pptm .ppsx .potx": Reader("slides", extracted=True),
    ".js .jsx .mjs .cjs": Reader("code", "javascript"),
    ".ts .mts .cts": Reader("code", "typescript"),
    ".tsx": Reader("code", "tsx"),
    ".go": Reader("code", "go"),
    ".rs": Reader("code", "rust"),
    ".java": Reader("code", "java"),
    ".c": Reader("code", "c"),
    ".h": Reader("code", "header"),
    ".cc .cpp .cxx .hh .hpp .hxx .cu .cuh": Reader("code", "cpp"),
    ".sh .bash .zsh": Reader("shell"),
    ".yaml .yml": Reader("data", "yaml"),
    ".toml": Reader("data", "toml"),
    ".ini .cfg .conf .properties": Reader("data", "ini"),
    ".json .geojson .webmanifest": Reader("data", "json", hides=True),
    ".jsonl .ndjson": Reader("data", "jsonl", hides=True),
    ".csv .tsv": Reader("tabular", hides=True),
    ".mmd .mermaid": Reader("mermaid"),
    ".css .scss .sql .xml .svg .proto .graphql .rb .php .pl .lua .r .jl .kt .swift .scala .cs .ps1 .bat .tf .cmake":
        _LINES,
}
# File suffix, lower case → reader. A module is imported when the first such file is met.
READERS: dict[str, Reader] = {"": _PLAIN} | {name: row for names, row in _ROWS.items() for name in names.split()}


def structure(name: str, text: str) -> Structure:
    """The structure of a document's text by its file's suffix; of an unknown suffix, that of plain text.

    For a format that is extracted, `text` is what `extract` gave.
    """
    reader = _reader(name)
    module = _module(reader.module)
    structure: Structure = module.read(text, reader.language) if reader.language else module.read(text)
    return structure


def hidden(name: str, text: str) -> list[Cut]:
    """What of a document's text nobody sees who reads it: what its format hides, and pictures written as text.

    `text` is that of the file, or for a format that is extracted what `extract` gave; spans are its characters.
    """
    reader = _reader(name)
    cuts = pictures.hidden(text) if "data:" in text else []
    if not reader.hides:
        return cuts
    find = _module(reader.module).hidden
    return [*cuts, *(find(text, reader.language) if reader.language else find(text))]


def extracts(name: str) -> bool:
    """Whether a document of that file name is not the file's own text but what `extract` makes of it."""
    return _reader(name).extracted


def extract(name: str, data: bytes) -> str:
    """The text of a document in another format, as Markdown. Raises Unreadable, its message the reason alone."""
    reader = _reader(name)
    if not data.strip():
        raise Unreadable("empty")
    try:
        text: str = _module(reader.module).extract(data)
    except ImportError as error:
        if not reader.needs or error.name is None or error.name.split(".")[0] != reader.needs:
            raise
        raise Unreadable(f"reading {PurePosixPath(name).suffix.lower()} needs {reader.needs}",
                         fix="pip install 'phoenix-forge[docs]'") from None
    if not text.strip():
        raise Unreadable("holds no text")
    return text


def _reader(name: str) -> Reader:
    return READERS.get(PurePosixPath(name).suffix.lower(), _PLAIN)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
