"""What a person reads is what is taught: of each format, a small file and the text that is made of it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.corpus.load import decode, load
from phoenix_forge.corpus.readers import hidden, structure
from phoenix_forge.corpus.walk import File

PICTURE = "iVBORw0KGgo" * 30
LONG = "The relief valve has to be opened slowly, a quarter of a turn at a time, since the line is under pressure."
WORD = re.compile(r"[^\W_]{4,}")


def loaded(name, source, folder="."):
    data = source if isinstance(source, bytes) else source.encode()
    return load(File(None, name, name), "redact", data)


def read(name, source):
    """The document of a file; every word that both have once is where its span says."""
    document = loaded(name, source).document
    assert (
        "".join(document.text[block.start : block.end] for block in document.blocks)
        == document.text
    )
    data = source.encode()
    seen = WORD.findall(document.text)
    for word in {word for word in seen if seen.count(word) == source.count(word) == 1}:
        at, place = document.text.index(word), source.index(word)
        start, end = document.span(at, at + len(word))
        within = next((cut for cut in hidden(name, source) if cut.start <= place < cut.end), None)
        if within:  # written out anew: a record, a table
            assert (
                len(source[: within.start].encode())
                <= start
                <= end
                <= len(source[: within.end].encode())
            )
        else:
            assert data[start:end].decode().startswith(word)  # and what is hidden behind it
    return document


def squeezed(text):
    """Blank lines and spaces between words say nothing."""
    return re.sub(
        r"\n{3,}", "\n\n", re.sub(r"[ \t]+", " ", re.sub(r"[ \t]+\n", "\n", text))
    ).strip()


SEEN = {
    "a picture in the text": (
        "a.md",
        f"One.\n\n![The valve](data:image/png;base64,{PICTURE})\n\nTwo.\n",
        "One.\n\n![The valve]()\n\nTwo.",
    ),
    "a picture defined below": (
        "a.md",
        f"See ![the pump][p].\n\n[p]: <data:image/png;base64,{PICTURE}>\n",
        "See ![the pump][p].",
    ),
    "a picture of HTML in Markdown": (
        "a.md",
        f"One <img alt='x' src='data:image/png;base64,{PICTURE}'> two.",
        "One two.",
    ),
    "a picture in code": (
        "a.css",
        f"a {{ background: url(data:image/png;base64,{PICTURE}) }}\n",
        "a { background: url(data:image/png;base64,…) }",
    ),
    "a picture in lines": (
        "a.json",
        '{"a": "data:image/png;base64,' + "QUJD" * 30 + '"}',
        '{"a": "data:image/png;base64,…"}',
    ),
    "an example of a data address": (
        "a.md",
        "Write `data:text/plain,hi` or ![x](pump.png).\n",
        "Write `data:text/plain,hi` or ![x](pump.png).",
    ),
    "names of headings": (
        "a.md",
        "# Pump {#pump .big}\n\nText {.x}\n\n{: .no_toc}\n\nAn [old]{.mark} word.\n",
        "# Pump\n\nText\n\nAn old word.",
    ),
    "the size of a picture": ("a.md", "![p](a.png){width=50%} stays.", "![p](a.png) stays."),
    "braces that are text": (
        "a.md",
        "The set {a, b} and `{#code}`.\n\n```\n# x {#y}\n```\n",
        "The set {a, b} and `{#code}`.\n\n```\n# x {#y}\n```",
    ),
    "comments": (
        "a.md",
        "One.\n\n<!-- TODO\nmore -->\n\nTwo <!-- x --> three, `<!-- code -->`.\n\n"
        "~~~\n<!-- c -->\n~~~\n",
        "One.\n\nTwo three, `<!-- code -->`.\n\n~~~\n<!-- c -->\n~~~",
    ),
    "a comment that is never closed": ("a.md", "One.\n\n<!-- Two.\n", "One.\n\n<!-- Two."),
    "Obsidian": (
        "a.md",
        "A %%hidden%% note. ^ab12cd\n\n![[scan.png|200]]\n\n"
        "![[Other note]] and [[Other|it]], 50 %% up.\n",
        "A note.\n\n![[Other note]] and [[Other|it]], 50 %% up.",
    ),
    "Slidev": (
        "a.md",
        "# One\n\nLast words.\n---\nlayout: center\n---\n\n# Two\n",
        "# One\n\nLast words.\n\n---\n\n# Two",
    ),
    "a page with imports": (
        "a.md",
        "import Tabs from '@theme/Tabs';\n\n# Doc\n\n<Tabs>Inside.</Tabs>\n",
        "# Doc\n\nInside.",
    ),
    "a page without": (
        "a.md",
        "# Doc\n\nimport x from the menu. A `Vec<T>` of <Tabs>.\n",
        "# Doc\n\nimport x from the menu. A `Vec<T>` of <Tabs>.",
    ),
    "MDX": (
        "a.mdx",
        "import {\n  A,\n} from 'x'\nexport const meta = {\n  a: 1,\n}\n\n# Doc\n\n{/* no */}\n"
        "<Tabs items={['a', {b: 1}]}>\n  <Tab label=\"macOS\">\n\n    Install **it**.\n\n    ```sh\n    brew <b>\n"
        "      x\n    ```\n\n  </Tab>\n</Tabs>\n\n<Note title='Careful'>Keep `<out>`.</Note> See <https://a.b> "
        "and x < 3.\n",
        "# Doc\n\n**macOS**\n\nInstall **it**.\n\n```sh\nbrew <b>\n x\n```\n\n**Careful**\n\n"
        "Keep `<out>`. See <https://a.b> and x < 3.",
    ),
    "comments of reStructuredText": (
        "a.rst",
        ".. _top:\n\n.. XXX link to the page, when\n   it is there.\n\n"
        "..\n   More.\n\n"
        "Text.\n\n__ http://x.y\n",
        "Text.",
    ),
    "roles": (
        "a.rst",
        "See :func:`~os.path.join`, :class:`Foo <a.Foo>`, :ref:`the guide <g>`, :pep:`8`, :math:`x^2`, "
        ":term:`pump`, :doc:`G <../g>` and ``:func:`x```.\n",
        "See ``join()``, ``Foo``, the guide, PEP 8, $x^2$, pump, `G <../g>`_ and ``:func:`x```.",
    ),
    "admonitions": (
        "a.rst",
        ".. note:: Wait\n   here.\n\n.. warning::\n   :class: x\n\n   Hot.\n\n"
        "   .. tip:: Cool.\n\nEnd.\n",
        "Note: Wait\nhere.\n\nWarning:\n\nHot.\n\nTip: Cool.\n\nEnd.",
    ),
    "versions and objects": (
        "a.rst",
        ".. versionadded:: 3.5\n   New.\n\n.. py:function:: open(file)\n   :async:\n\n   Opens.\n",
        "New in version 3.5\nNew.\n\n``open(file)``\n\nOpens.",
    ),
    "settings": (
        "a.rst",
        ".. index:: a\n.. |v| replace:: 1\n.. figure:: a.png\n   :width: 3\n\n   Seen.\n\n"
        ".. [1] A note\n   goes on.\n",
        "Seen.\n\n[1] A note\ngoes on.",
    ),
    "literal text": (
        "a.rst",
        "Write::\n\n   .. no comment\n   :func:`x`\n\n.. code-block:: rst\n\n   .. note:: x\n",
        "Write::\n\n .. no comment\n :func:`x`\n\n.. code-block:: rst\n\n .. note:: x",
    ),
    "LaTeX": (
        "a.tex",
        "\\documentclass{article} % x\n\\newcommand{\\p}[1]{\\textbf{#1}}\n\\title{On \\emph{Pumps}}\n"
        "\\begin{document}\n\\maketitle\n\\section{Start}\\label{s}\nThe \\textbf{pump}~runs at 50\\% % no\n"
        "for \\$5, see~\\cite{x}. Caf\\'e, M\\\"uller, $a_1 < b$.\n% gone\n"
        "\\begin{equation}\\label{e}\nP = \\frac{a}{b}\n\\end{equation}\n\\end{document}\nafter\n",
        "# On *Pumps*\n\n## Start\n\nThe **pump** runs at 50%\nfor $5, see […]. Café, Müller, $a_1 < b$.\n\n"
        "$$\nP = \\frac{a}{b}\n$$",
    ),
    "LaTeX's lists and tables": (
        "a.tex",
        "\\begin{itemize}\n  \\item One\n  \\item[Two] words\n\\end{itemize}\n\\begin{tabular}{l|r}\n\\hline\n"
        "Pump & rpm \\\\ \\hline\n\\emph{A} \\& B & 1450 \\\\\n\\end{tabular}\n\\verb|a_b{| \\href{http://a.b}{site}\n",
        "- One\n- **Two** words\n\n| Pump | rpm |\n|---|---|\n| *A* & B | 1450 |\n\n`a_b{` site",
    ),
    "LaTeX's code": (
        "a.tex",
        "\\begin{lstlisting}[language=C]\nint x; % kept {\n\\end{lstlisting}\nAfter.\n",
        "```\nint x; % kept {\n```\n\nAfter.",
    ),
    "a summary in bold": (
        "a.md",
        "<details>\n<summary><b>More</b> of it</summary>\n\nText.\n</details>\n",
        "**More** of it\n\nText.",
    ),
    "LaTeX's own references": (
        "a.tex",
        "\\section{One}\nSee \\figref{fig:one}, \\eqnref{eq:5.5}, \\termref{a word}.\n",
        "## One\n\nSee …, …, a word.",
    ),
    "a chapter alone": (
        "a.tex",
        "\\chapter{One}\nText \\foo[opt]{stays}.\\footnote{A note.}\n",
        "## One\n\nText stays. (A note.)",
    ),
    "a page with components": (
        "a.md",
        "# Doc {/*doc*/}\n\n<Intro>\n\nHi `<T>`.\n\n</Intro>\n\n<Menu items={[1]} />\n",
        "# Doc\n\nHi `<T>`.",
    ),
    "set in between components": (
        "a.mdx",
        "<Steps>\n1. Do\n\n    <Box>\n      Text\n        - sub <Kbd>x</Kbd>\n        - sub <Kbd>y</Kbd>\n"
        "    </Box>\n</Steps>\n",
        "1. Do\n\n Text\n - sub x\n - sub y",
    ),
    "HTML": (
        "a.md",
        "<p align='center'>\n  <b>Fast</b> <sup>2</sup><br>and <code>x*y</code>\n</p>\n\n"
        '<script>\nvar a\n</script>\n\n<details><summary>More</summary>\n\nSee <a href="b.md">it</a>.\n\n</d'
        "etails>\n"
        "<h2>Next <small>1</small></h2>\n\na < b, `<b>`, <name>\n\n    <i>code</i>\n",
        "**Fast** 2\nand `x*y`\n\n**More**\n\nSee [it](b.md).\n\n## Next 1\n\na < b, `<b>`, <name>\n\n <i>code"
        "</i>",
    ),
    "a table of HTML": (
        "a.md",
        "x\n\n<table>\n<tr><th>Pump</th><th>rpm</th></tr>\n<tr><td>A</td><td>1450</td></tr>"
        "\n</table>\n",
        "x\n\n| Pump | rpm |\n|---|---|\n| A | 1450 |",
    ),
    "readings above words": (
        "a.md",
        "<ruby>\u6f22\u5b57<rp>(</rp><rt>\u304b\u3093\u3058</rt><rp>)</rp></ruby>\u3060",
        "\u6f22\u5b57\u3060",
    ),
    "entities": (
        "a.md",
        "A&nbsp;B &lt;b&gt; &amp; &copy; &#x41; `&lt;` &nothing; R&D;\n",
        "A B \\<b\\> & \u00a9 A `&lt;` &nothing; R&D;",
    ),
    "boxes": (
        "a.md",
        '!!! note "Mind"\n\n    Slowly.\n\n    ```sh\n    go\n    ```\n\n??? warning\n    Hot.\n\n'
        '=== ":octicons-x-16: macOS"\n\n    === "In"\n\n        Deep.\n\nEnd.\n',
        "**Mind**\n\nSlowly.\n\n```sh\ngo\n```\n\n**Warning**\n\nHot.\n\n**macOS**\n\n**In**\n\nDeep.\n\nEnd.",
    ),
    "boxes between colons": (
        "a.md",
        ":::note[Mind]\nSlowly.\n:::\n\n::: tip It: so\nA\n:::\n\n:::warning\nB\n:::\n\n"
        "::: {.column}\nC\n:::\n\n    ::: code\n",
        "**Mind**\n\nSlowly.\n\n**It: so**\n\nA\n\n**Warning**\n\nB\n\nC\n\n ::: code",
    ),
    "callouts": (
        "a.md",
        "> [!NOTE]\n> Slowly.\n\n> [!tip]- It is so\n> A\n",
        "> **Note**\n>\n> Slowly.\n\n> **It is so**\n>\n> A",
    ),
    "shortcodes": (
        "a.md",
        '{{< highlight go >}}\nx := 1\n{{< /highlight >}}\n\n[a]({{< relref "b.md" >}}) {{< ne'
        "w 1.2 >}}now\n\n"
        '{% tab title="One" %}\nIn.\n{% endtab %}\n\n`{{< x >}}` and {{ page }}\n',
        "```go\nx := 1\n```\n\n[a](b.md) now\n\n**One**\n\nIn.\n\n`{{< x >}}` and {{ page }}",
    ),
    "files that are put in": (
        "a.md",
        '--8<-- "a.txt"\n\n[TOC]\n\nText :material-x-y:{ .lg } end\n\n## T { #t data-x="1" }\n',
        "Text end\n\n## T",
    ),
    "links by a label": (
        "a.md",
        "See [the pump][p], [P] and [q][]; [n] and [^1].\n\n[p]: a.md\n[q]: <b c> 'T'\n[^1"
        "]: No /x.\n",
        "See [the pump](a.md), [P](a.md) and [q](<b c>); [n] and [^1].\n\n[^1]: No /x.",
    ),
    "AsciiDoc": (
        "a.adoc",
        "= Pumps\n:url: a.q\n// no\n\n[[use]]\n== Use *it*\n\n.Start\n[source,sh]\n----\nrun <1>\n----\n\n"
        "NOTE: Mind {url}[it], <<use>>, xref:b.adoc[B] and (((x)))`+a*b+`.\n\n* One\n** Two\n. Three\nterm:: Text\n\n"
        "[cols=2*]\n|===\n|Pump |rpm\n\n|A\n|1450\n|"
        "===\n\n////\ngone\n////\n[WARNING]\n====\nHot.\n====\n\ninclude::x[]\n",
        "# Pumps\n\n## Use **it**\n\n**Start**\n\n```sh\nrun <1>\n```\n\n**Note:** Mind [it](a.q), Use *it*, [B](b."
        "adoc) and "
        "`a*b`.\n\n- One\n - Two\n 1. Three\n - **term**: Text\n\n| Pump | rpm |\n|---|---|\n| A | 1450 |"
        "\n\n**Warning**\n\nHot.",
    ),
    "Org": (
        "a.org",
        "#+title: Pumps\n#+options: x\n# no\n* TODO Use :tag:\n:PROPERTIES:\n:ID: 7\n:END:\nThe *big\n"
        "pump* of =a*b= and "
        "[[file:b.org][B]], a/b/c.\n#+begin_src sh\n,* x\n#+end_src\n| a | b |\n|---+---|\n| 1 | 2 |"
        "\n- t :: d\n#+begin_quote\nQ\n#+end_quote\n",
        "# Pumps\n\n## TODO Use\nThe **big\npump** of `a*b` and [B](b.org), a/b/c.\n```sh\n* x\n```\n| a | b |"
        "\n|---|---|\n| 1 | 2 |\n"
        "- t: d\n\nQ",
    ),
    "names and settings of reStructuredText": (
        "a.rst",
        ":orphan:\n\n.. |p| replace:: a jet\n\nTurn |p| on, ``|p|"
        "``.\n\n.. setting:: RPM\n\nRPM\n---\n\nText.\n",
        "Turn a jet on, ``|p|``.\n\nRPM\n---\n\nText.",
    ),
    "a book of Project Gutenberg": (
        "a.txt",
        "The Project Gutenberg eBook of P\n\nTitle: P\n\nAuthor: A. B.\n\n*** START OF THE PROJECT GUTENBE"
        "RG EBOOK P ***\n\nOnce.\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK P ***\nLicence.\n",
        "Title: P\nAuthor: A. B.\n\nOnce.",
    ),
    "a book of Aozora Bunko": (
        "a.txt",
        "\u3010\u30c6\u30ad\u30b9\u30c8\u4e2d\u306b\u73fe\u308c\u308b\u8a18\u53f7"
        "\u306b\u3064\u3044\u3066\u3011\n"
        "\uff5c\u9752\u68a8\u300a\u304a\u3046\u3081\u300b\u3078\uff3b\uff03\u6539\u9801"
        "\uff3d\u3002\n",
        "\u3010\u30c6\u30ad\u30b9\u30c8\u4e2d\u306b\u73fe\u308c\u308b\u8a18\u53f7\u306b"
        "\u3064\u3044\u3066\u3011\n\u9752\u68a8\u3078\u3002",
    ),
    "signs that Aozora Bunko describes": (
        "a.txt",
        "薔薇《ばら》と※［＃「てへん＋劣」、第3水準1-84-77］、※［＃「昔」の異体、U+20017、12-3］、"
        "※［＃感嘆符三つ］［＃改ページ］。\n",
        "薔薇と挘、\U00020017、〓。",
    ),
    "what nobody sees": (
        "a.txt",
        "Rela\u00adtions\u200b of \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "Relations of \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    ),
    "rows that are texts": (
        "a.csv",
        f'id,question,answer,tag_7,no\n1,How?,"{LONG}\n\n""So."" {LONG}",bug,\n2,Who?,"{LONG} {LONG}",,\n',
        f'## How?\n\n{LONG}\n\n"So." {LONG}\n\n- id: 1\n- tag_7: bug\n\n## Who?\n\n{LONG} {LONG}\n\n- id: 2',
    ),
    "records that are texts": (
        "a.jsonl",
        "".join(
            json.dumps(each) + "\n"
            for each in (
                {"n": 7, "body": f"# Top\n{LONG} {LONG}", "title": "Pump", "x": None},
                {"n": 8, "body": f"{LONG} {LONG}", "title": None, "tags": ["a", "b"]},
            )
        ),
        f"## Pump\n\n\\# Top\n{LONG} {LONG}\n\n- n: 7\n\n## body 2\n\n{LONG} {LONG}\n\n- n: 8\n- tags: a, b",
    ),
    "records that are a table": ("a.csv", "name,rpm\nA,1450\nB,2900\n", "name,rpm\nA,1450\nB,2900"),
    "parts within parts": (
        "a.json",
        json.dumps([{"a": {"b": LONG}}, {"a": {"b": LONG}}]),
        json.dumps([{"a": {"b": LONG}}, {"a": {"b": LONG}}]),
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_what_is_read_is_what_is_seen(what):
    name, source, expected = SEEN[what]
    assert squeezed(read(name, source).text) == expected


def test_blocks_of_what_is_seen():
    _, source, _ = SEEN["LaTeX's lists and tables"]
    blocks = read("a.tex", source).blocks
    assert [block.kind for block in blocks] == ["list", "table", "paragraph"]
    assert blocks[1].rows == (("Pump", "rpm"), ("*A* & B", "1450"))


def test_a_slide_has_no_heading_of_its_last_words():
    source = "# One\n\nLast words.\n---\n\n# Two\n\nA heading\n---\n"
    assert [b.headings[-1] for b in read("a.md", source).blocks if b.kind == "heading"] == [
        "One",
        "Two",
        "A heading",
    ]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Pump\n\n# Valve\n", "Pump"),
        ("## Pump\n\nText.\n", "Pump"),
        ("## Use\n\n## Care\n", "pump notes"),
        ("### Small\n\n## Pump\n", "Pump"),
        ("text\n", "pump notes"),
    ],
)
def test_the_title_of_a_page_is_not_that_of_its_first_part(text, title):
    assert read("pump_notes.md", text).title == title


def test_what_shows_nothing_is_no_document():
    made = loaded("a.md", "<!-- only this -->\n")
    assert (made.document, made.skipped) == (
        None,
        "holds nothing that is shown: comments, settings or pictures alone",
    )


def test_a_secret_is_told_with_its_line_in_the_file():
    secret = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"
    made = loaded("a.md", f"<!-- one\ntwo -->\nText.\n{secret}\n")
    assert [finding.line for finding in made.findings] == [4]
    assert secret not in made.document.text


def test_a_row_has_its_own_span():
    source = 'name,note\nA,"two\nlines"\nB,é\n'
    (block,) = structure("a.csv", source).blocks
    assert [source[start:end] for start, end in block.spans] == ['A,"two\nlines"\n', "B,é\n"]
    source = json.dumps([{"a": 1}, {"a": 2}], indent=1)
    (block,) = structure("a.json", source).blocks
    assert source[slice(*block.spans[0])].startswith('{\n  "a": 1')


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            ",name,rpm,none\n0,A,1,\n1,B,2,\n",
            (("name", "rpm"), ("A", "1"), ("B", "2")),
        ),  # as pandas writes it
        ("country,2019,2020\nNorway,1,2\n", (("country", "2019", "2020"), ("Norway", "1", "2"))),
        ("1,2\n3,4\n", ()),
        ("a,a\n1,2\n", ()),
    ],
)
def test_columns_have_names_and_something_in_them(text, rows):
    assert structure("a.csv", text).blocks[0].rows == rows


def test_records_may_lack_a_key():
    text = json.dumps([{"a": 1, "n": None}, {"a": 2, "b": "x"}, {"a": 3}])
    assert structure("a.json", text).blocks[0].rows == (
        ("a", "b"),
        ("1", ""),
        ("2", "x"),
        ("3", ""),
    )
    assert (
        structure("a.json", json.dumps([{"a": 1}, {"b": 1, "c": 2, "d": 3}])).blocks[0].rows == ()
    )


def test_an_array_under_the_name_of_lines_is_an_array():
    assert structure("a.jsonl", '[\n {"a": 1},\n {"a": 2}\n]\n').blocks[0].rows == (
        ("a",),
        ("1",),
        ("2",),
    )


PIECES = st.lists(
    st.sampled_from(
        [
            "<!--",
            "-->",
            "{#a}",
            "\n\n",
            "```\n",
            "`",
            "---\n",
            "layout: x\n",
            "<Tab label='x'>\n",
            "  ",
            "</Tab>",
            "import a from 'b'\n",
            "{/*",
            "*/}",
            "data:image/png;base64,",
            PICTURE,
            "\\begin{document}",
            "\\end{document}",
            "\\section{",
            "}",
            "{",
            "$",
            "\\begin{tabular}{l}",
            "\\end{tabular}",
            "&",
            "\\\\",
            "%",
            "\\item",
            "\\title{",
            ".. note:: x\n",
            "   ",
            ".. c\n",
            "::\n",
            ":r:`",
            '"',
            ",",
            "a,b\n",
            "é",
            "words of text",
            "\r",
            "\n",
            "[[",
            "]]",
            "%%",
            "^abcd",
            "<b>",
            "</b>",
            "<table>",
            "</table>",
            "<td>",
            "<script>",
            "!!! n\n",
            "    ",
            ":::",
            "{{<",
            ">}}",
            "[a]: b.c\n",
            "[a]",
            "&lt;",
            "----\n",
            "|===\n",
            "|",
            "* ",
            "t:: ",
            "#+begin_src\n",
            "#+end_src\n",
            ":ID:\n",
            ":END:\n",
            "*",
            "=",
            "|p|",
            ".. |p| replace:: x\n",
            "*** START OF THE PROJECT GUTENBERG\n",
            "\u300a",
            "\u300b",
        ]
    )
    | st.text(max_size=5),
    max_size=25,
).map("".join)


@pytest.mark.slow
@pytest.mark.parametrize(
    "suffix", [".md", ".mdx", ".rst", ".tex", ".csv", ".json", ".jsonl", ".adoc", ".org", ".txt"]
)
@given(text=PIECES)
def test_any_text_is_read_and_its_places_rise(suffix, text):
    data = text.encode("utf-8", "replace")
    assert all(
        0 <= cut.start <= cut.end <= len(decode(data)[0])
        for cut in hidden(f"a{suffix}", decode(data)[0])
    )
    made = load(File(None, f"a{suffix}", f"a{suffix}"), "redact", data).document
    if made:
        assert len(made.offsets) == len(made.text) + 1
        assert all(a <= b for a, b in zip(made.offsets, made.offsets[1:], strict=False))
        assert made.notes or made.offsets[-1] <= len(data)
        assert "".join(made.text[block.start : block.end] for block in made.blocks) == made.text
