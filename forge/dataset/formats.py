"""The shapes a JSONL line of training data comes in, all read as one conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from forge.chat.template import Message
from forge.errors import UsageError

SHAREGPT_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
}
ROLES = ("system", "user", "assistant")


class ExampleError(UsageError):
    """What is wrong with one line; who reads the file adds its name and the line's number."""


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key, "")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ExampleError(f"{key} is {type(value).__name__}, not text")
    return value


def _turns(record: dict[str, Any], key: str, role: str, content: str, names: dict[str, str]) -> list[Message]:
    turns = record[key]
    if not isinstance(turns, list):
        raise ExampleError(f"{key} is {type(turns).__name__}, not a list")
    messages: list[Message] = []
    for i, turn in enumerate(turns):
        if not isinstance(turn, dict) or role not in turn or content not in turn:
            raise ExampleError(f"{key}[{i}] has no {role} and {content}")
        name = turn[role]
        if not isinstance(name, str) or name not in names:
            raise ExampleError(f"{key}[{i}]: unknown role {name!r}; known: {', '.join(names)}")
        messages.append({"role": names[name], "content": _text(turn, content)})
    return messages


def _messages(record: dict[str, Any]) -> list[Message]:
    return _turns(record, "messages", "role", "content", {role: role for role in ROLES})


def _sharegpt(record: dict[str, Any]) -> list[Message]:
    return _turns(record, "conversations", "from", "value", SHAREGPT_ROLES)


def _alpaca(record: dict[str, Any]) -> list[Message]:
    asked = "\n\n".join(part for part in (_text(record, "instruction"), _text(record, "input")) if part.strip())
    return _pair(asked, _text(record, "output"), _text(record, "system"))


def _completion(record: dict[str, Any]) -> list[Message]:
    return _pair(_text(record, "prompt"), _text(record, "completion"), "")


def _pair(user: str, assistant: str, system: str) -> list[Message]:
    first: list[Message] = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


# Keys that tell a format, and how it is read; the first row whose keys are all there is taken.
FORMATS: tuple[tuple[str, tuple[str, ...], Callable[[dict[str, Any]], list[Message]]], ...] = (
    ("messages", ("messages",), _messages),
    ("sharegpt", ("conversations",), _sharegpt),
    ("alpaca", ("instruction", "output"), _alpaca),
    ("prompt-completion", ("prompt", "completion"), _completion),
)


def conversation(record: object) -> list[Message]:
    """The messages of one parsed line, in any known format. Raises ExampleError with what is wrong."""
    if not isinstance(record, dict):
        raise ExampleError(f"a JSON {type(record).__name__}, not an object")
    for _, keys, read in FORMATS:
        if all(key in record for key in keys):
            return read(record)
    known = "; ".join(", ".join(keys) for _, keys, _ in FORMATS)
    raise ExampleError(f"keys {', '.join(map(str, record)) or '(none)'} are no known format; expected one of: {known}")


def problems(messages: list[Message]) -> list[str]:
    """What would keep a conversation from teaching anything."""
    found = [
        f"turn {i + 1} ({message['role']}) is empty"
        for i, message in enumerate(messages)
        if not message["content"].strip()
    ]
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        found.append("no assistant turn: nothing is trained")
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        found.append(f"roles do not alternate user, assistant: {', '.join(roles)}")
    elif turns and turns[-1] == "user":
        found.append("the last turn is the user's")
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One non-blank line of a file: its number (from 1) and either messages or an error. `json` tells a line that
    parses from one that does not."""

    number: int
    messages: list[Message] | None
    error: str | None
    json: bool = True


def lines(path: Path) -> Iterator[Line]:
    """Reads a file line by line; nothing is raised for what a line holds. Raises UsageError where there is no file."""
    if not path.is_file():
        raise UsageError(f"no dataset at {path}", fix="forge dataset, or name another file")
    with open(path, "rb") as handle:
        for number, raw in enumerate(handle, 1):
            if not raw.strip():
                continue
            try:
                record = orjson.loads(raw)
            except orjson.JSONDecodeError as error:
                yield Line(number, None, f"not valid JSON: {error}", json=False)
                continue
            try:
                yield Line(number, conversation(record), None)
            except ExampleError as error:
                yield Line(number, None, error.message)


def read(path: Path) -> Iterator[tuple[int, list[Message]]]:
    """(line number, conversation) of each line of a file, for training. Raises UsageError at the first that is none."""
    for line in lines(path):
        wrong = line.error or next(iter(problems(line.messages or [])), None)
        if wrong or line.messages is None:
            raise UsageError(f"{path}:{line.number}: {wrong}", fix=f"forge validate {path}")
        yield line.number, line.messages
