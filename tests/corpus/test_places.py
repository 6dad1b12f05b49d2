"""Lines of files, as an editor counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_forge.corpus.index import Entry, Passage
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.places import place
from phoenix_forge.corpus.split import split
from phoenix_forge.corpus.support import Words
from phoenix_forge.corpus.walk import File

TEXT = (
    "# Häfen\n\nThe lamp is lit\nat dusk by Märta.\n\n<!-- hidden\nfor long -->\n\n## Fog\n\n\n"
    "The bell rings thrice.\n\n- It is bronze.\n"
)


def passages(folder: Path, name: str, data: bytes) -> list[Passage]:
    (folder / name).write_bytes(data)
    document = load(File(folder / name, name, name), "redact").document
    assert document
    entry = Entry.of(
        document, split(document, 12, lambda texts: [len(text.split()) for text in texts])
    )
    return [
        Passage(name, entry.title, headings, span, body, entry.size, entry.language)
        for span, headings, body in entry.sections
    ]


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode("cp1252"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
    ],
    ids=["utf-8", "mark", "utf-16", "cp1252", "windows", "old mac"],
)
def test_a_passage_stands_in_the_lines_that_an_editor_shows(data: bytes, tmp_path: Path) -> None:
    lamp, bell = passages(tmp_path, "a.md", data)
    assert "thrice" in bell.text
    dusk = place(tmp_path, lamp, "Märta lit it at dusk.", Words())
    assert (dusk.line, dusk.lines) == (4, (1, 7))
    rings = place(tmp_path, bell, "thrice", Words())
    assert (rings.line, rings.lines) == (12, (9, 14))
    assert rings.shown == "a.md:12  Häfen › Fog  (lines 9–14)"
    assert place(tmp_path, bell, "nothing of it", Words()).line == 9


@pytest.mark.parametrize(
    ("opening", "headings"),
    [
        (
            "## Fog\n\nThe bell rings.\n\n### Nights\n\nIt rings thrice.\n",
            ("Harbour", "Fog", "Nights"),
        ),
        ("## Fog\n\nThe bell rings.\n\n## Nights\n\nIt rings thrice.\n", ("Harbour", "Nights")),
        ("## Fog\n\nThe bell rings.\n\n# Nights\n\nIt rings thrice.\n", ("Nights",)),
        ("## Fog\n\nIt rings thrice.\n\n## Nights\n\nIt is silent.\n", ("Harbour", "Fog")),
        (
            "The bell rings.\n\n### Nights\n\nIt rings thrice.\n",
            ("Harbour", "Fog", "Nights"),
        ),  # goes on from before
        ("The bell rings thrice.\n\n### Nights\n\nIt is silent.\n", ("Harbour", "Fog")),
    ],
)
def test_the_headings_are_those_above_the_line(
    opening: str, headings: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "a.md").write_text(opening)
    own = Passage("a.md", "A", ("Harbour", "Fog"), (0, len(opening)), opening, len(opening))
    assert place(tmp_path, own, "thrice", Words()).headings == headings


def test_a_part_of_a_program_has_the_headings_of_its_passage(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("        return 2.0 * hour\n\ndef height(:\n")
    own = Passage("a.py", "A", ("tides",), (0, 30), "return 2.0 * hour", 30)
    found = place(tmp_path, own, "hour", Words())
    assert (found.line, found.headings) == (1, ("tides",))


def test_what_has_no_lines_is_shown_without(tmp_path: Path) -> None:
    page = (
        b"<html><body><h1>Harbour</h1><p>The lamp is lit at dusk by the keeper.</p></body></html>"
    )
    (lamp,) = passages(tmp_path, "a.html", page)
    found = place(tmp_path, lamp, "dusk", Words())
    assert (found.line, found.lines, found.shown) == (None, None, "a.html  Harbour")
    (tmp_path / "b.md").write_text("The lamp is lit at dusk.\n")
    (gone,) = passages(tmp_path, "b.md", b"The lamp is lit at dusk.\n")
    (tmp_path / "b.md").unlink()
    assert place(tmp_path, gone, "dusk", Words()).shown == "b.md"
