"""Every reader: blocks tile the text, and the structure is the one a person sees."""

import random
import string
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.load import _offsets, decode, load
from phoenix_forge.corpus.readers import READERS, structure
from phoenix_forge.corpus.split import split
from phoenix_forge.corpus.walk import File

SUFFIXES = sorted(set(READERS) | {".unknown"})
FRAGMENTS = [
    "# A\n",
    "## B c\n",
    "Title\n=====\n",
    "para graph\nmore\n",
    "\n",
    "\r\n",
    "- x\n  - y\n",
    "1. z\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "```py\ncode\n\n# no heading\n```\n",
    "---\ntitle: t\n---\n",
    "> q\n",
    "def f(x):\n    '''doc'''\n    return x\n",
    "class A:\n    def g(self): pass\n",
    "x = 1; y = 2\n",
    "\x0c\n",
    "é 😀 ｆ\n",
    "\t",
    "   ",
    "<b>h</b>\n",
    '{"k": [1]}\n',
    "~~~\nopen fence\n",
    "a\rb\n",
    " ",
    "@dec\n",
    "\x0b\x1c\u2028\x00",
    "```\nnever closed\n",
    "a: [1, {b: c}]\n",
    "# note\n[table]\nk = 'v'\n",
    '"q,\n',
    "graph TD\nsubgraph S\nA[x] --> B\nend\n",
    ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n",
    "===  ===\na    b\n===  ===\n",
    "+--+\n|é |\n+--+\n",
    "term::\n\n    literal\n",
    "/* é */ function f(a) { return a }\n",
    "#ifdef X\nint f(int);\n#endif\n",
    "impl A { fn b() {} }\n",
    "{" * 40,
    "- " * 40 + "x\n",
    "> " * 40 + "x\n",
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=12), max_size=30).map("".join)


def document(name: str, text: str) -> Document:
    text = text.encode("utf-8", "replace").decode()
    read = structure(name, text)
    return Document(name, name, "0", text, read.title or name, read.blocks, _offsets(text, 0))


def words(pieces):
    return [max(1, len(piece.split()) + len(piece) // 7) for piece in pieces]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=12)
@given(text=texts, limit=st.integers(4, 60))
def test_blocks_and_sections_tile_the_document(suffix, text, limit):
    made = document(f"f{suffix}", text)
    assert "".join(made.text[b.start : b.end] for b in made.blocks) == made.text
    sections = split(made, limit, words)
    assert "".join(section.text for section in sections) == made.text
    assert all(words([section.text])[0] <= limit or len(section.text) == 1 for section in sections)
    data = made.text.encode()
    assert b"".join(data[slice(*made.span(s.start, s.end))] for s in sections) == data


def test_markdown_structure():
    made = document(
        "a.md",
        "---\ntitle: From the front\n---\n# One\n\nText.\n\n## Two\n\n- a\n- b\n  - nested\n\n"
        "| k | v |\n|---|---|\n| x | `y` |\n\n```sh\n# not a heading\n```\n",
    )
    assert made.title == "From the front"
    assert [b.kind for b in made.blocks] == [
        "front_matter",
        "heading",
        "paragraph",
        "heading",
        "list",
        "table",
        "code",
    ]
    assert made.blocks[3].headings == ("One", "Two")
    assert made.blocks[4].items == ("a", "b")
    assert made.blocks[5].rows == (("k", "v"), ("x", "`y`"))


def test_python_symbols():
    made = document(
        "m.py",
        '"""Module."""\nimport os\n\n@cache\ndef walk(a: int, *, b=2) -> str:\n    """Walks."""\n\n\n'
        'class C(Base):\n    """See."""\n    def go(self): ...\n',
    )
    symbols = [s for b in made.blocks for s in b.symbols]
    assert [(s.name, s.kind, s.doc) for s in symbols] == [
        ("walk", "function", "Walks."),
        ("C", "class", "See."),
        ("C.go", "method", ""),
    ]
    assert symbols[0].signature == "def walk(a: int, *, b=2) -> str"
    assert symbols[1].signature == "class C(Base)"
    assert made.text[made.blocks[1].start :].startswith("@cache")


def test_python_that_does_not_parse_is_still_text():
    assert document("m.py", "def broken(:\n    pass\n").blocks


def test_decoding():
    text, offsets, notes = decode(b"\xef\xbb\xbfa\xc3\xa9b")
    assert (text, list(offsets), notes) == ("aéb", [3, 4, 6, 7], ())
    text, _, notes = decode("Grüße aus Österreich, schöne Wörter für alle".encode("latin-1"))
    assert "Gr" in text
    assert notes
    assert "not UTF-8" in notes[0]


def test_a_section_is_never_split_needlessly():
    rng = random.Random(0)
    text = "\n\n".join(" ".join(rng.choices(["alpha", "beta"], k=10)) for _ in range(20))
    assert len(split(document("a.md", text), 10_000, words)) == 1


def test_a_line_of_signs_is_no_title():
    assert (
        structure("a.txt", "Text.\n\n```\n----\n\nThe pumps\n---------\nMore.\n").title
        == "The pumps"
    )


@pytest.mark.parametrize(
    ("name", "item"), [("a.json", "{:d}"), ("a.json", '"{:x}"'), ("a.txt", "[{0},{0}]")]
)
def test_a_line_of_data_is_cut_between_its_values(name, item):
    values = [item.format(i * 7919) for i in range(100, 1500)]
    text = "[" + ",".join(values) + "]"
    sections = split(
        document(name, text), 300, lambda texts: [-(-len(each) // 4) for each in texts]
    )
    assert "".join(section.text for section in sections) == text
    assert len(sections) > 5
    assert not any(a.text[-1].isalnum() and b.text[0].isalnum() for a, b in pairwise(sections))


def test_load_keeps_spans_across_redaction(tmp_path):
    secret = "ghp_" + "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=36))
    body = f"# T\n\nkéy {secret} end\n\n## Next\n\nlast words\n"
    (tmp_path / "a.md").write_text(body)
    loaded = load(File(tmp_path / "a.md", "a.md", "a.md"), "redact")
    made = loaded.document
    assert secret not in made.text
    assert [(f.line, f.kind) for f in loaded.findings] == [(3, "GitHub token")]
    at = made.text.index("last words")
    start, end = made.span(at, at + 10)
    assert body.encode()[start:end] == b"last words"


def symbols(name: str, text: str) -> list[str]:
    return [symbol.name for block in structure(name, text).blocks for symbol in block.symbols]


def test_code_that_is_broken_in_too_many_ways_is_text():
    """Each `*/.` may belong to what stands before or behind it: a parser that tries all takes half a minute."""
    assert symbols("a.c", "int f(int a) { return a; }\n") == ["f"]
    assert symbols("a.c", "int f(int a) { return a; }\n/* Doc. */" + ". */" * 6000) == []
    assert symbols("a.h", "int f(int a);\n") == ["f"], "the parser begins anew"


def test_what_a_here_document_says_is_no_function():
    here = "cat <<-END\n\tuse() {\n\t}\n\tEND\n"
    assert symbols("a.sh", f"usage() {{\n{here}}}\nrun() {{\n  :\n}}\n") == ["usage", "run"]
    assert symbols("a.sh", f"  usage() {{ {here}run() {{\n  :\n}}\n") == ["run"], "usage has no end"
