"""A dataset that a teacher writes along: what it asks is taught, and what the exam asks is not."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from said import Said
from stand_ins.reader import Reader, Seen, finding, honest

from phoenix_forge.core.config import Config
from phoenix_forge.corpus.prose import language, sentences
from phoenix_forge.dataset.build import ASKED_TOO, Models, build
from phoenix_forge.dataset.probes import Guard
from phoenix_forge.dataset.store import Store
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.examples.compare import contained
from phoenix_forge.examples.quote import split
from phoenix_forge.examples.validate import validate

DOCS = {
    "lighthouse.md": """# The lighthouse

The lamp of Harbour Nine is lit at dusk by the keeper, **Maren Holt**. The bell rings three times every 60 seconds when
fog comes in.

## Oil

Oil is counted on the first day of each month by Erik Lund. The tank below the tower holds 900 litres.
""",
    "fähre.md": """# Die Fähre

Die Fähre Selkie verlässt den Hafen um sieben Uhr und kehrt um neun Uhr zurück. Kapitän Jonas Vik führt sie seit 1987.

- Eine Überfahrt kostet vier Kronen für Erwachsene.
- Kinder unter zwölf Jahren fahren ohne Fahrschein mit.
""",
    "灯塔.md": """# 灯塔

九号港的灯由守护人马伦·霍尔特在黄昏时点亮。有雾时钟声每60秒响三次。油罐在塔下，可容纳900升油。
""",
}


@dataclass
class Made:
    """A build's files, read, and what was told about it."""

    examples: list[dict]
    validation: list[dict]
    probes: list[dict]
    card: dict
    metrics: dict
    files: dict[str, bytes]
    out: dict[str, Path]
    told: list[str]

    def of(self, kind: str) -> list[dict]:
        return [one for one in self.examples if one["kind"] == kind]


def config(**changes: object) -> Config:
    own = {
        "amplification": 2,
        "probes": 4,
        "identity": 2,
        "replay": 0.0,
        "wordings": 2,
        "per_sentence": 6,
        "open_book": 0.5,
        "teacher_workers": 2,
    } | changes
    return Config.model_validate(
        {"corpus": {"roots": ["docs"]}, "dataset": own, "train": {"max_length": 768}}
    )


def made(
    root: Path,
    encoder,
    reader: Reader,
    name: str = "out",
    *,
    cached: bool = True,
    most: float = math.inf,
    **changes: object,
) -> Made:
    for file, text in DOCS.items():
        (root / "docs").mkdir(exist_ok=True, parents=True)
        (root / "docs" / file).write_text(text, encoding="utf-8")
    out = {
        role: root / name / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")
    }
    report = Said()
    metrics = build(
        config(**changes),
        root,
        encoder,
        out,
        report,
        cache=root / "dataset.sqlite" if cached else None,
        models=Models(reader.teacher(), None, root / "teacher.sqlite", most, slow=most < math.inf),
    )
    read = {
        role: [json.loads(line) for line in out[role].read_text("utf-8").splitlines()]
        for role in ("dataset", "validation", "probes")
    }
    return Made(
        read["dataset"],
        read["validation"],
        read["probes"],
        json.loads(out["card"].read_text("utf-8")),
        metrics,
        {role: out[role].read_bytes() for role in ("dataset", "validation", "probes")},
        out,
        report.lines,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, encoder) -> Made:
    return made(tmp_path_factory.mktemp("taught"), encoder, Reader())


def prompt(example: dict) -> str:
    return example["messages"][-2]["content"]


def answer(example: dict) -> str:
    return example["messages"][-1]["content"]


def every_sentence() -> list[str]:
    return [one.text for text in DOCS.values() for one in sentences(text, language(text))]


def test_a_teachers_questions_are_asked_shortly_plainly_and_with_passages(
    whole: Made, encoder
) -> None:
    kinds = Counter(one["kind"] for one in whole.examples)
    assert kinds["asked"] >= kinds["asked_quoted"] > kinds["asked_open"] > 2
    assert {one["source"]["path"] for one in whole.of("asked")} == {f"docs/{name}" for name in DOCS}
    assert whole.card["kinds"]["asked_open"] == kinds["asked_open"]
    assert validate(whole.out["dataset"], encoder=encoder, max_length=768)["errors"] == 0


def test_every_answer_is_of_a_sentence_of_the_corpus(whole: Made) -> None:
    told = every_sentence()
    for one in whole.of("asked"):
        assert any(answer(one) in sentence for sentence in told)
        assert not contained(prompt(one), [answer(one)])


def test_a_plain_question_is_answered_behind_the_sentence_that_bears_the_answer(
    whole: Made,
) -> None:
    told = set(every_sentence())
    for kind in ("asked", "gap"):
        brief = {(prompt(one), answer(one)) for one in whole.of(kind)}
        assert len(whole.of(f"{kind}_quoted")) > 4
        for one in whole.of(f"{kind}_quoted"):
            said = split(answer(one))
            assert said.quote in told
            assert said.answer in said.quote
            assert any(
                asked.startswith(prompt(one)) and core == said.answer for asked, core in brief
            )
            assert said.quote not in prompt(one)


def test_every_open_book_prompt_holds_its_answer_and_ends_with_its_question(whole: Made) -> None:
    asked = [(f"\n\n{prompt(one)}", answer(one)) for one in whole.of("asked")]
    same = 0
    for one in whole.of("asked_open"):
        assert contained(prompt(one), [answer(one)])
        told = next(text for question, text in asked if prompt(one).endswith(question))
        if told == answer(one):
            assert any(
                contained(prompt(one), [sentence])
                for sentence in every_sentence()
                if told in sentence
            )
            same += 1
        else:
            assert not contained(prompt(one), [told])
    assert 4 < same < len(whole.of("asked_open")) - 4


def test_with_passages_a_teachers_own_words_are_taught_and_without_them_the_answer_alone(
    tmp_path: Path, encoder
) -> None:
    def told(seen: Seen) -> str:
        return honest(seen) if seen.title else f"It says {finding(seen)} there."

    found = made(tmp_path, encoder, Reader(told))
    said = [answer(one).startswith("It says ") for one in found.of("asked_open")]
    assert sum(said) > 4
    assert not all(said), "where another answer stands it does not find its own"
    assert "It is not said" not in found.files["dataset"].decode()
    assert not any(answer(one).startswith("It says ") for one in found.of("asked"))


def test_a_teacher_with_little_time_is_not_asked_with_passages(tmp_path: Path, encoder) -> None:
    limited = Reader()
    found = made(tmp_path, encoder, limited, most=400)
    assert len(found.of("asked_open")) > 4
    assert all(seen.title for seen in limited.seen)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_as_many_come_with_passages_as_are_asked_for(share: float, tmp_path: Path, encoder) -> None:
    found = made(tmp_path, encoder, Reader(), open_book=share)
    assert bool(found.of("asked_open")) == bool(share)
    assert not share or len(found.of("asked_open")) >= 0.9 * len(
        {answer(one) for one in found.of("asked")}
    )


def test_the_probes_are_the_exam(whole: Made) -> None:
    assert len(whole.probes) == 4
    assert {probe["kind"] for probe in whole.probes} == {"exam"}
    assert whole.card["probe_kinds"] == {"exam": 4}
    for probe in whole.probes:
        text = DOCS[probe["path"].removeprefix("docs/")].encode()[slice(*probe["span"])].decode()
        assert contained(text, [probe["answer"]])
        assert probe["answer"] not in probe["distractors"]


def test_no_question_is_the_exams_and_of_three_of_its_answers_one_is_asked_for_in_other_words(
    whole: Made,
) -> None:
    """As of what people ask for, too: some of it a teacher has asked for as well."""
    questions = [probe["question"] for probe in whole.probes]
    lines = [*whole.examples, *whole.validation]
    assert not Guard(questions).leaks([prompt(one) for one in lines]).any()
    taught = {
        (one["source"]["path"], answer(one))
        for one in lines
        if one["kind"] in ("asked", "asked_open")
    }
    alone = [
        probe
        for i, probe in enumerate(whole.probes)
        if len([sentence for sentence in every_sentence() if probe["answer"] in sentence]) == 1
        and i % ASKED_TOO
    ]
    assert len(alone) > len(whole.probes) / 3
    assert [probe for probe in alone if (probe["path"], probe["answer"]) in taught] == []
    others = [probe for i, probe in enumerate(whole.probes) if i % ASKED_TOO == 0]
    assert any((probe["path"], probe["answer"]) in taught for probe in others)


def test_a_second_build_gives_the_same_bytes_and_asks_nothing(
    tmp_path: Path, encoder, whole: Made
) -> None:
    first = made(tmp_path, encoder, Reader())
    again = Reader()
    assert made(tmp_path, encoder, again, "again").files == first.files
    assert again.seen == []
    assert made(tmp_path, encoder, again, "uncached", cached=False).files == first.files
    assert again.seen == []
    assert whole.files == first.files


@pytest.mark.slow
def test_a_build_whose_teacher_broke_off_goes_on_where_it_stopped(
    tmp_path: Path, encoder, whole: Made
) -> None:
    every = Reader()
    made(tmp_path / "whole", encoder, every)
    broken, rest = Reader(most=len(every.seen) // 2), Reader()
    with pytest.raises(EnvironmentProblem, match="it is gone"):
        made(tmp_path / "broken", encoder, broken)
    assert made(tmp_path / "broken", encoder, rest).files == whole.files
    assert len(broken.seen) + len(rest.seen) == len(every.seen)


@pytest.mark.slow
def test_a_changed_document_costs_its_own_questions_only(
    tmp_path: Path, encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, encoder, Reader(), probes=0)
    changed = DOCS["lighthouse.md"].replace("900 litres", "700 litres")
    monkeypatch.setitem(DOCS, "lighthouse.md", changed)
    rest = Reader()
    found = made(tmp_path, encoder, rest, probes=0)
    assert {seen.title.split(" › ")[0] for seen in rest.seen if seen.title} == {"The lighthouse"}
    assert all("From docs/lighthouse.md" in seen.text for seen in rest.seen if not seen.title)
    assert any("700" in answer(one) for one in found.of("asked"))
    assert not any("900 litres" in answer(one) for one in found.examples)
    assert found.files == made(tmp_path / "full", encoder, Reader(), probes=0).files


def test_what_a_changed_document_said_before_stands_in_no_passages(
    tmp_path: Path, encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(seen: Seen) -> str:
        """Its questions bring the lighthouse's passages, too."""
        return (
            f"What is {seen.given[::-1]} beside the lamp and the bell?"
            if seen.to_write
            else finding(seen)
        )

    monkeypatch.setitem(
        DOCS, "pier.md", "# The pier\n\nThe pier was built by Ida Berg near the town of Tarvik.\n"
    )
    before = made(tmp_path, encoder, Reader(said), probes=0, open_book=1.0)
    monkeypatch.setitem(
        DOCS, "lighthouse.md", DOCS["lighthouse.md"].replace("Maren Holt", "Kari Nes")
    )
    after = made(tmp_path, encoder, Reader(said), probes=0, open_book=1.0)
    assert any(
        "Maren Holt" in prompt(one)
        for one in before.of("asked_open")
        if one["source"]["path"] == "docs/pier.md"
    )
    assert [prompt(one) for one in after.of("asked_open") if "Maren Holt" in prompt(one)] == []


@pytest.mark.slow
@pytest.mark.parametrize("written", [1, 2, 3])
def test_a_build_that_was_stopped_between_two_documents_goes_on_to_the_same_bytes(
    written: int, tmp_path: Path, encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        DOCS,
        "pier.md",
        "# The pier\n\nThe pier was built by Ida Berg near the town of Tarvik. The "
        "ferry of Olav Rud leaves it at dawn.\n",
    )
    kept: list[str] = []

    class Stopping(Store):
        """Keeps what is read of each document, and what is asked about the first `written`."""

        def put_extract(self, key, packed):
            if len(kept) == len(DOCS) + written:
                raise KeyboardInterrupt
            kept.append(key)
            super().put_extract(key, packed)

    with monkeypatch.context() as patched:
        patched.setattr("phoenix_forge.dataset.build.Store", Stopping)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, encoder, Reader(), open_book=1.0)
    continued = made(tmp_path, encoder, Reader(), open_book=1.0)
    assert continued.files == made(tmp_path / "whole", encoder, Reader(), open_book=1.0).files


def test_what_a_teacher_says_wrong_is_not_taught(tmp_path: Path, encoder) -> None:
    def wrong(seen) -> str:
        return honest(seen) if seen.to_write or "Selkie" in finding(seen) else "Olav Rud"

    found = made(tmp_path, encoder, Reader(wrong))
    assert not any("Olav" in answer(one) for one in found.examples)
    assert all("Selkie" in answer(one) for one in found.of("asked"))
    assert found.probes == [] or {probe["kind"] for probe in found.probes} == {"exam"}


def test_what_a_teacher_was_asked_is_told_once_and_with_all_of_it(tmp_path: Path, encoder) -> None:
    reader = Reader()
    told = [
        line for line in made(tmp_path, encoder, reader).told if line.startswith("teacher reader: ")
    ]
    assert [line.partition(",")[0] for line in told] == [
        f"teacher reader: {len(reader.seen)} requests"
    ]
    assert any(not seen.title for seen in reader.seen)


def test_the_teachers_tokens_are_told(whole: Made) -> None:
    assert whole.metrics["teacher_tokens"] > 1000
    assert whole.metrics["coverage"] == 1.0
