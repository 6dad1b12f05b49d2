"""Word documents through mammoth: HTML by style names, then Markdown."""

from __future__ import annotations

import io
import zipfile
from xml.parsers.expat import ExpatError
from xml.sax import SAXException

from forge.corpus.readers import Unreadable, html, markdown

OLE = b"\xd0\xcf\x11\xe0"  # the container of encrypted documents, and of Word before 2007
UNPACKED = 500_000_000  # bytes; far above any text
STYLES = "\n".join(["p[style-name='Title'] => h1:fresh", "p[style-name='Subtitle'] => p:fresh",
                    "p[style-name='Code'] => pre:separator('\\n')", "p[style-name='Quote'] => blockquote:fresh"])
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
        made = mammoth.convert_to_html(io.BytesIO(data), style_map=STYLES,
                                       convert_image=mammoth.images.img_element(lambda image: {}))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ExpatError, SAXException, LookupError, ValueError, AttributeError,
            TypeError, OSError, EOFError, NotImplementedError, RecursionError) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None
    return html.to_markdown(made.value)
