"""Where things stand: outlines, sections and what is next to them, beginnings and ends, and recitations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import PurePosixPath

from forge.corpus.document import Document
from forge.corpus.split import Section
from forge.dataset import language as en
from forge.dataset import phrasings
from forge.dataset.views import naming
from forge.dataset.views.model import LONG, Fact, Source, fill
from forge.dataset.views.prose import COMMON_HEADINGS, IDENTIFIER, NAMES, quote

CUT = re.compile(r"\n|(?<=[.!?])\s")
CODE_NAME = re.compile(
    r"\b[A-Za-z_][A-Za-z0-9]*(?:[_.][A-Za-z0-9_]+)+\b|\b[a-z]+[A-Z]\w+|\b[A-Z][a-z]+[A-Z]\w+|\b[A-Z_]{4,}\b"
)
LEAST = 48  # tokens of a section that can be cut in two
PARTS = 3  # neighbours asked for in one section


def outlines(source: Source) -> Iterator[Fact]:
    if source.section.index:
        return
    titles = [
        (block.level, en.clean_title(block.headings[-1])) for block in source.document.blocks if block.kind == "heading"
    ][:60]
    if len(titles) >= 3:
        top = min(level for level, _ in titles)
        listed = "\n".join(f"{'  ' * (level - top)}- {title}" for level, title in titles)
        yield Fact("outline", fill(phrasings.OUTLINE, source.names), listed, 0, source.section.end)


def files(source: Source) -> Iterator[Fact]:
    """The file of a document that has a name of its own. Of 'Questions about Forge' the whole title is asked for:
    Forge itself is in no file."""
    name = source.document.name
    title = en.clean_title(source.document.title)
    part = source.names[0] in title and source.names[0] != title
    whole = naming.quoted(title) if part else source.names[0]
    named = [each for each in (whole, *source.names[1:]) if PurePosixPath(name).name not in each]
    if not source.section.index and named:
        yield Fact(
            "file",
            fill(phrasings.FILE, named),
            f"{en.capitalised(named[0])} is in {name}.",
            0,
            source.section.end,
            name,
            "file",
        )


def covers(source: Source) -> Iterator[Fact]:
    """From a heading that says something to the file that has it."""
    for topic in source.topics:
        if not topic.opens or topic.is_document or topic.code or topic.asks:
            continue
        if topic.title.lower() in COMMON_HEADINGS or len(topic.title.split()) < 3 or len(topic.title) > 80:
            continue
        answer = f"{topic.mark} is a section of {topic.subject}, in {topic.document.name}."
        forms = fill(phrasings.COVERS, topic.names, t=topic.mark)
        yield Fact("cover", forms, answer, topic.start, topic.end, topic.document.name, "file")


def neighbours(source: Source) -> Iterator[Fact]:
    """The heading before and after, and what follows a sentence or line."""
    order: list[tuple[int, str]] = source.once("headings", _headings)
    at = {start: i for i, (start, _) in enumerate(order)}
    marks = [mark for _, mark in order]
    taken = 0
    for topic in source.topics:
        i = at.get(topic.start) if topic.opens and topic.title else None
        if i is None or taken >= PARTS or marks.count(marks[i]) > 1:
            continue
        span = topic.start, topic.end
        for step, templates, said in ((1, phrasings.AFTER, "followed"), (-1, phrasings.BEFORE, "preceded")):
            if not 0 <= i + step < len(order):
                continue
            taken += 1
            other = marks[i + step]
            forms = fill(templates, source.names, t=marks[i])
            answer = f"In {source.names[0]}, {marks[i]} is {said} by {other}."
            yield Fact("neighbour", forms, answer, *span, other.strip('"`'), f"heading {source.document.path}")
    yield from _following(source)


def _headings(document: Document) -> list[tuple[int, str]]:
    """(start, heading in quotes) of the headings below the title; symbols and keys where there are none."""
    title = en.clean_title(document.title)
    headed = [
        (block.start, en.clean_title(block.headings[-1])) for block in document.blocks if block.kind == "heading"
    ]
    if headed:
        return [(start, naming.quoted(name)) for start, name in headed if name and name != title]
    found: list[tuple[int, str]] = []
    for block in document.blocks:
        if block.headings and (not found or found[-1][1] != f"`{block.headings[-1].strip('`')}`"):
            found.append((block.start, f"`{block.headings[-1].strip('`')}`"))
    return found


def _following(source: Source) -> Iterator[Fact]:
    """What comes next: after a whole sentence inside a paragraph, after the section's last words, or after a line."""
    pairs: list[tuple[str, str]] = []
    for passage in source.passages:
        for _, sentence, after in passage.telling:
            if after and len(sentence) <= 240 and en.is_whole(after):
                pairs.append((sentence, after))
    pairs = [pairs[len(pairs) // 3]] if pairs else []
    if source.after is not None:
        last, first = _end(source.section.body), _begin(source.after.body)
        if last and first:
            pairs.append((last, first))
    if not pairs:
        titles = {source.names[0].strip('"'), *(topic.title for topic in source.topics)}
        pairs = _line_pairs([line for line in source.told if en.clean_title(line) not in titles])
    for said, follows in pairs:
        yield Fact(
            "neighbour",
            fill(phrasings.FOLLOWS, source.names, t=quote(said)),
            f"In {source.names[0]}, the next is: {follows}",
            source.section.start,
            source.section.end,
        )


def _line_pairs(lines: list[str]) -> list[tuple[str, str]]:
    """One pair of lines, the first such that it stands in the section once and is long enough to be known."""
    for a, b in pairwise(lines):
        if a.startswith(("%%", "|")) or b.startswith("|"):
            continue
        if 12 <= len(a) <= 200 and 8 <= len(b) <= 200 and lines.count(a) == 1:
            return [(a, b)]
    return []


def _end(text: str) -> str:
    sentence = en.plain(text.rsplit("\n", 1)[-1])
    sentence = en.sentences(sentence)[-1] if sentence else ""
    return sentence if 25 <= len(sentence) <= 240 and not en.LEFTOVER.search(sentence) else ""


def _begin(text: str) -> str:
    line = en.clean_title(text.split("\n", 1)[0])
    return line if 8 <= len(line) <= 300 and not en.LEFTOVER.search(line) and "```" not in line else ""


def parts(source: Source) -> Iterator[Fact]:
    """From a line to the part of the document that has it."""
    line = max((line for line in source.told if 12 <= len(line) <= 200 and line[0] != "|"), key=len, default="")
    if line and source.places != source.names:
        answer = f"That is in {source.places[0]}."
        forms = fill(phrasings.PART, source.names, t=quote(line))
        yield Fact("part", forms, answer, source.section.start, source.section.end)


def edges(source: Source) -> Iterator[Fact]:
    """How topics begin and end; the section as a whole where none has enough to tell."""
    found = False
    for topic in source.topics:
        told = [s for p in topic.prose for s in p.sentences]
        if not (topic.whole and topic.title and len(told) >= 3) or topic.asks or topic.code:
            continue
        first, last = told[0], told[-1]
        for kind, templates, said in (("opening", phrasings.OPENING, first), ("closing", phrasings.CLOSING, last)):
            if en.is_whole(said):
                found = True
                verb = "begins" if kind == "opening" else "ends"
                forms = fill(templates, topic.places)
                answer = f"{en.capitalised(topic.places[0])} {verb}: {said}"
                yield Fact(kind, forms, answer, topic.start, topic.end)
    title = en.clean_title(source.document.title)
    told = [line for line in source.told if line != title]
    if not found and len(told) > 1:
        place = source.places[0]
        first, last = told[0][:300], told[-1][:300]
        span = source.section.start, source.section.end
        begins, ends = f"{en.capitalised(place)} begins: {first}", f"{en.capitalised(place)} ends: {last}"
        yield Fact("opening", fill(phrasings.OPENING, source.places), begins, *span)
        yield Fact("closing", fill(phrasings.CLOSING, source.places), ends, *span)


def mentioned(source: Source) -> Iterator[Fact]:
    """The names and identifiers of a section."""
    text = source.section.body
    found = [m[0].strip("`") for m in IDENTIFIER.finditer(text)]
    found = found or CODE_NAME.findall(text)
    what = "identifiers"
    if len(dict.fromkeys(found)) < 3:
        found = [m[0] for passage in source.passages if passage.prose for m in NAMES.finditer(passage.plain)]
        what = "names"
    unique = [name for name in dict.fromkeys(found) if 3 <= len(name) <= 60][:12]
    if len(unique) >= 3:
        listed = ", ".join(f"`{name}`" if what == "identifiers" else name for name in unique[:-1])
        last = f"`{unique[-1]}`" if what == "identifiers" else unique[-1]
        place = source.places[0]
        answer = f"The {what} in {place} include {listed} and {last}."
        forms = fill(phrasings.MENTIONED, source.places, t=what)
        yield Fact("names", forms, answer, source.section.start, source.section.end)


def bodies(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        # A longer one is taught in its sections' own texts.
        if topic.title and topic.body and topic.whole and not topic.code and len(topic.body.split()) >= 8:
            forms = fill(phrasings.BODY, topic.names, t=topic.mark)
            yield Fact("body", forms, topic.body, topic.start, topic.end)


def _halves(source: Source, share: float) -> tuple[str, str] | None:
    """A section in two, cut at a line or sentence after that share of it."""
    text = source.section.body
    cut = CUT.search(text, int(len(text) * share))
    if source.section.tokens < LEAST or not cut or not text[cut.end() :].strip() or not text[: cut.start()].strip():
        return None
    return text[: cut.start()].strip(), text[cut.end() :].strip()


def continuations(source: Source) -> Iterator[Fact]:
    """The rest of a section, given its first third."""
    halves = _halves(source, 1 / 3)
    if halves:
        forms = fill(phrasings.CONTINUE, source.names, t=halves[0])
        yield Fact("continue", forms, halves[1], source.section.start, source.section.end)


def beginnings(source: Source) -> Iterator[Fact]:
    """The beginning of a section, given its last third."""
    halves = _halves(source, 2 / 3)
    if halves and len(halves[1]) <= LONG:
        forms = fill(phrasings.PRECEDING, source.names, t=halves[1])
        yield Fact("preceding", forms, halves[0], source.section.start, source.section.end)


def text_forms(section: Section, parts: int) -> tuple[str, ...]:
    """How a section's whole text is asked for, to carry its coverage; `parts` is how many its document has."""
    title = en.clip((en.clean_title(section.document.title) or section.document.name).replace('"', "'"), 90)
    titles = [en.clean_title(block.headings[-1]) for block in section.blocks if block.kind == "heading"]
    if not titles and section.headings:
        titles = [en.clean_title(section.headings[-1])]
    place = " to ".join(f'"{en.clip(t, 60)}"' for t in dict.fromkeys([titles[0], titles[-1]])) if titles else ""
    part = f"part {section.index + 1}" + (f" ({place})" if place else "")
    return fill(phrasings.TEXT, [f'"{title}"'], t="all" if parts == 1 else part)


