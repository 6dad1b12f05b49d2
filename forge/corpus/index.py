"""Full-text index over the corpus's sections, in one SQLite file: which passages speak of a question.

Sections are ranked by BM25 (Robertson & Zaragoza 2009, as FTS5 has it) over their document's title and path, their
headings, their text and what their lines name; a question's words count, and so do runs of two and three of them.

Measured on 2,000 frozen questions of a corpus of 999 documents (4,366 sections; 4.5 s to index, 3 ms a question),
half of them, by document, to choose by and half to test. Share of questions whose own section, or one of the same
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

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from forge.core.config import Config
from forge.core.fsio import partial_path, publish, remove, sha256_json
from forge.core.report import Reporter
from forge.core.workspace import Workspace
from forge.corpus.document import Document
from forge.corpus.load import load
from forge.corpus.split import Count, Section, split
from forge.corpus.walk import File, walk
from forge.errors import EnvironmentProblem, StageFailed

SCHEMA = """
CREATE TABLE about (identity TEXT);
CREATE TABLE document (id INTEGER PRIMARY KEY, path BLOB UNIQUE, name BLOB, title BLOB, sha256 TEXT, bytes INTEGER);
CREATE INDEX named ON document (name);
CREATE TABLE section (id INTEGER PRIMARY KEY, document INTEGER, start INTEGER, end INTEGER, alike BLOB, headings TEXT,
  text BLOB);
CREATE INDEX part ON section (document);
CREATE VIRTUAL TABLE terms USING fts5 (title, name, headings, text, labels, content='',
  tokenize="porter unicode61 remove_diacritics 2");
"""
WEIGHTS = (64, 64, 16, 4, 16)  # of the columns of `terms`; see the module for what they rest on
RUN = 3  # longest run of a question's words that counts by itself
MOST = 64  # distinct words of a question that are looked for: nobody's question has more, but a pasted page has
SPARE = 4  # sections looked at for each that is wanted, since some say the same

# Kana and Chinese characters have no spaces between words: each counts as one, and runs put them together again.
ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[^\W_{ALONE}]+|[{ALONE}]")
# English words that say nothing, and words of asking. A question of nothing else is searched by them.
ASKING = """
    a an the of to in on at for from by with and or is are was were be been it its as this that these those what which
    who whom whose when where why how do does did can could should would will shall may might must i you me my your we
    us our they them their he she his her there here into about if then than so not no
    please tell give show name state need look up explain describe define know mean means say says said find list note
    point summarise summarize put get gets given want understand remember like read ask stand stands have has had
    called across came come use used according"""
STOP = frozenset(ASKING.split())
# What a line names: its beginning up to a colon, a cell's border, an equals sign or a dash; bold or code at its
# beginning; a table's head. Every pattern is bounded, so that a line of a megabyte takes no longer than a page.
LABELS = tuple(re.compile(pattern, re.MULTILINE) for pattern in (
    r"^[^\w\n]{0,40}(\w[^\n|:=]{0,60}?)[*_`\"')\]]{0,4}[ \t]{0,40}(?:[|:=]|[ \t][-–—>→]{1,4}[ \t])",
    r"^[\s>#*+\-|]{0,40}(?:\d{1,6}[.)]\s{1,8})?(?:\*\*|__|`)([^\n*`]{1,80})(?:\*\*|__|`)",
    r"^\|([^\n]{1,2000})\|[ \t]{0,40}\n\|[ \t:|-]{1,2000}\|[ \t]{0,40}$"))
SAMPLE = "Größe, naïve and 東京: def f(x):\n    return 1_000 * x  # counted"


@dataclass(frozen=True)
class Passage:
    """A section as it can be cited. `span` counts bytes of the file at `path`, which has `document_bytes`."""

    path: str
    title: str
    headings: tuple[str, ...]
    span: tuple[int, int]
    text: str
    document_bytes: int


def cited(path: str, headings: Sequence[str], text: str) -> str:
    """A passage as it stands in a prompt, in training and in use."""
    return f"From {' › '.join([path, *headings])}:\n\n{text}"


def words(text: str) -> list[str]:
    """What is compared: runs of letters and digits in lower case, without leading zeros; `pids_limit` is two."""
    found = WORD.findall(unicodedata.normalize("NFKC", text).lower())
    return [word.lstrip("0") or "0" if word[0] == "0" else word for word in found]


class Index:
    """An index that is there, opened to read; see `ensure`. Methods raise StageFailed where the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)

    @staticmethod
    def open(path: Path) -> Index:
        """Raises StageFailed where no usable index lies."""
        if identity(path) is None:
            raise StageFailed(f"{path} is no index over the corpus, or a damaged one", fix="forge evaluate --force")
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
        wanted = query(question)
        limits = (0, 2**62) if within is None else self._sections(within)
        if not wanted or count <= 0 or limits is None:
            return []
        rows = self._rows(f"SELECT rowid, bm25(terms, {', '.join(map(str, WEIGHTS))}) AS score FROM terms "
                          "WHERE terms MATCH ? AND rowid BETWEEN ? AND ? ORDER BY score, rowid LIMIT ?",
                          wanted, *limits, count * SPARE)
        found: dict[bytes, int] = {}
        for number, _ in rows:
            ((alike,),) = self._rows("SELECT alike FROM section WHERE id = ?", number)
            found.setdefault(alike, number)
        return [passage for number in list(found.values())[:count] for passage in self._passages("s.id = ?", number)]

    def at(self, path: str, span: tuple[int, int]) -> list[Passage]:
        """The passages of a document that overlap the span, the longest overlap first."""
        found = self._passages("s.document = ? AND s.start < ? AND s.end > ?", self._document(path), span[1], span[0])
        return sorted(found, key=lambda p: (max(p.span[0], span[0]) - min(p.span[1], span[1]), p.span))

    def sections(self, path: str) -> list[Passage]:
        """A document's passages, in order."""
        return self._passages("s.document = ?", self._document(path))

    def document(self, path: str) -> tuple[str, int] | None:
        """SHA-256 of a document's file, and its bytes as spans count them."""
        found = self._rows("SELECT sha256, bytes FROM document WHERE id = ?", self._document(path))
        return found[0] if found else None

    def _document(self, path: str) -> int | None:
        """Its number, by its path, else by its name from the corpus root."""
        key = _stored(path)
        found = self._rows("SELECT id FROM document WHERE path = ?1 UNION ALL "
                           "SELECT id FROM document WHERE name = ?1 LIMIT 1", key)
        return found[0][0] if found else None

    def _sections(self, path: str) -> tuple[int, int] | None:
        """First and last number of a document's sections."""
        ((first, last),) = self._rows("SELECT MIN(id), MAX(id) FROM section WHERE document = ?", self._document(path))
        return None if first is None else (first, last)

    def _passages(self, where: str, *values: object) -> list[Passage]:
        rows = self._rows("SELECT d.path, d.title, s.headings, s.start, s.end, s.text, d.bytes FROM section s "
                          f"JOIN document d ON d.id = s.document WHERE {where} ORDER BY s.id", *values)
        return [Passage(_read(path), _read(title), tuple(json.loads(headings)), (start, end), _read(text), size)
                for path, title, headings, start, end, text, size in rows]

    def _rows(self, statement: str, *values: object) -> list:
        try:
            return self.db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StageFailed(f"the index {self.path} is damaged: {error}", fix=f"rm '{self.path}'") from error


def query(question: str) -> str:
    """The question in FTS5's syntax: its words OR-ed, and runs of them that begin and end with a word that counts."""
    found = words(question)
    distinct = list(dict.fromkeys(found))
    telling = ([word for word in distinct if word not in STOP] or distinct)[:MOST]
    counts = set(telling)
    runs = [run for n in range(2, RUN + 1) for run in zip(*(found[i:] for i in range(n)), strict=False)
            if run[0] in counts and run[-1] in counts]
    terms = dict.fromkeys([*telling, *map(" ".join, runs[:RUN * MOST])])
    return " OR ".join(f'"{term}"' for term in terms)


# -- making ------------------------------------------------------------------------------------------------------------


def ensure(cfg: Config, root: Path, count: Count, target: Path, digest: Callable[[Path], str], report: Reporter
           ) -> Index:
    """Opens the index over the corpus as it is now, which is made first where it is missing, old or damaged.

    `count` gives the tokens of texts, `digest` a file's SHA-256. Text is indexed with its secrets taken out. Raises
    UsageError for a corpus that is missing or empty, StageFailed where no document of it can be used.
    """
    files = walk(cfg.corpus, root, [*Workspace(root, cfg).artifacts, target]).files
    wanted = sha256_json([SCHEMA, _source_digest(), cfg.section_tokens, cfg.dataset.secrets, count(SAMPLE.split()),
                          [[*map(repr, (file.relative, file.name)), digest(file.path)] for file in files]])
    if identity(target) != wanted:
        build(_documents(cfg, files, count, report), target, wanted)
    return Index(target)


def _documents(cfg: Config, files: Sequence[File], count: Count, report: Reporter
               ) -> Iterator[tuple[Document, list[Section]]]:
    """What can be read of the corpus."""
    skipped: list[str] = []
    for done, file in enumerate(files, 1):
        loaded = load(file, cfg.dataset.secrets)
        if loaded.document is None:
            skipped.append(f"{file.relative}: {loaded.skipped}")
        else:
            yield loaded.document, split(loaded.document, cfg.section_tokens, count)
        report.progress("indexing", done, len(files), "files")
    if len(skipped) == len(files):
        raise StageFailed("no document of the corpus can be used:\n  " + "\n  ".join(skipped[:20]),
                          fix="add documents to corpus.roots")


def _source_digest() -> str:
    """Of the room's own source: another version of Forge reads and splits otherwise."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def build(documents: Iterable[tuple[Document, list[Section]]], target: Path, identity: str) -> None:
    """Writes an index over documents and their sections, which is whole or not there. `identity` is what `identity()`
    then says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = partial_path(target.with_name(f"{target.name}.{os.getpid()}"))  # a chat's may be made beside a stage's
    remove(staged)
    try:
        with contextlib.closing(sqlite3.connect(staged)) as db:
            db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {SCHEMA}")
            for number, (document, sections) in enumerate(documents):
                _add(db, number, document, sections)
            db.execute("INSERT INTO about VALUES (?)", (identity,))
            db.execute("INSERT INTO terms (terms) VALUES ('optimize')")
            db.commit()
        publish(staged, target)
    except sqlite3.OperationalError as error:  # no room, or an SQLite without FTS5
        raise EnvironmentProblem(f"the index {target} cannot be written: {error}",
                                 fix="free some disk space; or, if it is FTS5 that is missing, use another Python, "
                                 "whose sqlite3 has it") from error
    finally:
        remove(staged)  # still there only if something failed


def _add(db: sqlite3.Connection, number: int, document: Document, sections: Sequence[Section]) -> None:
    whole = int(document.offsets[-1])
    db.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?)",
               (number, *map(_stored, (document.path, document.name, document.title)), document.sha256, whole))
    title, name = _terms(document.title), _terms(_named(document.name))
    for section in sections:
        if not section.body:
            continue
        text = _terms(section.body)
        row = db.execute("INSERT INTO section VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                         (number, *document.span(section.start, section.end),
                          hashlib.blake2b(text.encode(), digest_size=8).digest(), json.dumps(section.headings),
                          _stored(section.body)))
        db.execute("INSERT INTO terms (rowid, title, name, headings, text, labels) VALUES (?, ?, ?, ?, ?, ?)",
                   (row.lastrowid, title, name, _terms(" ".join(section.headings)), text, _terms(labels(section.body))))


def identity(path: Path) -> str | None:
    """What an index was made from; None where none lies, or one that is damaged."""
    if not path.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as db:
            sound = db.execute("PRAGMA quick_check(1)").fetchone()
            found = db.execute("SELECT identity FROM about").fetchone()
    except sqlite3.DatabaseError:
        return None
    return found[0] if found and sound == ("ok",) else None


def labels(text: str) -> str:
    return "\n".join(match for pattern in LABELS for match in pattern.findall(text))


def _named(name: str) -> str:
    """Each folder's name before the file's, so that `TASKS/done/052_nerves.md` has a "task 52"."""
    path = PurePosixPath(name)
    return "\n".join(f"{folder} {path.stem}" for folder in path.parts[:-1]) or path.stem


def _terms(text: str) -> str:
    return " ".join(words(text))


def _stored(text: str) -> bytes:
    """Names of files and text from extracted formats may hold what UTF-8 has no place for."""
    return text.encode("utf-8", "surrogatepass")


def _read(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
