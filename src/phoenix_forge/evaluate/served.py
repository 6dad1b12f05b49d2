"""What a deployed model answers, held against the same GGUF in the built-in runtime.

Both answer greedily. The built-in runtime gets the token ids of the training's prompts, the server the conversations.
Another build of llama.cpp rounds in another order, so answers may part somewhere; where they part at once, the server
put other words before them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.ollama import shared
from phoenix_forge.chat.template import Message
from phoenix_forge.evaluate.parity import TOKENS, Case
from phoenix_forge.runtime.answer import Answer
from phoenix_forge.runtime.llama import Model

CUT = "\ufffd"  # half a character: at the end of an answer that was cut off, or of bytes that are no text


@dataclass(frozen=True)
class Parting:
    """The answers to one question: `position` is the first character at which they differ, `at_once` whether that lies
    in the first token or the prompts already differ: `prompts` are their tokens, in training and by the server (0: it
    does not say)."""

    question: str
    position: int
    expected: str
    got: str
    at_once: bool
    prompts: tuple[int, int]

    def __str__(self) -> str:
        return (
            f"{self.question!r}: {self.got!r} for {self.expected!r}, from character {self.position} "
            f"({self.prompts[1]} tokens of prompt, {self.prompts[0]} in training)"
        )


@dataclass(frozen=True)
class Served:
    """Of so many `prompts`, those whose answers part."""

    prompts: int
    partings: tuple[Parting, ...]

    @property
    def broken(self) -> bool:
        """Whether several, and at least half, part at once."""
        return sum(parting.at_once for parting in self.partings) >= max(2, self.prompts / 2)

    def __str__(self) -> str:
        same = f"{self.prompts - len(self.partings)} of {self.prompts} greedy answers are the built-in runtime's"
        return f"{same}; {self.partings[0]}" if self.partings else same


def compare(
    model: Model,
    ask: Callable[[Sequence[Message]], Answer],
    encoder: Encoder,
    chosen: Sequence[Case],
    system: str | None,
) -> Served:
    """`ask` gives the server's greedy answer of TOKENS tokens; `system` is its own system prompt: conversations that
    begin with it are sent without."""
    found = []
    for case in chosen:
        first = case.messages[0]
        own = bool(system) and first["role"] == "system" and first["content"] == system
        answer = ask(case.messages[1:] if own else case.messages)
        made = model.proceed(case.ids, TOKENS)
        ids = [i for i in made.ids if i != encoder.stop_id]
        whole, opening = (
            encoder.tokenizer.decode(part, skip_special_tokens=False) for part in (ids, ids[:1])
        )
        expected, half, _ = whole.partition(
            CUT
        )  # what follows, tokenizers and llama.cpp write in other ways
        got = answer.text[: len(expected)] if half else answer.text.rstrip(CUT)
        longer = answer.prompt_tokens not in (0, len(case.ids))
        if longer or got != expected:
            at = shared(got, expected)
            found.append(
                Parting(
                    case.messages[-1]["content"],
                    at,
                    expected,
                    got,
                    longer or at < max(1, len(opening)),
                    (len(case.ids), answer.prompt_tokens),
                )
            )
    return Served(len(chosen), tuple(found))
