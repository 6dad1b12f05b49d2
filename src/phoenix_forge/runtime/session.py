"""The terminal chat's logic. Reading and writing are passed in, so it runs in a test as in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from phoenix_forge.chat.template import Message
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.fsio import write_text
from phoenix_forge.errors import ForgeError, UsageError
from phoenix_forge.runtime.answer import Answer, require_text

if TYPE_CHECKING:
    from phoenix_forge.corpus.index import Passage

SHOWN = 800  # characters of a passage


class Chats(Protocol):
    """Anything that holds a conversation: a loaded GGUF, or a model in Ollama."""

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        top_p: float,
        greedy: bool,
        on_text: Callable[[str], None] | None,
    ) -> Answer: ...


class Turn(Protocol):
    """A question as a model is asked it."""

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation, with the passages that come with its last question."""

    @property
    def note(self) -> str:
        """What is missing of them, and why; empty where nothing is."""

    @property
    def refusal(self) -> str:
        """The answer where no model is to be asked; else empty."""

    def told(self, answer: str) -> Sequence[str]:
        """What is to be known of an answer: lines about where it stands."""


def answered(
    model: Chats, turn: Turn, generation: GenerationConfig, on_text: Callable[[str], None] | None
) -> Answer:
    """A model's answer, or the turn's refusal in its place."""
    if not turn.refusal:
        return model.chat(turn.messages, **generation.sampling, on_text=on_text)
    if on_text:
        on_text(turn.refusal)
    return Answer(turn.refusal, stopped=True, tokens=0, seconds=0.0)


class Bare(NamedTuple):
    """A question as it is."""

    messages: Sequence[Message]
    note: str = ""
    refusal: str = ""

    def told(self, answer: str) -> Sequence[str]:
        return ()


# A conversation that ends with a question, as a model is to be asked it; closed book where the last says so.
Ground = Callable[[Chats, Sequence[Message], bool], Turn]


class Session:
    """A conversation with its history. Lines that start with / are commands; the rest goes to the model.

    `base` gives the model that this one was made from, `search` the passages of the corpus nearest to a text, best
    first; both may raise a ForgeError, which is shown, and without them there is no such command. `ground` finds
    passages for each question, and is told to leave them out while the session is `closed`; they belong to their own
    turn and not to the history. `keep` gets the transcript in Markdown, piece by piece: all that was asked and heard,
    whatever was forgotten since.
    """

    def __init__(
        self,
        model: Chats,
        *,
        system: str | None,
        generation: GenerationConfig,
        write: Callable[[str], None],
        base: Callable[[], Chats] | None = None,
        search: Callable[[str], Sequence[Passage]] | None = None,
        ground: Ground | None = None,
        closed: bool = False,
        keep: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.system, self.generation, self.write = model, system, generation, write
        self.ground, self.closed = (
            ground or (lambda _model, messages, _closed: Bare(messages)),
            closed,
        )
        self.keep = keep or (lambda _: None)
        self.turn: Turn | None = None  # the last that was answered
        self.noted = ""
        self.history: list[Message] = []
        self.transcript: list[str] = []
        self.commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "/help": ("show this", self._help),
            "/reset": ("forget the conversation", self._reset),
            "/system": (
                "TEXT: set the system prompt and start over; without TEXT, none",
                self._system,
            ),
            "/save": ("FILE: write all that was said as Markdown", self._save),
            "/exit": ("leave (also Ctrl-D)", self._exit),
        }
        if base:
            self.commands["/base"] = (
                "hear the base answer the last question",
                lambda _: self._base(base),
            )
        if ground:
            self.commands["/closed"] = (
                "ask the model alone, without passages of the documents",
                lambda _: self._close(True),
            )
            self.commands["/open"] = (
                "ask with the passages that may answer again",
                lambda _: self._close(False),
            )
        if search:
            self.commands["/source"] = (
                "show the nearest passages of the documents; TEXT: of this, not of the last "
                "question and answer",
                lambda text: self._source(search, text),
            )
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
        return [
            *([{"role": "system", "content": self.system}] if self.system else []),
            *self.history,
        ]

    def _ask(self, text: str) -> None:
        question = {"role": "user", "content": text}
        try:
            require_text([question])
        except UsageError as error:
            self._say(f"{error}\n")
            return
        if self.system and not self.history:
            self._keep(f"**system**\n\n{self.system}\n\n")
        self._keep(f"**user**\n\n{text}\n\n")
        try:
            turn = self.ground(self.model, [*self.messages, question], self.closed)
            if turn.note and turn.note != self.noted:
                self._say(f"({turn.note})\n\n")
            self.noted = turn.note
            answer = self._hear("assistant", self.model, turn)
        except (
            UsageError
        ) as error:  # the conversation no longer fits, say: the user can /reset and go on
            self._say(f"{error}\n")
        except KeyboardInterrupt:  # while passages were looked for
            self._say("(stopped)\n")
        else:
            self.turn = turn
            self.history += [question, {"role": "assistant", "content": answer}]

    def _hear(self, name: str, model: Chats, turn: Turn) -> str:
        """A model's answer, shown and kept as it is written, and what the turn tells about one that it ended."""
        told: Sequence[str] = ()
        pieces: list[str] = []

        def show(piece: str) -> None:
            pieces.append(piece)
            self._say(piece)

        self._keep(f"**{name}**\n\n")
        try:
            answer = answered(model, turn, self.generation, show)
            told = turn.told(answer.text)
        except KeyboardInterrupt:
            note = "\n(stopped)\n"
        else:
            note = "\n" if answer.stopped else "\n(cut at the longest allowed answer)\n"
        self._say(note + "".join(f"\n{line}" for line in told) + "\n" * bool(told))
        self._keep("\n")
        return "".join(pieces)

    def _say(self, text: str) -> None:
        self.write(text)
        self._keep(text)

    def _keep(self, text: str) -> None:
        self.transcript.append(text)
        self.keep(text)

    def _base(self, base: Callable[[], Chats]) -> None:
        if not self.history or self.turn is None:
            self.write("ask something first\n")
            return
        try:
            self._hear("base", base(), self.turn)
        except ForgeError as error:
            self._say(f"{error}\n")

    def _source(self, search: Callable[[str], Sequence[Passage]], text: str) -> None:
        """The words of the answer count as well: what was learned is said in the words of where it stood."""
        wanted = text or "\n".join(message["content"] for message in self.history[-2:])
        if not wanted:
            self.write("ask something first, or give a text: /source TEXT\n")
            return
        try:
            found = search(wanted)
        except ForgeError as error:
            self._say(f"{error}\n")
            return
        self._keep("**source**\n\n")
        self._say("\n".join(map(_shown, found)) or "no passage of the documents has a word of it\n")
        self._keep("\n")

    def _close(self, closed: bool) -> None:
        self.closed = closed
        self.write(
            "closed book from now on; /open brings the passages back\n"
            if closed
            else "with the passages that may answer from now on\n"
        )

    def _help(self, _: str) -> None:
        self.write("".join(f"{name:8} {what}\n" for name, (what, _run) in self.commands.items()))

    def _reset(self, _: str) -> None:
        self.history.clear()
        if self.transcript:
            self._keep("---\n\n")
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
            write_text(path, "".join(self.transcript))
        except OSError as error:
            self.write(f"cannot write {path}: {error.strerror}\n")
        else:
            self.write(f"saved {path}\n")

    def _exit(self, _: str) -> None:
        self.over = True


def _shown(passage: Passage) -> str:
    where = " › ".join([passage.path, *passage.headings])
    text = passage.text.strip()
    return (
        f"{where} (bytes {passage.span[0]}–{passage.span[1]})\n\n"
        f"{text if len(text) <= SHOWN else f'{text[:SHOWN]}…'}\n"
    )
