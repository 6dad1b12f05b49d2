"""The teacher against a stand-in endpoint: what is asked, what is kept, what goes wrong, and what a kill costs."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import ollama as ollama_stand_in
from stand_ins import openai_api as stand_in
from stand_ins.openai_api import Fault, OpenAIServer

from forge.core.report import Silent
from forge.dataset.teacher import (
    STYLES,
    Cache,
    Completion,
    Passage,
    Tally,
    Teacher,
    Written,
    as_facts,
    check,
    endpoint,
    open_teacher,
    self_answers,
    teach,
    transports,
)
from forge.dataset.teacher.gate import kept
from forge.dataset.teacher.prompts import messages, parsed
from forge.errors import EnvironmentProblem, ForgeError, StageFailed, UsageError

KEY = "sk-very-secret-0123456789"
TEXT = ("The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt. The bell rings three times every 60 "
        "seconds when fog comes in. Oil is counted on the first day of each month.")
LAMP = Passage("docs/lamp.md", "Harbour Nine", ("The lamp",), TEXT)
QA = tuple(style for style in STYLES if style.name == "qa")


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[float, float | None, dict]] = []

    def info(self, message: str) -> None:
        self.said.append(message)

    warn = info

    def progress(self, label: str, done: float, total: float | None, unit: str = "", **fields: object) -> None:
        self.steps.append((done, total, fields))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv("FORGE_TEACHER_KEY", raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "teacher.sqlite") as opened:
        yield opened


def passages(n: int) -> list[Passage]:
    return [Passage(f"docs/{i}.md", f"Pier number {i}", ("Ferries",),
                    f"The ferry number {i} leaves from the pier at dawn. It carries {i + 20} barrels of oil each day. "
                    f"The captain of ferry {i} sleeps on board.") for i in range(n)]


def run(server: OpenAIServer, cache: Cache, given: Any = (LAMP,), *, workers: int = 2, **more: Any
        ) -> list[tuple[Passage, list[Written]]]:
    with open_teacher(server.spec, workers=workers, report=Silent()) as teacher:
        return list(teach(given, teacher, cache, workers, more.pop("report", Silent()), **more))


# -- the table of styles

def test_the_styles_are_those_of_the_research_and_grounded_questions() -> None:
    assert [style.name for style in STYLES] == ["explanation", "qa", "faq", "howto", "comparison", "dialogue",
                                                "summary", "claims", "grounded"]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_each_style_reads_what_its_schema_allows(style) -> None:
    stand_in.strict(style.schema)
    made = parsed(style, json.dumps(stand_in.grounded(style.schema, TEXT)))
    assert made
    for written in made:
        assert written.style == style.name
        assert written.questions
        assert all(isinstance(question, str) for question in written.questions)
        assert written.answer
        assert bool(written.evidence) == style.quotes


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("text", ["", "{", "no JSON", "{}", "[]", "null", '"x"', '{"items": 3}', '{"items": [3]}',
                                  '{"items": [{"question": 1, "answer": []}]}', '{"questions": "x", "answer": "y"}'])
def test_what_is_not_of_the_schema_is_refused(style, text: str) -> None:
    with pytest.raises(ValueError, match=style.name):
        parsed(style, text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["items", "questions", "question", "answer", "steps", "facts", "evidence",
                                         "topic", "claim", "explanation"]), inner, max_size=4), max_leaves=12))
def test_no_json_breaks_a_reader(value: Any) -> None:
    for style in STYLES:
        try:
            made = parsed(style, json.dumps(value))
        except ValueError:
            continue
        assert all(isinstance(text, str) for written in made for text in (*written.questions, written.answer))


def test_steps_are_numbered_once() -> None:
    howto = next(style for style in STYLES if style.name == "howto")
    made, = parsed(howto, '{"question": "How?", "steps": ["1. Wait.", "2) Light it.", "- Step 3: Go."]}')
    assert made.answer == "1. Wait.\n2. Light it.\n3. Go."
    assert parsed(howto, '{"question": "How?", "steps": []}') == []


@pytest.mark.parametrize("text", [
    '```json\n[{one}, {two}]\n```', 'Here it is: {one}. Is it {two}?', '{one}\n\n{two}\n', '{one}'])
def test_the_first_object_counts_whatever_stands_around_it(text: str) -> None:
    howto, = (style for style in STYLES if style.name == "howto")
    one = '{"question": "How is it lit?", "steps": ["Wait for\ndusk.", "Light it."]}'
    made, = parsed(howto, text.replace("{one}", one).replace("{two}", one.replace("lit", "rung")))
    assert made.questions == ("How is it lit?",)
    assert made.answer == "1. Wait for\ndusk.\n2. Light it."


def test_half_a_surrogate_pair_does_not_get_through() -> None:
    made = parsed(QA[0], r'{"items": [{"questions": ["What \ud83d is it?"], "answer": "It is \ud83d oil."}]}')
    assert made[0].answer.encode() == b"It is  oil."


def test_the_prompt_holds_title_headings_and_the_passage_before_the_instruction() -> None:
    said = messages(QA[0], LAMP)[-1]["content"]
    assert said.index("Harbour Nine") < said.index("The lamp") < said.index(TEXT) < said.index(QA[0].instruction)


# -- the gate

@pytest.mark.parametrize(("question", "answer", "kept_as"), [
    ("What is this document about?", "This document says that the lamp is lit at dusk.",
     ('What is "Harbour Nine" about?', '"Harbour Nine" says that the lamp is lit at dusk.')),
    ("What is the lamp of the document?", "In the given passage, it is lit at dusk by Maren Holt.",
     ('What is the lamp of "Harbour Nine"?', 'In "Harbour Nine", it is lit at dusk by Maren Holt.'))])
def test_what_speaks_of_its_source_names_it(question: str, answer: str, kept_as: tuple[str, str]) -> None:
    item, = kept(QA[0], [Written("qa", (question,), answer)], LAMP, set(), Counter())
    assert (*item.questions, item.answer) == kept_as


@pytest.mark.parametrize(("evidence", "answer"), [
    ("The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt.",
     "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt."),
    ("the keeper, Maren Holt", None)])
def test_a_bare_value_is_answered_by_the_sentence_that_states_it(evidence: str, answer: str | None) -> None:
    grounded, = (style for style in STYLES if style.name == "grounded")
    written = Written("grounded", ("Who lights the lamp of Harbour Nine?",), "Maren Holt", evidence)
    found = [item.answer for item in kept(grounded, [written], LAMP, set(), Counter())]
    assert found == ([answer] if answer else [])


@pytest.mark.parametrize(("written", "reason"), [
    (Written("qa", ("Who lights the lamp?",), "Maren Holt lights the lamp."), None),
    (Written("qa", ("Explain how the lamp is lit.",), "Maren Holt lights the lamp"), None),
    (Written("qa", ("Who lights the lamp",), "Maren Holt lights the lamp."), None),
    (Written("qa", ("Who lights the lamp?",), ""), "empty or too short"),
    (Written("qa", ("Who lights the lamp?",), "Answer"), "empty or too short"),
    (Written("qa", ("Who lights the lamp?",), "As mentioned above, Maren Holt does."), "speaks of its source"),
    (Written("qa", ("Who lights the lamp?",), "Who keeps the lamp?"), "answers with a question"),
    (Written("qa", ("Who lights the lamp?",), "John Dahl lights the lamp."), "unknown name"),
    (Written("qa", ("How often does the bell ring?",), "The bell rings every 70 seconds."), "unknown number"),
    (Written("qa", ("When is oil counted?",), "Oil is counted on 3 May 2020."), "unknown date"),
    (Written("qa", ("Who lights the lamp?",), "Call `light_lamp()` for it."), "unknown identifier"),
    (Written("qa", ("Who lights the lamp?",), "is lit by the"), "empty or too short"),
    (Written("qa", (), "Maren Holt lights the lamp."), "no question left"),
    (Written("qa", ("Who lit 44 lamps?",), "Maren Holt lights the lamp."), "question: unknown number"),
    (Written("qa", ("Who calls light_lamp here?",), "Maren Holt does."), "question: unknown identifier"),
    (Written("qa", ("What is the lamp, as shown above?",), "It is lit at dusk."), "question: speaks of its source"),
    (Written("qa", ("What is the main purpose?",), "It is lit at dusk."), "question: names nothing of the source"),
    (Written("qa", ("The lamp is lit.",), "Maren Holt lights the lamp."), "question: no question"),
    (Written("qa", ("Lamp?",), "Maren Holt lights the lamp."), "question: empty or too short"),
    (Written("qa", ("When is the LAMP lit?",), "It is lit at dusk."), "question: asked before"),
    (Written("grounded", ("Who lights the lamp?",), "Maren Holt lights it.", "by the keeper,  Maren Holt."), None),
    (Written("grounded", ("Who lights the lamp?",), "Maren Holt lights the lamp.", "Maren lights it"),
     "evidence not in the passage"),
    (Written("grounded", ("Who lights the lamp?",), "Maren Holt lights the lamp.", "lamp"),
     "evidence not in the passage")])
def test_what_the_gate_drops_and_why(written: Written, reason: str | None) -> None:
    style = next(style for style in STYLES if style.name == written.style)
    dropped: Counter[str] = Counter()
    passed = list(kept(style, [written], LAMP, {"when is the lamp lit"}, dropped))
    assert (reason in dropped) if reason else not dropped
    assert len(passed) == (reason is None)


def test_one_bad_wording_does_not_cost_the_others() -> None:
    written = Written("qa", ("Who lights the lamp?", "Who lights the 7 lamps?", "Who lights the lamp ?"), "Maren Holt.")
    dropped: Counter[str] = Counter()
    passed, = kept(QA[0], [Written("qa", written.questions, "Maren Holt lights it.")], LAMP, set(), dropped)
    assert passed.questions == ("Who lights the lamp?",)
    assert dropped == {"question: unknown number": 1, "question: asked before": 1}


@pytest.mark.parametrize(("answer", "completed"), [
    ("The lamp is lit at dusk. The bell rings for the", "The lamp is lit at dusk."),
    ("The lamp is lit at dusk", "The lamp is lit at dusk."), ("- The lamp is lit.\n- The bell rings", None)])
def test_a_broken_off_end_is_removed(answer: str, completed: str | None) -> None:
    passed, = kept(QA[0], [Written("qa", ("When is the lamp lit?",), answer)], LAMP, set(), Counter())
    assert passed.answer == (completed or answer)


def test_facts_point_at_their_evidence() -> None:
    quoted = Written("grounded", ("Who?",), "Maren.", "The bell  rings three times")
    facts = as_facts([quoted, Written("faq", ("What?",), "The lamp.")], 100, TEXT)
    assert [fact.kind for fact in facts] == ["teacher_grounded", "teacher_faq"]
    assert TEXT[facts[0].start - 100:facts[0].end - 100] == "The bell rings three times"
    assert (facts[1].start, facts[1].end) == (100, 100 + len(TEXT))


# -- a run

def test_a_run_asks_every_style_with_a_strict_schema_and_keeps_grounded_answers(cache: Cache) -> None:
    notes, tally = Notes(), Tally()
    with stand_in.running() as server:
        (passage, written), = run(server, cache, report=notes, tally=tally)
    assert passage == LAMP
    assert len(server.seen) == len(STYLES) == tally.requests == len(cache)
    assert {item.style for item in written} == {style.name for style in STYLES}
    assert all(item.evidence in TEXT for item in written)
    assert notes.steps[-1][:2] == (9, 9)
    assert notes.steps[-1][2]["tokens_out"] == tally.completion_tokens > 0
    assert any("9 requests" in said and "tokens/s" in said for said in notes.said)


def test_ungrounded_answers_are_dropped_and_counted(cache: Cache) -> None:
    def invent(schema: dict, passage: str) -> Any:
        return {"items": [{"questions": ["Who lights the lamp?"] * 2, "answer": "Erik Lund lights the lamp."},
                          {"questions": ["When is the lamp lit?"] * 2, "answer": "The lamp is lit at dusk."}]}

    tally = Tally()
    with stand_in.running(answer=invent) as server:
        (_, written), = run(server, cache, styles=QA, tally=tally)
    assert [item.answer for item in written] == ["The lamp is lit at dusk."]
    assert dict(tally.dropped) == {"question: asked before": 1, "unknown name": 1}


def test_order_and_result_do_not_depend_on_concurrency(tmp_path: Path) -> None:
    def slow_first(schema: dict, passage: str) -> Any:
        time.sleep(0.03 if "number 0" in passage else 0.0)
        return stand_in.grounded(schema, passage)

    results = []
    for workers in (1, 8):
        with stand_in.running(answer=slow_first) as server, Cache(tmp_path / f"{workers}.sqlite") as cache:
            results.append(run(server, cache, passages(4), workers=workers))
            assert (server.most > 1) == (workers > 1)
            assert server.most <= workers
    assert results[0] == results[1]
    assert [passage.key for passage, _ in results[0]] == [f"docs/{i}.md" for i in range(4)]
    assert all(written for _, written in results[0])


def test_passages_are_taken_as_they_are_needed(cache: Cache) -> None:
    taken = []

    def endless() -> Iterator[Passage]:
        for passage in passages(1000):
            taken.append(passage)
            yield passage

    with stand_in.running() as server, open_teacher(server.spec, workers=2, report=Silent()) as teacher:
        stream = teach(endless(), teacher, cache, 2, Silent(), styles=QA)
        first = next(stream)
        stream.close()
    assert first[0].key == "docs/0.md"
    assert len(taken) < 8


def test_a_second_run_asks_nothing(cache: Cache) -> None:
    with stand_in.running() as server:
        first = run(server, cache, passages(3))
        asked, tally = len(server.seen), Tally()
        assert run(server, cache, passages(3), tally=tally) == first
        assert len(server.seen) == asked
    assert (tally.requests, tally.cached, tally.completion_tokens) == (0, 27, 0)


@pytest.mark.parametrize("other", [
    Passage("docs/lamp.md", "Harbour Ten", ("The lamp",), TEXT), Passage("docs/lamp.md", "Harbour Nine", (), TEXT),
    Passage("docs/lamp.md", "Harbour Nine", ("The lamp",), TEXT + " It burns.")])
def test_what_is_read_decides_what_is_remembered(cache: Cache, other: Passage) -> None:
    with stand_in.running() as server:
        run(server, cache, styles=QA)
        run(server, cache, [other], styles=QA)
        moved = Passage("elsewhere.md", LAMP.title, LAMP.headings, LAMP.text)
        run(server, cache, [moved], styles=QA)
    assert len(server.seen) == 2


def test_a_killed_run_repeats_nothing_it_finished(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    script = ("import sys; sys.path[:0] = [sys.argv[3], sys.argv[4]]\nfrom pathlib import Path\n"
              "from test_teacher import passages\nfrom forge.core.report import Silent\n"
              "from forge.dataset.teacher import Cache, open_teacher, teach\n"
              "cache = Cache(Path(sys.argv[1]))\nteacher = open_teacher(sys.argv[2], workers=2, report=Silent())\n"
              "list(teach(passages(6), teacher, cache, 2, Silent()))\n")
    tests = Path(__file__).parent
    with stand_in.running(delay=0.03) as server:
        child = subprocess.Popen([sys.executable, "-c", script, str(path), server.spec, str(tests.parent), str(tests)])
        deadline = time.monotonic() + 60
        while len(server.seen) < 20 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        while server.now:
            time.sleep(0.01)
        killed_after = len(server.seen)
        with Cache(path) as cache:
            finished = len(cache)
            result = run(server, cache, passages(6))
    assert 54 > killed_after >= finished >= killed_after - 3 > 10  # two were under way, and one perhaps not yet kept
    assert len(server.seen) - killed_after == 54 - finished
    with stand_in.running() as other, Cache(tmp_path / "whole.sqlite") as cache:
        assert run(other, cache, passages(6)) == result


# -- what goes wrong

@pytest.mark.parametrize("faults", [
    [Fault(500)], [Fault(503, "busy"), Fault(502)], [Fault(429, headers={"Retry-After": "0"})], [Fault(429)] * 3,
    [Fault(200, "<html>a proxy</html>")], [Fault(200, "")], [Fault(cut=True)], [Fault(408)] * 5], ids=str)
def test_what_passes_is_tried_again(cache: Cache, faults: list[Fault]) -> None:
    with stand_in.running(faults=faults) as server:
        (_, written), = run(server, cache, styles=QA)
    assert written
    assert len(server.seen) == len(faults) + 1


def test_a_retry_after_is_waited_for_by_all(cache: Cache) -> None:
    with stand_in.running(faults=[Fault(429, headers={"Retry-After": "0.4"})]) as server:
        started = time.monotonic()
        run(server, cache, passages(2), styles=QA, workers=1)
    assert time.monotonic() - started > 0.4
    assert len(server.seen) == 3


@pytest.mark.parametrize(("faults", "asked", "words"), [
    ([Fault(500, json.dumps({"error": {"message": "out of memory"}}))] * 9, 6, "500: out of memory"),
    ([Fault(429, json.dumps({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}))] * 9, 1,
     "exceeded your quota"),
    ([Fault(429, headers={"Retry-After": "86400"})] * 9, 1, "429"),
    ([Fault(413, "too large")] * 9, 1, "413: too large"),
    ([Fault(200, '{"choices": []}')] * 9, 1, "no chat completion")])
def test_what_does_not_pass_names_the_section_and_the_reason(cache: Cache, faults: list[Fault], asked: int,
                                                             words: str) -> None:
    with stand_in.running(faults=faults) as server, pytest.raises(StageFailed, match=words) as caught:
        run(server, cache, styles=QA)
    assert "docs/lamp.md > The lamp (qa)" in str(caught.value)
    assert caught.value.fix
    assert len(server.seen) == asked
    assert len(cache) == 0


def test_after_a_failure_what_was_under_way_is_kept(cache: Cache) -> None:
    with stand_in.running(faults=[Fault(), Fault(), Fault(413)], delay=0.1) as server, pytest.raises(StageFailed):
        run(server, cache, workers=3)
    assert 2 <= len(cache) == len(server.seen) - 1 < 9


@pytest.mark.parametrize(("settings", "first"), [
    ({"takes": ("json_object",)}, 2), ({"max_tokens_name": "max_completion_tokens"}, 2), ({"temperature": False}, 2),
    ({"takes": ("json_object",), "max_tokens_name": "max_completion_tokens", "temperature": False}, 4)])
def test_an_endpoint_that_takes_less_is_asked_differently_and_that_is_remembered(cache: Cache, settings: dict,
                                                                                 first: int) -> None:
    with stand_in.running(**settings) as server:
        result = run(server, cache, passages(4), styles=QA, workers=1)
    assert all(written for _, written in result)
    assert len(server.seen) == first + 3


def test_without_a_schema_a_form_is_shown_and_what_goes_on_and_on_is_cut(cache: Cache) -> None:
    def endless(schema: dict, passage: str) -> str:
        return json.dumps({"items": [{"questions": [f"When is the {'very ' * i}old lamp lit?",
                                                    f"Who lights the {'very ' * i}old lamp?"], "answer":
                                      "It is lit at dusk."} for i in range(30)]})

    with stand_in.running(takes=("json_object",), answer=endless) as server:
        (_, written), = run(server, cache, styles=QA)
    assert len(written) == QA[0].most == 4
    said = server.seen[-1]["messages"][-1]["content"]
    entry = '{"questions": ["…", "…"], "answer": "…"}'
    assert said.endswith(f'{{"items": [{entry}, {entry}]}}')
    assert "additionalProperties" not in said


def test_more_workers_than_a_client_has_connections_by_itself(cache: Cache) -> None:
    with stand_in.running(delay=1.0) as server:
        run(server, cache, passages(150), styles=QA, workers=150)
    assert server.most > 100


QUOTING = Passage("docs/lamp.md", 'The "Nine"', (), 'The keeper calls it "Old Nine", and a board says "lit at dusk.')


def test_a_model_sees_no_quotation_mark_that_would_end_its_string() -> None:
    said = messages(QA[0], QUOTING)[1]["content"]
    assert "The “Nine”" in said
    assert "calls it “Old Nine”, and a board says ”lit at dusk." in said
    assert '"' not in said


@pytest.mark.parametrize(("text", "answer"), [
    (QUOTING.text, 'The keeper calls it "Old Nine".'),
    (QUOTING.text.replace('"Old Nine"', "“Old Nine”"), "The keeper calls it “Old Nine”.")])
def test_what_is_kept_has_the_quotation_marks_of_its_source(text: str, answer: str) -> None:
    written = Written("qa", ("What does the keeper call “Old Nine”?",), "The keeper calls it “Old Nine”.")
    item, = kept(QA[0], [written], Passage("a.md", "Nine", (), text), set(), Counter())
    assert item.answer == answer


def test_a_400_that_is_not_about_the_schema_is_reported_as_it_is(cache: Cache) -> None:
    with stand_in.running(takes=()) as server, pytest.raises(StageFailed, match="400: response_format 'json_schema'"):
        run(server, cache, styles=QA)


def test_json_that_was_cut_off_is_counted_not_fatal(cache: Cache) -> None:
    tally = Tally()
    with stand_in.running(answer=lambda schema, passage: '{"items": [' + " " * 9000) as server:
        (_, written), = run(server, cache, styles=QA, tally=tally)
    assert written == []
    assert (tally.dropped, tally.cut_off) == ({"cut off": 1}, 1)


def test_what_was_whole_before_the_cut_is_kept(cache: Cache) -> None:
    item = {"questions": ["When is the lamp lit?", "At what time is the lamp lit?"], "answer": "It is lit at dusk."}
    text = f'{{"items": [{json.dumps(item)}, {{"questions": ["Who' + " " * 9000
    with stand_in.running(answer=lambda schema, passage: text) as server:
        (_, written), = run(server, cache, styles=QA, tally=(tally := Tally()))
    assert [item.answer for item in written] == ["It is lit at dusk."]
    assert (tally.kept, tally.cut_off) == (1, 1)


def test_the_key_is_sent_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("FORGE_TEACHER_KEY", KEY)
    caplog.set_level(0)
    notes, path = Notes(), tmp_path / "teacher.sqlite"
    with stand_in.running(key=KEY, faults=[Fault(500, f"the key {KEY} is known")] * 7) as server, Cache(path) as cache:
        with open_teacher(server.spec, workers=2, report=notes) as teacher, pytest.raises(StageFailed) as caught:
            list(teach([LAMP], teacher, cache, 2, notes, styles=QA))
        with open_teacher(server.spec, workers=2, report=notes) as teacher:
            assert list(teach([LAMP], teacher, cache, 2, notes))
            shown = f"{teacher!r} {teacher.identity} {teacher.name}"
    everything = [*notes.said, str(caught.value), repr(caught.value), shown, caplog.text,
                  *(file.read_bytes().decode(errors="replace") for file in tmp_path.iterdir())]
    assert not any(KEY in text for text in everything)


@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_a_refused_key_is_said_at_once_and_not_repeated(key: str) -> None:
    with stand_in.running(key=KEY) as server, pytest.raises(EnvironmentProblem, match="401") as caught:
        open_teacher(server.spec, workers=1, report=Silent(), key=key)
    assert "FORGE_TEACHER_KEY" in str(caught.value.fix)
    assert "sk-wrong" not in str(caught.value)


def test_an_unencrypted_key_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes()
    monkeypatch.setattr(endpoint.Endpoint, "require", lambda self: None)
    open_teacher("http://box:1/v1#m", workers=1, report=notes, key=KEY).close()
    assert "unencrypted" in notes.said[0]
    assert KEY not in notes.said[0]


def test_nothing_at_the_address() -> None:
    with pytest.raises(EnvironmentProblem, match=r"does not answer at http://127\.0\.0\.1:9/v1") as caught:
        open_teacher("http://127.0.0.1:9/v1#m", workers=1, report=Silent())
    assert caught.value.fix


@pytest.mark.parametrize(("spec", "words", "fix"), [
    ("{url}#nobody", "`nobody` does not exist", "the models there are writer"),
    ("{host}#writer", "does not exist at /chat/completions", "https://HOST/v1#MODEL")])
def test_a_wrong_model_or_path_is_the_users_to_fix(cache: Cache, spec: str, words: str, fix: str) -> None:
    with (stand_in.running() as server,
          open_teacher(spec.format(url=server.url, host=server.url[:-3]), workers=1, report=Silent()) as teacher,
          pytest.raises(UsageError, match=words) as caught):
        list(teach([LAMP], teacher, cache, 1, Silent(), styles=QA))
    assert fix in str(caught.value.fix)


@pytest.mark.parametrize(("spec", "words"), [
    ("https://me:pw@host/v1#m", "credentials"), ("https://host/v1?key=sk-1#m", "credentials or a query"),
    ("https://host/v1", "no address and model"), ("https:///v1#m", "no address and model"),
    ("https://host:port/v1#m", "no address and model"), ("base", "needs the base as a GGUF"),
    ("nothing.gguf", "cannot read"), ("ollama:", "no teacher"), ("gpt", "no teacher")])
def test_a_spec_that_cannot_be_is_refused_before_anything_starts(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check(spec)
    assert caught.value.fix
    assert "pw" not in str(caught.value)
    assert "sk-1" not in str(caught.value)


# -- the cache

def test_a_cache_that_is_no_database_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    path.write_bytes(b"something else " * 100)
    with pytest.raises(StageFailed, match="cannot be read") as caught:
        Cache(path)
    assert str(path) in str(caught.value.fix)


def test_threads_and_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    with Cache(path) as one, Cache(path) as other:
        def fill(cache: Cache, start: int) -> None:
            for i in range(start, start + 50):
                cache.put(str(i), Completion(f"text \ud83d {i}", True, 1, 2))

        threads = [threading.Thread(target=fill, args=(cache, n * 50)) for n, cache in enumerate((one, other, one))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one) == len(other) == 150
        assert other.get("7") == Completion("text ? 7", True, 1, 2)
        assert other.get("x") is None
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- replay

def test_the_bases_own_answers_are_its_own_and_whole(cache: Cache) -> None:
    def answer(schema: dict, prompt: str) -> str:
        return "word " * 999 if "long" in prompt else f" I answer {prompt!r}. "

    with stand_in.running(answer=answer, takes=("text",)) as server:
        for _ in range(2):
            with open_teacher(server.spec, workers=2, report=Silent()) as teacher:
                found = self_answers(["Why?", "A long one?", "How?", "Why?"], teacher, cache, 2, Silent(),
                                     max_tokens=50)
            assert found == {"Why?": "I answer 'Why?'.", "How?": "I answer 'How?'."}
            assert list(found) == ["Why?", "How?"]
    assert len(server.seen) == 3
    assert "response_format" not in server.seen[0]


# -- Ollama and the built-in runtime

def test_ollama_gets_the_schema_as_its_format(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.dumps({"items": [{"questions": ["Who lights the lamp?"], "answer": "Maren Holt lights the lamp."}]})
    with ollama_stand_in.running(answer=made) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        with pytest.raises(UsageError, match="no model writer"):
            open_teacher("ollama:writer", workers=2, report=Silent())
        server.blobs["sha256:0"] = b"GGUF"
        server.models["writer:latest"] = {"blob": "sha256:0", "digest": "abc"}
        with open_teacher("ollama:writer", workers=2, report=Silent()) as teacher:
            (_, written), = teach([LAMP], teacher, cache, 2, Silent(), styles=QA)
            assert "abc" in teacher.identity
    assert written[0].questions == ("Who lights the lamp?",)
    sent = server.seen[-1][2]
    assert sent["format"] == QA[0].schema
    assert sent["options"]["num_ctx"] == transports.CONTEXT
    assert sent["options"]["temperature"] == 0


def test_a_stopped_local_teacher_ends_between_two_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with ollama_stand_in.running(answer="one two three") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        server.blobs["sha256:0"], server.models["writer:latest"] = b"GGUF", {"blob": "sha256:0", "digest": "abc"}
        with open_teacher("ollama:writer", workers=1, report=Silent()) as teacher:
            teacher.stop()
            with pytest.raises(endpoint.Stopped):
                teacher.complete([{"role": "user", "content": "x"}], None, 10)


def test_a_failing_engine_names_the_section_whatever_it_is(cache: Cache) -> None:
    def fail(*_: Any) -> Completion:
        raise EnvironmentProblem("it is gone", fix="start it")

    stopped = threading.Event()
    teacher = Teacher("none", "none", fail, stopped.set, lambda: None)
    with pytest.raises(ForgeError, match=r"docs/lamp\.md > The lamp \(qa\): it is gone") as caught:
        list(teach([LAMP], teacher, cache, 2, Silent(), styles=QA))
    assert isinstance(caught.value, EnvironmentProblem)
    assert stopped.is_set()


@pytest.mark.real
@pytest.mark.slow
def test_the_real_model_keeps_to_the_schema(real_model: Path, cache: Cache) -> None:
    tally = Tally()
    with open_teacher(str(real_model), workers=1, report=Silent(), num_ctx=1536) as teacher:
        (_, written), = teach([LAMP], teacher, cache, 1, Silent(), styles=QA, tally=tally)
    assert "not of the schema" not in tally.dropped
    assert tally.prompt_tokens > 100
    assert written or tally.dropped
    assert all("lamp" in " ".join(item.questions).lower() or item.answer for item in written)
