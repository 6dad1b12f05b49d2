"""Books (EPUB): the chapters in the order of the spine, each through the HTML reader, below the book's title."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import Unreadable, html, markdown, nesting, packed, writing
from phoenix_forge.corpus.readers.packed import attribute, below, find, local, resolved

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"
PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
CONTENTS = "application/x-dtbncx+xml"
VOID = "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr"
# XHTML may close any element within its tag, which HTML reads as left open: `<title/>` would swallow the page.
CLOSED = re.compile(rf"<(?!(?:{VOID})\b)([A-Za-z][\w:-]*)((?:\s[^<>]*?)?)\s*/>", re.IGNORECASE)
TITLE = re.compile(r"<title\b.*?</title\s*>", re.IGNORECASE | re.DOTALL)
read = markdown.read


def extract(data: bytes) -> str:
    """A book as Markdown. Raises Unreadable where it is damaged, protected from copying, or of another format."""
    with packed.opened(data, "an EPUB", CONTAINER) as file:
        package = _package(file)
        root = packed.xml(file, package)
        pages = list(_pages(root, package))
        missing = [page for page in pages if page not in file.namelist()]
        if missing:
            raise Unreadable(f"damaged: {missing[0]} is missing")
        if set(pages) & _protected(file):
            raise Unreadable("protected from copying (DRM)")
        named = _labels(file, root, package)
        chapters = [_chapter(file.read(page), named.get(page, "")) for page in pages]
    if not any(chapters):
        raise Unreadable("a book without text")
    title = " ".join(next((each.text or "" for each in below(root, "title")), "").split())
    heading = [writing.heading(1, title)] if title else []
    found = [nesting.demoted(chapter, len(heading)) for chapter in chapters if chapter]
    return "\n\n".join([*heading, *found]) + "\n"


def _package(file: zipfile.ZipFile) -> str:
    for each in below(packed.xml(file, CONTAINER), "rootfile"):
        path = attribute(each, "full-path")
        if path in file.namelist():
            return path
    raise Unreadable(f"damaged: {CONTAINER} names no list of the book's files")


def _pages(root: Element, package: str) -> Iterator[str]:
    """Files of the spine, each once; the table of contents is none."""
    items = {attribute(each, "id"): each for each in below(root, "item")}
    seen = set()
    for each in below(root, "itemref"):
        item = items.get(attribute(each, "idref"))
        if (
            item is None
            or attribute(item, "media-type") not in PAGES
            or "nav" in attribute(item, "properties").split()
        ):
            continue
        page = resolved(package, attribute(item, "href"))
        if page not in seen:
            seen.add(page)
            yield page


def _protected(file: zipfile.ZipFile) -> set[str]:
    if ENCRYPTION not in file.namelist():
        return set()
    return {
        resolved("", attribute(each, "URI"))
        for each in below(packed.xml(file, ENCRYPTION), "CipherReference")
    }


def _labels(file: zipfile.ZipFile, root: Element, package: str) -> dict[str, str]:
    """What the table of contents (EPUB 3's page or EPUB 2's list) calls each file; the first name of several."""
    named: dict[str, str] = {}
    for item in below(root, "item"):
        listing = resolved(package, attribute(item, "href"))
        lists = (
            "nav" in attribute(item, "properties").split()
            or attribute(item, "media-type") == CONTENTS
        )
        if not lists or listing not in file.namelist():
            continue
        try:
            entries = list(_entries(packed.xml(file, listing)))
        except (
            ParseError
        ):  # a page with entities of HTML, for one; the chapters can be read without
            continue
        for target, label in entries:
            named.setdefault(resolved(listing, target), label)
    return named


def _entries(root: Element) -> Iterator[tuple[str, str]]:
    for each in root.iter():
        if local(each) == "navPoint":
            content, text = find(each, "content"), find(each, "navLabel", "text")
            if content is not None and text is not None:
                yield attribute(content, "src"), " ".join((text.text or "").split())
        elif local(each) == "a" and attribute(each, "href"):
            yield attribute(each, "href"), " ".join("".join(each.itertext()).split())


def _chapter(data: bytes, label: str) -> str:
    """A file's text; under the name that the contents give it, where it has no heading."""
    page = CLOSED.sub(r"<\1\2></\1>", encodings.decode(data).text)
    text = html.to_markdown(TITLE.sub("", page)).strip("\n")
    has_heading = any(line.startswith("#") for line in text.split("\n"))
    return f"{writing.heading(1, label)}\n\n{text}" if text and label and not has_heading else text
