"""Tools in a request for a chat: what may be called, what was called, and what the answer has to call.

The names are OpenAI's (https://platform.openai.com/docs/guides/function-calling). What a template writes of them is the
template's (`phoenix_forge.chat.calls`), and what an answer calls is read by the syntax that it writes.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from phoenix_forge.chat.calls import Binder, Call, Hearing, Spoken
from phoenix_forge.runtime.prompts import Tokens
from phoenix_forge.runtime.server import binding, grammars
from phoenix_forge.runtime.server.refused import Refused

TOOLS, CALLS = 128, 128  # of a request, and of a turn
NESTED = grammars.NESTED  # levels of a description, and of a call's arguments
IDENTITY = 256  # characters
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SIGNS = string.ascii_letters + string.digits
Tool = dict[str, Any]


@dataclass(frozen=True)
class Offer:
    """`functions` that an answer may call, by name. It has to call one of `must`, where there are any; with `single`
    it calls no more than one."""

    functions: dict[str, dict[str, Any]]
    must: tuple[str, ...] = ()
    single: bool = False


def tools(given: Any) -> list[Tool]:
    """Tools as they came, each of them checked. Raises Refused, as do the others here."""
    if not isinstance(given, list) or len(given) > TOOLS:
        raise Refused(f"tools is not a list of at most {TOOLS}", param="tools")
    for place, tool in enumerate(given):
        _check_tool(tool, f"tools[{place}]")
    return given


def _check_tool(tool: Any, where: str) -> None:
    if (
        not isinstance(tool, dict)
        or tool.get("type") != "function"
        or not isinstance(tool.get("function"), dict)
    ):
        raise Refused(f"{where} is not of type function", param=where)
    function = tool["function"]
    _check_name(function.get("name"), f"{where}.function.name")
    if not isinstance(function.get("description"), str | None):
        raise Refused(f"{where}.function.description is not a text", param=where)
    if not isinstance(function.get("parameters"), dict | None):
        raise Refused(f"{where}.function.parameters is not an object", param=where)
    _check_depth(tool, where)


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(
            f"{where} is {name!r:.80}, not up to 64 letters, digits, dots, dashes and underscores",
            param=where,
        )


def _check_depth(value: Any, where: str) -> None:
    if grammars.depth(value) > NESTED:
        raise Refused(f"{where} is nested more than {NESTED} levels deep", param=where)


def offer(given: Sequence[Tool], choice: Any, single: bool) -> Offer | None:
    """What an answer may and has to call; None where it is to call nothing."""
    functions = {tool["function"]["name"]: tool["function"] for tool in given}
    if choice == "none" or (choice in (None, "auto") and not functions):
        return None
    if choice in (None, "auto"):
        return Offer(functions, single=single)
    named = [choice["function"].get("name")] if _is_named(choice) else list(functions)
    if choice != "required" and not _is_named(choice):
        raise Refused(
            f"tool_choice is {choice!r:.80}, not none, auto, required or a function by name",
            param="tool_choice",
        )
    if not functions or any(name not in functions for name in named):
        raise Refused(
            f"tool_choice is {choice!r:.80}, and tools has no such function", param="tool_choice"
        )
    schemas = [functions[name].get("parameters") or {} for name in named]
    _check_schemas(schemas)
    return Offer(functions, tuple(named), single)


def _check_schemas(schemas: Sequence[dict[str, Any]]) -> None:
    grammars.check_size({"anyOf": schemas}, "tools")
    for schema in schemas:
        grammars.check_references(schema, "tools")


def _is_named(choice: Any) -> bool:
    return (
        isinstance(choice, dict)
        and choice.get("type") == "function"
        and isinstance(choice.get("function"), dict)
        and isinstance(choice["function"].get("name"), str)
    )


# -- calls and results of earlier turns --------------------------------------------------------------------------------


def calls(given: Any, where: str) -> list[dict[str, Any]]:
    """An assistant's calls, arguments as an object, as templates want them."""
    if not isinstance(given, list) or len(given) > CALLS:
        raise Refused(f"{where} is not a list of at most {CALLS}", param=where)
    return [_called(call, f"{where}[{place}]") for place, call in enumerate(given)]


def _called(call: Any, where: str) -> dict[str, Any]:
    if (
        not isinstance(call, dict)
        or call.get("type", "function") != "function"
        or not isinstance(call.get("function"), dict)
    ):
        raise Refused(f"{where} is not of type function", param=where)
    name, arguments = call["function"].get("name"), call["function"].get("arguments", {})
    _check_name(name, f"{where}.function.name")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments or "{}")
        except orjson.JSONDecodeError:
            arguments = None
    if not isinstance(arguments, dict):
        raise Refused(f"{where}.function.arguments is not the JSON of an object", param=where)
    _check_depth(arguments, where)
    return {
        **identity(call, "id", where),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def identity(turn: dict[str, Any], name: str, where: str) -> dict[str, str]:
    """The id of a call, where one is given."""
    given = turn.get(name)
    if given is None:
        return {}
    if not isinstance(given, str) or len(given) > IDENTITY:
        raise Refused(f"{where}.{name} is not a text of at most {IDENTITY} characters", param=where)
    return {name: given}


# -- the answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Called:
    """How the calls of an answer are read, and what llama.cpp is told for it. `begun` is how the answer begins.

    `tokens` is llama.cpp's tokenizer where it follows llguidance's grammars, else None; `earlier` calls stand in the
    conversation.
    """

    spoken: Spoken
    offer: Offer
    tokens: Tokens | None = None
    earlier: int = 0

    @property
    def _chooses(self) -> bool:
        """Whether the model has to choose, outside of what a JSON schema can bind, which of several it calls."""
        return self.spoken.names_first and len(self.offer.must) > 1

    @property
    def begun(self) -> str:
        """An answer that has to call something begins with a call; with its name, where there is no choice."""
        if not self.offer.must:
            return ""
        return (
            self.spoken.unnamed if self._chooses else self.spoken.beginning_of(self.offer.must[0])
        )

    @property
    def sent(self) -> dict[str, Any]:
        """Control tokens of calls are words of the answer; and a call is bound to its schema, where the syntax is one
        of JSON: one that has to be made, and one that the model makes, from where it begins."""
        syntax = self.spoken.syntax
        told: dict[str, Any] = {"preserved_tokens": [*syntax.marks, *syntax.tokens]}
        if syntax.bind is None:
            return told
        if self.offer.must and not self._chooses:
            return told | {"json_schema": self._schema(syntax.bind, self.offer.must, 1)}
        if self.tokens is None:
            return told
        kind = "grammar" if self.offer.must else "wished_grammar"
        return told | {kind: self._grammar(syntax.bind)}

    def _grammar(self, bind: Binder) -> str:
        names = self.offer.must or tuple(self.offer.functions)
        alone = {name: self._schema(_arguments, (name,), 1) for name in names}
        if self._chooses:
            return binding.chosen(self.spoken, alone, self._control)
        apart = self.spoken.names_first or self.spoken.syntax.first
        calls = alone if apart else {"": self._schema(bind, names, CALLS)}
        return binding.free(self.spoken, calls, self._control, single=self.offer.single)

    def _control(self, text: str) -> int | None:
        """The id of a control token of calls or answers' ends; what is text to llama.cpp, however it is read, is none."""
        return self._controls.get(text)

    @cached_property
    def _controls(self) -> dict[str, int]:
        assert self.tokens is not None
        syntax, found = self.spoken.syntax, {}
        for sign in (*syntax.marks, *syntax.tokens, *self.spoken.ends):
            ids = self.tokens(sign, special=True)
            if len(ids) == 1 and ids != self.tokens(sign, special=False):
                found[sign] = ids[0]
        return found

    def _schema(self, bind: Binder, names: Sequence[str], most: int) -> dict[str, Any]:
        """Of calls of these functions. What of a schema the library does not know is left out of account: it would bind
        the answer to nothing at all."""
        places = {name: f"#/$defs/call{number}" for number, name in enumerate(names)}
        bound = bind({name: {"$ref": place} for name, place in places.items()}, most)
        definitions = {
            place.rpartition("/")[2]: _within(self._parameters(name), place)
            for name, place in places.items()
        }
        return bound | {"$defs": definitions, "x-guidance": {"lenient": True}}

    def _parameters(self, name: str) -> dict[str, Any]:
        parameters = self.offer.functions[name].get("parameters") or {"type": "object"}
        return parameters if self.offer.must or self._followed else {"type": "object"}

    @cached_property
    def _followed(self) -> bool:
        """Whether llama.cpp may be given the schemas of tools that nobody asked to be called."""
        schemas = [function.get("parameters") or {} for function in self.offer.functions.values()]
        try:
            _check_schemas(schemas)
        except Refused:
            return False
        return True

    def hearing(self) -> Hearing:
        return Hearing(self.spoken.syntax, self.offer.functions, self.begun)

    def identity(self, name: str, place: int) -> str:
        """The id of an answer's call, as the syntax has them."""
        made = self.spoken.syntax.identity.format(name=name, number=self.earlier + place)
        return made or _identity()


def told(calls: Sequence[Call], single: bool, called: Called | None = None) -> list[dict[str, Any]]:
    """Calls as OpenAI's API tells them."""
    return [
        {
            "id": called.identity(call.name, place) if called else _identity(),
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for place, call in enumerate(calls[:1] if single else calls)
    ]


def _identity() -> str:
    """As Mistral's templates want them, which all others take."""
    return "".join(secrets.choice(_SIGNS) for _ in range(9))


def _arguments(schemas: Mapping[str, dict[str, Any]], most: int) -> dict[str, Any]:
    return next(iter(schemas.values()))


def _within(schema: Any, place: str) -> Any:
    """A schema whose references to itself go to its place in another one."""
    if isinstance(schema, list):
        return [_within(part, place) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _moved(part, place) if name == "$ref" else _within(part, place)
        for name, part in schema.items()
    }


def _moved(reference: Any, place: str) -> Any:
    if isinstance(reference, str):
        return place + reference[1:] if reference.startswith("#") else reference
    return _within(reference, place)
