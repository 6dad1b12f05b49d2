"""Tools in a request for a chat: what may be called, what was called, and what the answer has to call.

The names are OpenAI's (https://platform.openai.com/docs/guides/function-calling). What a template writes of them is the
template's (`phoenix_forge.chat.calls`), and what an answer calls is read by the syntax that it writes.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from phoenix_forge.chat.calls import Call, Hearing, Spoken
from phoenix_forge.runtime.server import grammars
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
    grammars.check_size({"anyOf": schemas}, "tools")
    for schema in schemas:
        grammars.check_references(schema, "tools")
    return Offer(functions, tuple(named), single)


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
    """How the calls of an answer are read, and what llama.cpp is told for it. `begun` is how the answer begins."""

    spoken: Spoken
    offer: Offer

    @property
    def _chooses(self) -> bool:
        """Whether the model has to choose, outside of what a schema can bind, which of several it calls."""
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
        """Control tokens of calls are words of the answer; and a call that has to be made is bound to its schema, where
        the syntax is one of JSON."""
        syntax = self.spoken.syntax
        told: dict[str, Any] = {"preserved_tokens": [*syntax.marks, *syntax.tokens]}
        if self.offer.must and syntax.bind and not self._chooses:
            places = {name: f"#/$defs/call{number}" for number, name in enumerate(self.offer.must)}
            bound = syntax.bind({name: {"$ref": place} for name, place in places.items()})
            told["json_schema"] = bound | {
                "$defs": {
                    place.rpartition("/")[2]: _within(self._parameters(name), place)
                    for name, place in places.items()
                }
            }
        return told

    def _parameters(self, name: str) -> dict[str, Any]:
        return self.offer.functions[name].get("parameters") or {"type": "object"}

    def hearing(self) -> Hearing:
        return Hearing(self.spoken.syntax, self.offer.functions, self.begun)


def told(calls: Sequence[Call], single: bool) -> list[dict[str, Any]]:
    """Calls as OpenAI's API tells them; ids are as Mistral's templates want them, which all others take."""
    return [
        {
            "id": "".join(secrets.choice(_SIGNS) for _ in range(9)),
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for call in (calls[:1] if single else calls)
    ]


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
