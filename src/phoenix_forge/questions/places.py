"""Where documents are and what they are made of: files, outlines, and how a section's own text is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from phoenix_forge.corpus.split import Section
from phoenix_forge.examples import english as en
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import phrasings
from phoenix_forge.questions.model import Material, fill

CLIPPED = 60  # characters of a heading, or of the beginning of a passage, that name a section


def outlines(material: Material) -> Iterator[Fact]:
    if material.section.index:
        return
    titles = [
        (block.level, en.clean_title(block.headings[-1]))
        for block in material.document.blocks
        if block.kind == "heading"
    ][:60]
    if len(titles) >= 3:
        top = min(level for level, _ in titles)
        listed = "\n".join(f"{'  ' * (level - top)}- {title}" for level, title in titles)
        yield Fact(
            "outline", fill(phrasings.OUTLINE, material.names), listed, 0, material.section.end
        )


def files(material: Material) -> Iterator[Fact]:
    """The file of a document that has a name of its own. Of 'Questions about Forge' the whole title is asked for:
    Forge itself is in no file."""
    name = material.document.name
    title = en.clean_title(material.document.title)
    part = material.names[0] in title and material.names[0] != title
    whole = en.quoted(title) if part else material.names[0]
    named = [each for each in (whole, *material.names[1:]) if PurePosixPath(name).name not in each]
    if not material.section.index and named:
        yield Fact(
            "file",
            fill(phrasings.FILE, named),
            f"{en.capitalised(named[0])} is in {name}.",
            0,
            material.section.end,
            name,
            "file",
        )


def text_wordings(sections: Sequence[Section]) -> list[tuple[str, ...]]:
    """How the whole text of each of a document's sections is asked for, to carry its coverage: by its headings; by its
    first words where these do not tell it apart, and only where neither does, by its number."""
    marks = (
        [_headed(section) for section in sections] if len(sections) > 1 else ["all"] * len(sections)
    )
    for finer in (_passage, lambda section, _: f"part {section.index + 1}"):
        times = Counter(marks)
        marks = [
            mark if mark and times[mark] == 1 else finer(section, mark)
            for section, mark in zip(sections, marks, strict=True)
        ]
    return [
        fill(phrasings.TEXT, [f'"{en.clip(_title(section), 90)}"'], t=mark)
        for section, mark in zip(sections, marks, strict=True)
    ]


def _title(section: Section) -> str:
    return (en.clean_title(section.document.title) or section.document.name).replace('"', "'")


def _headed(section: Section) -> str:
    """The section's first heading and its last; "" where it has none but the document's title."""
    titles = [
        block.headings[-1] for block in section.blocks if block.kind == "heading"
    ] or section.headings[-1:]
    own = [
        title
        for each in titles
        if (title := en.clean_title(each).replace('"', "'")) not in ("", _title(section))
    ]
    return " to ".join(
        f'"{en.clip(title, CLIPPED)}"' for title in dict.fromkeys([*own[:1], *own[-1:]])
    )


def _passage(section: Section, mark: str) -> str:
    if not section.index:
        return "the beginning"
    first, _, rest = section.body.partition("\n")
    said = rest.strip("=-\n ") if section.blocks and section.blocks[0].kind == "heading" else ""
    words = en.clip(en.plain((said or first)[: 4 * CLIPPED]).replace('"', "'"), CLIPPED)
    return f'the passage "{words} …"' + (f" under {mark}" if mark else "")
