"""What is already known of documents, kept between runs: a cache in one SQLite file, keyed by content.

Losing it costs time, never correctness. Every row is the result of a pure function whose inputs are its key, so a row
that is there is right; SQLite's journal sees to it that a killed run leaves only whole rows.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from forge.corpus.links import Link
from forge.corpus.near_duplicates import COLUMNS
from forge.dataset.emit import Block
from forge.dataset.extract import FACT, Extract, Packed, unpack
from forge.dataset.resolve import Head

SCHEMA = """
CREATE TABLE extract (key TEXT PRIMARY KEY, head BLOB, sketches BLOB, golds BLOB, links BLOB,
  facts BLOB, forms BLOB, grams BLOB);
CREATE TABLE record (key TEXT PRIMARY KEY, record BLOB);
CREATE TABLE block (key TEXT PRIMARY KEY, meta BLOB, validation BLOB, train BLOB);
"""
LAYOUT = zlib.crc32(SCHEMA.encode()) >> 1  # what SQLite keeps for us: a number of 31 bits
TABLES = ("extract", "record", "block")
META = tuple(f.name for f in fields(Block) if f.name not in ("train", "validation"))


def code_digest() -> str:
    """Of the source of the rooms whose functions are cached: another version of Forge never takes an old result."""
    forge = Path(__file__).parents[1]
    rooms = [forge / room for room in ("chat", "corpus", "examples", "questions", "teacher", "exam", "dataset")]
    digest = hashlib.sha256()
    for path in sorted(p for room in rooms for p in room.rglob("*") if p.suffix in (".py", ".json", ".yaml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Store:
    """`path` None: in memory, for one run."""

    def __init__(self, path: Path | None) -> None:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.db = sqlite3.connect(path or ":memory:")
        if path and not self._sound():
            self.close()
            for suffix in ("", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self.db = sqlite3.connect(path)
        self.db.executescript("PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = NORMAL;")
        if not self._layout():
            self.db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {LAYOUT}; COMMIT;")

    def _layout(self) -> int:
        return self.db.execute("PRAGMA user_version").fetchone()[0]

    def _sound(self) -> bool:
        """Whether it can be used as it is; a cache that is damaged, or another Forge's, is made anew."""
        try:
            (tables,) = self.db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            return tables == 0 or self._layout() == LAYOUT
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def commit(self) -> None:
        self.db.commit()

    def has(self, table: str, keys: Sequence[str]) -> set[str]:
        """Which of the keys are there."""
        known = {key for (key,) in self.db.execute(f"SELECT key FROM {table}")}
        return known & set(keys)

    def put_extract(self, key: str, packed: Packed) -> None:
        self.db.execute("INSERT OR REPLACE INTO extract VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        (key, packed.head, packed.sketches, packed.golds, packed.links, packed.facts, packed.forms,
                         packed.grams))
        self.db.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (key, packed.record))

    def put_block(self, key: str, block: Block) -> None:
        meta = orjson.dumps({name: getattr(block, name) for name in META})
        self.db.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?, ?)", (key, meta, block.validation, block.train))

    def column(self, table: str, name: str, key: str) -> bytes:
        return self.db.execute(f"SELECT {name} FROM {table} WHERE key = ?", (key,)).fetchone()[0]

    def block(self, key: str) -> Block:
        meta, validation, train = self.db.execute("SELECT meta, validation, train FROM block WHERE key = ?",
                                                  (key,)).fetchone()
        return Block(train, validation, **orjson.loads(meta))

    def keep(self, table: str, keys: Iterable[str]) -> None:
        """Forgets every other row."""
        wanted = set(keys)
        old = [(key,) for (key,) in self.db.execute(f"SELECT key FROM {table}") if key not in wanted]
        self.db.executemany(f"DELETE FROM {table} WHERE key = ?", old)
        self.commit()


class Extracts:
    """The extracts of one corpus, in its order: `keys` are theirs. Implements resolve.Library."""

    def __init__(self, store: Store, keys: Sequence[str]) -> None:
        self.store, self.keys = store, keys
        self.heads: Sequence[Head] = [Head.read(store.column("extract", "head", key)) for key in keys]
        self._unpacked = lru_cache(maxsize=64)(lambda number: unpack(self.record(number)))
        self._golds = lru_cache(maxsize=64)(lambda number: orjson.loads(store.column("extract", "golds", keys[number])))

    def _array(self, number: int, name: str, dtype: Any) -> np.ndarray:
        return np.frombuffer(self.store.column("extract", name, self.keys[number]), dtype)

    def facts(self, number: int) -> np.ndarray:
        return self._array(number, "facts", FACT)

    def forms(self, number: int) -> np.ndarray:
        return self._array(number, "forms", np.uint64)

    def grams(self, number: int) -> np.ndarray:
        return self._array(number, "grams", np.uint8)

    def sketches(self, number: int) -> np.ndarray:
        return self._array(number, "sketches", np.uint64).reshape(-1, COLUMNS)

    def gold(self, number: int, fact: int) -> str:
        return self._golds(number)[str(fact)]

    def links(self, number: int) -> list[Link]:
        return [Link(**link) for link in orjson.loads(self.store.column("extract", "links", self.keys[number]))]

    def record(self, number: int) -> bytes:
        return self.store.column("record", "record", self.keys[number])

    def extract(self, number: int) -> Extract:
        return self._unpacked(number)
