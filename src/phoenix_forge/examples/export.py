"""The dataset in the formats of other trainers: alpaca, ShareGPT, parquet. One pass, stable bytes.

Tools, calls and thoughts go into ShareGPT, as LLaMA-Factory reads them; what a format has no place for is refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import orjson

from phoenix_forge.chat.template import PLAIN, Message, beside
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.examples import formats

ROWS = 8192  # examples in a parquet row group: what is held in memory
SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}

Write = Callable[[list[Message], dict[str, Any]], None]


Open = Callable[
    [Path], AbstractContextManager[Write]
]  # gives a function that takes one example after the other


def export(path: Path, out: dict[str, Path]) -> int:
    """Writes the dataset at `path` (any format that is read) to the paths of `out`, by format name; returns the count.

    The paths are staged ones: publishing them is the caller's. Raises UsageError for an unknown format and, with its
    line, for an example that cannot be trained; EnvironmentProblem where parquet needs pyarrow.
    """
    unknown = [name for name in out if name not in FORMATS]
    if unknown:
        raise UsageError(
            f"unknown export format {unknown[0]!r}", fix=f"one of: {', '.join(FORMATS)}"
        )
    count = 0
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(FORMATS[name](staged)) for name, staged in out.items()]
        for line in formats.checked(path):
            count += 1
            try:
                for write in writers:
                    write(line.messages or [], line.record or {})
            except UsageError as error:
                raise UsageError(f"{path}:{line.number}: {error.message}", fix=error.fix) from None
    return count


def alpaca(messages: list[Message], record: dict[str, Any]) -> dict[str, Any]:
    """The last turn as instruction and output; earlier ones are `history`, as LLaMA-Factory reads it."""
    _require_learned(messages, "alpaca")
    _require_text(messages, "alpaca")
    system, turns = formats.split_system(messages)
    texts = [turn["content"] for turn in turns]
    pairs = [list(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]
    asked, answered = pairs.pop()
    return {
        "instruction": asked,
        "input": "",
        "output": answered,
        **({"system": system} if system else {}),
        **({"history": pairs} if pairs else {}),
        **_source(record),
    }


def sharegpt(messages: list[Message], record: dict[str, Any]) -> dict[str, Any]:
    """Calls, results, tools and thoughts as LLaMA-Factory reads them (data/README.md, "Sharegpt Format")."""
    given = beside(messages)
    if "tools" in given:
        given["tools"] = _json([tool["function"] for tool in given["tools"]])
    return {
        "conversations": [_said(turn) | _weight(turn) for turn in messages],
        **given,
        **_source(record),
    }


def _said(turn: Message) -> dict[str, Any]:
    text, thoughts, calls = turn["content"], turn.get("reasoning_content"), turn.get("tool_calls")
    if calls and (text.strip() or thoughts):
        raise UsageError(
            "an answer has text or thoughts beside its calls, which sharegpt cannot say", fix=_ELSE
        )
    if calls:
        made = [{key: call["function"][key] for key in ("name", "arguments")} for call in calls]
        return {"from": formats.CALL, "value": _json(made if len(made) > 1 else made[0])}
    value = f"<think>\n{thoughts}\n</think>\n\n{text}" if thoughts else text
    return {"from": SHAREGPT_NAMES[turn["role"]], "value": value}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _weight(turn: Message) -> dict[str, int]:
    """What a turn that is not to be learned carries along."""
    return {formats.WEIGHT: int(turn[formats.WEIGHT])} if formats.WEIGHT in turn else {}


def _require_learned(messages: list[Message], format: str) -> None:
    """Refuses what a format would have learned for want of a place to say otherwise."""
    if any(formats.WEIGHT in turn for turn in messages):
        raise UsageError(
            f"an answer has weight 0, which {format} cannot say: it would be learned",
            fix="--export sharegpt, or leave the example out",
        )


_ELSE = "leave the example out, or give the other trainer the dataset itself"


def _require_text(messages: list[Message], format: str) -> None:
    """Refuses what a format has no place for."""
    if not all(turn.keys() <= PLAIN and turn["role"] != "tool" for turn in messages):
        raise UsageError(
            f"an example has tools, calls, documents or thoughts, which {format} cannot say",
            fix=f"--export sharegpt, or {_ELSE}",
        )


def _source(record: dict[str, Any]) -> dict[str, Any]:
    source = formats.provenance(record)
    return {"source": source} if source else {}


def _jsonl(
    shape: Callable[[list[Message], dict[str, Any]], dict[str, Any]],
) -> Callable[[Path], Any]:
    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[Write]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as handle:

            def write(messages: list[Message], record: dict[str, Any]) -> None:
                handle.write(
                    orjson.dumps(shape(messages, record), option=orjson.OPT_APPEND_NEWLINE)
                )

            yield write

    return opened


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise EnvironmentProblem(
            "exporting parquet needs pyarrow", fix="pip install pyarrow"
        ) from None
    turn = pa.struct([("role", pa.string()), ("content", pa.string())])
    columns = [
        ("messages", pa.list_(turn)),
        ("kind", pa.string()),
        ("id", pa.string()),
        ("path", pa.string()),
    ]
    schema = pa.schema(
        [*columns, ("span_start", pa.int64()), ("span_end", pa.int64()), ("sha256", pa.string())]
    )
    rows: list[dict[str, Any]] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="zstd") as file:

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(messages: list[Message], record: dict[str, Any]) -> None:
            rows.append(_row(messages, record))
            if len(rows) == ROWS:
                flush()

        yield write
        if rows:
            flush()


def _row(messages: list[Message], record: dict[str, Any]) -> dict[str, Any]:
    _require_learned(messages, "parquet")
    _require_text(messages, "parquet")
    source = formats.provenance(record) or {}
    start, end = formats.span_of(source) or (None, None)
    return {
        "messages": messages,
        "kind": record.get("kind"),
        "id": record.get("id"),
        "path": source.get("path"),
        "span_start": start,
        "span_end": end,
        "sha256": source.get("sha256"),
    }


FORMATS: dict[str, Open] = {
    "alpaca": _jsonl(alpaca),
    "sharegpt": _jsonl(sharegpt),
    "parquet": _parquet,
}
