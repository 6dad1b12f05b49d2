"""Grammars and JSON Schemas that llama.cpp may be given.

Its grammars are followed by a set of stacks, and each token is tried on every stack. A repetition of repetitions, or
many things that may be empty side by side, make so many stacks that a token takes minutes and gigabytes; deep nesting
overflows the parser's own stack. Sizes are bounded, and a bounded repetition may not hold another one. What slips
through stops the process that computes, not the server (`supervisor.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from phoenix_forge.runtime.server.refused import Refused

GRAMMAR, RULES, DEPTH, REPEATED, SIDE_BY_SIDE = 16_384, 256, 16, 1000, 4
SCHEMA, NESTED, VALUES, PATTERN = (
    65_536,
    32,
    1000,
    256,
)  # bytes, levels, values of enums and properties, characters
COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

# A piece of a grammar: a text, a class, a token, a comment, a name, a quantifier, anything else.
_PIECE = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\[(?:\\.|[^\]\\\n])*\]|!?<[^<>\s]+>|#[^\n]*|[A-Za-z0-9_-]+|::=|[()|.*+?]'
    r"|\{\s*\d*\s*(?:,\s*\d*\s*)?\}|\s+|.",
    re.DOTALL,
)
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_QUANTIFIER = re.compile(r"[*+?{]")
_EMPTY = re.compile(r"[(|] ?[|)]")  # an alternative of nothing
# The same for a regular expression; an escape or a class is one character.
_REGEX_PIECE = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{\d*,?\d*\}|.", re.DOTALL)


def _refused(what: str, param: str) -> Refused:
    return Refused(f"{param}: {what}", param=param)


def check_grammar(grammar: Any) -> None:
    """Of GBNF. Raises Refused for what could stop llama.cpp; llama.cpp itself refuses what is no grammar."""
    if not isinstance(grammar, str) or len(grammar) > GRAMMAR:
        raise _refused(f"not a text of at most {GRAMMAR:,} characters", "grammar")
    pieces = [
        piece
        for piece in _PIECE.findall(grammar)
        if not piece.isspace() and not piece.startswith("#")
    ]
    starts = [place - 1 for place, piece in enumerate(pieces) if piece == "::="]
    if not starts or starts[0] != 0 or len(starts) > RULES:
        raise _refused(f"not a grammar of at most {RULES} rules", "grammar")
    rules = {
        pieces[start]: pieces[start + 2 : end]
        for start, end in zip(starts, [*starts[1:], None], strict=True)
    }
    repeating = _repeating(rules)
    for body in rules.values():
        _check_body(body, repeating, "grammar")


def _repeating(rules: dict[str, list[str]]) -> set[str]:
    """Names of rules that hold a repetition or something empty, of their own or by way of another rule."""
    found = {
        name
        for name, body in rules.items()
        if name in body or _EMPTY.search(f"({' '.join(body)})") or any(map(_QUANTIFIER.match, body))
    }
    while more := {name for name, body in rules.items() if name not in found and found & set(body)}:
        found |= more
    return found


def _check_body(pieces: list[str], repeating: set[str], param: str) -> None:
    """`groups` has for each open parenthesis whether what stands in it repeats; `last` says it of what a quantifier
    would stand behind; `row` counts what may be empty side by side, with nothing between that may not."""
    groups, last, row = [False], False, 0
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        if piece == "(":
            groups.append(False)
            last = False
        elif piece == ")":
            last = groups.pop() if len(groups) > 1 else False
        elif _QUANTIFIER.match(piece):
            if last and piece[0] == "{":
                raise _refused(f"{piece} repeats something that repeats itself", param)
            _check_count(max(map(int, _NUMBER.findall(piece)), default=0), param)
            last, row = True, row + 1
        elif piece == "|":
            last, row = False, 0
        else:
            last = piece in repeating
            solid = not last and not _NAME.fullmatch(piece) and not _QUANTIFIER.match(following)
            row = 0 if solid else row + last
        groups[-1] = groups[-1] or last
        if len(groups) > DEPTH:
            raise _refused(f"more than {DEPTH} parentheses in each other", param)
        if row > SIDE_BY_SIDE:
            raise _refused(f"more than {SIDE_BY_SIDE} repetitions side by side", param)


def _check_count(count: int, param: str) -> None:
    if count > REPEATED:
        raise _refused(f"{count:,} repetitions, at most {REPEATED:,} are followed", param)


def check_schema(schema: Any) -> None:
    """Of JSON Schema. Raises Refused."""
    check_size(schema, "response_format")
    check_references(schema, "response_format")


def check_references(schema: dict[str, Any], param: str) -> None:
    """llama.cpp binds an answer to nothing at all where a schema refers to what is not in it."""
    for part in _parts(schema):
        reference = part.get("$ref")
        if isinstance(reference, str) and not _refers(schema, reference):
            raise _refused(f"$ref is {reference!r:.100}, which is not in the schema", param)


def _refers(schema: Any, reference: str) -> bool:
    root, *names = reference.split("/")
    for name in names:
        if not isinstance(schema, dict) or name not in schema:
            return False
        schema = schema[name]
    return root == "#"


def check_size(schema: Any, param: str) -> None:
    """Raises Refused for what could stop llama.cpp; `param` is where in the request it stands."""
    if not isinstance(schema, dict):
        raise _refused("the schema is not an object", param)
    if depth(schema) > NESTED:
        raise _refused(f"the schema is nested more than {NESTED} levels deep", param)
    if len(orjson.dumps(schema)) > SCHEMA:
        raise _refused(f"the schema is longer than {SCHEMA:,} bytes", param)
    values = 0
    for part in _parts(schema):
        for name in (
            "enum",
            "properties",
            "anyOf",
            "oneOf",
            "allOf",
            "prefixItems",
            "$defs",
            "definitions",
        ):
            values += len(part[name]) if isinstance(part.get(name), dict | list) else 0
        if values > VALUES:
            raise _refused(
                f"the schema has more than {VALUES:,} values, properties and alternatives", param
            )
        for name in COUNTS:
            count = part.get(name)
            if isinstance(count, int | float):
                _check_count(int(count) if abs(count) < 2**53 else 2**53, param)
        if isinstance(part.get("pattern"), str):
            _check_pattern(part["pattern"], param)


def depth(value: Any) -> int:
    """Levels of objects and lists in each other, counted without recursion."""
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [item for held in level for item in _held(held)]
    return levels


def _held(value: Any) -> list[Any]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            yield part
        left += _held(part)


def _check_pattern(pattern: str, param: str) -> None:
    if len(pattern) > PATTERN:
        raise _refused(
            f"a pattern of {len(pattern):,} characters, at most {PATTERN} are followed", param
        )
    _check_body(_REGEX_PIECE.findall(pattern), set(), param)
