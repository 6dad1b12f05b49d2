"""Conversations as token ids, with a mask of what is trained: the assistant's words and the token that ends them."""

from __future__ import annotations

import json
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, compress
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import BPE

from phoenix_forge.chat.counting import Counter
from phoenix_forge.chat.pieces import Piece, pieces
from phoenix_forge.chat.template import (
    REFUSED,
    THOUGHT,
    ChatTemplate,
    Message,
    beside,
    is_plain,
    thought,
    unwrapped,
)
from phoenix_forge.core.fsio import TOKENIZER_LIMIT, read_limited
from phoenix_forge.errors import UsageError


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
    Where it takes the thought out of a past answer (Qwen3), what it leaves up to there is context and not trained.

    Raises UsageError where no mask can be derived, and for tools, calls, results or thoughts that the template leaves
    out: what is not written is not silently trained without.
    """
    render = partial(template.render, thoughts=any(map(thought, messages)))
    marked = [_marked(i, message) for i, message in enumerate(messages)]
    cuts: list[Segment] = []
    signs: list[str] = []  # of each answer so far: what tells where a rendered text has it
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt, through = render(marked[:i], prompt=True), render(marked[: i + 1])
        through = _as_told(template, through, prompt, _mark(i), marked[:i])
        cuts = _continued(cuts, prompt, signs, messages[:i], stop)
        _require_spoken(template, message, _mark(i), through, stop)
        text, sign, behind = _answered(message, _mark(i), through, prompt, marked[:i], stop)
        _require_spoken(template, message, _mark(i), text, stop)
        cuts.append(Segment(text, learned(message)))
        signs.append(sign)
    if not messages or messages[-1]["role"] != "assistant":
        cuts = _continued(cuts, render(marked), signs, messages, stop)
    else:
        cuts.append(Segment(behind, False))
    if not is_plain(messages):
        _require_context(template, render, messages)
    spoken = {
        _mark(i): _words(message)[1]
        for i, message in enumerate(messages)
        if marked[i] is not message
    }
    return [
        Segment(_MARK.sub(lambda mark: spoken.get(mark[0], mark[0]), cut.text), cut.trained)
        for cut in cuts
    ]


def learned(message: Message) -> bool:
    """Whether an answer is trained; some stand in a dataset only for what was said to them."""
    return message.get("weight") != "0"


def _mark(i: int) -> str:
    return f"\x02answer {i}\x03"


_MARK = re.compile("\x02answer [0-9]+\x03")


def _words(message: Message) -> tuple[str, str]:
    """A thought at the beginning of an answer's text with what stands around it, and the words behind."""
    found = THOUGHT.match(message["content"])
    place = found.end() if found else 0
    return message["content"][:place], message["content"][place:]


def _wordless(message: Message) -> bool:
    """Whether an answer is calls alone."""
    return "tool_calls" in message and not _words(message)[1].strip()


def _marked(i: int, message: Message) -> Message:
    """An answer with a mark in place of its words; others as they are."""
    if message["role"] != "assistant" or _wordless(message):
        return message
    return message | {"content": _words(message)[0] + _mark(i)}


def _continued(
    cuts: list[Segment], rendered: str, signs: Sequence[str], past: Sequence[Message], stop: str
) -> list[Segment]:
    """The turns up to the last answer, and what `rendered` adds to these.

    Where past turns have changed, it begins behind that answer: Qwen3 takes the empty thought out of past turns,
    Mistral moves the system prompt to the last question. Thoughts that are gone are not to be learned, nor is an answer
    without the thought that it came of: then all is as `rendered` has it.
    """
    done = "".join([cut.text for cut in cuts])
    if rendered.startswith(done):
        return [*cuts, Segment(rendered[len(done) :], False)]
    place = 0
    for sign in signs:
        place = rendered.find(sign, place)
        if place < 0:
            raise _underivable(stop)
    end = rendered.find(stop, place)
    if end < 0:
        raise _underivable(stop)
    if any(thought(message) not in rendered for message in past):
        return [Segment(rendered, False)]
    return [*cuts, Segment(rendered[end + len(stop) :], False)]


def _answered(
    message: Message, mark: str, through: str, prompt: str, asked: Sequence[Message], stop: str
) -> tuple[str, str, str]:
    """An answer as it is generated behind `prompt`, up to its `stop`; what it is known by; what stands behind it."""
    if not _wordless(message):
        lead, ending, behind = _around(mark, through, prompt, asked, stop)
        return lead + mark + ending, mark, behind
    called, stopped, behind = through[_begins(through, prompt, asked, stop) :].rpartition(stop)
    if not stopped:
        raise _underivable(stop)
    start = max(called.rfind(message["tool_calls"][0]["function"]["name"]), 0)
    return called + stop, called[start:] + stop, behind


def _as_told(
    template: ChatTemplate, through: str, prompt: str, mark: str, asked: Sequence[Message]
) -> str:
    """A rendered answer behind the empty thought with which its prompt says that none is wanted, where the template
    writes that in prompts alone (Gemma 4)."""
    header, marked, behind = through.partition(mark)
    empty = prompt.removeprefix(header)
    if (
        not marked
        or empty in ("", prompt)
        or template.render(asked, prompt=True, thoughts=True).endswith(empty)
    ):
        return through
    return prompt + marked + behind


def _begins(through: str, prompt: str, asked: Sequence[Message], stop: str) -> int:
    """Where an answer that holds no mark begins: behind its prompt, or behind what that has from the question on."""
    if through.startswith(prompt):
        return len(prompt)
    question = asked[-1]["content"].strip() if asked else ""
    from_question = prompt[prompt.rfind(question) :]
    if not question or question not in prompt or from_question not in through:
        raise _underivable(stop)
    return through.rfind(from_question) + len(from_question)


def _around(
    mark: str, through: str, prompt: str, asked: Sequence[Message], stop: str
) -> tuple[str, str, str]:
    """What stands between a prompt and an answer, behind the answer up to its `stop`, and behind that."""
    header, _, behind = through.partition(mark)
    ending, stopped, rest = behind.partition(stop)
    if not stopped or mark in behind:
        raise _underivable(stop)
    if header.startswith(prompt):
        return header[len(prompt) :], ending + stop, rest
    # Mistral writes the system prompt only while a question is last: from the question on the two have to agree.
    question = asked[-1]["content"].strip() if asked else ""
    start, end = header.rfind(question), len(header.rstrip())
    for place in range(len(header), end - 1, -1):
        if question and start >= 0 and prompt.endswith(header[start:place]):
            return header[place:], ending + stop, rest
    raise _underivable(stop)


def _underivable(stop: str) -> UsageError:
    return UsageError(
        "the chat template does not render an answer as what follows its own prompt, leaves out or moves "
        f"past answers, or ends an assistant turn without {stop!r}: no loss mask can be derived",
        fix=REFUSED,
    )


# -- what a template leaves out ----------------------------------------------------------------------------------------


def _require_spoken(
    template: ChatTemplate, message: Message, mark: str, through: str, stop: str
) -> None:
    """Refuses a template that leaves out something of an answer, in all that it writes or where the answer is."""
    if thought(message) not in through:
        raise _left_out(template, "an answer's thoughts")
    calls = message.get("tool_calls", [])
    if any(call["function"]["name"] not in through for call in calls):
        raise _left_out(template, "tool calls")
    if calls and not _wordless(message) and mark not in through:
        raise _left_out(template, "what an answer says beside its tool calls")
    if calls and stop not in through[through.rfind(calls[-1]["function"]["name"]) :]:
        raise UsageError(
            f"the chat template{_of(template)} does not end a turn of tool calls with {stop!r}, as it "
            "ends answers: no loss mask can be derived",
            fix=REFUSED,
        )


def _require_context(
    template: ChatTemplate, render: Callable[[Sequence[Message]], str], messages: Sequence[Message]
) -> None:
    """Refuses a template that leaves out what answers are given to: tools, documents, results."""
    whole, given = render(messages), beside(messages)
    for name in given:
        bare = [
            {key: value for key, value in message.items() if key != name} for message in messages
        ]
        if render(bare) == whole:
            raise _left_out(template, f"`{name}`")
    if any(tool["function"]["name"] not in whole for tool in given.get("tools", [])):
        raise _left_out(template, "some of the `tools`")
    for message in messages:
        if message["role"] == "tool" and not _holds(whole, unwrapped(message["content"]).strip()):
            raise _left_out(template, "tool results")


def _holds(text: str, result: str) -> bool:
    """Whether a text has a tool's result, as it is or as a JSON string (Llama 3.1)."""
    return result in text or json.dumps(result, ensure_ascii=False)[1:-1] in text


def _of(template: ChatTemplate) -> str:
    return f" of {template.name}" if template.name else ""


def _left_out(template: ChatTemplate, what: str) -> UsageError:
    return UsageError(
        f"the chat template{_of(template)} leaves out {what}: it would be trained as if the data had "
        "none",
        fix=REFUSED,
    )


def _joined(cut: Sequence[Segment], pieces: Sequence[list[int]]) -> Encoded:
    """The segments, each tokenised by itself, as one."""
    return Encoded(
        [i for piece in pieces for i in piece],
        [int(segment.trained) for segment, piece in zip(cut, pieces, strict=True) for _ in piece],
    )


# With one that is not part of every merge the library panics, and with some (a NUL) it takes the process with it.
_SUBWORDS = re.compile(rb'"continuing_subword_prefix"\s*:\s*"[^"]')


class _Panics:
    """Refuses a file at which the tokenizers library panics: a panic in Rust is no Exception, and no name to import."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if kind and kind.__name__ == "PanicException":
            raise UsageError(
                f"{self.path} is not a tokenizer: reading it failed with {error}",
                fix="forge download --force",
            ) from None


class Encoder:
    """Tokenizer and chat template of one base folder."""

    folder: Path | None = None  # where it was loaded from, for other processes to do the same
    description: bytes | None = None  # its tokenizer.json

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, stop: str, pad: str) -> None:
        self.tokenizer, self.template, self.stop, self.pad = tokenizer, template, stop, pad
        self.stop_id, self.pad_id = self._id(stop), self._id(pad)
        if self.stop_id == self.pad_id:
            raise UsageError(
                f"stop and padding are both {stop!r}: the model would never learn to stop",
                fix="choose a base with a separate padding token",
            )

    def _id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise UsageError(
                f"the base's tokenizer has no token {token!r}, with which its family ends or pads turns: "
                "it is another model under the same architecture, or none for chat",
                fix="choose another base: an instruct model of the family",
            )
        return found

    @staticmethod
    def load(folder: Path, *, stop: str, pad: str, adapter: Path | None = None) -> Encoder:
        """From a model folder; `stop` and `pad` come from its family's row. An `adapter` may bring a template."""
        path = folder / "tokenizer.json"
        if not path.exists():
            raise UsageError(f"{folder} has no tokenizer.json", fix="forge download --force")
        description = read_limited(path, TOKENIZER_LIMIT)
        if _SUBWORDS.search(description):
            raise UsageError(
                f"{path} is not a tokenizer of a supported family: it has a continuing_subword_prefix",
                fix="choose another base",
            )
        try:  # from_buffer: for a damaged file it raises ValueError, from_file a bare Exception
            with _Panics(path):
                tokenizer = Tokenizer.from_buffer(description)
        except ValueError as error:
            raise UsageError(
                f"{path} is not a tokenizer: {error}", fix="forge download --force"
            ) from error
        if not isinstance(tokenizer.model, BPE):
            raise UsageError(
                f"{path} is not a tokenizer of a supported family: {type(tokenizer.model).__name__}, "
                "expected BPE",
                fix="choose another base",
            )
        unknown = tokenizer.model.unk_token
        if (
            unknown and tokenizer.model.token_to_id(unknown) is None
        ):  # the library says so at the first unknown letter
            raise UsageError(
                f"{path} is not a tokenizer: its unk_token {unknown!r} is not in its vocabulary",
                fix="forge download --force",
            )
        encoder = Encoder(tokenizer, ChatTemplate.load(folder, adapter), stop, pad)
        encoder.folder, encoder.description = folder, description
        return encoder

    def thinking(self) -> Encoder:
        """The same with a template that asks for thoughts, as for a dataset that has some."""
        other = copy(self)
        other.template = self.template.thinking()
        return other

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def count(self, text: str) -> int:
        """Tokens in a text."""
        return len(self.ids(text))

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens in each text, on all cores."""
        return [
            len(e.ids)
            for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def behind(self, texts: Sequence[tuple[str, str]]) -> list[list[int]]:
        """Ids of each (beginning, rest), on all cores. A beginning that ends with `stop` is tokenised once for all that
        have it: demonstrations are most of a teacher's prompts, and the same in thousands of them."""
        apart = [self._parts and beginning.endswith(self.stop) for beginning, _ in texts]
        shared = {beginning for (beginning, _), own in zip(texts, apart, strict=True) if own}
        known = {beginning: self.ids(beginning) for beginning in shared}
        rests = [
            rest if own else beginning + rest
            for (beginning, rest), own in zip(texts, apart, strict=True)
        ]
        found = self.tokenizer.encode_batch_fast(rests, add_special_tokens=False)
        return [
            known.get(beginning, []) + one.ids if own else one.ids
            for (beginning, _), own, one in zip(texts, apart, found, strict=True)
        ]

    @cached_property
    def fast_counts(self) -> Counter:
        """As counts(), several times faster for common tokenizers; see phoenix_forge.chat.counting for what that rests
        on."""
        return Counter(self.tokenizer, self.description)

    @cached_property
    def _parts(self) -> bool:
        """Whether a text's parts, each by itself, give its tokens. Byte-level BPE does so around control tokens and
        between lines; SentencePiece opens a text with a space, and some control tokens take the space beside them."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        parts = [self.stop, "\n", self.stop, "\n", "x"]
        return self.ids("".join(parts)) == [
            i for part in parts for i in self.ids(part)
        ] and not any(token.lstrip or token.rstrip for token in added)

    def conversation(self, messages: Sequence[Message]) -> Encoded:
        """As at inference the prompt is fixed before the answer begins: no token reaches over the place."""
        cut = self._cut(messages)
        return (
            _joined(cut, [self.ids(segment.text) for segment in cut])
            if self._parts
            else self._whole(cut)
        )

    def conversations(self, many: Sequence[Sequence[Message]]) -> list[Encoded]:
        """Each as conversation() has it, tokenised on all cores; of texts that stand in several, once."""
        cuts = [self._cut(messages) for messages in many]
        if not self._parts:
            return [self._whole(cut) for cut in cuts]
        texts = list({segment.text for cut in cuts for segment in cut})
        ids = {
            text: encoding.ids
            for text, encoding in zip(
                texts,
                self.tokenizer.encode_batch_fast(texts, add_special_tokens=False),
                strict=True,
            )
        }
        return [_joined(cut, [ids[segment.text] for segment in cut]) for cut in cuts]

    def _cut(self, messages: Sequence[Message]) -> list[Segment]:
        return [segment for segment in segments(self.template, messages, self.stop) if segment.text]

    def _whole(self, cut: Sequence[Segment]) -> Encoded:
        """Tokenises segments as one text, or as two where a token would reach over the beginning of an answer."""
        encoding = self.tokenizer.encode(
            "".join(segment.text for segment in cut), add_special_tokens=False
        )
        starts = list(accumulate((len(segment.text) for segment in cut[:-1]), initial=0))
        for i, segment in enumerate(cut):
            if segment.trained and any(begin < starts[i] < end for begin, end in encoding.offsets):
                before, after = self._whole(cut[:i]), self._whole(cut[i:])
                return Encoded(before.ids + after.ids, before.trained + after.trained)
        return Encoded(
            encoding.ids,
            [int(cut[bisect(starts, begin) - 1].trained) for begin, _ in encoding.offsets],
        )

    def trained(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """The trained ids of each conversation, as conversation() marks them."""
        if not self._parts:
            return [
                list(compress(encoded.ids, encoded.trained))
                for encoded in map(self.conversation, conversations)
            ]
        texts = [
            [
                segment.text
                for segment in segments(self.template, messages, self.stop)
                if segment.trained
            ]
            for messages in conversations
        ]
        encoded = iter(
            self.tokenizer.encode_batch_fast(
                [text for own in texts for text in own], add_special_tokens=False
            )
        )
        return [[token for _ in own for token in next(encoded).ids] for own in texts]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where the assistant's answer begins; control tokens in what somebody wrote are text."""
        first, *rest = pieces(self.template, messages, self._acts)
        return self.ids(first.text) + [i for piece in rest for i in self._read(piece)]

    def _acts(self, text: str) -> bool:
        return bool(self.control_tokens.search(text))

    def _read(self, piece: Piece) -> list[int]:
        if not piece.written:
            return self.ids(piece.text)
        return self._literal.encode(piece.text, add_special_tokens=False).ids

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """Matches the tokenizer's control tokens; nothing where it has none."""
        texts = {
            token.content
            for token in self.tokenizer.get_added_tokens_decoder().values()
            if token.special
        }
        return re.compile(
            "|".join(map(re.escape, sorted(texts - {""}, key=lambda text: (-len(text), text))))
            or "(?!)"
        )

    @cached_property
    def _literal(self) -> Tokenizer:
        """The tokenizer, to which control tokens are text."""
        other = Tokenizer.from_str(self.tokenizer.to_str())
        other.encode_special_tokens = True
        return other
