"""The cache of a dataset: what it gives is what was put in, or nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from phoenix_forge.dataset.emit import ExampleLines
from phoenix_forge.dataset.extract import Packed
from phoenix_forge.dataset.store import META, VALUES, Damaged, Store
from phoenix_forge.errors import EnvironmentProblem

NUMBERS = dict.fromkeys(META, 7)
PACKED = Packed(
    **{
        name: f"{name} of a document ".encode() * 40
        for name in (*VALUES["record"], *VALUES["extract"])
    }
)


def filled(path: Path) -> bytes:
    """A cache of twenty documents."""
    with Store(path) as store:
        for i in range(20):
            store.put_extract(f"document {i}", PACKED)
            store.put_lines(f"block {i}", ExampleLines(b"line\n" * 50, b"held\n", **NUMBERS))
        store.commit()
    return path.read_bytes()


def read(path: Path) -> Damaged | None:
    """Reads all that is there, which has to be what was put in; what is said where it is not."""
    try:
        with Store(path) as store:
            for key in store.has("extract", [f"document {i}" for i in range(20)]):
                for table in ("extract", "record"):
                    for name in VALUES[table]:
                        assert store.column(table, name, key) == getattr(PACKED, name)
            for key in store.has("lines", [f"block {i}" for i in range(20)]):
                assert store.lines(key) == ExampleLines(b"line\n" * 50, b"held\n", **NUMBERS)
    except Damaged as error:
        return error
    return None


def test_a_flipped_bit_changes_nothing_that_is_read(tmp_path):
    path, chance, told = tmp_path / "dataset.sqlite", random.Random(5), 0
    good = filled(path)
    for _ in range(100):
        bad = bytearray(good)
        bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        if said := read(path):
            told += 1
            assert str(path) in said.message
            assert read(path) is None, "it is forgotten by now: nothing is told twice"
    assert told > 30


def test_values_that_changed_places_are_damaged(tmp_path):
    path = tmp_path / "dataset.sqlite"
    filled(path)
    with Store(path) as store:
        store.db.execute(
            "UPDATE extract SET links = (SELECT facts FROM extract WHERE key = 'document 1')"
        )
        with pytest.raises(Damaged):
            store.column("extract", "links", "document 1")
        assert store.has("extract", ["document 1", "document 2"]) == set()


def test_a_cache_that_cannot_be_written_is_said_with_its_name(tmp_path):
    path = tmp_path / "dataset.sqlite"
    filled(path)
    with Store(path) as store:
        store.db.execute("PRAGMA query_only = ON")
        with pytest.raises(EnvironmentProblem, match="cannot be used"):
            store.put_extract("another", PACKED)
