"""One changed document costs one document, a killed build is continued, and the bytes are always those of a full build."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_build import DOCS, config

from phoenix_forge.chat import counting
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.report import Silent
from phoenix_forge.dataset import engine as engines
from phoenix_forge.dataset.build import build

pytestmark = pytest.mark.slow

ROLES = ("dataset", "validation", "probes", "card")


@pytest.fixture
def corpus(tmp_path):
    for i in range(12):
        for name, text in DOCS.items():
            path = tmp_path / "docs" / f"{i:02}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("Forge", f"Tool{chr(97 + i)}").replace("64", str(60 + i)))
    return tmp_path


@pytest.fixture
def worked(monkeypatch):
    """The items that were worked on."""
    seen = {"extract": [], "emitted": [], "general": []}
    whole = engines.Local.map

    def counted(self, work, items, *rest):
        return whole(
            self, work, (seen[work.__name__].append(item) or item for item in items), *rest
        )

    monkeypatch.setattr(engines.Local, "map", counted)
    return seen


def made(root, encoder, cache, name="out", **changes):
    out = {role: root / name / f"{role}.jsonl" for role in ROLES}
    out["dataset"].parent.mkdir(exist_ok=True)
    build(config(dataset__workers=1, **changes), root, encoder, out, Silent(), cache=cache)
    return {role: path.read_bytes() for role, path in out.items()}


CHANGES = {
    "edited": lambda docs: (docs / "05/guide.md").write_text(
        "# Guide\n\n- **Adapter**: something else altogether.\n"
    ),
    "added": lambda docs: (docs / "05/new.md").write_text(
        "# New\n\nThe port is 8080. See [the guide](guide.md).\n"
    ),
    "removed": lambda docs: (docs / "05/faq.md").unlink(),
    "renamed": lambda docs: (docs / "05/faq.md").rename(docs / "05/questions.md"),
    "repeats another": lambda docs: (docs / "05/guide.md").write_text(
        (docs / "04/guide.md").read_text()
    ),
    "touched": lambda docs: os.utime(docs / "05/guide.md"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_one_document_and_gives_the_bytes_of_a_full_build(
    corpus, encoder, worked, tmp_path, change
):
    cache = tmp_path / "cache.sqlite"
    made(corpus, encoder, cache)
    assert len(worked["extract"]) == 48
    worked["extract"].clear()
    worked["emitted"].clear()
    CHANGES[change](corpus / "docs")
    after = made(corpus, encoder, cache)
    assert len(worked["extract"]) == {"removed": 0, "touched": 0}.get(change, 1)
    assert (
        len(worked["emitted"]) <= 16
    )  # the document, and those whose questions or probes it bears on
    assert after == made(corpus, encoder, None, "full")


def test_a_changed_term_changes_the_files_that_say_it(encoder, worked, tmp_path):
    cache, docs = tmp_path / "cache.sqlite", tmp_path / "docs"
    docs.mkdir()
    terms = r"\newglossaryentry{pool}{name=%s}"
    (docs / "terms.tex").write_text(terms % "pooling")
    (docs / "one.tex").write_text("\\section{One}\nA \\gls{pool} takes the largest of four.\n")
    (docs / "two.md").write_text("# Two\n\nThe limit is 64 retries.\n")
    assert b"A pooling takes" in made(tmp_path, encoder, cache)["dataset"]
    worked["extract"].clear()
    (docs / "terms.tex").write_text(terms % "merging")
    after = made(tmp_path, encoder, cache)
    assert b"A merging takes" in after["dataset"]
    assert len(worked["extract"]) == 2
    assert after == made(tmp_path, encoder, None, "full")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset__amplification": 3},
        {"train__max_length": 512},
        {"dataset__seed": 1},
        {"deploy__system": "You are Other, a tool."},
        {"dataset__style": "seed"},
        {"dataset__held_out": 0.3},
    ],
)
def test_a_setting_changes_what_depends_on_it(corpus, encoder, tmp_path, changes):
    cache = tmp_path / "cache.sqlite"
    before = made(corpus, encoder, cache)
    after = made(corpus, encoder, cache, **changes)
    assert after != before
    assert after == made(corpus, encoder, None, "full", **changes)


def test_wrong_fast_counts_are_noticed(corpus, loaded, encoder, monkeypatch):
    """Where the second tokenizer counts otherwise than the base's own, the base's own is used."""
    monkeypatch.setattr(counting, "FEW", 0)
    monkeypatch.setattr(counting, "_encoding", lambda described: lambda text: len(text.split()))
    fresh = Encoder.load(loaded.folder, stop=loaded.stop, pad=loaded.pad)
    assert fresh.fast_counts(["one two three"]) == [3]
    fast, slow = (made(corpus, e, None, str(i)) for i, e in enumerate((fresh, encoder)))
    texts = [
        [line for line in files["dataset"].splitlines() if b'"kind":"text"' in line]
        for files in (fast, slow)
    ]
    assert texts[0] == texts[1]


def test_nothing_is_kept_that_the_corpus_does_not_use(corpus, encoder, tmp_path):
    cache = tmp_path / "cache.sqlite"
    made(corpus, encoder, cache)
    CHANGES["edited"](corpus / "docs")
    made(corpus, encoder, cache)
    with sqlite3.connect(cache) as db:
        assert [
            db.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0]
            for t in ("extract", "record", "lines")
        ] == [48, 48, 49]


@pytest.mark.parametrize("damage", [b"no database at all", b""])
def test_a_damaged_cache_is_made_anew(corpus, encoder, tmp_path, damage):
    cache = tmp_path / "cache.sqlite"
    cache.write_bytes(damage * 1000)
    assert made(corpus, encoder, cache) == made(corpus, encoder, None, "full")


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from test_build import config
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat import counting
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.report import Silent
from phoenix_forge.dataset import build, engine
engine.ALONE, build.COMMIT_SECONDS = 0, 0
if __name__ == "__main__":
    root = Path({root!r})
    out = {{role: root / "out" / f"{{role}}.jsonl" for role in {roles!r}}}
    out["dataset"].parent.mkdir(exist_ok=True)
    encoder = Encoder.load(Path({folder!r}), stop="<|im_end|>", pad="<|endoftext|>")
    print("started", flush=True)
    build.build(config(dataset__workers=2), root, encoder, out, Silent(), cache=root / "cache.sqlite")
    print("done", flush=True)
"""


def script(corpus, loaded):
    path = corpus / "run.py"
    here = Path(__file__).parent
    path.write_text(
        SCRIPT.format(
            paths=[str(here), str(here.parent)],
            root=str(corpus),
            roles=ROLES,
            folder=str(loaded.folder),
        )
    )
    return [sys.executable, str(path)]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]
    except FileNotFoundError:
        return False


def test_killed_with_its_workers_and_continued(corpus, loaded, encoder):
    """SIGKILL of the parent half-way: its workers end, and the next run makes the same bytes."""
    command = script(corpus, loaded)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    cache = corpus / "cache.sqlite"
    deadline = time.monotonic() + 60
    while not known(cache) and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workers
    assert known(cache)
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    subprocess.run(command, check=True, timeout=120)
    again = {role: (corpus / "out" / f"{role}.jsonl").read_bytes() for role in ROLES}
    assert again == made(corpus, encoder, None, "full")


def known(cache):
    """Extracts that were committed. Not read-only: a log that a killed writer left has to be recovered first."""
    if not cache.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{cache}?mode=rw", uri=True) as db:
            return db.execute("SELECT COUNT(*) FROM extract").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
