"""The same results, in the same order, wherever the work is done."""

import faulthandler
import importlib.util
import json
import os
import re
import threading
from contextlib import closing

import pytest
from test_build import config
from test_incremental import corpus, made  # noqa: F401 - corpus is a fixture

from phoenix_forge.core.report import Silent
from phoenix_forge.corpus import guarded
from phoenix_forge.corpus.guarded import AHEAD, Pool
from phoenix_forge.corpus.readers import structure
from phoenix_forge.dataset import engine as engines
from phoenix_forge.dataset.build import build
from phoenix_forge.dataset.emit import emit
from phoenix_forge.errors import StageFailed

ROLES = ("dataset", "validation", "probes", "card")
RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


@pytest.mark.parametrize(
    ("kind", "method"),
    [("local", "fork"), ("local", "spawn"), pytest.param("ray", "", marks=[RAY, pytest.mark.slow])],
)
def test_two_workers_give_the_bytes_of_one(corpus, encoder, loaded, monkeypatch, kind, method):  # noqa: F811
    monkeypatch.setattr(engines, "BATCH", 5)  # the last batch is not full
    monkeypatch.setattr(engines, "start_method", lambda: method)
    out = {role: corpus / "two" / f"{role}.jsonl" for role in ROLES}
    out["dataset"].parent.mkdir()
    build(config(dataset__workers=2, dataset__engine=kind), corpus, loaded, out, Silent())
    assert {role: path.read_bytes() for role, path in out.items()} == made(
        corpus, encoder, None, "one"
    )


def double(_, value):
    return 2 * value


def test_no_more_is_taken_than_a_few_batches_ahead():
    taken, given = [], []
    with closing(Pool(2, str, ())) as pool:
        items = ((taken.append(i) or i,) for i in range(200))
        for value in pool.map(double, items, engines.unknown, size=2):
            given.append(value)
            assert len(taken) - len(given) <= 2 * AHEAD * 2
    assert given == [2 * i for i in range(200)]


def test_workers_are_forked_only_where_nothing_else_runs(monkeypatch):
    monkeypatch.setattr(guarded.threading, "active_count", lambda: 1)
    assert guarded.start_method() == "fork"
    monkeypatch.undo()
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    assert guarded.start_method() == "spawn"
    done.set()
    other.join()


def ends_its_reader(name, text):
    if name == "03/faq.md":
        faulthandler.disable()  # pytest's would tell of it
        os.abort()
    return structure(name, text)


def refuses_to_write(found, *rest):
    if found.name == "04/faq.md":
        raise MemoryError
    return emit(found, *rest)


def test_a_document_that_ends_its_reader_is_left_out_by_name_and_remembered(
    corpus,  # noqa: F811
    loaded,
    monkeypatch,
):
    for module in (engines, guarded):  # what is changed here reaches forked processes only
        monkeypatch.setattr(module, "start_method", lambda: "fork")
    monkeypatch.setattr("phoenix_forge.corpus.load.structure", ends_its_reader)
    monkeypatch.setattr("phoenix_forge.dataset.build.emit", refuses_to_write)
    out = {role: corpus / "out" / f"{role}.jsonl" for role in ROLES}
    out["dataset"].parent.mkdir()
    first = build(config(dataset__workers=2), corpus, loaded, out, Silent(), cache=corpus / "cache")
    left_out = {
        entry["path"]: entry["reason"] for entry in json.loads(out["card"].read_text())["skipped"]
    }
    assert left_out["docs/03/faq.md"].startswith("ended its reader (signal 6, ")
    assert re.fullmatch(r"needed more than \d\.\d GB of memory", left_out["docs/04/faq.md"])
    assert first["documents"] == 46
    monkeypatch.undo()
    again = build(config(dataset__workers=2), corpus, loaded, out, Silent(), cache=corpus / "cache")
    assert again["documents"] == 46


def broken(context, item):
    raise ValueError(item)


def test_an_error_in_a_worker_that_nothing_can_stand_for_is_the_callers(loaded, capfd):
    source = engines.ContextSource(config(), loaded.folder, loaded.stop, loaded.pad)
    with (
        closing(engines.Local(source.context(), 2)) as pool,
        pytest.raises(StageFailed, match="reader failed"),
    ):
        list(pool.map(broken, [(7,)], 1))
    assert "ValueError: 7" in capfd.readouterr().err
