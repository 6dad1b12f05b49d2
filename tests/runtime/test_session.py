"""The terminal chat, with a model that repeats what it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.corpus.index import Passage
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.session import SHOWN, Session


class Parrot:
    """Answers with the number of messages and the last one; 'long' does not fit, 'stop' is interrupted midway."""

    def __init__(self) -> None:
        self.seen: list[list[dict[str, str]]] = []
        self.settings: dict[str, Any] = {}

    def chat(self, messages: list[dict[str, str]], *, on_text: Any, **settings: Any) -> Answer:
        self.seen.append(messages)
        self.settings = settings
        last = messages[-1]["content"]
        if last == "long":
            raise UsageError("too long", fix="shorten")
        on_text(f"{len(messages)}:")
        if last == "stop":
            raise KeyboardInterrupt
        on_text(last)
        return Answer(f"{len(messages)}:{last}", last != "cut", 2, 0.1)


def talk(*lines: str, system: str | None = "Be brief.", **more: Any) -> tuple[str, Parrot, Session]:
    out: list[str] = []
    parrot = Parrot()
    session = Session(
        parrot, system=system, generation=GenerationConfig(), write=out.append, **more
    )
    rest = iter(lines)

    def read() -> str:
        line = next(rest, None)
        if line is None:
            raise EOFError
        return line

    session.run(read)
    return "".join(out), parrot, session


def test_half_a_character_costs_its_question_only() -> None:
    said, parrot, session = talk("caf\udce9", "tea")
    assert said.startswith("the user message cannot be sent: character 4, U+DCE9")
    assert "/reset" not in said
    assert [messages[-1]["content"] for messages in parrot.seen] == ["tea"]
    assert len(session.history) == 2


def test_history_and_system_prompt_travel_along() -> None:
    out, parrot, _ = talk("one", "", "two")
    assert out == "2:one\n4:two\n"
    assert [m["role"] for m in parrot.seen[1]] == ["system", "user", "assistant", "user"]
    assert parrot.settings == GenerationConfig().sampling


def test_commands() -> None:
    out, parrot, session = talk(
        "one",
        "/reset",
        "two",
        "/system New rules",
        "three",
        "/system",
        "four",
        "/nonsense",
        "/exit",
        "never read",
    )
    assert [len(messages) for messages in parrot.seen] == [2, 2, 2, 1]
    assert parrot.seen[2][0] == {"role": "system", "content": "New rules"}
    assert "no command /nonsense" in out
    assert session.over


def test_save_writes_the_conversation(tmp_path: Path) -> None:
    out, _, _ = talk(
        "one", f"/save {tmp_path / 'chat.md'}", f"/save {tmp_path / 'chat.md' / 'below'}", "/save"
    )
    assert (tmp_path / "chat.md").read_text() == (
        "**system**\n\nBe brief.\n\n**user**\n\none\n\n**assistant**\n\n2:one\n\n"
    )
    assert "cannot write" in out
    assert "name a file" in out


def test_interruption_keeps_what_was_said_and_overflow_changes_nothing() -> None:
    out, _, session = talk("stop", "long", "cut")
    assert "(stopped)" in out
    assert "too long" in out
    assert "cut at the longest" in out
    assert [m["content"] for m in session.history] == ["stop", "2:", "cut", "4:cut"]


class Cited(NamedTuple):
    messages: list[dict[str, str]]
    note: str
    refusal: str = ""

    def told(self, answer: str) -> list[str]:
        return [f"from notes.md:7 ({answer})"]


def test_passages_belong_to_their_turn_and_what_is_told_stands_below_the_answer() -> None:
    base, kept = Parrot(), []

    def ground(_: Any, messages: Any, closed: bool) -> Cited:
        *before, question = messages
        said = (
            question["content"]
            if closed or question["content"] == "stop"
            else f"PASSAGE {question['content']}"
        )
        return Cited([*before, {"role": "user", "content": said}], "one passage fits")

    out, parrot, session = talk(
        "one",
        "stop",
        "/closed",
        "two",
        "/open",
        "three",
        "/base",
        ground=ground,
        base=lambda: base,
        keep=kept.append,
    )
    assert [messages[-1]["content"] for messages in parrot.seen] == [
        "PASSAGE one",
        "stop",
        "two",
        "PASSAGE three",
    ]
    assert [m["content"] for m in session.history[:2]] == ["one", "2:PASSAGE one"]
    assert out.startswith(
        "(one passage fits)\n\n2:PASSAGE one\n\nfrom notes.md:7 (2:PASSAGE one)\n4:"
    )
    assert out.count("one passage fits") == 1, "what stays true is said once"
    assert "4:\n(stopped)\n" in out, "a stopped answer is held against nothing"
    assert base.seen == parrot.seen[-1:]
    assert "from notes.md:7" in "".join(kept)


def test_a_session_begins_closed_where_it_is_told_to() -> None:
    heard: list[bool] = []

    def ground(_: Any, messages: Any, closed: bool) -> Cited:
        heard.append(closed)
        return Cited(list(messages), "")

    talk("one", "/open", "two", ground=ground, closed=True)
    assert heard == [True, False]


def test_a_search_that_is_stopped_costs_its_question_only() -> None:
    def ground(_: Any, messages: Any, closed: bool) -> Cited:
        if messages[-1]["content"] == "slow":
            raise KeyboardInterrupt
        return Cited(list(messages), "")

    out, parrot, session = talk("slow", "one", ground=ground)
    assert out.startswith("(stopped)\n")
    assert len(parrot.seen) == 1
    assert len(session.history) == 2


def test_the_base_hears_the_same_conversation_and_leaves_no_trace_in_it() -> None:
    base, opened = Parrot(), []

    def open_base() -> Parrot:
        opened.append(base)
        return base

    out, parrot, session = talk("/base", "one", "two", "/base", "/base", "three", base=open_base)
    assert out.startswith("ask something first\n")
    assert base.seen == [parrot.seen[1]] * 2
    assert [m["content"] for m in session.history] == [
        "one",
        "2:one",
        "two",
        "4:two",
        "three",
        "6:three",
    ]
    assert len(opened) == 2  # not before the first question


def test_the_sources_of_question_and_answer_or_of_a_text() -> None:
    asked: list[str] = []

    def search(text: str) -> list[Passage]:
        asked.append(text)
        return (
            []
            if text == "zebra"
            else [
                Passage("docs/a.md", "A", ("Lamps", "Oil"), (10, 2000), " Fill it daily. ", 5000),
                Passage("docs/b.md", "B", (), (0, 900), "word " * 400, 900),
            ]
        )

    out, _, _ = talk(
        "/source", "one", "/source", "/source the lamp", "/source zebra", search=search
    )
    assert asked == ["one\n2:one", "the lamp", "zebra"]
    assert out.startswith("ask something first, or give a text")
    assert (
        "docs/a.md › Lamps › Oil (bytes 10–2000)\n\nFill it daily.\n\ndocs/b.md (bytes 0–900)\n\nword "
        in out
    )
    assert max(map(len, out.splitlines())) == SHOWN + 1
    assert out.endswith("no passage of the documents has a word of it\n")


def test_what_base_or_documents_lack_is_said_and_the_chat_goes_on() -> None:
    def no_base() -> Parrot:
        raise EnvironmentProblem("too little memory", fix="close something")

    def no_index(_: str) -> list[Passage]:
        raise StageFailed("no document of the corpus can be used", fix="add documents")

    out, _, session = talk("one", "/base", "/source", "two", base=no_base, search=no_index)
    assert "too little memory\nfix: close something\n" in out
    assert "no document of the corpus can be used\nfix: add documents\n" in out
    assert len(session.history) == 4


def test_commands_without_a_base_or_documents_do_not_exist() -> None:
    out, _, _ = talk("/base", "/source", "/closed", "/help")
    assert "no command /closed" in out
    assert "no command /base" in out
    assert "no command /source" in out
    assert out.count("/base") == out.count("/source") == 1


def test_everything_said_is_kept_as_it_is_said_and_saved_across_resets(tmp_path: Path) -> None:
    kept: list[str] = []
    whole = tmp_path / "chat.md"
    seen_while_answering: list[str] = []

    class Watched(Parrot):
        def chat(self, messages: Any, *, on_text: Any, **settings: Any) -> Answer:
            def watch(piece: str) -> None:
                on_text(piece)
                seen_while_answering.append("".join(kept))

            return super().chat(messages, on_text=watch, **settings)

    talk(
        "one",
        "/base",
        "/source",
        "/system New",
        "long",
        "stop",
        f"/save {whole}",
        base=Watched,
        keep=kept.append,
        search=lambda _: [Passage("a.md", "A", (), (0, 5), "Lamps", 5)],
    )
    text = "".join(kept)
    assert whole.read_text() == text
    assert text == (
        "**system**\n\nBe brief.\n\n**user**\n\none\n\n**assistant**\n\n2:one\n\n**base**\n\n2:one\n\n"
        "**source**\n\na.md (bytes 0–5)\n\nLamps\n\n---\n\n"
        "**system**\n\nNew\n\n**user**\n\nlong\n\n**assistant**\n\ntoo long\nfix: shorten\n"
        "**system**\n\nNew\n\n**user**\n\nstop\n\n**assistant**\n\n2:\n(stopped)\n\n"
    )
    assert seen_while_answering[0].endswith(
        "**base**\n\n2:"
    )  # whoever is killed now has kept this much
