"""Mails (EML) by the standard library: who wrote when to whom, the text, and what is attached.

What a mail repeats of the one that it answers is left out, and the sender's signature; a quotation with an answer below
it stays, since the answer needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import PurePosixPath
from typing import Any

from phoenix_forge.corpus import encodings, readers
from phoenix_forge.corpus.readers import READERS, Unreadable, grid, html, markdown, nesting, writing
from phoenix_forge.corpus.readers.noted import Noted

BROKEN = (
    MessageError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
)  # what a header against the rules raises
HEADERS = ("From", "To", "Cc", "Date", "Subject")
PREFIX = re.compile(
    r"(?:(?:re|aw|sv|vs|antw|fwd?|wg|tr|rv|ynt|odp|отв)(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE
)
FORWARD = re.compile(r"\s*(?:fwd?|wg|tr|rv|pd)\s*:", re.IGNORECASE)
SIGNATURE = re.compile(r"--[ \t]?")
SIGNED = 15  # lines that a signature has at most, where its mark has lost its space
# Where a program puts the mail that is answered, whole and without marks.
ORIGINAL = re.compile(
    r"\s*(?:-{2,}\s*(?:original message|ursprüngliche nachricht|message d'origine|mensaje original|"
    r"messaggio originale|исходное сообщение)\s*-{2,}|_{20,})\s*",
    re.IGNORECASE,
)
SENT = re.compile(r"\s*\*?(?:from|von|de|da|от)\s*:\*?\s*\S.*", re.IGNORECASE)
WROTE = re.compile(
    r".*(?:wrote|schrieb.*|a écrit|escribió|ha scritto|escreveu|schreef|пишет|написал[а]?)\s*:\s*",
    re.IGNORECASE,
)
DAY = re.compile(r"\d{1,2}[.:/-]\d\d|\b(?:19|20)\d\d\b")
QUOTED = (
    "blockquote[type=cite], .gmail_quote, .yahoo_quoted, .protonmail_quote, .moz-cite-prefix, #divRplyFwdMsg, "
    "#divRplyFwdMsg ~ *, #appendonsend ~ *, .gmail_signature, .moz-signature, .protonmail_signature_block, "
    "#Signature"
)
NAMED = {"markdown", "plain", "rst", "html"}  # readers of text that Markdown takes as it is
NESTED = 3  # mails within mails that are read
read = markdown.read


def extract(data: bytes) -> str:
    """A mail as Markdown; Noted where something attached is not read.

    Raises Unreadable where the file is no mail, or its text is encrypted.
    """
    blocks, notes = blocks_of(data)
    text = "\n\n".join(blocks) + "\n"
    return Noted(text, tuple(notes)) if notes else text


def blocks_of(data: bytes) -> tuple[list[str], list[str]]:
    """A mail's blocks of Markdown, and what of it is not read. Raises Unreadable as `extract` does."""
    try:
        mail = message_from_bytes(
            data.removeprefix(b"\xef\xbb\xbf").lstrip(), policy=policy.default
        )
    except (*BROKEN, RecursionError) as error:
        raise Unreadable(f"damaged: {type(error).__name__}") from None
    if not any(_header(mail, name) for name in HEADERS):
        raise Unreadable("not a mail: it has no From, To, Date or Subject")
    if mail.get_content_type() in (
        "multipart/encrypted",
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
    ):
        raise Unreadable("encrypted: only its recipients can read it")
    return _mail(mail, 1, 0)


def _mail(mail: Message, level: int, depth: int) -> tuple[list[str], list[str]]:
    subject = _header(mail, "Subject")
    bodies, attached = _parts(mail)
    body = _body(bodies, bool(FORWARD.match(subject)))
    front = [f"- {name}: {text}" for name in HEADERS[:4] if (text := _about(mail, name))]
    names = [name for part in attached if (name := _name(part))]
    front += [f"- Attachments: {', '.join(names)}"] if names else []
    blocks = [
        writing.heading(level, PREFIX.sub("", subject).strip() or "Mail"),
        *(["\n".join(front)] if front else []),
    ]
    blocks += [nesting.demoted(body, level)] if body else []
    notes: list[str] = []
    for part in attached:
        found, left_out = _attached(part, level, depth)
        blocks += found
        notes += left_out
    return blocks, notes


# -- headers -----------------------------------------------------------------------------------------------------------


def _header(mail: Message, name: str) -> str:
    """A header as one line; as it is written, where it does not keep to the rules."""
    try:
        return " ".join(str(mail.get(name, "")).split())
    except BROKEN:
        raw = next(
            (str(value) for key, value in mail.raw_items() if key.lower() == name.lower()), ""
        )
        return " ".join(raw.split())


def _about(mail: Message, name: str) -> str:
    """People by their names, where they have one, and the date as ISO 8601."""
    text = _header(mail, name)
    if name == "Date":
        try:
            return parsedate_to_datetime(text).isoformat(" ", "minutes") if text else ""
        except BROKEN:
            return text
    people = getaddresses([text])
    return ", ".join(shown or address for shown, address in people if shown or address)


def _name(part: Message) -> str:
    try:
        return " ".join((part.get_filename() or "").split())
    except BROKEN:
        return ""


# -- text --------------------------------------------------------------------------------------------------------------


def _parts(mail: Message) -> tuple[dict[str, str], list[Message]]:
    """The text by its kind (plain, html), all parts of a kind together, and the other parts."""
    bodies: dict[str, str] = {}
    attached: list[Message] = []
    for part in leaves(mail):
        kind = part.get_content_type()
        shown = part.get_content_disposition() != "attachment" and not _name(part)
        if kind in ("text/plain", "text/html") and shown:
            text = encodings.decode(payload(part), charset(part)).text
            bodies[kind[5:]] = "\n\n".join(filter(None, [bodies.get(kind[5:], ""), text.strip()]))
        elif _name(part) or kind == "message/rfc822":
            attached.append(part)
    return bodies, attached


def leaves(mail: Message) -> Iterator[Message]:
    """Parts that hold no other, but for whole mails, which stay whole."""
    waiting = [mail]
    while waiting:
        part = waiting.pop(0)
        inner = part.get_payload() if part.is_multipart() else None
        if isinstance(inner, list) and part.get_content_maintype() == "multipart":
            waiting = [each for each in inner if isinstance(each, Message)] + waiting
        else:
            yield part


def payload(part: Message) -> bytes:
    try:
        data = part.get_payload(decode=True)
    except BROKEN:
        return b""
    return data if isinstance(data, bytes) else b""


def charset(part: Message) -> str | None:
    try:
        return part.get_content_charset()
    except BROKEN:
        return None


def _body(bodies: dict[str, str], forwarded: bool) -> str:
    """The plain text, or else the page. What only quotes is shown whole: it is all there is."""
    if bodies.get("plain", "").strip():
        return _plain(bodies["plain"], forwarded)
    page = bodies.get("html", "")
    if not page.strip():
        return ""
    own = "" if forwarded else html.to_markdown(_without_quotes(page))
    return (own or html.to_markdown(page)).strip()


def _without_quotes(page: str) -> str:
    from selectolax.lexbor import LexborHTMLParser

    parsed: Any = LexborHTMLParser(page.replace("\0", "\ufffd"))
    for node in parsed.css(QUOTED):
        node.decompose()
    return parsed.html or ""


def _plain(text: str, forwarded: bool) -> str:
    lines = [line.rstrip("\r") for line in text.split("\n")]
    own = lines if forwarded else _answer(_unsigned(_before_original(lines)))
    shown = own if any(line.strip() for line in own) else lines
    return "\n".join(_written(line) for line in shown).strip("\n")


def _before_original(lines: list[str]) -> list[str]:
    """Up to the mail that is answered, where a program has put that below without marks."""
    for i, line in enumerate(lines):
        if ORIGINAL.fullmatch(line) and any(
            SENT.fullmatch(after) for after in lines[i + 1 : i + 3]
        ):
            return lines[:i]
    return lines


def _unsigned(lines: list[str]) -> list[str]:
    for i, line in enumerate(lines):
        if SIGNATURE.fullmatch(line) and (line.endswith(" ") or len(lines) - i <= SIGNED):
            below = lines[i + 1 :]
            quote = next((k for k, each in enumerate(below) if each.startswith(">")), len(below))
            return lines[:i] + below[quote:]
    return lines


def _answer(lines: list[str]) -> list[str]:
    """Without the quotation at the end, without quotations of quotations, and without who wrote what is quoted."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or lines[end - 1].startswith(">")):
        end -= 1
    cut = any(line.startswith(">") for line in lines[end:])
    kept = [line for line in lines[:end] if not re.match(r">\s?>", line)]
    if cut:
        kept = _unattributed(kept)
    return [
        line
        for i, line in enumerate(kept)
        if not (WROTE.fullmatch(line) and kept[i + 1 : i + 2] and kept[i + 1].startswith(">"))
    ]


def _unattributed(lines: list[str]) -> list[str]:
    """Without the line, or the two where the second has no day, that say whose words follow."""
    if not lines or not WROTE.fullmatch(lines[-1]):
        return lines
    wrapped = len(lines) > 1 and DAY.search(lines[-2]) and not DAY.search(lines[-1])
    return lines[:-2] if wrapped else lines[:-1]


def _written(line: str) -> str:
    """A line such that Markdown reads it as its writer meant it: lists and quotations are, headings are not."""
    return line if re.match(r"\s|>|(?:[-*+]|\d{1,3}[.)])\s+\S", line) else writing.line(line)


# -- attachments -------------------------------------------------------------------------------------------------------


def _attached(part: Message, level: int, depth: int) -> tuple[list[str], list[str]]:
    """What an attachment holds, under a heading of its own; or why it is not read."""
    name = _name(part)
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        if (
            depth >= NESTED
            or not isinstance(inner, list)
            or not inner
            or not isinstance(inner[0], Message)
        ):
            return [], [
                f"attached mail {name}: not read: a mail within {depth} others"
                if depth >= NESTED
                else f"attached mail {name}: not read: empty"
            ]
        return _mail(inner[0], min(level + 1, 5), depth + 1)
    suffix = PurePosixPath(name).suffix.lower()
    if not suffix or suffix not in READERS:
        return [], [
            f"attachment {name}: not read: Forge reads no {suffix or 'files without a suffix'}"
        ]
    try:
        text = _content(name, payload(part), charset(part))
    except Unreadable as problem:
        return [], [
            f"attachment {name}: not read: {problem.message}"
            + (f"; {problem.fix}" if problem.fix else "")
        ]
    inner_notes = [f"attachment {name}: {note}" for note in getattr(text, "notes", ())]
    if not text.strip():
        return [], [f"attachment {name}: not read: empty"]
    return [
        writing.heading(level + 1, name),
        nesting.demoted(text, level + 1).strip("\n"),
    ], inner_notes


def _content(name: str, data: bytes, charset: str | None) -> str:
    """An attachment as Markdown: tables as such, and code and settings in a fence."""
    if readers.extracts(name):
        return readers.extract(name, data)
    text = encodings.decode(data, charset).text.replace("\r\n", "\n")
    module = READERS[PurePosixPath(name).suffix.lower()].module
    if module == "tabular":
        return "\n\n".join(grid.tables(grid.cells(text)))
    return (
        text
        if module in NAMED
        else writing.fence(text, PurePosixPath(name).suffix[1:].lower())
        if text
        else ""
    )
