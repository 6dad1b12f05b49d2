"""Sections → facts: what a document says, each with its answer and the many ways to ask for it. A table of kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.split import Section
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import absent, code, entries, gaps, links, places, prose
from phoenix_forge.questions.model import Material, Topic, materials
from phoenix_forge.questions.places import text_wordings

__all__ = (
    "ALWAYS", "BESIDE", "LATE", "LINK", "OF_PROSE", "TAUGHT", "VIEWS", "Source", "Topic", "View", "facts_of",
    "link_facts", "materials", "text_wordings",
)  # fmt: skip


# When a kind's first turn comes: in any budget; before any kind's second turn; with the others' second turns; and what
# a teacher wrote, all of it and beside the budget, so that it takes no other kind's place.
ALWAYS, EARLY, LATE, BESIDE = 0, 1, 2, 3


@dataclass(frozen=True)
class View:
    """`per_turn` is how many wordings of one fact are added at a time: short answers six at a time, since only
    several wordings make a fact askable; recitations one by one. `first` is when its first turn comes."""

    kind: str
    facts: Callable[[Material], Iterator[Fact]]
    per_turn: int
    first: int


FULL_TURN = 6
# In order of worth: the first kinds are the first to be asked for in several wordings when the budget is short.
# A fact's own kind may be finer than its view's: symbols give symbol_file, signature, docstring, docstring_symbol.
# Prose is known as text only where nothing asks for it, hence the early kinds (bench/recipes.md).
VIEWS = (
    View("question", prose.questions, FULL_TURN, ALWAYS),
    View("definition", entries.definitions, FULL_TURN, ALWAYS),
    View("table", entries.tables, FULL_TURN, ALWAYS),
    View("field", entries.fields, FULL_TURN, ALWAYS),
    View("header", entries.headers, FULL_TURN, ALWAYS),
    View("symbol", code.symbols, FULL_TURN, ALWAYS),
    View("key", code.keys, FULL_TURN, ALWAYS),
    View("edge", code.diagrams, FULL_TURN, ALWAYS),
    View("command", code.commands, FULL_TURN, ALWAYS),
    View("list", entries.lists, FULL_TURN, ALWAYS),
    View("entry", entries.notes, FULL_TURN, ALWAYS),
    View("gap", gaps.gaps, 2, EARLY),
    View("file", places.files, 2, LATE),
    View("missing", absent.missing, 1, LATE),
    View("unknown", absent.unknown, 1, LATE),
    View("term", entries.terms, 2, LATE),
    View("row", entries.rows, 2, LATE),
    View("members", code.members, 1, LATE),
    View("outline", places.outlines, 1, LATE),
    View("code", code.codes, 1, LATE),
)


def _elsewhere(_: Material) -> Iterator[Fact]:
    """Nothing: links are resolved across the corpus, and come from `link_facts`; a teacher is asked by itself."""
    return iter(())


# What rules ask of paragraphs and lists. Where a teacher has asked of a section, its questions take their place: beside
# them these taught nothing more, for half as many tokens again (bench/knowledge.md).
OF_PROSE = ("question", "definition", "field", "list", "entry", "term", "outline")
LINK = View("link", _elsewhere, 5, EARLY)
TAUGHT = View("teacher", _elsewhere, FULL_TURN, BESIDE)


def facts_of(material: Material) -> list[tuple[View, Fact]]:
    """A section's facts, most worthwhile kinds first; of two with the same first question, the first."""
    found: dict[str, tuple[View, Fact]] = {}
    for view in VIEWS:
        for fact in view.facts(material):
            if fact.wordings and fact.answer.strip():
                found.setdefault(fact.wordings[0], (view, fact))
    return list(found.values())


def link_facts(
    where: Document | Section, links_to: Sequence[links.Target], linked_from: Sequence[links.Target]
) -> list[tuple[View, Fact]]:
    """Facts about the links of a document, or of a section of it; each target is (title, path)."""
    return [(LINK, fact) for fact in links.links(where, links_to, linked_from)]
