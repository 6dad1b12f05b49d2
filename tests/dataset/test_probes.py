"""Which facts become closed-book questions, and what their answers are confused with; on small made-up extracts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_resolve import Library, document, settings

from phoenix_forge.dataset.extract import Known
from phoenix_forge.dataset.resolve import resolve
from phoenix_forge.questions import ALWAYS

DATES = ("2025-08-01", "2025-08-04", "2025-09-12", "2025-11-30", "2025-12-24")


def asked(about, answer, kind="field", pool="field date"):
    wordings = tuple(
        wording.format(about)
        for wording in (
            "{}?",
            "Tell me: {}.",
            "What is given for {}?",
            "I need {}.",
            "Look up {}.",
            "Say what {} is.",
        )
    )
    return Known(kind, wordings, f"It is {answer}.", (0, 10), 6, ALWAYS, answer, pool)


def section(*facts, text=None):
    return (" / ".join(fact.answer_key for fact in facts) if text is None else text, list(facts))


def probes(*documents, wanted=100):
    return resolve(Library(*documents), settings(probes=wanted)).probes


def frozen(*documents, wanted=100):
    """Each question's answer with its distractors; at most one of four facts is asked about, so there are more facts
    that no other can be confused with."""
    count = sum(len(part.facts) for one in documents for part in one.parts)
    more = [asked(f"more filling {n}", "padding", pool=f"padding {n}") for n in range(4 * count)]
    found = probes(*documents, document("zz.md", section(*more)), wanted=wanted)
    return {probe.answer: set(probe.distractors) for probe in found}


def dated(*dates, name="a"):
    return [
        document(f"{name}{i}.md", section(asked(f"the start of {name} project {i}", date)))
        for i, date in enumerate(dates)
    ]


def test_a_probe_is_asked_where_all_is_well():
    found = frozen(*dated(*DATES))
    assert set(found) == set(DATES)
    assert all(len(wrong) == 3 and wrong <= set(DATES) - {date} for date, wrong in found.items())


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        (
            asked("the end of project nine", "2024-01-02"),
            "It ended in January.",
        ),  # the passage cannot decide it
        (asked("the end of project nine", "2024-01-0"), "2024-01-02"),  # nor can a part of a word
        (asked("the end, 2024-01-02 perhaps", "2024-01-02"), None),  # the question holds it
        (asked("the size of project nine", "✅ ✅"), None),  # no word at all
        (asked("`type`", "2024-01-02"), None),  # `type` of what?
    ],
)
def test_what_makes_no_probe(fact, text):
    found = frozen(*dated(*DATES), document("b.md", section(fact, text=text)))
    assert fact.answer_key not in found
    assert set(found) == set(DATES)


@pytest.mark.parametrize(
    ("about", "answer", "others"),
    [
        (
            "`PER_REQUEST_LIMIT`",
            "Limit per request",
            ["Budget per tenant", "Ceiling per worker", "Backlog per server"],
        ),
        (
            "`perRequestLimit`",
            "Limit per request",
            ["Budget per tenant", "Ceiling per worker", "Backlog per server"],
        ),
        (
            "the harbour gate plan",
            "harbour gate plan six",
            [f"harbour gate plan {n}" for n in ("two", "ten", "one")],
        ),
        (
            "`mcp.learning.name`",
            "Learning MCP (protocol 128)",
            ["Orchestrator MCP", "Persona of MCP", "Workflow MCP"],
        ),
        ("the size of project nine", "7", ["5", "3", "8"]),
    ],
)
def test_an_easy_question_is_not_asked_though_others_would_look_like_its_answer(
    about, answer, others
):
    found = frozen(*dated(*others), document("b.md", section(asked(about, answer))))
    assert answer not in found
    assert set(found) == {other for other in others if len(other) > 1}


@pytest.mark.parametrize(
    "text", ["It ended (2024-01-02).", "**2024-01-02**", "`2024-01-02`", "<b>2024</b>-01<br/>02"]
)
def test_the_passage_holds_the_answer_whatever_the_markup(text):
    fact = asked("the end of project nine", "2024-01-02")
    assert fact.answer_key in frozen(*dated(*DATES), document("b.md", section(fact, text=text)))


def test_the_answer_that_most_questions_have_is_not_asked_for():
    common = dated(*["2023-07-07"] * 3, name="c")
    assert set(frozen(*common, *dated(*DATES))) == set(DATES)
    assert "2023-07-07" in frozen(*common[:2], *dated("2024-02-02", *DATES))


def test_an_answer_without_three_others_is_not_asked_for():
    assert frozen(*dated(*DATES[:3])) == {}
    assert len(frozen(*dated(*DATES[:4]))) == 4


def test_the_same_notation_comes_first():
    others = [
        "August 1, 2025",
        "in the course of summer",
        "12 of August",
        "next year, if at all",
        "soon",
    ]
    found = frozen(*dated(*others[:3], *DATES[:4], *others[3:]))
    assert found[DATES[0]] == set(DATES[1:4])


@pytest.mark.parametrize(
    ("answer", "twin"),
    [
        *(
            ("Accepted", twin)
            for twin in ("Accepted by all", "accepted", "Accepted.", "`Accepted`", "the Accepted")
        ),
        ("onceMore", "oncemore again"),
        ("Noon opens gate", "Gate opens noon"),
    ],
)
def test_no_distractor_says_what_the_answer_says(answer, twin):
    others = [
        "Proposed",
        "Rejected",
        "Deferred",
        "A matter of taste",
        "Nobody asked again",
        "Left for next year",
    ]
    assert twin not in frozen(*dated(answer, twin, *others))[answer]


def test_distractors_do_not_say_the_same_as_each_other():
    answers = ["Accepted", "Deferred", "deferred.", "Deferred again", "Proposed", "Rejected"]
    for found in frozen(*dated(*answers)).values():
        assert sum("eferred" in other for other in found) <= 1


def test_no_distractor_stands_in_the_question():
    fact = asked("the state after Deferred", "Accepted")
    found = frozen(
        *dated("Deferred", "Proposed", "Rejected", "Withdrawn"), document("b.md", section(fact))
    )
    assert found["Accepted"] == {"Proposed", "Rejected", "Withdrawn"}


def test_distractors_are_of_the_same_document_first():
    elsewhere = dated("2020-01-01", "2020-02-02", "2020-03-03", name="x")
    own = [
        "2025-8-01",
        "2025-9-04",
        "2025-7-12",
        "2025-5-30",
    ]  # a character less than those elsewhere and than …
    parts = [
        section(asked(f"the end of project {i}", date))
        for i, date in enumerate(("2025-08-11", *own))
    ]
    assert frozen(*elsewhere, document("m.md", *parts))["2025-08-11"] <= set(own)


def test_distractors_are_not_of_the_passage_where_there_are_others():
    parts = [section(asked(f"the end of project {i}", date)) for i, date in enumerate(DATES)]
    shared = section(
        *parts[0][1], *(asked(f"the pause of project {i}", f"2021-0{i}-01") for i in range(1, 10))
    )
    found = frozen(document("m.md", shared, *parts[1:]))
    assert found[DATES[0]] <= set(DATES[1:])
    assert all(set(DATES[1:]) >= found[f"2021-0{i}-01"] for i in range(1, 10))


def test_the_answer_is_not_the_only_one_that_takes_up_the_question():
    """Here it would be found by its words: a distractor takes them up too, or there is no probe."""
    fact = asked("the harbour plan", "Widen the harbour gate now")
    plain = [
        "Paint the northern wall red",
        "Count the lamps again today",
        "Bring the ladder back home",
    ]
    assert fact.answer_key not in frozen(*dated(*plain), document("b.md", section(fact)))
    found = frozen(*dated(*plain, "Close the harbour bridge soon"), document("b.md", section(fact)))
    assert "Close the harbour bridge soon" in found[fact.answer_key]


def test_what_things_are_can_be_confused_whatever_the_kind():
    told = [
        asked(f"the lantern of house {i}", text, kind, kind)
        for i, (kind, text) in enumerate(
            (
                ("definition", "A light above the door"),
                ("entry", "A step below the window"),
                ("entry", "A bell inside the tower"),
                ("question", "A rope behind the curtain"),
            )
        )
    ]
    found = frozen(document("a.md", section(*told)))
    assert set(found) == {fact.answer_key for fact in told}


def test_kinds_take_turns_and_one_without_usable_facts_does_not_hold_the_others_up():
    fields = dated(*(f"20{i}-01-01" for i in range(10, 40)))
    keys = [
        document(f"k{i}.md", section(asked(f"`limit{i}`", f"limit {i}", "key", "key")))
        for i in range(40)
    ]
    tables = [
        document(f"t{i}.md", section(asked(f"row {i} of port", str(8100 + i), "table", "t")))
        for i in range(9)
    ]
    kinds = [probe.kind for probe in probes(*fields, *keys, *tables, wanted=8)]
    assert kinds == ["table", "field"] * 4


def test_far_documents_do_not_change_a_probe():
    """Of what has many possible distractors the nearest documents decide."""

    def many(count):
        return [
            document(f"{i:03}.md", section(asked(f"the start of project {i}", f"{i:03}-08")))
            for i in range(count)
        ]

    before = {probe.question: probe for probe in probes(*many(300), wanted=75)}
    after = {probe.question: probe for probe in probes(*many(320), wanted=80)}
    same = [
        question for question in before if question in after and before[question].document < 200
    ]
    assert len(same) > 20
    assert all(before[question] == after[question] for question in same)


WORDS = (
    "gate",
    "Lamp",
    "river",
    "port",
    "8080",
    "v1.2",
    "_x",
    "NORTH",
    "灯",
    "`y.z`",
    ".",
    "-",
    "é",
)
APART = re.compile(r"[^\W_灯]+|灯")


@given(
    st.lists(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join),
        min_size=6,
        max_size=30,
    ),
    st.integers(1, 3),
)
def test_distractors_are_other_answers_and_the_question_gives_none_away(answers, sections):
    # No numbers in the questions: "2" is also a part of "v1.2".
    facts = [asked(f"the river port q{chr(97 + i)}q", answer) for i, answer in enumerate(answers)]
    found = probes(*(document(f"{i}.md", section(*facts[i::sections])) for i in range(sections)))
    assert found == probes(
        *(document(f"{i}.md", section(*facts[i::sections])) for i in range(sections))
    )
    for probe in found:
        options = [probe.answer, *probe.distractors]
        assert set(options) <= set(answers)
        said = [f" {' '.join(APART.findall(option.lower()))} " for option in options]
        assert not any(a in b for i, a in enumerate(said) for j, b in enumerate(said) if i != j)
        taken = [
            len({"river", "port"} & set(option.split())) / len(set(option.split()))
            for option in said
        ]
        assert taken[0] <= min(0.5, max(taken[1:]))
