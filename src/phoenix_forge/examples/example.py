"""One line of a dataset, and the lengths that decide what fits."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache
from typing import NamedTuple

import orjson

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.pieces import plain
from phoenix_forge.chat.template import Message

ASCII = re.compile(r"[\0-\x7f]+")


def stable_hash(*parts: object) -> str:
    """The hex digest of what the parts are: sorted by it, things stand in a fixed pseudo-random order."""
    return hashlib.sha256("\x00".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()


def stable_number(*parts: str) -> int:
    """The first 32 bits of stable_hash: a fixed pseudo-random number for what the parts are."""
    return int.from_bytes(
        hashlib.sha256("\x00".join(parts).encode(errors="surrogatepass")).digest()[:4]
    )


def share_of(count: float, *parts: object) -> int:
    """A whole number for a fractional one, rounded up as often as the fraction says, by what the parts are."""
    return int(count) + (stable_number(*map(str, parts)) < (count - int(count)) * 2**32)


def most_tokens(text: str) -> int:
    """As many tokens as a text can have: bytes, of its decomposed form where that is longer, since tokenizers normalise
    and some characters become three (U+0958, U+FB2C, U+1D160)."""
    if text.isascii():
        return len(text)
    if unicodedata.is_normalized("NFKD", text):  # quick, and so it is for most
        return len(text.encode(errors="surrogatepass"))
    others = ASCII.sub("", text)
    return len(text) - len(others) + sum(map(_most_bytes, others))


@cache
def _most_bytes(character: str) -> int:
    return max(
        len(form.encode(errors="surrogatepass"))
        for form in (character, unicodedata.normalize("NFKD", character))
    )


class Example(NamedTuple):
    """One question and its answer. `span` counts bytes of the file at `path`, whose content has `sha256`."""

    kind: str
    prompt: str
    answer: str
    path: str
    span: tuple[int, int]
    sha256: str
    system: str | None = None

    @property
    def messages(self) -> list[Message]:
        asked: list[Message] = [
            {"role": "user", "content": self.prompt},
            {"role": "assistant", "content": self.answer},
        ]
        return [{"role": "system", "content": self.system}, *asked] if self.system else asked

    @property
    def id(self) -> str:
        whole = f"{self.kind}\0{self.system}\0{self.prompt}\0{self.answer}"
        return hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:16]

    @property
    def source(self) -> dict[str, object]:
        return {"path": self.path, "span": self.span, "sha256": self.sha256}

    def line(self) -> bytes:
        """One line of the dataset: compact JSON, with its end."""
        record = {
            "messages": self.messages,
            "source": self.source,
            "kind": self.kind,
            "id": self.id,
        }
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class Scale:
    """Lengths in the base's tokens, as training will count them."""

    def __init__(self, encoder: Encoder, max_length: int, *, exact: bool = False) -> None:
        self.encoder, self.max_length, self.exact = encoder, max_length, exact
        self.counts = encoder.counts if exact else encoder.fast_counts
        self._frame: dict[str | None, int] = {}
        self._special = encoder.control_tokens

    def has_control(self, text: str) -> bool:
        return bool(self._special.search(text))

    def plain(self, text: str) -> str:
        """Text in which no control token of the model stands: a document about `<|im_end|>` must not end a turn."""
        return plain(text, self._special)

    def frame(self, system: str | None) -> int:
        """Tokens of a conversation around the prompt's and the answer's own."""
        if system not in self._frame:
            bare = Example("", "a", "a", "", (0, 0), "", system)
            self._frame[system] = len(
                self.encoder.conversation(bare.messages).ids
            ) - 2 * self.encoder.count("a")
        return self._frame[system]

    def fits(self, example: Example, tokens: int) -> bool:
        """Whether an example, whose answer has `tokens`, fits a row; counted in full where a bound does not settle it."""
        bound = self.frame(example.system) + most_tokens(example.prompt) + tokens
        return (
            bound <= self.max_length
            or len(self.encoder.conversation(example.messages).ids) <= self.max_length
        )
