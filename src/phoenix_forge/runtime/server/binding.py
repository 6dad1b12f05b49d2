"""The grammar of an answer that may call tools: it says what it likes until a call begins, which then is a valid one.

The notation is llguidance's Lark (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md), which llama.cpp
follows where it was built with it; its own lazy grammars have no part in such a build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from phoenix_forge.chat.calls import Spoken

Schema = dict[str, Any]
Control = Callable[[str], int | None]  # the id of a control token; None for what is text
HEAD = "%llguidance {}\n"
ANYTHING = "(?s:.*)"


def free(spoken: Spoken, calls: Mapping[str, Schema], control: Control, *, single: bool) -> str:
    """An answer that may call. `calls` has the schema of what stands behind each beginning of a call: by a function's
    name, where the beginning has it, else under "" alone."""
    if spoken.syntax.first:
        return _written(_first(calls, _ends(spoken, control)), calls)
    mark = min(
        filter(spoken.beginning.__contains__, spoken.syntax.marks), key=spoken.beginning.index
    )
    behind = spoken.beginning.partition(mark)[2]
    begun = _begun(mark, control(mark), _ends(spoken, control))
    return _written([*begun, _calls(spoken, behind, calls, control, single=single)], calls)


def _begun(mark: str, number: int | None, ends: str) -> list[str]:
    """Text, and where there is a mark, calls; a control token is no part of a text."""
    if number is not None:
        return [f"start: TEXT? (<[{number}]> calls)? {ends}", "TEXT: /(?s:.+)/"]
    sign = _pattern(mark)
    return [
        f"start: (PLAIN | until calls) {ends}",
        f"PLAIN: ~/{ANYTHING}{sign}{ANYTHING}/",
        f"until[lazy]: /{ANYTHING}{sign}/",
    ]


def _calls(
    spoken: Spoken, behind: str, calls: Mapping[str, Schema], control: Control, *, single: bool
) -> str:
    """One call, `behind` its mark; or more of them, if the template has a place for more."""
    first = _choice(spoken, behind, calls, control)
    if spoken.between is None or single:
        return f"calls: ({first}) {_spelt(spoken, spoken.ending, control)}"
    shared = _shared(spoken, control)
    closing = _spelt(spoken, spoken.ending[:shared], control)
    again = _choice(spoken, spoken.between[shared:], calls, control)
    last = _spelt(spoken, spoken.ending[shared:], control)
    return f"calls: ({first}) {closing} (({again}) {closing})* {last}"


def _ends(spoken: Spoken, control: Control) -> str:
    """What may end an answer, beside the one token that the library knows as such."""
    ids = {number for end in spoken.ends if (number := control(end)) is not None}
    return f"({' | '.join(f'<[{number}]>' for number in sorted(ids))})?" if ids else ""


def _shared(spoken: Spoken, control: Control) -> int:
    """How many characters end every call, the last one too: of two texts, one the beginning of the other, the shorter is
    not seen to be complete."""
    length = 0
    parts = (_parts(spoken, text, control) for text in (spoken.ending, spoken.between or ""))
    for ours, theirs in zip(*parts, strict=False):
        if ours == theirs:
            length += len(ours)
            continue
        if control(ours) is None and control(theirs) is None:
            length += _alike(ours, theirs)
        break
    return length


def _alike(ours: str, theirs: str) -> int:
    """How many characters two texts begin with alike."""
    apart = (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    return next(apart, min(len(ours), len(theirs)))


def chosen(spoken: Spoken, calls: Mapping[str, Schema], control: Control) -> str:
    """What stands behind the beginning of a call whose name the model chooses."""
    behind = spoken.beginning.removeprefix(spoken.unnamed)
    return _written([f"start: {_choice(spoken, behind, calls, control)}"], calls)


def _written(rules: list[str], calls: Mapping[str, Schema]) -> str:
    schemas = [f"call{i}: %json {json.dumps(schema)}" for i, schema in enumerate(calls.values())]
    return HEAD + "\n".join([*rules, *schemas]) + "\n"


def _choice(spoken: Spoken, before: str, calls: Mapping[str, Schema], control: Control) -> str:
    """One of the calls, each behind what stands before it."""
    return " | ".join(
        f"{_spelt(spoken, spoken.named(before, name), control)} call{i}"
        for i, name in enumerate(calls)
    )


def _first(calls: Mapping[str, Schema], ends: str) -> list[str]:
    """Of a syntax whose call is an answer's whole JSON, by the name in it: any other JSON is text."""
    began = {name: rf'\s*\{{\s*"name"\s*:\s*"{_pattern(name)}"' for name in calls}
    answers = [f'begun{i} COMMA call{i} "}}"' for i, _ in enumerate(calls)]
    return [
        f"start: (PLAIN | {' | '.join(answers)}) {ends}",
        f"PLAIN: ~/({'|'.join(began.values())}){ANYTHING}/",
        r'COMMA: /[ \n]?,[ \n]?"parameters":[ \n]?/',
        *(f"begun{i}[lazy]: /{pattern}/" for i, pattern in enumerate(began.values())),
    ]


def _pattern(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


def _spelt(spoken: Spoken, text: str, control: Control) -> str:
    """A text of the template, control tokens by their ids."""
    return " ".join(
        json.dumps(part, ensure_ascii=False)
        if (number := control(part)) is None
        else f"<[{number}]>"
        for part in _parts(spoken, text, control)
    )


def _parts(spoken: Spoken, text: str, control: Control) -> list[str]:
    """A text with its control tokens apart."""
    signs = (*spoken.syntax.marks, *spoken.syntax.tokens)
    known = [re.escape(sign) for sign in signs if control(sign) is not None]
    parts = re.split(f"({'|'.join(known)})", text) if known else [text]
    return [part for part in parts if part]
