"""Links to files: found in each format, normalised, resolved; in linear time."""

import time

import numpy as np
import pytest

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.links import Link, graph, links, resolve, resolved
from phoenix_forge.corpus.readers import structure


def document(name, text):
    read = structure(name, text)
    return Document(name, name, "0", text, read.title or name, read.blocks, np.zeros(0))


def targets(name, text):
    made = document(name, text)
    found = links(made)
    assert all(0 <= link.start < link.end <= len(text) for link in found)
    return [link.target for link in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](b.md)", ["docs/b.md"]),
        ("[a](../x/b.md#part 'title')", ["x/b.md"]),
        ("[a](<b c.md>) [d](e%20f.md?x=1)", ["docs/b c.md", "docs/e f.md"]),
        ("[a](/top.md)", ["top.md"]),
        ("[a](../../above.md)", []),
        ("[a](https://x.org/b.md) [m](mailto:a@b.c) [h](#here) [p](//x.org/y.md)", []),
        ("![image](b.png) [![badge](i.png)](b.md)", ["docs/b.md"]),
        ("[a][r] [r][] [r] [other]\n\n[r]: b.md", ["docs/b.md"] * 3),
        ("[a\nb](c.md)", ["docs/c.md"]),
        (
            "`b.md` and `src/x.py` and `not a path.md` and `os.path`",
            ["docs/b.md", "b.md", "docs/src/x.py", "src/x.py"],
        ),
        ("`[a](b.md)` ``x ` [c](d.md)``", []),
        ("\\[a](b.md)", []),
        ("```\n[a](b.md)\n```\n", []),
        ("<b.md> <b> <a href='c.md'>x</a>", ["docs/b.md", "b.md", "docs/c.md"]),
        ("[self](me.md)", []),
        ("[a](b_(c).md)", ["docs/b_(c).md"]),
        ("[[Pump#Care|the pump]]", ["docs/Pump", "Pump", "*/Pump"]),
        ("![[in/Pump.md]] `[[code]]` [[#here]]", ["docs/in/Pump", "in/Pump", "*/Pump"]),
    ],
)
def test_markdown(text, expected):
    assert targets("docs/me.md", text) == expected


def test_spans_and_texts():
    text = "é [the *FAQ*](faq.md) x"
    assert links(document("a.md", text)) == [Link(2, 21, "the *FAQ*", "faq.md")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See `text <b.rst>`_ and `web <https://x.org>`_.", ["docs/b.rst"]),
        (
            ":doc:`guide` :doc:`G <../g>` :ref:`label` :download:`f.csv`",
            ["docs/guide", "g", "docs/f.csv"],
        ),
        ("``b.rst``", ["docs/b.rst", "b.rst"]),
        (".. include:: c.txt\n", ["docs/c.txt"]),
        (
            ".. toctree::\n   :maxdepth: 2\n\n   one\n   Two <sub/two>\n",
            ["docs/one", "docs/sub/two"],
        ),
    ],
)
def test_rst(text, expected):
    assert targets("docs/me.rst", text) == expected


def test_resolving():
    known = {"a.md", "d/README.md", "e/index.md", "r.rst", "b.md", "docs/b.md"}
    assert [resolve(t, known) for t in ("a.md", "a", "d", "e", "r", "A.md", "x")] == [
        "a.md",
        "a.md",
        "d/README.md",
        "e/index.md",
        "r.rst",
        None,
        None,
    ]
    both = links(document("docs/me.md", "`b.md` `a.md`"))
    assert [name for _, name in resolved(both, known)] == ["docs/b.md", "a.md"]


def test_graph():
    texts = {
        "a.md": "[b](b.md) [b again](b.md#x) [gone](c.md)",
        "b.md": "[a](./a) `d/e.md`",
        "d/e.md": "[up](../a.md)",
    }
    found = {name: links(document(name, text)) for name, text in texts.items()}
    assert dict(graph(found.items(), set(found))) == {
        "a.md": ["b.md"],
        "b.md": ["a.md", "d/e.md"],
        "d/e.md": ["a.md"],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", ["[", "](", "[a](", "![", "`", "`a", "<", "<a ", "[a][", "(", "`x <", "[a]: ", "\\"]
)
@pytest.mark.parametrize("name", ["a.md", "a.rst"])
def test_long_lines_take_linear_time(name, unit):
    def seconds(size):
        made = document(name, "x " + unit * (size // len(unit)))
        start = time.process_time()
        links(made)
        return time.process_time() - start

    assert seconds(1_000_000 if unit in ("[", "](") else 200_000) < 8  # quadratic: hours


def test_a_note_is_found_by_its_name_in_any_folder():
    known = {"a/deep/Pump.md", "a/Pump.md", "notes/Valve.md", "me.md"}
    made = document("me.md", "[[pump]] and [[Valve|it]] and [[Gone]].")
    assert [name for _, name in resolved(links(made), known)] == ["a/Pump.md", "notes/Valve.md"]
    assert list(graph([("me.md", links(made))], known)) == [
        ("me.md", ["a/Pump.md", "notes/Valve.md"])
    ]
