"""Links between documents: what one refers to, and what refers to it."""

from __future__ import annotations

from collections.abc import Sequence

from phoenix_forge.corpus.document import Document
from phoenix_forge.corpus.split import Section
from phoenix_forge.examples import english as en
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import language as lang
from phoenix_forge.questions import naming, phrasings
from phoenix_forge.questions.model import fill

MOST = 20  # documents that an answer names

Target = tuple[str, str]  # title, path of a document


def links(
    where: Document | Section, links_to: Sequence[Target], linked_from: Sequence[Target]
) -> list[Fact]:
    """Facts about links of a document, or of one section of it: what it refers to, and what refers to it."""
    document = where.document if isinstance(where, Section) else where
    names = naming.names(document)
    span = (where.start, where.end) if isinstance(where, Section) else (0, len(document.text))
    facts = []
    for targets, templates, verb in (
        (links_to, phrasings.REFERS, "{s} refers to {t}."),
        (linked_from, phrasings.REFERRED, "{s} is referred to in {t}."),
    ):
        named = [_named(*target) for target in dict.fromkeys(targets)][:MOST]
        if named:
            answer_key = targets[0][0] if len(named) == 1 else ""
            answer = fill((verb,), names[:1], t=lang.listed(named))[0]
            facts.append(
                Fact(
                    "link",
                    fill(templates, names),
                    answer,
                    *span,
                    answer_key,
                    "link" if answer_key else "",
                )
            )
    return facts


def _named(title: str, path: str) -> str:
    cleaned = en.clean_title(title) or path
    return f"{naming.subject(cleaned, path)} ({path})" if cleaned != path else path
