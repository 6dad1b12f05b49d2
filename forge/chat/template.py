"""A model's own chat template (Jinja), rendered in a sandbox: it comes from a download and is not trusted."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from forge.errors import UsageError

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": text}


# What a template can run into at its own fault; the sandbox's refusals are among the TemplateErrors.
_FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    # The settings that templates are written for (transformers' documentation, "Chat templates").
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment


class ChatTemplate:
    """`source` is Jinja; `special` are the token texts that templates may name (bos_token, eos_token)."""

    def __init__(self, source: str, special: dict[str, str] | None = None) -> None:
        self.source = source
        self.special = special or {}
        try:
            self._template = _environment().from_string(source)
        except TemplateError as error:
            raise UsageError(f"the chat template is not valid Jinja: {error}",
                             fix="choose another base, or mend chat_template in its folder") from None

    @staticmethod
    def load(folder: Path) -> ChatTemplate:
        """The template of a model folder: `chat_template` in tokenizer_config.json beats chat_template.jinja."""
        config_file = folder / "tokenizer_config.json"
        try:
            config = json.loads(config_file.read_bytes()) if config_file.exists() else {}
        except ValueError as error:
            raise UsageError(f"{config_file} is not valid JSON: {error}", fix="forge download --force") from None
        if not isinstance(config, dict):
            raise UsageError(f"{config_file} holds a {type(config).__name__}, not settings",
                             fix="forge download --force")
        source = config.get("chat_template")
        if isinstance(source, list):  # named templates
            source = next((t.get("template") for t in source if t.get("name") == "default"), None)
        beside = folder / "chat_template.jinja"
        if not source and beside.exists():
            source = beside.read_text(encoding="utf-8", errors="replace")
        if not source or not isinstance(source, str):
            raise UsageError(f"{folder} has no chat template", fix="choose an instruct (chat) model as base")
        special = {}
        for name in ("bos_token", "eos_token"):
            value = config.get(name)
            special[name] = value["content"] if isinstance(value, dict) else value or ""
        return ChatTemplate(source, special)

    def render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        """The conversation as text; with `prompt`, ready for the assistant's next turn.

        Answers are taught without thoughts, so a template that can ask for thoughts (Qwen3's) is told not to: then its
        prompt ends with the empty thought that it writes before an answer, which is no word of the assistant's.
        """
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=prompt, tools=None,
                                         enable_thinking=False, **self.special)
        except _FAILURES as error:
            raise UsageError(f"the chat template refused a conversation: {error}; roles "
                             f"{[m.get('role') for m in messages]}", fix="mend the example's roles") from None

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
