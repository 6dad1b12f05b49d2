"""What a file holds beside its running text, counted in the file itself: equations and pictures, by its format.

Pages, slides and sheets are counted by the readers, which open each of them. An equation is read where its letters are
found again in what was extracted. What a picture shows is never known from here: words beside it are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import READERS, Unreadable, markdown, omml, packed
from phoenix_forge.corpus.readers.packed import attribute, local

# Parts of Office files with what is shown. Their pictures' elements; and what is not shown: the same for older programs
# once more, and what was deleted.
PARTS = re.compile(
    r"word/(?:document|footnotes|endnotes|comments)\d*\.xml|ppt/slides/slide\d+\.xml|"
    r"xl/drawings/drawing\d+\.xml"
)
PICTURES = {"pic", "imagedata"}
NOT_SHOWN = {"Fallback", "del", "moveFrom"}
SIGNS = (b"oMath", b":pic", b"imagedata")  # of a part that is worth a look
PAGE = re.compile(r".*\.x?html?", re.IGNORECASE)  # of an EPUB
IMAGES = "img, svg:not([aria-hidden=true])"
FILE = r"\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?|pdf|eps)"
# How texts name pictures, by their reader.
NAMED = {
    "markdown": re.compile(
        rf"!\[[^\]\n]{{0,300}}\](?:\(|\[)|!\[\[[^\]\n|]{{1,200}}{FILE}|<img\b", re.IGNORECASE
    ),
    "rst": re.compile(r"^[ \t]*\.\. (?:\|[^|\n]+\| )?(?:image|figure)::", re.MULTILINE),
    "asciidoc": re.compile(r"\bimage::?[^\s\[:][^\n\[]{0,300}\["),
    "org": re.compile(rf"\[\[(?:file:|\./|/)?[^\]\n]{{1,200}}{FILE}\]", re.IGNORECASE),
    "latex": re.compile(r"\\(?:includegraphics\b|begin\{(?:tikzpicture|pspicture)\})"),
}
NAMED["mdx"] = NAMED["markdown"]
COMMENT = re.compile(r"(?<!\\)%[^\n]*")  # of LaTeX
CELL = re.compile(
    rb"\"image/(?:png|jpeg|gif|svg\+xml)\"\s*:"
)  # of a notebook: shown by code, or attached
PICT = re.compile(rb"\\pict\b")  # of RTF, which has some once more for older programs
Counts = tuple[int, int, int]  # equations, of these read, pictures


def counted(name: str, data: bytes, reading: str | Unreadable) -> tuple[Held, ...]:
    """What a file holds, of every kind that it has at all. `reading` is the text that was read of it, or why none was."""
    text = "" if isinstance(reading, Unreadable) else str(reading)
    module = READERS.get(PurePosixPath(name).suffix.lower(), READERS[""]).module
    equations, read, pictures = _counts(module, data, text)
    countable = (
        *getattr(reading, "held", ()),
        Held("equations", equations, read),
        Held("pictures", pictures, 0),
    )
    return tuple(each for each in countable if each.total)


def _counts(module: str, data: bytes, text: str) -> Counts:
    if module in NAMED:
        return 0, 0, _named(module, COMMENT.sub("", text) if module == "latex" else text)
    if module in ("html", "saved_page"):
        return _page(encodings.decode(data).text, text)
    if module == "notebook":
        return 0, 0, len(CELL.findall(data)) + len(NAMED["markdown"].findall(text))
    if module == "rtf":
        return 0, 0, len(PICT.findall(data)) - data.count(b"\\nonshppict")
    count = PACKED.get(module)
    if count is None or not data.startswith(b"PK"):
        return 0, 0, 0
    try:
        return count(data, text)
    except Unreadable:
        return 0, 0, 0


def _named(module: str, text: str) -> int:
    """How many pictures a text names, outside of code."""
    matches = list(NAMED[module].finditer(text))
    if not matches or module not in ("markdown", "mdx"):
        return len(matches)
    code = markdown.in_code(text)
    return sum(not code(each.start()) for each in matches)


def _sum(counts: Iterator[Counts]) -> Counts:
    equations = read = pictures = 0
    for each in counts:
        equations, read, pictures = equations + each[0], read + each[1], pictures + each[2]
    return equations, read, pictures


# -- Office files ------------------------------------------------------------------------------------------------------


def _office(data: bytes, text: str) -> Counts:
    bare = _bare(text)
    with packed.opened(data, "an Office file", "[Content_Types].xml") as file:
        parts = [name for name in file.namelist() if PARTS.fullmatch(name)]
        roots = (
            packed.xml(file, name)
            for name in parts
            if any(sign in file.read(name) for sign in SIGNS)
        )
        return _sum(_part(root, bare) for root in roots)


def _part(root: Element, bare: str) -> Counts:
    shown = list(_shown(root))
    equations = [_bare(omml.latex(each)) for each in shown if local(each) == "oMath"]
    return (
        len(equations),
        sum(bool(label) and label in bare for label in equations),
        sum(local(each) in PICTURES for each in shown),
    )


def _shown(element: Element) -> Iterator[Element]:
    for child in element:
        if local(child) not in NOT_SHOWN:
            yield child
            yield from _shown(child)


def _bare(text: str) -> str:
    """Without spaces, and without the marks that writing a line puts before signs of Markdown."""
    return "".join(text.split()).replace("\\", "")


def _open(data: bytes, text: str) -> Counts:
    """An OpenDocument file: a frame shows a picture, or an object and for older programs its picture."""
    bare = _bare(text)
    equations = read = pictures = 0
    with packed.opened(data, "an OpenDocument file", "content.xml") as file:
        for frame in packed.below(packed.xml(file, "content.xml"), "frame"):
            object = next((each for each in frame if local(each) == "object"), None)
            if object is None:
                pictures += any(local(each) == "image" for each in frame)
                continue
            part = packed.resolved("content.xml", f"{attribute(object, 'href')}/content.xml")
            root = packed.xml(file, part) if part in file.namelist() else None
            if root is None or local(root) != "math":
                pictures += root is not None
                continue
            annotation = _bare("".join(next(packed.below(root, "annotation"), root).itertext()))
            equations, read = equations + 1, read + (bool(annotation) and annotation in bare)
    return equations, read, pictures


# -- pages -------------------------------------------------------------------------------------------------------------


def _book(data: bytes, text: str) -> Counts:
    with packed.opened(data, "an EPUB", "META-INF/container.xml") as file:
        pages = (
            encodings.decode(file.read(name)).text
            for name in file.namelist()
            if PAGE.fullmatch(name)
        )
        return _sum(_page(page, text) for page in pages)


def _page(page: str, text: str) -> Counts:
    """Equations in MathML: as LaTeX where the page has it, else their letters."""
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:  # without which no page is read
        return 0, 0, 0
    parsed: Any = LexborHTMLParser(page.replace("\0", "\ufffd"))
    equations = parsed.css(":not(math) > math")
    labels = sum(bool(each.attributes.get("alttext") or each.text().strip()) for each in equations)
    return len(equations), labels if text else 0, len(parsed.css(IMAGES))


PACKED = {
    "docx": _office,
    "slides": _office,
    "sheets": _office,
    "opendocument": _open,
    "epub": _book,
}
