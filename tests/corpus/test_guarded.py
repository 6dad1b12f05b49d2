"""What one item does to its process is that item's alone, whatever it does."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from phoenix_forge.corpus import guarded
from phoenix_forge.corpus.document import Structure
from phoenix_forge.corpus.guarded import Limits, Lost, Pool
from phoenix_forge.corpus.load import load_all
from phoenix_forge.corpus.readers import structure
from phoenix_forge.corpus.walk import File
from phoenix_forge.errors import StageFailed, UsageError


def worked(_: str, item: object, folder: str = "") -> object:
    if item == "crash":
        faulthandler.disable()  # pytest's would tell of it
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "exit":
        os._exit(7)
    if item == "spin":
        re.match(r"(a+)+b", "a" * 60)
    if item == "fill":
        return [bytes(1000) for _ in range(10**7)]
    if item == "nest":
        return worked(_, item)
    if item == "bug":
        return {}["absent"]
    if item == "refuse":
        raise UsageError("no", fix="yes")
    if item == "killed" and not Path(folder, "once").exists():
        Path(folder, "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "always killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "long":
        return "x" * 5_000_000
    return item


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(2, str, ())
    yield pool
    pool.close()


def few(*_: object) -> Limits:
    return Limits(1, 100_000_000)


def instead(lost: Lost, item: object, *_: object) -> str:
    return f"{item}: {lost.reason}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("crash", r"ended its reader \(signal 11, "),
        ("exit", r"ended its reader \(exit code 7\)"),
        ("spin", "took more than 1 s of a processor"),
        ("fill", r"needed more than 0\.1 GB of memory"),
        ("nest", "nests too deeply"),
        ("bug", "its reader failed, with the traceback above"),
        ("always killed", "ended its reader twice: killed from outside"),
    ],
)
@pytest.mark.parametrize("size", [1, 5])
def test_what_an_item_cannot_do_to_the_others(
    pool: Pool, item: str, reason: str, size: int
) -> None:
    items = [(i,) for i in range(12)]
    items[7] = (item,)
    found = list(pool.map(worked, items, few, instead, size))
    assert re.match(f"{item}: {reason}", found[7])
    assert found[:7] + found[8:] == [i for i in range(12) if i != 7]


def test_killed_once_is_tried_again(pool: Pool, tmp_path: Path) -> None:
    items = [(item, str(tmp_path)) for item in ("a", "killed", "b")]
    assert list(pool.map(worked, items, few, instead)) == ["a", "killed", "b"]


def test_what_is_refused_or_cannot_be_left_out_is_the_callers(pool: Pool) -> None:
    for item, error, said in (
        ("refuse", UsageError, "no\nfix: yes"),
        ("exit", StageFailed, "exit code 7"),
        ("bug", StageFailed, "its reader failed"),
    ):
        with pytest.raises(error, match=said):
            list(pool.map(worked, [(1,), (item,), (2,)], few))
    assert list(pool.map(worked, [(3,)], few)) == [3]  # the pool is as good as before


def test_results_and_items_of_any_size_pass(pool: Pool) -> None:
    items = ["long", "x" * 3_000_000, *range(20), "y" * 3_000_000, "long"]
    found = list(pool.map(worked, ((item,) for item in items), few, instead, 2))
    assert [len(str(one)) for one in found] == [
        5_000_000 if i == "long" else len(str(i)) for i in items
    ]


def test_one_who_stops_taking_results_leaves_no_process_at_work(pool: Pool) -> None:
    results = pool.map(worked, ((i,) for i in range(1000)), few)
    assert next(results) == 0
    results.close()
    assert list(pool.map(worked, [(5,)], few)) == [5]


def test_a_file_is_read_whatever_another_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        guarded, "start_method", lambda: "fork"
    )  # only such processes have the next line, too
    monkeypatch.setattr("phoenix_forge.corpus.load.structure", structure_or_crash)
    files = [File(tmp_path / name, name, name, 9) for name in ("a.md", "crash.md", "c.md")]
    for file in files:
        file.path.write_text(f"# The {file.name}\n")
    found = list(load_all(files, "redact"))
    assert [loaded.document and loaded.document.title for loaded in found] == [
        "The a.md",
        None,
        "The c.md",
    ]
    assert (found[1].skipped or "").startswith("ended its reader (signal 6")


def structure_or_crash(name: str, text: str) -> Structure:
    if name == "crash.md":
        faulthandler.disable()
        os.abort()
    return structure(name, text)
