"""The shapes that training data comes in (JSONL, a JSON array, parquet), all read as conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from forge.chat.template import Message
from forge.core.fsio import human, read_limited
from forge.errors import EnvironmentProblem, UsageError

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
WEIGHT = "weight"  # what a message is marked with that is not to be learned
WEIGHTS = (WEIGHT, "train", "trainable", "training")  # of OpenAI's, axolotl's and other formats: 0, 1, false, true
ROLES = {role: role for role in ("system", "user", "assistant")}
LINE_LIMIT = 64_000_000  # bytes of a line of JSONL; no example has as many
ARRAY_LIMIT = 1_000_000_000  # bytes of a JSON array, which is read at once
SNIFF = 4096  # bytes that tell an array from lines
BATCH = 1024  # parquet rows held at a time
BOM = b"\xef\xbb\xbf"  # what some editors put before the first line


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
        messages.append({"role": names[name], "content": _text(turn, content)} | _weight(turn, f"{key}[{i}]"))
    return messages


def _weight(turn: dict[str, Any], where: str) -> Message:
    """A turn that is not to be learned keeps its mark, under the name that OpenAI's format has for it."""
    for name in WEIGHTS:
        value = turn.get(name)
        if value is not None and value not in (0, 1):
            raise ExampleError(f"{where}: {name} is {value!r}; a turn is learned (1) or not (0)")
        if value is not None and not value:
            return {WEIGHT: "0"}
    return {}


def _messages(record: dict[str, Any]) -> list[Message]:
    return _turns(record, "messages", "role", "content", ROLES)


def _sharegpt(record: dict[str, Any]) -> list[Message]:
    turns = _turns(record, "conversations", "from", "value", SHAREGPT_ROLES)
    return turns if turns and turns[0]["role"] == "system" else [*_system(record), *turns]


def _alpaca(record: dict[str, Any]) -> list[Message]:
    asked = "\n\n".join(part for part in (_text(record, "instruction"), _text(record, "input")) if part.strip())
    return [*_system(record), *_history(record), *_pair(asked, _text(record, "output"))]


def _history(record: dict[str, Any]) -> list[Message]:
    """Earlier turns, as [question, answer] pairs (LLaMA-Factory's data/README.md, "Supervised Fine-Tuning Dataset")."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list):
        raise ExampleError(f"history is {type(pairs).__name__}, not a list")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ExampleError(f"history[{i}] is not a pair of texts")
    return [message for asked, answered in pairs for message in _pair(asked, answered)]


def _completion(record: dict[str, Any]) -> list[Message]:
    return _pair(_text(record, "prompt"), _text(record, "completion"))


def _system(record: dict[str, Any]) -> list[Message]:
    system = _text(record, "system")
    return [{"role": "system", "content": system}] if system else []


def _pair(user: str, assistant: str) -> list[Message]:
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


# Keys that tell a format, and how it is read; the first row whose keys are all there is taken.
FORMATS: tuple[tuple[str, set[str], Callable[[dict[str, Any]], list[Message]]], ...] = (
    ("messages", {"messages"}, _messages),
    ("sharegpt", {"conversations"}, _sharegpt),
    ("alpaca", {"instruction", "output"}, _alpaca),
    ("prompt-completion", {"prompt", "completion"}, _completion),
)


def conversation(record: object) -> list[Message]:
    """The messages of one parsed line, in any known format. Raises ExampleError with what is wrong."""
    if not isinstance(record, dict):
        raise ExampleError(f"a JSON {type(record).__name__}, not an object")
    record = _given(record)
    for _, keys, read in FORMATS:
        if record.keys() >= keys:
            return read(record)
    known = "; ".join(", ".join(sorted(keys)) for _, keys, _ in FORMATS)
    raise ExampleError(f"keys {', '.join(map(str, record)) or '(none)'} are no known format; expected one of: {known}")


def _given(record: dict[str, Any]) -> dict[str, Any]:
    """A null is a key that is not there: mixed datasets have every column in every row."""
    return {key: value for key, value in record.items() if value is not None}


def problems(messages: list[Message]) -> list[str]:
    """What would keep a conversation from teaching anything."""
    found = [
        f"turn {i + 1} ({message['role']}) is empty"
        for i, message in enumerate(messages)
        if not message["content"].strip()
    ]
    roles = [message["role"] for message in messages]
    if not any(message["role"] == "assistant" and message.get("weight") != "0" for message in messages):
        found.append("no assistant turn: nothing is trained")
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != (["user", "assistant"] * len(turns))[: len(turns)]:
        found.append(f"roles do not alternate user, assistant: {', '.join(roles)}")
    elif turns and turns[-1] == "user":
        found.append("the last turn is the user's")
    return found


@dataclass(frozen=True, slots=True)
class Line:
    """One non-blank line, array entry or row of a file: its number (from 1) and either messages or an error.

    `json` tells one that parses from one that does not; `record` is what it holds beside its messages.
    """

    number: int
    messages: list[Message] | None
    error: str | None
    json: bool = True
    record: dict[str, Any] | None = None


def lines(path: Path) -> Iterator[Line]:
    """Reads a file entry by entry; nothing is raised for what it holds. Raises UsageError where there is no file.

    `.parquet` is read as rows, `.json` as one array of records (the only form that is read at once); all else as JSONL.
    An array under the name of JSONL, and JSONL under that of an array, is read as what it is.
    """
    if not path.is_file():
        raise UsageError(f"no dataset at {path}", fix="forge dataset, or name another file")
    for number, record, error in READERS.get(path.suffix.lower(), _jsonl)(path):
        if error:
            yield Line(number, None, error, json=False)
            continue
        try:
            yield Line(number, conversation(record), None, record=_given(record))
        except ExampleError as wrong:
            yield Line(number, None, wrong.message)


Entry = tuple[int, Any, str | None]  # number, parsed record, or else why it does not parse


def _jsonl(path: Path) -> Iterator[Entry]:
    array = _array(path)
    if array is not None:
        yield from ((number, record, None) for number, record in enumerate(array, 1))
        return
    with open(path, "rb") as handle:
        for number, raw in enumerate(iter(lambda: handle.readline(LINE_LIMIT), b""), 1):
            text = raw.removeprefix(BOM) if number == 1 else raw
            if len(raw) == LINE_LIMIT:  # the rest of it may be of any length
                yield number, None, f"longer than {human(LINE_LIMIT)}; what follows is not read"
                return
            if not text.strip():
                continue
            try:
                record, wrong = orjson.loads(text), None
            except orjson.JSONDecodeError as error:
                record, wrong = None, f"not valid JSON: {error}"
            yield number, record, wrong


def _array(path: Path) -> list[Any] | None:
    """The records of a file that is one array; None for any other, of which no more than the beginning is read."""
    with open(path, "rb") as handle:
        if handle.read(SNIFF).removeprefix(BOM).lstrip()[:1] != b"[" or path.stat().st_size > ARRAY_LIMIT:
            return None
    try:
        whole = orjson.loads(path.read_bytes().removeprefix(BOM))
    except orjson.JSONDecodeError:
        return None
    return whole if isinstance(whole, list) else None


def _json(path: Path) -> Iterator[Entry]:
    """An array of records. JSONL under this name is read too: its first line is no whole array."""
    data = read_limited(path, ARRAY_LIMIT, fix="write it as JSONL, one object a line").removeprefix(BOM)
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.lstrip()[:1] == b"[":
            yield error.lineno, None, f"not valid JSON: {error}"
        else:
            yield from _jsonl(path)
        return
    for number, record in enumerate(whole if isinstance(whole, list) else [whole], 1):
        yield number, record, None


def _parquet(path: Path) -> Iterator[Entry]:
    """Rows, a batch at a time."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise EnvironmentProblem(f"{path}: reading parquet needs pyarrow", fix="pip install pyarrow") from None
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row, None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        yield number + 1, None, f"not valid parquet: {error}"


READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {".json": _json, ".parquet": _parquet}


def checked(path: Path) -> Iterator[Line]:
    """The lines of a file that is to be used. Raises UsageError at the first that cannot be trained on."""
    for line in lines(path):
        wrong = line.error or next(iter(problems(line.messages or [])), None)
        if wrong:
            raise UsageError(f"{path}:{line.number}: {wrong}", fix=f"forge validate {path}")
        yield line


def read(path: Path) -> Iterator[tuple[int, list[Message]]]:
    """(line number, conversation) of each line of a file, for training. Raises UsageError at the first that is none."""
    return ((line.number, line.messages or []) for line in checked(path))


# -- what stands beside the messages -----------------------------------------------------------------------------------


def split_system(messages: list[Message]) -> tuple[str | None, list[Message]]:
    """The system prompt, and the turns after it."""
    first = messages[0] if messages else None
    return (first["content"], messages[1:]) if first and first["role"] == "system" else (None, messages)


def provenance(record: dict[str, Any]) -> dict[str, Any] | None:
    """Where an example comes from, {path, span, sha256} as far as it says: under `source`, or in parquet's columns."""
    if "source" in record:
        source = record["source"]
        return source if isinstance(source, dict) else {"path": source}
    if "path" not in record:
        return None
    span = [record[key] for key in ("span_start", "span_end") if key in record]
    return {"path": record["path"], **({"span": span} if span else {}),
            **({"sha256": record["sha256"]} if "sha256" in record else {})}


def span_of(source: dict[str, Any]) -> tuple[int, int] | None:
    """The bytes a source names, if they are two whole numbers in order."""
    span = source.get("span")
    if not isinstance(span, list) or len(span) != 2 or not all(type(at) is int for at in span):
        return None
    return (span[0], span[1]) if 0 <= span[0] <= span[1] else None
