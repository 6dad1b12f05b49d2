"""The report page: its figures, what it must not hold, and that it is one file that nothing needs to be fetched for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import orjson
import pytest
from selectolax.lexbor import LexborHTMLParser

from phoenix_forge.errors import UsageError
from phoenix_forge.examples import report as reporting
from phoenix_forge.examples.report import report

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)> & "quotes" \x1b[31m http://example.org/a'
FILES = {"docs/a.md": 40, "docs/b <i>.md": 20, "docs/deep/c.md": 4, "docs/deep/d.md": 0}


def example(i: int, kind: str, path: str, answer: str) -> dict:
    messages = [
        {"role": "user", "content": f"Question {i}? {EVIL}"},
        {"role": "assistant", "content": answer},
    ]
    return {
        "messages": messages,
        "source": {"path": path, "span": [i, i + 9], "sha256": "0" * 64},
        "kind": kind,
        "id": f"{i:016x}",
    }


EXAMPLES = [
    example(i, "text" if i % 3 else "a<b", path, f"{EVIL} answer {i}")
    for i, path in enumerate(("docs/a.md", "docs/b <i>.md", "docs/deep/c.md") * 4)
]


def make(folder: Path, examples: list[dict] = EXAMPLES, **changed: object) -> tuple[Path, Path]:
    dataset, card = folder / "d.jsonl", folder / "card.json"
    dataset.write_bytes(
        b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in examples)
    )
    place = {"path": "docs/a.md", "span": [0, 1200]}
    kinds = {"text": 8, "a<b": 4}
    card.write_text(
        json.dumps(
            {
                "documents": 4,
                "sections": 7,
                "examples": len(examples),
                "source_tokens": 64,
                "trained_tokens": 1234,
                "coverage": 0.99999,
                "duplicates": 1,
                "redactions": 1,
                "name": "my <b>set",
                "amplification": 10,
                "kinds": kinds,
                "splits": {"train": 12, "validation": 3, "probes": 2},
                "files": {"dataset": {"sha256": "ab" * 32, "bytes": 4096}},
                "coverage_by_file": {
                    path: {"taught": of, "tokens": of} for path, of in FILES.items()
                },
                "duplicated": [
                    {"path": "docs/deep/d.md", "span": [5, 17], "of": place, "exact": True}
                ],
                "redacted": [{"path": "docs/a.md", "line": 12, "kind": "AWS access key"}],
                "skipped": [{"path": "docs/e.bin", "reason": "binary <x>"}],
                "notes": [],
                **changed,
            }
        )
    )
    (folder / "probes.jsonl").write_text(
        "".join(json.dumps({"kind": kind}) + "\n" for kind in ("table", "table", "q"))
    )
    return dataset, card


def page(
    folder: Path, encoder, examples: list[dict] = EXAMPLES, **changed: object
) -> LexborHTMLParser:
    dataset, card = make(folder, examples, **changed)
    report(dataset, card, folder / "out" / "r.html", encoder)
    return LexborHTMLParser((folder / "out" / "r.html").read_text(encoding="utf-8"))


def rows(tree: LexborHTMLParser, section: str) -> list[list[str]]:
    return [
        [cell.text().strip() for cell in row.css("td, th")]
        for row in tree.css(f"#{section} tbody tr")
    ]


def test_the_key_figures(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    assert tree.css_first("h1").text() == "my <b>set"
    figures = {
        tile.css_first("dt").text(): tile.css_first("dd").text()
        for tile in tree.css(".figures div")
    }
    assert figures == {
        "Documents": "4",
        "Sections": "7",
        "Examples": "12",
        "Source tokens": "64",
        "Trained tokens": "1,234",
        "Coverage": "99.9 %",
        "Duplicates": "1",
        "Redactions": "1",
    }


def test_kinds_with_their_trained_tokens(tmp_path, encoder):
    trained = {"text": 0, "a<b": 0}
    for one in EXAMPLES:
        trained[one["kind"]] += sum(encoder.conversation(one["messages"]).trained)
    found = rows(page(tmp_path, encoder), "kinds")
    assert found == [
        [kind, "", str(count), "", f"{trained[kind]:,}"]
        for kind, count in (("text", 8), ("a<b", 4))
    ]


def test_without_a_tokenizer_tokens_are_shares_of_the_cards_and_that_is_said(tmp_path):
    tree = page(tmp_path, None)
    assert sum(int(row[-1].replace(",", "")) for row in rows(tree, "kinds")) == pytest.approx(
        1234, abs=1
    )
    assert "estimated" in tree.css_first("#kinds").text()
    assert "Not counted" in tree.css_first("#lengths").text()


def test_the_coverage_map_has_every_file_in_its_folder(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    folders = {
        f.css_first("h3").text(): [i.attributes["title"] for i in f.css("i")]
        for f in tree.css(".folder")
    }
    assert {name: len(titles) for name, titles in folders.items()} == {"docs/": 2, "docs/deep/": 2}
    taught = sum(
        sum(encoder.conversation(one["messages"]).trained)
        for one in EXAMPLES
        if one["source"]["path"] == "docs/a.md"
    )
    assert f"docs/a.md: 40 tokens, taught {taught / 40:.1f}×" in folders["docs/"]
    assert "docs/deep/d.md: repeats other files" in folders["docs/deep/"]
    assert "all 4 files is taught" in tree.css_first("#coverage").text()


def test_a_file_that_is_not_taught_stands_out(tmp_path, encoder):
    files = {"a.md": {"taught": 3, "tokens": 9}, "b.md": {"taught": 9, "tokens": 9}}
    tree = page(tmp_path, encoder, coverage_by_file=files)
    (lost,) = tree.css(".cells .lost")
    assert lost.attributes["title"].startswith("a.md: 3 of 9 tokens")
    assert "1 files are not taught in full" in tree.css_first("#coverage").text()


def test_what_coverage_does_not_count_is_counted_by_kind(tmp_path, encoder):
    held = [
        {"path": "docs/a.pdf", "kind": "pages", "total": 1200, "read": 1198},
        {"path": "docs/b <i>.pdf", "kind": "pages", "total": 9, "read": 2},
        {"path": "docs/c.docx", "kind": "equations", "total": 1, "read": 1},
    ]
    said = page(tmp_path, encoder, held=held).css_first("#coverage .note").text()
    assert "Pages: 1,209 in 2 files, 9 of them without text (docs/b <i>.pdf, docs/a.pdf)." in said
    assert "Equations: 1 in 1 file." in said


def test_many_files_are_summed_up_by_folder(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(reporting, "CELLS", 3)
    many = {f"f{i % 2}/{i}.md": {"taught": 100 - i, "tokens": 100 - i} for i in range(20)}
    titles = [
        i.attributes["title"]
        for i in page(tmp_path, encoder, coverage_by_file=many).css(".cells i")
    ]
    assert len(titles) == 5
    summed = [title.split(" tokens")[0] for title in titles if "small files" in title]
    assert summed == ["f0: 8 small files: 712", "f1: 9 small files: 801"]


def test_the_histogram_counts_whole_conversations(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    lengths = sorted(len(encoder.conversation(one["messages"]).ids) for one in EXAMPLES)
    assert f"the longest {lengths[-1]:,}." in tree.css_first("#lengths p").text()
    counts = [
        int(bar.text().split(": ")[1].split()[0]) for bar in tree.css(".histogram rect title")
    ]
    assert sum(counts) == len(EXAMPLES)


def test_of_many_examples_every_nth_is_counted(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(reporting, "COUNTED", 4)
    monkeypatch.setattr(reporting, "BATCH", 5)
    tree = page(tmp_path, encoder)
    assert "every 3rd example" in tree.css_first("#lengths p").text()
    assert (
        sum(int(b.text().split("about ")[1].split()[0]) for b in tree.css(".histogram rect title"))
        == 12
    )


def test_the_tables(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    assert rows(tree, "duplicates") == [
        ["docs/deep/d.md bytes 5–17", "repeats", "docs/a.md bytes 0–1,200"]
    ]
    assert rows(tree, "redactions") == [["docs/a.md:12", "AWS access key"]]
    assert rows(tree, "skipped") == [["docs/e.bin", "binary <x>"]]
    assert rows(tree, "probes") == [["table", "", "2"], ["q", "", "1"]]


def test_samples_of_each_kind_with_their_sources(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    assert [summary.text() for summary in tree.css("summary")] == ["a<b 4", "text 8"]
    samples = {d.attributes["id"]: d.css("article") for d in tree.css("details")}
    assert [len(articles) for articles in samples.values()] == [4, 4]
    written = {
        one["messages"][1]["content"].replace("\x1b", "␛")
        for one in EXAMPLES
        if one["kind"] == "a<b"
    }
    assert {a.css_first(".assistant pre").text() for a in samples["kind-0"]} == written
    assert re.search(
        r"line \d+, docs/.* bytes \d+–\d+", samples["kind-1"][0].css_first("footer").text()
    )


def test_nothing_of_a_document_becomes_markup_and_nothing_is_fetched(tmp_path, encoder):
    tree = page(tmp_path, encoder)
    assert not tree.css("script, img, link, iframe, object, h1 b, #coverage h3 i")
    for node in tree.css("*"):
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src", "data", "action"):
                assert value.startswith("#")
    targets = {node.attributes["id"] for node in tree.css("[id]")}
    assert {a.attributes["href"][1:] for a in tree.css("a")} <= targets
    style = tree.css_first("style").text()
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in re.sub(
        r"<pre>.*?</pre>", "", (tmp_path / "out/r.html").read_text(), flags=re.S
    )


def test_the_same_bytes_each_time(tmp_path, encoder):
    pages = []
    for name in "ab":
        (tmp_path / name).mkdir()
        page(tmp_path / name, encoder)
        pages.append((tmp_path / name / "out/r.html").read_bytes())
    assert pages[0] == pages[1]


def test_an_empty_dataset_and_a_card_with_the_least_keys(tmp_path, encoder):
    dataset, card = tmp_path / "d.jsonl", tmp_path / "card.json"
    dataset.write_bytes(b"")
    card.write_text('{"coverage_by_file": {}}')
    report(dataset, card, tmp_path / "r.html", encoder)
    assert "No section repeats another" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no dataset card at"),
        ("{", "not valid JSON"),
        ("[]", "no dataset card"),
        ("{}", "no dataset card"),
    ],
)
def test_what_is_no_card(tmp_path, text, message):
    dataset, card = make(tmp_path)
    card.unlink()
    if text is not None:
        card.write_text(text)
    with pytest.raises(UsageError, match=message):
        report(dataset, card, tmp_path / "r.html", None)
