"""Files of many kinds that hold the same text, for measuring how fast each is read. By hand, as small as may be."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from xml.sax.saxutils import escape

OPEN = "http://schemas.openxmlformats.org"
OFFICE = f"{OPEN}/officeDocument/2006/relationships"
PARAGRAPHS = 12  # of a section


def sections(folder: Path, size: int) -> list[list[str]]:
    """Section → paragraphs, of at least `size` bytes: the folder's Markdown over and over, with a number in each."""
    texts = [
        part
        for path in sorted(folder.rglob("*.md"))
        for part in path.read_text(encoding="utf-8").split("\n\n")
        if len(part) > 80 and part[0].isalpha()
    ]
    made: list[list[str]] = [[]]
    held = number = 0
    while held < size:
        text = f"{number}: {' '.join(texts[number % len(texts)].split())}"
        held += len(text.encode())
        number += 1
        if len(made[-1]) == PARAGRAPHS:
            made.append([])
        made[-1].append(text)
    return made


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def markup(
    parts: Sequence[Sequence[str]], heading: str, paragraph: str, change: Callable[[str], str] = str
) -> str:
    """`heading` has a place for the section's number, `paragraph` one for its text."""
    return "".join(
        heading.format(i) + "".join(paragraph.format(change(text)) for text in part)
        for i, part in enumerate(parts)
    )


def markdown(parts: list[list[str]]) -> str:
    return markup(parts, "## Section {}\n\n", "{}\n\n")


def html(parts: list[list[str]]) -> str:
    return f"<html><body><h1>Text</h1>{markup(parts, '<h2>Section {}</h2>', '<p>{}</p>', escape)}</body></html>"


def rst(parts: list[list[str]]) -> str:
    return markup(parts, "Section {}\n------------\n\n", "{}\n\n")


def tex(parts: list[list[str]]) -> str:
    def escaped(text: str) -> str:
        return "".join(
            f"\\{letter}" if letter in "%$#&_{}" else letter
            for letter in text
            if letter not in "\\^~"
        )

    body = markup(parts, "\\section{{Section {}}}\n", "{}\n\n", escaped)
    return f"\\begin{{document}}\n{body}\\end{{document}}"


def notebook(parts: list[list[str]]) -> str:
    cells = [
        {
            "cell_type": "markdown",
            "metadata": {},
            "source": f"## Section {i}\n\n" + "\n\n".join(part),
        }
        for i, part in enumerate(parts)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})


def python(parts: list[list[str]]) -> str:
    body = '\n\n\ndef section_{}():\n    """What it says."""\n'
    return '"""Text."""\n' + markup(parts, body, "    say({})\n", repr)


def records(parts: list[list[str]]) -> str:
    return json.dumps(
        [
            {"section": i, "number": k, "text": text}
            for i, part in enumerate(parts)
            for k, text in enumerate(part)
        ],
        indent=1,
    )


def table(parts: list[list[str]]) -> str:
    made = io.StringIO()
    rows = csv.writer(made)
    rows.writerow(["section", "number", "first", "text"])
    rows.writerows(
        [i, k, text[at:].split()[0], text[at : at + 80]]
        for i, part in enumerate(parts)
        for k, text in enumerate(part)
        for at in range(0, len(text) - 1, 80)
    )
    return made.getvalue()


def pdf(parts: list[list[str]]) -> bytes:
    """Pages of lines in Courier, as a typewriter sets them."""
    lines = [
        text[at : at + 90] for part in parts for text in part for at in range(0, len(text), 90)
    ]
    pages = [lines[at : at + 55] for at in range(0, len(lines), 55)]
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>"
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        font,
    ]
    for page in pages:
        said = [line.encode("cp1252", "ignore").translate(None, b"\\()") for line in page]
        drawn = b"\n".join(
            b"BT /F0 9 Tf 50 %d Td (%s) Tj ET" % (740 - 12 * i, line) for i, line in enumerate(said)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
            b"/Resources << /Font << /F0 3 0 R >> >> >>" % (len(objects) + 2)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    out, places = io.BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, io.SEEK_END)
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(
        b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    )
    return out.getvalue()


def docx(parts: list[list[str]]) -> bytes:
    word = f"{OPEN}/wordprocessingml/2006/main"
    heading = (
        '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Section {}</w:t></w:r></w:p>'
    )
    body = markup(parts, heading, "<w:p><w:r><w:t>{}</w:t></w:r></w:p>", escape)
    relations = f'<Relationships xmlns="{OPEN}/package/2006/relationships"><Relationship Id="r" Type="{OFFICE}/{{}}"'
    relations += ' Target="{}"/></Relationships>'
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{OPEN}/package/2006/content-types"/>',
            "_rels/.rels": relations.format("officeDocument", "word/document.xml"),
            "word/styles.xml": f'<w:styles xmlns:w="{word}"><w:style w:type="paragraph" w:styleId="Heading1"><w:name '
            'w:val="heading 1"/></w:style></w:styles>',
            "word/_rels/document.xml.rels": relations.format("styles", "styles.xml"),
            "word/document.xml": f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
        }
    )


def slides(parts: list[list[str]]) -> bytes:
    import pptx

    deck = pptx.Presentation()
    for i, part in enumerate(parts):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = f"Section {i}"
        slide.placeholders[1].text = "\n".join(part)
    made = io.BytesIO()
    deck.save(made)
    return made.getvalue()


def sheet(parts: list[list[str]]) -> bytes:
    import xlsxwriter

    made = io.BytesIO()
    with xlsxwriter.Workbook(made) as book:
        page = book.add_worksheet("Text")
        for i, row in enumerate(csv.reader(io.StringIO(table(parts)))):
            page.write_row(i, 0, row)
    return made.getvalue()


def odt(parts: list[list[str]]) -> bytes:
    body = markup(
        parts, '<text:h text:outline-level="1">Section {}</text:h>', "<text:p>{}</text:p>", escape
    )
    names = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text")
    )
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": (
                f"<office:document-content {names}><office:body><office:text>{body}</office:text></office:body>"
                "</office:document-content>"
            ),
        }
    )


def epub(parts: list[list[str]]) -> bytes:
    names = [f"{i}.xhtml" for i in range(len(parts))]
    items = "".join(
        f'<item id="i{i}" href="{name}" media-type="application/xhtml+xml"/>'
        for i, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="i{i}"/>' for i in range(len(names)))
    pages = {
        f"OEBPS/{name}": f'<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Section {i}</h1>'
        + "".join(f"<p>{escape(text)}</p>" for text in part)
        + "</body></html>"
        for i, (name, part) in enumerate(zip(names, parts, strict=True))
    }
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": (
                '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
                'full-path="OEBPS/a.opf"/></rootfiles></container>'
            ),
            "OEBPS/a.opf": (
                '<package xmlns="http://www.idpf.org/2007/opf"><metadata/>'
                f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
            ),
            **pages,
        }
    )


def mail(parts: list[list[str]]) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ann <ann@example.org>", "bob@example.org", "Text"
    made.set_content(markdown(parts))
    return bytes(made)


def mailbox(parts: list[list[str]]) -> bytes:
    return b"".join(
        b"From ann@example.org Mon Jan  1 10:00:00 2024\n" + mail([part]) + b"\n\n"
        for part in parts
    )


def rtf(parts: list[list[str]]) -> str:
    def escaped(text: str) -> str:
        return "".join(
            letter if letter.isascii() else f"\\u{ord(letter)}?"
            for letter in text
            if letter not in "\\{}"
        )

    body = markup(parts, "{{{{\\outlinelevel0 Section {}\\par}}}}", "{}\\par\n", escaped)
    return f"{{\\rtf1\\ansi {body}}}"


def subtitles(parts: list[list[str]]) -> str:
    lines = [
        text[at : at + 80] for part in parts for text in part for at in range(0, len(text), 80)
    ]
    return "\n".join(
        f"{i}\n00:00:00,000 --> 00:00:01,000\n{line}\n" for i, line in enumerate(lines, 1)
    )


KINDS: dict[str, Callable[[list[list[str]]], str | bytes]] = {
    "md": markdown,
    "txt": markdown,
    "html": html,
    "rst": rst,
    "tex": tex,
    "ipynb": notebook,
    "py": python,
    "json": records,
    "csv": table,
    "pdf": pdf,
    "docx": docx,
    "pptx": slides,
    "xlsx": sheet,
    "odt": odt,
    "epub": epub,
    "eml": mail,
    "mbox": mailbox,
    "rtf": rtf,
    "srt": subtitles,
}
