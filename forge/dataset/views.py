"""Sections → facts: what a document says, each with its answer and the many ways to ask for it. A table of kinds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from forge.corpus.document import Block, Document
from forge.corpus.split import Section
from forge.dataset import language as en
from forge.dataset import phrasings

PREFIXES = re.compile(
    r"(?i)^(?:(?:frequently asked )?questions (?:and answers )?(?:about|on)|about|introduction to|guide to|"
    r"faq (?:about|for|on)|getting started with) (?=[A-Z`])")


def _set(words: str) -> set[str]:
    return {word.strip() for word in words.split(",")}


GENERIC_TITLES = _set("""
readme, index, overview, introduction, faq, guide, documentation, manual, changelog, contributing, glossary, notes,
summary, reference, home, main""")
SUFFIXES = re.compile(
    r"(?i)[\s:–—-]+(faq|guide|user guide|manual|readme|documentation|docs|handbook|glossary|reference|overview|"
    r"frequently asked questions|questions and answers|quick ?start)$"
)
# Labels that belong to whatever stands above them ("Status: done"), and say nothing about the word itself.
FIELDS = _set("""
status, date, author, version, priority, owner, lead, license, type, category, tags, origin, classification,
participants, created, updated, deadline, title, name, url, email, dependencies, requires, default, size, duration,
output, input, path, location, source, related documents, scope, effort, estimated effort, last updated, effective date,
mandate, reviewers, stakeholders, assigned to, tool, args, command, port, host, language""")
# Labels of remarks: neither a term nor a property.
ASIDES = _set("""
note, notes, warning, tip, important, example, examples, caution, info, todo, see also, result, usage, q, a, question,
answer, yes, no""")
# Columns that say what a row's name means.
EXPLAINS = _set("""
description, meaning, definition, purpose, what it is, explanation, notes, details, summary, what, role, function,
responsibility, use, usage, does, what it does, means, for, job""")
TERM_BOLD = re.compile(
    r"^(?:[-*+]\s+|\d+[.)]\s+)?(?:\*\*|__)(?P<term>[^*_\n][^*\n]{0,70}?):?(?:\*\*|__)\s*[:–—-]*\s*"
    r"(?P<text>\S.*)$",
    re.DOTALL,
)
TERM_DASH = re.compile(
    r"^(?:[-*+]\s+)?(?P<term>`[^`\n]{1,60}`|[A-Z\w][\w./' -]{0,40}?)\s+(?:—|–|--)\s+(?P<text>\S.*)$", re.DOTALL
)
INTRO = re.compile(
    r"(?i)^(?:the |these |here are the |there are )?(?:following )?(?P<noun>[^.:]{3,80}?)"
    r"(?: (?:are|include|includes|is))?(?: the following| as follows| these| below)?:$"
)
INTRO_ACTIVE = re.compile(
    r"^(?P<who>[A-Z`][\w`./' -]{0,40}?) (?P<verb>[a-z]+s)(?: (?:the following|these))?"
    r"(?: (?P<noun>[a-z -]{3,40}))?:$"
)
ASKED = re.compile(
    r"^(?:\*\*|__)?(?:Q(?:uestion)?\s*\d*\s*[:.]\s*)?(?P<question>[^*\n]{8,160}\?)(?:\*\*|__)?"
    r"(?:\s*\n?\s*(?:A(?:nswer)?\s*[:.]\s*)?(?P<answer>\S.*))?$",
    re.DOTALL,
)
TARGETS = (  # what a cloze leaves out, by kind: the first that a sentence holds
    (
        "number",
        re.compile(
            r"(?<![\w.`/-])\d[\d,.]*\d?(?:\s?(?:%|[kMGT]?i?B|ms|seconds|minutes|hours|days|tokens|bits))?"
            r"(?![\w/-])"
        ),
    ),
    ("identifier", re.compile(r"`[^`\n]{2,50}`")),
    ("name", re.compile(r"(?<=[a-z,] )[A-Z][\w-]+(?: [A-Z][\w-]+){0,3}")),
)
GAP = "____"
LONG = 1200  # characters above which an answer is no longer an answer but a recitation
SHORT = 420  # characters of an answer one would say aloud


@dataclass(frozen=True, slots=True)
class Fact:
    """`forms` are complete questions, the most natural first. `start` and `end` are characters of the document.

    `gold` is the checkable core of the answer, with `pool` naming what it can be confused with; "" where it has none.
    """

    kind: str
    forms: tuple[str, ...]
    answer: str
    start: int
    end: int
    gold: str = ""
    pool: str = ""


@dataclass(frozen=True)
class Topic:
    """A heading with the blocks below it, up to the next heading; the first may have none. Spans are characters."""

    document: Document
    title: str
    blocks: tuple[Block, ...]
    start: int
    end: int
    lower: frozenset[str]  # words that the document has in lower case

    def text(self, block: Block) -> str:
        return self.document.text[block.start : block.end].strip()

    @cached_property
    def body(self) -> str:
        return self.document.text[self.blocks[0].start : self.end].strip() if self.blocks else ""

    @cached_property
    def subject(self) -> str:
        """What the document is about, as a name or a quoted title."""
        return subject(self.document.title)

    @cached_property
    def within(self) -> str:
        """The document, and the section where that is another."""
        if not self.title or self.title == en.clean_title(self.document.title):
            return self.subject
        return f'{self.subject} ("{en.clip(self.title, 60)}")'


@dataclass(frozen=True)
class Source:
    """What a view works on: one section, and the topics that start in it."""

    section: Section
    topics: tuple[Topic, ...]


def subject(title: str) -> str:
    """'Forge FAQ' → Forge; a longer title in quotes; 'README' → the README."""
    cleaned = en.clean_title(title) or title
    if cleaned.lower() in GENERIC_TITLES:
        return f"the {cleaned}"
    name = SUFFIXES.sub("", PREFIXES.sub("", cleaned))
    words = name.split()
    if len(words) <= 3 and words[0].lower() not in en.VERBS and not re.search(r"[:\"“”?!,(]", name):
        return name
    return '"' + en.clip(cleaned.replace('"', "'"), 90) + '"'


def sources(document: Document, sections: Sequence[Section]) -> list[Source]:
    topics = _topics(document)
    return [Source(section, tuple(t for t in topics if section.start <= t.start < section.end)) for section in sections]


def _topics(document: Document) -> list[Topic]:
    lower = frozenset(re.findall(r"(?<![\w`./-])[a-z]{2,}\b", document.text))
    starts = [i for i, block in enumerate(document.blocks) if block.kind == "heading"]
    if not starts or starts[0] > 0:
        starts.insert(0, 0)
    topics = []
    for a, b in zip(starts, [*starts[1:], len(document.blocks)], strict=True):
        blocks = document.blocks[a:b]
        if not blocks:
            continue
        own = blocks[0].kind == "heading"
        title = en.clean_title(blocks[0].headings[-1]) if own else ""
        topics.append(
            Topic(document, title, tuple(blocks[1:] if own else blocks), blocks[0].start, blocks[-1].end, lower)
        )
    return topics


def _fill(templates: Sequence[str], **slots: str) -> tuple[str, ...]:
    """Every template with its slots filled, as a sentence; {is} agrees with {t} or {a}."""
    slots["is"] = "are" if en.is_plural(slots.get("a", slots.get("t", ""))) else "is"
    return tuple(
        dict.fromkeys(t.format(**slots) if t[0].islower() else en.capitalised(t.format(**slots)) for t in templates)
    )


def _interleaved(*columns: Sequence[str]) -> tuple[str, ...]:
    longest = max(len(column) for column in columns)
    return tuple(dict.fromkeys(c[i] for i in range(longest) for c in columns if i < len(c)))


def _defined(kind: str, term: str, answer: str, topic: Topic, block: Block, gold: str = "") -> Fact:
    """A named thing, asked for by its name alone and within its document; one that acts, also by what it does."""
    alone = _fill(phrasings.DEFINITION, t=term)
    if re.match(rf"{re.escape(en.capitalised(term))} [a-z]+s ", answer) and answer[len(term) :].split()[0] in en.ACTING:
        alone = _interleaved(_fill(phrasings.DOES, t=term, s=topic.subject), alone)
    within = () if term.lower() in topic.subject.lower() else _fill(phrasings.DEFINITION_IN, t=term, s=topic.subject)
    return Fact(kind, _interleaved(alone, within), answer, block.start, block.end, gold, kind)


def _brief(text: str, limit: int = SHORT) -> str:
    """The first sentences that fit; at least one."""
    kept = ""
    for sentence in en.sentences(text):
        if kept and len(kept) + len(sentence) > limit:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


# -- kinds -------------------------------------------------------------------------------------------------------------


def _asked(topic: Topic) -> Iterator[tuple[str, str, int, int]]:
    """(question, answer, start, end) of headings that ask, instructions, and question paragraphs of FAQs."""
    title = topic.title
    if topic.body and en.is_question(title):
        yield title, topic.body, topic.start, topic.end
    elif topic.body and topic.within != topic.subject and (act := en.imperative(title)):
        yield f"How do I {en.sentence_case(act, topic.lower)}?", topic.body, topic.start, topic.end
    blocks = topic.blocks
    for i, block in enumerate(blocks):
        match = ASKED.match(topic.text(block)) if block.kind == "paragraph" else None
        if not match or not en.is_question(en.plain(match["question"])):
            continue
        if match["answer"]:
            yield en.plain(match["question"]), match["answer"], block.start, block.end
        elif topic.text(block).startswith(("**", "__", "Q")) and i + 1 < len(blocks):
            end = i + 1
            while end < len(blocks) and not ASKED.match(topic.text(blocks[end])):
                end += 1
            answer = topic.document.text[blocks[i + 1].start : blocks[end - 1].end].strip()
            yield (
                en.plain(match["question"]),
                re.sub(r"^A(?:nswer)?\s*[:.]\s*", "", answer),
                block.start,
                blocks[end - 1].end,
            )


def questions(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for question, body, start, end in _asked(topic):
            answer = body if len(body) <= LONG else _lead(body)
            if "\n" not in answer:
                answer = en.plain(answer)
            forms = tuple(en.question_forms(question, topic.subject))
            said = en.sentences(en.plain(answer.split("\n\n")[0]))
            gold = " ".join(said[:2] if said and len(said[0].split()) < 3 else said[:1])
            yield Fact("question", forms, answer, start, end, gold if len(gold) <= 160 else "", "question")


def _lead(body: str) -> str:
    """First paragraph, with the list, table or code that it introduces."""
    parts = re.split(r"\n\s*\n", body)
    n = 2 if len(parts) > 1 and parts[0].rstrip().endswith(":") else 1
    return "\n\n".join(parts[:n])[:LONG].strip()


def _terms(topic: Topic) -> Iterator[tuple[str, str, Block]]:
    """(term, explanation, block) of bold, dashed and colon entries, in lists and on lines of their own."""
    for block in topic.blocks:
        entries: Sequence[str] = ()
        if block.kind == "list":
            entries = block.items
        elif block.kind == "paragraph":
            text = topic.text(block)
            entries = re.split(r"\n(?=\s*(?:\*\*|__))", text) if text.startswith(("**", "__")) else [text]
        for entry in entries:
            match = TERM_BOLD.match(entry.strip()) or TERM_DASH.match(entry.strip())
            if match:
                term, text = en.clean_title(match["term"]), en.plain(match["text"])
                if term and len(text) > 1 and len(term.split()) <= 8 and not term.endswith("?"):
                    yield term, text, block


def _is_field(term: str, text: str, topic: Topic) -> bool:
    return term.lower() in FIELDS or (len(text.split()) <= 6 and not text.endswith("."))


def definitions(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for term, text, block in _terms(topic):
            if term.lower() in ASIDES or _is_field(term, text, topic):
                continue
            brief = _brief(text)
            name = en.as_noun(term, text, topic.document.text)
            yield _defined(
                "definition", name, en.definition(name, brief), topic, block, brief if len(brief) < 160 else ""
            )
        opening = next((b for b in topic.blocks if b.kind == "paragraph"), None)
        if opening and topic.within == topic.subject and topic.title and not TERM_BOLD.match(topic.text(opening)):
            brief = _brief(en.plain(topic.text(opening)))
            if len(brief.split()) >= 6 and not brief.endswith(":"):
                forms = _interleaved(
                    _fill(phrasings.DEFINITION, t=topic.subject),
                    _fill(phrasings.DOES, t=topic.subject, s=topic.subject)[:7],
                )
                yield Fact("definition", forms, brief, opening.start, opening.end)


def statements(source: Source) -> Iterator[Fact]:
    """Sentences turned back into the question they answer."""
    for topic in source.topics:
        for block in topic.blocks:
            if block.kind != "paragraph" or TERM_BOLD.match(topic.text(block)):
                continue
            answered = block is topic.blocks[0] and en.is_question(topic.title)  # its first sentence is the answer
            for sentence in en.sentences(en.plain(topic.text(block)))[int(answered) : 8]:
                telling = len(sentence) <= SHORT and len(sentence.split()) >= 4
                question = en.question_of(sentence) if telling else None
                if question and question.rstrip("?").split(" ", 2)[2].lower() != topic.subject.lower():
                    yield Fact(
                        "statement", tuple(en.question_forms(question, topic.subject)), sentence, block.start, block.end
                    )


def terms(source: Source) -> Iterator[Fact]:
    """From the explanation to the name."""
    for topic in source.topics:
        for term, text, block in _terms(topic):
            brief = en.ended(_brief(text, 200))
            if term.lower() not in ASIDES and not _is_field(term, text, topic) and 4 <= len(brief.split()) <= 40:
                yield Fact(
                    "term",
                    _fill(phrasings.TERM, t=brief, s=topic.subject),
                    en.ended(f"That is {term}"),
                    block.start,
                    block.end,
                )


def fields(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        owner = topic.subject if topic.within == topic.subject else f'"{en.clip(topic.title, 60)}" in {topic.subject}'
        for term, text, block in _terms(topic):
            name = re.sub(r"^(?:the|an?) ", "", en.decapitalised(en.sentence_case(term, topic.lower)))
            noun = len(name.split()) <= 4 and not re.search(r"(?:ed|ing)$", name)
            if term.lower() not in ASIDES and noun and _is_field(term, text, topic) and len(text) <= SHORT:
                verb = "are" if en.is_plural(name) else "is"
                yield Fact(
                    "field",
                    _fill(phrasings.FIELD, a=name, s=owner),
                    en.ended(f"The {name} of {owner} {verb} {text}"),
                    block.start,
                    block.end,
                    text,
                    f"field {name}",
                )


def tables(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for block in topic.blocks:
            if len(block.rows) < 2 or len(block.rows[0]) < 2:
                continue
            header = [en.plain(cell) for cell in block.rows[0]]
            numbered = header[0].lower() in ("#", "no", "no.", "nr", "id", "step", "")
            key = 1 if numbered and len(header) > 2 else 0
            for row in block.rows[1:]:
                cells = [en.plain(cell) for cell in row]
                for i, column in enumerate(header[: len(cells)]):
                    if i not in (key, 0 if numbered else key) and column and cells[key] and re.search(r"\w", cells[i]):
                        yield _cell(topic, block, header[key], cells[key], column, cells[i])


def _cell(topic: Topic, block: Block, key: str, row: str, column: str, value: str) -> Fact:
    name = row if len(row) > 3 or (en.distinctive(row) and not row.isdigit()) else f"{_one(topic.title, key)} {row}"
    pool = f"table {topic.document.path} {block.start} {column}"
    if column.lower() in EXPLAINS:
        answer = (
            en.ended(f"{en.capitalised(name)} means {value}")
            if column.lower() in ("meaning", "means") and len(value.split()) <= 6
            else en.definition(name, value)
        )
        return replace(_defined("table", name, answer, topic, block, value), pool=pool)
    name_of_column = en.decapitalised(column)
    verb = "are" if en.is_plural(name_of_column) else "is"
    alone = _fill(phrasings.FIELD, a=name_of_column, s=name)
    forms = (
        alone
        if name.lower() in topic.subject.lower()
        else _interleaved(alone, _fill(phrasings.FIELD, a=name_of_column, s=f"{name} in {topic.subject}"))
    )
    return Fact(
        "table", forms, en.ended(f"The {name_of_column} of {name} {verb} {value}"), block.start, block.end, value, pool
    )


def _one(title: str, key: str) -> str:
    """What a row with a bare number is one of: under 'Exit codes' with a column 'code', an exit code."""
    single = en.decapitalised(title[:-1] if en.is_plural(title) else title)
    return (
        single if key and single.lower().endswith(key.lower()) and len(single.split()) <= 4 else en.decapitalised(key)
    )


def rows(source: Source) -> Iterator[Fact]:
    """From a cell back to its row, where the cell occurs once in its column."""
    for topic in source.topics:
        for block in topic.blocks:
            if len(block.rows) < 3 or len(block.rows[0]) < 2 or not block.rows[0][0].strip():
                continue
            values = [en.plain(row[1]) for row in block.rows[1:] if len(row) > 1]
            explains = en.plain(block.rows[0][1]).lower() in EXPLAINS
            for row in block.rows[1:]:
                value, name = (en.plain(row[1]), en.plain(row[0])) if len(row) > 1 else ("", "")
                if len(value.split()) >= (2 if explains else 5) and values.count(value) == 1 and len(name) > 3:
                    yield Fact(
                        "row",
                        _fill(phrasings.TERM, t=en.ended(value), s=topic.subject),
                        en.ended(f"That is {name}"),
                        block.start,
                        block.end,
                    )


def lists(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for before, block in zip((None, *topic.blocks), topic.blocks, strict=False):
            text = topic.text(block)
            if block.kind != "list" or len(block.items) < 2 or len(text) > LONG:
                continue
            intro = en.plain(topic.text(before)) if before and before.kind == "paragraph" else ""
            answer = f"{intro}\n\n{text}" if intro.endswith(":") else text
            active = INTRO_ACTIVE.match(intro)
            if active and active["verb"] in en.THIRD:
                asks = f"Which {active['noun']}" if active["noun"] and en.is_plural(active["noun"]) else "What"
                question = f"{asks} does {en.inside(active['who'])} {en.THIRD[active['verb']]}?"
                yield Fact("list", tuple(en.question_forms(question, topic.subject)), answer, block.start, block.end)
                continue
            match = INTRO.match(intro)
            title = topic.title or topic.document.title
            if (
                match
                and not any(word in en.THIRD for word in match["noun"].split())
                and en.is_plural(match["noun"])
                and len(match["noun"].split()) <= 8
            ):
                noun = en.decapitalised(match["noun"])
            elif en.is_plural(title) and len(title.split()) <= 5 and not en.is_question(title):
                noun = en.decapitalised(en.sentence_case(title, topic.lower))
            else:
                noun = f'points under "{en.clip(title, 60)}"'
            yield Fact("list", _fill(phrasings.LIST, t=noun, s=topic.subject), answer, block.start, block.end)


def symbols(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        for block in topic.blocks:
            for symbol in block.symbols:
                name, file = f"`{symbol.name}`", topic.document.name
                span = (symbol.start, symbol.end)
                yield Fact(
                    "symbol_file",
                    _fill(phrasings.WHERE, t=name),
                    f"{name} is defined in {file}.",
                    *span,
                    file,
                    "symbol_file",
                )
                yield Fact(
                    "signature",
                    _fill(phrasings.SIGNATURE, t=name, s=file),
                    f"`{symbol.signature}`",
                    *span,
                    symbol.signature,
                    f"signature {symbol.kind}",
                )
                if symbol.doc:
                    doc = symbol.doc.strip().split("\n\n")[0]
                    yield Fact("docstring", _fill(phrasings.SYMBOL, t=name, s=file), " ".join(doc.split()), *span)
                    yield Fact(
                        "docstring_symbol",
                        _fill(phrasings.NAMED, t=" ".join(doc.split()), a=symbol.kind, s=file),
                        f"That is {name}.",
                        *span,
                    )


def abouts(source: Source) -> Iterator[Fact]:
    """A heading that asks nothing, answered by the beginning of what stands below it."""
    for topic in source.topics:
        first = next((b for b in topic.blocks if b.kind == "paragraph" and not TERM_BOLD.match(topic.text(b))), None)
        if not topic.title or first is None or en.is_question(topic.title):
            continue
        brief = _brief(en.plain(topic.text(first)))
        if brief.endswith(":") or len(brief.split()) < 5:
            continue
        if topic.within != topic.subject:
            yield Fact(
                "about",
                _fill(phrasings.ABOUT, t=f'"{en.clip(topic.title, 80)}"', s=topic.subject),
                brief,
                first.start,
                first.end,
            )


def clozes(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        taken = 0
        for block in topic.blocks:
            if block.kind != "paragraph" or taken >= 4:
                continue
            for sentence in en.sentences(en.plain(topic.text(block))):
                found = next(((kind, m) for kind, pattern in TARGETS for m in pattern.finditer(sentence)), None)
                if found and 6 <= len(sentence.split()) <= 40 and taken < 4:
                    kind, match = found
                    taken += 1
                    gapped = sentence[: match.start()] + GAP + sentence[match.end() :]
                    yield Fact(
                        "cloze",
                        _fill(phrasings.CLOZE, t=gapped, s=topic.subject),
                        sentence,
                        block.start,
                        block.end,
                        match[0].strip("`"),
                        f"cloze {kind}",
                    )


def headings(source: Source) -> Iterator[Fact]:
    """From the beginning of a section to its heading."""
    for topic in source.topics:
        first = next((b for b in topic.blocks if b.kind == "paragraph"), None)
        if topic.title and not en.is_question(topic.title) and first is not None and topic.within != topic.subject:
            passage = _brief(en.plain(topic.text(first)), 200)
            if 8 <= len(passage.split()) <= 60:
                yield Fact(
                    "heading",
                    _fill(phrasings.HEADING, t=f'"{passage}"', s=topic.subject),
                    f'That is under "{topic.title}".',
                    first.start,
                    first.end,
                )


def outlines(source: Source) -> Iterator[Fact]:
    if source.section.index or not source.topics:
        return
    document = source.section.document
    titles = [(b.level, en.clean_title(b.headings[-1])) for b in document.blocks if b.kind == "heading"][:60]
    if len(titles) >= 3:
        top = min(level for level, _ in titles)
        listed = "\n".join(f"{'  ' * (level - top)}- {title}" for level, title in titles)
        yield Fact("outline", _fill(phrasings.OUTLINE, s=source.topics[0].subject), listed, 0, source.section.end)


def bodies(source: Source) -> Iterator[Fact]:
    for topic in source.topics:
        inside = topic.end <= source.section.end  # a longer one is taught in its sections' own texts
        if topic.title and topic.body and inside and len(topic.body.split()) >= 8:
            yield Fact(
                "body",
                _fill(phrasings.BODY, t=f'"{en.clip(topic.title, 80)}"', s=topic.subject),
                topic.body,
                topic.start,
                topic.end,
            )


def continuations(source: Source) -> Iterator[Fact]:
    """The rest of a section, given its beginning: cut at a line or sentence near the first third."""
    text = source.section.body
    cut = re.compile(r"\n|(?<=[.!?])\s").search(text, len(text) // 3)
    if source.section.tokens >= 48 and cut and text[cut.end() :].strip():
        start = source.section.start + source.section.text.index(text[:40])
        yield Fact(
            "continue",
            _fill(phrasings.CONTINUE, t=text[: cut.start()].strip(), s=subject(source.section.document.title)),
            text[cut.end() :].strip(),
            start,
            source.section.end,
        )


def text_forms(section: Section, parts: int) -> tuple[str, ...]:
    """How a section's whole text is asked for, to carry its coverage; `parts` is how many its document has."""
    title = en.clip((en.clean_title(section.document.title) or section.document.name).replace('"', "'"), 90)
    titles = [en.clean_title(block.headings[-1]) for block in section.blocks if block.kind == "heading"]
    if not titles and section.headings:
        titles = [en.clean_title(section.headings[-1])]
    place = " to ".join(f'"{en.clip(t, 60)}"' for t in dict.fromkeys([titles[0], titles[-1]])) if titles else ""
    part = f"part {section.index + 1}" + (f" ({place})" if place else "")
    return _fill(phrasings.TEXT, s=f'"{title}"', t="all" if parts == 1 else part)


@dataclass(frozen=True)
class View:
    """`per_turn` is how many wordings of one fact are added at a time: short answers six at a time, since only
    several wordings make a fact askable; recitations one by one."""

    kind: str
    facts: Callable[[Source], Iterator[Fact]]
    per_turn: int


FULL_TURN = 6
# In order of worth: the first kinds are the first to be asked for in several wordings when the budget is short.
VIEWS = (
    View("question", questions, FULL_TURN),
    View("definition", definitions, FULL_TURN),
    View("table", tables, FULL_TURN),
    View("field", fields, FULL_TURN),
    View("statement", statements, FULL_TURN),
    View("symbol", symbols, FULL_TURN),
    View("list", lists, FULL_TURN),
    View("about", abouts, 3),
    View("cloze", clozes, 2),
    View("term", terms, 2),
    View("row", rows, 2),
    View("heading", headings, 2),
    View("outline", outlines, 1),
    View("body", bodies, 1),
    View("continue", continuations, 1),
)


def facts_of(source: Source) -> list[tuple[View, Fact]]:
    """A section's facts, most worthwhile kinds first; of two with the same first question, the first."""
    found: dict[str, tuple[View, Fact]] = {}
    for view in VIEWS:
        for fact in view.facts(source):
            if fact.forms and fact.answer.strip():
                found.setdefault(fact.forms[0], (view, fact))
    return list(found.values())


NAMES = ("question", "definition")


def unambiguous(facts: list[list[tuple[View, Fact]]]) -> list[list[tuple[View, Fact]]]:
    """Drops every wording that asks for different answers in different places: it does not stand alone.

    Where such a wording asks for one thing by its name, the first place in the corpus keeps it.
    """
    answers: dict[str, set[str]] = defaultdict(set)
    for section in facts:
        for view, fact in section:
            for form in fact.forms:
                if view.kind not in NAMES or not answers[form.lower()]:
                    answers[form.lower()].add(fact.answer)
    kept = []
    for section in facts:
        rest = []
        for view, fact in section:
            forms = tuple(form for form in fact.forms if answers[form.lower()] == {fact.answer})
            if forms:
                rest.append((view, Fact(fact.kind, forms, fact.answer, fact.start, fact.end, fact.gold, fact.pool)))
        kept.append(rest)
    return kept


def normal(question: str) -> str:
    """Case, spacing and punctuation do not make another question."""
    return " ".join(re.findall(r"\w+", question.lower()))
