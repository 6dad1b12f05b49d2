"""OpenDocument texts and presentations (ODT, ODP) by the standard library: headings, lists, tables, notes.

odfdo, the kept library, brings lxml and an interface for writing along; what is read here is a dozen elements.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import Unreadable, grid, markdown, packed, writing
from phoenix_forge.corpus.readers.noted import Noted
from phoenix_forge.corpus.readers.packed import attribute, below, find, local

CONTENT = "content.xml"
# What was deleted, remarks of reviewers, lists that a program makes of the rest, and settings.
DROPPED = {
    "tracked-changes",
    "annotation",
    "annotation-end",
    "table-of-content",
    "illustration-index",
    "table-index",
    "object-index",
    "user-index",
    "alphabetical-index",
    "bibliography",
    "sequence-decls",
    "forms",
    "settings",
    "variable-decls",
    "user-field-decls",
    "desc",
    "binary-data",
    "object",
    "object-ole",
    "shape",
}
RUNNING = {"page-number", "date-time", "header", "footer"}  # frames of what every slide repeats
REPEATED = 100  # of a row or cell with something in it; more is a filled page, not a text
LINK = re.compile(r"https?://[^\s<>()]+", re.IGNORECASE)
read = markdown.read


@dataclass(frozen=True)
class _Styles:
    """`parents` has the named style that each of the document's own stands for; `numbered` the lists with numbers."""

    parents: dict[str, str] = field(default_factory=dict)
    numbered: set[str] = field(default_factory=set)

    def name(self, element: Element) -> str:
        own = attribute(element, "style-name")
        return self.parents.get(own, own)


def extract(data: bytes) -> str:
    """A text or presentation as Markdown. Raises Unreadable where it is damaged, encrypted or of another format."""
    with packed.opened(data, "an OpenDocument file", CONTENT) as file:
        root = packed.xml(file, CONTENT)
        body = find(root, "body")
        kind = next(
            (
                each
                for each in (() if body is None else body)
                if local(each) in ("text", "presentation")
            ),
            None,
        )
        if kind is None:
            raise Unreadable("an OpenDocument file, but neither a text nor a presentation")
        _write_formulas(file, kind)
        styles = _styles(root)
        shown = local(kind) == "presentation"
        parts = _slides(kind, styles) if shown else [_blocks(kind, styles)]
    held = (Held("slides", len(parts), sum(map(bool, parts))),) if shown else ()
    if not any(parts):
        raise Unreadable("a document without text", held=held)
    return Noted("\n\n".join(block for part in parts for block in part) + "\n", (), held)


def _write_formulas(file: zipfile.ZipFile, body: Element) -> None:
    """Puts a formula's own writing (StarMath, or else its letters) as code where its frame stands."""
    for parent in list(body.iter()):
        for at, child in enumerate(parent):
            if local(child) == "frame" and (said := _formula(file, child)):
                written = Element("span")
                written.text, written.tail = f"`{said}`", child.tail
                parent[at] = written


def _formula(file: zipfile.ZipFile, frame: Element) -> str:
    object = find(frame, "object")
    part = (
        "" if object is None else packed.resolved(CONTENT, f"{attribute(object, 'href')}/{CONTENT}")
    )
    root = packed.xml(file, part) if part in file.namelist() else None
    if root is None or local(root) != "math":
        return ""
    return " ".join("".join(next(below(root, "annotation"), root).itertext()).split()).replace(
        "`", "'"
    )


def _styles(root: Element) -> _Styles:
    own = find(root, "automatic-styles")
    made = _Styles()
    for each in () if own is None else own:
        name, parent = attribute(each, "name"), attribute(each, "parent-style-name")
        if local(each) == "style" and parent:
            made.parents[name] = parent
        elif (
            local(each) == "list-style"
            and len(each)
            and local(each[0]) == "list-level-style-number"
        ):
            made.numbered.add(name)
    return made


def _slides(presentation: Element, styles: _Styles) -> list[list[str]]:
    """The blocks of each slide; none of one without text."""
    made: list[list[str]] = []
    for number, page in enumerate(below(presentation, "page"), 1):
        title, body = "", []
        for frame in page:
            place = attribute(frame, "class")
            if local(frame) == "notes":
                body += _notes(frame, styles)
            elif place == "title" and not title:
                title = " ".join(_blocks(frame, styles))
            elif place not in RUNNING and local(frame) not in DROPPED:
                body += _block(frame, styles)
        made.append(
            [writing.heading(2, title or f"Slide {number}"), *body] if title or body else []
        )
    return made


def _notes(notes: Element, styles: _Styles) -> list[str]:
    frames = [each for each in notes if attribute(each, "class") == "notes"]
    texts = [text for frame in frames for text in _blocks(frame, styles)]
    return [f"Notes: {texts[0]}", *texts[1:]] if texts else []


# -- blocks ------------------------------------------------------------------------------------------------------------


def _blocks(parent: Element, styles: _Styles) -> list[str]:
    """An element's blocks of Markdown; paragraphs of code that follow each other are one."""
    made: list[str] = []
    code: list[str] = []
    for child in parent:
        if local(child) == "p" and styles.name(child) == "Preformatted_20_Text":
            code.append(_inline(child, code=True))
            continue
        made += [writing.fence("\n".join(code))] if any(code) else []
        code = []
        made += _block(child, styles)
    return made + ([writing.fence("\n".join(code))] if any(code) else [])


def _block(element: Element, styles: _Styles) -> list[str]:
    kind = local(element)
    if kind in DROPPED:
        return []
    if kind in ("h", "p"):
        return _paragraph(element, styles)
    if kind == "list":
        return _list(element, styles)
    return grid.tables(_rows(element, styles)) if kind == "table" else _blocks(element, styles)


def _paragraph(element: Element, styles: _Styles) -> list[str]:
    """A paragraph or heading, and after it what is anchored in it: text boxes and tables in frames."""
    text = " ".join(_inline(element).split())
    level = attribute(element, "outline-level")
    made: list[str] = []
    if text and local(element) == "h":
        made.append(writing.heading(int(level) if level.isascii() and level.isdigit() else 1, text))
    elif text:
        made.append(
            writing.heading(1, text) if styles.name(element) == "Title" else writing.line(text)
        )
    return made + [block for box in _boxes(element) for block in _blocks(box, styles)]


def _boxes(element: Element) -> Iterator[Element]:
    for child in element:
        if local(child) in ("text-box", "custom-shape"):
            yield child
        elif local(child) not in DROPPED:
            yield from _boxes(child)


def _list(element: Element, styles: _Styles, numbered: bool | None = None) -> list[str]:
    """A list within a list is numbered as that is, unless it says otherwise."""
    style = attribute(element, "style-name")
    ordered = style in styles.numbered if style or numbered is None else numbered
    items: list[str] = []
    for child in element:
        if local(child) not in ("list-item", "list-header"):
            continue
        inner = [
            block
            for each in child
            for block in (
                _list(each, styles, ordered) if local(each) == "list" else _block(each, styles)
            )
        ]
        if inner:
            items.append(writing.item(f"{len(items) + 1}." if ordered else "-", _tight(inner)))
    return ["\n".join(items)] if items else []


def _tight(blocks: list[str]) -> str:
    text = blocks[0]
    for block in blocks[1:]:
        text += ("\n" if re.match(r"(?:-|\d+\.) ", block) else "\n\n") + block
    return text


def _rows(table: Element, styles: _Styles) -> list[list[str]]:
    """A cell that spans rows or columns is repeated in each."""
    rows: list[list[str]] = []
    for line in _lines(table):
        row: list[str] = []
        for cell in line:
            if local(cell) == "covered-table-cell":
                above = rows[-1][len(row)] if rows and len(row) < len(rows[-1]) else ""
                text = row[-1] if row and _spans(line, cell) else above
            elif local(cell) == "table-cell":
                text = " ".join(" ".join(_blocks(cell, styles)).split())
            else:
                continue
            row += [text] * (_repeated(cell, "columns") if text else 1)
        rows += [row] * (_repeated(line, "rows") if any(row) else 1)
    return rows


def _lines(table: Element) -> Iterator[Element]:
    """Rows of a table, also those in groups; not those of a table within a cell."""
    for child in table:
        if local(child) == "table-row":
            yield child
        elif local(child).startswith("table-") and local(child) not in (
            "table-columns",
            "table-column",
        ):
            yield from _lines(child)


def _spans(line: Element, covered: Element) -> bool:
    """Whether a covered cell lies under one of its own row: that one says how many columns it spans."""
    left = 0
    for cell in line:
        if cell is covered:
            return left > 0
        if local(cell) == "table-cell":
            columns = attribute(cell, "number-columns-spanned")
            left = int(columns) if columns.isascii() and columns.isdigit() else 1
        left -= 1
    return False


def _repeated(element: Element, what: str) -> int:
    number = attribute(element, f"number-{what}-repeated")
    return min(int(number), REPEATED) if number.isascii() and number.isdigit() else 1


# -- text --------------------------------------------------------------------------------------------------------------


def _inline(element: Element, code: bool = False) -> str:
    return "".join(_pieces(element, code))


def _pieces(element: Element, code: bool) -> Iterable[str]:
    """Text with its links; a note stands in brackets where its number does; boxes come later."""
    yield element.text or ""
    for child in element:
        kind = local(child)
        if kind == "s":
            count = attribute(child, "c")
            yield " " * (min(int(count), 200) if count.isascii() and count.isdigit() else 1)
        elif kind in ("tab", "line-break"):
            yield "\n" if code and kind == "line-break" else "\t" if code else " "
        elif kind == "note":
            body = find(child, "note-body")
            yield (
                f" ({' '.join(' '.join(_inline(each) for each in body).split())})"
                if body is not None
                else ""
            )
        elif kind == "a":
            text, target = _inline(child, code), attribute(child, "href")
            yield (
                f"[{text}]({target})"
                if text.strip() and LINK.fullmatch(target) and text != target
                else text
            )
        elif kind not in DROPPED and kind not in ("frame", "custom-shape", "text-box", "g"):
            yield from _pieces(child, code)
        yield child.tail or ""
