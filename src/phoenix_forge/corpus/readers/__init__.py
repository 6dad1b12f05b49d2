"""Text → structure, and files of other formats → text. One file a format; a format is added as a file and a row."""

from __future__ import annotations

import contextlib
import importlib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import PurePosixPath
from posixpath import splitext
from types import ModuleType

from phoenix_forge.corpus.document import Cut, Held, Structure
from phoenix_forge.corpus.readers import pictures
from phoenix_forge.errors import UsageError


class Unreadable(UsageError):
    """A file that cannot become a document: damaged, encrypted, without text, or its library is not installed.

    `held` counts what it has all the same, where that is known: pages of images alone, for one.
    """

    def __init__(self, message: str, fix: str | None = None, held: tuple[Held, ...] = ()) -> None:
        super().__init__(message, fix)
        self.held = held


@dataclass(frozen=True, slots=True)
class Reader:
    """`module` of this package has `read(text) -> Structure`, or `read(text, language)` where the row names one.

    An `extracted` format's module also has `extract(data) -> str`, which gives the text that `read` is for;
    `needs` is the optional library that extracting takes, `extra` what installs it. Where a row `hides`, the module has
    `hidden(text) -> list[Cut]` too (with the language, as `read`): what of the text nobody who reads the document
    sees; `read` gets the rest. Where files of the row make one document, its module has `defined(text) -> str`, what
    one of them defines for the others, and `hidden(text, given)` takes what those define.
    """

    module: str
    language: str = ""
    extracted: bool = False
    needs: str = ""
    extra: str = "docs"
    hides: bool = False
    together: bool = False


BESIDE = {"chardet", "onnxruntime"}  # libraries that a text depends on and no row names
_MARKDOWN = Reader("markdown", hides=True)
_PLAIN = Reader("plain", hides=True)
_LINES = Reader("lines")
_HTML = Reader("html", extracted=True, needs="selectolax")
_ROWS: dict[str, Reader] = {
    ".md .markdown .qmd .rmd": _MARKDOWN,
    ".mdx": Reader("mdx", hides=True),
    ".py .pyi .pyw": Reader("python"),
    ".txt .text .log": _PLAIN,
    ".adoc .asciidoc .asc": Reader("asciidoc", hides=True),
    ".org": Reader("org", hides=True),
    ".rst .rest": Reader("rst", hides=True),
    ".tex .latex": Reader("latex", hides=True, together=True),
    ".html .htm .xhtml": _HTML,
    ".ipynb": Reader("notebook", extracted=True, hides=True),
    ".docx": Reader("docx", extracted=True, needs="mammoth"),
    ".pdf": Reader("pdf", extracted=True, needs="pypdfium2"),
    ".doc .dot .ppt .pps .pot": Reader("older", extracted=True, needs="selectolax"),
    ".mhtml .mht .webarchive": Reader("saved_page", extracted=True, needs="selectolax"),
    ".xlsx .xlsm .xlsb .xls .ods": Reader("sheets", extracted=True, needs="python_calamine"),
    ".eml": Reader("mail", extracted=True, needs="selectolax"),
    ".mbox": Reader("mailbox", extracted=True, needs="selectolax"),
    ".epub": Reader("epub", extracted=True, needs="selectolax"),
    ".odt .ott .odp": Reader("opendocument", extracted=True),
    ".srt .vtt": Reader("subtitles", extracted=True),
    ".rtf": Reader("rtf", extracted=True),
    ".pptx .pptm .ppsx .potx": Reader("slides", extracted=True),
    ".png .jpg .jpeg .tif .tiff .webp .bmp": Reader(
        "image", extracted=True, needs="rapidocr", extra="ocr"
    ),
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
    ".css .scss .sql .xml .svg .proto .graphql .rb .php .pl .lua .r .jl .kt .swift .scala .cs .ps1 .bat .tf .cmake": _LINES,
}
# Signs that nobody sees: soft hyphens, spaces without width, word joiners, marks of the order of bytes within a text.
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
AS_WRITTEN = {
    "code",
    "python",
    "shell",
    "lines",
    "data",
    "tabular",
    "mermaid",
}  # readers of what a machine reads too
# File suffix, lower case → reader. A module is imported when the first such file is met.
READERS: dict[str, Reader] = {"": _PLAIN} | {
    name: row for names, row in _ROWS.items() for name in names.split()
}


def structure(name: str, text: str) -> Structure:
    """The structure of a document's text by its file's suffix; of an unknown suffix, that of plain text.

    For a format that is extracted, `text` is what `extract` gave.
    """
    reader = _reader(name)
    module = _module(reader.module)
    structure: Structure = (
        module.read(text, reader.language) if reader.language else module.read(text)
    )
    return structure


def together(name: str) -> bool:
    """Whether files like that of the name may make one document, and define what others of them say."""
    return _reader(name).together


def defined(name: str, text: str) -> str:
    """What a file defines for others of its document."""
    made: str = _module(_reader(name).module).defined(text)
    return made


def hidden(name: str, text: str, given: str = "") -> list[Cut]:
    """What of a document's text nobody sees who reads it: what its format hides, and pictures written as text.

    `text` is that of the file, or for a format that is extracted what `extract` gave; spans are its characters. `given`
    is what other files of the document define (`defined`).
    """
    reader = _reader(name)
    cuts = pictures.hidden(text) if "data:" in text else []
    if reader.module not in AS_WRITTEN:
        cuts += [Cut(*found.span()) for found in INVISIBLE.finditer(text)]
    if not reader.hides:
        return cuts
    find = _module(reader.module).hidden
    if reader.together:
        return [*cuts, *find(text, given)]
    return [*cuts, *(find(text, reader.language) if reader.language else find(text))]


def extracts(name: str) -> bool:
    """Whether a document of that file name is not the file's own text but what `extract` makes of it."""
    return _reader(name).extracted


def recognises(name: str) -> bool:
    """Whether reading a file of that name may mean to recognise text in images: seconds a page."""
    from phoenix_forge.corpus.readers import ocr

    return _reader(name).module in ("pdf", "image") and ocr.is_installed()


def installed() -> list[str]:
    """The optional libraries that are there, with their versions: a document's text depends on them, too."""
    held = []
    for library in sorted({row.needs for row in READERS.values() if row.needs} | BESIDE):
        with contextlib.suppress(metadata.PackageNotFoundError):
            held.append(f"{library} {metadata.version(library)}")
    return held


def extract(name: str, data: bytes) -> str:
    """The text of a document in another format, as Markdown; Noted where its reader has more to say.

    Raises Unreadable, its message the reason alone.
    """
    reader = _reader(name)
    if not data.strip():
        raise Unreadable("empty")
    try:
        text: str = _module(reader.module).extract(data)
    except ImportError as error:
        if not reader.needs or error.name is None or error.name.split(".")[0] != reader.needs:
            raise
        raise Unreadable(
            f"reading {PurePosixPath(name).suffix.lower()} needs {reader.needs}",
            fix=f"pip install 'phoenix-forge[{reader.extra}]'",
        ) from None
    if not text.strip():
        raise Unreadable("holds no text")
    return text


def _reader(name: str) -> Reader:
    return READERS.get(
        splitext(name)[1].lower(), _PLAIN
    )  # in a tenth of the time of a Path; a walk asks twice a file


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
