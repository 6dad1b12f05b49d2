"""The grounding gate, on cases written by hand before it was: what an answer brings that its source does not hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.dataset.grounding import find, missing, refers_to_source, ungrounded

HARBOUR = ("Harbour Nine\nThe lamp\nThe lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt. It was built on "
           "12 March 1924 by the Tarvik Council for 1,000 crowns, and burns 5 % of the town's oil. When fog comes in, "
           "the bell rings three times every 60 seconds. Dr. Ilse Brandt, a professor in Oslo, measured 3.50 m.")
CODE = ("Forge\nTraining\nThe default rank is `64`; set it with `forge train --rank 64` or in config/train.yaml. "
        "Call `load_base(path)` or FastModel.from_path; see docs/guide.md and https://forge.example/docs. The model "
        "is Qwen2.5-Coder in Q4_K_M, 64k tokens of context, version v1.4.2, released 2025-03-07 at 14:30. It reads "
        "750,000 tokens, about 2.5 million characters, and needs 8 GB for 10 minutes. Retrieval Augmented Generation "
        "is off. The QLoRA adapter reaches 0.95 on the ADR set.")

GROUNDED = [
    (HARBOUR, "The lamp of Harbour Nine is lit at dusk."),
    (HARBOUR, "The keeper of Harbour Nine is called Maren Holt."),
    (HARBOUR, "Maren Holt lights the lamp."),
    (HARBOUR, "Holt lights it every evening."),
    (HARBOUR, "It cost 1000 crowns."),
    (HARBOUR, "It cost 1 000 crowns to build."),
    (HARBOUR, "The lamp burns 5% of the oil."),
    (HARBOUR, "The lamp burns 5 percent of the oil."),
    (HARBOUR, "The lamp burns five percent of the oil."),
    (HARBOUR, "The bell rings 3 times every 60 seconds."),
    (HARBOUR, "The bell rings three times every 60 s."),
    (HARBOUR, "It was built on March 12, 1924."),
    (HARBOUR, "It was built on 1924-03-12."),
    (HARBOUR, "It was built in March 1924."),
    (HARBOUR, "It was built in 1924."),
    (HARBOUR, "Ilse Brandt measured 3.5 m."),
    (HARBOUR, "Professor Brandt works in Oslo."),
    (HARBOUR, "Harbour Nine's lamp is lit by Maren Holt's own hand."),
    (HARBOUR, "1. The keeper climbs the tower.\n2. The keeper lights the lamp.\n3. The lamp burns."),
    (HARBOUR, "- The lamp is lit at dusk.\n- Fog rings the bell.\n- Oil is burnt."),
    (HARBOUR, "I would say: Yes, the lamp is lit. However, When fog comes, the bell rings."),
    (HARBOUR, "Step 1: Wait for dusk. Step 2: Light the lamp."),
    (HARBOUR, "The Lamp of Harbour Nine burns oil."),
    (HARBOUR, "One of the town's duties is oil."),
    (CODE, "The default rank is 64."),
    (CODE, "Use `--rank 64` to set the rank."),
    (CODE, "Run `forge train` to start."),
    (CODE, "The setting lives in `config/train.yaml`."),
    (CODE, "Call `load_base` with a path."),
    (CODE, "Call load_base() with a path."),
    (CODE, "It uses FastModel.from_path for loading."),
    (CODE, "The context is 64,000 tokens."),
    (CODE, "About 750k tokens are read."),
    (CODE, "It reads 2,500,000 characters and/or tokens."),
    (CODE, "It was released on 7 March 2025 at 2:30 pm."),
    (CODE, "It needs 8GB for 10 min."),
    (CODE, "The model is a qwen2.5-coder in Q4_K_M."),
    (CODE, "RAG is off."),
    (CODE, "The adapters of QLoRA reach 95 % on the ADR set."),
    (CODE, "The adapter reaches 0.95 on the ADRs."),
    (CODE, "See https://forge.example/docs for more."),
    (CODE, "Version 1.4.2 is current."),
]
UNGROUNDED = [
    (HARBOUR, "The keeper is Maren Dahl.", ["Maren Dahl"]),
    (HARBOUR, "The lamp stands in Harbour Ten.", ["Harbour Ten"]),
    (HARBOUR, "It was lit by John Smith at dusk.", ["John Smith"]),
    (HARBOUR, "John Smith lit it.", ["John Smith"]),
    (HARBOUR, "The lamp was made in Norway.", ["Norway"]),
    (HARBOUR, "It cost 10,000 crowns.", ["10,000"]),
    (HARBOUR, "It cost 100 crowns.", ["100"]),
    (HARBOUR, "The lamp burns 6 % of the oil.", ["6 %"]),
    (HARBOUR, "The lamp burns 60 % of the oil.", ["60 %"]),
    (HARBOUR, "The bell rings four times.", ["four"]),
    (HARBOUR, "The bell rings every 60 minutes.", ["60 minutes"]),
    (HARBOUR, "It was built on 13 March 1924.", ["13 March 1924"]),
    (HARBOUR, "It was built in April 1924.", ["April 1924"]),
    (HARBOUR, "It was built in 1925.", ["1925"]),
    (HARBOUR, "The Oslo Council built it.", ["Oslo Council"]),
    (HARBOUR, "It uses an API for light.", ["API"]),
    (HARBOUR, "- Built by the Tarvik Council\n- Owned by Erik Lund", ["Erik Lund"]),
    (HARBOUR, "Ilse Brandt measured 3.55 m.", ["3.55"]),
    (CODE, "Use `--alpha 64` to set it.", ["--alpha 64"]),
    (CODE, "Pass the flag --dropout to it.", ["--dropout"]),
    (CODE, "Edit config/eval.yaml first.", ["config/eval.yaml"]),
    (CODE, "Call load_model() first.", ["load_model()"]),
    (CODE, "Call base_load first.", ["base_load"]),
    (CODE, "It uses FastTrainer for this.", ["FastTrainer"]),
    (CODE, "It is stored in Q5_K_M.", ["Q5_K_M"]),
    (CODE, "The model is Qwen3 by Alibaba.", ["Qwen3", "Alibaba"]),
    (CODE, "Version v1.4.3 is current.", ["v1.4.3"]),
    (CODE, "It was released on 2025-03-08.", ["2025-03-08"]),
    (CODE, "It runs at 14:45.", ["14:45"]),
    (CODE, "It needs 8 MB.", ["8 MB"]),
    (CODE, "The context is 64 million tokens.", ["64 million tokens"]),
    (CODE, "See https://other.example/docs for more.", ["https://other.example/docs"]),
    (CODE, "Read `setup.py` and guide.md.", ["setup.py"]),
    (CODE, "See the `ADR set (160)`.", ["ADR set (160)"]),
    (CODE, "Read the notes in TRAINING.md, please.", ["TRAINING.md"]),
]


@pytest.mark.parametrize(("source", "answer"), GROUNDED)
def test_what_the_source_says_passes(source: str, answer: str) -> None:
    assert ungrounded(answer, source) == []


@pytest.mark.parametrize(("source", "answer", "named"), UNGROUNDED)
def test_what_it_does_not_say_is_named(source: str, answer: str, named: list[str]) -> None:
    assert ungrounded(answer, source) == named


@pytest.mark.parametrize(("answer", "kind"), [
    ("It cost 10,000 crowns.", "number"), ("It was built on 13 March 1924.", "date"), ("Ask John Smith.", "name"),
    ("Use `--alpha`.", "identifier")])
def test_each_is_counted_by_its_kind(answer: str, kind: str) -> None:
    assert [claim.kind for claim in missing(answer, HARBOUR)] == [kind]


@given(st.text(max_size=300))
def test_every_text_is_grounded_in_itself(text: str) -> None:
    assert ungrounded(text, text) == []


@given(st.lists(st.sampled_from([*HARBOUR.split(), *CODE.split()]), max_size=25).map(" ".join))
def test_shuffled_words_are_grounded_in_themselves(text: str) -> None:
    assert ungrounded(text, text) == []


PIECES = [*"aAbZ 09.,:/-_`*'(%\n", " March ", " 12 ", "k ", " five ", " The ", "://", "2024", "127.0.0.1:80",
          " per cent", " million", "pm", "1.000", "1,000", "v1.", "--", ".py", "()", "5 GB", "14:30"]


@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_awkward_texts_are_grounded_in_themselves(text: str) -> None:
    assert ungrounded(text, text) == []


@given(st.integers(0, 10**9).map(lambda n: f"{n:,}"))
def test_thousands_separators_do_not_matter(number: str) -> None:
    assert ungrounded(f"There are {number.replace(',', '')} of them.", f"We saw {number} of them.") == []


@pytest.mark.parametrize(("text", "refers"), [
    ("The passage says that the lamp is lit.", True), ("As mentioned above, the lamp is lit.", True),
    ("According to the text, it is lit.", True), ("What does this document describe?", True),
    ("What is described in the given section?", True), ("In the provided text, it burns.", True),
    ("The author explains the lamp.", True), ("What is mentioned in the passage?", True),
    ("What is the status of the document?", True), ("The section includes three steps.", True),
    ("Which of the document stores is full?", False),
    ("The document store keeps files.", False), ("A passage leads to the lamp room.", False),
    ("Text is split into sections.", False), ("The section limit is set in the config.", False),
    ("Put the file above the others.", False)])
def test_references_to_the_source(text: str, refers: bool) -> None:
    assert refers_to_source(text) == refers


@pytest.mark.parametrize(("quote", "found"), [
    ("the keeper,  Maren\nHolt", "the keeper, Maren Holt"), ("The “lamp”", 'The "lamp"'),
    ("the 'lamp' and", 'The "lamp" and'),
    ("built-in lamp", "**built-in** `lamp`"), ("nothing of it", None), ("", None), ("amp", None)])
def test_quotes_are_found_whatever_their_spacing(quote: str, found: str | None) -> None:
    text = 'By the keeper, Maren Holt. The "lamp" and the **built-in** `lamp` burn.'
    span = find(quote, text)
    assert (text[slice(*span)] if span else None) == found


def test_real_sections_are_grounded_in_their_documents() -> None:
    corpus = Path(__file__).parents[2].parent / "shared/corpus/sanctuary"
    if not corpus.is_dir():
        pytest.skip(f"no corpus at {corpus}")
    for path in sorted(corpus.rglob("*.md"))[::60]:
        text = path.read_text(encoding="utf-8", errors="replace")[:20_000]
        for part in re.split(r"(?m)^(?=#)", text)[:6]:
            assert ungrounded(part, text) == [], path
