"""Token counts of many conversations: the same figures as Encoder.conversation gives, in bulk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_forge.chat.encode import Encoder, learned, segments
from phoenix_forge.chat.template import Message, is_plain
from phoenix_forge.errors import UsageError

BATCH = 2048  # conversations to count together
REMEMBERED = (
    1 << 18
)  # counts of answers kept by digest, about 40 MB: an answer comes in many examples
PROOF = 256  # conversations that are first counted both ways

Part = tuple[str | int, ...]  # literals, and between them places of contents


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of one conversation, and how many of them are trained; or why the template refuses it."""

    tokens: int
    trained: int
    error: str | None = None


class Tally:
    """Counts conversations in batches of any size; BATCH is a good one.

    Two things make it fast. To find what is trained, a template is rendered three times a conversation; where the
    rendering is what its roles foretell, once will do. And control tokens split the text they stand in, so that what
    stands between them can be counted by itself: the template's own words once, an answer once however often it comes.
    The first conversations are counted both ways; for a tokenizer that does not work like that, whole segments are
    counted, or whole conversations.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.special = control_tokens(encoder)
        self._cuts = self._framed = True
        self._proved = False
        self._frames: dict[tuple[tuple[str, bool], ...], _Frame | None] = {}
        self._known: dict[bytes, int] = {}

    def counts(self, conversations: Sequence[list[Message]], *, render: bool = True) -> list[Count]:
        """One Count a conversation. Without `render`, contents are taken to stand in the frame of their roles: for
        datasets that Forge made itself."""
        if not self._proved:
            self._prove(conversations[:PROOF])
        frames = [self._fitting(messages, render) for messages in conversations]
        found = iter(self._tokens(_pieces(conversations, frames)))
        return [
            self._alone(messages)
            if frame is None
            else frame.sum([next(found) for _ in frame.pieces])
            for messages, frame in zip(conversations, frames, strict=True)
        ]

    def trained(self, conversations: Sequence[list[Message]]) -> list[int]:
        """Trained tokens alone, for datasets that Forge made itself: several times as fast, as questions are not read.

        A conversation that the template refuses trains nothing.
        """
        if not self._proved:
            self._prove(conversations[:PROOF])
        frames = [self._fitting(messages, render=False) for messages in conversations]
        found = iter(self._tokens([piece for piece in _pieces(conversations, frames) if piece[1]]))
        return [
            self._alone(messages).trained if frame is None
            else frame.trained + sum(next(found) for _, is_trained in frame.pieces if is_trained)
            for messages, frame in zip(conversations, frames, strict=True)
        ]  # fmt: skip

    def _prove(self, conversations: Sequence[list[Message]]) -> None:
        self._proved = True
        alone = [self._alone(messages) for messages in conversations]
        if self.counts(conversations) != alone:
            self._cuts = False
            self._frames.clear()
            self._known.clear()
            self._framed = self.counts(conversations) == alone

    def _alone(self, messages: list[Message]) -> Count:
        try:
            encoded = self.encoder.conversation(messages)
        except UsageError as error:
            return Count(0, 0, error.message)
        return Count(len(encoded.ids), sum(encoded.trained))

    def _fitting(self, messages: list[Message], render: bool) -> _Frame | None:
        """The frame that a conversation stands in, if it does."""
        if not is_plain(messages):
            return None
        roles = tuple([(message["role"], learned(message)) for message in messages])
        if roles not in self._frames:
            self._frames[roles] = _frame(roles, self.encoder, self.special if self._cuts else None)
        frame = self._frames[roles]
        if (
            frame is None
            or not self._framed
            or any(self.special.search(message["content"]) for message in messages)
        ):
            return None
        try:
            same = not render or self.encoder.template.render(messages) == _filled(
                frame.whole, messages
            )
        except UsageError:
            return None
        return frame if same else None

    def _tokens(self, pieces: list[tuple[str, bool]]) -> list[int]:
        """Tokens of each piece; those of trained ones are remembered."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
        keys = [_digest(text) if trained else None for text, trained in pieces]
        new: dict[str, bytes | None] = {
            text: key
            for (text, _), key in zip(pieces, keys, strict=True)
            if key is None or key not in self._known
        }
        encoded = self.encoder.tokenizer.encode_batch_fast(list(new), add_special_tokens=False)
        counts = dict(zip(new, map(len, encoded), strict=True))
        self._known.update((key, counts[text]) for text, key in new.items() if key is not None)
        return [
            counts[text] if key is None else self._known[key]
            for (text, _), key in zip(pieces, keys, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Frame:
    """What a template writes around the contents of a conversation with certain roles.

    `pieces` are what has contents in it, and whether it is trained; `tokens` and `trained` count all else.
    """

    whole: Part
    pieces: tuple[tuple[Part, bool], ...]
    tokens: int
    trained: int

    def sum(self, counts: list[int]) -> Count:
        trained = sum(
            count for count, (_, is_trained) in zip(counts, self.pieces, strict=True) if is_trained
        )
        return Count(self.tokens + sum(counts), self.trained + trained)


def _frame(
    roles: tuple[tuple[str, bool], ...], encoder: Encoder, special: re.Pattern[str] | None
) -> _Frame | None:
    """None where the template refuses the roles, each learned or not, or does not write each content once and in
    order."""
    marks: list[Message] = [
        {"role": role, "content": f"\x02{i}\x03", "weight": str(int(is_learned))}
        for i, (role, is_learned) in enumerate(roles)
    ]
    try:
        found = segments(encoder.template, marks, encoder.stop)
    except UsageError:
        return None
    whole = _part("".join(segment.text for segment in found))
    if [piece for piece in whole if isinstance(piece, int)] != list(range(len(roles))):
        return None
    tokens = trained = 0
    pieces: list[tuple[Part, bool]] = []
    for segment in found:
        between = special.split(segment.text) if special else [segment.text]
        constant = [text for text in between if "\x02" not in text]
        count = len(between) - 1 + sum(encoder.counts([text for text in constant if text]))
        tokens += count
        trained += count if segment.trained else 0
        pieces += [(_part(text), segment.trained) for text in between if "\x02" in text]
    return _Frame(whole, tuple(pieces), tokens, trained)


def _pieces(
    conversations: Sequence[list[Message]], frames: Sequence[_Frame | None]
) -> list[tuple[str, bool]]:
    """The texts to count of every conversation that stands in a frame, and whether they are trained."""
    return [
        (_filled(piece, messages), is_trained)
        for messages, frame in zip(conversations, frames, strict=True)
        if frame
        for piece, is_trained in frame.pieces
    ]


def _part(text: str) -> Part:
    cut = re.split("\x02([0-9]+)\x03", text)
    return tuple(int(piece) if i % 2 else piece for i, piece in enumerate(cut))


def _filled(part: Part, messages: list[Message]) -> str:
    return "".join(
        [messages[piece]["content"] if isinstance(piece, int) else piece for piece in part]
    )


def control_tokens(encoder: Encoder) -> re.Pattern[str]:
    """Matches the tokenizer's special tokens; nothing where it has none."""
    return encoder.control_tokens


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
