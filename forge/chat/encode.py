"""Conversations as token ids, with a mask of what is trained: the assistant's words and the token that ends them."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, compress
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE

from forge.chat.counting import Counter
from forge.chat.template import ChatTemplate, Message
from forge.core.fsio import TOKENIZER_LIMIT, read_limited
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
    """The conversation, cut where training starts (at the end of a generation prompt) and where it ends (after `stop`).

    It is put together turn by turn, each as it is generated: every answer stands right behind its own prompt, word for
    word. That is the rendered conversation, unless the template trims answers or shows past turns in another way than
    it prompts for them. The template sees marks in place of answers, so nothing in them can change what it writes.
    """
    marks = {i: f"\x02answer {i}\x03" for i, message in enumerate(messages) if message["role"] == "assistant"}
    marked = [message | {"content": marks.get(i, message["content"])} for i, message in enumerate(messages)]
    cuts: list[Segment] = []
    done, rest, past = "", "", list(marks.values())
    for n, (i, mark) in enumerate(marks.items()):
        prompt = template.render(marked[:i], prompt=True)
        before = _beyond(done, prompt, past[:n], stop)
        lead, ending, rest = _around(mark, template.render(marked[:i + 1]), prompt, marked[:i], stop)
        cuts += [Segment(before, False), Segment(lead + messages[i]["content"] + ending, learned(messages[i]))]
        done += before + lead + mark + ending
    if not messages or messages[-1]["role"] != "assistant":
        rest = _beyond(done, template.render(marked), past, stop)
    return [*cuts, Segment(rest, False)]


def learned(message: Message) -> bool:
    """Whether an answer is trained; some stand in a dataset only for what was said to them."""
    return message.get("weight") != "0"


def _beyond(done: str, rendered: str, past: Sequence[str], stop: str) -> str:
    """What `rendered` adds to `done`, the turns up to the last answer.

    Where past turns have changed, it begins behind the mark of that answer: Qwen3 takes the empty thought out of past
    turns, Mistral moves the system prompt to the last question.
    """
    if rendered.startswith(done):
        return rendered[len(done):]
    places = [rendered.find(mark) for mark in past]
    end = rendered.find(stop, places[-1])
    if places[0] < 0 or places != sorted(places) or end < 0:  # an answer that is not there is found at -1
        raise _underivable(stop)
    return rendered[end + len(stop):]


def _around(mark: str, through: str, prompt: str, asked: Sequence[Message], stop: str) -> tuple[str, str, str]:
    """What stands between a prompt and an answer, behind the answer up to its `stop`, and behind that."""
    header, _, behind = through.partition(mark)
    ending, stopped, rest = behind.partition(stop)
    if not stopped or mark in behind:
        raise _underivable(stop)
    if header.startswith(prompt):
        return header[len(prompt):], ending + stop, rest
    # Mistral writes the system prompt only while a question is last: from the question on the two have to agree.
    question = asked[-1]["content"].strip() if asked else ""
    start, end = header.rfind(question), len(header.rstrip())
    for place in range(len(header), end - 1, -1):
        if question and start >= 0 and prompt.endswith(header[start:place]):
            return header[place:], ending + stop, rest
    raise _underivable(stop)


def _underivable(stop: str) -> UsageError:
    return UsageError("the chat template does not render an answer as what follows its own prompt, leaves out or moves "
                      f"past answers, or ends an assistant turn without {stop!r}: no loss mask can be derived",
                      fix="choose a base whose template appends turns")


def _joined(cut: Sequence[Segment], pieces: Sequence[list[int]]) -> Encoded:
    """The segments, each tokenised by itself, as one."""
    return Encoded([i for piece in pieces for i in piece],
                   [int(segment.trained) for segment, piece in zip(cut, pieces, strict=True) for _ in piece])


# With one that is not part of every merge the library panics, and with some (a NUL) it takes the process with it.
_SUBWORDS = re.compile(rb'"continuing_subword_prefix"\s*:\s*"[^"]')


class _Panics:
    """Refuses a file at which the tokenizers library panics: a panic in Rust is no Exception, and no name to import."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind and kind.__name__ == "PanicException":
            raise UsageError(f"{self.path} is not a tokenizer: reading it failed with {error}",
                             fix="forge download --force") from None


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
            raise UsageError(f"the base's tokenizer has no token {token!r}, with which its family ends or pads turns: "
                             "it is another model under the same architecture, or none for chat",
                             fix="choose another base: an instruct model of the family")
        return found

    @staticmethod
    def load(folder: Path, *, stop: str, pad: str) -> Encoder:
        """From a model folder; `stop` and `pad` come from its family's row."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise UsageError(f"{folder} has no tokenizer.json", fix="forge download --force")
        description = read_limited(path, TOKENIZER_LIMIT)
        if _SUBWORDS.search(description):
            raise UsageError(f"{path} is not a tokenizer of a supported family: it has a continuing_subword_prefix",
                             fix="choose another base")
        try:  # from_buffer: for a damaged file it raises ValueError, from_file a bare Exception
            with _Panics(path):
                tokenizer = Tokenizer.from_buffer(description)
        except ValueError as error:
            raise UsageError(f"{path} is not a tokenizer: {error}", fix="forge download --force") from error
        if not isinstance(tokenizer.model, BPE):
            raise UsageError(f"{path} is not a tokenizer of a supported family: {type(tokenizer.model).__name__}, "
                             "expected BPE", fix="choose another base")
        unknown = tokenizer.model.unk_token
        if unknown and tokenizer.model.token_to_id(unknown) is None:  # the library says so at the first unknown letter
            raise UsageError(f"{path} is not a tokenizer: its unk_token {unknown!r} is not in its vocabulary",
                             fix="forge download --force")
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

    @cached_property
    def _parts(self) -> bool:
        """Whether a text's parts, each by itself, give its tokens. Byte-level BPE does so around control tokens and
        between lines; SentencePiece opens a text with a space, and some control tokens take the space beside them."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        parts = [self.stop, "\n", self.stop, "\n", "x"]
        return (self.ids("".join(parts)) == [i for part in parts for i in self.ids(part)]
                and not any(token.lstrip or token.rstrip for token in added))

    def conversation(self, messages: Sequence[Message]) -> Encoded:
        """As at inference the prompt is fixed before the answer begins: no token reaches over the place."""
        cut = self._cut(messages)
        return _joined(cut, [self.ids(segment.text) for segment in cut]) if self._parts else self._whole(cut)

    def conversations(self, many: Sequence[Sequence[Message]]) -> list[Encoded]:
        """Each as conversation() has it, tokenised on all cores; of texts that stand in several, once."""
        cuts = [self._cut(messages) for messages in many]
        if not self._parts:
            return [self._whole(cut) for cut in cuts]
        texts = list({segment.text for cut in cuts for segment in cut})
        ids = {text: encoding.ids for text, encoding in zip(
            texts, self.tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True)}
        return [_joined(cut, [ids[segment.text] for segment in cut]) for cut in cuts]

    def _cut(self, messages: Sequence[Message]) -> list[Segment]:
        return [segment for segment in segments(self.template, messages, self.stop) if segment.text]

    def _whole(self, cut: Sequence[Segment]) -> Encoded:
        """Tokenises segments as one text, or as two where a token would reach over the beginning of an answer."""
        encoding = self.tokenizer.encode("".join(segment.text for segment in cut), add_special_tokens=False)
        starts = list(accumulate((len(segment.text) for segment in cut[:-1]), initial=0))
        for i, segment in enumerate(cut):
            if segment.trained and any(begin < starts[i] < end for begin, end in encoding.offsets):
                before, after = self._whole(cut[:i]), self._whole(cut[i:])
                return Encoded(before.ids + after.ids, before.trained + after.trained)
        return Encoded(encoding.ids, [int(cut[bisect(starts, begin) - 1].trained) for begin, _ in encoding.offsets])

    def trained(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The trained ids of each conversation, as conversation() marks them."""
        if not self._parts:
            return [list(compress(encoded.ids, encoded.trained)) for encoded in map(self.conversation, conversations)]
        texts = [[segment.text for segment in segments(self.template, messages, self.stop) if segment.trained]
                 for messages in conversations]
        encoded = iter(self.tokenizer.encode_batch_fast([text for own in texts for text in own],
                                                        add_special_tokens=False))
        return [[token for _ in own for token in next(encoded).ids] for own in texts]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer begins."""
        return self.ids(self.template.render(messages, prompt=True))
