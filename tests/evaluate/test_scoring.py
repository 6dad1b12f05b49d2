"""Shares, intervals and knowledge gained, against what they must be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_forge.core.config import GateConfig
from phoenix_forge.corpus.index import Passage
from phoenix_forge.evaluate.conditions import Condition
from phoenix_forge.evaluate.questions import Placed, Question
from phoenix_forge.evaluate.result import figures, gate
from phoenix_forge.evaluate.scoring import Judged, Resamples, chosen, likeliest


def question(i: int, path: str | None, kind: str = "table") -> Question:
    return Question(
        f"q{i}", kind, f"What is {i}?", f"right {i}", (), ("wrong", "worse"), path, (0, 10), None
    )


def judged(right: bool, nats: float = 1.0) -> Judged:
    return Judged(
        "right" if right else "wrong", right, right, "text", right, float(right), right, nats
    )


def condition(name: str, rights: list[bool]) -> Condition:
    return Condition(name, [judged(right, 1.0 if right else 3.0) for right in rights], 1.0, 100)


def placed(count: int, documents: int) -> list[Placed]:
    passage = Passage("a.md", "A", (), (0, 10), "text", 100)
    return [
        Placed(
            question(i, f"docs/{i % documents}.md", ("table", "cloze")[i % 2]),
            (passage,),
            (i + 0.5) / count,
        )
        for i in range(count)
    ]


def test_the_choice_is_what_the_question_makes_likelier_than_it_is_by_itself():
    """The second is likeliest both ways; only the third gains by the question. Lengths do not count."""
    assert chosen([[-5.0], [-1.0], [-4.0, -4.0]], [[-5.0], [-1.0], [-6.0, -6.0]]) == 2
    assert chosen([[-2.0], [-2.0]], [[-3.0], [-3.0]]) == 0


def test_what_is_known_by_heart_is_likeliest_and_yet_not_chosen():
    """The first option is all but certain behind the question; the second gains more by it, from far below."""
    behind, alone = [[-0.02, -0.02], [-2.0, -2.0]], [[-1.0, -1.0], [-4.0, -4.0]]
    assert (chosen(behind, alone), likeliest(behind)) == (1, 0)
    assert likeliest([[-3.0], [-1.0, -1.0]]) == 1, "all tokens together, not a token"


def test_knowledge_gained_is_the_share_of_the_gap_that_training_closed():
    base, passage, tuned = ([True] * n + [False] * (100 - n) for n in (20, 80, 50))
    found = figures(
        placed(100, 20),
        [
            condition("base", base),
            condition("base + passage", passage),
            condition("tuned", tuned),
            condition("Q4_K_M", [True] * 45 + [False] * 55),
        ],
    )
    gained = found["knowledge_gained"]
    assert gained["value"] == gained["by"]["contained"]["value"] == 0.5
    assert gained["by"]["nats_per_token"]["value"] == 0.5
    assert gained["low"] < 0.5 < gained["high"]
    assert found["quantisation_loss"] == pytest.approx(0.05)
    assert [row["group"] for row in found["breakdowns"]["position"]] == ["early", "middle", "late"]
    early, middle, _ = found["breakdowns"]["position"]
    assert (early["base"], early["tuned"], middle["tuned"]) == (
        pytest.approx(20 / 33, abs=1e-3),
        1.0,
        0.5,
    )
    assert {row["group"]: row["questions"] for row in found["breakdowns"]["kind"]} == {
        "table": 50,
        "cloze": 50,
    }


def test_a_question_of_no_document_is_no_part_of_what_the_passage_is_worth():
    """Asked without a passage under "base + passage" as well, it would make the gap look smaller."""
    free = [Placed(question(100 + i, None), (), None) for i in range(20)]
    rights = ([True] * 8 + [False] * 32, [True] * 32 + [False] * 8, [True] * 20 + [False] * 20)
    conditions = [
        condition(name, own + [False] * 20)
        for name, own in zip(("base", "base + passage", "tuned"), rights, strict=True)
    ]
    found = figures([*placed(40, 10), *free], conditions)
    assert found["knowledge_gained"]["value"] == 0.5
    assert [c["choice_accuracy"] for c in found["conditions"]] == [
        round(8 / 60, 4),
        0.8,
        round(20 / 60, 4),
    ]
    assert found["answers"][-1]["conditions"]["base + passage"]["nats"] is None


def test_how_often_it_is_right_where_it_quotes_a_sentence_of_the_documents_and_where_it_does_not():
    rows = [(True, True)] * 6 + [(True, False)] * 2 + [(False, True)] * 1 + [(False, False)] * 11
    own = [replace(judged(right), stands=stands) for stands, right in rows]
    found = figures(placed(20, 4), [Condition("tuned", own, 1.0, 100)])
    assert found["quotations"] == {
        "stands": 0.4,
        "contained_where_it_stands": 0.75,
        "contained_elsewhere": 0.0833,
    }
    assert figures(placed(2, 1), [condition("tuned", [True, False])])["quotations"] is None


def test_without_a_gap_there_is_nothing_to_be_a_share_of():
    same = [True, False] * 20
    found = figures(
        placed(40, 10), [condition(name, same) for name in ("base", "base + passage", "tuned")]
    )
    assert found["knowledge_gained"]["value"] is None
    assert figures(placed(40, 10), [condition("base", same)])["knowledge_gained"] is None


def test_questions_of_one_document_are_drawn_together():
    """Of 10 documents whose questions all stand or fall together the interval is as wide as that of 10 questions."""
    values = np.repeat(np.arange(10) < 5, 30).astype(float)
    together, alone = (Resamples([str(i // n) for i in range(300)]).mean(values) for n in (30, 1))
    assert together.high - together.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 10), rel=0.15)
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 300), rel=0.15)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.floats(-5, 5))), max_size=30
    )
)
def test_an_interval_holds_its_values_range(rows):
    values = np.array([math.nan if value is None else value for _, value in rows])
    there = values[np.isfinite(values)]
    found = Resamples([document for document, _ in rows]).mean(values)
    if not len(there):
        assert found is None
    else:
        assert found.value == pytest.approx(there.mean())
        assert there.min() - 1e-9 <= found.low <= found.high <= there.max() + 1e-9


@pytest.mark.parametrize(
    ("limits", "failing"),
    [
        ({}, []),
        ({"knowledge_gained": 0.3}, []),
        ({"knowledge_gained": 0.31}, ["knowledge gained is 0.300"]),
        ({"forgetting": 0.02}, []),
        ({"forgetting": 0.01}, ["forgetting is 0.020"]),
        ({"quantisation_loss": 0.05}, ["quantisation loss was not measured"]),
    ],
)
def test_a_gate_tells_what_misses_it(limits, failing):
    result = {"knowledge_gained": {"value": 0.3}, "forgetting": 0.02, "quantisation_loss": None}
    found = gate(GateConfig(**limits), result)
    assert found["passed"] is (not failing)
    assert found["limits"] == limits
    assert [text.partition(";")[0] for text in found["failures"]] == failing
