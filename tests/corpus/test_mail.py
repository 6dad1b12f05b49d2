"""Mails as the standard library writes them, and as other programs do: text, quotations, attachments, mailboxes."""

import random
import sys
from email.message import EmailMessage

import pytest
from corpus.office_files import damaged, read, reason
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.readers import Unreadable, extract, structure
from phoenix_forge.corpus.readers.noted import Noted

pytest.importorskip("selectolax")


def mail(text="The pump runs.", subject="Re: AW: Pump 1", page=None, files=(), **headers):
    made = EmailMessage()
    made["From"] = headers.get("sender", "Anna Bérg <anna@example.org>")
    made["To"] = headers.get("to", '"Ok, Bo" <bo@example.org>, cy@example.org')
    made["Date"] = headers.get("date", "Fri, 01 May 2026 09:30:00 +0200")
    made["Subject"] = subject
    if text is not None:
        made.set_content(text)
    if page is not None and text is None:
        made.set_content(page, subtype="html")
    elif page is not None:
        made.add_alternative(page, subtype="html")
    for name, data, kind in files:
        main, _, sub = kind.partition("/")
        made.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return made


def body(text, **more):
    return "\n\n".join(read("a.eml", mail(text, **more).as_bytes())[2:])


FRONT = "- From: Anna Bérg\n- To: Ok, Bo, cy@example.org\n- Date: 2026-05-01 09:30+02:00"


def test_headers_and_text():
    data = mail("The pümp runs.\n\n# no heading\n- one\n- two\n").as_bytes()
    assert read("a.eml", data) == [
        "# Pump 1",
        FRONT,
        "The pümp runs.",
        "\\# no heading\n- one\n- two",
    ]
    assert structure("a.eml", extract("a.eml", data)).title == "Pump 1"


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16", "cp1251"])
def test_text_in_any_encoding(charset):
    made = mail(None)
    text = "Насос работает." if charset == "cp1251" else "Die Pümpe läuft."
    made.set_content(text.encode(charset), maintype="text", subtype="plain", cte="base64")
    made.set_param("charset", charset)
    assert read("a.eml", made.as_bytes())[2] == text


PAGE = (
    "<p>The <b>pump</b> runs.</p><table><tr><th>Pump<th>Turns</tr><tr><td>P1<td>1450</tr></table>"
    "<div class=gmail_signature>Anna</div><div class=gmail_quote>On Monday Bo wrote:<blockquote>Does it run?"
    "</blockquote></div>"
)


def test_a_page_is_read_where_there_is_no_plain_text():
    assert read("a.eml", mail(None, page=PAGE).as_bytes())[2:] == [
        "The **pump** runs.",
        "| Pump | Turns |\n|---|---|\n| P1 | 1450 |",
    ]
    assert body("Plain.", page=PAGE) == "Plain."
    assert "Does it run?" in body(None, page=PAGE, subject="Fwd: Pump 1")
    assert "Does it run?" in body(None, page='<div class="gmail_quote">Does it run?</div>')


ANSWERED = "It does.\n\nOn Mon, 27 Apr 2026, Bo <bo@example.org> wrote:\n> Does it run?\n> > No.\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANSWERED, "It does."),
        (ANSWERED.replace("Bo <bo@example.org> wrote:", "Bo <bo@example.org>\nwrote:"), "It does."),
        (
            ANSWERED.replace(
                "On Mon, 27 Apr 2026, Bo <bo@example.org> wrote:", "Am 27.04.26 schrieb Bo:"
            ),
            "It does.",
        ),
        ("> Does it run?\n> > No.\n\nIt does.\n", "> Does it run?\n\nIt does."),
        (
            "Bo wrote:\n> Does it run?\nIt does.\n> Where?\nHere.\n\n> Bye\n",
            "> Does it run?\nIt does.\n> Where?\nHere.",
        ),
        ("It does.\n-- \nAnna\nStation North\n", "It does."),
        ("It does.\n--\nAnna\n\n> Does it run?", "It does."),
        (
            "It does.\n\n-----Original Message-----\nFrom: Bo\nSent: Monday\n\nDoes it run?",
            "It does.",
        ),
        ("It does.\n\n________________________________\nVon: Bo\n\nDoes it run?", "It does."),
        ("One.\n--\n" + "More.\n" * 40, "One.\n\\--\n" + "\n".join(["More."] * 40)),
        (
            "One.\n\n____________________________\n\nTwo.",
            "One.\n\n____________________________\n\nTwo.",
        ),
        ("> Only a quotation.\n", "> Only a quotation."),
    ],
)
def test_what_a_mail_repeats_is_left_out(text, expected):
    assert body(text) == expected


def test_a_forwarded_mail_is_whole():
    text = "See below.\n\n-----Original Message-----\nFrom: Bo\nSent: Monday\n\nDoes it run?\n"
    assert "Does it run?" in body(text, subject="FW: Pump 1")


def test_attachments_are_read_by_their_own_readers_or_named():
    files = [
        ("notes.md", b"# Notes\n\ntext\n\n```\n# code\n```\n", "text/markdown"),
        ("t.csv", b"Pump;Turns\nP1;1450\n", "application/octet-stream"),
        ("go.py", b"x = 1\n", "text/x-python"),
        ("p.html", b"<h1>Page</h1><p>words", "text/html"),
        ("photo.jpg", b"\xff\xd8\xff", "image/jpeg"),
        ("bad.docx", b"PK no", "application/zip"),
        ("none", b"x", "application/octet-stream"),
    ]
    made = extract("a.eml", mail(files=files).as_bytes())
    blocks = made.rstrip("\n").split("\n\n")
    assert blocks[1].endswith(
        "\n- Attachments: notes.md, t.csv, go.py, p.html, photo.jpg, bad.docx, none"
    )
    assert blocks[3:] == [
        "## notes.md",
        "### Notes",
        "text",
        "```\n# code\n```",
        "## t.csv",
        "| Pump | Turns |\n|---|---|\n| P1 | 1450 |",
        "## go.py",
        "```py\nx = 1\n```",
        "## p.html",
        "### Page",
        "words",
    ]
    assert isinstance(made, Noted)
    assert [note.split(": not read: ")[0] for note in made.notes] == [
        "attachment photo.jpg",
        "attachment bad.docx",
        "attachment none",
    ]
    assert "damaged" in made.notes[1]


def test_a_mail_within_a_mail():
    inner = mail("Inner words.", subject="Inner")
    for depth in range(5):
        outer = mail(f"Words {depth}.", subject=f"Level {depth}")
        outer.add_attachment(inner)
        inner = outer
    made = extract("a.eml", inner.as_bytes())
    assert [line for line in made.splitlines() if line.startswith("#")] == [
        "# Level 4",
        "## Level 3",
        "### Level 2",
        "#### Level 1",
    ]
    assert made.notes == ("attached mail : not read: a mail within 3 others",)


def test_a_page_needs_the_library_for_pages_and_plain_text_does_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "selectolax.lexbor", None)
    assert body("The pump runs.") == "The pump runs."
    with pytest.raises(Unreadable, match=r"reading \.eml needs selectolax") as caught:
        extract("a.eml", mail(None, page=PAGE).as_bytes())
    assert "phoenix-forge[docs]" in caught.value.fix


def boxed(*mails):
    return b"".join(
        b"From anna@example.org Fri May  1 09:30:00 2026\n" + each.as_bytes() + b"\n"
        for each in mails
    )


def test_a_mailbox():
    text = "First.\n>From here on it runs."
    data = boxed(
        mail(text, subject="One"),
        mail("Second.", subject="Two", files=[("a.heic", b"x", "image/jpeg")]),
    )
    made = extract("a.mbox", data)
    assert [line for line in made.splitlines() if line.startswith("#")] == ["# One", "# Two"]
    assert "First.\nFrom here on it runs." in made
    assert made.notes == ("mail 2: attachment a.heic: not read: Forge reads no .heic",)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.eml", b"no mail at all", "not a mail"),
        ("a.eml", b"\n \n", "empty"),
        ("a.eml", b"Subject: x\nContent-Type: application/pkcs7-mime\n\nabc", "encrypted"),
        ("a.mbox", b"Subject: x\n\ny", "not a mailbox"),
        ("a.mbox", b"From x\n\nnothing", "not a mail"),
    ],
)
def test_what_cannot_be_read_is_named(name, data, expected):
    assert expected in reason(name, data)


@pytest.mark.parametrize(
    "header",
    [
        "Date: no day",
        "Date: Fri, 99 May 99999 09:30:00",
        "From: =?x-no?B?w7w=?=",
        'From: "a <b@c',
        "Subject: =?utf-8?B?!!?=",
        "To: <<>>,,;:",
        "Cc: a:b:c;",
        'Content-Type: text/plain; charset="no-such"',
        "Content-Type: multipart/mixed",
        "Content-Transfer-Encoding: base64",
        "Content-Type: message/rfc822",
        "Date: Mon, 27 Apr 2026 09:30:00 +9223372036854775808",
    ],
)
def test_headers_against_the_rules_do_no_harm(header):
    assert (
        reason("a.eml", f"From: Bo\nSubject: Pump\n{header}\n\nThe pump runs.\n".encode()) is None
    )


WHOLE = boxed(
    mail(
        ANSWERED,
        page=PAGE,
        files=[
            ("t.csv", b"Pump;Turns\nP1;1450\n", "text/csv"),
            ("notes.md", b"# Notes\n", "text/markdown"),
        ],
    ),
    mail(None, page=PAGE),
)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32), count=st.integers(1, 40), whole=st.floats(0.1, 1), box=st.booleans()
)
def test_a_corrupted_mail_is_read_or_refused(seed, count, whole, box):
    data = damaged(WHOLE[: int(len(WHOLE) * whole)], random.Random(seed), count)
    assert reason("a.mbox" if box else "a.eml", data) != ""
