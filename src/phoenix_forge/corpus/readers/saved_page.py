"""Web pages in one file: MHTML, which is a mail of the page and its pictures, and Safari's archives, property lists."""

from __future__ import annotations

import plistlib
from email import message_from_bytes, policy
from xml.parsers.expat import ExpatError

from phoenix_forge.corpus import encodings
from phoenix_forge.corpus.readers import Unreadable, html, mail, markdown

LISTS = (b"bplist00", b"<?xml", b"<!DOCTYPE plist", b"<plist")
read = markdown.read


def extract(data: bytes) -> str:
    """The page as Markdown, without what stands in its frames. Raises Unreadable where the file holds none."""
    page, charset = _archived(data) if data.lstrip().startswith(LISTS) else _mailed(data)
    return html.to_markdown(encodings.decode(page, charset).text)


def _archived(data: bytes) -> tuple[bytes, str | None]:
    try:
        main = plistlib.loads(data)["WebMainResource"]
        page, charset = main["WebResourceData"], main.get("WebResourceTextEncodingName")
    except (
        plistlib.InvalidFileException,
        ExpatError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        raise Unreadable(f"damaged, or no web archive: {type(error).__name__}") from None
    if not isinstance(page, bytes):
        raise Unreadable("a web archive without a page")
    return page, charset if isinstance(charset, str) else None


def _mailed(data: bytes) -> tuple[bytes, str | None]:
    try:
        whole = message_from_bytes(data.lstrip(), policy=policy.default)
    except (*mail.BROKEN, RecursionError) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None
    for part in mail.leaves(whole):
        if part.get_content_type() in ("text/html", "application/xhtml+xml"):
            return mail.payload(part), mail.charset(part)
    raise Unreadable("not a saved web page: no part of it is HTML")
