"""A model's own chat template (Jinja), rendered in a sandbox: it comes from a download and is not trusted."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import SecurityError

from forge.chat.sandbox import METER, Meter, Sandbox
from forge.core.fsio import JSON_LIMIT, read_limited
from forge.errors import UsageError

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


# What a template can run into at its own fault; the sandbox's refusals are among the TemplateErrors.
_FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_UNUSABLE = (TemplateError, RecursionError, SyntaxError, ValueError)  # SyntaxError: more nesting than Python has
_TEMPLATE_LIMIT = 1_000_000  # characters; the longest that models ship have 20,000


def _raise(message: str) -> None:
    raise TemplateError(message)


class Generation(Extension):
    """{% generation %} … {% endgeneration %} stands around what an assistant says, for trainers that look for it. What
    is trained is found by rendering here (`encode.segments`), so the marks are read over."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> Sandbox:
    # The settings that templates are written for (transformers' documentation, "Chat templates").
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    environment.add_filter("tojson", lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent))
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


class ChatTemplate:
    """`source` is Jinja; `special` are the token texts that templates may name (bos_token, eos_token)."""

    def __init__(self, source: str, special: dict[str, str] | None = None) -> None:
        self.source = source
        self.special = special or {}
        fix = "choose another base, or mend chat_template in its folder"
        if len(source) > _TEMPLATE_LIMIT:
            raise UsageError(f"the chat template has {len(source):,} characters, at most {_TEMPLATE_LIMIT:,} are read",
                             fix=fix)
        try:
            self._template = _environment().from_string(source)
        except _UNUSABLE as error:
            raise UsageError(f"the chat template is not valid Jinja: {error}", fix=fix) from None

    @staticmethod
    def load(folder: Path) -> ChatTemplate:
        """The template of a model folder. chat_template.jinja beats `chat_template` in tokenizer_config.json, as in
        transformers."""
        config_file = folder / "tokenizer_config.json"
        try:
            config = json.loads(read_limited(config_file, JSON_LIMIT)) if config_file.exists() else {}
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{config_file} is not valid JSON: {error}", fix="forge download --force") from None
        if not isinstance(config, dict):
            raise UsageError(f"{config_file} holds a {type(config).__name__}, not settings",
                             fix="forge download --force")
        source = config.get("chat_template")
        if isinstance(source, list):  # named templates
            source = next((t.get("template") for t in source if isinstance(t, dict) and t.get("name") == "default"),
                          None)
        beside = folder / "chat_template.jinja"
        if beside.exists():
            source = read_limited(beside, JSON_LIMIT).decode(errors="replace")
        if not source or not isinstance(source, str):
            raise UsageError(f"{folder} has no chat template", fix="choose an instruct (chat) model as base")
        special = {}
        for name in ("bos_token", "eos_token"):
            value = config.get(name)
            text = value.get("content") if isinstance(value, dict) else value or ""
            if not isinstance(text, str):
                raise UsageError(f"{config_file}: {name} is {value!r}, expected a text", fix="forge download --force")
            special[name] = text
        return ChatTemplate(source, special)

    def render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        """The conversation as text; with `prompt`, ready for the assistant's next turn.

        Answers are taught without thoughts, so a template that can ask for thoughts (Qwen3's) is told not to: then its
        prompt ends with the empty thought that it writes before an answer, which is no word of the assistant's.
        """
        try:
            return self._template.render({METER: Meter()}, messages=list(messages), add_generation_prompt=prompt,
                                         tools=None, enable_thinking=False, **self.special)
        except _FAILURES as error:
            fix = "choose another base: no chat needs such a template" if isinstance(error, SecurityError) else \
                "mend the example's roles"
            raise UsageError(f"the chat template refused a conversation: {error}; roles "
                             f"{[m.get('role') for m in messages]}", fix=fix) from None

    @cached_property
    def default_system(self) -> str | None:
        """The system prompt that the template adds by itself when a conversation has none."""
        mark = "\x02probe\x03"
        bare = self.render([{"role": "user", "content": mark}])
        try:
            given = self.render([{"role": "system", "content": mark}, {"role": "user", "content": mark}])
        except UsageError:
            return None  # it takes no system turns, so it adds none
        before, _, after = given.partition(mark)
        ending, asked, _ = after.partition(mark)
        added = bare.partition(mark)[0]
        if asked and added.startswith(before) and added.endswith(ending) and len(added) > len(before) + len(ending):
            return added[len(before):len(added) - len(ending)]
        return None
