"""Go's text/template, as far as Ollama's chat templates use it: what Ollama makes of a conversation, without Ollama.

Written from the documentation of Go's packages text/template and text/template/parse, and held against Go itself
(tests/chat/go_golden.json). What is left out (template definitions, methods, formatted printing) is refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phoenix_forge.chat.template import Message
from phoenix_forge.errors import UsageError

SPACE = " \t\r\n"
ACTION = re.compile(
    r"""\{\{(?P<left>-(?=[ \t\r\n]))?(?:\s*/\*(?P<comment>.*?)\*/\s*?|"""
    r"""(?P<body>(?:"(?:\\.|[^"\\\n])*"|`[^`]*`|[^"`}]|\}(?!\}))*?))"""
    r"""(?P<right>(?<=[ \t\r\n])-)?\}\}""",
    re.DOTALL,
)
TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[+-]?\d+(?![\w.]))"""
    r"""|(?P<path>(?:\$\w*)?(?:\.\w+)+|\$\w*|\.)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[=|(),])"""
)
ASSIGNED = re.compile(r"\s*(\$\w+)\s*(?:,\s*(\$\w+)\s*)?(:=|=)")
BLOCKS = ("if", "range", "with")
CONSTANTS = {"true": True, "false": False, "nil": None}
# What a message of Ollama's has beside role and content (template/template.go, templateMessage).
EMPTY: dict[str, Any] = {
    "Thinking": "",
    "Images": [],
    "ToolCalls": [],
    "ToolName": "",
    "ToolCallID": "",
}


class _Fault(Exception):
    """A template's own mistake; GoTemplate makes a UsageError of it."""


class _Left(Exception):
    """break or continue, on its way to the range around it."""


@dataclass(frozen=True)
class _Operand:
    """`value` by kind: a constant's, a path's root ("", "$" or a variable), a function's name, or a whole pipeline;
    `fields` are what is asked of it."""

    kind: str
    value: Any
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pipe:
    """`names := commands`: each command is its operands, and takes the value of the one before as its last."""

    names: tuple[str, ...]
    declares: bool
    commands: tuple[tuple[_Operand, ...], ...]


@dataclass(frozen=True)
class _Node:
    """`kind`: text, action, break, continue, or a block with its two bodies."""

    kind: str
    line: int
    text: str = ""
    pipe: _Pipe = _Pipe((), False, ())
    body: list[_Node] = field(default_factory=list)
    otherwise: list[_Node] = field(default_factory=list)


# -- reading
def _pieces(source: str) -> Iterator[tuple[bool, str, int]]:
    """(whether it is an action, its text, its line), white space trimmed where a marker says so."""
    at, trim = 0, False
    while at < len(source):
        start = source.find("{{", at)
        match = ACTION.match(source, start) if start >= 0 else None
        if start >= 0 and match is None:
            raise _Fault(f"line {source.count(chr(10), 0, start) + 1}: an action is never closed")
        text = source[at:start] if match else source[at:]
        text = text.lstrip(SPACE) if trim else text
        text = text.rstrip(SPACE) if match and match["left"] else text
        if text:
            yield False, text, source.count("\n", 0, at) + 1
        if match is None:
            return
        if match["comment"] is None:
            yield True, match["body"], source.count("\n", 0, start) + 1
        at, trim = match.end(), match["right"] is not None


class _Action:
    """The tokens of one action, read from left to right."""

    def __init__(self, body: str, line: int) -> None:
        self.line, self.at = line, 0
        self.tokens: list[tuple[str, str]] = []
        while self.at < len(body):
            match = TOKEN.match(body, self.at)
            if match is None:
                raise _Fault(f"line {line}: {body[self.at : self.at + 20]!r} is not understood")
            self.tokens.append((str(match.lastgroup), match[0]))
            self.at = match.end()
        self.tokens.append(("end", ""))
        self.at = 0

    def skip(self) -> tuple[str, str]:
        """The next token that is no space; it is not taken."""
        while self.tokens[self.at][0] == "space":
            self.at += 1
        return self.tokens[self.at]

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1]

    def word(self, *words: str) -> str:
        """The next token if it is one of these words: then it is taken."""
        kind, text = self.skip()
        return self.take()[1] if kind == "word" and text in words else ""

    def pipe(self, closing: str = "") -> _Pipe:
        names: tuple[str, ...] = ()
        head = ASSIGNED.match("".join(text for _, text in self.tokens[self.at :]))
        if head:
            names = tuple(name for name in head.group(1, 2) if name)
            while self.take()[1] != head[3]:
                pass
        commands = [self.command()]
        while self.skip()[1] == "|":
            self.take()
            commands.append(self.command())
        if self.skip()[1] != closing:
            raise self.fault(self.skip()[1])
        self.take()
        return _Pipe(names, bool(head and head[3] == ":="), tuple(commands))

    def command(self) -> tuple[_Operand, ...]:
        operands = []
        while self.skip()[1] not in ("|", ")", ""):
            operands.append(self.operand())
        if not operands:
            raise _Fault(f"line {self.line}: a value is missing")
        return tuple(operands)

    def operand(self) -> _Operand:
        kind, text = self.take()
        if kind == "string":
            return _Operand("constant", text[1:-1] if text[0] == "`" else self.unescaped(text))
        if kind == "number":
            return _Operand("constant", int(text))
        if kind == "path":
            root, *fields = text.split(".")
            return _Operand("path", root, tuple(name for name in fields if name))
        if kind == "word" and text in CONSTANTS:
            return _Operand("constant", CONSTANTS[text])
        if kind == "word" and text in FUNCTIONS:
            return _Operand("function", text)
        if text != "(":
            raise self.fault(text)
        inner = self.pipe(")")
        follows, path = self.tokens[self.at]
        fields = self.take()[1].split(".")[1:] if follows == "path" and path[0] == "." else []
        return _Operand("pipe", inner, tuple(fields))

    def unescaped(self, text: str) -> str:
        try:
            return json.loads(text)  # of Go's escapes, those that JSON has too
        except ValueError:
            raise self.fault(text) from None

    def fault(self, text: str) -> _Fault:
        return _Fault(f"line {self.line}: {text or 'its end'!r} is not understood here")


class _Parser:
    def __init__(self, source: str) -> None:
        self.pieces = _pieces(source)
        self.depth = 0

    def nodes(self) -> tuple[list[_Node], str, _Action]:
        """Nodes up to an else, an end or the end of the text: which of them (else, end or ""), and its action."""
        found: list[_Node] = []
        for is_action, text, line in self.pieces:
            if not is_action:
                found.append(_Node("text", line, text))
                continue
            action = _Action(text, line)
            if word := action.word("else", "end"):
                return found, word, action
            if word := action.word(*BLOCKS):
                found.append(self.block(word, action))
            elif word := action.word("break", "continue"):
                found.append(_Node(word, line))
            else:
                found.append(_Node("action", line, pipe=action.pipe()))
        return found, "", _Action("", 0)

    def block(self, kind: str, action: _Action) -> _Node:
        pipe = action.pipe()
        body, closing, last = self.nodes()
        otherwise: list[_Node] = []
        if closing == "else":
            if word := last.word("if", "with"):
                return _Node(
                    kind, action.line, "", pipe, body, [self.block(word, last)]
                )  # one end closes both
            otherwise, closing, last = self.nodes()
        if closing != "end":
            raise _Fault(f"line {action.line}: this {kind} is never ended")
        return _Node(kind, action.line, "", pipe, body, otherwise)


# -- rendering
def _length(value: Any) -> int:
    if not isinstance(value, (str, list, dict)):
        raise _Fault(f"len of {type(value).__name__}")
    return len(value.encode() if isinstance(value, str) else value)  # Go counts bytes


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and type(key) is int and 0 <= key < len(value):
            value = value[key]
        else:
            raise _Fault(f"index {key!r} out of range")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    length = _length(value)
    start, end, *more = [*bounds, *(0, length)[len(bounds) :]]
    if more or not isinstance(value, (str, list)) or not 0 <= start <= end <= length:
        raise _Fault(f"slice {bounds} out of range")
    return (
        value.encode()[start:end].decode(errors="replace")
        if isinstance(value, str)
        else value[start:end]
    )


def _equal(left: Any, *right: Any) -> bool:
    """Whether it equals any of the others; nil is only compared with what may be nil."""
    for value in right:
        if None not in (left, value) and (
            type(value) is not type(left) or not isinstance(value, (str, int))
        ):
            raise _Fault(f"{type(left).__name__} and {type(value).__name__} cannot be compared")
        if left == value:
            return True
    if not right:
        raise _Fault("a comparison with nothing")
    return False


def _unequal(left: Any, right: Any) -> bool:
    return not _equal(left, right)


def _order(left: Any, right: Any) -> int:
    """Below zero where `left` comes first; of strings and of numbers."""
    if type(left) is not type(right) or type(left) not in (str, int):
        raise _Fault(f"{type(left).__name__} and {type(right).__name__} have no order")
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    return (left > right) - (left < right)


def _json(value: Any) -> str:
    """As Go's encoding/json writes: no spaces, keys in order, and what HTML reads as its own escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _length,
    "index": _index,
    "slice": _slice,
    "not": lambda value: not value,
    "json": _json,
    "eq": _equal,
    "ne": _unequal,
    "lt": lambda a, b: _order(a, b) < 0,
    "le": lambda a, b: _order(a, b) <= 0,
    "gt": lambda a, b: _order(a, b) > 0,
    "ge": lambda a, b: _order(a, b) >= 0,
    # Both stop early: see _Run.call.
    "and": lambda first, *more: (first, *more)[-1],
    "or": lambda first, *more: (first, *more)[-1],
}
STOPS = {"and": False, "or": True}  # and is decided by a false value, or by a true one


class _Run:
    """One rendering: variables, innermost last, and what has been written."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.variables: list[tuple[str, Any]] = [("$", data)]
        self.written: list[str] = []

    def walk(self, nodes: Sequence[_Node], dot: Any) -> None:
        scope = len(self.variables)
        for node in nodes:
            try:
                self.node(node, dot)
            except (
                _Fault,
                TypeError,
            ) as fault:  # TypeError: a function got too few or too many arguments
                told = str(fault)
                raise _Fault(
                    told if told.startswith("line ") else f"line {node.line}: {told}"
                ) from None
        del self.variables[scope:]

    def node(self, node: _Node, dot: Any) -> None:
        scope = len(self.variables)
        if node.kind == "text":
            self.written.append(node.text)
        elif node.kind == "action":
            value = self.pipe(node.pipe, dot)
            if not node.pipe.names:
                self.written.append(_printed(value))
            return  # a variable declared here lives on in its block
        elif node.kind in ("break", "continue"):
            raise _Left(node.kind)
        elif node.kind == "range":
            self.range(node, dot)
        else:
            value = self.pipe(node.pipe, dot)
            self.walk(
                node.body if value else node.otherwise,
                value if node.kind == "with" and value else dot,
            )
        del self.variables[scope:]

    def range(self, node: _Node, dot: Any) -> None:
        value = self.pipe(_Pipe((), False, node.pipe.commands), dot)
        if isinstance(value, str) or not isinstance(value, (list, dict, int, type(None))):
            raise _Fault(f"range over {type(value).__name__}")
        if isinstance(value, int) and len(node.pipe.names) == 2:
            raise _Fault("range over a number gives one variable")
        items = (
            sorted(value.items())
            if isinstance(value, dict)
            else list(enumerate(range(value) if isinstance(value, int) else value or ()))
        )
        scope = len(self.variables)
        for item in items:
            given = item if len(node.pipe.names) == 2 else item[1:]
            for name, part in zip(node.pipe.names, given, strict=False):
                self.assign(name, part, node.pipe.declares)
            try:
                self.walk(node.body, item[1])
            except _Left as left:
                if str(left) == "break":
                    break
            finally:
                del self.variables[scope:]
        if not items:
            self.walk(node.otherwise, dot)

    def assign(self, name: str, value: Any, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        for at in range(len(self.variables) - 1, -1, -1):
            if self.variables[at][0] == name:
                self.variables[at] = (name, value)
                return
        raise _Fault(f"{name} is not declared")

    def pipe(self, pipe: _Pipe, dot: Any) -> Any:
        piped: tuple[Any, ...] = ()
        for command in pipe.commands:
            piped = (self.call(command, dot, piped),)
        for name in pipe.names:
            self.assign(name, piped[0], pipe.declares)
        return piped[0]

    def call(self, command: tuple[_Operand, ...], dot: Any, piped: tuple[Any, ...]) -> Any:
        head, *arguments = command
        if head.kind != "function":
            if arguments or piped:
                raise _Fault("a value cannot take arguments")
            return self.value(head, dot)
        given: list[Any] = []
        for operand in arguments:
            given.append(self.value(operand, dot))
            if head.value in STOPS and bool(given[-1]) is STOPS[head.value]:
                return given[-1]
        return FUNCTIONS[head.value](*given, *piped)

    def value(self, operand: _Operand, dot: Any) -> Any:
        if operand.kind == "constant":
            return operand.value
        if operand.kind == "pipe":
            value = self.pipe(operand.value, dot)
        elif operand.kind == "function":
            value = FUNCTIONS[operand.value]()
        elif operand.value:
            value = next(
                (held for name, held in reversed(self.variables) if name == operand.value), self
            )
            if value is self:
                raise _Fault(f"{operand.value} is not declared")
        else:
            value = dot
        for name in operand.fields:
            if value is self.data:
                value = value.get(name)  # missingkey=zero
            elif isinstance(value, dict) and name in value:
                value = value[name]
            else:
                raise _Fault(f"there is no field {name}")
        return value


def _printed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "<no value>"
    if not isinstance(value, (str, int)):
        raise _Fault(f"a {type(value).__name__} cannot be printed here")
    return str(value)


class GoTemplate:
    """One template; raises UsageError, with the line, for what is no template or not among what is understood."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._nodes, closing, action = _Parser(source).nodes()
            if closing:
                raise _Fault(f"line {action.line}: an {closing} without its beginning")
        except _Fault as fault:
            raise self._error(fault) from None

    def execute(self, data: Mapping[str, Any]) -> str:
        """`data` holds str, int, bool, None, lists and dicts."""
        run = _Run(data)
        try:
            run.walk(self._nodes, data)
        except _Fault as fault:
            raise self._error(fault) from None
        return "".join(run.written)

    def prompt(self, messages: Sequence[Message]) -> str:
        """The prompt that Ollama makes of a conversation (template/template.go, Execute and collate): messages of one
        role that follow each other become one, and `.System` is all system messages.

        Raises UsageError for tools, and where the template does not read `.Messages`: Ollama feeds those turn by turn.
        """
        if any(message["role"] == "tool" or "tool_calls" in message for message in messages):
            raise UsageError(
                "the conversation uses tools: Forge's templates for Ollama have no words for them",
                fix="ask forge serve, or send the conversation without tools",
            )
        if ".Messages" not in self.source:
            raise self._error(_Fault("it does not read .Messages"))
        turns: list[dict[str, Any]] = []
        for message in messages:
            if turns and turns[-1]["Role"] == message["role"]:
                turns[-1]["Content"] += "\n\n" + message["content"]
            else:
                turns.append({"Role": message["role"], "Content": message["content"], **EMPTY})
        system = "\n\n".join(
            message["content"] for message in messages if message["role"] == "system"
        )
        return self.execute(
            {
                "System": system,
                "Messages": turns,
                "Tools": [],
                "Response": "",
                "Think": False,
                "ThinkLevel": "",
                "IsThinkSet": False,
            }
        )

    def _error(self, fault: _Fault) -> UsageError:
        return UsageError(
            f"the Go template: {fault}",
            fix="mend TEMPLATE in the Modelfile, or run forge modelfile",
        )
