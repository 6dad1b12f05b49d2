"""The shapes that training data comes in (JSONL, a JSON array, parquet), all read as conversations.

docs/data.md has the same as a table. What is not read and would be missed is refused by name: UNREAD.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import orjson

from phoenix_forge.chat.template import BESIDE, Message, thought
from phoenix_forge.core.fsio import human, read_limited
from phoenix_forge.errors import EnvironmentProblem, UsageError

CALL = "function_call"  # of ShareGPT: an assistant's turn that is a call, or several, as JSON
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
    CALL: "assistant",
    "observation": "tool",
    "tool": "tool",
    "function": "tool",
    "tool_response": "tool",
}
ROLES = {role: role for role in ("system", "user", "assistant", "tool")} | {"function": "tool"}
WEIGHT = "weight"  # what a message is marked with that is not to be learned
WEIGHTS = (
    WEIGHT,
    "train",
    "trainable",
    "training",
)  # of OpenAI's, axolotl's and other formats: 0, 1, false, true
THOUGHTS = (
    "reasoning_content",
    "thinking",
    "reasoning",
)  # the names of an answer's thoughts, as transformers reads
TOOLS = ("tools", "functions")  # the names of what a conversation may call; a list, or its JSON
KEPT = ("tool_call_id", "name")  # of a tool's result, where a template wants it
# What would be lost: of a turn or a whole record, and why.
UNREAD = dict.fromkeys(
    ("image", "images", "audio", "audios", "video", "videos"), "only text is trained"
) | {
    "chat_template_kwargs": "how the template is asked follows from the data: with thoughts where it has some"
}
LINE_LIMIT = 64_000_000  # bytes of a line of JSONL; no example has as many
ARRAY_LIMIT = 1_000_000_000  # bytes of a JSON array, which is read at once
SNIFF = 4096  # bytes that tell an array from lines
DEPTH = 100  # of tools, arguments and results
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


def _content(turn: dict[str, Any], key: str, role: str, where: str) -> str:
    """The text of a turn: a text, or parts of text; a tool's result may be any JSON."""
    value = turn.get(key)
    parts = value if isinstance(value, list) else []
    strange = [i for i, part in enumerate(parts) if not _is_text(part)]
    if parts and not strange:
        return "".join(part["text"] for part in parts)
    if role == "tool" and value is not None and not isinstance(value, str):
        _require_shallow(value, f"{where}: {key}")
        return json.dumps(value, ensure_ascii=False)
    if strange and isinstance(kind := parts[strange[0]], dict):
        raise ExampleError(
            f"{where}: {key}[{strange[0]}] is of type {kind.get('type')!r}; only text is trained"
        )
    return _text(turn, key)


def _is_text(part: Any) -> bool:
    return (
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    )


def _turns(
    record: dict[str, Any], key: str, role: str, content: str, names: dict[str, str]
) -> list[Message]:
    turns = record[key]
    if not isinstance(turns, list):
        raise ExampleError(f"{key} is {type(turns).__name__}, not a list")
    return [_turn(turn, f"{key}[{i}]", role, content, names) for i, turn in enumerate(turns)]


def _turn(turn: Any, where: str, role: str, content: str, names: dict[str, str]) -> Message:
    calling = isinstance(turn, dict) and ("tool_calls" in turn or "function_call" in turn)
    if not isinstance(turn, dict) or role not in turn or (content not in turn and not calling):
        raise ExampleError(f"{where} has no {role} and {content}")
    name = turn[role]
    if not isinstance(name, str) or name not in names:
        raise ExampleError(f"{where}: unknown role {name!r}; known: {', '.join(names)}")
    _require_read(turn, f"{where}: ")
    if name == CALL:
        return {
            "role": names[name],
            "content": "",
            "tool_calls": _called(turn[content], where),
        } | _weight(turn, where)
    message = {"role": names[name], "content": _content(turn, content, names[name], where)}
    message |= _calls(turn, where) | _thoughts(turn, where) | _weight(turn, where)
    if message["role"] == "tool":
        return message | {key: turn[key] for key in KEPT if isinstance(turn.get(key), str)}
    spoken = message.keys() & {"tool_calls", "reasoning_content"}
    if spoken and message["role"] != "assistant":
        raise ExampleError(f"{where}: {min(spoken)} of {name!r}; only an assistant has any")
    return message


def _require_read(record: dict[str, Any], where: str = "") -> None:
    """Refuses what is not read and would be missed."""
    for name in record.keys() & UNREAD:
        if record[name]:
            raise ExampleError(f"{where}{name} is not read: {UNREAD[name]}")


# -- tools, calls, thoughts --------------------------------------------------------------------------------------------


def _parsed(value: Any, where: str) -> Any:
    """What a text of JSON holds; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ExampleError(f"{where} is not valid JSON: {error}") from None


def _require_shallow(value: Any, where: str) -> None:
    """Refuses what is nested so deep that writing it as JSON would fail."""
    level = [value]
    for _ in range(DEPTH):
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level = list(chain.from_iterable(inner))
        if not level:
            return
    raise ExampleError(f"{where} is nested more than {DEPTH} deep")


def _function(value: Any, where: str) -> dict[str, Any]:
    """{"type": "function", "function": …} of a tool or a call, which some formats leave out."""
    whole = (
        value
        if isinstance(value, dict) and "function" in value
        else {"type": "function", "function": value}
    )
    inner = whole["function"]
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise ExampleError(f"{where} has no name")
    return whole


def _tools(record: dict[str, Any]) -> dict[str, Any]:
    """What may be called, under `tools`; nothing where that is nothing."""
    found = next((name for name in TOOLS if record.get(name)), None)
    if found is None:
        return {}
    tools = _parsed(record[found], found)
    if not isinstance(tools, list):
        raise ExampleError(f"{found} is {type(tools).__name__}, not a list")
    _require_shallow(tools, found)
    return (
        {"tools": [_function(tool, f"{found}[{i}]") for i, tool in enumerate(tools)]}
        if tools
        else {}
    )


def _documents(record: dict[str, Any]) -> dict[str, Any]:
    """Passages that answers rest on, for templates that write such."""
    documents = record.get("documents")
    if not documents:
        return {}
    if not isinstance(documents, list) or not all(
        isinstance(document, dict) for document in documents
    ):
        raise ExampleError("documents is not a list of objects")
    _require_shallow(documents, "documents")
    return {"documents": documents}


def _calls(turn: dict[str, Any], where: str) -> Message:
    """An assistant's calls: OpenAI's `tool_calls`, or the one of its older `function_call`."""
    calls = turn.get("tool_calls") or turn.get("function_call")
    return {"tool_calls": _called(calls, where)} if calls else {}


def _called(value: Any, where: str) -> list[dict[str, Any]]:
    calls = _parsed(value, f"{where}: the call")
    if not isinstance(calls, list):
        calls = [calls]
    if not calls:
        raise ExampleError(f"{where}: the call has no name")
    return [_call(call, f"{where}: call {i + 1}") for i, call in enumerate(calls)]


def _call(value: Any, where: str) -> dict[str, Any]:
    """A call, its arguments as an object, as templates want them (transformers' documentation, "Tool use")."""
    whole = _function(value, where)
    arguments = _parsed(whole["function"].get("arguments") or {}, f"{where}: arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise ExampleError(f"{where}: arguments is {type(arguments).__name__}, not an object")
    _require_shallow(whole, where)
    return whole | {"function": whole["function"] | {"arguments": arguments}}


def _thoughts(turn: dict[str, Any], where: str) -> Message:
    name = next((name for name in THOUGHTS if turn.get(name)), None)
    if name is None:
        return {}
    if not isinstance(turn[name], str):
        raise ExampleError(f"{where}: {name} is {type(turn[name]).__name__}, not text")
    return {"reasoning_content": turn[name].strip()} if turn[name].strip() else {}


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
    return _led(record, _turns(record, "messages", "role", "content", ROLES))


def _sharegpt(record: dict[str, Any]) -> list[Message]:
    return _led(record, _turns(record, "conversations", "from", "value", SHAREGPT_ROLES))


def _led(record: dict[str, Any], turns: list[Message]) -> list[Message]:
    """The turns behind the system prompt that stands beside them, where they have none."""
    return turns if turns and turns[0]["role"] == "system" else [*_system(record), *turns]


def _alpaca(record: dict[str, Any]) -> list[Message]:
    asked = "\n\n".join(
        part for part in (_text(record, "instruction"), _text(record, "input")) if part.strip()
    )
    return [*_system(record), *_history(record), *_answered(record, asked, "output")]


def _history(record: dict[str, Any]) -> list[Message]:
    """Earlier turns, as [question, answer] pairs (LLaMA-Factory's data/README.md, "Supervised Fine-Tuning Dataset")."""
    pairs = record.get("history") or []
    if not isinstance(pairs, list):
        raise ExampleError(f"history is {type(pairs).__name__}, not a list")
    for i, pair in enumerate(pairs):
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise ExampleError(f"history[{i}] is not a pair of texts")
    return [message for asked, answered in pairs for message in _pair(asked, answered)]


def _completion(record: dict[str, Any]) -> list[Message]:
    return _answered(record, _text(record, "prompt"), "completion")


def _answered(record: dict[str, Any], asked: str, key: str) -> list[Message]:
    """A question and its answer, whose thoughts and calls stand beside it."""
    question, answer = _pair(asked, _text(record, key))
    return [question, answer | _calls(record, key) | _thoughts(record, key)]


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
            _require_read(record)
            messages = read(record)
            given = _tools(record) | _documents(record)
            return [messages[0] | given, *messages[1:]] if given and messages else messages
    known = "; ".join(", ".join(sorted(keys)) for _, keys, _ in FORMATS)
    raise ExampleError(
        f"keys {', '.join(map(str, record)) or '(none)'} are no known format; expected one of: {known}"
    )


def _given(record: dict[str, Any]) -> dict[str, Any]:
    """A null is a key that is not there: mixed datasets have every column in every row."""
    return {key: value for key, value in record.items() if value is not None}


def problems(messages: list[Message]) -> list[str]:
    """What would keep a conversation from teaching anything."""
    found = [
        f"turn {i + 1} ({message['role']}) is empty"
        for i, message in enumerate(messages)
        if not message["content"].strip()
        and "tool_calls" not in message
        and message["role"] != "tool"
    ]
    roles = [message["role"] for message in messages]
    if not any(
        message["role"] == "assistant" and message.get("weight") != "0" for message in messages
    ):
        found.append("no assistant turn: nothing is trained")
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not all(role in FOLLOWS[before] for before, role in pairwise(["", *turns])):
        results = ", and a tool's result where it called" if "tool" in roles else ""
        found.append(f"roles do not alternate user, assistant{results}: {', '.join(roles)}")
    elif turns and turns[-1] != "assistant":
        found.append(f"the last turn is the {turns[-1]}'s")
    return found


# Whose turn may follow whose; the first follows none.
FOLLOWS = {
    "": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
    "system": (),
}


def texts(message: Message) -> list[str]:
    """All that a turn brings into a conversation: its text, thoughts, calls, and what stands beside."""
    rest = [message[name] for name in ("tool_calls", *BESIDE) if name in message]
    written = [json.dumps(value, ensure_ascii=False) for value in rest]
    return [message["content"], *filter(None, [message.get("reasoning_content")]), *written]


def has_thoughts(path: Path) -> bool:
    """Whether any answer of a dataset has thoughts: then a model is asked for some."""
    if path.suffix.lower() != ".parquet" and not _speaks_of_thoughts(path):
        return False
    return any(thought(message) for line in lines(path) for message in line.messages or [])


def _speaks_of_thoughts(path: Path) -> bool:
    """Whether the file has any of the words; most have none, and need not be read twice."""
    words = [f'"{name}"'.encode() for name in THOUGHTS] + [b"<think>", b"\\u003cthink"]
    with open(path, "rb") as file:
        return any(
            word in line for line in iter(lambda: file.readline(LINE_LIMIT), b"") for word in words
        )


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
        if (
            handle.read(SNIFF).removeprefix(BOM).lstrip()[:1] != b"["
            or path.stat().st_size > ARRAY_LIMIT
        ):
            return None
    try:
        whole = orjson.loads(path.read_bytes().removeprefix(BOM))
    except orjson.JSONDecodeError:
        return None
    return whole if isinstance(whole, list) else None


def _json(path: Path) -> Iterator[Entry]:
    """An array of records. JSONL under this name is read too: its first line is no whole array."""
    data = read_limited(path, ARRAY_LIMIT, fix="write it as JSONL, one object a line").removeprefix(
        BOM
    )
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
        raise EnvironmentProblem(
            f"{path}: reading parquet needs pyarrow", fix="pip install pyarrow"
        ) from None
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _pruned(row), None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        yield number + 1, None, f"not valid parquet: {error}"


def _pruned(value: Any) -> Any:
    """A row without the nulls in it: in a column, every object has the keys of all."""
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None}
    return [_pruned(item) for item in value] if isinstance(value, list) else value


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
    return (
        (first["content"], messages[1:])
        if first and first["role"] == "system"
        else (None, messages)
    )


def provenance(record: dict[str, Any]) -> dict[str, Any] | None:
    """Where an example comes from, {path, span, sha256} as far as it says: under `source`, or in parquet's columns."""
    if "source" in record:
        source = record["source"]
        return source if isinstance(source, dict) else {"path": source}
    if "path" not in record:
        return None
    span = [record[key] for key in ("span_start", "span_end") if key in record]
    return {
        "path": record["path"],
        **({"span": span} if span else {}),
        **({"sha256": record["sha256"]} if "sha256" in record else {}),
    }


def span_of(source: dict[str, Any]) -> tuple[int, int] | None:
    """The bytes a source names, if they are two whole numbers in order."""
    span = source.get("span")
    if not isinstance(span, list) or len(span) != 2 or not all(type(at) is int for at in span):
        return None
    return (span[0], span[1]) if 0 <= span[0] <= span[1] else None
