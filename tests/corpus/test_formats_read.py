"""What each format's reader sees: golden structures, extraction from real files, and what cannot be read."""

import io
import json
import sys
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from office_files import zipped

from phoenix_forge.corpus.readers import Unreadable, extract, extracts, structure


def blocks(name, text):
    made = structure(name, text)
    assert "".join(text[b.start : b.end] for b in made.blocks) == text
    return made.title, made.blocks


def symbols(name, text):
    _, made = blocks(name, text)
    found = [s for b in made for s in b.symbols]
    for symbol in found:  # spans are characters, whatever came before
        assert text[symbol.start : symbol.end].split() != []
        assert symbol.name.replace("::", ".").split(".")[-1] in text[symbol.start : symbol.end]
    return [(s.name, s.kind, s.signature, s.doc) for s in found]


CODE = {
    "a.js": (
        "import x from 'y'\n\n/**\n * Adds é.\n */\nexport async function add(a, b = {}) {\n  return a;\n}\n"
        "// Grüße\n"
        "export const mul = (a, b) => a * b;\nconst K = 3;\nclass Foo extends Bar {\n  /** go */\n  static go() {}\n}\n",
        [
            ("add", "function", "export async function add(a, b = {})", "Adds é."),
            ("mul", "function", "export const mul = (a, b)", "Grüße"),
            ("Foo", "class", "class Foo extends Bar", ""),
            ("Foo.go", "method", "static go()", "go"),
        ],
    ),
    "a.ts": (
        "/** A shape. */\nexport interface Shape { area(): number }\nexport type Id = string | number;\n"
        "enum Color { Red }\nnamespace N { export function inner(x: number): void {} }\n",
        [
            ("Shape", "interface", "export interface Shape", "A shape."),
            ("Shape.area", "method", "area(): number", ""),
            ("Id", "type", "export type Id = string | number", ""),
            ("Color", "enum", "enum Color", ""),
            ("N.inner", "function", "export function inner(x: number): void", ""),
        ],
    ),
    "a.tsx": (
        "export function App(p: P) { return <b>é</b>; }\n",
        [("App", "function", "export function App(p: P)", "")],
    ),
    "a.go": (
        "package main\n\n// Point is é.\ntype Point struct {\n\tX int\n}\n\n// Move moves.\n//go:noinline\n"
        "func (p *Point) Move(d int) error {\n\treturn nil\n}\n\ntype Area interface { Size() int }\n",
        [
            ("Point", "struct", "type Point struct", "Point is é."),
            ("Point.Move", "method", "func (p *Point) Move(d int) error", "Move moves."),
            ("Area", "interface", "type Area interface", ""),
            ("Area.Size", "method", "Size() int", ""),
        ],
    ),
    "a.rs": (
        "use std;\n\n/// A point, é.\n#[derive(Debug)]\npub struct Point<T> { x: T }\n\nimpl<T> Point<T> {\n"
        "    /// New.\n    pub fn new(x: T) -> Self { Self { x } }\n}\nmod inner { fn t() {} }\n",
        [
            ("Point", "struct", "pub struct Point<T>", "A point, é."),
            ("Point::new", "method", "pub fn new(x: T) -> Self", "New."),
            ("inner::t", "function", "fn t()", ""),
        ],
    ),
    "A.java": (
        "package a;\n/** Doc. */\npublic class A extends B {\n  public A(int x) { }\n"
        "  // gives é\n  int f(String s) throws E { return 1; }\n}\nrecord R(int a) {}\n",
        [
            ("A", "class", "public class A extends B", "Doc."),
            ("A.A", "constructor", "public A(int x)", ""),
            ("A.f", "method", "int f(String s) throws E", "gives é"),
            ("R", "record", "record R(int a)", ""),
        ],
    ),
    "a.h": (
        "#ifndef A_H\n#define A_H\n/* Adds é. */\nint add(int a, int b);\nextern int g;\nstruct node { int v; };\n"
        "struct later;\n#endif\n",
        [
            ("add", "function", "int add(int a, int b)", "Adds é."),
            ("node", "struct", "struct node", ""),
        ],
    ),
    "b.h": (  # C++ in a .h
        "class A {\n public:\n  A(int x) : x_(x) {}\n  int x_;\n};\n",
        [("A", "class", "class A", ""), ("A::A", "method", "A(int x)", "")],
    ),
    "a.cpp": (
        "namespace ns {\n/// Shape é.\nclass Shape : public Base {\n  virtual double area() const = 0;\n};\n"
        "template <typename T> T top(T a) { return a; }\ndouble Shape::scale(double f) { return f; }\n}\n",
        [
            ("ns::Shape", "class", "class Shape : public Base", "Shape é."),
            ("ns::Shape::area", "method", "virtual double area() const = 0", ""),
            ("ns::top", "function", "template <typename T> T top(T a)", ""),
            ("ns::Shape::scale", "method", "double Shape::scale(double f)", ""),
        ],
    ),
    "a.sh": (
        "#!/bin/bash\n# Says hé.\nhi() {\n  echo hi\n}\nhi\n",
        [("hi", "function", "hi()", "Says hé.")],
    ),
    "b.sh": (
        "set -e\n\n# shellcheck disable=SC1\n# One.\nfunction one() { echo 1; }\nfunction two\n{\n  cat <<-'END'\n}\n"
        "no() {\n\tEND\n  if x; then\n    inner() {\n      y\n    }\n  fi\n}\n\ncat <<EOF\nalso_no() {\n}\nEOF\n"
        "x=$(date)\nsub() (\n  cd /\n)\nbroken() {\n  echo\n",
        [
            ("one", "function", "function one()", "One."),
            ("two", "function", "function two", ""),
            ("sub", "function", "sub()", ""),
        ],
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_code_symbols(name):
    pytest.importorskip("tree_sitter")
    text, expected = CODE[name]
    assert symbols(name, text) == expected
    assert symbols(name, text.replace("\n", "\r\n")) == expected


def test_shell_functions_are_blocks_with_their_comments():
    text = "set -e\n\n# é\n# does\nf() {\n  x\n}\n\nf\n# end\n"
    _, made = blocks("a.sh", text)
    assert [text[b.start : b.end] for b in made] == [
        "set -e\n\n",
        "# é\n# does\nf() {\n  x\n}\n",
        "\nf\n# end\n",
    ]
    assert made[1].headings == ("f",)


def test_a_declaration_takes_the_comment_above_it_along():
    pytest.importorskip("tree_sitter")
    text = "const k = 1\n\n// é\n// does\nfunction f() {}\n\nlet z\n"
    _, made = blocks("a.js", text)
    assert [text[b.start : b.end] for b in made] == [
        "const k = 1\n\n",
        "// é\n// does\nfunction f() {}\n\n",
        "let z\n",
    ]
    assert made[1].headings == ("f",)


def test_code_with_errors_or_without_its_wheel_is_still_text(monkeypatch):
    pytest.importorskip("tree_sitter")
    assert symbols("a.js", "function ok() {}\n\nfunction (broken {{{\n")[:1] in (
        [],
        [("ok", "function", "function ok()", "")],
    )
    assert blocks("a.js", "}}}} ((\n\nx\n")[1]
    from phoenix_forge.corpus.readers import code

    code._parser.cache_clear()
    monkeypatch.setitem(sys.modules, "tree_sitter_go", None)
    assert symbols("a.go", CODE["a.go"][0]) == []
    code._parser.cache_clear()


RST = """:Author: Me
:Version: 1

=====
Title
=====

Intro::

    code here

Sub
---

.. code-block:: python

   x = 1

* one
  more
* two

  * nested

term
  meaning

====  =====
name  value
====  =====
a     1
====  =====

+---+---+
| k | v |
+===+===+
| x | y |
+---+---+

.. list-table::
   :header-rows: 1

   * - A
     - B
   * - 1
     - 2

.. csv-table::
   :header: "P", "Q"

   1, 2

A. Einstein was
a man.

Other
-----
text
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rst(end):
    title, made = blocks("a.rst", RST.replace("\n", end))
    assert title == "Title"
    assert [b.kind for b in made] == (
        ["front_matter", "heading", "paragraph", "code", "heading", "code", "list", "list"]
        + ["table"] * 4
        + ["paragraph", "heading", "paragraph"]
    )
    assert [b.items for b in made if b.kind == "list"] == [
        ("one more", "two"),
        ("term -- meaning",),
    ]
    assert [b.rows for b in made if b.kind == "table"] == [
        (("name", "value"), ("a", "1")),
        (("k", "v"), ("x", "y")),
        (("A", "B"), ("1", "2")),
        (("P", "Q"), ("1", "2")),
    ]
    assert made[-1].headings == ("Title", "Other")
    assert [b.level for b in made if b.kind == "heading"] == [1, 2, 2]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_markdown_of_every_kind(end):
    text = (
        "Title\n=====\n\nSub\n---\n\n| a | b |\n|:--|--:|\n| x \\| y | `1` |\n\n- one\n\n  more\n\t- deep\n- - inner\n- two\n\n"
        "<div>\n# no heading\n</div>\n\n\tcode\n\n~~~\nopen\n"
    ).replace("\n", end)
    title, made = blocks("a.md", text)
    assert title == "Title"
    assert [b.kind for b in made] == [
        "heading",
        "heading",
        "table",
        "list",
        "other",
        "code",
        "code",
    ]
    assert made[2].rows == (("a", "b"), ("x | y", "`1`"))
    assert made[3].items == ("one", "two")


@pytest.mark.parametrize(
    ("matter", "title"),
    [
        ("title: A: b", None),
        ("title: 'A: b'", "A: b"),
        ("title: ~", None),
        ("a: 1\ntitle: 2024-99-99", "2024-99-99"),
        ("x: " + "[" * 5000, None),
    ],
)
def test_front_matter_titles(matter, title):
    assert blocks("a.md", f"---\n{matter}\n---\ntext\n")[0] == title


DATA = {
    "a.yaml": "# top\nname: x\n# about é\nlist:\n  - a: 1\n    b: x\n  - a: 2\n    b: y\nplain: [p, q]\n",
    "a.toml": "name = 1\nb = '''\n[not]\n'''\n# about\n[list]\nk = [\n [1]\n]\n[[plain]]\n",
    "a.json": '{"name": 1,\n "list": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],\n "plain": ["p", "q"]\n}\n',
    "a.ini": "; top\n[name]\nk=1\n# about\n[list]\nx: 2\n[plain]\n",
}


@pytest.mark.parametrize("name", DATA)
def test_config_keys(name):
    text = DATA[name]
    _, made = blocks(name, text)
    assert [b.headings[0] for b in made if b.headings[0] != "b"] == ["name", "list", "plain"]
    if "# about" in text:
        assert text[made[-2].start :].startswith("# about")
    if name in ("a.yaml", "a.json"):
        assert made[1].rows == (("a", "b"), ("1", "x"), ("2", "y"))
        assert made[2].items == ("p", "q")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"a": 1'),
        ("a.json", "[1, 2"),
        ("a.yaml", "a: [\n\nb: c"),
        ("a.toml", "a = \n\nb"),
        ("a.yaml", "{a: " * 5000),
        ("a.json", "[" * 9000),
        ("a.jsonl", '{"a": 1}\n{'),
    ],
)
def test_broken_config_is_still_text(name, text):
    assert blocks(name, text)[1] == structure("a.css", text).blocks


def test_records_share_blocks():
    text = "".join(
        json.dumps({"k": i, "é": "x" if i % 10 else None, "n": None}) + "\n" for i in range(120)
    )
    made = blocks("a.jsonl", text)[1]
    assert [len(b.rows) for b in made] == [51, 51, 21]
    assert made[1].rows[:2] == (("k", "é"), ("50", ""))


def test_csv():
    text = 'name;value\r\na;"multi\r\nline"\r\n' + "".join(f"é{i};{i}\r\n" for i in range(60))
    made = blocks("a.csv", text)[1]
    assert [(b.kind, len(b.rows), b.rows[0]) for b in made] == [
        ("table", 50, ("name", "value")),
        ("table", 13, ("name", "value")),
    ]
    assert made[0].rows[1] == ("a", "multi\r\nline")
    assert blocks("a.csv", "1,2\n3,4\n")[1][0].rows == ()  # no header


def test_mermaid():
    text = (
        '---\ntitle: T\n---\nflowchart TB\n  subgraph S["Sub é"]\n    A["First<br/>x"] -->|yes| B{Two}\n  end\n'
        "  B -- no --> C & D --> E:::k\n  S -.-> A\n"
    )
    title, made = blocks("a.mmd", text)
    assert title == "T"
    assert [(b.headings, b.items) for b in made[2:]] == [
        (("Sub é",), ("First x", "Two", "First x → Two: yes")),
        ((), ("Two → C: no", "Two → D: no", "C → E", "D → E", "Sub é → First x")),
    ]
    title, made = blocks(
        "b.mmd",
        "%% Name: Seq\nsequenceDiagram\n participant A as Al\n A->>+Bob: hi: x\n Bob--xA: no\n",
    )
    assert (title, made[0].items) == ("Seq", ("Al", "Al → Bob: hi: x", "Bob → Al: no"))


# -- extracted formats -------------------------------------------------------------------------------------------------


def test_html():
    pytest.importorskip("selectolax")
    text = extract(
        "a.HTML",
        """<title>Page – T</title><style>x</style><nav><a href=x>menu</a></nav><header>site</header>
        <h2>Hé <a href=#h>¶</a></h2><p>Some <b>bold</b> <code>a`b</code> <a href="docs/x.md">link</a>.<br># no
        heading</p>
        <ul><li>one<ul><li>sub</li></ul></li><li><p>two</p></li></ul>
        <table><tr><th>A<th>B|C</tr><tr><td rowspan=2>1<td>2</tr><tr><td>3</tr></table>
        <pre class="language-py">def f():\n    ```\n</pre><dl><dt>T<dd>d</dl>loose<footer>(c)</footer>""".encode(),
    )
    title, made = blocks("a.html", text)
    assert title == "Page – T"
    assert [b.kind for b in made] == [
        "heading",
        "heading",
        "paragraph",
        "list",
        "table",
        "code",
        "list",
        "paragraph",
    ]
    assert "Some **bold** ``a`b`` [link](docs/x.md).\n\\# no heading" in text
    assert made[3].items == ("one", "two")
    assert made[4].rows == (("A", "B|C"), ("1", "2"), ("1", "3"))
    assert "````py\ndef f():\n    ```\n````" in text
    assert not any(word in text for word in ("menu", "site", "(c)", "¶"))


def test_html_never_loses_the_main_text():
    pytest.importorskip("selectolax")
    assert extract("a.html", b"<header><p>all there is</p></header>") == "all there is\n"
    assert extract("a.html", b"<main></main><p>outside</p>") == "outside\n"
    assert extract("a.html", "<meta charset=latin-1><p>Grüße".encode("latin-1")) == "Grüße\n"
    assert "deep" in extract("a.html", b"<div>" * 3000 + b"deep")


def notebook(cells, **metadata):
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    ).encode()


def test_notebook():
    stream = {"output_type": "stream", "name": "stdout", "text": ["10%\r100%\n", "done\n"]}
    error = {
        "output_type": "error",
        "ename": "E",
        "evalue": "v",
        "traceback": ["\x1b[0;31mE\x1b[0m: v"],
    }
    image = {
        "output_type": "display_data",
        "data": {"image/png": "xx", "text/plain": "<Figure>"},
        "metadata": {},
    }
    data = notebook(
        [
            {
                "cell_type": "markdown",
                "source": ["# Té\n", "text ![p](attachment:a.png) end"],
                "metadata": {},
            },
            {
                "cell_type": "code",
                "source": "x <- 1",
                "outputs": [stream, error, image],
                "metadata": {},
                "execution_count": None,
            },
        ],
        kernelspec={"name": "ir", "display_name": "R", "language": "R"},
    )
    text = extract("a.ipynb", data)
    assert (
        text
        == "# Té\ntext  end\n\n```r\nx <- 1\n```\n\n```output\n100%\ndone\n```\n\n```output\nE: v\n```\n"
    )
    assert [b.kind for b in blocks("a.ipynb", text)[1]] == [
        "heading",
        "paragraph",
        "code",
        "code",
        "code",
    ]


def test_notebook_as_nbformat_writes_it():
    nbformat = pytest.importorskip("nbformat")
    v4 = nbformat.v4
    book = v4.new_notebook(cells=[v4.new_markdown_cell("## H"), v4.new_code_cell("%%bash\nls")])
    three = nbformat.v4.downgrade(book)
    for data in (nbformat.writes(book), json.dumps(three)):
        assert extract("a.ipynb", data.encode()) == "## H\n\n```bash\n%%bash\nls\n```\n"


W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(*paragraphs):
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{s}"/></w:pPr><w:r><w:t>{t}</w:t></w:r></w:p>'
        for s, t in paragraphs
    )
    cell = "<w:tc><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    rows = "".join(
        "<w:tr>" + "".join(cell.format(c) for c in row) + "</w:tr>" for row in ("kv", "é1")
    )
    packages = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{packages}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="text/xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{main}.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{packages}/relationships"><Relationship Id="a" Target="word/document.xml"'
        f' Type="{office}/officeDocument"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{packages}/relationships"><Relationship Id="s" '
        f'Target="styles.xml" Type="{office}/styles"/></Relationships>',
        "word/styles.xml": f'<w:styles xmlns:w="{W}"><w:style w:type="paragraph" w:styleId="H1">'
        '<w:name w:val="heading 1"/></w:style><w:style w:type="paragraph" w:styleId="N"><w:name w:val="Normal"/></w:style>'
        "</w:styles>",
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{body}<w:tbl>{rows}</w:tbl></w:body></w:document>',
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_docx():
    pytest.importorskip("mammoth")
    text = extract("a.docx", docx(("H1", "Títle"), ("N", "# Plain"), ("N", "")))
    assert text == "# Títle\n\n\\# Plain\n\n| k | v |\n|---|---|\n| é | 1 |\n"
    assert blocks("a.docx", text)[1][-1].rows == (("k", "v"), ("é", "1"))


def pdf(*pages, bookmark=None):
    """Pages of (x, y, text) in 10-point Helvetica; a bookmark is (page, title)."""
    objects = ["", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for lines in pages:
        drawn = "\n".join(f"BT /F1 10 Tf {x} {y} Td ({text}) Tj ET" for x, y, text in lines)
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 500] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {len(objects)} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[0] = "<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    if bookmark:
        n = len(objects)
        objects[0] = f"<< /Type /Catalog /Pages 2 0 R /Outlines {n + 1} 0 R >>"
        objects.append(f"<< /Type /Outlines /First {n + 2} 0 R /Last {n + 2} 0 R /Count 1 >>")
        objects.append(
            f"<< /Title ({bookmark[1]}) /Parent {n + 1} 0 R /Dest [{kids[bookmark[0]]} /Fit] >>"
        )
    out, places = "%PDF-1.4\n", []
    for i, content in enumerate(objects):
        places.append(len(out))
        out += f"{i + 1} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{at:010d} 00000 n \n" for at in places)
    return (
        f"{out}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} "
        f"/Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    ).encode("latin-1")


def test_pdf():
    pytest.importorskip("pypdfium2")
    head = [(40, 480, "The Manual"), (200, 20, "Page {}")]
    pages = [
        [
            (40, 440, "1 Start"),
            (40, 420, "A paragraph whose lines are joined and whose hyphen-"),
            (40, 408, "ation is undone, though well-known words that are well-"),
            (40, 396, "known keep theirs."),
            (40, 370, "A second paragraph runs over the end of the"),
        ],
        [(40, 440, "page without a break."), (40, 410, "Last words.")],
        [(40, 440, "Third page.")],
    ]
    data = pdf(
        *[[(x, y, t.format(i + 1)) for x, y, t in head] + page for i, page in enumerate(pages)],
        bookmark=(0, "Start"),
    )
    text = extract("a.pdf", data)
    assert text.split("\n\n") == [
        "# 1 Start",
        "A paragraph whose lines are joined and whose hyphenation is undone, though well-known words that are well-known "
        "keep theirs.",
        "A second paragraph runs over the end of the page without a break.",
        "Last words.",
        "Third page.\n",
    ]
    assert blocks("a.pdf", text)[0] == "1 Start"


@pytest.mark.parametrize(
    ("name", "data", "reason", "library"),
    [
        ("a.pdf", b"%PDF-1.4 nothing", "not a PDF", "pypdfium2"),
        ("a.pdf", pdf([]), "no text layer", "pypdfium2"),
        ("a.docx", b"PK\x03\x04 broken", "damaged", "mammoth"),
        ("a.docx", b"\xd0\xcf\x11\xe0 old", "encrypted", "mammoth"),
        ("a.docx", docx()[:300], "damaged", "mammoth"),
        (
            "a.docx",
            zipped({"word/document.xml": b" " * 30_000_000}),
            "times what it takes",
            "mammoth",
        ),
        ("a.ipynb", b"{", "JSON", "json"),
        ("a.ipynb", b"[]", "cells", "json"),
        ("a.ipynb", notebook([]), "without text", "json"),
        ("a.html", b"<script>x</script>", "no text", "selectolax"),
        ("a.html", b" \n", "empty", "selectolax"),
    ],
)
def test_unreadable(name, data, reason, library):
    pytest.importorskip(library)
    with pytest.raises(Unreadable) as caught:
        extract(name, data)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("name", "library"),
    [("a.docx", "mammoth"), ("a.pdf", "pypdfium2"), ("a.html", "selectolax.lexbor")],
)
def test_a_missing_library_is_named(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(Unreadable) as caught:
        extract(name, b"<p>x")
    assert library.split(".")[0] in caught.value.message
    assert "phoenix-forge[docs]" in caught.value.fix


def test_which_formats_are_extracted():
    assert [
        n
        for n in ("a.PDF", "b.docx", "c.htm", "d.ipynb", "e.md", "f.py", "README", "g.xyz")
        if extracts(n)
    ] == [
        "a.PDF",
        "b.docx",
        "c.htm",
        "d.ipynb",
    ]


pieces = st.lists(
    st.sampled_from(
        [
            "<p>",
            "<ul><li>",
            "<table><tr><td>",
            "</td>",
            "<pre>",
            "# a",
            "```",
            "&lt;b&gt;",
            "---\n",
            "é\r",
            "\x0c\u2028",
            "<h1>",
            "<a href='x y'>",
            "|",
            "1. ",
            "\x00",
        ]
    )
    | st.text(max_size=8),
    max_size=20,
).map("".join)


@settings(max_examples=60)
@given(text=pieces)
def test_what_is_extracted_tiles(text):
    pytest.importorskip("selectolax")
    cell = {
        "cell_type": "code",
        "source": text,
        "outputs": [{"output_type": "stream", "text": text}],
    }
    for name, data in (
        ("a.html", text.encode()),
        ("a.ipynb", notebook([{"cell_type": "markdown", "source": text}, cell])),
    ):
        try:
            made = extract(name, data)
        except Unreadable:
            continue
        blocks(name, made)
