"""Any JSONL dataset, good or broken, checked line by line."""

import json

import pytest

from forge.dataset.formats import conversation, read
from forge.dataset.validate import validate
from forge.errors import UsageError

PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def write(path, *rows):
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "record",
    [
        {"messages": PAIR},
        {"instruction": "q", "input": "", "output": "a"},
        {"prompt": "q", "completion": "a"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ],
)
def test_formats(record):
    assert conversation(record) == PAIR


def test_alpaca_with_input():
    assert conversation({"instruction": "do", "input": "this", "output": "a"})[0]["content"] == "do\n\nthis"


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        (b"{not json", "syntax", "not valid JSON"),
        (b"\xff\xfe{}", "syntax", "not valid JSON"),
        ([1], "schema", "a JSON list"),
        ({"text": "x"}, "schema", "no known format"),
        ({"messages": "x"}, "schema", "messages is str"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "schema", "unknown role 'robot'"),
        ({"messages": [{"role": "user"}]}, "schema", "has no role and content"),
        ({"instruction": "x", "output": 3}, "schema", "output is int"),
        ({"messages": [{"role": "user", "content": " "}, PAIR[1]]}, "turns", "turn 1 (user) is empty"),
        ({"messages": PAIR[:1]}, "turns", "no assistant turn"),
        ({"messages": [PAIR[1], PAIR[0]]}, "turns", "do not alternate"),
        ({"messages": [*PAIR, PAIR[0]]}, "turns", "the last turn is the user's"),
        ({"messages": PAIR}, "duplicate", "the same conversation as line 1"),
    ],
)
def test_findings_have_line_and_reason(tmp_path, row, kind, message):
    result = validate(write(tmp_path / "d.jsonl", {"messages": PAIR}, b"", row), encoder=None, max_length=None)
    mine = [f for f in result["findings"] if f["kind"] == kind]
    assert mine[0]["line"] == 3
    assert message in mine[0]["message"]
    assert bool(result["errors"]) == (kind != "duplicate")
    assert bool(result["warnings"]) == (kind == "duplicate")
    assert result["lines"] == 2
    assert result["valid_json"] == (1 if kind == "syntax" else 2)
    assert (result["tokens"], result["truncated"], result["trained_share"]) == (None, None, None)


def test_tokens(tmp_path, encoder):
    long = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "word " * 200}]
    path = write(tmp_path / "d.jsonl", {"messages": PAIR}, {"messages": long})
    result = validate(path, encoder=encoder, max_length=128)
    lengths = sorted(len(encoder.conversation(m).ids) for m in (PAIR, long))
    assert (result["tokens"]["p0"], result["tokens"]["p100"]) == tuple(lengths)
    assert result["total_tokens"] == sum(lengths)
    assert result["truncated"] == result["errors"] == 1
    assert 0 < result["trained_share"] < 1


def test_empty_and_absent(tmp_path):
    assert validate(write(tmp_path / "d.jsonl"), encoder=None, max_length=None)["errors"] == 1
    with pytest.raises(UsageError, match="no dataset at"):
        validate(tmp_path / "none.jsonl", encoder=None, max_length=None)


def test_findings_are_capped_and_counts_are_not(tmp_path):
    result = validate(write(tmp_path / "d.jsonl", *[b"x"] * 300), encoder=None, max_length=None)
    assert result["errors"] == 300
    assert len(result["findings"]) == 200


def test_read_stops_with_the_line(tmp_path):
    path = write(tmp_path / "d.jsonl", {"messages": PAIR}, {"messages": PAIR[:1]})
    lines = read(path)
    assert next(lines) == (1, PAIR)
    with pytest.raises(UsageError, match=r"d.jsonl:2: no assistant turn"):
        next(lines)
