"""Word documents through mammoth: HTML by style names, then Markdown.

What mammoth passes over is put into words that it reads: equations as LaTeX, text boxes as their paragraphs, charts as
tables.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers.expat import ExpatError
from xml.sax import SAXException

from phoenix_forge.corpus.readers import Unreadable, chart, html, markdown, omml, packed

STYLES = "\n".join(
    [
        "p[style-name='Title'] => h1:fresh",
        "p[style-name='Subtitle'] => p:fresh",
        "p[style-name='Code'] => pre:separator('\\n')",
        "p[style-name='Quote'] => blockquote:fresh",
        "comment-reference => sup",
    ]
)
PART = re.compile(r"word/(?:document|footnotes|endnotes|comments)\d*\.xml")  # that holds text
PASSED_OVER = (b"oMath", b"txbxContent", b'/chart"')
read = markdown.read


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is damaged, encrypted or of another format."""
    import mammoth

    with packed.opened(data, "a Word file", "word/document.xml", "[Content_Types].xml") as file:
        readable = _readable(file) or data
        try:
            made = mammoth.convert_to_html(
                io.BytesIO(readable),
                style_map=STYLES,
                convert_image=mammoth.images.img_element(lambda image: {}),
            )
        except (
            ExpatError,
            SAXException,
            AttributeError,
            TypeError,
        ) as error:  # what mammoth makes of odd parts
            raise Unreadable(f"damaged: {type(error).__name__}") from None
    return html.to_markdown(made.value)


def _readable(file: zipfile.ZipFile) -> bytes | None:
    """The document with its equations, text boxes and charts in other words; None where it has none."""
    parts = {name: file.read(name) for name in file.namelist() if PART.fullmatch(name)}
    changed = {
        name: _reworded(content, _charts(file, name))
        for name, content in parts.items()
        if any(passed in content for passed in PASSED_OVER)
    }
    if not changed:
        return None
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as written:
        for name in dict.fromkeys(file.namelist()):
            written.writestr(name, changed.get(name) or file.read(name))
    return made.getvalue()


def _charts(file: zipfile.ZipFile, part: str) -> dict[str, chart.Chart]:
    """Relation → chart, of those that the part shows."""
    found = {
        key: chart.chart(packed.xml(file, name))
        for key, (kind, name) in packed.relations(file, part).items()
        if kind == "chart" and name in file.namelist()
    }
    return {key: shown for key, shown in found.items() if shown}


def _reworded(part: bytes, charts: dict[str, chart.Chart]) -> bytes:
    root = ElementTree.fromstring(part)
    # The innermost first: what a text box holds is in order before the box is moved.
    for parent in reversed(list(root.iter())):
        for at, child in reversed(list(enumerate(parent))):
            if made := list(_instead(child, root, charts)):
                parent[at : at + 1] = made
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _instead(element: Element, root: Element, charts: dict[str, chart.Chart]) -> Iterator[Element]:
    """What an element becomes; nothing where it stays."""
    kind = omml.name(element)
    if kind == "oMathPara":  # whose equations have been reworded, each to a run
        yield from (run for run in element if omml.name(run) == "r")
    elif kind == "oMath" and (said := omml.latex(element)):
        yield _run(root, f"${said}$")
    elif kind == "drawing" and (boxes := _boxes(element)):
        picture = Element(_word(root, "pict"))
        picture.extend(boxes)
        yield picture
    elif kind == "drawing" and (shown := _chart(element, charts)):
        yield _picture(root, shown)
    elif kind == "AlternateContent":
        choice = next((each for each in element if omml.name(each) == "Choice"), None)
        if choice is not None and any(_boxes(each) or omml.name(each) == "r" for each in choice):
            yield from choice


def _boxes(element: Element) -> list[Element]:
    """The text boxes of a drawing, one within another left where it is."""
    found = [each for each in element.iter() if omml.name(each) == "txbxContent"]
    inner = {id(each) for box in found for each in box.iter() if each is not box}
    return [box for box in found if id(box) not in inner]


def _chart(element: Element, charts: dict[str, chart.Chart]) -> chart.Chart | None:
    references = (
        packed.attribute(each, "id") for each in element.iter() if omml.name(each) == "chart"
    )
    return next((charts[key] for key in references if key in charts), None)


def _picture(root: Element, shown: chart.Chart) -> Element:
    """A picture with a text box that has the chart's title and table."""
    picture = Element(_word(root, "pict"))
    box = ElementTree.SubElement(picture, _word(root, "txbxContent"))
    if shown.title:
        ElementTree.SubElement(box, _word(root, "p")).append(_run(root, shown.title))
    table = ElementTree.SubElement(box, _word(root, "tbl"))
    for row in shown.rows:
        line = ElementTree.SubElement(table, _word(root, "tr"))
        for cell in row:
            paragraph = ElementTree.SubElement(
                ElementTree.SubElement(line, _word(root, "tc")), _word(root, "p")
            )
            paragraph.append(_run(root, cell))
    return picture


def _run(root: Element, text: str) -> Element:
    run = Element(_word(root, "r"))
    written = ElementTree.SubElement(run, _word(root, "t"))
    written.text = text
    written.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    return run


def _word(root: Element, name: str) -> str:
    """A name in the document's own namespace, of which there is an older and a strict one."""
    return f"{root.tag.rpartition('}')[0]}}}{name}"
