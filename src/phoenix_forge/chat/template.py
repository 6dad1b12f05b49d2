"""A model's own chat template (Jinja), rendered in a sandbox: it comes from a download and is not trusted."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SecurityError

from phoenix_forge.chat.sandbox import METER, Meter, Sandbox
from phoenix_forge.core.fsio import JSON_LIMIT, read_limited
from phoenix_forge.errors import UsageError

# One turn: `role` (system, user, assistant or tool) and `content`, a text. It may hold more
# (`phoenix_forge.examples.formats`): `reasoning_content`, what an assistant thought; `tool_calls`, as OpenAI has them,
# arguments as an object; `weight` "0", not to be learned. What stands beside a conversation, one of its messages
# carries under the names of BESIDE.
Message = dict[str, Any]
BESIDE = ("tools", "documents")
PLAIN = frozenset(("role", "content", "weight"))
THOUGHT = re.compile(
    r"(\s*<think>(.*?)</think>\s*)", re.DOTALL
)  # what an answer's text may begin with
THINKING = "{%- set enable_thinking = true %}"  # before a template: it asks for thoughts, whoever renders it

# What a template can run into at its own fault; the sandbox's refusals are among the TemplateErrors.
_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_UNSAFE = (SecurityError, RecursionError)
_UNUSABLE = (
    TemplateError,
    RecursionError,
    SyntaxError,
    ValueError,
)  # SyntaxError: more nesting than Python has
_TEMPLATE_LIMIT = 1_000_000  # characters; the longest that models ship have 20,000


class UnsafeTemplate(UsageError):
    """A template that does more than any chat needs: it reaches for what it must not, or comes to no end."""


def _raise(message: str) -> None:
    raise TemplateError(message)


class Generation(Extension):
    """{% generation %} … {% endgeneration %} stands around what an assistant says, for trainers that look for it. What
    is trained is found by rendering here (`encode.segments`), so the marks are read over."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _environment() -> Sandbox:
    # The settings that templates are written for (transformers' documentation, "Chat templates").
    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.add_filter("tojson", _tojson)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


def thought(message: Message) -> str:
    """What an assistant thought before it spoke, beside its text or at the beginning of it; "" where it did not."""
    if message["role"] != "assistant":
        return ""
    found = THOUGHT.match(message["content"])
    return message.get("reasoning_content") or (found[2].strip() if found else "")


def beside(messages: Sequence[Message]) -> dict[str, Any]:
    """`tools` and `documents` of a conversation, as far as it has any."""
    return {name: message[name] for message in messages for name in BESIDE if name in message}


def is_plain(messages: Sequence[Message]) -> bool:
    """Whether there are only turns of text: no tools, calls, results or thoughts."""
    return all(
        message.keys() <= PLAIN
        and message["role"] != "tool"
        and not THOUGHT.match(message["content"])
        for message in messages
    )


class ChatTemplate:
    """`source` is Jinja; `special` are the token texts that templates may name (bos_token, eos_token, …). `tool_use` is
    the template for conversations with tools, where a model has one of its own; `name` is the model's."""

    def __init__(
        self,
        source: str,
        special: dict[str, str] | None = None,
        *,
        tool_use: str | None = None,
        name: str = "",
    ) -> None:
        self.source, self.tool_use, self.name = source, tool_use, name
        self.special = special or {}
        self._template = _compiled(source)
        self._tool_use = self._template if tool_use is None else _compiled(tool_use)

    @staticmethod
    def load(folder: Path, adapter: Path | None = None) -> ChatTemplate:
        """The template of a model folder: as in transformers, chat_template.jinja and chat_templates/ beat
        `chat_template` in tokenizer_config.json. An adapter may bring one of its own: what its training fixed."""
        config = _config(folder / "tokenizer_config.json")
        named = _files(folder) or _named(config.get("chat_template"))
        own = adapter / TEMPLATE if adapter else None
        if own and own.is_file():
            named["default"] = _read(own)
        if not named.get("default"):
            others = (
                f", only one for {' and one for '.join(sorted(named))}"
                if any(named.values())
                else ""
            )
            raise UsageError(
                f"{folder} has no chat template{others}",
                fix="choose an instruct (chat) model as base",
            )
        if named["default"].startswith(THINKING) and "tool_use" in named:
            named["tool_use"] = THINKING + named["tool_use"]
        return ChatTemplate(
            named["default"],
            _special(config, folder),
            tool_use=named.get("tool_use"),
            name=folder.name,
        )

    def thinking(self) -> ChatTemplate:
        """The same, asking for thoughts: for a model that is taught some."""
        if "enable_thinking" not in self.source or self.source.startswith(THINKING):
            return self
        tool_use = self.tool_use and THINKING + self.tool_use
        return ChatTemplate(THINKING + self.source, self.special, tool_use=tool_use, name=self.name)

    @property
    def thinks(self) -> bool:
        return self.source.startswith(THINKING)

    def render(
        self, messages: Sequence[Message], *, prompt: bool = False, thoughts: bool = False
    ) -> str:
        """The conversation as text; with `prompt`, ready for the assistant's next turn.

        A template that can ask for thoughts (Qwen3's) is told not to, unless `thoughts` are taught: then its prompt
        ends with the empty thought that it writes before an answer, which is no word of the assistant's.
        """
        given = dict.fromkeys(BESIDE) | beside(messages)
        template = self._template if given["tools"] is None else self._tool_use
        try:
            return template.render(
                {METER: Meter()},
                messages=[self._turn(message) for message in messages],
                add_generation_prompt=prompt,
                enable_thinking=thoughts,
                **given,
                **self.special,
            )
        except _UNSAFE as error:
            raise UnsafeTemplate(
                f"the chat template refused a conversation: {error}",
                fix="choose another base: no chat needs such a template",
            ) from None
        except _FAILURES as error:
            of = f" of {self.name}" if self.name and not is_plain(messages) else ""
            raise UsageError(
                f"the chat template{of} refused a conversation: {error}; roles "
                f"{[m.get('role') for m in messages]}",
                fix=_way_out(messages),
            ) from None

    def _turn(self, message: Message) -> Message:
        """A message as the template gets it, named as transformers names what it holds."""
        if len(message) == 2 and message["role"] != "tool":
            return message
        turn = {
            name: value
            for name, value in message.items()
            if name not in BESIDE and name != "weight"
        }
        if "reasoning_content" in turn:
            turn["thinking"] = turn["reasoning_content"]  # what gpt-oss's template calls it
        if "tool_calls" in turn and self._takes_text:
            turn["tool_calls"] = [_in_text(call) for call in turn["tool_calls"]]
        if message["role"] == "tool" and RESULT[0] in (self.tool_use or self.source):
            turn["content"] = unwrapped(turn["content"])
        return turn

    @cached_property
    def _takes_text(self) -> bool:
        """Whether the template refuses a call's arguments as an object, and takes their JSON as text (DeepSeek's)."""
        function = {"name": "f", "arguments": {"x": "y"}}
        call = {"type": "function", "id": "123456789", "function": function}
        turns: list[Message] = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        return not self._writes(turns) and self._writes(
            [turns[0], turns[1] | {"tool_calls": [_in_text(call)]}]
        )

    def _writes(self, turns: list[Message]) -> bool:
        try:
            self._tool_use.render(
                {METER: Meter()}, messages=turns, **dict.fromkeys(BESIDE), **self.special
            )
        except _FAILURES:
            return False
        return True

    @cached_property
    def default_system(self) -> str | None:
        """The system prompt that the template adds by itself when a conversation has none."""
        mark = "\x02probe\x03"
        bare = self.render([{"role": "user", "content": mark}])
        try:
            given = self.render(
                [{"role": "system", "content": mark}, {"role": "user", "content": mark}]
            )
        except UsageError:
            return None  # it takes no system turns, so it adds none
        before, _, after = given.partition(mark)
        ending, asked, _ = after.partition(mark)
        added = bare.partition(mark)[0]
        if (
            asked
            and added.startswith(before)
            and added.endswith(ending)
            and len(added) > len(before) + len(ending)
        ):
            return added[len(before) : len(added) - len(ending)]
        return None


def _compiled(source: str) -> Template:
    fix = "choose another base, or mend chat_template in its folder"
    if len(source) > _TEMPLATE_LIMIT:
        raise UsageError(
            f"the chat template has {len(source):,} characters, at most {_TEMPLATE_LIMIT:,} are read",
            fix=fix,
        )
    try:
        return _environment().from_string(source)
    except _UNUSABLE as error:
        raise UsageError(f"the chat template is not valid Jinja: {error}", fix=fix) from None


def _way_out(messages: Sequence[Message]) -> str:
    if is_plain(messages):
        return (
            "mend the roles: user and assistant in turn, a system message only where the template takes one; or "
            f"another base: {OTHER_BASE}"
        )
    return REFUSED


OTHER_BASE = "--set model.base=qwen3-0.6b, or one whose template takes what the data has"
REFUSED = f"{OTHER_BASE}; or mend the lines that it refuses, which forge validate names"


def _in_text(call: dict[str, Any]) -> dict[str, Any]:
    """A call whose arguments are JSON."""
    return call | {
        "function": call["function"] | {"arguments": _tojson(call["function"]["arguments"])}
    }


RESULT = (
    "<tool_response>",
    "</tool_response>",
)  # what Hermes, and after it Qwen, writes around a tool's result


def unwrapped(content: str) -> str:
    """A tool's result without the marks that the template will write around it."""
    inner = content.strip()
    whole = (
        inner.startswith(RESULT[0]) and inner.endswith(RESULT[1]) and inner.count(RESULT[0]) == 1
    )
    return inner.removeprefix(RESULT[0]).removesuffix(RESULT[1]).strip("\n") if whole else content


# -- where a folder's templates lie ------------------------------------------------------------------------------------


TEMPLATE = "chat_template.jinja"
FOLDER = "chat_templates"


def _read(path: Path) -> str:
    return read_limited(path, JSON_LIMIT).decode(errors="replace")


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_limited(path, JSON_LIMIT)) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path} is not valid JSON: {error}", fix="forge download --force"
        ) from None
    if not isinstance(config, dict):
        raise UsageError(
            f"{path} holds a {type(config).__name__}, not settings", fix="forge download --force"
        )
    return config


def _files(folder: Path) -> dict[str, str]:
    """Templates that are files, by name."""
    found = {path.stem: _read(path) for path in sorted((folder / FOLDER).glob("*.jinja"))}
    return found | ({"default": _read(folder / TEMPLATE)} if (folder / TEMPLATE).exists() else {})


def _named(value: Any) -> dict[str, str]:
    """Templates of tokenizer_config.json, by name: one, or a list of {name, template}."""
    entries = value if isinstance(value, list) else [{"name": "default", "template": value}]
    pairs = [
        (entry.get("name"), entry.get("template")) for entry in entries if isinstance(entry, dict)
    ]
    return {
        name: source for name, source in pairs if isinstance(name, str) and isinstance(source, str)
    }


def _special(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """The texts of all tokens that the settings name."""
    return {"bos_token": "", "eos_token": ""} | dict(_tokens(config, folder))


def _tokens(config: dict[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    for name in (name for name in config if name.endswith("_token")):
        value = config[name]
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, bool) or text is None:  # add_bos_token is a switch
            continue
        if not isinstance(text, str):
            raise UsageError(
                f"{folder / 'tokenizer_config.json'}: {name} is {value!r}, expected a text",
                fix="forge download --force",
            )
        yield name, text
