"""Things with labels: definitions, fields, notes under a label, front matter, tables and lists."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from phoenix_forge.corpus.document import Block, Document
from phoenix_forge.examples import english as en
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import language as lang
from phoenix_forge.questions import phrasings
from phoenix_forge.questions.model import (
    LABEL_LINE,
    LONG,
    SHORT,
    BlockText,
    Material,
    Topic,
    brief,
    fill,
    interleaved,
)

# Labels that belong to whatever stands above them ("Status: done"), and say nothing about the word itself.
FIELDS = lang.phrases("""
status, date, author, authors, version, priority, owner, lead, license, licence, type, category, tags, origin,
classification, participants, created, updated, deadline, title, name, url, email, dependencies, default, size,
duration, output, input, path, location, source, scope, effort, estimated effort, last updated, effective date,
mandate, reviewers, stakeholders, command, port, host, language, deciders, decider, technical story, timestamp,
context, authority, linked protocols, session id, agent, model, estimate, complexity, file, directory, format,
environment, frequency, target, audience, code name, codename, phase, reporter, assignee, approver, maintainer,
approved by, created by, prepared by, domain, purpose, role, state, severity, likelihood, impact, cost, budget,
repository, branch, framework, related documents, assigned to, review date, next review, completed, completion date,
start date, end date, canonical status, protocol type, lineage, operation name, verdict, risk level, confidence,
timeline, supersedes, superseded by, extends, foundation, publication, due date, issue, parent""")
FIELD_WORDS = frozenset(word for phrase in FIELDS for word in phrase.split())
# Labels that are no nouns, as nouns.
RENAMED = {
    "created": "creation date", "updated": "date of the last update", "last updated": "date of the last update",
    "completed": "completion date", "created by": "creator", "prepared by": "author", "approved by": "approver",
    "supersedes": "predecessor", "superseded by": "successor", "assigned to": "assignee", "extends": "basis",
}  # fmt: skip
# Labels that are a property of their section rather than of the document.
LOCAL = lang.phrases("""
purpose, role, context, input, output, path, location, size, default, type, name, format, command, port, host,
impact, severity, likelihood, file, directory, scope, target, cost, state, frequency, phase, model, agent, source,
effort, description, confidence, verdict, timeline, doctrine, issue, title, complexity, url, framework""")
# Labels of remarks: neither a term nor a property, nor a name for what they say.
ASIDES = lang.phrases("""
note, notes, never, always, must, optional, required, why, how, when, warning, tip, important, example, examples,
caution, info, todo, see also, q, a, question, answer, yes, no, see, e.g, i.e, or, and, hint, fix, bug, new, old,
before, after, then, else, if, step, update, done, good, bad, pros, cons, pro, con, positive, negative, ok, done, ✅,
args, returns, raises, parameters, usage, output, steps, result, total, url, link, links, critical, finding,
findings, response, prompt, user, assistant, system""")
# Columns that say what a row's name means.
EXPLAINS = lang.phrases("""
description, meaning, definition, what it is, explanation, what, does, what it does, means, details""")
# Labels that many places have: they are asked for with the section they stand in.
VAGUE_LABELS = lang.phrases("""
risk, risks, mechanism, cause, concept, description, purpose, action, goal, goals, problem, solution, rationale,
reason, impact, benefit, benefits, challenge, context, decision, summary, status, mitigation, method, approach,
strategy, process, issue, evidence, observation, recommendation, conclusion, outcome, requirement, constraint,
limitation, advantages, disadvantages, input, output, location, role, test, validation, principle, mandate, trigger,
protocol, operation, objective, directive, vulnerability, threat, attack, concern, gap, insight, lesson, feature,
flaw, remark, bug, verdict, scenario, root cause, conclusion""")
COUNTED_LABEL = re.compile(
    r"(?i)^\d|[(:/]|^(?:step|phase|part|day|week|tier|role|option|finding|item|task|rule)\b"
)
GLOSSARY = re.compile(
    r"(?i)\b(?:glossary|terms|terminology|definitions?|words|vocabulary|concepts|commands)\b"
)
TERM_BOLD = re.compile(
    r"^(?:[-*+]\s+|\d+[.)]\s+)?(?:\*\*|__)(?P<term>[^*_\n][^*\n]{0,70}?):?(?:\*\*|__)\s*[:–—-]*\s*(?P<text>\S.*)$",
    re.DOTALL,
)
TERM_DASH = re.compile(
    r"^(?:[-*+]\s+)?(?P<term>`[^`\n]{1,60}`|[A-Z\w][\w./' -]{0,40}?)\s+(?:—|–|--)\s+(?P<text>\S.*)$",
    re.DOTALL,
)
TERM_COLON = re.compile(
    r"^(?P<term>`[^`\n]{1,60}`|[A-Z][\w./'& -]{1,40}?):\s+(?P<text>\S.*)$", re.DOTALL
)
STARTED = re.compile(r"^[^\w`\"'“$(\[@/~<.-]+")
LINE = re.compile(r"[^\n]+")
LINE_OF_LABEL = re.compile(
    r"\n(?=\s*(?:[-*+]\s+)?(?:\*\*|__)[^*\n]{1,60}(?::\*\*|\*\*\s*:|\*\*\s[—–-]))"
)
MATTER_LINE = re.compile(r"(?m)^(?P<key>[A-Za-z][\w -]{0,40}):[ \t]+(?P<value>\S.*?)[ \t]*$")
CLAUSE_LABEL = re.compile(
    r"(?i)\b(?:is|are|was|were|be|must|should|can|will|does|do|has|have|identified|confirmed|achieved|completed|fixed|"
    r"resolved|created|added|removed|it|we|you|i|they|not|no|yes|ok)\b|[?!;=<>{}|]|\d{2}:\d{2}|^\W*\d[\d.]*$"
)
INTRO = re.compile(
    r"(?i)^(?:the |these |here are the |there are )?(?:following )?(?P<noun>[^.:]{3,80}?)"
    r"(?: (?:are|include|includes|is))?(?: the following| as follows| these| below)?:$"
)
INTRO_ACTIVE = re.compile(
    r"^(?P<who>[A-Z`][\w`./' -]{0,40}?) (?P<verb>[a-z]+s)(?: (?:the following|these))?"
    r"(?: (?P<noun>[a-z -]{3,40}))?:$"
)
NUMBERED_COLUMN = lang.phrases("#, no, no., nr, id, step, phase, tier, level, priority, ,  ")
NO_ROW = lang.phrases(
    "total, totals, sum, average, all, none, n/a, -, —, other, misc, etc, status, cost, pros, cons"
)
HEADER_FIELDS = 8  # of one thing that are asked for at once
EMPTY = lang.phrases(
    "n/a, none, tbd, -, —, –, no, yes, todo, null, unknown, x, ok, done, see above, same, various"
)


# How a text ends that goes on elsewhere, in a list below it.
DANGLING = re.compile(
    r"\b(?:that|which|who|to|and|or|of|the|an?|by|for|with|in|as|is|are)[:.…]?$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Entry:
    label: str
    text: str
    passage: BlockText


def entries(topic: Topic, start: int) -> Iterator[Entry]:
    """Bold, dashed and colon entries, in lists and on lines of their own; of blocks that begin at `start` or later."""
    for passage in topic.passages:
        block = passage.block
        if block.start < start or block.kind not in ("list", "paragraph"):
            continue
        if block.kind == "list":
            raw: Sequence[str] = block.items
        elif passage.labelled or passage.raw.startswith(("**", "__", "`", ">")):
            raw = (
                LINE_OF_LABEL.split(passage.raw)
                if "**" in passage.raw
                else _label_lines(passage.raw)
            )
        else:
            raw = (passage.raw,) if "—" in passage.raw[:64] or "–" in passage.raw[:64] else ()
        for item in raw:
            item = (
                STARTED.sub("", item.lstrip("> \n")) if not item.startswith(("**", "__")) else item
            )
            match = TERM_BOLD.match(item) or TERM_DASH.match(item) or TERM_COLON.match(item)
            if not match:
                continue
            label, text = en.clean_title(match["term"]), en.plain(match["text"])
            if (
                len(label) > 1
                and 1 <= len(label.split()) <= 7
                and len(text) > 1
                and not en.LEFTOVER.search(text[:200])
            ):
                yield Entry(label, STARTED.sub("", text), passage)


def _label_lines(raw: str) -> list[str]:
    """The lines of a paragraph all of which begin with labels; else nothing of it but its first line."""
    lines = raw.split("\n")
    return (
        lines
        if all(LABEL_LINE.match(line.strip()) for line in lines)
        else lines[:1]
        if len(lines) == 1
        else []
    )


Sorted = list[tuple[str, Topic, Entry]]


def _sorted(material: Material) -> Sorted:
    """(field, definition or entry; topic; entry) of what can be asked for; found once for a section."""
    key = f"entries {material.section.index}"
    if key not in material.shared:
        material.shared[key] = [
            (kind, topic, entry)
            for topic in material.topics
            for kind, entry in _classified(topic, list(entries(topic, material.section.start)))
        ]
    found: Sorted = material.shared[key]
    return found


def _classified(topic: Topic, found: list[Entry]) -> Iterator[tuple[str, Entry]]:
    times = Counter(entry.label.lower() for entry in found)
    for entry in found:
        label = entry.label.lower()
        if (
            times[label] > 1
            or label in ASIDES
            or CLAUSE_LABEL.search(entry.label)
            or label in EMPTY
            or (DANGLING.search(entry.text))
        ):
            continue
        kind = _kind(entry, label, bool(GLOSSARY.search(topic.title)))
        if kind:
            yield kind, entry


def _kind(entry: Entry, label: str, glossary: bool) -> str | None:
    if label in FIELDS or (label.split()[-1] in FIELDS and len(label.split()) <= 3):
        fits = lang.is_value(entry.text) and entry.text.lower().strip(".") not in EMPTY
        if fits:
            return "field"
    first = entry.text.split(" ", 1)[0].lower()
    if (
        _nameable(entry.label)
        and label not in VAGUE_LABELS | FIELDS
        and len(entry.text.split()) >= 3
    ):
        sentence = en.sentences(entry.text)[0]
        if sentence.endswith("?"):
            return "entry"
        if first in ("is", "are", "means") or (
            first in lang.ACTING and (glossary or "`" in entry.label)
        ):
            return "definition"
        sure = first in ("a", "an", "one", "the", "any") or glossary or "`" in entry.label
        if (
            sure
            and lang.is_noun_phrase(sentence)
            and len(sentence.split()) >= 4
            and not sentence.endswith(":")
        ):
            return "definition"
    whole = (
        len(entry.text.split()) >= 4
        and not entry.text.endswith(":")
        and not re.fullmatch(r"\(.*\)\.?", entry.text)
    )
    return "entry" if whole else None


def _nameable(label: str) -> bool:
    """Whether a label is the name of a thing: a few words, no verb first, nothing numbered or cut."""
    words = label.split()
    first = words[0].lower()
    return (
        len(words) <= 4
        and first not in lang.IMPERATIVE
        and first not in lang.NOT_VALUES
        and not COUNTED_LABEL.search(label)
        and not re.search(r"(?:ed|ing)$", first)
        and not re.search(r"(?:ed|ly)$", words[-1])
        and not (
            len(words) > 1 and lang.THIRD.get(words[-1].lower()) in lang.IMPERATIVE
        )  # 'gateway discovers'
        and not (
            len(words) == 1
            and re.search(r"(?:ous|ive|al|able|ible|ful|less|ic|up|down|in|out)$", first)
        )
        and en.WORD.search(label) is not None
    )


def explained(name: str, text: str) -> str:
    """Name and explanation as one sentence, where they make one: 'A probe is one question.' Else 'Probe: …'"""
    first = text.split(" ", 1)[0].lower()
    if (
        first in ("is", "are", "was", "were", "can", "has", "will", "may", "must")
        or first in lang.ACTING
    ):
        return en.ended(f"{en.capitalised(name)} {en.decapitalised(text)}")
    titled = re.match(r"\w+ [A-Z]", text) and first not in lang.DETERMINER and first != "one"
    if lang.is_noun_phrase(text) and not titled:
        return en.ended(
            f"{en.capitalised(name)} {'are' if en.is_plural(name) else 'is'} {_article(text)}"
        )
    return en.ended(f"{en.capitalised(name)}: {text}")


def _article(text: str) -> str:
    """An explanation after 'X is': 'Library for graphs' → 'a library for graphs'; a name or a plural stays bare."""
    lowered = en.decapitalised(text)
    head = lang.HEAD_END.split(lowered, maxsplit=1)[0].split()
    counted = head and re.fullmatch(
        r"library|tool|table|file|folder|model|script|protocol|document|list|set|system|server|service|framework|method|"
        r"function|class|process|directory|database|format|pattern|layer|wrapper|module|mechanism|test|agent|container|"
        r"workflow|command|interface|client|process|collection|record|report|guide|template|package|plugin|component",
        head[-1].strip("`*"),
    )
    bare = (
        counted
        and head[0] not in lang.DETERMINER
        and head[0] not in ("one", "two", "three", "four", "five")
    )
    return lang.with_article(lowered) if bare and lowered[:1].islower() else lowered


def definitions(material: Material) -> Iterator[Fact]:
    for kind, topic, entry in _sorted(material):
        if kind == "definition":
            said = brief(en.sentences(entry.text))
            name = lang.as_noun(entry.label, entry.text, topic.document.text)
            alone = _by_itself(name) or bool(GLOSSARY.search(topic.title))
            span = entry.passage.start, entry.passage.end
            answer_key = said if len(said) < 160 else ""
            yield defined("definition", name, explained(name, said), topic, span, answer_key, alone)


def _by_itself(name: str) -> bool:
    """Whether a name says what it is without its document: code, or an acronym."""
    return bool(re.search(r"`|[A-Z]{2,}|[a-z][A-Z]|_", name)) and len(name) > 2


def defined(
    kind: str,
    term: str,
    answer: str,
    topic: Topic,
    span: tuple[int, int],
    answer_key: str,
    alone: bool,
) -> Fact:
    """A named thing, asked for within its document and, where `alone`, by its name; one that acts, by what it does."""
    within = (
        ()
        if term.lower() in topic.subject.lower()
        else fill(phrasings.DEFINITION_IN, topic.names, t=term)
    )
    acts = re.match(rf"{re.escape(en.capitalised(term))} [a-z]+s ", answer)
    does: tuple[str, ...] = ()
    if acts and answer[len(term) :].split()[0] in lang.ACTING:
        does = fill(phrasings.DOES if alone else phrasings.DOES_IN, topic.names, t=term)
    named = fill(phrasings.DEFINITION, topic.names, t=term) if alone or not within else ()
    wordings = interleaved(*(column for column in (does, named, within) if column))
    return Fact(kind, wordings, answer, *span, answer_key, kind)


def terms(material: Material) -> Iterator[Fact]:
    """From the explanation to the name."""
    for kind, topic, entry in _sorted(material):
        said = en.ended(brief(en.sentences(re.sub(r"^(?:is|are|means) ", "", entry.text)), 200))
        told = entry.label.lower() not in said.lower() and 5 <= len(said.split()) <= 40
        if kind == "definition" and told:
            yield Fact(
                "term",
                fill(phrasings.TERM, topic.names, t=said),
                en.ended(f"{en.capitalised(topic.subject)} calls this {entry.label}"),
                entry.passage.start,
                entry.passage.end,
                entry.label,
                "term",
            )


def notes(material: Material) -> Iterator[Fact]:
    """What is said under a label that is no name and no property: quoted, since no sentence can be made of both."""
    for kind, topic, entry in _sorted(material):
        if kind != "entry":
            continue
        said = brief(en.sentences(entry.text))
        if len(said) > 2 * SHORT:
            continue
        local = (
            entry.label.lower() in VAGUE_LABELS
            or entry.label.lower() in LOCAL
            or len(entry.label) < 5
        )
        names = topic.places if local else topic.names
        wordings = fill(phrasings.ENTRY, names, t=f'"{entry.label.replace(chr(34), chr(39))}"')
        answer = en.ended(f'Under "{entry.label}", {names[0]} says: {said}')
        answer_key = said if len(said) <= 160 else ""
        yield Fact(
            "entry",
            wordings,
            answer,
            entry.passage.start,
            entry.passage.end,
            answer_key,
            "entry" if answer_key else "",
        )


def fields(material: Material) -> Iterator[Fact]:
    yield from (fact for _, fact in _fields(material))


def headers(material: Material) -> Iterator[Fact]:
    """All fields of one thing at once: most stand at the beginning of a file, and are asked for one by one."""
    by_names: dict[tuple[str, ...], list[Fact]] = {}
    for names, fact in _fields(material):
        by_names.setdefault(tuple(names), []).append(fact)
    for names, facts in by_names.items():
        values = {
            fact.pool.removeprefix("field "): fact.answer_key for fact in facts[:HEADER_FIELDS]
        }
        if len(values) > 1:
            wordings = fill(phrasings.HEADER, names, a=lang.listed(list(values)))
            answer = "\n".join(
                f"{name[:1].upper()}{name[1:]}: {value}" for name, value in values.items()
            )
            yield Fact(
                "header", wordings, answer, min(f.start for f in facts), max(f.end for f in facts)
            )


def _fields(material: Material) -> Iterator[tuple[Sequence[str], Fact]]:
    """Each with the names of what has it."""
    for kind, topic, entry in _sorted(material):
        if kind == "field":
            local = entry.label.lower() in LOCAL and not topic.is_document
            names = topic.places if local else topic.names
            yield names, _field(entry.label, entry.text, topic, names, entry.passage)
    if (
        not material.section.index
        and material.document.blocks
        and material.document.blocks[0].kind == "front_matter"
    ):
        yield from ((material.names, fact) for fact in _matter(material))


def _field(label: str, text: str, topic: Topic, names: Sequence[str], passage: BlockText) -> Fact:
    name = RENAMED.get(label.lower()) or lang.property_name(label, topic.lower | FIELD_WORDS)
    value = text.rstrip(" .;,")
    verb = "are" if en.is_plural(name) else "is"
    answer = en.ended(f"The {name} of {names[0]} {verb} {value}")
    wordings = fill(phrasings.FIELD, names, a=name)
    return Fact(
        "field", wordings, answer, passage.start, passage.end, value, f"field {name.lower()}"
    )


def _matter(material: Material) -> Iterator[Fact]:
    block = material.document.blocks[0]
    for match in MATTER_LINE.finditer(material.document.text, block.start, block.end):
        value = match["value"].strip("\"'")
        name = re.sub(r"[_-]+", " ", match["key"]).strip().lower()
        name = RENAMED.get(name, name)
        if en.WORD.search(value) and len(value) <= 200 and value.lower() not in EMPTY:
            colon = "" if lang.is_value(value) else ":"
            verb = "are" if en.is_plural(name) else "is"
            yield Fact(
                "field",
                fill(phrasings.FIELD, material.names, a=name),
                en.ended(f"The {name} of {material.names[0]} {verb}{colon} {value}"),
                match.start(),
                match.end(),
                value,
                f"field {name}",
            )


# -- tables and lists --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """Cells as plain text; characters of the document."""

    cells: list[str]
    start: int
    end: int


@dataclass(frozen=True)
class Table:
    topic: Topic
    block: Block
    header: list[str]
    rows: list[Row]  # those that stand in the section
    names: Counter[str]  # of all rows, by their first cell
    key: int  # the column that names the rows

    @property
    def where(self) -> str:
        return f"{self.topic.document.path} {self.block.start}"


def _tables(material: Material) -> list[Table]:
    key = f"tables {material.section.index}"
    if key not in material.shared:
        material.shared[key] = [
            _table(material, topic, passage.block)
            for topic in material.topics
            for passage in topic.passages
            if len(passage.block.rows) >= 2 and len(passage.block.rows[0]) >= 2
        ]
    found: list[Table] = material.shared[key]
    return found


def _table(material: Material, topic: Topic, block: Block) -> Table:
    """Where a row has a line of its own, as in Markdown, or the reader says where it stands, the section has those
    that begin in it."""
    whole = material.once(
        f"table {block.start} {block.end}", lambda document: _whole(document, block)
    )
    here = material.section.start, material.section.end
    first, last = (bisect_left(whole.places, place, key=itemgetter(0)) for place in here)
    rows = [
        Row(_cells(block.rows[i + 1]), start, end)
        for start, i, end in sorted(whole.places[first:last], key=itemgetter(1))
    ]
    return Table(topic, block, whole.header, rows, whole.names, whole.key)


@dataclass(frozen=True, slots=True)
class _Whole:
    """What is the same for each section that a table goes through: in `places` each row's start, number and end."""

    header: list[str]
    names: Counter[str]
    key: int
    places: list[tuple[int, int, int]]


def _whole(document: Document, block: Block) -> _Whole:
    header = _cells(block.rows[0])
    key = 1 if header[0].lower() in NUMBERED_COLUMN and len(header) > 2 else 0
    names = Counter(en.plain(cells[key]) for cells in block.rows[1:] if len(cells) > key)
    lines = [m.span() for m in LINE.finditer(document.text, block.start, block.end)]
    spans = [(block.start, block.end)] * (len(block.rows) - 1)
    if block.spans:
        spans = [*block.spans[: len(block.rows) - 1]]
    elif len(lines) == len(block.rows) + 1:
        spans = lines[2:]
    return _Whole(
        header, names, key, sorted((start, i, end) for i, (start, end) in enumerate(spans))
    )


def _cells(row: Sequence[str]) -> list[str]:
    return [STARTED.sub("", en.plain(cell)) for cell in row]


def tables(material: Material) -> Iterator[Fact]:
    for table in _tables(material):
        key = table.key
        for row in table.rows:
            if (
                len(row.cells) <= key
                or not _row_name(row.cells[key])
                or table.names[row.cells[key]] > 1
            ):
                continue
            for i, column in enumerate(table.header[: len(row.cells)]):
                value = row.cells[i]
                told = en.WORD.search(value) and value.lower() not in EMPTY and len(value) <= SHORT
                if i > key and en.WORD.search(column) and told and not en.LEFTOVER.search(value):
                    yield _cell(table, row, column, value)


def _row_name(name: str) -> bool:
    fits = len(name) <= 80 and name.lower() not in NO_ROW
    return fits and bool(en.WORD.search(name)) and not en.LEFTOVER.search(name)


def _cell(table: Table, row: Row, column: str, value: str) -> Fact:
    topic, named = table.topic, en.NUMBERING.sub("", row.cells[table.key])
    code = lang.distinctive(named) and not named.isdigit()
    name = (
        named if len(named) > 3 or code else f"{_one(topic.title, table.header[table.key])} {named}"
    )
    pool = f"table {table.where} {column}"
    if column.lower() in EXPLAINS and len(name.split()) <= 6:
        short_meaning = column.lower() in ("meaning", "means") and len(value.split()) <= 6
        answer = (
            en.ended(f"{en.capitalised(name)} means {value}")
            if short_meaning
            else explained(name, value)
        )
        alone = "`" in name or bool(GLOSSARY.search(topic.title))
        fact = defined("table", name, answer, topic, (row.start, row.end), value, alone)
        return fact._replace(pool=pool)
    if len(name.split()) > 5:
        name = f'"{name}"'
    names = [f"{name} in {each}" for each in topic.names]
    if name.lower() in topic.subject.lower():
        names = [name]
    elif "`" in name:
        names.insert(1, name)
    of = lang.property_name(column, topic.lower)
    last = of.split()[-1].lower()
    if '"' in of or not {last, last.removesuffix("s")} & (lang.PROPERTIES | FIELD_WORDS):
        of = f'"{column}"'  # no property: 'the Forbidden of X' is no English
        answer = en.ended(f"Under {of}, the table has for {names[0]}: {value}")
        return Fact(
            "table", fill(phrasings.COLUMN, names, a=of), answer, row.start, row.end, value, pool
        )
    verb = "are" if en.is_plural(of) else "is"
    reads = f"{verb} {value}" if lang.is_value(value) else f"is given as: {value}"
    answer = en.ended(f"The {of} of {names[0]} {reads}")
    return Fact(
        "table", fill(phrasings.FIELD, names, a=of), answer, row.start, row.end, value, pool
    )


def _one(title: str, key: str) -> str:
    """What a row with a bare number is one of: under 'Exit codes' with a column 'code', an exit code."""
    single = en.decapitalised(title[:-1] if en.is_plural(title) else title)
    fits = key and single.lower().endswith(key.lower()) and len(single.split()) <= 4
    return single if fits else en.decapitalised(key) or "row"


def rows(material: Material) -> Iterator[Fact]:
    """From a cell back to its row, where the cell occurs once in its column."""
    for table in _tables(material):
        topic, header = table.topic, table.header
        if not header[0].strip() or len(table.block.rows) < 3:
            continue
        values = Counter(row.cells[1] for row in table.rows if len(row.cells) > 1)
        explains = header[1].lower() in EXPLAINS
        for row in table.rows:
            name, value = (row.cells[0], row.cells[1]) if len(row.cells) > 1 else ("", "")
            long = len(value.split()) >= (3 if explains else 5)
            if (
                long
                and values[value] == 1
                and len(name) > 3
                and _row_name(name)
                and not en.LEFTOVER.search(value)
            ):
                wordings = fill(phrasings.ROW, topic.names, t=en.ended(value))
                answer = en.ended(f"{en.capitalised(topic.subject)} says this of {name}")
                yield Fact("row", wordings, answer, row.start, row.end, name, f"row {table.where}")


def lists(material: Material) -> Iterator[Fact]:
    for topic in material.topics:
        marked = 0
        for before, passage in zip((None, *topic.passages), topic.passages, strict=False):
            whole = passage.start == passage.block.start and passage.end == passage.block.end
            if (
                passage.block.kind != "list"
                or len(passage.block.items) < 2
                or not whole
                or len(passage.raw) > LONG
            ):
                continue
            intro = before.plain if before and before.block.kind == "paragraph" else ""
            fact = _introduced(topic, passage, intro)
            if fact is None and not marked and topic.title and not topic.code:
                marked = 1  # a second one under the same heading could not be told from the first
                fact = _listed(topic, passage)
            if fact:
                yield fact


def _introduced(topic: Topic, passage: BlockText, intro: str) -> Fact | None:
    """A list that a sentence with a colon introduces, asked for in that sentence's own words."""
    if not intro.endswith(":") or len(intro) > 200:
        return None
    answer = f"{intro}\n\n{passage.raw}"
    active = INTRO_ACTIVE.match(intro)
    if active and active["verb"] in lang.THIRD and _acts(active["who"]):
        asks = (
            f"Which {active['noun']}" if active["noun"] and en.is_plural(active["noun"]) else "What"
        )
        question = f"{asks} does {en.inside(active['who'])} {lang.THIRD[active['verb']]}?"
        wordings = tuple(
            lang.question_wordings(
                question, topic.subject, topic.names[1:], lang.distinctive(active["who"])
            )
        )
        return Fact("list", wordings, answer, passage.start, passage.end)
    match = INTRO.match(intro)
    if not match or not en.is_plural(match["noun"]) or len(match["noun"].split()) > 6:
        return None
    words = match["noun"].lower().split()
    acting = any(
        word in lang.THIRD or word in lang.FINITE or word in lang.PRONOUNS for word in words
    )
    if acting or words[0] in lang.IMPERATIVE:
        return None
    noun = re.sub(r"(?i)^(?:the|these|some|all|our|its) ", "", match["noun"])
    noun = lang.property_name(noun, topic.lower | FIELD_WORDS)
    if lang.VAGUE.search(noun):
        return None
    return Fact(
        "list", fill(phrasings.LIST, topic.places, t=noun), answer, passage.start, passage.end
    )


def _acts(who: str) -> bool:
    """Whether words before a verb are its subject: not 'it' or 'if the agent'."""
    first = who.split()[0].lower()
    return first not in lang.PRONOUNS and first not in lang.NOT_VALUES


def _listed(topic: Topic, passage: BlockText) -> Fact | None:
    """A list under a heading, asked for by the heading."""
    title = topic.title
    noun = (
        lang.property_name(title, topic.lower)
        if en.is_plural(title) and len(title.split()) <= 4
        else ""
    )
    if (
        topic.asks
        or not noun
        or '"' in noun
        or ":" in noun
        or noun.split()[0].lower() in lang.VERBS
    ):
        noun = f"points under {topic.mark}"
        answer = f"Under {topic.mark}, {topic.subject} lists:\n\n{passage.raw}"
    else:
        answer = f"The {noun} in {topic.subject} are:\n\n{passage.raw}"
    return Fact(
        "list", fill(phrasings.LIST, topic.names, t=noun), answer, passage.start, passage.end
    )
