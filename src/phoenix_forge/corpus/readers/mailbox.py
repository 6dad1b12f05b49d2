"""Mailboxes (MBOX): their mails one after the other, each as a mail alone is read."""

from __future__ import annotations

import re

from phoenix_forge.corpus.readers import Unreadable, mail, markdown
from phoenix_forge.corpus.readers.noted import Noted

START = re.compile(rb"(?:\A|\n\r?\n|\A\s+)From [^\r\n]*\r?\n")
ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)
read = markdown.read


def extract(data: bytes) -> str:
    """The mails as Markdown; Noted where one of them, or something attached, is not read.

    Raises Unreadable where the file is no mailbox, or none of its mails can be read.
    """
    starts = list(START.finditer(data))
    if not starts:
        raise Unreadable('not a mailbox: no line starts with "From "')
    ends = [*(match.start() for match in starts[1:]), len(data)]
    blocks: list[str] = []
    notes: list[str] = []
    for number, (match, end) in enumerate(zip(starts, ends, strict=True), 1):
        try:
            found, left_out = mail.blocks_of(ESCAPED.sub(rb"\1", data[match.end() : end]))
        except Unreadable as problem:
            found, left_out = [], [f"not read: {problem.message}"]
        blocks += found
        notes += [f"mail {number}: {note}" for note in left_out]
    if not blocks:
        raise Unreadable("; ".join(notes[:3]))
    text = "\n\n".join(blocks) + "\n"
    return Noted(text, tuple(notes)) if notes else text
