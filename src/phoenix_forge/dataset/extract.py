"""One document → everything that can be said of it before the rest of the corpus is known.

A pure function of the file's bytes, its place, what other files of its document define, the settings and the base's
tokenizer: it runs in any process, and its result is kept under a key of these. `phoenix_forge.dataset.resolve` then
decides across documents, `phoenix_forge.dataset.emit` writes.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.core.extensions import extension
from phoenix_forge.core.fsio import sha256_bytes, sha256_file
from phoenix_forge.corpus import links
from phoenix_forge.corpus.document import Document, Held
from phoenix_forge.corpus.grams import filtered, grams, identities, some_at_a_time, words
from phoenix_forge.corpus.guarded import Lost
from phoenix_forge.corpus.load import Loaded, load
from phoenix_forge.corpus.near_duplicates import sketches
from phoenix_forge.corpus.prose import prose_of
from phoenix_forge.corpus.split import Section, split
from phoenix_forge.corpus.walk import File
from phoenix_forge.errors import UsageError
from phoenix_forge.examples.example import Example, Scale, most_tokens, stable_hash
from phoenix_forge.examples.fact import Fact
from phoenix_forge.questions import (
    ALWAYS,
    OF_PROSE,
    TAUGHT,
    View,
    facts_of,
    materials,
    text_wordings,
)

SYSTEM_TOKENS = 128  # a longer system prompt is only shown in the identity examples: it would dwarf the questions
LEAST = 16  # tokens below which a section is no longer text
SHORTEST_PROMPT = 12  # tokens; see _text_examples
SIMILARITY_GRAM = 3
WORDINGS = (
    (12, 10),
    (math.inf, 40),
)  # up to which amplification how many wordings of a fact can be of use
IN_ORDER = (
    "question",
    "gap",
)  # kinds whose wordings keep their order: best first, or whole and thinned in turn
STEPS = (1, 5, 7, 11, 13)
NAMES = (
    "question",
    "definition",
)  # kinds that ask for one thing by its name: the first place in the corpus keeps it
Mend = Callable[[str], str]  # takes control tokens of the model out of a text
PROBED = ("question", "definition", "entry", "table", "field", "key", "command", "edge")
ABSENT = (
    "missing",
    "unknown",
)  # kinds about what is not there: little to learn from many wordings of one of these
ABSENT_WORDINGS = 4
FACT = np.dtype(
    [
        ("section", "u4"),
        ("wordings", "u4"),
        ("named", "?"),
        ("probed", "i1"),
        ("answer", "u8"),
        ("answer_key", "u8"),
        ("pool", "u8"),
        ("order", "u8"),
    ]
)


class Known(NamedTuple):
    """A fact as it is kept; `span` counts bytes of the file."""

    kind: str
    wordings: tuple[str, ...]
    answer: str
    span: tuple[int, int]
    per_turn: int
    first: int
    answer_key: str = ""
    pool: str = ""
    opened: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A section as it is kept.

    `text` is the example that carries its tokens, `trained` how many ids it trains; `taught` whether those ids were
    seen to spell the section's text. `held` is another wording for it: where a style asks no questions the one to
    validate by, else one with the file's name, for titles that several files have. `prose` is what of the body is no structure.
    """

    span: tuple[int, int]
    tokens: int
    headings: tuple[str, ...]
    body: str
    text: Known
    trained: int
    held: str | None
    taught: bool
    facts: tuple[Known, ...]
    prose: str = ""


@dataclass(frozen=True)
class Extract:
    """`skipped` says why a file is no document; it then has no parts. `links` may lead nowhere; `language` is "" where
    nothing is asked for in it."""

    path: str
    name: str
    sha256: str
    title: str
    notes: tuple[str, ...]
    redactions: tuple[tuple[int, str], ...]
    skipped: str | None
    links: tuple[links.Link, ...]
    parts: tuple[Part, ...]
    language: str = ""
    held: tuple[Held, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True)
class Packed:
    """An extract as bytes, and what decisions across documents are made from: JSON, and arrays.

    `facts` has dtype FACT, one row a fact in order; `answer_keys` the checkable answers by the fact's number; `wordings` one
    hash a wording; `grams` a filter of the word 3-grams of all wordings; `sketches` COLUMNS hashes a part.
    """

    record: bytes
    head: bytes
    answer_keys: bytes
    links: bytes
    facts: bytes
    wordings: bytes
    grams: bytes
    sketches: bytes


Texts = list[tuple[Example, str | None]]


@dataclass(frozen=True)
class Style:
    """What a document becomes. Other rooms add their own to the table "dataset styles".

    `limit` gives the tokens of the longest section, from the settings and the room in a row beside its prompt; `texts`
    the example that carries each section's tokens, with another wording for it; `line` one line of the dataset.
    `asks`: there are questions, too, about the documents, the model itself and the world.
    """

    limit: Callable[[Config, int], int]
    texts: Callable[[Sequence[Section], Mend, Scale], Texts]
    line: Callable[[Example], bytes]
    asks: bool


def style_of(name: str) -> Style:
    """The style that dataset.style names."""
    return VIEWS if name == "views" else extension("dataset styles", name)


@dataclass(frozen=True)
class WorkerContext:
    """What a worker needs to extract. `system` is the prompt shown beside questions: None where it is too long."""

    config: Config
    scale: Scale
    limit: int
    system: str | None
    most_wordings: int

    @staticmethod
    def of(config: Config, encoder: Encoder) -> WorkerContext:
        """Raises UsageError where train.max_length leaves no room for text."""
        scale = Scale(encoder, config.train.max_length)
        room = config.train.max_length - scale.frame(None) - SHORTEST_PROMPT
        limit = style_of(config.dataset.style).limit(config, room)
        if limit < LEAST:
            raise UsageError(
                f"train.max_length {config.train.max_length} leaves {limit} tokens for a section beside the chat "
                "template",
                fix=f"--set train.max_length={config.train.max_length - limit + 64}",
            )
        system = config.deploy.system
        shown = system if system and encoder.count(system) <= SYSTEM_TOKENS else None
        most_wordings = next(n for most, n in WORDINGS if config.dataset.amplification <= most)
        return WorkerContext(config, scale, limit, shown, most_wordings)


def extract(context: WorkerContext, file: File, data: bytes | None = None) -> Packed:
    """Reads one file (or takes its bytes) and packs what it yields."""
    loaded = load(
        file, context.config.dataset.secrets, data, personal=context.config.dataset.personal_data
    )
    if loaded.document is None:
        return pack(_empty(file, loaded), context.config.dataset.seed)
    document = loaded.document
    reading = _parts(document, context)
    if (
        reading is None
    ):  # counted otherwise than the base counts: this document is counted the slow way
        reading = _parts(
            document,
            replace(
                context, scale=Scale(context.scale.encoder, context.scale.max_length, exact=True)
            ),
        )
    assert reading is not None
    parts, language = reading
    record = Extract(
        document.path,
        document.name,
        document.sha256,
        document.title,
        document.notes,
        _lines(loaded),
        None,
        tuple(links.links(document)),
        tuple(parts),
        language,
        loaded.held,
    )
    return pack(record, context.config.dataset.seed)


def lost(seed: int, why: Lost, file: File, data: bytes | None = None) -> Packed:
    """What stands for a document that its limits, or its reader, left out."""
    digest = sha256_file(file.path) if data is None else sha256_bytes(data)
    return pack(_empty(file, Loaded(None, digest, [], why.reason)), seed)


def _empty(file: File, loaded: Loaded) -> Extract:
    return Extract(
        file.relative,
        file.name,
        loaded.sha256,
        "",
        (),
        _lines(loaded),
        loaded.skipped,
        (),
        (),
        held=loaded.held,
    )


def _lines(loaded: Loaded) -> tuple[tuple[int, str], ...]:
    return tuple((finding.line, finding.kind) for finding in loaded.findings)


# -- sections ----------------------------------------------------------------------------------------------------------


def _parts(document: Document, context: WorkerContext) -> tuple[list[Part], str] | None:
    """The document's sections with their facts, and its language; None where counts turn out not to be the base's own."""
    scale = context.scale
    mend = scale.plain if scale.has_control(document.text + document.title + document.name) else str
    sections = split(document, context.limit, lambda texts: scale.counts([*map(mend, texts)]))
    whole = "".join(section.text for section in sections) == document.text
    sections_with_text = [section for section in sections if section.body]
    style = style_of(context.config.dataset.style)
    texts = style.texts(sections_with_text, mend, scale)
    asked = materials(document, sections_with_text) if style.asks else []
    views_of: list[list[tuple[View, Fact]]] = [facts_of(source) for source in asked]
    language = asked[0].language if asked else ""
    parts = []
    examples = [example for example, _ in texts]
    trained = _trained(examples, scale)
    if (
        trained
        and not scale.exact
        and scale.counts([examples[0].answer]) != [len(trained[0][0]) - 1]
    ):
        return None
    for section, (example, held), facts, (ids, spelling) in zip(
        sections_with_text, texts, views_of or [[]] * len(sections_with_text), trained, strict=True
    ):
        taught = _spelt(mend(section.body), spelling) and scale.fits(example, len(ids))
        text = Known(example.kind, (example.prompt,), example.answer, example.span, 1, ALWAYS)
        known_facts = [_known(document, view, fact, mend, context) for view, fact in facts]
        parts.append(
            Part(
                example.span,
                section.tokens,
                section.headings,
                section.body,
                text,
                len(ids),
                held,
                taught and whole,
                tuple(fact for fact in known_facts if fact.wordings),
                prose_of(section),
            )
        )
    return parts, language


def _known(document: Document, view: View, fact: Fact, mend: Mend, context: WorkerContext) -> Known:
    """The fact with as many wordings as can be of use, those that fit a training row."""
    start, end = document.span(fact.start, fact.end)
    most = ABSENT_WORDINGS if fact.kind in ABSENT else context.most_wordings
    wordings = _some(fact, document.path, most)
    blank = Example(fact.kind, "", "", document.path, (start, end), document.sha256, context.system)
    return fitting(fact, wordings, blank, view, mend, context.scale)


def fitting(
    fact: Fact, candidates: Sequence[str], blank: Example, view: View, mend: Mend, scale: Scale
) -> Known:
    """The fact with those of the wordings that fit a training row, told without counting where bytes settle it.
    `blank` is what its examples are made from, `view` how it is asked."""
    wordings, answer = tuple(map(mend, candidates)), mend(fact.answer)
    room = scale.max_length - scale.frame(blank.system) - most_tokens(answer)
    if most_tokens("".join(wordings)) >= room and max(map(most_tokens, wordings)) >= room:
        example, tokens = blank._replace(answer=answer), scale.encoder.count(answer) + 1
        wordings = tuple(
            wording for wording in wordings if scale.fits(example._replace(prompt=wording), tokens)
        )
    return Known(
        blank.kind,
        wordings,
        answer,
        blank.span,
        view.per_turn,
        view.first,
        fact.answer_key,
        fact.pool,
        tuple((mend(prompt), mend(reply)) for prompt, reply in fact.opened),
    )


def _some(fact: Fact, path: str, most: int) -> tuple[str, ...]:
    """The first wordings of a question, which come from best to least; of templates the first and a fixed random choice
    of the others, so that neighbouring facts are not asked in the same words."""
    wordings = fact.wordings
    if fact.kind in IN_ORDER or len(wordings) < 3:
        return wordings[:most]
    rest, key = (
        wordings[1:],
        zlib.crc32(f"{path}\0{fact.start}\0{wordings[0]}".encode(errors="surrogatepass")),
    )
    step = STEPS[key % len(STEPS)]  # a prime: it visits every place unless it divides their number
    order = (
        (key >> 8) + i * (step if len(rest) % step else 1) for i in range(min(most - 1, len(rest)))
    )
    return (wordings[0], *(rest[at % len(rest)] for at in order))


def _text_examples(
    section: Section, wordings: Sequence[str], mend: Mend, scale: Scale
) -> tuple[Example, str]:
    """The section's whole text, under the first wording that leaves room for it, which the last one always does; and
    the same with the file's name, if that leaves room too."""
    document = section.document
    chosen = int(stable_hash(document.path, section.index)[:8], 16) % len(wordings)
    start, end = document.span(section.start, section.end)
    whole = Example("text", "", mend(section.body), document.path, (start, end), document.sha256)

    def first(*prompts: str) -> str:
        fitting = (mend(wording) for wording in prompts[:-1])
        return next(
            (
                wording
                for wording in fitting
                if scale.fits(whole._replace(prompt=wording), section.tokens + 1)
            ),
            mend(prompts[-1]),
        )

    plain = first(wordings[chosen], min(wordings, key=len), f"Part {section.index + 1}.")
    named = first(
        f"{wordings[chosen]} The file is {document.name}.",
        f"{document.name}, part {section.index + 1}",
        plain,
    )
    return whole._replace(prompt=plain), named


def _views(sections: Sequence[Section], mend: Mend, scale: Scale) -> Texts:
    return [
        _text_examples(section, wordings, mend, scale)
        for section, wordings in zip(sections, text_wordings(sections), strict=True)
    ]


VIEWS = Style(
    lambda config, room: min(config.section_tokens, room), _views, Example.line, asks=True
)


def _trained(examples: Sequence[Example], scale: Scale) -> list[tuple[list[int], str]]:
    """The ids that each example trains, and what they spell."""
    ids = scale.encoder.trained([example.messages for example in examples])
    return list(zip(ids, scale.encoder.tokenizer.decode_batch(ids), strict=True))


def _spelt(text: str, spelling: str) -> bool:
    """Tokenizers may normalise to NFC, which spells the same characters."""
    return text in spelling or unicodedata.normalize("NFC", text) in unicodedata.normalize(
        "NFC", spelling
    )


# -- packing -----------------------------------------------------------------------------------------------------------


def pack(result: Extract, seed: int) -> Packed:
    facts = [(i, fact) for i, part in enumerate(result.parts) for fact in part.facts]
    wordings = [wording for _, fact in facts for wording in fact.wordings]
    hashes, runs = _hashes(wordings)
    table = np.zeros(len(facts), FACT)
    hashed = cache(_hash)
    if facts:
        table["section"] = [i for i, _ in facts]
        table["wordings"] = [len(fact.wordings) for _, fact in facts]
        table["named"] = [fact.kind in NAMES for _, fact in facts]
        table["probed"] = [
            PROBED.index(fact.kind) if fact.answer_key and fact.kind in PROBED else -1
            for _, fact in facts
        ]
        table["answer"] = [hashed(fact.answer.lower()) for _, fact in facts]
    for i in np.flatnonzero(table["probed"] >= 0).tolist():
        fact = facts[i][1]
        table["answer_key"][i], table["pool"][i] = (
            hashed(fact.answer_key.lower()),
            hashed(fact.pool.lower()),
        )
        table["order"][i] = _hash(f"{seed}\0{result.path}\0{fact.wordings[0]}")
    head = {
        "path": result.path,
        "name": result.name,
        "title": result.title,
        "sha256": result.sha256,
        "notes": result.notes,
        "redactions": result.redactions,
        "skipped": result.skipped,
        "held": [*map(tuple, result.held)],
        "tokens": [part.tokens for part in result.parts],
        "wordings": len(wordings),
    }
    answer_keys = {
        str(i): facts[i][1].answer_key for i in np.flatnonzero(table["probed"] >= 0).tolist()
    }
    return Packed(
        zlib.compress(orjson.dumps(result, default=tuple), 1),
        orjson.dumps(head),
        orjson.dumps(answer_keys),
        orjson.dumps(result.links),
        table.tobytes(),
        hashes.tobytes(),
        filtered(runs).tobytes(),
        sketches([part.body for part in result.parts]).tobytes(),
    )


def _hashes(wordings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each wording one hash, and the hashes of the word 3-grams of all."""
    hashes, runs = [], []
    for some in some_at_a_time(wordings):
        text_words = words(some)
        hashes.append(identities(text_words))
        own = grams(text_words, SIMILARITY_GRAM)[0]
        runs.append(
            own if len(some) == len(wordings) else np.unique(own)
        )  # a table's come over and over
    return np.concatenate(hashes), np.concatenate(runs)


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little"
    )


def unpack(record: bytes) -> Extract:
    fields: dict[str, Any] = orjson.loads(zlib.decompress(record))
    parts = tuple(
        Part(
            tuple(p["span"]),
            p["tokens"],
            tuple(p["headings"]),
            p["body"],
            _fact(p["text"]),
            p["trained"],
            p["held"],
            p["taught"],
            tuple(map(_fact, p["facts"])),
            p["prose"],
        )
        for p in fields.pop("parts")
    )
    lists: dict[str, Any] = {key: tuple(fields.pop(key)) for key in ("notes", "redactions")}
    lists["held"] = tuple(Held(*each) for each in fields.pop("held"))
    lists["links"] = tuple(links.Link(**link) for link in fields.pop("links"))
    return Extract(**fields, **lists, parts=parts)


def _fact(row: list) -> Known:
    kind, wordings, answer, span, per_turn, first, answer_key, pool, opened = row
    return Known(
        kind,
        tuple(wordings),
        answer,
        tuple(span),
        per_turn,
        first,
        answer_key,
        pool,
        tuple((prompt, reply) for prompt, reply in opened),
    )


def with_facts(
    result: Extract, written: Sequence[Sequence[Fact]], context: WorkerContext
) -> Extract:
    """The extract with what a teacher asked of each part, ahead of the part's own facts, of which those of its prose go
    where there is some; their span is the part's."""
    mend = context.scale.plain
    parts = []
    for part, facts in zip(result.parts, written, strict=True):
        more = [
            fitting(
                fact,
                fact.wordings,
                Example(fact.kind, "", "", result.path, part.span, result.sha256, context.system),
                TAUGHT,
                mend,
                context.scale,
            )
            for fact in facts
        ]
        asked = [fact for fact in more if fact.wordings]
        own = [fact for fact in part.facts if not asked or fact.kind not in OF_PROSE]
        parts.append(replace(part, facts=(*asked, *own)))
    return replace(result, parts=tuple(parts))
