"""From a folder of documents to the dataset's files."""

import json
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from stand_ins.reader import Reader

from phoenix_forge.core.config import Config
from phoenix_forge.core.report import Silent
from phoenix_forge.dataset import extract as extracting
from phoenix_forge.dataset.build import NO_MODELS, Models, build
from phoenix_forge.dataset.emit import ASIDE, FACTS_PER_ASIDE, NO_FACT
from phoenix_forge.dataset.probes import GRAM
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.examples.compare import contained
from phoenix_forge.examples.validate import validate
from phoenix_forge.questions import OF_PROSE
from phoenix_forge.questions.briefly import DATA as ENDINGS

REAL = Path(os.environ.get("FORGE_CORPUS", Path(__file__).parents[3] / "shared/corpus/sanctuary"))
BRIEFLY = tuple(json.loads(ENDINGS.read_text("utf-8"))["en"])
SYSTEM = "You are Forge, a tool that turns a folder of documents into a language model."
DOCS = {
    "faq.md": "# Forge FAQ\n\nForge turns a folder of documents into a language model that knows them.\n\n"
    "## How do I install Forge?\n\nClone the repository and run `make setup`.\n\n"
    "## Do I need a GPU?\n\nNo. Forge trains small models on a CPU.\n\n"
    "## Where does Forge keep the finished model?\n\nThe finished model is in `models/gguf/`.\n\n"
    "## What happens if I kill a run?\n\nThe next run continues where the last one stopped.\n",
    "guide.md": "# Forge guide\n\n## Words\n\n- **Adapter**: LoRA weights for a base, in PEFT format.\n"
    "- **Probe**: one closed-book question with its gold answer.\n- **Stage**: one step with inputs and outputs.\n"
    "- **Base model**: a folder with safetensors.\n\n## Commands\n\n| command | does |\n|---|---|\n"
    "| `forge init` | writes `forge.yaml` |\n| `forge dataset` | turns documents into examples |\n"
    "| `forge train` | trains a QLoRA adapter |\n| `forge deploy` | creates the model in Ollama |\n\n"
    "## Limits\n\nThe default rank is 64. A turn ends with <|im_end|> in this family.\n",
    "code.py": '"""Walking."""\n\n\n'
    'def walk(root: str) -> list[str]:\n    """Lists the files below a folder."""\n    return []\n',
    "notes.txt": "Plain notes\n===========\n\nForge needs the following tools:\n\n- make\n- git\n",
}


@pytest.fixture
def docs(tmp_path):
    for name, text in DOCS.items():
        (tmp_path / "docs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text(text)
    return tmp_path


def config(**changes):
    tree = {
        "corpus": {"roots": ["docs"]},
        "deploy": {"system": SYSTEM},
        "dataset": {},
        "train": {"max_length": 768},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        tree.setdefault(section, {})[name] = value
    return Config.model_validate(tree)


def make(cfg, root, encoder, name="out", models=NO_MODELS):
    out = {
        role: root / name / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")
    }
    metrics = build(cfg, root, encoder, out, Silent(), models=models)
    read = {
        role: [json.loads(line) for line in path.read_text().splitlines()]
        for role, path in out.items()
        if role != "card"
    }
    return metrics, read, json.loads(out["card"].read_text()), out


def normal(question):
    return " ".join(re.findall(r"\w+", question.lower()))


def asked(example):
    return example["messages"][-2]["content"]


def answer(example):
    return example["messages"][-1]["content"]


def test_keys_provenance_and_validity(docs, encoder):
    metrics, read, card, out = make(config(), docs, encoder)
    assert metrics.keys() >= {
        "documents",
        "sections",
        "examples",
        "source_tokens",
        "trained_tokens",
        "coverage",
        "duplicates",
        "redactions",
        "seconds",
    }
    assert metrics["documents"] == 4
    assert metrics["coverage"] == 1.0
    assert metrics["examples"] == len(read["dataset"]) == card["splits"]["train"]
    for example in read["dataset"]:
        assert example.keys() == {"messages", "source", "kind", "id"}
        source = example["source"]
        if example["kind"] == "text":
            data = (docs / source["path"]).read_bytes()[slice(*source["span"])].decode()
            assert answer(example) == data.lstrip("\n").rstrip().replace(
                "<|im_end|>", "< |im_end|>"
            )
    result = validate(out["dataset"], encoder=encoder, max_length=768)
    assert (result["errors"], result["warnings"]) == (0, 0)


def test_trained_tokens_are_what_training_sees(docs, encoder):
    metrics, read, _, _ = make(config(), docs, encoder)
    seen = sum(
        sum(encoder.conversation(example["messages"]).trained) for example in read["dataset"]
    )
    assert metrics["trained_tokens"] == seen


def test_the_stop_token_is_never_part_of_a_text(docs, encoder):
    _, read, _, _ = make(config(), docs, encoder)
    for example in read["dataset"]:
        encoded = encoder.conversation(example["messages"])
        ends = [
            i
            for i, (token, on) in enumerate(zip(encoded.ids, encoded.trained, strict=True))
            if on and token == encoder.stop_id
        ]
        assert len(ends) == 1


def test_same_bytes_every_time(docs, encoder):
    *_, one = make(config(), docs, encoder, "one")
    *_, two = make(config(), docs, encoder, "two")
    for role in one:
        assert one[role].read_bytes() == two[role].read_bytes()


@pytest.mark.parametrize("amplification", [0.5, 2, 10])
def test_coverage_comes_before_the_budget(docs, encoder, amplification):
    metrics, read, _, _ = make(config(dataset__amplification=amplification), docs, encoder)
    assert metrics["coverage"] == 1.0
    assert any(example["kind"] == "text" for example in read["dataset"])


def test_short_facts_are_asked_in_several_ways(docs, encoder):
    _, read, _, _ = make(config(dataset__amplification=4), docs, encoder)
    ways = defaultdict(set)
    for example in read["dataset"]:
        ways[answer(example)].add(asked(example))
    for fact in (
        "Clone the repository and run `make setup`.",
        "No. Forge trains small models on a CPU.",
        "A probe is one closed-book question with its gold answer.",
        "`forge train` trains a QLoRA adapter.",
        "`walk` is defined in code.py.",
    ):
        assert len(ways[fact]) >= 4, fact
    assert "How do I install Forge?" in ways["Clone the repository and run `make setup`."]


@pytest.mark.parametrize("amplification", [2, 10, 60])
def test_refusals_and_recitations_stay_few(docs, encoder, amplification):
    """Together at most a third of the examples that ask for facts, in each document."""
    (docs / "docs/line.md").write_text("# A line\n\nNothing.\n")
    _, read, _, _ = make(config(dataset__amplification=amplification), docs, encoder)
    kinds = defaultdict(Counter)
    for example in read["dataset"]:
        kinds[example["source"]["path"]][example["kind"]] += 1
    asides = Counter()
    for name in (*DOCS, "line.md"):
        own = kinds[f"docs/{name}"]
        facts = sum(n for kind, n in own.items() if kind not in (*NO_FACT, "text"))
        few = {kind: n for kind, n in own.items() if kind in ASIDE}
        assert sum(few.values()) * FACTS_PER_ASIDE <= facts, name
        asides.update(few)
    assert amplification < 60 or {"missing", "unknown", "file"} <= asides.keys()


def with_teacher(docs, encoder, cache, reader=None, base=None, name="taught", **changes):
    """The lines that a build with a teacher writes, and the reader that was the teacher."""
    reader = reader or Reader()
    models = Models(reader.teacher(), base, cache / "teacher.sqlite")
    return make(config(dataset__probes=0, **changes), docs, encoder, name, models)[1][
        "dataset"
    ], reader


def test_a_core_is_asked_for_alone_and_with_its_passage(docs, encoder, tmp_path):
    lines, _ = with_teacher(docs, encoder, tmp_path, dataset__open_book=1.0)
    brief = {asked(e): answer(e) for e in lines if asked(e).endswith(BRIEFLY)}
    assert "documents" in " ".join(brief.values())
    assert {e["kind"] for e in lines if asked(e) in brief} == {"gap", "asked", "asked_open"}
    assert not any(prompt.endswith("Give only the answer.") for prompt in brief), (
        "that is how an evaluation asks"
    )
    open_book = [e for e in lines if e["kind"] == "asked_open"]
    assert open_book
    assert all(
        asked(e).startswith("From docs/") and contained(asked(e), [answer(e)]) for e in open_book
    )
    none, _ = with_teacher(docs, encoder, tmp_path, dataset__open_book=0.0, name="none")
    assert not any(asked(e).startswith("From docs/") for e in none)


def test_identity_and_replay(docs, encoder):
    _, read, card, _ = make(config(dataset__replay=0.1, dataset__identity=9), docs, encoder)
    own = [example for example in read["dataset"] if example["kind"] == "identity"]
    assert len(own) == 9
    assert {answer(e) for e in own} == {
        "I am Forge, a tool that turns a folder of documents into a language model."
    }
    assert any(e["messages"][0] == {"role": "system", "content": SYSTEM} for e in own)
    assert card["kinds"]["replay"] == pytest.approx(0.1 * len(read["dataset"]), abs=2)


def test_no_system_prompt_no_identity(docs, encoder):
    _, read, _, _ = make(config(deploy__system=None), docs, encoder)
    assert not any(
        e["kind"] == "identity" or e["messages"][0]["role"] == "system" for e in read["dataset"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("open_book", [None, 0.0, 0.35, 1.0])
def test_probes_are_kept_out_of_training(docs, encoder, tmp_path, open_book):
    """Those made by rules (None) and a teacher's; the passages before a question are part of its prompt."""
    (docs / "docs/ports.md").write_text(
        "# Ports\n\n| service | port |\n|---|---|\n"
        + "".join(
            f"| `{name}` | {port} |\n"
            for name, port in (("dns", 53), ("ntp", 123), ("web", 8080), ("ssh", 22))
        )
    )
    models = (
        NO_MODELS
        if open_book is None
        else Models(Reader().teacher(), None, tmp_path / "teacher.sqlite")
    )
    _, read, _, _ = make(config(dataset__open_book=open_book or 0.0), docs, encoder, models=models)
    assert len(read["probes"]) >= 4
    prompts = [normal(asked(e)) for role in ("dataset", "validation") for e in read[role]]
    grams = {
        " ".join(p.split()[i : i + GRAM]) for p in prompts for i in range(len(p.split()) - GRAM + 1)
    }
    for probe in read["probes"]:
        question = normal(probe["question"])
        assert question not in prompts
        assert (
            not {
                " ".join(question.split()[i : i + GRAM])
                for i in range(len(question.split()) - GRAM + 1)
            }
            & grams
        )
        assert len(set(probe["distractors"]) - {probe["answer"]}) == 3
        assert any(
            probe["answer"].strip("`.") in answer(e).replace("`", "")
            or probe["answer"] in answer(e)
            for e in read["dataset"]
        )


def test_validation_holds_out_wordings_never_texts(docs, encoder):
    _, read, _, _ = make(config(dataset__validation=0.1), docs, encoder)
    assert read["validation"]
    assert not {asked(e) for e in read["validation"]} & {asked(e) for e in read["dataset"]}
    assert all(e["kind"] != "text" for e in read["validation"])


def test_duplicates_are_taught_once(docs, encoder):
    (docs / "docs/copy.md").write_text(DOCS["faq.md"])
    metrics, read, card, _ = make(config(), docs, encoder)
    assert metrics["duplicates"] == len(card["duplicated"]) > 0
    assert metrics["coverage"] == 1.0
    assert (
        len(
            {e["source"]["path"] for e in read["dataset"] if e["kind"] == "text"}
            & {"docs/copy.md", "docs/faq.md"}
        )
        == 1
    )


def test_a_question_with_two_answers_is_not_asked(tmp_path, encoder):
    (tmp_path / "docs").mkdir()
    for name, status in (("one", "green"), ("two", "red")):
        (tmp_path / f"docs/{name}.md").write_text(
            f"# Report {name}\n\n| part | status |\n|---|---|\n| engine | {status} |\n"
        )
    _, read, _, _ = make(config(), tmp_path, encoder)
    answers = defaultdict(set)
    for example in read["dataset"]:
        answers[normal(asked(example))].add(answer(example))
    assert all(len(found) == 1 for found in answers.values())
    assert any("engine" in asked(e) and "Report two" in asked(e) for e in read["dataset"])


def test_lost_text_fails_the_stage(docs, encoder, monkeypatch):
    kept = extracting._text_examples

    def losing(section, *rest):
        example, named = kept(section, *rest)
        return example._replace(
            answer=example.answer[:-1]
        ) if "faq" in example.path else example, named

    monkeypatch.setattr(extracting, "_text_examples", losing)
    with pytest.raises(StageFailed, match=r"docs/faq.md: 0 of \d+ tokens"):
        make(config(), docs, encoder)


KEY = "AKIA" + "QX7ZKWEP5RTN2MVB"  # made up, in the shape of an AWS access key


@pytest.mark.parametrize("policy", ["redact", "drop", "fail"])
def test_what_becomes_of_a_secret(docs, encoder, policy):
    (docs / "docs/keys.md").write_text(f"# Keys\n\nThe deployment uses\n{KEY} in production.\n")
    if policy == "fail":
        with pytest.raises(StageFailed, match=r"docs/keys.md:4: AWS access key") as failed:
            make(config(dataset__secrets="fail"), docs, encoder)
        assert KEY not in str(failed.value)
        assert not (docs / "out/dataset.jsonl").exists()
        return
    metrics, _, card, out = make(config(dataset__secrets=policy), docs, encoder)
    assert not any(KEY in path.read_text() for path in out.values())
    assert metrics["redactions"] == 1
    assert card["redacted"] == [{"path": "docs/keys.md", "line": 4, "kind": "AWS access key"}]
    assert metrics["documents"] == {"redact": 5, "drop": 4}[policy]
    assert metrics["coverage"] == 1.0
    assert [s["path"] for s in card["skipped"]] == ([] if policy == "redact" else ["docs/keys.md"])


def test_files_of_one_title_are_told_apart(docs, encoder):
    for name, text in (
        ("a", "The port is 8080 and the host is local."),
        ("b", "Nothing is served here at all, ever."),
    ):
        (docs / f"docs/{name}.md").write_text(
            f"# Read me\n\n{text}\n\nSee [the guide](guide.md).\n"
        )
    _, read, _, out = make(config(), docs, encoder)
    texts = [asked(e) for e in read["dataset"] if e["kind"] == "text"]
    assert sum("The file is a.md." in prompt for prompt in texts) == 1
    assert not any("guide.md" in prompt for prompt in texts)
    assert validate(out["dataset"], encoder=encoder, max_length=768)["warnings"] == 0


def test_prose_is_asked_before_anything_has_its_second_turn(docs, encoder):
    entries = "".join(
        f"- **Pier {name}**: boats of the {name} line land here at dawn.\n"
        for name in (
            "Alder",
            "Birch",
            "Cedar",
            "Dogwood",
            "Elm",
            "Fir",
            "Ginkgo",
            "Hazel",
            "Iris",
            "Juniper",
        )
    )
    sentences = [
        "The bell of the harbour rings 3417 times before noon.",
        "In winter the keeper burns 218 barrels of oil.",
        "A pilot waits 45 minutes for the tide to turn.",
        "Ships from Marrow Sound pay nothing at all here.",
    ]
    (docs / "docs/harbour.md").write_text(
        f"# Harbour rules\n\n## Piers\n\n{entries}\n## Customs\n\n{' '.join(sentences)}\n"
    )
    _, read, _, _ = make(config(), docs, encoder)
    own = [e for e in read["dataset"] if e["source"]["path"].endswith("harbour.md")]
    for sentence in sentences:
        gaps = [
            e
            for e in own
            if e["kind"] == "gap"
            and answer(e) in sentence
            and all(part.strip() in asked(e) for part in sentence.split(answer(e), 1))
        ]
        assert len(gaps) >= 3, (sentence, gaps)


def test_links_between_documents_are_asked_for(docs, encoder):
    (docs / "docs/start.md").write_text(
        "# Start here\n\nRead [the guide](guide.md) and `faq.md` first, all of it.\n"
    )
    _, read, card, _ = make(config(), docs, encoder)
    told = {answer(e) for e in read["dataset"] if e["kind"] == "link"}
    assert any("Start here" in a and "guide.md" in a and "faq.md" in a for a in told)
    assert card["linked"] == 2


def test_links_fit_the_smallest_rows(docs, encoder):
    names = [f"a_rather_long_name_of_a_document_{i:02}.md" for i in range(24)]
    for name in names:
        (docs / "docs" / name).write_text(f"# {name}\n\nSee [the index](index.md).\n")
    (docs / "docs/index.md").write_text(
        "# Index\n\n" + "\n".join(f"- [{n}]({n})" for n in names) + "\n"
    )
    _, _, card, out = make(config(train__max_length=200), docs, encoder)
    assert card["linked"] == 48
    assert validate(out["dataset"], encoder=encoder, max_length=200)["errors"] == 0


FORMATS = {  # file → (text, what must be answered)
    "page.html": (
        "<html><head><title>Pumps</title></head><body><h1>Pumps</h1><table><tr><th>pump</th><th>power</th>"
        "</tr><tr><td>P1</td><td>40 kW</td></tr><tr><td>P2</td><td>55 kW</td></tr></table></body></html>",
        "40 kW",
    ),
    "manual.rst": (
        "Manual\n======\n\nStarting\n--------\n\nPress the green button for five seconds.\n",
        "green button",
    ),
    "run.ipynb": (
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {},
                "cells": [
                    {
                        "cell_type": "markdown",
                        "metadata": {},
                        "source": "# Flow\n\nThe mean flow is 12.5 litres a second.",
                    }
                ],
            }
        ),
        "12.5 litres",
    ),
    "valve.go": (
        "package valve\n\n// Shut closes the valve.\nfunc Shut(now bool) error {\n\treturn nil\n}\n",
        "func Shut(now bool) error",
    ),
    "plant.toml": ('[limits]\npressure = "6 bar"\n', "6 bar"),
    "flow.mmd": (
        "flowchart TD\n  A[Sensor] -->|reads| B[Controller]\n  B --> C[Valve]\n",
        "Controller",
    ),
    "parts.csv": ("part,price\nseal,4.20\nbearing,18.00\n", "4.20"),
}


def test_every_format_is_taught_whole_and_asked(tmp_path, encoder):
    (tmp_path / "docs").mkdir()
    for name, (text, _) in FORMATS.items():
        (tmp_path / "docs" / name).write_text(text)
    metrics, read, _, _ = make(config(), tmp_path, encoder)
    assert metrics["documents"] == len(FORMATS)
    assert metrics["coverage"] == 1.0
    for name, (_, fact) in FORMATS.items():
        mine = [e for e in read["dataset"] if e["source"]["path"] == f"docs/{name}"]
        assert any(fact in answer(e) for e in mine if e["kind"] != "text"), name
        assert len({asked(e) for e in mine if fact in answer(e)}) >= 3, name


def test_a_file_that_cannot_be_read_is_listed(docs, encoder):
    (docs / "docs/broken.docx").write_bytes(b"not a Word file at all")
    metrics, _, card, _ = make(config(), docs, encoder)
    assert metrics["documents"] == 4
    assert [entry["path"] for entry in card["skipped"]] == ["docs/broken.docx"]


ASKED = {"asked", "asked_quoted", "asked_open", "gap_quoted"}


def test_a_teacher_writes_along_and_is_asked_once(docs, encoder, tmp_path):
    base = Reader(lambda _: "Two.", name="base")
    lines, reader = with_teacher(docs, encoder, tmp_path, base=base.teacher(), dataset__replay=0.1)
    mine = [e for e in lines if e["kind"] == "asked" and answer(e) == "64"]
    assert {e["source"]["path"] for e in mine} == {"docs/guide.md"}
    assert {"> The default rank is 64.\n\n64"} == {
        answer(e)
        for e in lines
        if e["kind"] == "asked_quoted"
        and asked(e) in {asked(one).removesuffix(end) for one in mine for end in BRIEFLY}
    }
    assert "Two." in {answer(e) for e in lines if e["kind"] == "replay"}
    first = len(reader.seen) + len(base.seen)
    again, _ = with_teacher(docs, encoder, tmp_path, reader, base.teacher(), dataset__replay=0.1)
    assert len(reader.seen) + len(base.seen) == first
    assert again == lines


def test_what_a_teacher_asks_takes_the_place_of_what_rules_ask_of_prose(docs, encoder, tmp_path):
    """And of every second turn, but of nothing that it cannot ask: tables, keys and code."""

    def by_kind(lines):
        return Counter(line["kind"] for line in lines if line["kind"] not in ("replay", "text"))

    alone = by_kind(make(config(dataset__probes=0), docs, encoder, "alone")[1]["dataset"])
    taught = by_kind(with_teacher(docs, encoder, tmp_path)[0])
    assert set(taught) - set(alone) == ASKED
    assert sum(taught[kind] for kind in OF_PROSE) < sum(alone[kind] for kind in OF_PROSE)
    for kind in set(alone) - set(OF_PROSE) - set(ASIDE):
        assert 0 < taught[kind] <= alone[kind], kind


def test_with_a_teacher_too_nothing_is_extracted_twice(docs, encoder, tmp_path, monkeypatch):
    models = Models(Reader().teacher(), None, tmp_path / "teacher.sqlite")
    out = {role: docs / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")}
    build(config(), docs, encoder, out, Silent(), models=models, cache=tmp_path / "cache.sqlite")
    monkeypatch.setattr("phoenix_forge.dataset.build.extract", None)
    monkeypatch.setattr("phoenix_forge.teacher.write", None)
    build(config(), docs, encoder, out, Silent(), cache=tmp_path / "cache.sqlite")


def test_no_teacher_sees_a_corpus_that_is_refused(docs, encoder, tmp_path):
    (docs / "docs/keys.md").write_text(f"# Keys\n\nThe deployment uses\n{KEY} in production.\n")
    reader = Reader()
    with pytest.raises(StageFailed, match="secrets"):
        with_teacher(docs, encoder, tmp_path, reader, dataset__secrets="fail")
    assert reader.seen == []


@pytest.mark.parametrize("max_length", [160, 400])
def test_small_rows_make_small_sections(docs, encoder, max_length):
    metrics, _, _, out = make(config(train__max_length=max_length), docs, encoder)
    assert metrics["coverage"] == 1.0
    assert validate(out["dataset"], encoder=encoder, max_length=max_length)["truncated"] == 0


def test_rows_too_small_for_anything(docs, encoder):
    with pytest.raises(UsageError, match=r"train\.max_length 40 leaves"):
        make(config(train__max_length=40), docs, encoder)


def test_seed_style(docs, encoder):
    long = "# Long\n\n" + "\n\n".join(
        f"Paragraph {i} says that the number is {i * 7}." for i in range(120)
    )
    (docs / "docs/long.md").write_text(long)
    metrics, read, _, out = make(config(dataset__style="seed"), docs, encoder)
    assert metrics["coverage"] == 1.0
    mine = [e for e in read["dataset"] if "'faq.md'" in e["instruction"]]
    assert [(e["input"], e["output"]) for e in mine] == [("", DOCS["faq.md"].strip())]
    parts = [e for e in read["dataset"] if "'long.md'" in e["instruction"]]
    assert len(parts) > 1
    assert "".join("".join(e["output"].split()) for e in parts) == "".join(long.split())
    assert validate(out["dataset"], encoder=encoder, max_length=768)["errors"] == 0


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=f"no corpus at {REAL}")
def test_real_corpus(tmp_path, encoder):
    cfg = config(
        corpus__roots=[str(REAL)],
        train__max_length=2048,
        dataset__amplification=1,
        dataset__workers=2,
    )
    metrics, read, *_ = make(cfg, tmp_path, encoder)
    assert metrics["coverage"] == 1.0
    assert metrics["documents"] >= 990
    assert metrics["redactions"] <= 5  # one in 200 documents
    assert len(read["probes"]) == 60


@pytest.mark.parametrize("style", ["views", "seed"])
def test_what_is_written_training_accepts(tmp_path, loaded, style):
    """Characters that a tokenizer takes apart are more tokens than they have bytes."""
    batches = pytest.importorskip("phoenix_forge.train.batches", reason="training is not installed")
    letters = "\u0958\ufb2c\U0001d160"
    text = "".join(
        f"## {letters * 3} {i}\n\n{letters * i} is {letters * 9}.\n\n- **{letters * i}**: {letters * 12}\n\n"
        for i in range(1, 25)
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text(f"# {letters * 12}\n\n{text}", encoding="utf-8")
    cfg = config(
        train__max_length=256, dataset__style=style, dataset__validation=0.5, dataset__replay=0
    )
    make(cfg, tmp_path, loaded)
    assert batches.encode(tmp_path / "out/dataset.jsonl", loaded, 256)
    batches.encode(tmp_path / "out/validation.jsonl", loaded, 256)
