"""The index over the corpus: it finds what a question is about, cites it to the byte, and is never an old or damaged
one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.corpus import index as module
from phoenix_forge.corpus.index import (
    SAMPLE,
    Entry,
    Index,
    build,
    ensure,
    fresh,
    identity,
    labels,
    query,
)
from phoenix_forge.corpus.load import load
from phoenix_forge.corpus.split import Count, split
from phoenix_forge.corpus.terms import Stems, normal
from phoenix_forge.corpus.walk import File
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError

SECRET = "ghp_" + "a1B2c3D4e5F6" * 3


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def made(root: Path, documents: dict[str, str | bytes], **dataset: object) -> Index:
    """The index over documents written below `root`/docs."""
    for name, content in documents.items():
        path = root / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return opened(root, **dataset)


def opened(root: Path, count: Count = count, **dataset: object) -> Index:
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 24, **dataset}}
    )
    return ensure(config, root, count, root / ".forge" / "index.sqlite", sha256_file, Silent())


HARBOUR = {
    "ADRs/021_pumps.md": "# Pumps below the quay\n\n## Status\n\nDate: 2021-05-02\n\n## Decision\n\nThe pumps run on "
    "diesel, since the quay has no mains.\n\n## Limits\n\n`pids_limit` (HIGH-03) is 200.\n",
    "TASKS/done/052_bell.md": "# Cast the bell anew\n\n**Status:** complete\n\nThe founders of Tarvik cast it from "
    "bronze.\n",
    "TASKS/done/053_oil.md": "# 52 barrels\n\n**Status:** waiting\n\nCount the oil, 52 barrels, a task for keepers.\n",
    "diary.md": "# Diary of the keeper\n\nPumps, pumps, pumps: all day long we heard the pumps and nothing else than "
    "the pumps.\n\n## Evening\n\nA quiet walk to the bell, and bread with cheese.\n",
    "ja.md": "# 灯台\n\n灯台守は毎朝、油を量ります。\n\n## 鐘\n\n鐘は青銅です。\n",
}


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return made(tmp_path_factory.mktemp("harbour"), HARBOUR)


@pytest.mark.parametrize(
    ("question", "path", "said"),
    [
        ("Who cast the bell?", "docs/TASKS/done/052_bell.md", "founders of Tarvik"),
        ("Please tell me the status of task 52.", "docs/TASKS/done/052_bell.md", "complete"),
        ("In ADR 21, what do the pumps run on?", "docs/ADRs/021_pumps.md", "diesel"),
        ("What is pids_limit (HIGH-03)?", "docs/ADRs/021_pumps.md", "200"),
        ("Is there a DIESEL pump?", "docs/ADRs/021_pumps.md", "diesel"),
        ("What did the diary's keeper eat in the evening?", "docs/diary.md", "cheese"),
        ("鐘は何でできていますか", "docs/ja.md", "青銅"),
        ("油を量るのは誰", "docs/ja.md", "灯台守"),
    ],
)
def test_a_question_finds_its_passage(harbour: Index, question: str, path: str, said: str):
    (best,) = harbour.search(question, 1)
    assert best.path == path
    assert said in best.text


def test_a_title_weighs_more_than_many_mentions(harbour: Index):
    found = [p.path for p in harbour.search("pumps", 9)]
    assert found[0] == "docs/ADRs/021_pumps.md"
    assert "docs/diary.md" in found


def test_a_document_alone_can_be_searched(harbour: Index):
    assert {p.path for p in harbour.search("pumps and the bell", 9, within="docs/diary.md")} == {
        "docs/diary.md"
    }
    assert harbour.search("diesel", 9, within="docs/diary.md") == []
    assert harbour.search("diesel", 9, within="docs/gone.md") == []


@pytest.mark.parametrize("question", ["", "?! — …", "zeppelin", "\0", "\ud800"])
def test_nothing_to_find(harbour: Index, question: str):
    assert harbour.search(question, 3) == []


def test_a_question_of_nothing_but_common_words_is_searched_by_them(harbour: Index):
    assert (
        query("What is it?", [Stems("en")])
        == '"what" OR "is" OR "it" OR "what is" OR "is it" OR "what is it"'
    )
    assert harbour.search("all of us: we and it", 1)
    assert query("What is the bell?", [Stems("en")]) == '"bell"'


def test_as_many_as_wanted(harbour: Index):
    assert len(harbour.search("pumps bell oil keeper", 2)) == 2
    assert harbour.search("pumps", 0) == []


@given(
    st.text()
    | st.sampled_from(
        [
            '"',
            'bell" OR "pumps',
            "title : pumps",
            "NEAR(pumps bell, 2)",
            "pumps*",
            "^pumps",
            "bell AND NOT pumps",
            "{title} : (pumps)",
            "-pumps",
            "pumps + bell",
        ]
    )
)
def test_nothing_of_a_question_matters_but_its_words(harbour: Index, question: str):
    assert harbour.search(question, 3) == harbour.search(
        regex.sub(r"[\W_]+", " ", normal(question)), 3
    )


def test_a_pasted_page_is_a_question_too(harbour: Index):
    page = " ".join(f"word{i} bell" for i in range(20_000))
    assert "bell" in harbour.search(page, 1)[0].text
    assert query(page, [Stems("en")]).count(" OR ") < 300


def test_the_same_passage_is_found_once(tmp_path: Path):
    index = made(
        tmp_path,
        {
            "a.md": "# Fog\n\nThe bell rings three times.\n",
            "b.md": "# Fog\n\nThe bell rings  three times!\n",
            "c.md": "# Fog\n\nThe bell rings four times.\n",
        },
    )
    assert [p.path for p in index.search("bell fog three", 3)] == ["docs/a.md", "docs/c.md"]
    assert index.at("docs/b.md", (0, 9))[0].text.endswith("times!")


# -- provenance --------------------------------------------------------------------------------------------------------


def test_passages_tile_their_document_to_the_byte(tmp_path: Path):
    text = "# Größe\r\n\r\n" + "Ein naïver Satz über 東京. " * 30 + "\r\n\r\n## Ende\r\n\r\nSchluß."
    data = b"\xef\xbb\xbf" + text.encode()
    index = made(tmp_path, {"de.md": data})
    passages = index.sections("docs/de.md")
    assert len(passages) > 2
    assert passages[0].span[0] == 3
    assert passages[-1].span[1] == len(data) == passages[0].document_bytes
    for one, following in pairwise(passages):
        assert one.span[1] == following.span[0]
    for passage in passages:
        assert data[slice(*passage.span)].decode().strip() == passage.text.strip()
    assert passages[-1].headings == ("Größe", "Ende")
    assert {p.title for p in passages} == {"Größe"}


def test_at_gives_what_overlaps_a_span_the_most_first(harbour: Index):
    first, second, *_ = harbour.sections("docs/ADRs/021_pumps.md")
    assert harbour.at("docs/ADRs/021_pumps.md", first.span) == [first]
    across = (first.span[1] - 2, second.span[1])
    assert harbour.at("docs/ADRs/021_pumps.md", across)[:2] == [second, first]
    assert harbour.at("ADRs/021_pumps.md", first.span) == [first]  # as the corpus root names it
    assert harbour.at("docs/ADRs/021_pumps.md", (10**6, 10**6 + 5)) == []
    assert harbour.at("docs/gone.md", (0, 5)) == []
    assert harbour.sections("docs/gone.md") == []


def test_a_document_is_known_by_digest_and_size(harbour: Index, tmp_path: Path):
    data = HARBOUR["diary.md"].encode()
    (tmp_path / "diary.md").write_bytes(data)
    assert harbour.document("docs/diary.md") == (sha256_file(tmp_path / "diary.md"), len(data))
    assert harbour.document("docs/gone.md") is None


def test_a_name_that_is_not_utf_8(tmp_path: Path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "b\udce4r.md").write_text("# Bears\n\nThey sleep in winter.\n")
    (passage,) = opened(tmp_path).search("bears winter", 1)
    assert passage.path == "docs/b\\xe4r.md"
    assert opened(tmp_path).at(passage.path, passage.span) == [passage]


def test_secrets_are_not_in_the_index(tmp_path: Path):
    index = made(
        tmp_path,
        {"keys.md": f"# Keys\n\nThe token is {SECRET} today.\n", "other.md": "# Other\n\nText.\n"},
    )
    (passage,) = index.search("token today", 1)
    assert SECRET not in passage.text
    assert SECRET.encode() not in index.path.read_bytes()
    assert made(tmp_path, {}, secrets="drop").sections("docs/keys.md") == []
    assert made(tmp_path, {}, secrets="drop").sections("docs/other.md")


# -- sentences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "path"),
    [
        ("The founders of Tarvik cast it from bronze.", "docs/TASKS/done/052_bell.md"),
        (
            "the pumps run on DIESEL — since the quay has no mains",
            "docs/ADRs/021_pumps.md",
        ),  # over the end of a line, too
        ("Status: complete", "docs/TASKS/done/052_bell.md"),  # without the marks of Markdown
        ("鐘は青銅です", "docs/ja.md"),
        ("The founders of Tarvik cast it from iron.", None),
        ("Nobody wrote this.", None),
        ("", None),
        ("…", None),
    ],
)
def test_a_sentence_is_found_where_it_stands(
    harbour: Index, sentence: str, path: str | None
) -> None:
    found = harbour.locate(sentence)
    assert (found and found.path) == path


def test_a_link_s_address_is_no_part_of_its_sentence(tmp_path: Path) -> None:
    index = made(
        tmp_path,
        {"a.md": "See [the bell](https://example.org/bell?x=1), cast in *Tarvik*, for details.\n"},
    )
    assert index.locate("See the bell, cast in Tarvik, for details.")


# -- an index that is up to date, and whole ----------------------------------------------------------------------------


def test_it_is_made_again_only_when_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    index = made(
        tmp_path, {"a.md": "# Fog\n\nThe bell rings.\n", "b.md": "# Oil\n\nIt is counted.\n"}
    )
    before = index.path.stat().st_ino
    assert opened(tmp_path).path.stat().st_ino == before
    changes = [
        lambda: (tmp_path / "docs/a.md").write_text("# Fog\n\nThe horn blows.\n"),
        lambda: (tmp_path / "docs/b.md").unlink(),
        lambda: (tmp_path / "docs/a.md").rename(tmp_path / "docs/c.md"),
        lambda: monkeypatch.setattr(module, "_source_digest", lambda: "another version"),
    ]
    seen = {identity(index.path)}
    for change in changes:
        change()
        seen.add(identity(opened(tmp_path).path))
    assert len(seen) == 5
    assert len(seen | {identity(opened(tmp_path, section_tokens=9).path)}) == 6
    assert [p.path for p in opened(tmp_path).search("horn", 3)] == ["docs/c.md"]


def rows(index: Index) -> list[list[tuple]]:
    return [
        index.db.execute(f"SELECT * FROM {table}").fetchall()
        for table in ("document", "section", "vocabulary")
    ]


def test_one_that_is_brought_up_to_date_is_one_that_is_made_anew(tmp_path: Path) -> None:
    made(
        tmp_path,
        HARBOUR
        | {
            "häuser.md": "# Häuser\n\nDas Hafenhaus steht am Hafen, das Haus der Wärter am Ufer.\n",
            "empty.pdf": b"%PDF-1.4 no more",
        },
    )
    docs = tmp_path / "docs"
    changes = [
        lambda: (docs / "diary.md").write_text("# Diary\n\nNothing but fog.\n"),
        lambda: (docs / "ja.md").rename(docs / "jp.md"),
        lambda: (docs / "TASKS/done/053_oil.md").unlink(),
        lambda: (docs / "zug.md").write_text("# Zug\n\nDer Hafenzug hält am Haus.\n"),
    ]
    for change in changes:
        change()
        updated = opened(tmp_path)
        kept = rows(updated)
        updated.path.unlink()
        assert rows(opened(tmp_path)) == kept


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 24}}
    )
    target = made(tmp_path, {"a.md": "The bell rings.\n", "b.md": "The horn blows.\n"}).path
    was = sha256_file(tmp_path / "docs/a.md")
    for name, text in (
        ("a.md", "The bell is read again.\n"),
        ("b.md", "The horn is read again.\n"),
    ):
        (tmp_path / "docs" / name).write_text(text)

    def said(of: Count) -> list[str]:
        with ensure(
            config,
            tmp_path,
            of,
            target,
            lambda path: was if path.name == "a.md" else sha256_file(path),
            Silent(),
        ) as index:
            return [p.text for p in (*index.sections("docs/a.md"), *index.sections("docs/b.md"))]

    assert said(count) == ["The bell rings.", "The horn is read again."]
    by_letters = said(lambda texts: [len(text) for text in texts])
    assert "".join(by_letters).startswith("The bell is"), (
        "what is split otherwise is read again, too"
    )


def test_what_is_fresh_is_opened_without_a_tokenizer(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": {"section_tokens": 24}}
    )
    target = made(tmp_path, {"a.md": "# Fog\n\nThe bell rings.\n"}).path
    sampled = count(SAMPLE.split())
    with fresh(config, tmp_path, sampled, target, sha256_file) as index:
        assert index.search("bell", 1)
    assert fresh(config, tmp_path, [*sampled[1:], 99], target, sha256_file) is None
    (tmp_path / "docs/b.md").write_text("The horn blows.\n")
    assert fresh(config, tmp_path, sampled, target, sha256_file) is None
    assert fresh(config, tmp_path, sampled, tmp_path / "none.sqlite", sha256_file) is None


def test_another_tokenizer_is_another_index(tmp_path: Path):
    target = made(tmp_path, {"a.md": "# Fog\n\nThe bell rings.\n"}).path
    before = identity(target)
    opened(tmp_path, lambda texts: [len(text) for text in texts])
    assert identity(target) != before
    opened(tmp_path)
    assert identity(target) == before


DAMAGE = {
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "another file": lambda data: b"not a database, but long enough to look at " * 200,
    "pages of zeros": lambda data: data[: len(data) // 8192 * 4096].ljust(len(data), b"\0"),
    "no identity": lambda data: data.replace(b"about", b"abaut"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage):
    index = made(
        tmp_path, {f"{i}.md": f"# Note {i}\n\nThe bell rings {i} times.\n" for i in range(40)}
    )
    index.close()
    index.path.write_bytes(damage(index.path.read_bytes()))
    assert identity(index.path) is None
    with pytest.raises(StageFailed, match="no index over the corpus"):
        Index.open(index.path)
    with opened(tmp_path) as mended:
        assert mended.search("note 7", 1)[0].path == "docs/7.md"


def test_damage_that_shows_only_in_use_is_told(tmp_path: Path):
    index = made(
        tmp_path,
        {f"{i}.md": f"# Note {i}\n\n" + f"The bell rings {i} times. " * 40 for i in range(40)},
    )
    index.close()
    data = index.path.read_bytes()
    with Index.open(index.path) as sound:
        index.path.write_bytes(data[: 4096 * 3] + b"\xff" * (len(data) - 4096 * 3))
        with pytest.raises(StageFailed, match="damaged"):
            [sound.search(f"note {i}", 9) for i in range(40)]


def test_no_index_there(tmp_path: Path):
    assert identity(tmp_path / "none.sqlite") is None
    assert identity(tmp_path) is None
    with pytest.raises(StageFailed, match="no index over the corpus"):
        Index.open(tmp_path / "none.sqlite")


def test_a_build_that_stops_leaves_the_old_index_and_nothing_else(tmp_path: Path):
    index = made(tmp_path, {"a.md": "# Fog\n\nThe bell rings.\n"})
    whole = index.path.read_bytes()

    def documents():
        loaded = load(File(tmp_path / "docs/a.md", "docs/a.md", "a.md"), "redact").document
        yield Entry.of(loaded, split(loaded, 16, count))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(documents(), index.path, "new")
    assert index.path.read_bytes() == whole
    assert [path.name for path in index.path.parent.iterdir()] == ["index.sqlite"]


def test_a_place_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        build([], Path("/proc/index.sqlite"), "x")


def test_a_corpus_of_which_nothing_can_be_used(tmp_path: Path):
    with pytest.raises(UsageError, match="empty"):
        made(tmp_path, {"a.md": " \n"})
    with pytest.raises(StageFailed, match="holds 1 secrets"):
        made(tmp_path, {"a.md": f"# Keys\n\n{SECRET}\n"}, secrets="drop")


# -- labels ------------------------------------------------------------------------------------------------------------


def test_labels_are_what_lines_name():
    text = (
        "**Status:** done\n- `make up` starts it\n2. **First step** is this\nport = 8080\nBell — of bronze\n"
        '| Name | Port |\n|---|---|\n| `sanctuary` | 8103 |\nA sentence without any.\n  "key": 1\n'
    )
    found = module.words(labels(text))
    for word in (
        "status",
        "make",
        "up",
        "first",
        "step",
        "port",
        "bell",
        "name",
        "sanctuary",
        "key",
    ):
        assert word in found
    for word in ("done", "starts", "8080", "bronze", "sentence", "8103"):
        assert word not in found


@pytest.mark.parametrize(
    "line",
    [
        "x" * 10**6,
        "-" * 10**6,
        "| " * 500_000,
        "*" * 10**6,
        "a " * 500_000,
        " " * 10**6,
        "|" + "-|" * 500_000,
        "- " * 500_000 + "a",
        "`" * 10**6,
        "|a|\n" * 250_000,
    ],
)
def test_a_line_of_a_megabyte_takes_linear_time(line: str):
    began = time.process_time()
    labels(line)
    assert time.process_time() - began < 30  # quadratic: hours of this process's own time
