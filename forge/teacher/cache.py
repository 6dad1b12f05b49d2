"""Finished completions on disk, so that a run that was killed asks for none of them again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from forge.core.fsio import human
from forge.errors import EnvironmentProblem, StageFailed

COLUMNS = "text, stopped, prompt_tokens, completion_tokens"
TABLE = """CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, text TEXT NOT NULL, stopped INTEGER NOT NULL,
prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID"""
VARIABLES = 512  # of one statement
WAIT = 60.0  # seconds for another process that writes at the same moment


@dataclass(frozen=True, slots=True)
class Completion:
    """`stopped`: the model ended by itself, rather than at max_tokens. Tokens are 0 where the engine does not say."""

    text: str
    stopped: bool
    prompt_tokens: int
    completion_tokens: int


class Cache:
    """Completions by key in one SQLite file, with a write-ahead log: each is kept from the moment put() returns, and a
    kill at any time loses at most the one being written. Threads and processes may share it.

    Raises EnvironmentProblem where the file cannot be written, StageFailed where it is no database.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(TABLE)
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from None

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM completions")[0][0])

    def get(self, key: str) -> Completion | None:
        rows = self._run(f"SELECT {COLUMNS} FROM completions WHERE key = ?", key)
        return Completion(rows[0][0], bool(rows[0][1]), rows[0][2], rows[0][3]) if rows else None

    def get_many(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Of the keys those that are known."""
        found: dict[str, Completion] = {}
        for start in range(0, len(keys), VARIABLES):
            some = keys[start:start + VARIABLES]
            rows = self._run(f"SELECT key, {COLUMNS} FROM completions WHERE key IN ({', '.join('?' * len(some))})",
                             *some)
            found |= {key: Completion(text, bool(stopped), *tokens) for key, text, stopped, *tokens in rows}
        return found

    def put(self, key: str, completion: Completion) -> None:
        text = completion.text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
        self._run(f"INSERT OR REPLACE INTO completions (key, {COLUMNS}) VALUES (?, ?, ?, ?, ?)", key,
                  *astuple(replace(completion, text=text)))

    def _run(self, statement: str, *values: object) -> list[tuple]:
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.DatabaseError) -> EnvironmentProblem | StageFailed:
        if isinstance(error, sqlite3.OperationalError):
            return EnvironmentProblem(f"cannot use the teacher's cache {self.path}: {error}",
                                      fix="check the disk's free space and the folder's permissions")
        return StageFailed(f"the teacher's cache {self.path} ({human(self.path.stat().st_size)}) cannot be read: "
                           f"{error}", fix=f"rm {self.path}: what the teacher wrote is then asked for again")
