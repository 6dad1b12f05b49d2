"""What is already known of documents, kept between runs: a cache in one SQLite file, keyed by content.

Losing it costs time, never correctness. Every row is the result of a pure function whose inputs are its key, so a row
that is there is right; SQLite's journal sees to it that a killed run leaves only whole rows, and a checksum before each
value that none is used which a disk or a copy changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from phoenix_forge.core.faults import explained
from phoenix_forge.corpus.links import Link
from phoenix_forge.corpus.near_duplicates import COLUMNS
from phoenix_forge.corpus.readers import installed
from phoenix_forge.dataset.emit import ExampleLines
from phoenix_forge.dataset.extract import FACT, Extract, Packed, unpack
from phoenix_forge.dataset.resolve import Head
from phoenix_forge.errors import StageFailed

SUM = 8  # bytes of the checksum before each value: of its key, its column and itself
SCHEMA = f"""-- values begin with {SUM} bytes of checksum
CREATE TABLE extract (key TEXT PRIMARY KEY, head BLOB, sketches BLOB, answer_keys BLOB, links BLOB,
  facts BLOB, wordings BLOB, grams BLOB);
CREATE TABLE record (key TEXT PRIMARY KEY, record BLOB);
CREATE TABLE lines (key TEXT PRIMARY KEY, meta BLOB, validation BLOB, train BLOB);
"""
LAYOUT = zlib.crc32(SCHEMA.encode()) >> 1  # what SQLite keeps for us: a number of 31 bits
VALUES = {
    "extract": ("head", "sketches", "answer_keys", "links", "facts", "wordings", "grams"),
    "record": ("record",),
    "lines": ("meta", "validation", "train"),
}
META = tuple(f.name for f in fields(ExampleLines) if f.name not in ("train", "validation"))

# What SQLite says where not the file but the machine is at fault.
MACHINE = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


def code_digest() -> str:
    """Of the source of the rooms whose functions are cached, and of the optional libraries of readers: another version
    of Forge never takes an old result, and a file that no library was there for is read once there is one."""
    forge = Path(__file__).parents[1]
    rooms = [
        forge / room
        for room in ("chat", "corpus", "examples", "questions", "teacher", "exam", "dataset")
    ]
    rooms += [path.parent for path in forge.glob("*/extensions.json")]  # a style is of these
    digest = hashlib.sha256()
    for path in sorted(
        p for room in rooms for p in room.rglob("*") if p.suffix in (".py", ".json", ".yaml")
    ):
        digest.update(path.read_bytes())
    digest.update(repr(installed()).encode())
    return digest.hexdigest()


class Damaged(StageFailed):
    """What was remembered is not what was written. It is forgotten by now: what needs it is to be done once more."""


def _sum(key: str, name: str, value: bytes) -> bytes:
    digest = hashlib.blake2b(f"{key} {name} ".encode(), digest_size=SUM)
    digest.update(value)
    return digest.digest()


def _sealed(key: str, names: Sequence[str], values: Sequence[bytes]) -> list[bytes]:
    return [_sum(key, name, value) + value for name, value in zip(names, values, strict=True)]


def _as_written(key: str, name: str, stored: object) -> bool:
    return isinstance(stored, bytes) and stored[:SUM] == _sum(key, name, stored[SUM:])


class Store:
    """`path` None: in memory, for one run. Raises EnvironmentProblem where the file cannot be written, Damaged where a
    value is not as it was written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()  # with the rights that the umask says; SQLite would leave the group's out
        self.db = sqlite3.connect(path or ":memory:")
        if path and not self._sound():
            self._remove()  # of another Forge
            self.db = sqlite3.connect(path)
        self._run("PRAGMA journal_mode = TRUNCATE")
        self._run("PRAGMA synchronous = NORMAL")
        if not self._layout():
            with self._explained():
                self.db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;")

    def _layout(self) -> int:
        return self.db.execute("PRAGMA user_version").fetchone()[0]

    def _sound(self) -> bool:
        """Whether it can be used as it is; a cache that is damaged, or another Forge's, is made anew."""
        try:
            with self._explained():
                (tables,) = self.db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
                return tables == 0 or self._layout() == LAYOUT
        except Damaged:
            return False

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if (
                getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in MACHINE
                and self.path
            ):
                raise explained(error, [self.path]) or error from error
            self._remove()
            raise self._damaged(f"{self.path} is damaged ({error})") from error

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._explained():
            return self.db.execute(statement, values).fetchall()

    def _remove(self) -> None:
        self.close()
        if self.path:
            for suffix in ("", "-journal"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.touch()

    def _damaged(self, what: str) -> Damaged:
        return Damaged(
            f"{what}: what it remembered is worked out again",
            fix=f"forge dataset goes on; where it says so again, the disk of {self.path} fails",
        )

    def forget_damaged(self) -> Damaged:
        """Removes every row that is not as it was written, and the whole store where that cannot be told."""
        try:
            bad = [
                (key,)
                for table, names in VALUES.items()
                for key, *stored in self.db.execute(f"SELECT key, {', '.join(names)} FROM {table}")
                if not all(map(_as_written, [key] * len(names), names, stored))
            ]
            for table in VALUES:  # an extract and its record are one result
                self.db.executemany(f"DELETE FROM {table} WHERE key = ?", bad)
            self.db.commit()
        except sqlite3.DatabaseError:
            self._remove()
            return self._damaged(f"{self.path} is damaged")
        return self._damaged(f"{self.path} is damaged in {len(bad)} of its rows")

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def commit(self) -> None:
        with self._explained():
            self.db.commit()

    def has(self, table: str, keys: Sequence[str]) -> set[str]:
        """Which of the keys are there."""
        stored_keys = {key for (key,) in self._run(f"SELECT key FROM {table}")}
        return stored_keys & set(keys)

    def _put(self, table: str, key: str, values: Sequence[bytes]) -> None:
        names = VALUES[table]
        self._run(
            f"INSERT OR REPLACE INTO {table} (key, {', '.join(names)}) VALUES (?{', ?' * len(names)})",
            [key, *_sealed(key, names, values)],
        )

    def put_extract(self, key: str, packed: Packed) -> None:
        self._put("extract", key, [getattr(packed, name) for name in VALUES["extract"]])
        self._put("record", key, [packed.record])

    def put_lines(self, key: str, lines: ExampleLines) -> None:
        meta = orjson.dumps({name: getattr(lines, name) for name in META})
        self._put("lines", key, [meta, lines.validation, lines.train])

    def values(self, table: str, key: str, *names: str) -> list[bytes]:
        """What is remembered under a key that is there."""
        rows = self._run(f"SELECT {', '.join(names)} FROM {table} WHERE key = ?", [key])
        if not rows or not all(map(_as_written, [key] * len(names), names, rows[0])):
            raise self.forget_damaged()
        return [stored[SUM:] for stored in rows[0]]

    def column(self, table: str, name: str, key: str) -> bytes:
        return self.values(table, key, name)[0]

    def lines(self, key: str) -> ExampleLines:
        meta, validation, train = self.values("lines", key, *VALUES["lines"])
        return ExampleLines(train, validation, **orjson.loads(meta))

    def keep(self, table: str, keys: Iterable[str]) -> None:
        """Forgets every other row."""
        wanted = set(keys)
        old = [(key,) for (key,) in self._run(f"SELECT key FROM {table}") if key not in wanted]
        with self._explained():
            self.db.executemany(f"DELETE FROM {table} WHERE key = ?", old)
        self.commit()


class Extracts:
    """The extracts of one corpus, in its order: `keys` are theirs. Implements resolve.Library."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self.store, self.keys = store, keys
        self.heads: Sequence[Head] = [
            Head.read(store.column("extract", "head", key)) for key in keys
        ]
        self._unpacked = lru_cache(maxsize=64)(lambda number: unpack(self.record(number)))
        self._answer_keys = lru_cache(maxsize=64)(
            lambda number: orjson.loads(store.column("extract", "answer_keys", keys[number]))
        )

    def _array(self, number: int, name: str, dtype: Any) -> np.ndarray:
        return np.frombuffer(self.store.column("extract", name, self.keys[number]), dtype)

    def facts(self, number: int) -> np.ndarray:
        return self._array(number, "facts", FACT)

    def wordings(self, number: int) -> np.ndarray:
        return self._array(number, "wordings", np.uint64)

    def grams(self, number: int) -> np.ndarray:
        return self._array(number, "grams", np.uint8)

    def sketches(self, number: int) -> np.ndarray:
        return self._array(number, "sketches", np.uint64).reshape(-1, COLUMNS)

    def answer_key(self, number: int, fact: int) -> str:
        return self._answer_keys(number)[str(fact)]

    def links(self, number: int) -> list[Link]:
        return [
            Link(**link)
            for link in orjson.loads(self.store.column("extract", "links", self.keys[number]))
        ]

    def record(self, number: int) -> bytes:
        return self.store.column("record", "record", self.keys[number])

    def extract(self, number: int) -> Extract:
        return self._unpacked(number)
