"""Word documents through mammoth: HTML by style names, then Markdown.

What mammoth passes over is put into words that it reads: equations as LaTeX, text boxes as their paragraphs.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError
from xml.parsers.expat import ExpatError
from xml.sax import SAXException

from forge.corpus.readers import Unreadable, html, markdown, omml

OLE = b"\xd0\xcf\x11\xe0"  # the container of encrypted documents, and of Word before 2007
UNPACKED = 500_000_000  # bytes; far above any text
STYLES = "\n".join(["p[style-name='Title'] => h1:fresh", "p[style-name='Subtitle'] => p:fresh",
                    "p[style-name='Code'] => pre:separator('\\n')", "p[style-name='Quote'] => blockquote:fresh",
                    "comment-reference => sup"])
PART = re.compile(r"word/(?:document|footnotes|endnotes|comments)\d*\.xml")  # that holds text
PASSED_OVER = (b"oMath", b"txbxContent")
read = markdown.read


def extract(data: bytes) -> str:
    """Raises Unreadable where the file is damaged, encrypted or of another format."""
    import mammoth

    if data.startswith(OLE):
        raise Unreadable("encrypted, or a Word file from before 2007")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > UNPACKED:
                raise Unreadable("unpacks to more than 500 MB")
            if "word/document.xml" not in packed.namelist() and "[Content_Types].xml" not in packed.namelist():
                raise Unreadable("a zip file, but not a Word document")
            readable = _readable(packed) or data
        made = mammoth.convert_to_html(io.BytesIO(readable), style_map=STYLES,
                                       convert_image=mammoth.images.img_element(lambda image: {}))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ExpatError, ParseError, SAXException, LookupError, ValueError,
            AttributeError, TypeError, OSError, EOFError, NotImplementedError, RecursionError) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None
    return html.to_markdown(made.value)


def _readable(packed: zipfile.ZipFile) -> bytes | None:
    """The document with its equations and text boxes in other words; None where it has neither."""
    parts = {name: packed.read(name) for name in packed.namelist() if PART.fullmatch(name)}
    changed = {name: _reworded(content) for name, content in parts.items()
               if any(passed in content for passed in PASSED_OVER)}
    if not changed:
        return None
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as written:
        for name in dict.fromkeys(packed.namelist()):
            written.writestr(name, changed.get(name) or packed.read(name))
    return made.getvalue()


def _reworded(part: bytes) -> bytes:
    root = ElementTree.fromstring(part)
    # The innermost first: what a text box holds is in order before the box is moved.
    for parent in reversed(list(root.iter())):
        for at, child in reversed(list(enumerate(parent))):
            if made := list(_instead(child, root)):
                parent[at:at + 1] = made
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _instead(element: Element, root: Element) -> Iterator[Element]:
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
    elif kind == "AlternateContent":
        choice = next((each for each in element if omml.name(each) == "Choice"), None)
        if choice is not None and any(_boxes(each) or omml.name(each) == "r" for each in choice):
            yield from choice


def _boxes(element: Element) -> list[Element]:
    """The text boxes of a drawing, one within another left where it is."""
    found = [each for each in element.iter() if omml.name(each) == "txbxContent"]
    inner = {id(each) for box in found for each in box.iter() if each is not box}
    return [box for box in found if id(box) not in inner]


def _run(root: Element, text: str) -> Element:
    run = Element(_word(root, "r"))
    written = ElementTree.SubElement(run, _word(root, "t"))
    written.text = text
    written.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    return run


def _word(root: Element, name: str) -> str:
    """A name in the document's own namespace, of which there is an older and a strict one."""
    return f"{root.tag.rpartition('}')[0]}}}{name}"
