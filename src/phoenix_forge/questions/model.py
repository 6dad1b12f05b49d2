"""What views work on, and what they make: a section with its topics → facts. All of it computed once a document."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

from phoenix_forge.corpus.document import Block, Document
from phoenix_forge.corpus.prose import language
from phoenix_forge.corpus.split import Section
from phoenix_forge.examples import english as en
from phoenix_forge.questions import language as lang
from phoenix_forge.questions import naming

LONG = 1200  # characters above which an answer is no longer an answer but a recitation
SHORT = 420  # characters of an answer one would say aloud
LABEL_LINE = re.compile(
    r"(?:[-*+]\s+)?(?:\*\*|__)?[A-Z][\w /'&()#.-]{0,40}?(?::(?:\*\*|__)|(?:\*\*|__)\s*:|:\s)"
)
MARKS = re.compile(
    r"(?m)^[ \t]*>+ ?|^\[![A-Z]+\][ \t]*|[ \t]*\\$"
)  # of quotations, call-outs and hard line breaks
LOWER_WORD = re.compile(r"(?<![\w`./-])[a-z]{2,}\b")


class BlockText:
    """A block, or the part of it that a section holds, as text without markup and as sentences; each made once."""

    def __init__(self, document: Document, block: Block, start: int, end: int) -> None:
        self.document, self.block, self.start, self.end = document, block, start, end

    @cached_property
    def raw(self) -> str:
        return self.document.text[self.start : self.end].strip()

    @cached_property
    def plain(self) -> str:
        marked = ">" in self.raw or "\\" in self.raw or "[!" in self.raw
        return en.plain(MARKS.sub("", self.raw) if marked else self.raw)

    @cached_property
    def sentences(self) -> list[str]:
        return en.sentences(self.plain)

    @cached_property
    def labelled(self) -> bool:
        """Whether it begins with a label: 'Status: done', '**Risk:** …', and is no prose."""
        return bool(LABEL_LINE.match(MARKS.sub("", self.raw)))

    @cached_property
    def prose(self) -> bool:
        """Whether it is a paragraph of sentences."""
        return (
            self.block.kind == "paragraph"
            and not self.labelled
            and not self.raw.startswith(("**", "__", "```", "<", "|", "![", "---", "===", "@"))
        )


@dataclass(frozen=True)
class Topic:
    """A heading with the blocks below it, as far as they stand in one section; the first may have none.

    `opens` tells whether it starts here. Spans are characters.
    """

    document: Document
    names: tuple[str, ...]  # of the document, the fullest first
    title: str
    code: bool  # the title is a symbol or a key, not a heading
    passages: tuple[BlockText, ...]
    start: int
    end: int
    opens: bool
    lower: frozenset[str]  # words that the document has in lower case

    @property
    def subject(self) -> str:
        """What the document is about, as a name or a quoted title."""
        return self.names[0]

    @cached_property
    def body(self) -> str:
        return (
            self.document.text[self.passages[0].start : self.end].strip() if self.passages else ""
        )

    @cached_property
    def is_document(self) -> bool:
        """Whether it stands for the document as a whole: above the first heading, or under the title."""
        return not self.title or en.clean_title(self.document.title) == self.title

    @cached_property
    def asks(self) -> bool:
        return lang.is_question(self.title)

    @cached_property
    def mark(self) -> str:
        """The heading in quotes, a symbol in backticks."""
        return f"`{self.title}`" if self.code else en.quoted(self.title)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where it stands: the section and the document, in the document's several names."""
        if self.is_document:
            return self.names
        return tuple(f"the section {self.mark} of {name}" for name in self.names)


@dataclass(frozen=True)
class Material:
    """What there is to ask about in one section: the topics that stand in it."""

    section: Section
    topics: tuple[Topic, ...]
    names: tuple[str, ...]
    shared: dict[str, Any] = field(
        default_factory=dict, repr=False, compare=False
    )  # by all sections of the document

    def once(self, what: str, make: Callable[[Document], Any]) -> Any:
        """What `make` finds in the document, found for its first section and remembered for the others."""
        if what not in self.shared:
            self.shared[what] = make(self.document)
        return self.shared[what]

    @property
    def document(self) -> Document:
        return self.section.document

    @property
    def language(self) -> str:
        """The document's: the ISO 639-1 code of what most of it is in."""
        return str(self.once("language", lambda document: language(document.text)))


def materials(document: Document, sections: Sequence[Section]) -> list[Material]:
    """One for each section."""
    names = naming.names(document)
    lower = frozenset(LOWER_WORD.findall(document.text))
    groups = _groups(document)
    titles = Counter(title for title, *_ in groups)
    shared: dict[str, Any] = {}
    return [
        Material(
            section, tuple(_topics(document, section, groups, titles, names, lower)), names, shared
        )
        for section in sections
    ]


Group = tuple[
    str, str, bool, list[Block], int
]  # title, the one above it, whether it is code, blocks, end


def _groups(document: Document) -> list[Group]:
    """Blocks by the heading, symbol or key they stand under; a heading block comes first in its group."""
    runs: list[list[Block]] = []
    for block in document.blocks:
        if block.kind == "heading" or not runs or runs[-1][0].headings != block.headings:
            runs.append([block])
        else:
            runs[-1].append(block)
    groups: list[Group] = []
    for run in runs:
        first = run[0]
        code = first.kind != "heading"
        title, above = "", ""
        if first.headings and (not code or first.kind == "code"):
            title = first.headings[-1].strip("`") if code else en.clean_title(first.headings[-1])
            above = (
                en.clean_title(first.headings[-2]) if len(first.headings) > 1 and not code else ""
            )
        groups.append((title, above, code, run, run[-1].end))
    return groups


def _topics(
    document: Document,
    section: Section,
    groups: Sequence[Group],
    titles: Counter[str],
    names: tuple[str, ...],
    lower: frozenset[str],
) -> Iterator[Topic]:
    first = bisect_right(groups, section.start, key=lambda group: group[-1])
    last = bisect_left(groups, section.end, first, key=lambda group: group[3][0].start)
    for title, above, code, blocks, end in groups[first:last]:
        start = blocks[0].start
        # A heading that the document has several times says where it stands.
        full = f"{en.clip(above, 40)}: {title}" if title and titles[title] > 1 and above else title
        passages = tuple(
            BlockText(document, block, max(block.start, section.start), min(block.end, section.end))
            for block in (blocks if code else blocks[1:])
            if block.end > section.start and block.start < section.end
        )
        yield Topic(
            document,
            names,
            full,
            code,
            passages,
            max(start, section.start),
            min(end, section.end),
            section.start <= start,
            lower,
        )


# -- wordings ----------------------------------------------------------------------------------------------------------


BETWEEN = (
    "\x1e"  # the forms of one fact while they are filled together; taken out of what fills them
)


class _Compiled(NamedTuple):
    text: str  # all templates in one: a single use of the % operator fills them
    slots: list[str]  # in the order of the text
    opened: list[int]  # templates that begin with a slot


@cache
def _compiled(templates: tuple[str, ...], names: int) -> _Compiled:
    """{s} of template i is the slot of name i modulo `names`."""
    numbered = [template.replace("{s}", f"{{{i % names}}}") for i, template in enumerate(templates)]
    text, slots = BETWEEN.join(numbered), re.compile(r"\{(\w+)\}")
    opened = [i for i, template in enumerate(templates) if template.startswith("{")]
    return _Compiled(slots.sub("%s", text.replace("%", "%%")), slots.findall(text), opened)


def fill(templates: tuple[str, ...], names: Sequence[str], **slots: str) -> tuple[str, ...]:
    """Every template with its slots filled, {s} with one of `names` by turns; {is} agrees with {a}, else with {t}."""
    compiled = _compiled(templates, len(names))
    if "is" in compiled.slots:
        slots["is"] = "are" if en.is_plural(slots.get("a") or slots.get("t", "")) else "is"
    for i, name in enumerate(names):
        slots[str(i)] = name
    given = {key: value.replace(BETWEEN, " ") for key, value in slots.items()}
    wordings = (compiled.text % tuple([given[slot] for slot in compiled.slots])).split(BETWEEN)
    for i in compiled.opened:
        wordings[i] = wordings[i][:1].upper() + wordings[i][1:]
    return tuple(dict.fromkeys(wordings))


def interleaved(*columns: Sequence[str]) -> tuple[str, ...]:
    longest = max(len(column) for column in columns)
    return tuple(dict.fromkeys(c[i] for i in range(longest) for c in columns if i < len(c)))


def brief(sentences: Sequence[str], limit: int = SHORT) -> str:
    """The first sentences that fit; at least one."""
    kept = ""
    for sentence in sentences:
        if kept and len(kept) + len(sentence) > limit:
            break
        kept = f"{kept} {sentence}".strip()
    return kept
