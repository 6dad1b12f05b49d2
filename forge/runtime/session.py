"""The terminal chat's logic. Reading and writing are passed in, so it runs in a test as in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from forge.chat.template import Message
from forge.core.config import GenerationConfig
from forge.core.fsio import write_text
from forge.errors import UsageError
from forge.runtime.answer import Answer


class Chats(Protocol):
    """Anything that holds a conversation: a loaded GGUF, or a model in Ollama."""

    def chat(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, top_p: float, greedy: bool,
             on_text: Callable[[str], None] | None) -> Answer: ...


class Session:
    """A conversation with its history. Lines that start with / are commands; the rest goes to the model."""

    def __init__(self, model: Chats, *, system: str | None, generation: GenerationConfig,
                 write: Callable[[str], None]) -> None:
        self.model, self.system, self.generation, self.write = model, system, generation, write
        self.history: list[Message] = []
        self.commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "/help": ("show this", self._help),
            "/reset": ("forget the conversation", self._reset),
            "/system": ("TEXT: set the system prompt and start over; without TEXT, none", self._system),
            "/save": ("FILE: write the conversation as Markdown", self._save),
            "/exit": ("leave (also Ctrl-D)", self._exit)}
        self.over = False

    def run(self, read: Callable[[], str]) -> None:
        """Reads lines until /exit or the end of the input. Ctrl-C ends the answer being written, not the session."""
        while not self.over:
            try:
                line = read().strip()
            except EOFError:
                return
            if line:
                self.handle(line)

    def handle(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        if not line.startswith("/"):
            self._ask(line)
        elif name in self.commands:
            self.commands[name][1](argument.strip())
        else:
            self.write(f"no command {name}; /help lists them\n")

    @property
    def messages(self) -> list[Message]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.history]

    def _ask(self, text: str) -> None:
        question = {"role": "user", "content": text}
        pieces: list[str] = []

        def show(piece: str) -> None:
            pieces.append(piece)
            self.write(piece)

        try:
            answer = self.model.chat([*self.messages, question], **self.generation.model_dump(), on_text=show)
        except KeyboardInterrupt:
            note = "\n(stopped)\n"
        except UsageError as error:  # the conversation no longer fits: the user can /reset and go on
            self.write(f"{error.message}\nfix: /reset starts over\n")
            return
        else:
            note = "\n" if answer.stopped else "\n(cut at the longest allowed answer)\n"
        self.history += [question, {"role": "assistant", "content": "".join(pieces)}]
        self.write(note)

    def _help(self, _: str) -> None:
        self.write("".join(f"{name:8} {what}\n" for name, (what, _run) in self.commands.items()))

    def _reset(self, _: str) -> None:
        self.history.clear()
        self.write("the conversation starts over\n")

    def _system(self, text: str) -> None:
        self.system = text or None
        self._reset("")

    def _save(self, name: str) -> None:
        if not name:
            self.write("name a file: /save chat.md\n")
            return
        path = Path(name).expanduser()
        try:
            write_text(path, "".join(f"**{m['role']}**\n\n{m['content']}\n\n" for m in self.messages))
        except OSError as error:
            self.write(f"cannot write {path}: {error.strerror}\n")
        else:
            self.write(f"saved {path}\n")

    def _exit(self, _: str) -> None:
        self.over = True
