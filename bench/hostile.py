"""Documents from strangers that could block, fill or end a reader: seconds of a processor and memory of each.

Each is extracted as the dataset stage does it (read, split, facts, tokens) in a process of its own, which may take 60 s
and 4 GB here; `--before DIR` is another checkout of Forge to measure beside this one.

Usage: python bench/hostile.py [NAME…] [--before DIR]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pickle
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from kinds import zipped

RESULT = Path(__file__).resolve().parent / "results" / "hostile.json"
SECONDS, MEMORY = 60, 4_000_000_000
UNPACKED = 156_000_000


WORD = ("http://schemas.openxmlformats.org/wordprocessingml/2006/main", "word/document.xml")
OPEN = {
    kind: f"urn:oasis:names:tc:opendocument:xmlns:{kind}:1.0"
    for kind in ("office", "text", "table")
}


def _docx(body: bytes) -> bytes:
    types = (
        b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName='
        b'"/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document'
        b'.main+xml"/></Types>'
    )
    rels = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        b'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        b'Target="word/document.xml"/></Relationships>'
    )
    return zipped(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": rels,
            "word/document.xml": f'<w:document xmlns:w="{WORD[0]}"><w:body>'.encode()
            + body
            + b"</w:body></w:document>",
        }
    )


def _paragraphs(size: int) -> bytes:
    one = b"<w:p><w:r><w:t>The port is 8080.</w:t></w:r></w:p>"
    return one * (size // len(one))


def _odt(body: bytes) -> bytes:
    names = " ".join(f'xmlns:{kind}="{uri}"' for kind, uri in OPEN.items())
    return zipped(
        {
            "mimetype": b"application/vnd.oasis.opendocument.text",
            "content.xml": f"<office:document-content {names}><office:body><office:text>".encode()
            + body
            + b"</office:text></office:body></office:document-content>",
        }
    )


def _pptx(body: bytes) -> bytes:
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    show = "http://schemas.openxmlformats.org/presentationml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return zipped(
        {
            "ppt/presentation.xml": f'<p:presentation xmlns:p="{show}" xmlns:r="{office}"><p:sldIdLst><p:sldId id="256" '
            'r:id="r1"/></p:sldIdLst></p:presentation>'.encode(),
            "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{office}/slide"'
            ' Target="slides/slide1.xml"/></Relationships>'.encode(),
            "ppt/slides/slide1.xml": f'<p:sld xmlns:p="{show}" xmlns:a="{drawing}"><p:cSld><p:spTree><p:sp><p:txBody>'.encode()
            + body
            + b"</p:txBody></p:sp></p:spTree></p:cSld></p:sld>",
        }
    )


def _xlsx(rows: bytes) -> bytes:
    sheet = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return zipped(
        {
            "[Content_Types].xml": b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>'.encode(),
            "xl/workbook.xml": f'<workbook xmlns="{sheet}" xmlns:r="{office}"><sheets><sheet name="a" sheetId="1" r:id="r1"/>'
            "</sheets></workbook>".encode(),
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" Type="{office}/worksheet" '
            'Target="worksheets/sheet1.xml"/></Relationships>'.encode(),
            "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{sheet}"><sheetData>'.encode()
            + rows
            + b"</sheetData></worksheet>",
        }
    )


def _epub(body: bytes) -> bytes:
    return zipped(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            b'<rootfile full-path="a.opf"/></rootfiles></container>',
            "a.opf": b'<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.xhtml" '
            b'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>',
            "a.xhtml": b"<html><body>" + body + b"</body></html>",
        }
    )


def _pdf(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(
        b"%010d 00000 n \n" % at for at in places
    )
    return bytes(
        out
        + b"trailer <</Size %d /Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, start)
    )


def _stream(content: bytes, extra: bytes = b"") -> bytes:
    packed = zlib.compress(content, 9)
    return b"<<%s /Filter /FlateDecode /Length %d>>stream\n%s\nendstream" % (
        extra,
        len(packed),
        packed,
    )


def _page(resources: bytes) -> list[bytes]:
    return [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        b"<</Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources <<%s>>>>"
        % resources,
    ]


FONT = b"/Font <</F <</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>>>"


def _nested_forms(levels: int, each: int) -> bytes:
    """A page that draws a form, which draws the next `each` times, and so on."""
    forms = [
        _stream(
            b"/X Do " * each,
            b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources <<%s /XObject "
            b"<</X %d 0 R>>>>" % (FONT, 6 + i),
        )
        for i in range(levels)
    ]
    last = _stream(
        b"BT /F 12 Tf 50 50 Td (forge) Tj ET",
        b"/Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources <<%s>>" % FONT,
    )
    return _pdf([*_page(FONT + b" /XObject <</X 5 0 R>>"), _stream(b"/X Do"), *forms, last])


def _letters(count: int) -> bytes:
    """A page on which the same letters are drawn over and over."""
    shown = b"".join(
        b"BT /F 9 Tf %d %d Td (ab cd) Tj ET\n" % (i % 500, i * 7 % 700) for i in range(count)
    )
    return _pdf([*_page(FONT), _stream(shown)])


def _nested_mail(levels: int, inner: bytes) -> bytes:
    """Messages attached to messages."""
    head = b"From: a@b.example\nSubject: s\nMIME-Version: 1.0\nContent-Type: "
    return b"".join(head + b"message/rfc822\n\n" for _ in range(levels)) + inner


def _mail_with(name: str, kind: str, content: bytes) -> bytes:
    import base64

    return (
        b"From: a@b.example\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n"
        b"Content-Type: text/plain\n\nThe port is 8080.\n--x\nContent-Type: "
        + kind.encode()
        + b"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename="
        + name.encode()
        + b"\n\n"
        + base64.encodebytes(content)
        + b"\n--x--\n"
    )


def _multiparts(levels: int) -> bytes:
    out = b"From: a@b.example\nMIME-Version: 1.0\n"
    for i in range(levels):
        out += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i)
    return out + b"Content-Type: text/plain\n\nhello\n"


def _laughs(levels: int) -> bytes:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


def _notebook(depth: int) -> bytes:
    return (
        b'{"nbformat": 4, "nbformat_minor": 5, "metadata": '
        + b'{"a":' * depth
        + b"1"
        + b"}" * depth
        + b', "cells": []}'
    )


def _steps(line: str, count: int) -> bytes:
    """Lines that go deeper and deeper."""
    return "\n".join("  " * i + line for i in range(count)).encode()


LONG = 1_900_000
Made = tuple[str, Callable[[], bytes]]
DOCUMENTS: dict[str, Made] = {
    # nesting
    "python: lambdas": ("a.py", lambda: b"lambda: " * 3000 + b"1"),
    "python: brackets": ("a.py", lambda: b"(" * 50_000),
    "python: minus signs": ("a.py", lambda: b"x = " + b"-" * 100_000 + b"1"),
    "python: attributes": ("a.py", lambda: b"x = a" + b".a" * 100_000),
    "python: sum": ("a.py", lambda: b"x = 1" + b" + 1" * 100_000),
    "python: blocks": ("a.py", lambda: _steps("if a:", 99) + b"\n" + b"  " * 99 + b"pass\n"),
    "javascript: brackets": ("a.js", lambda: b"(" * 100_000),
    "javascript: functions": ("a.js", lambda: b"function a(){" * 50_000),
    "typescript: types": ("a.ts", lambda: b"type A = " + b"A<" * 50_000),
    "java: classes": ("A.java", lambda: b"class A {" * 50_000),
    "c: braces": ("a.c", lambda: b"int f(){" + b"{" * 100_000),
    "c++: templates": ("a.cpp", lambda: b"A<" * 100_000),
    "go: brackets": ("a.go", lambda: b"package a\nvar a = " + b"[" * 100_000),
    "rust: modules": ("a.rs", lambda: b"mod a {" * 50_000),
    "shell: substitutions": ("a.sh", lambda: b"$(" * 100_000),
    "json: lists": ("a.json", lambda: b"[" * 100_000 + b"]" * 100_000),
    "json: objects": ("a.json", lambda: b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "jsonl: lists": ("a.jsonl", lambda: (b"[" * 1000 + b"]" * 1000 + b"\n") * 100),
    "notebook: metadata": ("a.ipynb", lambda: _notebook(50_000)),
    "yaml: flow": ("a.yaml", lambda: b"a: " + b"[" * 50_000),
    "yaml: steps": ("a.yaml", lambda: _steps("a:", 1300)),
    "yaml: anchors": ("a.yaml", lambda: _laughs(12)),
    "toml: dotted key": ("a.toml", lambda: b"a" + b".a" * 100_000 + b" = 1\n"),
    "toml: dotted table": ("a.toml", lambda: b"[a" + b".a" * 100_000 + b"]\nb = 1\n"),
    "toml: tables": ("a.toml", lambda: b"".join(b"[a" + b".a" * i + b"]\n" for i in range(1000))),
    "toml: lists": ("a.toml", lambda: b"a = " + b"[" * 100_000),
    "markdown: quotes": ("a.md", lambda: b">" * 50_000 + b" a"),
    "markdown: lists": ("a.md", lambda: b"- " * 20_000 + b"a"),
    "markdown: steps": ("a.md", lambda: _steps("- a", 1000)),
    "markdown: brackets": ("a.md", lambda: b"[" * 100_000 + b"a" + b"](b)" * 100_000),
    "markdown: emphasis": ("a.md", lambda: b"*a _b " * 50_000),
    "markdown: backticks": ("a.md", lambda: b" ".join(b"`" * i for i in range(1, 1500))),
    "markdown: table": (
        "a.md",
        lambda: b"|" + b"a|" * 20_000 + b"\n|" + b"-|" * 20_000 + b"\n" + b"|b\n" * 2000,
    ),
    "html: divs": ("a.html", lambda: b"<div>" * 100_000 + b"The port is 8080."),
    "html: lists": ("a.html", lambda: b"<ul><li>a" * 50_000),
    "html: quotes": ("a.html", lambda: b"<blockquote>" * 20_000 + b"a"),
    "html: tables": ("a.html", lambda: b"<table><tr><td>a" * 20_000),
    "html: attributes": (
        "a.html",
        lambda: b"<p " + b"".join(b"a%d=1 " % i for i in range(100_000)) + b">text</p>",
    ),
    "html: formatting": ("a.html", lambda: b"<b><i><a href=x>" * 20_000 + b"a"),
    "html: spans": ("a.html", lambda: b"<table><tr><td colspan=1000 rowspan=60000>a" * 300),
    "latex: braces": ("a.tex", lambda: b"{" * 100_000 + b"a" + b"}" * 100_000),
    "latex: lists": ("a.tex", lambda: b"\\begin{itemize}\\item a " * 20_000),
    "latex: commands": ("a.tex", lambda: b"\\textbf{" * 100_000 + b"a" + b"}" * 100_000),
    "latex: macros": (
        "a.tex",
        lambda: (
            b"".join(
                b"\\newcommand{\\a%s}{\\a%s\\a%s}\n" % (b"b" * i, b"b" * (i + 1), b"b" * (i + 1))
                for i in range(60)
            )
            + b"\\begin{document}\\a\\end{document}"
        ),
    ),
    "rest: quotes": ("a.rst", lambda: _steps("a", 1300)),
    "rest: lists": ("a.rst", lambda: b"- " * 50_000 + b"a"),
    "rest: directives": ("a.rst", lambda: _steps(".. note::\n", 600)),
    "rtf: groups": ("a.rtf", lambda: b"{\\rtf1 " + b"{" * 100_000 + b"a" + b"}" * 100_000 + b"}"),
    "rtf: binary": ("a.rtf", lambda: b"{\\rtf1 \\bin2000000000 a}"),
    "mermaid: subgraphs": (
        "a.mmd",
        lambda: (
            b"flowchart TD\n" + b"".join(b"subgraph s%d[Part %d]\n" % (i, i) for i in range(60_000))
        ),
    ),
    "mermaid: arrows": (
        "a.mmd",
        lambda: b"flowchart TD\n" + b"a & b & c & d & e & f --> " * 70_000,
    ),
    # what unpacks
    "word: 156 MB": ("a.docx", lambda: _docx(_paragraphs(UNPACKED))),
    "word: one paragraph": (
        "a.docx",
        lambda: _docx(b"<w:p><w:r><w:t>" + b"a" * UNPACKED + b"</w:t></w:r></w:p>"),
    ),
    "word: tables": (
        "a.docx",
        lambda: _docx(b"<w:tbl><w:tr><w:tc>" * 20_000 + b"</w:tc></w:tr></w:tbl>" * 20_000),
    ),
    "powerpoint: 156 MB": (
        "a.pptx",
        lambda: _pptx(b"<a:p><a:r><a:t>The port is 8080.</a:t></a:r></a:p>" * 3_000_000),
    ),
    "excel: 156 MB": (
        "a.xlsx",
        lambda: _xlsx(b'<row><c t="str"><v>The port is 8080.</v></c></row>' * 3_000_000),
    ),
    "excel: far away": (
        "a.xlsx",
        lambda: _xlsx(
            b'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576">'
            b'<c r="XFD1048576"><v>1</v></c></row>'
        ),
    ),
    "opendocument: 156 MB": (
        "a.odt",
        lambda: _odt(b"<text:p>The port is 8080.</text:p>" * 4_000_000),
    ),
    "opendocument: lists": (
        "a.odt",
        lambda: _odt(
            b"<text:list><text:list-item>" * 10_000 + b"</text:list-item></text:list>" * 10_000
        ),
    ),
    "opendocument: repeated": (
        "a.odt",
        lambda: _odt(
            b"<table:table><table:table-row table:number-rows-repeated="
            b'"100000000"><table:table-cell table:number-columns-repeated='
            b'"100000000"><text:p>a</text:p></table:table-cell>'
            b"</table:table-row></table:table>"
        ),
    ),
    "epub: 156 MB": ("a.epub", lambda: _epub(b"<p>The port is 8080.</p>" * 6_000_000)),
    "mail: messages": ("a.eml", lambda: _nested_mail(2000, b"Content-Type: text/plain\n\nhello\n")),
    "mail: parts": ("a.eml", lambda: _multiparts(2000)),
    "mail: word 156 MB": (
        "a.eml",
        lambda: _mail_with(
            "a.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            _docx(_paragraphs(UNPACKED)),
        ),
    ),
    "mail: html": ("a.eml", lambda: _mail_with("a.html", "text/html", b"<ul><li>a" * 50_000)),
    "pdf: forms": ("a.pdf", lambda: _nested_forms(28, 4)),
    "pdf: forms in a circle": (
        "a.pdf",
        lambda: _pdf(
            [
                *_page(FONT + b" /XObject <</X 5 0 R>>"),
                _stream(b"/X Do"),
                _stream(
                    b"/X Do /X Do",
                    b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources <</XObject <</X 5 0 R>>>>",
                ),
            ]
        ),
    ),
    "pdf: 300,000 letters": ("a.pdf", lambda: _letters(60_000)),
    "pdf: 100 MB of text": (
        "a.pdf",
        lambda: _pdf(
            [
                *_page(FONT),
                _stream(b"BT /F 9 Tf 9 9 Td " + b"(abcdefghij klmnopqrst) Tj " * 4_000_000 + b"ET"),
            ]
        ),
    ),
    # one line
    **{
        f"a line of 1.9 MB: {name}": (name, lambda: b"word " * (LONG // 5))
        for name in (
            "a.txt",
            "a.md",
            "a.html",
            "a.rst",
            "a.tex",
            "a.py",
            "a.js",
            "a.c",
            "a.sh",
            "a.json",
            "a.yaml",
            "a.toml",
            "a.ini",
            "a.csv",
            "a.mmd",
            "a.srt",
            "a.rtf",
            "a.eml",
            "a.jsonl",
            "a.xml",
        )
    },
    **{
        f"a word of 1.9 MB: {name}": (name, lambda: b"a" * LONG)
        for name in (
            "a.txt",
            "a.md",
            "a.html",
            "a.rst",
            "a.tex",
            "a.py",
            "a.js",
            "a.csv",
            "a.yaml",
            "a.eml",
        )
    },
    "csv: a cell of 1.9 MB": ("a.csv", lambda: b'a,b\n1,"' + b"word, " * (LONG // 6) + b'"\n'),
    "csv: columns": (
        "a.csv",
        lambda: b",".join(b"c%d" % i for i in range(100_000)) + b"\n" + b"," * 100_000 + b"\n",
    ),
    "csv: quotes": ("a.csv", lambda: b'"' * LONG),
    "json: a text of 1.9 MB": ("a.json", lambda: b'{"a": "' + b"word " * (LONG // 5) + b'"}'),
}


# ---- measuring ----


def measured(context: object, path: Path) -> dict:
    """Extracts one document in a fork, within the bounds above; seconds of a processor, memory, and what came of it."""
    from phoenix_forge.corpus.walk import File
    from phoenix_forge.dataset.extract import extract, unpack

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(
            resource.RLIMIT_CPU, (math.ceil(sum(os.times()[:2])) + SECONDS, resource.RLIM_INFINITY)
        )
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        try:
            found = unpack(
                extract(context, File(path, path.name, path.name, path.stat().st_size)).record
            )
            said = found.skipped or f"{found.tokens:,} tokens"
        except BaseException as error:  # noqa: BLE001 - it is what is measured
            said = f"ended the stage: {type(error).__name__}"
        os.write(writing, pickle.dumps(said[:200]))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = answer.read()
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = (
        f"more than {SECONDS} s" if code == -signal.SIGXCPU else f"ended its process (code {code})"
    )
    return {
        "seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_megabytes": usage.ru_maxrss // 1000,
        "outcome": pickle.loads(said) if said else ended,
    }


def work(names: list[str]) -> None:
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import Config
    from phoenix_forge.dataset.extract import WorkerContext
    from phoenix_forge.weights.tiny import build_tiny

    os.nice(19)
    with tempfile.TemporaryDirectory() as folder:
        build_tiny(
            Path(folder),
            ["The forge turns documents into a model. It merges, quantises and writes.\n" * 5],
        )
        context = WorkerContext.of(
            Config(), Encoder.load(Path(folder), stop="<|im_end|>", pad="<|endoftext|>")
        )
        for name in names:
            path = Path(folder) / DOCUMENTS[name][0]
            path.write_bytes(DOCUMENTS[name][1]())
            print(
                json.dumps({"name": name, "bytes": path.stat().st_size, **measured(context, path)}),
                flush=True,
            )


def rows(names: list[str], checkout: Path) -> dict[str, dict]:
    command = [sys.executable, __file__, "--worker", *names]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(checkout / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    found = {}
    for line in process.stdout:
        row = json.loads(line)
        print(
            f"{row['name']:32} {row['bytes']:>10,} B {row['seconds']:>6} s {row['peak_megabytes']:>6,} MB  {row['outcome']}",
            flush=True,
        )
        found[row.pop("name")] = row
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="of DOCUMENTS; default: all")
    parser.add_argument("--before", type=Path, help="another checkout of Forge")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(DOCUMENTS)
    if options.worker:
        work(names)
        return
    known = json.loads(RESULT.read_text())["documents"] if RESULT.exists() else {}
    checkouts = {"before": options.before, "after": Path(__file__).resolve().parents[1]}
    for when, checkout in checkouts.items():
        if checkout:
            for name, row in rows(names, checkout).items():
                known.setdefault(name, {})[when] = row
    RESULT.write_text(
        json.dumps(
            {
                "machine": {
                    "processor": platform.processor() or platform.machine(),
                    "python": platform.python_version(),
                },
                "limits": {"seconds": SECONDS, "megabytes": MEMORY // 1_000_000},
                "documents": known,
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
