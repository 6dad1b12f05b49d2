"""A stand-in for a model that writes questions and answers them: a function of the prompt, which keeps what it sees.

Its questions are built so that it can answer them from themselves and the passage alone, as a reader that finds every
answer would. What else it says is up to the test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from phoenix_forge.chat.template import Message
from phoenix_forge.errors import EnvironmentProblem
from phoenix_forge.teacher import Completion, Teacher

ANSWERS = ("Answer", "Antwort", "答案")  # what an answer that is shown is called
BEGUN = "What is "


class Seen(NamedTuple):
    """A prompt's last turn: whether a question is wanted (else an answer), and the title, the text and the answer or
    question that it shows. `demonstrated` are the turns before. Passages before a question have no title."""

    to_write: bool
    title: str
    text: str
    given: str
    demonstrated: tuple[Message, ...]

    @staticmethod
    def of(messages: Sequence[Message]) -> Seen:
        content = messages[-1]["content"]
        if content.startswith("From "):
            text, begun, rest = content.rpartition(f"\n\n{BEGUN}")
            return Seen(False, "", text, f"{begun.strip()} {rest}", tuple(messages[:-1]))
        title, _, rest = content.partition("\n")
        text, _, last = rest.rpartition("\n")
        called, _, given = last.partition(": ")
        return Seen(
            called in ANSWERS,
            title.partition(": ")[2],
            text.partition(": ")[2],
            given,
            tuple(messages[:-1]),
        )


def asking(seen: Seen) -> str:
    """A question that does not say its answer, but can be answered: another for each order of demonstrations."""
    return f"{BEGUN}{seen.given[::-1]} beside {len(seen.demonstrated[1]['content'])}?"


def finding(seen: Seen) -> str:
    answer = seen.given.removeprefix(BEGUN).rpartition(" beside ")[0][::-1]
    return answer if answer in seen.text else "It is not said."


def honest(seen: Seen) -> str:
    return asking(seen) if seen.to_write else finding(seen)


class Reader:
    """`said` is what it says to a prompt; `seen` holds every prompt. Gone for good after `most` requests."""

    def __init__(
        self, said: Callable[[Seen], str] = honest, *, most: int = 10**9, name: str = "reader"
    ) -> None:
        self.said, self.most, self.name = said, most, name
        self.seen: list[Seen] = []
        self.stopped, self._lock = threading.Event(), threading.Lock()

    def complete(self, messages: Sequence[Message], schema: object, max_tokens: int) -> Completion:
        assert schema is None
        own = Seen.of(messages)
        with self._lock:
            if len(self.seen) >= self.most:
                raise EnvironmentProblem("it is gone", fix="start it")
            self.seen.append(own)
        text = self.said(own)
        return Completion(
            text, True, sum(len(turn["content"]) for turn in messages) // 4, len(text) // 4
        )

    def _together(
        self, asked: Sequence[Sequence[Message]], max_tokens: int
    ) -> Iterator[tuple[int, Completion]]:
        for i in reversed(range(len(asked))):
            yield i, self.complete(asked[i], None, max_tokens)

    def teacher(self, *, together: bool = False) -> Teacher:
        """`together`: one that is asked everything at once, and answers in another order."""
        return Teacher(
            self.name,
            self.name,
            self.complete,
            self.stopped.set,
            lambda: None,
            self._together if together else None,
        )
