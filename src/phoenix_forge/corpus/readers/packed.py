"""Documents that are zip files of XML: opened with bounds, their parts parsed by the standard library."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

from phoenix_forge.core.fsio import human
from phoenix_forge.corpus.readers import Unreadable

OLE = b"\xd0\xcf\x11\xe0"  # the container of encrypted documents, and of Office before 2007
UNPACKED = 500_000_000  # bytes; far above any text
# A part that is as large, and so much larger than it was packed, is made to fill a memory: text shrinks to a tenth.
LARGE, RATIO = 20_000_000, 100
MANIFEST = "META-INF/manifest.xml"
DEPTH = 200  # elements within elements; a document of text has a tenth


@contextmanager
def opened(data: bytes, kind: str, *holds: str) -> Iterator[zipfile.ZipFile]:
    """The zip file, which must have one of the parts `holds` to be of that `kind` ("a PowerPoint file").

    Raises Unreadable where it is another format, encrypted or damaged; also where a part that the caller reads is.
    """
    if data.startswith(OLE):
        raise Unreadable(f"encrypted, or {kind} from before 2007")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > UNPACKED:
                raise Unreadable("unpacks to more than 500 MB")
            for entry in packed.infolist():
                if entry.file_size > max(LARGE, RATIO * entry.compress_size):
                    raise Unreadable(
                        f"{entry.filename} unpacks to {human(entry.file_size)}, "
                        f"{entry.file_size // max(1, entry.compress_size)} times what it takes"
                    )
            if not set(holds) & set(packed.namelist()):
                raise Unreadable(f"a zip file, but not {kind}: it has no {' or '.join(holds)}")
            if any(entry.flag_bits & 1 for entry in packed.infolist()) or _locked(packed):
                raise Unreadable("encrypted: it opens with a password only")
            yield packed
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        ParseError,
        LookupError,
        ValueError,
        OSError,
        EOFError,
        NotImplementedError,
        RecursionError,
    ) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None


def _locked(packed: zipfile.ZipFile) -> bool:
    """Whether the list of an OpenDocument file says that its parts are encrypted."""
    return MANIFEST in packed.namelist() and b":encryption-data" in packed.read(MANIFEST)


def xml(packed: zipfile.ZipFile, name: str) -> Element:
    """A part's root. Raises Unreadable for entities of its own and for nesting that no document has."""
    content = packed.read(name)
    if b"<!ENTITY" in content:
        raise Unreadable(f"{name} declares entities of its own, which no document does")
    depth = 0
    for event, _ in (parser := ElementTree.iterparse(io.BytesIO(content), ("start", "end"))):
        depth += 1 if event == "start" else -1
        if depth > DEPTH:
            raise Unreadable(f"{name} nests more than {DEPTH} elements")
    root: Element = parser.root  # type: ignore[attr-defined]  # set once the input is used up
    return root


def local(element: Element) -> str:
    """An element's name without its namespace, of which Office has an older and a strict one."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: Element, name: str) -> str:
    """An attribute by its name without a namespace; empty where there is none."""
    return next(
        (value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), ""
    )


def find(element: Element, *names: str) -> Element | None:
    """The first element below that is reached by children of these names."""
    if not names:
        return element
    return next(
        (
            found
            for child in element
            if local(child) == names[0]
            if (found := find(child, *names[1:])) is not None
        ),
        None,
    )


def below(element: Element, name: str) -> Iterator[Element]:
    """Elements of a name, at any depth."""
    return (each for each in element.iter() if local(each) == name)


def resolved(part: str, target: str) -> str:
    """The name of the part that another one refers to."""
    path = unquote(target.partition("#")[0])
    whole = (
        path.lstrip("/") if path.startswith("/") else posixpath.join(posixpath.dirname(part), path)
    )
    return posixpath.normpath(whole)


def relations(packed: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Id → (the last word of its type, the part), of what a part of an Office file refers to within the file."""
    folder, name = posixpath.split(part)
    listing = f"{folder}/_rels/{name}.rels"
    if listing not in packed.namelist():
        return {}
    return {
        attribute(each, "Id"): (
            attribute(each, "Type").rpartition("/")[2],
            resolved(part, attribute(each, "Target")),
        )
        for each in xml(packed, listing)
        if attribute(each, "TargetMode") != "External"
    }
