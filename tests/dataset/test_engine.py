"""The same results, in the same order, wherever the work is done."""

import importlib.util
import threading

import pytest
from test_build import config
from test_incremental import corpus, made  # noqa: F401 - corpus is a fixture

from forge.core.report import Silent
from forge.dataset import engine as engines
from forge.dataset.build import build

ROLES = ("dataset", "validation", "probes", "card")
RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.mark.parametrize(("kind", "method"), [
    ("local", "fork"), ("local", "spawn"), pytest.param("ray", "", marks=[RAY, pytest.mark.slow])])
def test_two_workers_give_the_bytes_of_one(corpus, encoder, loaded, monkeypatch, kind, method):  # noqa: F811
    monkeypatch.setattr(engines, "BATCH", 5)  # the last batch is not full
    monkeypatch.setattr(engines, "start_method", lambda: method)
    out = {role: corpus / "two" / f"{role}.jsonl" for role in ROLES}
    out["dataset"].parent.mkdir()
    build(config(dataset__workers=2, dataset__engine=kind), corpus, loaded, out, Silent())
    assert {role: path.read_bytes() for role, path in out.items()} == made(corpus, encoder, None, "one")


def test_no_more_is_taken_than_a_few_batches_ahead(monkeypatch):
    taken, given = [], []

    class Now:
        def __init__(self, value):
            self.value = value

    for future in engines._windowed(
            Now, engines._batches(((taken.append(i) or i,) for i in range(40)), 2), window=3):
        given += future.value
        assert len(taken) - len(given) <= 2 * 3
    assert [item for (item,) in given] == list(range(40))


def test_workers_are_forked_only_where_nothing_else_runs(monkeypatch):
    monkeypatch.setattr(engines.threading, "active_count", lambda: 1)
    assert engines.start_method() == "fork"
    monkeypatch.undo()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert engines.start_method() == "spawn"
    done.set()
    other.join()


def broken(job, item):
    raise MemoryError if item == 3 else ValueError(item)


def test_an_error_in_a_worker_is_the_callers(loaded, monkeypatch):
    source = engines.Source(config(), loaded.folder, loaded.stop, loaded.pad)
    monkeypatch.setattr(engines, "ALONE", 0)
    pool = engines.Local(source.job(), source, 2)
    try:
        with pytest.raises(ValueError, match="7"):
            list(pool.map(broken, [(7,)], 1))
    finally:
        pool.close()
