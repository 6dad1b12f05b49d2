"""Tool calls in what a model writes, read by the syntax in which its own chat template writes them.

No template names its syntax. It shows it by rendering a call: the row of SYNTAXES that reads this call again is it.
What no row reads, a broken call or one of a tool that was not offered, stays text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from phoenix_forge.chat.template import ChatTemplate, Message
from phoenix_forge.errors import UsageError

MOST = 128  # calls that are read of one answer
Tools = Mapping[
    str, Mapping[str, Any]
]  # what is offered: a function's description by its name, as OpenAI's API has it


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]


Schema = dict[str, Any]
Reader = Callable[[str, "re.Match[str]", Tools], tuple[list[Call], int]]
Binder = Callable[[Mapping[str, Schema], int], Schema]


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


_JSON = json.JSONDecoder(parse_constant=_refused, parse_float=_finite)


def _call(name: Any, arguments: Any) -> Call:
    """Raises ValueError for what is no call, UnicodeEncodeError (one of them) for half a character."""
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError("no name with an object of arguments")
    json.dumps(arguments, ensure_ascii=False).encode()
    return Call(name, arguments)


def _objects(key: str) -> Reader:
    """JSON with `name` and, under `key`, arguments: one such object, or a list of them."""

    def read(text: str, opening: re.Match[str], tools: Tools) -> tuple[list[Call], int]:
        value, end = _JSON.raw_decode(text, opening.end())
        calls = value if isinstance(value, list) else [value]
        if not all(isinstance(call, dict) for call in calls):
            raise ValueError("no object")
        return [_call(call.get("name"), call.get(key)) for call in calls], end

    return read


def _bound(key: str, *, listed: bool = False) -> Binder:
    """The schema of one such object, or of a list with up to `most`, from that of each function's arguments."""

    def bind(arguments: Mapping[str, Schema], most: int) -> Schema:
        calls = [
            {
                "type": "object",
                "properties": {"name": {"const": name}, key: schema},
                "required": ["name", key],
            }
            for name, schema in arguments.items()
        ]
        call = calls[0] if len(calls) == 1 else {"anyOf": calls}
        return {"type": "array", "items": call, "minItems": 1, "maxItems": most} if listed else call

    return bind


def _arguments(text: str, opening: re.Match[str], tools: Tools) -> tuple[list[Call], int]:
    """The name in the opening, and the arguments as JSON."""
    value, end = _JSON.raw_decode(text, opening.end())
    return [_call(opening["name"], value)], end


def _elements(before: str, between: str, behind: str, end: str, *, lines: bool = False) -> Reader:
    """The name in the opening, and an element an argument: the name of it between `before` and `between`, then up to
    `behind` its text, which is JSON unless the tool takes a text there. With `lines` it has lines of its own."""
    start, close = re.escape(before), re.escape(end)
    argument = re.compile(
        rf"\s*{start}(?P<key>[^<>\"]*){between}(?P<value>.*?){re.escape(behind)}(?=\s*(?:{start}|{close}))",
        re.DOTALL,
    )
    closing = re.compile(rf"\s*{close}")

    def read(text: str, opening: re.Match[str], tools: Tools) -> tuple[list[Call], int]:
        place, given = opening.end(), {}
        while found := argument.match(text, place):
            value = found["value"]
            said = value.removeprefix("\n").removesuffix("\n") if lines else value
            given[found["key"]] = _value(said, tools.get(opening["name"], {}), found["key"])
            place = found.end()
        ended = closing.match(text, place)
        if ended is None:
            raise ValueError("an element is not closed")
        return [_call(opening["name"], given)], ended.end()

    return read


def _notation(quote: str) -> Reader:
    """The name in the opening, and the arguments in Gemma's notation: JSON but for names, which are bare, and texts,
    which have quotes of their own and nothing escaped."""
    sign = re.escape(quote)
    piece = re.compile(
        rf"{sign}(?P<text>.*?){sign}|(?P<name>[^\s:{{}}\[\],]+)(?=\s*:)|[{{}}\[\],:]|[^\s:{{}}\[\],]+|\s+",
        re.DOTALL,
    )
    deeper = {"{": 1, "[": 1, "}": -1, "]": -1}

    def read(text: str, opening: re.Match[str], tools: Tools) -> tuple[list[Call], int]:
        place, depth, made = opening.end(), 0, []
        while found := piece.match(text, place):
            kind = found.lastgroup
            made.append(json.dumps(found[kind]) if kind else found[0])
            place = found.end()
            depth += 0 if kind else deeper.get(found[0], 0)
            if depth == 0:
                break
        return [_call(opening["name"], _JSON.decode("".join(made)))], place

    return read


def _value(text: str, tool: Mapping[str, Any], name: str) -> Any:
    try:
        kind = tool["parameters"]["properties"][name]["type"]
    except (LookupError, TypeError):
        kind = None
    if kind == "string":
        return text
    try:
        return _JSON.decode(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Syntax:
    """How models write calls: `opening` is what stands before what `read` reads, `closing` what may stand behind it.
    Every call begins with one of `marks`; `first`, with nothing said before it. `tokens` are further control tokens
    that models write in calls. `bind` gives the JSON schema of what is read, where that is JSON. `identity` is what the
    id of a call has to be where the template writes the name from there, with its number in the conversation."""

    models: str
    marks: tuple[str, ...]
    opening: re.Pattern[str]
    read: Reader
    closing: re.Pattern[str] = re.compile("")
    first: bool = False
    tokens: tuple[str, ...] = ()
    bind: Binder | None = None
    identity: str = ""

    def calls(self, text: str, tools: Tools) -> tuple[str, list[Call]]:
        """What is said beside the calls of an answer, without the white space before each; and the calls."""
        said: list[str] = []
        calls: list[Call] = []
        place = behind = 0
        for opening in islice(self.opening.finditer(text), MOST):
            if opening.start() < behind:  # within a call
                continue
            try:
                found, behind = self.read(text, opening, tools)
            except (ValueError, RecursionError):
                continue
            if found and all(call.name in tools for call in found):
                said.append(text[place : opening.start()].rstrip())
                calls += found
                place = behind = _end(self.closing, text, behind)
        return ("".join([*said, text[place:].rstrip()]), calls) if calls else (text, [])

    def begins(self, text: str) -> int:
        """Where a call may begin in the text of an answer that goes on: its length, where none can."""
        if self.first:
            head = text.lstrip()
            return (
                0
                if any(head.startswith(mark) or mark.startswith(head) for mark in self.marks)
                else len(text)
            )
        return min(_begins(text, mark) for mark in self.marks)


def _end(closing: re.Pattern[str], text: str, place: int) -> int:
    found = closing.match(text, place)
    return found.end() if found else place


def _begins(text: str, mark: str) -> int:
    """Where a mark stands, or may be about to stand."""
    place = text.find(mark)
    if place >= 0:
        return place
    parts = (len(text) - length for length in range(min(len(mark) - 1, len(text)), 0, -1))
    return next((place for place in parts if mark.startswith(text[place:])), len(text))


_NAME = r"(?P<name>[^\s<>\[\]{}()]{1,128})"
_BARE = r"(?P<name>[^\s<>\[\]{}():]{1,128})"


def _alone(arguments: Mapping[str, Schema], most: int) -> Schema:
    """The schema of the arguments, where the name stands before them."""
    return next(iter(arguments.values()))


SYNTAXES = (
    Syntax(
        "Hermes, Qwen 2.5 and 3, Granite 4",
        ("<tool_call>",),
        re.compile(r"<tool_call>\s*(?=\{)"),
        _objects("arguments"),
        re.compile(r"\s*</tool_call>"),
        bind=_bound("arguments"),
    ),
    Syntax(
        "Llama 3",
        ("{", "<|python_tag|>"),
        re.compile(r"(?:\A|(?<=\})\s*;)\s*(?:<\|python_tag\|>)?\s*(?=\{)"),
        _objects("parameters"),
        first=True,
        bind=_bound("parameters"),
    ),
    Syntax(
        "Mistral to Nemo",
        ("[TOOL_CALLS]",),
        re.compile(r"\[TOOL_CALLS\]\s*(?=\[\s*\{)"),
        _objects("arguments"),
        bind=_bound("arguments", listed=True),
    ),
    Syntax(
        "Mistral Small 3.2, Ministral 3",
        ("[TOOL_CALLS]",),
        re.compile(rf"\[TOOL_CALLS\]{_NAME}(?:\[CALL_ID\]\w+)?\[ARGS\]\s*(?=\{{)"),
        _arguments,
        tokens=("[CALL_ID]", "[ARGS]"),
        bind=_alone,
    ),
    Syntax(
        "Qwen 3 Coder, Qwen 3.5, Nemotron 3",
        ("<tool_call>",),
        re.compile(rf"<tool_call>\s*<function={_NAME}>\s*"),
        _elements("<parameter=", ">", "</parameter>", "</function>", lines=True),
        re.compile(r"\s*</tool_call>"),
    ),
    Syntax(
        "Seed-OSS",
        ("<seed:tool_call>",),
        re.compile(rf"<seed:tool_call>\s*<function={_NAME}>\s*"),
        _elements("<parameter=", ">", "</parameter>", "</function>", lines=True),
        re.compile(r"\s*</seed:tool_call>"),
    ),
    Syntax(
        "GLM 4.5 to 4.7",
        ("<tool_call>",),
        re.compile(rf"<tool_call>\s*{_NAME}\s*(?=<arg_key>|</tool_call>)"),
        _elements("<arg_key>", r"</arg_key>\s*<arg_value>", "</arg_value>", "</tool_call>"),
    ),
    Syntax(
        "MiniMax M2",
        ("<minimax:tool_call>", "<invoke "),
        re.compile(r'(?:<minimax:tool_call>\s*)?<invoke name="(?P<name>[^\s<>"]{1,128})">'),
        _elements('<parameter name="', '">', "</parameter>", "</invoke>"),
        re.compile(r"\s*</minimax:tool_call>"),
    ),
    Syntax(
        "Kimi K2",
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
        re.compile(
            rf"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>\s*(?:functions\.)?{_BARE}(?::\d+)?\s*"
            r"<\|tool_call_argument_begin\|>\s*(?=\{)"
        ),
        _arguments,
        re.compile(r"\s*<\|tool_call_end\|>(?:\s*<\|tool_calls_section_end\|>)?"),
        tokens=(
            "<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
            "<|tool_calls_section_end|>",
        ),
        bind=_alone,
        identity="functions.{name}:{number}",
    ),
    Syntax(
        "DeepSeek 3.1",
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
        re.compile(
            rf"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>{_NAME}<｜tool▁sep｜>\s*(?=\{{)"
        ),
        _arguments,
        re.compile(r"\s*<｜tool▁call▁end｜>(?:\s*<｜tool▁calls▁end｜>)?"),
        tokens=("<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
        bind=_alone,
    ),
    Syntax(
        "Gemma 4",
        ("<|tool_call>",),
        re.compile(rf"<\|tool_call>call:{_BARE}(?=\{{)"),
        _notation('<|"|>'),
        re.compile(r"<tool_call\|>"),
        tokens=('<|"|>', "<tool_call|>"),
    ),
    Syntax(
        "FunctionGemma",
        ("<start_function_call>",),
        re.compile(rf"<start_function_call>call:{_BARE}(?=\{{)"),
        _notation("<escape>"),
        re.compile(r"<end_function_call>"),
        tokens=("<escape>", "<end_function_call>"),
    ),
)


# -- which syntax a template writes ------------------------------------------------------------------------------------


_SHOWN = "probe_of_calls"  # a name that no template has
_IDENTITY = "a1b2c3d4e"  # as Mistral wants them
_RESULT = "result of the probe"
_OFFERED = {
    _SHOWN: {
        "name": _SHOWN,
        "description": "x",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "string"}},
            "required": ["x"],
        },
    }
}
_ASKED: Message = {
    "role": "user",
    "content": "x",
    "tools": [{"type": "function", "function": function} for function in _OFFERED.values()],
}
_IDS = (
    _IDENTITY,
    *(row.identity.format(name=_SHOWN, number=0) for row in SYNTAXES if row.identity),
)


def _called(identity: str, times: int = 1) -> Message:
    function = {"name": _SHOWN, "arguments": {"x": "y"}}
    call = {"id": identity, "type": "function", "function": function}
    return {"role": "assistant", "content": "", "tool_calls": [call] * times}


_TOLD: Message = {"role": "tool", "tool_call_id": _IDENTITY, "name": _SHOWN, "content": _RESULT}


@dataclass(frozen=True)
class Spoken:
    """A template's syntax, and how it begins the answer that calls `_SHOWN`, up to what the syntax reads; what stands
    behind that, and, where it writes a call behind a call, what stands between the two. `ends` are tokens that may end an
    answer."""

    syntax: Syntax
    beginning: str
    ending: str = ""
    between: str | None = None
    ends: tuple[str, ...] = ()

    @staticmethod
    def named(text: str, name: str) -> str:
        """A text of the template with another function's name."""
        return text.replace(_SHOWN, name)

    def beginning_of(self, name: str) -> str:
        return self.named(self.beginning, name)

    @property
    def unnamed(self) -> str:
        """The beginning of a call, whatever it calls."""
        return self.beginning.partition(_SHOWN)[0]

    @property
    def names_first(self) -> bool:
        return _SHOWN in self.beginning


def spoken(template: ChatTemplate) -> Spoken:
    """How a template's model writes calls. Raises UsageError for a template that leaves tools, calls or results out,
    and for one whose calls no row reads."""
    prompt = template.render([_ASKED], prompt=True)
    _require(template, _SHOWN in prompt, "has no place for tools")
    answers = (_answer(template.render([_ASKED, _called(identity)]), prompt) for identity in _IDS)
    answer = next((answer for answer in answers if _SHOWN in answer), "")
    _require(template, bool(answer), "has no place for tool calls")
    told = template.render([_ASKED, _called(_IDENTITY), _TOLD], prompt=True)
    _require(template, _RESULT in told, "has no place for tool results")
    for syntax in SYNTAXES:
        opening = syntax.opening.search(answer)
        if opening and syntax.calls(answer, _OFFERED)[1] == [Call(_SHOWN, {"x": "y"})]:
            _, end = syntax.read(answer, opening, _OFFERED)
            closed = _end(syntax.closing, answer, end)
            return Spoken(
                syntax,
                answer[: opening.end()],
                answer[end:closed],
                _between(template, syntax, prompt),
                (answer[closed:].strip(), template.special.get("eos_token", "")),
            )
    raise _unread(template, f"writes tool calls in a syntax that is not read: {answer!r:.200}")


def _between(template: ChatTemplate, syntax: Syntax, prompt: str) -> str | None:
    """What a template writes between two calls, up to what is read of the second; None where it writes one alone, or
    both as one list."""
    identity = syntax.identity.format(name=_SHOWN, number=0) or _IDENTITY
    try:
        answer = _answer(template.render([_ASKED, _called(identity, 2)]), prompt)
    except UsageError:
        return None
    openings = [*syntax.opening.finditer(answer)]
    if len(openings) != 2:
        return None
    _, end = syntax.read(answer, openings[0], _OFFERED)
    return answer[end : openings[1].end()]


def _require(template: ChatTemplate, held: bool, otherwise: str) -> None:
    if not held:
        raise _unread(template, otherwise)


def _unread(template: ChatTemplate, why: str) -> UsageError:
    of = f" of {template.name}" if template.name else ""
    return UsageError(
        f"the chat template{of} {why}",
        fix="leave the tools out, or choose a base whose calls are read: "
        "--set model.base=qwen3-0.6b",
    )


def uses_tools(messages: Sequence[Message]) -> bool:
    """Whether a conversation has anything to do with tools."""
    return any(
        message["role"] == "tool" or "tool_calls" in message or "tools" in message
        for message in messages
    )


def _answer(told: str, prompt: str) -> str:
    """What stands behind a prompt; from the beginning of a line, where the two part within one (QwQ's thoughts)."""
    if told.startswith(prompt):
        return told[len(prompt) :]
    shared = next(
        (i for i, (a, b) in enumerate(zip(told, prompt, strict=False)) if a != b), len(prompt)
    )
    return told[told.rfind("\n", 0, shared) + 1 :]


# -- an answer as it is written ----------------------------------------------------------------------------------------


class Hearing:
    """One answer, piece by piece. What cannot be of a call is told at once, the rest when it is known what it is.

    `begun` is what the prompt held of the answer already.
    """

    def __init__(self, syntax: Syntax, tools: Tools, begun: str = "") -> None:
        self.syntax, self.tools = syntax, tools
        self._held = [begun]
        self._calling, self._plain, self._blank = bool(begun), False, False

    def add(self, piece: str) -> str:
        """What of the answer can be told now."""
        if self._plain:
            return piece
        self._held.append(piece)
        if self._calling or (self._blank and piece.isspace()):
            return ""
        text = "".join(self._held)
        place = self.syntax.begins(text)
        if self.syntax.first and place:
            self._plain = True
            return text
        self._calling = text[place:].lstrip().startswith(self.syntax.marks)
        told = text[:place].rstrip()
        self._held = [text[len(told) :]]
        self._blank = self._held[0].isspace()
        return told

    def end(self) -> tuple[str, list[Call]]:
        """The rest of what is said, and the calls."""
        return ("", []) if self._plain else self.syntax.calls("".join(self._held), self.tools)

    def whole(self, text: str) -> tuple[str, list[Call]]:
        """The same of an answer that is there."""
        told = self.add(text)
        rest, calls = self.end()
        return told + rest, calls
