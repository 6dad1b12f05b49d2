"""Where a teacher runs, against stand-ins: what is sent, what is kept, what goes wrong; and its kept completions."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import ollama as ollama_stand_in
from stand_ins import openai_api as stand_in
from stand_ins.openai_api import Fault, OpenAIServer

from phoenix_forge.chat.template import Message
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import EnvironmentProblem, ForgeError, StageFailed, UsageError
from phoenix_forge.teacher import (
    Cache,
    Completion,
    Tally,
    Teacher,
    check,
    endpoint,
    open_teacher,
    self_answers,
    transports,
)
from phoenix_forge.teacher.requests import completed

KEY = "sk-very-secret-0123456789"
SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string"},
        "steps": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4},
    },
    "required": ["question", "steps"],
    "additionalProperties": False,
}


def echo(schema: dict, prompt: str) -> str:
    return f"I answer {prompt!r}."


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[tuple[str, float, float | None, dict]] = []

    def info(self, message: str) -> None:
        self.said.append(message)

    warn = info

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        self.steps.append((label, done, total, fields))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.delenv("FORGE_TEACHER_KEY", raising=False)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "teacher.sqlite") as opened:
        yield opened


def prompts(n: int) -> list[list[Message]]:
    return [[{"role": "user", "content": f"How many ferries leave pier {i}?"}] for i in range(n)]


def run(
    server: OpenAIServer,
    cache: Cache,
    asked: Sequence[Sequence[Message]] | int = 1,
    *,
    workers: int = 2,
    tally: Tally | None = None,
    report: Silent | None = None,
    spec: str | None = None,
) -> list[str]:
    asked = prompts(asked) if isinstance(asked, int) else asked
    with open_teacher(spec or server.spec, workers=workers, report=report or Silent()) as teacher:
        return [
            one.text
            for one in completed(
                asked,
                64,
                teacher,
                cache,
                workers,
                tally or Tally(),
                report or Silent(),
                "questions",
            )
        ]


def running(**settings):
    return stand_in.running(**{"answer": echo, "takes": ("text",)} | settings)


# -- many requests


def test_answers_come_in_the_order_of_the_questions_whatever_the_concurrency(
    tmp_path: Path,
) -> None:
    def slow_first(schema: dict, prompt: str) -> str:
        time.sleep(0.05 if "pier 0" in prompt else 0.005)
        return echo(schema, prompt)

    results = []
    for workers in (1, 8):
        with running(answer=slow_first) as server, Cache(tmp_path / f"{workers}.sqlite") as cache:
            results.append(run(server, cache, 20, workers=workers))
            assert (server.most > 1) == (workers > 1)
            assert server.most <= workers
    assert results[0] == results[1] == [echo({}, one[0]["content"]) for one in prompts(20)]


def test_what_is_sent_is_the_conversation_greedily_without_a_schema(cache: Cache) -> None:
    asked: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
        {"role": "user", "content": "Why so?"},
    ]
    with running() as server:
        run(server, cache, [asked])
    assert server.seen == [
        {"model": "writer", "messages": asked, "max_tokens": 64, "temperature": 0}
    ]


def test_a_run_tells_how_far_it_is_and_what_it_cost(cache: Cache) -> None:
    notes, tally = Notes(), Tally()
    with running() as server:
        run(server, cache, 6, tally=tally, report=notes)
    assert [(label, done, total) for label, done, total, _ in notes.steps] == [
        ("teacher, questions", done, 6) for done in range(1, 7)
    ]
    assert notes.steps[-1][3]["tokens_out"] == tally.completion_tokens > 0
    assert tally.told().startswith("6 requests, 0 from the cache; ")
    assert "tokens/s" in tally.told()


def test_equal_questions_are_asked_once_and_known_ones_not_at_all(cache: Cache) -> None:
    with running() as server:
        first = run(server, cache, [*prompts(3), *prompts(3)])
        assert first[:3] == first[3:]
        assert len(server.seen) == 3
        tally = Tally()
        assert run(server, cache, 4, tally=tally)[:3] == first[:3]
        assert len(server.seen) == 4
    assert (tally.requests, tally.cached) == (1, 3)


def test_what_is_asked_with_another_limit_or_of_another_model_is_asked_again(cache: Cache) -> None:
    with running() as server, running(model="other") as other:
        run(server, cache, 2)
        run(other, cache, 2)
        with open_teacher(server.spec, workers=1, report=Silent()) as teacher:
            completed(prompts(2), 65, teacher, cache, 1, Tally(), Silent(), "answers")
        assert (len(server.seen), len(other.seen)) == (4, 2)
    assert len(cache) == 6


def test_more_workers_than_a_client_has_connections_by_itself(cache: Cache) -> None:
    with running(delay=1.0) as server:
        run(server, cache, 150, workers=150)
    assert server.most > 100


def test_a_damaged_answer_is_asked_for_again_and_said(cache: Cache) -> None:
    report = Notes()
    with running() as server:
        good = run(server, cache, 3)
        cache._db.execute(
            "UPDATE completions SET text = replace(text, 'e', 'x') WHERE key = "
            "(SELECT key FROM completions LIMIT 1)"
        )
        asked = len(server.seen)
        assert run(server, cache, 3, report=report) == good
    assert len(server.seen) == asked + 1
    assert [said for said in report.said if "damaged" in said] == [
        f"1 kept answers in {cache.path} are damaged and are asked for again"
    ]


def test_answers_kept_before_there_were_checksums_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE completions (key TEXT PRIMARY KEY, text TEXT NOT NULL, stopped INTEGER NOT NULL, "
            "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID"
        )
        db.execute("INSERT INTO completions VALUES ('k', 'said', 1, 2, 3)")
        db.commit()
    with Cache(path) as older:
        assert older.get("k") == Completion("said", True, 2, 3)


# -- what goes wrong


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(500)],
        [Fault(503, "busy"), Fault(502)],
        [Fault(429, headers={"Retry-After": "0"})],
        [Fault(429)] * 3,
        [Fault(200, "<html>a proxy</html>")],
        [Fault(200, "")],
        [Fault(cut=True)],
        [Fault(408)] * 5,
    ],
    ids=str,
)
def test_what_passes_is_tried_again(cache: Cache, faults: list[Fault]) -> None:
    with running(faults=faults) as server:
        assert run(server, cache) == [echo({}, prompts(1)[0][0]["content"])]
    assert len(server.seen) == len(faults) + 1


def test_a_retry_after_is_waited_for_by_all(cache: Cache) -> None:
    with running(faults=[Fault(429, headers={"Retry-After": "0.4"})]) as server:
        started = time.monotonic()
        run(server, cache, 2, workers=1)
    assert time.monotonic() - started > 0.4
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("faults", "asked", "words"),
    [
        (
            [Fault(500, json.dumps({"error": {"message": "out of memory"}}))] * 9,
            6,
            "500: out of memory",
        ),
        (
            [
                Fault(
                    429,
                    json.dumps(
                        {
                            "error": {
                                "message": "You exceeded your quota",
                                "code": "insufficient_quota",
                            }
                        }
                    ),
                )
            ]
            * 9,
            1,
            "exceeded your quota",
        ),
        ([Fault(429, headers={"Retry-After": "86400"})] * 9, 1, "429"),
        ([Fault(413, "too large")] * 9, 1, "413: too large"),
        ([Fault(200, '{"choices": []}')] * 9, 1, "no chat completion"),
    ],
)
def test_what_does_not_pass_is_said_with_its_reason(
    cache: Cache, faults: list[Fault], asked: int, words: str
) -> None:
    with running(faults=faults) as server, pytest.raises(StageFailed, match=words) as caught:
        run(server, cache)
    assert server.url in str(caught.value)
    assert caught.value.fix
    assert len(server.seen) == asked
    assert len(cache) == 0


def test_after_a_failure_what_was_under_way_is_kept_and_nothing_new_is_asked(cache: Cache) -> None:
    with (
        running(faults=[Fault(), Fault(), Fault(413)], delay=0.2) as server,
        pytest.raises(StageFailed, match="413"),
    ):
        run(server, cache, 30, workers=3)
    assert 2 <= len(cache) == len(server.seen) - 1 < 9


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        ({"max_tokens_name": "max_completion_tokens"}, 2),
        ({"temperature": False}, 2),
        ({"max_tokens_name": "max_completion_tokens", "temperature": False}, 3),
    ],
)
def test_an_endpoint_that_takes_less_is_asked_differently_and_that_is_remembered(
    cache: Cache, settings: dict, first: int
) -> None:
    with running(**settings) as server:
        assert len(run(server, cache, 4, workers=1)) == 4
    assert len(server.seen) == first + 3


@pytest.mark.parametrize(
    ("takes", "sent"), [(("json_schema",), "json_schema"), (("json_object",), "json_object")]
)
def test_an_answer_to_a_schema_is_json_of_it_even_where_the_endpoint_knows_none(
    takes: tuple[str, ...], sent: str
) -> None:
    notes, asked = (
        Notes(),
        [{"role": "user", "content": "The lamp of Harbour Nine is lit at dusk by Maren Holt."}],
    )
    with (
        stand_in.running(takes=takes) as server,
        open_teacher(server.spec, workers=1, report=notes) as teacher,
    ):
        for _ in range(2):
            made = json.loads(teacher.complete(asked, SCHEMA, 300).text)
            assert made.keys() == {"question", "steps"}
    assert [body["response_format"]["type"] for body in server.seen][-2:] == [sent, sent]
    assert len(server.seen) == 2 + (sent == "json_object")
    assert any("takes no JSON schema" in said for said in notes.said) == (sent == "json_object")


def test_a_400_that_is_not_about_the_schema_is_reported_as_it_is() -> None:
    with (
        stand_in.running(takes=()) as server,
        open_teacher(server.spec, workers=1, report=Silent()) as teacher,
        pytest.raises(StageFailed, match="400: response_format 'json_schema'"),
    ):
        teacher.complete(prompts(1)[0], SCHEMA, 10)


def test_the_key_is_sent_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FORGE_TEACHER_KEY", KEY)
    caplog.set_level(0)
    notes, path = Notes(), tmp_path / "teacher.sqlite"
    with (
        running(key=KEY, faults=[Fault(500, f"the key {KEY} is known")] * 7) as server,
        Cache(path) as cache,
    ):
        with pytest.raises(StageFailed) as caught:
            run(server, cache, report=notes)
        assert run(server, cache, 3, report=notes)
        with open_teacher(server.spec, workers=2, report=notes) as teacher:
            shown = f"{teacher!r} {teacher.identity} {teacher.name}"
        files = [file.read_bytes().decode(errors="replace") for file in tmp_path.iterdir()]
    everything = [*notes.said, str(caught.value), repr(caught.value), shown, caplog.text, *files]
    assert files
    assert not any(KEY in text for text in everything)


@pytest.mark.parametrize("key", ["", "sk-wrong"])
def test_a_refused_key_is_said_at_once_and_not_repeated(key: str) -> None:
    with running(key=KEY) as server, pytest.raises(EnvironmentProblem, match="401") as caught:
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
    with pytest.raises(
        EnvironmentProblem, match=r"does not answer at http://127\.0\.0\.1:9/v1"
    ) as caught:
        open_teacher("http://127.0.0.1:9/v1#m", workers=1, report=Silent())
    assert caught.value.fix


@pytest.mark.parametrize(
    ("spec", "words", "fix"),
    [
        ("{url}#nobody", "`nobody` does not exist", "the models there are writer"),
        ("{host}#writer", "does not exist at /chat/completions", "https://HOST/v1#MODEL"),
    ],
)
def test_a_wrong_model_or_path_is_the_users_to_fix(
    cache: Cache, spec: str, words: str, fix: str
) -> None:
    with running() as server, pytest.raises(UsageError, match=words) as caught:
        run(server, cache, spec=spec.format(url=server.url, host=server.url[:-3]))
    assert fix in str(caught.value.fix)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("https://me:pw@host/v1#m", "credentials"),
        ("https://host/v1?key=sk-1#m", "credentials or a query"),
        ("https://host/v1", "no address and model"),
        ("https:///v1#m", "no address and model"),
        ("https://host:port/v1#m", "no address and model"),
        ("nothing.gguf", "cannot read"),
        ("ollama:", "no teacher"),
        ("gpt", "no teacher"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_before_anything_starts(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        check(spec)
    assert caught.value.fix
    assert "pw" not in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["https://host/v1#m", "http://127.0.0.1:9/v1#some/model", "ollama:qwen3:8b"]
)
def test_a_spec_that_can_be_is_checked_without_anything_being_sent(spec: str) -> None:
    check(spec)


# -- the cache


def test_a_cache_that_is_no_database_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    path.write_bytes(b"something else " * 100)
    with pytest.raises(StageFailed, match="cannot be read") as caught:
        Cache(path)
    assert str(path) in str(caught.value.fix)


def test_a_damaged_page_is_explained_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    with Cache(path) as cache:
        for i in range(2000):
            cache.put(f"key {i}", Completion("some text " * 20, True, 1, 2))
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xff" * (len(data) - 12288)
    path.write_bytes(data)
    with Cache(path) as cache, pytest.raises(StageFailed, match="cannot be read"):
        cache.get_many([f"key {i}" for i in range(2000)])


def test_threads_and_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "teacher.sqlite"
    with Cache(path) as one, Cache(path) as other:

        def fill(cache: Cache, start: int) -> None:
            for i in range(start, start + 50):
                cache.put(str(i), Completion(f"text \ud83d {i}", True, 1, 2))

        threads = [
            threading.Thread(target=fill, args=(cache, n * 50))
            for n, cache in enumerate((one, other, one))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one) == len(other) == 150
        assert other.get("7") == Completion("text ? 7", True, 1, 2)
        assert other.get("x") is None
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@given(
    st.dictionaries(
        st.text(),
        st.builds(
            Completion, st.text(), st.booleans(), st.integers(0, 10**6), st.integers(0, 10**6)
        ),
        max_size=20,
    ),
    st.lists(st.text(), max_size=5),
)
def test_what_was_put_is_got_together_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, kept: dict[str, Completion], others: list[str]
) -> None:
    with Cache(tmp_path_factory.mktemp("cache") / "teacher.sqlite") as cache:
        for key, completion in kept.items():
            cache.put(key, completion)
        assert cache.get_many([*others, *kept, *kept]) == kept | {
            key: kept[key] for key in others if key in kept
        }
        assert {key: cache.get(key) for key in kept} == kept
        assert len(cache) == len(kept)


@pytest.mark.parametrize("n", [0, 1, 511, 512, 513, 1500])
def test_any_number_of_keys_is_looked_up(cache: Cache, n: int) -> None:
    for i in range(0, n, 2):
        cache.put(str(i), Completion(f"text {i}", i % 4 == 0, i, i + 1))
    found = cache.get_many([str(i) for i in range(n)])
    assert found == {str(i): Completion(f"text {i}", i % 4 == 0, i, i + 1) for i in range(0, n, 2)}


def test_a_later_completion_takes_the_place_of_an_earlier_one(cache: Cache) -> None:
    cache.put("a", Completion("first", True, 1, 1))
    cache.put("a", Completion("second", False, 2, 2))
    assert cache.get_many(["a"]) == {"a": Completion("second", False, 2, 2)}


# -- replay


def test_the_bases_own_answers_are_its_own_and_whole(cache: Cache) -> None:
    def answer(schema: dict, prompt: str) -> str:
        return "word " * 999 if "long" in prompt else f" I answer {prompt!r}. "

    with running(answer=answer) as server:
        for _ in range(2):
            with open_teacher(server.spec, workers=2, report=Silent()) as teacher:
                found = self_answers(
                    ["Why?", "A long one?", "How?", "Why?"],
                    teacher,
                    cache,
                    2,
                    Silent(),
                    max_tokens=50,
                )
            assert found == {"Why?": "I answer 'Why?'.", "How?": "I answer 'How?'."}
            assert list(found) == ["Why?", "How?"]
    assert len(server.seen) == 3
    assert "response_format" not in server.seen[0]


# -- Ollama and the built-in runtime


def test_ollama_is_asked_greedily_with_the_context_that_a_request_needs(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ollama_stand_in.running(answer="Maren Holt lights the lamp.") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        with pytest.raises(UsageError, match="no model writer"):
            open_teacher("ollama:writer", workers=2, report=Silent())
        server.blobs["sha256:0"] = b"GGUF"
        server.models["writer:latest"] = {"blob": "sha256:0", "digest": "abc"}
        with open_teacher("ollama:writer", workers=2, report=Silent()) as teacher:
            said = completed(prompts(2), 40, teacher, cache, 2, Tally(), Silent(), "questions")
            assert "abc" in teacher.identity
    assert [one.text.strip() for one in said] == ["Maren Holt lights the lamp."] * 2
    sent = server.seen[-1][2]
    assert "format" not in sent
    assert sent["options"]["num_ctx"] == transports.CONTEXT
    assert sent["options"]["temperature"] == 0


def test_a_stopped_local_teacher_ends_between_two_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with ollama_stand_in.running(answer="one two three") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        server.blobs["sha256:0"], server.models["writer:latest"] = (
            b"GGUF",
            {"blob": "sha256:0", "digest": "abc"},
        )
        with open_teacher("ollama:writer", workers=1, report=Silent()) as teacher:
            teacher.stop()
            with pytest.raises(endpoint.Stopped):
                teacher.complete([{"role": "user", "content": "x"}], None, 10)


def test_a_failing_engine_says_why_and_is_stopped(cache: Cache) -> None:
    def fail(*_: object) -> Completion:
        raise EnvironmentProblem("it is gone", fix="start it")

    stopped = threading.Event()
    teacher = Teacher("none", "none", fail, stopped.set, lambda: None)
    with pytest.raises(ForgeError, match="it is gone"):
        completed(prompts(5), 10, teacher, cache, 2, Tally(), Silent(), "questions")
    assert stopped.is_set()
    assert len(cache) == 0


@pytest.fixture(scope="session")
def tiny_gguf(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from phoenix_forge.gguf.write import quantize

    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    quantize(tiny_base, None, {"F16": path}, name="tiny", report=Silent())
    return path


def test_a_gguf_is_a_teacher_named_by_its_content(tiny_gguf: Path, cache: Cache) -> None:
    check(str(tiny_gguf))
    with open_teacher(str(tiny_gguf), workers=2, report=Silent(), num_ctx=256) as teacher:
        first = completed(prompts(4), 8, teacher, cache, 2, tally := Tally(), Silent(), "questions")
        again = completed(prompts(4), 8, teacher, cache, 2, Tally(), Silent(), "questions")
        assert teacher.identity.startswith("gguf ")
        assert str(tiny_gguf.parent) not in teacher.identity
    assert first == again
    assert tally.requests == 4
    assert all(one.prompt_tokens > 5 for one in first)


@pytest.mark.real
@pytest.mark.slow
def test_the_real_model_answers_what_it_is_shown(real_model: Path, cache: Cache) -> None:
    from phoenix_forge.teacher import Excerpt, write

    lamp = Excerpt(
        "docs/lamp.md",
        "Harbour Nine",
        ("The lamp",),
        "The lamp of Harbour Nine is lit at dusk by the "
        "keeper, Maren Holt. The bell rings three times every 60 seconds when fog comes in.",
    )
    tally = Tally()
    with open_teacher(str(real_model), workers=1, report=Silent(), num_ctx=2048) as teacher:
        (kept,) = write([lamp], teacher, cache, 1, Silent(), tally, per_sentence=3, wordings=1)
    assert tally.prompt_tokens > 100
    assert kept or tally.dropped
    assert all(one.answer in one.sentence and one.stands_in(lamp.text) for one in kept)
