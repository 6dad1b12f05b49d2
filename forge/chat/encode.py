"""Conversations as token ids, with a mask of what is trained: the assistant's words and the token that ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from forge.chat.counting import Counter
from forge.chat.template import ChatTemplate, Message
from forge.errors import UsageError


@dataclass(frozen=True)
class Encoded:
    """`ids` and `trained` have one entry a token; `trained[i]` is 1 where token i is a target of the loss."""

    ids: list[int]
    trained: list[int]


@dataclass(frozen=True)
class Segment:
    """A run of rendered text that is wholly trained or wholly not."""

    text: str
    trained: bool


def segments(template: ChatTemplate, messages: Sequence[Message], stop: str) -> list[Segment]:
    """The rendered conversation, cut where training starts (after an assistant header) and ends (after `stop`)."""
    cuts: list[Segment] = []
    whole = template.render(messages)
    at = 0
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = template.render(messages[:i], prompt=True)
        through = template.render(messages[:i + 1]) if i + 1 < len(messages) else whole
        start, end = len(prompt), through.rfind(stop) + len(stop)
        if not (whole.startswith(through[:end]) and whole.startswith(prompt)) or end <= start:
            raise UsageError("the chat template does not render a conversation as a prefix of its continuation, or "
                             f"ends an assistant turn without {stop!r}: no loss mask can be derived",
                             fix="choose a base whose template appends turns")
        cuts += [Segment(whole[at:start], False), Segment(whole[start:end], True)]
        at = end
    return [*cuts, Segment(whole[at:], False)]


class Encoder:
    """Tokenizer and chat template of one base folder."""

    folder: Path | None = None  # where it was loaded from, for other processes to do the same
    description: bytes | None = None  # its tokenizer.json

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, stop: str, pad: str) -> None:
        self.tokenizer, self.template, self.stop, self.pad = tokenizer, template, stop, pad
        self.stop_id, self.pad_id = self._id(stop), self._id(pad)
        if self.stop_id == self.pad_id:
            raise UsageError(f"stop and padding are both {stop!r}: the model would never learn to stop",
                             fix="choose a base with a separate padding token")

    def _id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise UsageError(f"the base's tokenizer has no token {token!r}", fix="choose another base")
        return found

    @staticmethod
    def load(folder: Path, *, stop: str, pad: str) -> Encoder:
        """From a model folder; `stop` and `pad` come from its family's row."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise UsageError(f"{folder} has no tokenizer.json", fix="forge download --force")
        try:  # from_buffer: for a damaged file it raises ValueError, from_file a bare Exception
            description = path.read_bytes()
            tokenizer = Tokenizer.from_buffer(description)
        except ValueError as error:
            raise UsageError(f"{path} is not a tokenizer: {error}", fix="forge download --force") from error
        encoder = Encoder(tokenizer, ChatTemplate.load(folder), stop, pad)
        encoder.folder, encoder.description = folder, description
        return encoder

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def count(self, text: str) -> int:
        """Tokens in a text."""
        return len(self.ids(text))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens in each text, on all cores."""
        return [len(e.ids) for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    @cached_property
    def fast_counts(self) -> Counter:
        """As counts(), several times faster for common tokenizers; see forge.chat.counting for what that rests on."""
        return Counter(self.tokenizer, self.description)

    def conversation(self, messages: Sequence[Message]) -> Encoded:
        """Each segment is tokenised by itself, as at inference, where the prompt is fixed before the answer begins."""
        ids: list[int] = []
        trained: list[int] = []
        for segment in segments(self.template, messages, self.stop):
            piece = self.ids(segment.text) if segment.text else []
            ids += piece
            trained += [int(segment.trained)] * len(piece)
        return Encoded(ids, trained)

    def trained(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The trained ids of each conversation, as conversation() marks them."""
        texts = [[segment.text for segment in segments(self.template, messages, self.stop) if segment.trained]
                 for messages in conversations]
        encoded = iter(self.tokenizer.encode_batch_fast([text for own in texts for text in own],
                                                        add_special_tokens=False))
        return [[token for _ in own for token in next(encoded).ids] for own in texts]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer begins."""
        return self.ids(self.template.render(messages, prompt=True))
