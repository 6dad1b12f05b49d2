"""A text as it reads: Markdown without its marks, titles as people say them, whole sentences."""

from __future__ import annotations

import re
from functools import lru_cache

from phoenix_forge.corpus import inline

# A chapter's number. § belongs to the name of what it counts, and so do numbers above 99: 802.11, 404, a year.
NUMBERING = re.compile(
    r"^(?:#?\s*\d{1,2}(?:\.\d{1,2})*[.):]?|[IVX]{1,5}[.)]|[A-Za-z][.)])\s+(?=.*[^\W\d_])"
)
STARRED = re.compile(r"\*{1,2}[A-Za-z_]\w*(?![\w*])")  # a parameter: *args
SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')\]]))\s+(?=[\"'(\[`*]?[A-Z0-9`])")
ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Dr|Mr|Mrs|Ms|Fig|St|approx)|\b[A-Z])\.[\"')\]]?$"
)
TITLE_MARKS = re.compile(r"^(?:[^\w\"'`(\[@/.$§-]+\s*|[-–—]+\s+)+")
WORD = re.compile(r"\w")
LEFTOVER = re.compile(
    r"\[\[|\]\]|!\[|\]\(|\*\*|https?://|^[|>#<]|[|]\s|\bTODO\b|//|…$|\.\.\.$|\$\{"
)
LONGEST = 90  # characters of a title in a question


@lru_cache(maxsize=2048)  # a document's lines come back with each kind of question
def plain(markdown: str) -> str:
    """Inline Markdown without links, emphasis and tags; inline code keeps its backticks. One line."""
    return inline.plain(markdown, ticks=True)


@lru_cache(maxsize=2048)
def clean_title(heading: str) -> str:
    """A heading as people say it: no numbering, marks, emoji or closing colon."""
    text = re.sub(r"^[# ]+|\s#+$|(?<!\w)\*+$", "", plain(heading)).strip()
    text = text if STARRED.match(text) else TITLE_MARKS.sub("", text)
    text = NUMBERING.sub("", text)
    return text.rstrip(" :.-–—") if not text.endswith("...") else text


def clip(text: str, characters: int) -> str:
    """At most that many characters, cut after a whole word."""
    return (
        text if len(text) <= characters else text[:characters].rsplit(" ", 1)[0].rstrip(" ,;:-–—(")
    )


def sentences(text: str) -> list[str]:
    parts: list[str] = []
    for part in SENTENCE_END.split(text):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return [part.strip() for part in parts if part.strip()]


def decapitalised(text: str) -> str:
    """Lower-case first letter, unless the first word is a name: an acronym, CamelCase, code or the word I."""
    first = text.split(" ", 1)[0]
    name = first in ("I", "I'm") or (len(first) > 1 and not first[1:].islower())
    return text if name else text[:1].lower() + text[1:]


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def sentence_case(heading: str, lower: frozenset[str] | set[str]) -> str:
    """A Title Case heading as it reads in a sentence: words that its document has in lower case (`lower`) get it."""
    return " ".join(
        word.lower() if word[1:].islower() and word.lower() in lower else word
        for word in heading.split()
    )


def inside(name: str) -> str:
    """A noun from the start of a sentence, as it reads inside one: 'The rank' → 'the rank'; names stay."""
    return (
        decapitalised(name)
        if name.split()[0] in ("The", "A", "An", "Every", "Each") or is_plural(name)
        else name
    )


def ended(text: str) -> str:
    """With a full stop, unless it ends a sentence already or ends in a list, code or table."""
    text = text.rstrip().rstrip(";,:")
    return text if "\n" in text or re.search(r"[.!?…][\"')\]*`]*$", text) else f"{text}."


def is_plural(noun: str) -> bool:
    last = noun.split()[-1].lower() if noun.split() else ""
    return (
        len(last) > 3 and last.endswith("s") and not last.endswith(("ss", "us", "is", "ics", "as"))
    )


def quoted(title: str) -> str:
    """In double quotes; what is too long is cut after a word, and before a bracket that would stay open."""
    cut = clip(title.replace('"', "'"), LONGEST)
    if cut.count("(") > cut.count(")"):
        cut = cut[: cut.rindex("(")].rstrip(" -–—:") or cut
    return f'"{cut}"'
