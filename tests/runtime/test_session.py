"""The terminal chat, with a model that repeats what it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.core.config import GenerationConfig
from forge.errors import UsageError
from forge.runtime.answer import Answer
from forge.runtime.session import Session


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


def talk(*lines: str, system: str | None = "Be brief.") -> tuple[str, Parrot, Session]:
    out: list[str] = []
    parrot = Parrot()
    session = Session(parrot, system=system, generation=GenerationConfig(), write=out.append)
    rest = iter(lines)

    def read() -> str:
        line = next(rest, None)
        if line is None:
            raise EOFError
        return line

    session.run(read)
    return "".join(out), parrot, session


def test_history_and_system_prompt_travel_along() -> None:
    out, parrot, _ = talk("one", "", "two")
    assert out == "2:one\n4:two\n"
    assert [m["role"] for m in parrot.seen[1]] == ["system", "user", "assistant", "user"]
    assert parrot.settings == GenerationConfig().model_dump()


def test_commands() -> None:
    out, parrot, session = talk("one", "/reset", "two", "/system New rules", "three", "/system", "four", "/nonsense",
                                "/exit", "never read")
    assert [len(messages) for messages in parrot.seen] == [2, 2, 2, 1]
    assert parrot.seen[2][0] == {"role": "system", "content": "New rules"}
    assert "no command /nonsense" in out
    assert session.over


def test_save_writes_the_conversation(tmp_path: Path) -> None:
    out, _, _ = talk("one", f"/save {tmp_path / 'chat.md'}", f"/save {tmp_path / 'chat.md' / 'below'}", "/save")
    assert (tmp_path / "chat.md").read_text() == (
        "**system**\n\nBe brief.\n\n**user**\n\none\n\n**assistant**\n\n2:one\n\n")
    assert "cannot write" in out
    assert "name a file" in out


def test_interruption_keeps_what_was_said_and_overflow_changes_nothing() -> None:
    out, _, session = talk("stop", "long", "cut")
    assert "(stopped)" in out
    assert "too long" in out
    assert "cut at the longest" in out
    assert [m["content"] for m in session.history] == ["stop", "2:", "cut", "4:cut"]
