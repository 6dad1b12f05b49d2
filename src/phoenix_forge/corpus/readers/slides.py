"""PowerPoint files (PPTX): a slide's title as heading, its text, lists, tables, charts and diagrams, and its notes.

Read by the standard library: python-pptx, the known one, has had no release since August 2024 and brings lxml, Pillow
and XlsxWriter along for what is four kinds of element here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from phoenix_forge.corpus.document import Held
from phoenix_forge.corpus.readers import Unreadable, chart, grid, markdown, omml, packed, writing
from phoenix_forge.corpus.readers.noted import Noted
from phoenix_forge.corpus.readers.packed import attribute, below, find, local

MAIN = "ppt/presentation.xml"
TITLES = {"title", "ctrTitle"}
RUNNING = {"dt", "ftr", "sldNum", "hdr", "sldImg"}  # placeholders of what every slide repeats
LISTS = {"body", "obj", ""}  # placeholders whose paragraphs are items, unless they say otherwise
BULLETS = {"buChar", "buAutoNum", "buBlip"}
TURNING = ("slidenum", "datetime")  # fields that say something else on each slide or day
SHAPES = {"sp", "grpSp", "graphicFrame", "AlternateContent"}
read = markdown.read


def extract(data: bytes) -> str:
    """Text of the slides in their order as Markdown; Noted: hidden ones are not read.

    Raises Unreadable where the file is damaged, encrypted or of another format.
    """
    with packed.opened(data, "a PowerPoint file", MAIN) as file:
        parts = packed.relations(file, MAIN)
        listed = find(packed.xml(file, MAIN), "sldIdLst")
        slides = [
            parts[_relation(each)][1]
            for each in (() if listed is None else listed)
            if _relation(each) in parts
        ]
        blocks: list[str] = []
        hidden: list[int] = []
        written = 0
        for number, name in enumerate(slides, 1):
            root = packed.xml(file, name)
            if root.get("show") in ("0", "false"):
                hidden.append(number)
            else:
                found = _slide(file, name, root, number)
                written += bool(found)
                blocks += found
    held = (Held("slides", len(slides), written),)
    if not blocks:
        raise Unreadable("slides without text", held=held)
    text = "\n\n".join(blocks) + "\n"
    note = f"slide{'s' if len(hidden) > 1 else ''} {', '.join(map(str, hidden))}: hidden; not read"
    return Noted(text, (note,) if hidden else (), held)


def _relation(element: Element) -> str:
    """The reference of a slide: `r:id`, beside which it has an `id` of its own."""
    return next((value for key, value in element.attrib.items() if key.endswith("}id")), "")


def _slide(file: zipfile.ZipFile, name: str, root: Element, number: int) -> list[str]:
    tree = find(root, "cSld", "spTree")
    shapes = list(_shapes(tree)) if tree is not None else []
    titles = [shape for shape in shapes if _place(shape) in TITLES and _text(shape)]
    related = packed.relations(file, name)
    body = [
        block for shape in shapes if shape not in titles for block in _shape(file, shape, related)
    ]
    notes = [
        block
        for kind, part in related.values()
        if kind == "notesSlide"
        for block in _notes(packed.xml(file, part))
    ]
    if not titles and not body and not notes:
        return []
    level = 1 if number == 1 and titles and _place(titles[0]) == "ctrTitle" else 2
    title = " ".join(_text(shape) for shape in titles) or f"Slide {number}"
    return [writing.heading(level, title), *body, *notes]


def _shapes(tree: Element) -> Iterator[Element]:
    """Shapes in their order, those of a group one by one."""
    for child in tree:
        if local(child) == "grpSp":
            yield from _shapes(child)
        elif local(child) == "AlternateContent":
            yield from _shapes(_only(child))
        elif local(child) in SHAPES:
            yield child


def _only(alternatives: Element) -> Element:
    """Of the forms of one thing for older and newer programs, the first with shapes; itself, which has none, else."""
    return next(
        (form for form in alternatives if any(local(each) in SHAPES for each in form)), alternatives
    )


def _place(shape: Element) -> str | None:
    """The kind of placeholder that a shape fills; None where it fills none."""
    place = find(shape, "nvSpPr", "nvPr", "ph")
    return None if place is None else place.get("type", "")


def _shape(file: zipfile.ZipFile, shape: Element, related: dict[str, tuple[str, str]]) -> list[str]:
    place = _place(shape)
    if place in RUNNING:
        return []
    if local(shape) == "sp":
        body = find(shape, "txBody")
        return _paragraphs(list(body), place in LISTS) if body is not None else []
    table = next(below(shape, "tbl"), None)
    if table is not None:
        return grid.tables(_rows(table))
    drawn = next(below(shape, "chart"), None)
    kind, part = related.get(_relation(drawn), ("", "")) if drawn is not None else ("", "")
    if kind == "chart" and (shown := chart.chart(packed.xml(file, part))):
        return [*([writing.line(shown.title)] if shown.title else []), *grid.tables(shown.rows)]
    diagram = next(below(shape, "relIds"), None)
    kind, part = (
        related.get(attribute(diagram, "dm"), ("", "")) if diagram is not None else ("", "")
    )
    return _diagram(packed.xml(file, part)) if kind == "diagramData" else []


def _diagram(root: Element) -> list[str]:
    """The points of a diagram (SmartArt), in the order of its own list."""
    points = [_text(point) for point in below(root, "pt")]
    return (
        ["\n".join(writing.item("-", writing.line(text)) for text in points if text)]
        if any(points)
        else []
    )


def _notes(root: Element) -> list[str]:
    bodies = [shape for shape in below(root, "sp") if _place(shape) == "body"]
    texts = [_line(paragraph) for shape in bodies for paragraph in below(shape, "p")]
    return [
        f"Notes: {text}" if i == 0 else writing.line(text)
        for i, text in enumerate(filter(None, texts))
    ]


def _paragraphs(body: list[Element], listed: bool) -> list[str]:
    """Paragraphs, and lists of those with a bullet; a placeholder for a list that has one paragraph only is none."""
    found = [(each, text) for each in body if local(each) == "p" and (text := _line(each))]
    usual = listed and len(found) > 1
    made: list[str] = []
    in_list = False
    for paragraph, text in found:
        about = find(paragraph, "pPr")
        kinds = {local(each) for each in (() if about is None else about)}
        numbered = "buAutoNum" in kinds
        bullet = bool(kinds & BULLETS) or (usual and "buNone" not in kinds)
        level = int(attribute(about, "lvl") or 0) if about is not None else 0
        item = "  " * min(level, 8) + writing.item("1." if numbered else "-", writing.line(text))
        if bullet and in_list:
            made[-1] += "\n" + item
        else:
            made.append(item.lstrip() if bullet else writing.line(text))
        in_list = bullet
    return made


def _rows(table: Element) -> list[list[str]]:
    """A cell that spans rows or columns is repeated in each."""
    rows: list[list[str]] = []
    for line in (each for each in table if local(each) == "tr"):
        row: list[str] = []
        for cell in (each for each in line if local(each) == "tc"):
            if cell.get("hMerge") in ("1", "true") and row:
                row.append(row[-1])
            elif cell.get("vMerge") in ("1", "true") and rows and len(row) < len(rows[-1]):
                row.append(rows[-1][len(row)])
            else:
                row.append(_text(cell))
        rows.append(row)
    return rows


def _text(element: Element) -> str:
    """All text of an element as one line."""
    return " ".join(filter(None, (_line(paragraph) for paragraph in below(element, "p"))))


def _line(paragraph: Element) -> str:
    pieces = []
    for run in paragraph:
        if local(run) == "br":
            pieces.append(" ")
        elif local(run) == "m":  # an equation
            pieces += [f"${said}$" for each in below(run, "oMath") if (said := omml.latex(each))]
        elif local(run) == "r" or (
            local(run) == "fld" and not run.get("type", "").startswith(TURNING)
        ):
            pieces += [each.text or "" for each in run if local(each) == "t"]
    return " ".join("".join(pieces).split())
