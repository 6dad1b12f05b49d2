"""Sections → facts: what a document says, each with its answer and the many ways to ask for it. A table of kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from forge.corpus.document import Document
from forge.corpus.split import Section
from forge.dataset.views import absent, code, entries, links, places, prose
from forge.dataset.views.model import Fact, Source, Topic, normal, sources
from forge.dataset.views.places import text_forms

__all__ = (
    "FULL_TURN", "LINK", "VIEWS", "Fact", "Source", "Topic", "View", "facts_of", "link_facts", "normal", "sources",
    "text_forms",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """`per_turn` is how many wordings of one fact are added at a time: short answers six at a time, since only
    several wordings make a fact askable; recitations one by one."""

    kind: str
    facts: Callable[[Source], Iterator[Fact]]
    per_turn: int


FULL_TURN = 6
# In order of worth: the first kinds are the first to be asked for in several wordings when the budget is short.
# A fact's own kind may be finer than its view's: symbols give symbol_file, signature, docstring, docstring_symbol.
VIEWS = (
    View("question", prose.questions, FULL_TURN),
    View("definition", entries.definitions, FULL_TURN),
    View("table", entries.tables, FULL_TURN),
    View("field", entries.fields, FULL_TURN),
    View("header", entries.headers, FULL_TURN),
    View("statement", prose.statements, FULL_TURN),
    View("symbol", code.symbols, FULL_TURN),
    View("key", code.keys, FULL_TURN),
    View("edge", code.diagrams, FULL_TURN),
    View("command", code.commands, FULL_TURN),
    View("list", entries.lists, FULL_TURN),
    View("entry", entries.notes, FULL_TURN),
    View("file", places.files, FULL_TURN),
    View("about", prose.abouts, 3),
    View("missing", absent.missing, 1),
    View("unknown", absent.unknown, 1),
    View("cloze", prose.clozes, 2),
    View("mention", prose.mentions, 2),
    View("term", entries.terms, 2),
    View("row", entries.rows, 2),
    View("place", prose.origins, 2),
    View("cover", places.covers, 2),
    View("heading", prose.headings, 2),
    View("neighbour", places.neighbours, 2),
    View("opening", places.edges, 1),
    View("names", places.mentioned, 1),
    View("part", places.parts, 1),
    View("members", code.members, 1),
    View("outline", places.outlines, 1),
    View("code", code.codes, 1),
    View("body", places.bodies, 1),
    View("continue", places.continuations, 1),
    View("preceding", places.beginnings, 1),
)


def _elsewhere(_: Source) -> Iterator[Fact]:
    """Nothing: links are resolved across the corpus, and come from `link_facts`."""
    return iter(())


LINK = View("link", _elsewhere, 3)


def facts_of(source: Source) -> list[tuple[View, Fact]]:
    """A section's facts, most worthwhile kinds first; of two with the same first question, the first."""
    found: dict[str, tuple[View, Fact]] = {}
    for view in VIEWS:
        for fact in view.facts(source):
            if fact.forms and fact.answer.strip():
                found.setdefault(fact.forms[0], (view, fact))
    return list(found.values())


def link_facts(
    where: Document | Section, links_to: Sequence[links.Target], linked_from: Sequence[links.Target]
) -> list[tuple[View, Fact]]:
    """Facts about the links of a document, or of a section of it; each target is (title, path)."""
    return [(LINK, fact) for fact in links.links(where, links_to, linked_from)]
