"""Finished completions on disk, so that a run that was killed asks for none of them again."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phoenix_forge.core.fsio import human
from phoenix_forge.errors import EnvironmentProblem, StageFailed

COLUMNS = "text, stopped, prompt_tokens, completion_tokens, checksum"
TABLE = """CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, text TEXT NOT NULL, stopped INTEGER NOT NULL,
prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, checksum TEXT) WITHOUT ROWID"""
OLDER = "ALTER TABLE completions ADD COLUMN checksum TEXT"  # what was asked for before there were any is kept
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
        self.damaged = (
            0  # completions that were not as they had been written: they are asked for again
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.touch()  # with the rights that the umask says; SQLite would leave the group's out
            self._db = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            self._db.text_factory = lambda raw: raw.decode("utf-8", "replace")  # its checksum tells
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(TABLE)
            if not any(
                column[1] == "checksum"
                for column in self._db.execute("PRAGMA table_info(completions)")
            ):
                self._db.execute(OLDER)
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from None
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from None

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
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Of the keys those that are known, and are as they were written."""
        found: dict[str, Completion] = {}
        for start in range(0, len(keys), VARIABLES):
            some = keys[start : start + VARIABLES]
            rows = self._run(
                f"SELECT key, {COLUMNS} FROM completions WHERE key IN ({', '.join('?' * len(some))})",
                *some,
            )
            for key, text, stopped, prompt_tokens, completion_tokens, checksum in rows:
                own = Completion(text, bool(stopped), prompt_tokens, completion_tokens)
                if checksum in (None, _checksum(key, own)):
                    found[key] = own
                else:
                    self.damaged += 1
        return found

    def put(self, key: str, completion: Completion) -> None:
        text = completion.text.encode(
            "utf-8", "replace"
        ).decode()  # half a surrogate pair cannot be stored
        own = replace(completion, text=text)
        self._run(
            f"INSERT OR REPLACE INTO completions (key, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            key,
            *_values(own),
            _checksum(key, own),
        )

    def _run(self, statement: str, *values: object) -> list[tuple]:
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from None

    def _failed(self, error: sqlite3.DatabaseError) -> EnvironmentProblem | StageFailed:
        if isinstance(error, sqlite3.OperationalError):
            return self._unusable(str(error))
        return StageFailed(
            f"the teacher's cache {self.path} ({human(self.path.stat().st_size)}) cannot be read: "
            f"{error}",
            fix=f"rm {self.path}: what the teacher wrote is then asked for again",
        )

    def _unusable(self, why: str) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"cannot use the teacher's cache {self.path}: {why}",
            fix="check the disk's free space and the folder's permissions",
        )


def _checksum(key: str, completion: Completion) -> str:
    return hashlib.blake2b(repr((key, *_values(completion))).encode(), digest_size=8).hexdigest()


def _values(completion: Completion) -> tuple[str, bool, int, int]:
    return (
        completion.text,
        completion.stopped,
        completion.prompt_tokens,
        completion.completion_tokens,
    )
