"""Full-text index over the corpus's sections, in one SQLite file: which passages speak of a question.

Sections are ranked by BM25 (Robertson & Zaragoza 2009, as FTS5 has it) over their document's title and path, their
headings, their text, what their lines name and the parts of compounds; a question's words count, and so do runs of two
and three of them. A section's words are brought to stems in its document's language, a question's in each language of
the corpus (`corpus/terms.py`).

By people's questions about Wikipedia paragraphs (XQuAD; `bench/retrieval.md`): the passage that answers is the first,
among the first three, for

| | English | German | Chinese |
|---|---|---|---|
| English stems and English words of asking for all, as it was | 0.941 0.987 | 0.839 0.941 | 0.928 0.984 |
| as it is | 0.939 0.987 | 0.902 0.959 | 0.939 0.987 |
| without stems | 0.928 0.987 | 0.864 0.949 | 0.939 0.987 |
| with all words of asking | 0.908 0.979 | 0.862 0.959 | 0.929 0.984 |
| with compounds whole | 0.939 0.987 | 0.882 0.957 | 0.939 0.987 |

What else counts was measured on 2,000 frozen questions of an English corpus of 999 documents (4,366 sections), half
of them, by document, to choose by and half to test. Share of questions whose own section, or one of the same
words, is the first, among the first three, among the first five:

| what is searched | chosen by | tested |
|---|---|---|
| the text alone: stems of its words, OR-ed | 0.37 0.52 0.60 | 0.38 0.55 0.64 |
| + title, path and headings at twice the weight | 0.66 0.83 0.87 | 0.71 0.84 0.87 |
| + numbers without their leading zeros | 0.70 0.88 0.92 | 0.74 0.88 0.93 |
| + runs of two words | 0.76 0.90 0.93 | 0.80 0.90 0.95 |
| + words of asking left out, each folder's name before the file's | 0.77 0.92 0.95 | 0.80 0.92 0.96 |
| + weights as below, by which a word's being there counts, hardly how often | 0.82 0.94 0.96 | 0.85 0.94 0.97 |
| + runs of three words | 0.83 0.95 0.96 | 0.86 0.94 0.97 |
| + what lines name | 0.85 0.96 0.97 | 0.88 0.95 0.98 |

What is missed mostly asks for a name that many documents have ("Tell me what `type` is"). Without stems the last row
is 0.83 0.96 0.97, with runs of four words it stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import astuple, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import partial_path, publish, remove, sha256_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.corpus import inline, prose
from phoenix_forge.corpus.readers import installed
from phoenix_forge.corpus.terms import COMPOUNDING, Compounds, Stems, normal, spoken, stops, words
from phoenix_forge.corpus.terms import STOP as STOP  # for others
from phoenix_forge.corpus.terms import WORD as WORD
from phoenix_forge.corpus.walk import File, walk
from phoenix_forge.errors import EnvironmentProblem, StageFailed

if (
    TYPE_CHECKING
):  # what reads files takes longer to load than a search takes, and most searches read none
    from phoenix_forge.corpus.document import Document
    from phoenix_forge.corpus.split import Count, Section

SCHEMA = """
CREATE TABLE about (identity TEXT, reading TEXT);
CREATE TABLE document (id INTEGER PRIMARY KEY, path BLOB UNIQUE, name BLOB, title BLOB, sha256 TEXT, bytes INTEGER,
  language TEXT);
CREATE INDEX named ON document (name);
CREATE TABLE section (id INTEGER PRIMARY KEY, document INTEGER, start INTEGER, end INTEGER, alike BLOB, headings TEXT,
  text BLOB);
CREATE INDEX part ON section (document);
CREATE VIRTUAL TABLE terms USING fts5 (title, name, headings, text, labels, parts, content='', tokenize="ascii");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (terms, row);
"""
FORMAT = (
    3  # raised with the schema or with what its terms mean: an index of another format is no index
)
WEIGHTS = (64, 64, 16, 4, 16, 4)  # of the columns of `terms`; see the module for what they rest on
RUN = 3  # longest run of a question's words that counts by itself
MOST = 64  # distinct words of a question that are looked for: nobody's question has more, but a pasted page has
SPARE = 4  # sections looked at for each that is wanted, since some say the same
QUOTED_IN = 8  # sections that are looked through for a sentence

# What a line names: its beginning up to a colon, a cell's border, an equals sign or a dash; bold or code at its
# beginning; a table's head. Every pattern is bounded, so that a line of a megabyte takes no longer than a page.
LABELS = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^[^\w\n]{0,40}(\w[^\n|:=]{0,60}?)[*_`\"')\]]{0,4}[ \t]{0,40}(?:[|:=]|[ \t][-–—>→]{1,4}[ \t])",
        r"^[\s>#*+\-|]{0,40}(?:\d{1,6}[.)]\s{1,8})?(?:\*\*|__|`)([^\n*`]{1,80})(?:\*\*|__|`)",
        r"^\|([^\n]{1,2000})\|[ \t]{0,40}\n\|[ \t:|-]{1,2000}\|[ \t]{0,40}$",
    )
)
SAMPLE = "Größe, naïve and 東京: def f(x):\n    return 1_000 * x  # counted"


@dataclass(frozen=True)
class Passage:
    """A section as it can be cited. `span` counts bytes of the file at `path`, which has `document_bytes` and is in
    `language` (ISO 639-1)."""

    path: str
    title: str
    headings: tuple[str, ...]
    span: tuple[int, int]
    text: str
    document_bytes: int
    language: str = "en"


class Entry(NamedTuple):
    """A document as it is indexed. `sections` are those that hold more than their headings: span, headings, body."""

    path: str
    name: str
    title: str
    sha256: str
    size: int
    language: str
    sections: tuple[tuple[tuple[int, int], tuple[str, ...], str], ...]

    @staticmethod
    def of(document: Document, sections: Iterable[Section]) -> Entry:
        bodies = [section for section in sections if section.body]
        spans = [document.span(section.start, section.end) for section in bodies]
        own_sections = tuple(
            ((start, end), section.headings, section.body)
            for (start, end), section in zip(spans, bodies, strict=True)
        )
        return Entry(
            document.path,
            document.name,
            document.title,
            document.sha256,
            int(document.offsets[-1]),
            spoken(document),
            own_sections,
        )


def cited(path: str, headings: Sequence[str], text: str) -> str:
    """A passage as it stands in a prompt, in training and in use."""
    return f"From {' › '.join([path, *headings])}:\n\n{text}"


def grounded(question: str, passages: Iterable[Passage], plain: Callable[[str], str]) -> str:
    """A question behind the passages that may answer it, as a model is trained to read them. `plain` takes control
    tokens out of a text: a passage about `<|im_end|>` must not end the turn."""
    return "\n\n".join([*(cited(p.path, p.headings, plain(p.text)) for p in passages), question])


class Index:
    """An index that is there, opened to read; see `ensure`. Methods raise StageFailed where the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        self._stems: list[Stems] | None = None
        self._count: int | None = None  # of its sections

    @staticmethod
    def open(path: Path) -> Index:
        """Raises StageFailed where no usable index lies."""
        if identity(path) is None:
            raise StageFailed(
                f"{path} is no index over the corpus, or a damaged one",
                fix="forge evaluate --force",
            )
        return Index(path)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def search(self, question: str, count: int, within: str | None = None) -> list[Passage]:
        """At most `count` passages with a word of the question, best first, no two of the same words; `within` names
        the only document that is looked at."""
        wanted = query(question, self._spoken(), self._frequency)
        limits = (0, 2**62) if within is None else self._sections(within)
        if not wanted or count <= 0 or limits is None:
            return []
        rows = self._rows(
            f"SELECT rowid, bm25(terms, {', '.join(map(str, WEIGHTS))}) AS score FROM terms "
            "WHERE terms MATCH ? AND rowid BETWEEN ? AND ? ORDER BY score, rowid LIMIT ?",
            wanted,
            *limits,
            count * SPARE,
        )
        distinct: dict[bytes, int] = {}
        for number, _ in rows:
            ((alike,),) = self._rows("SELECT alike FROM section WHERE id = ?", number)
            distinct.setdefault(alike, number)
        return [
            passage
            for number in list(distinct.values())[:count]
            for passage in self._passages("s.id = ?", number)
        ]

    def locate(self, sentence: str) -> Passage | None:
        """The passage that a sentence stands in, compared without case, marks and spaces; None where none has it. The
        sentence may be as it reads, without the marks of Markdown that the document has."""
        wanted = bare(sentence)
        passages = self.search(sentence, QUOTED_IN) if wanted else []
        return next(
            (p for p in passages if wanted in bare(p.text) or wanted in bare(inline.plain(p.text))),
            None,
        )

    def at(self, path: str, span: tuple[int, int]) -> list[Passage]:
        """The passages of a document that overlap the span, the longest overlap first."""
        passages = self._passages(
            "s.document = ? AND s.start < ? AND s.end > ?", self._document(path), span[1], span[0]
        )
        return sorted(
            passages, key=lambda p: (max(p.span[0], span[0]) - min(p.span[1], span[1]), p.span)
        )

    def sections(self, path: str) -> list[Passage]:
        """A document's passages, in order."""
        return self._passages("s.document = ?", self._document(path))

    def document(self, path: str) -> tuple[str, int] | None:
        """SHA-256 of a document's file, and its bytes as spans count them."""
        rows = self._rows("SELECT sha256, bytes FROM document WHERE id = ?", self._document(path))
        return rows[0] if rows else None

    @property
    def reading(self) -> str:
        """How its documents were read."""
        ((stored_reading,),) = self._rows("SELECT reading FROM about")
        return str(stored_reading)

    def documents(self) -> dict[tuple[str, str, str], int]:
        """The number of each document, by its path, its name and the SHA-256 of its file."""
        return {
            (_read(path), _read(name), sha256): number
            for number, path, name, sha256 in self._rows(
                "SELECT id, path, name, sha256 FROM document"
            )
        }

    def entry(self, number: int) -> Entry:
        """A document as it was indexed, by its number."""
        ((path, name, title, sha256, size, language),) = self._rows(
            "SELECT path, name, title, sha256, bytes, language FROM document WHERE id = ?", number
        )
        rows = self._rows(
            "SELECT start, end, headings, text FROM section WHERE document = ? ORDER BY id", number
        )
        sections = tuple(
            ((start, end), tuple(json.loads(headings)), _read(text))
            for start, end, headings, text in rows
        )
        return Entry(_read(path), _read(name), _read(title), sha256, size, language, sections)

    def _spoken(self) -> list[Stems]:
        """Of each language that documents are in."""
        if self._stems is None:
            self._stems = [
                Stems(code)
                for (code,) in self._rows("SELECT DISTINCT language FROM document ORDER BY 1")
            ]
        return self._stems

    def _frequency(self, stem: str) -> int:
        """How many passages have it."""
        rows = self._rows("SELECT doc FROM vocabulary WHERE term = ?", stem)
        return rows[0][0] if rows else 0

    def weight(self, stem: str) -> float:
        """What a word tells: the logarithm of how many times as many passages there are as have it."""
        if self._count is None:
            ((self._count,),) = self._rows("SELECT COUNT(*) FROM section")
        return math.log((self._count + 1) / (self._frequency(stem) + 0.5))

    def _document(self, path: str) -> int | None:
        """Its number, by its path, else by its name from the corpus root."""
        key = _stored(path)
        rows = self._rows(
            "SELECT id FROM document WHERE path = ?1 UNION ALL "
            "SELECT id FROM document WHERE name = ?1 LIMIT 1",
            key,
        )
        return rows[0][0] if rows else None

    def _sections(self, path: str) -> tuple[int, int] | None:
        """First and last number of a document's sections."""
        ((first, last),) = self._rows(
            "SELECT MIN(id), MAX(id) FROM section WHERE document = ?", self._document(path)
        )
        return None if first is None else (first, last)

    def _passages(self, where: str, *values: object) -> list[Passage]:
        rows = self._rows(
            "SELECT d.path, d.title, s.headings, s.start, s.end, s.text, d.bytes, d.language "
            f"FROM section s JOIN document d ON d.id = s.document WHERE {where} ORDER BY s.id",
            *values,
        )
        return [
            Passage(
                _read(path),
                _read(title),
                tuple(json.loads(headings)),
                (start, end),
                _read(text),
                *more,
            )
            for path, title, headings, start, end, text, *more in rows
        ]

    def _rows(self, statement: str, *values: object) -> list:
        try:
            return self.db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StageFailed(
                f"the index {self.path} is damaged: {error}", fix=f"rm '{self.path}'"
            ) from error


def query(
    question: str, stems: Sequence[Stems], frequency: Callable[[str], int] = lambda _: 0
) -> str:
    """The question in FTS5's syntax: its words OR-ed, the parts of its compounds, and runs of its words that begin and
    end with a word that counts; each brought to its stem in every language of the corpus, since a question is too
    short to tell its language by. `frequency` says how many passages have a stem."""
    own_words, telling = _asked(question, [own.language for own in stems])
    runs = [
        run
        for length in range(2, RUN + 1)
        for run in zip(*(own_words[i:] for i in range(length)), strict=False)
        if run[0] in telling and run[-1] in telling
    ][: RUN * MOST]
    terms: dict[str, None] = {}
    for own in stems:
        compounds = Compounds(own, frequency)
        parts = [part for word in telling for part in compounds(word)]
        terms |= dict.fromkeys([*map(own.__getitem__, telling), *parts, *map(own.line, runs)])
    return " OR ".join(f'"{term}"' for term in terms if term)


def _asked(question: str, languages: Iterable[str]) -> tuple[list[str], dict[str, None]]:
    """The words of a question, and those of them that count, each once.

    Those that say nothing are left out by the language that has the most of them in the question: "die" says nothing
    in German only. A question of nothing else is searched by them.
    """
    text, whole = normal(question), words(question)
    counts = {stop: stop.count(text, whole) for stop in map(stops, languages)}
    silent = [stop for stop, count in counts.items() if count == max(counts.values())]
    for stop in silent:
        text = stop.without(text)
    own_words = words(text)
    telling = [
        word for word in dict.fromkeys(own_words) if not any(word in stop.words for stop in silent)
    ]
    if not telling:
        own_words, telling = whole, list(dict.fromkeys(whole))
    return own_words, dict.fromkeys(telling[:MOST])


# -- making ------------------------------------------------------------------------------------------------------------


def ensure(
    cfg: Config,
    root: Path,
    count: Count,
    target: Path,
    digest: Callable[[Path], str],
    report: Reporter,
) -> Index:
    """Opens the index over the corpus as it is now, which is made first where it is missing, old or damaged.

    `count` gives the tokens of texts, `digest` a file's SHA-256. Text is indexed with its secrets taken out. Raises
    UsageError for a corpus that is missing or empty, StageFailed where no document of it can be used.
    """
    files = _files(cfg, root, target)
    reading = _reading(cfg, count(SAMPLE.split()), files)
    wanted = _identity(reading, files, digest)
    there = identity(target)
    if there != wanted:
        with ExitStack() as opened:
            old = opened.enter_context(Index(target)) if there else None
            reusable = old if old and old.reading == reading else None
            build(_entries(cfg, files, count, digest, reusable, report), target, wanted, reading)
    return Index(target)


def fresh(
    cfg: Config, root: Path, sampled: Sequence[int], target: Path, digest: Callable[[Path], str]
) -> Index | None:
    """The index, where one lies that is over the corpus as it is now and was made with a tokenizer that gives
    `sampled` tokens to the words of SAMPLE. The caller knows that the file is whole. Raises as `ensure` does."""
    files = _files(cfg, root, target)
    wanted = _identity(_reading(cfg, sampled, files), files, digest)
    return Index(target) if identity(target, sound=True) == wanted else None


def _files(cfg: Config, root: Path, target: Path) -> list[File]:
    return walk(cfg.corpus, root, [*Workspace(root, cfg).artifacts, target]).files


def _reading(cfg: Config, sampled: Sequence[int], files: Iterable[File]) -> str:
    """How files are read and split: what has to be equal for the same file to give the same entry."""
    return sha256_json(
        [
            SCHEMA,
            _source_digest(),
            _libraries(),
            cfg.section_tokens,
            cfg.dataset.secrets,
            cfg.dataset.personal_data,
            list(sampled),
            sorted({file.given for file in files}),
        ]
    )


def _identity(reading: str, files: Iterable[File], digest: Callable[[Path], str]) -> str:
    """What `identity` says of an index over these files."""
    return sha256_json(
        [reading, [[*map(repr, (file.relative, file.name)), digest(file.path)] for file in files]]
    )


@dataclass(frozen=True)
class _Reading:
    """What a process needs to read documents."""

    secrets: Literal["redact", "drop", "fail"]
    personal: bool
    tokens: int
    count: Count


def _read_entry(reading: _Reading, file: File) -> Entry | str:
    """A document's entry, or why it has none."""
    from phoenix_forge.corpus.load import load
    from phoenix_forge.corpus.split import split

    loaded = load(file, reading.secrets, personal=reading.personal)
    if loaded.document is None:
        return loaded.skipped or ""
    return Entry.of(loaded.document, split(loaded.document, reading.tokens, reading.count))


def _entries(
    cfg: Config,
    files: Sequence[File],
    count: Count,
    digest: Callable[[Path], str],
    reusable: Index | None,
    report: Reporter,
) -> Iterator[Entry]:
    """What can be read of the corpus. A file that is as it was has its entry from `reusable`, an index."""
    from phoenix_forge.corpus.guarded import Pool
    from phoenix_forge.corpus.load import limits

    skipped: list[str] = []
    prose.language("text")  # its model is loaded before the processes are forked
    reading = _Reading(cfg.dataset.secrets, cfg.dataset.personal_data, cfg.section_tokens, count)
    known_as = reusable.documents() if reusable else {}
    with closing(
        Pool(cfg.dataset.workers or os.cpu_count() or 1, _Reading, astuple(reading))
    ) as pool:
        numbers = [known_as.get((file.relative, file.name, digest(file.path))) for file in files]
        changed = ((file,) for file, number in zip(files, numbers, strict=True) if number is None)
        results = pool.map(_read_entry, changed, limits, lambda lost, _: lost.reason)
        for done, (file, number) in enumerate(zip(files, numbers, strict=True), 1):
            entry = next(results) if reusable is None or number is None else reusable.entry(number)
            if isinstance(entry, Entry):
                yield entry
            else:
                skipped.append(f"{file.relative}: {entry}")
            report.progress("indexing", done, len(files), "files")
    if len(skipped) == len(files):
        raise StageFailed(
            "no document of the corpus can be used:\n  " + "\n  ".join(skipped[:20]),
            fix="add documents to corpus.roots",
        )


@cache
def _libraries() -> list[str]:
    """Others would read a file otherwise, or at all, or bring a question to other stems."""
    return [*installed(), *(version(name) for name in ("PyStemmer", "py3langid"))]


@cache
def _source_digest() -> str:
    """Of the room's own source: another version of Forge reads and splits otherwise."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def build(entries: Iterable[Entry], target: Path, identity: str, reading: str = "") -> None:
    """Writes an index over documents, which is whole or not there. `identity` is what `identity()` then says, `reading`
    how the documents were read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(
        target.with_name(f"{target.name}.{os.getpid()}")
    )  # a chat's may be made beside a stage's
    remove(staged)
    try:
        with closing(sqlite3.connect(staged)) as db:
            db.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA user_version = {FORMAT}; "
                f"{SCHEMA}"
            )
            writer = _Writer(db)
            for number, entry in enumerate(entries):
                writer.add(number, entry)
            writer.finish()
            db.execute("INSERT INTO about VALUES (?, ?)", (identity, reading))
            db.execute("INSERT INTO terms (terms) VALUES ('optimize')")
            db.commit()
            db.execute("VACUUM")  # `optimize` leaves a quarter of the file empty
        publish(staged, target)
    except sqlite3.OperationalError as error:  # no room, or an SQLite without FTS5
        raise EnvironmentProblem(
            f"the index {target} cannot be written: {error}",
            fix="free some disk space; or, if it is FTS5 that is missing, use another Python, "
            "whose sqlite3 has it",
        ) from error
    finally:
        remove(staged)  # still there only if something failed


class _Writer:
    """Fills an index. Sections in languages whose compounds are parted get their terms when all are known, since it
    takes the corpus to tell a part."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._stems: dict[str, Stems] = {}
        self._vocabularies: dict[str, Counter[str]] = defaultdict(
            Counter
        )  # how many sections have a stem

    def add(self, number: int, entry: Entry) -> None:
        named = [words(entry.title), words(_named(entry.name))]
        self.db.execute(
            "INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                *map(_stored, (entry.path, entry.name, entry.title)),
                entry.sha256,
                entry.size,
                entry.language,
            ),
        )
        for span, headings, body in entry.sections:
            self._section(number, span, headings, body, entry.language, named)

    def _section(
        self,
        number: int,
        span: tuple[int, int],
        headings: Sequence[str],
        body: str,
        language: str,
        named: list[list[str]],
    ) -> None:
        section_words = words(body)
        alike = hashlib.blake2b(" ".join(section_words).encode(), digest_size=8).digest()
        row = self.db.execute(
            "INSERT INTO section VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (number, *span, alike, json.dumps(headings), _stored(body)),
        ).lastrowid
        if language in COMPOUNDING:
            self._vocabularies[language].update(
                map(self._of(language).__getitem__, set(section_words))
            )
        else:
            self._terms(
                row,
                language,
                [*named, words(" ".join(headings)), section_words, words(labels(body))],
            )

    def _of(self, language: str) -> Stems:
        if language not in self._stems:
            self._stems[language] = Stems(language)
        return self._stems[language]

    def _terms(
        self,
        row: int | None,
        language: str,
        columns: Iterable[Sequence[str]],
        parts: Iterable[str] = (),
    ) -> None:
        """A row: the words of title, name, headings, text and labels, and the parts of compounds among them."""
        self.db.execute(
            "INSERT INTO terms (rowid, title, name, headings, text, labels, parts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row, *map(self._of(language).line, columns), " ".join(parts)),
        )

    def finish(self) -> None:
        """The terms that waited for the others."""
        for language, vocabulary in self._vocabularies.items():
            compounds = Compounds(self._of(language), vocabulary.__getitem__)
            rows = self.db.execute(
                "SELECT s.id, d.title, d.name, s.headings, s.text FROM section s JOIN document d "
                "ON d.id = s.document WHERE d.language = ? ORDER BY s.id",
                (language,),
            )
            for row, title, name, headings, body in rows:
                body = _read(body)
                columns = [
                    words(column)
                    for column in (
                        _read(title),
                        _named(_read(name)),
                        " ".join(json.loads(headings)),
                        body,
                        labels(body),
                    )
                ]
                parts = [part for column in columns for word in column for part in compounds(word)]
                self._terms(row, language, columns, parts)


def identity(path: Path, *, sound: bool = False) -> str | None:
    """What an index was made from; None where none lies, or one that is damaged or of another format. It is read
    through for damage, unless it is known to be `sound`."""
    if not path.is_file():
        return None
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as db:
            checked = ("ok",) if sound else db.execute("PRAGMA quick_check(1)").fetchone()
            version = db.execute("PRAGMA user_version").fetchone()
            row = db.execute("SELECT identity FROM about").fetchone()
    except sqlite3.DatabaseError:
        return None
    return row[0] if row and checked == ("ok",) and version == (FORMAT,) else None


def bare(text: str) -> str:
    """The letters and digits of a text, without case: what two writings of one sentence have in common."""
    return "".join(filter(str.isalnum, normal(text)))


def labels(text: str) -> str:
    return "\n".join(match for pattern in LABELS for match in pattern.findall(text))


def _named(name: str) -> str:
    """Each folder's name before the file's, so that `TASKS/done/052_nerves.md` has a "task 52"."""
    path = PurePosixPath(name)
    return "\n".join(f"{folder} {path.stem}" for folder in path.parts[:-1]) or path.stem


def _stored(text: str) -> bytes:
    """Names of files and text from extracted formats may hold what UTF-8 has no place for."""
    return text.encode("utf-8", "surrogatepass")


def _read(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
