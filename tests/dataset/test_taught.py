"""A dataset that a teacher writes along: what it asks is taught, and what the exam asks is not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from stand_ins.reader import Reader, finding, honest

from forge.core.config import Config
from forge.core.report import Silent
from forge.corpus.prose import language, sentences
from forge.dataset.build import Models, build
from forge.dataset.probes import Guard
from forge.errors import EnvironmentProblem
from forge.examples.compare import contained, exact
from forge.examples.validate import validate

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
    """A build's files, read, and what the teacher was asked for it."""

    examples: list[dict]
    validation: list[dict]
    probes: list[dict]
    card: dict
    metrics: dict
    files: dict[str, bytes]
    out: dict[str, Path]

    def of(self, kind: str) -> list[dict]:
        return [one for one in self.examples if one["kind"] == kind]


def config(**changes: object) -> Config:
    own = {"amplification": 2, "probes": 4, "identity": 2, "replay": 0.0, "wordings": 2, "per_sentence": 6,
           "open_book": 0.5, "teacher_workers": 2} | changes
    return Config.model_validate({"corpus": {"roots": ["docs"]}, "dataset": own, "train": {"max_length": 768}})


def made(root: Path, encoder, reader: Reader, name: str = "out", *, cached: bool = True, **changes: object) -> Made:
    for file, text in DOCS.items():
        (root / "docs").mkdir(exist_ok=True, parents=True)
        (root / "docs" / file).write_text(text, encoding="utf-8")
    out = {role: root / name / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")}
    metrics = build(config(**changes), root, encoder, out, Silent(), cache=root / "dataset.sqlite" if cached else None,
                    models=Models(teacher=reader.teacher(), cache=root / "teacher.sqlite"))
    read = {role: [json.loads(line) for line in out[role].read_text("utf-8").splitlines()]
            for role in ("dataset", "validation", "probes")}
    return Made(read["dataset"], read["validation"], read["probes"], json.loads(out["card"].read_text("utf-8")),
                metrics, {role: out[role].read_bytes() for role in ("dataset", "validation", "probes")}, out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, encoder) -> Made:
    return made(tmp_path_factory.mktemp("taught"), encoder, Reader())


def prompt(example: dict) -> str:
    return example["messages"][-2]["content"]


def answer(example: dict) -> str:
    return example["messages"][-1]["content"]


def every_sentence() -> list[str]:
    return [one.text for text in DOCS.values() for one in sentences(text, language(text))]


def test_a_teachers_questions_are_asked_shortly_wholly_and_with_passages(whole: Made, encoder) -> None:
    kinds = Counter(one["kind"] for one in whole.examples)
    assert kinds["asked"] > kinds["asked_whole"] > kinds["asked_open"] > 2
    assert {one["source"]["path"] for one in whole.of("asked")} == {f"docs/{name}" for name in DOCS}
    assert whole.card["kinds"]["asked_open"] == kinds["asked_open"]
    assert validate(whole.out["dataset"], encoder=encoder, max_length=768)["errors"] == 0


def test_every_answer_is_of_a_sentence_of_the_corpus(whole: Made) -> None:
    told = every_sentence()
    for one in whole.of("asked"):
        assert any(answer(one) in sentence for sentence in told)
        assert not contained(prompt(one), [answer(one)])
    assert {answer(one) for one in whole.of("asked_whole")} <= set(told)


def test_every_open_book_prompt_holds_its_answer_and_ends_with_its_question(whole: Made) -> None:
    asked = [(f"\n\n{prompt(one)}", answer(one)) for one in whole.of("asked")]
    for one in whole.of("asked_open"):
        assert contained(prompt(one), [answer(one)])
        assert any(prompt(one).endswith(question) and answer(one) == text for question, text in asked)
        assert any(contained(prompt(one), [sentence]) for sentence in every_sentence() if answer(one) in sentence)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_as_many_come_with_passages_as_are_asked_for(share: float, tmp_path: Path, encoder) -> None:
    found = made(tmp_path, encoder, Reader(), open_book=share)
    assert bool(found.of("asked_open")) == bool(share)
    assert not share or len(found.of("asked_open")) >= 0.9 * len(found.of("asked_whole"))


def test_the_probes_are_the_exam(whole: Made) -> None:
    assert len(whole.probes) == 4
    assert {probe["kind"] for probe in whole.probes} == {"exam"}
    assert whole.card["probe_kinds"] == {"exam": 4}
    for probe in whole.probes:
        text = DOCS[probe["path"].removeprefix("docs/")].encode()[slice(*probe["span"])].decode()
        assert contained(text, [probe["answer"]])
        assert probe["answer"] not in probe["distractors"]


def test_no_prompt_asks_for_what_the_exam_asks_for(whole: Made) -> None:
    """Neither in the exam's words, nor for its answer in a sentence that it is asked of."""
    questions = [probe["question"] for probe in whole.probes]
    prompts = [prompt(one) for one in [*whole.examples, *whole.validation]]
    assert not Guard(questions).leaks(prompts).any()
    for probe in whole.probes:
        held = [sentence for sentence in every_sentence() if probe["answer"] in sentence]
        for one in [*whole.examples, *whole.validation]:
            if one["kind"] in ("asked", "asked_open", "gap") and one["source"]["path"] == probe["path"]:
                assert not (exact(answer(one), [probe["answer"]]) and len(held) == 1), prompt(one)


def test_a_second_build_gives_the_same_bytes_and_asks_nothing(tmp_path: Path, encoder, whole: Made) -> None:
    first = made(tmp_path, encoder, Reader())
    again = Reader()
    assert made(tmp_path, encoder, again, "again").files == first.files
    assert again.seen == []
    assert made(tmp_path, encoder, again, "uncached", cached=False).files == first.files
    assert again.seen == []
    assert whole.files == first.files


def test_a_build_whose_teacher_broke_off_goes_on_where_it_stopped(tmp_path: Path, encoder, whole: Made) -> None:
    every = Reader()
    made(tmp_path / "whole", encoder, every)
    broken, rest = Reader(most=len(every.seen) // 2), Reader()
    with pytest.raises(EnvironmentProblem, match="it is gone"):
        made(tmp_path / "broken", encoder, broken)
    assert made(tmp_path / "broken", encoder, rest).files == whole.files
    assert len(broken.seen) + len(rest.seen) == len(every.seen)


def test_a_changed_document_costs_its_own_questions_only(tmp_path: Path, encoder, monkeypatch: pytest.MonkeyPatch
                                                         ) -> None:
    made(tmp_path, encoder, Reader(), probes=0)
    changed = DOCS["lighthouse.md"].replace("900 litres", "700 litres")
    monkeypatch.setitem(DOCS, "lighthouse.md", changed)
    rest = Reader()
    found = made(tmp_path, encoder, rest, probes=0)
    assert rest.seen
    assert {seen.title.split(" › ")[0] for seen in rest.seen} == {"The lighthouse"}
    assert any("700" in answer(one) for one in found.of("asked"))
    assert not any("900 litres" in answer(one) for one in found.examples)


def test_what_a_teacher_says_wrong_is_not_taught(tmp_path: Path, encoder) -> None:
    def wrong(seen) -> str:
        return honest(seen) if seen.to_write or "Selkie" in finding(seen) else "Olav Rud"

    found = made(tmp_path, encoder, Reader(wrong))
    assert not any("Olav" in answer(one) for one in found.examples)
    assert all("Selkie" in answer(one) for one in found.of("asked"))
    assert found.probes == [] or {probe["kind"] for probe in found.probes} == {"exam"}


def test_the_teachers_tokens_are_told(whole: Made) -> None:
    assert whole.metrics["teacher_tokens"] > 1000
    assert whole.metrics["coverage"] == 1.0
