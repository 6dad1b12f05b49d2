"""Exports and what reads them back: the same conversations, the same provenance, the same bytes twice."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.core.config import Config
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.examples import export as exporting
from phoenix_forge.examples.export import FORMATS, export
from phoenix_forge.examples.formats import lines, provenance, read
from phoenix_forge.examples.validate import validate

SOURCE = {"path": "docs/a b.md", "span": [3, 90], "sha256": "0" * 64}
PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
RECORD = {"messages": PAIR, "source": SOURCE, "kind": "text", "id": "f" * 16}

# Anything but lone surrogates, which no UTF-8 file holds; not blank, as an empty turn is no example.
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip)
CONVERSATIONS = st.builds(
    lambda system, pairs: [
        *([{"role": "system", "content": system}] if system else []),
        *(
            {"role": role, "content": text}
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=False)
        ),
    ],
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3),
)


def write(path: Path, *records: dict) -> Path:
    path.write_bytes(
        b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)
    )
    return path


def beside(native, name):
    config = Config.model_validate({"paths": {"dataset": str(native)}})
    return Workspace(native.parent, config).export(name)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60)
@given(conversations=st.lists(CONVERSATIONS, min_size=1, max_size=5))
def test_what_is_exported_reads_back(name, conversations):
    with tempfile.TemporaryDirectory() as folder:
        native = write(
            Path(folder) / "d.jsonl", *({**RECORD, "messages": c} for c in conversations)
        )
        out = beside(native, name)
        assert export(native, {name: out}) == len(conversations)
        assert list(read(out)) == list(enumerate(conversations, 1))
        assert [provenance(line.record) for line in lines(out)] == [SOURCE] * len(conversations)


def test_an_answer_that_is_not_to_be_learned_stays_marked(tmp_path):
    marked = [PAIR[0], PAIR[1] | {"weight": 0}, *PAIR]
    native = write(tmp_path / "d.jsonl", {**RECORD, "messages": marked})
    out = beside(native, "sharegpt")
    export(native, {"sharegpt": out})
    ((_, messages),) = read(out)
    assert messages == [PAIR[0], PAIR[1] | {"weight": "0"}, *PAIR]


@pytest.mark.parametrize("name", ["alpaca", "parquet"])
def test_a_format_without_a_place_for_that_mark_is_refused(tmp_path, name):
    native = write(
        tmp_path / "d.jsonl", {**RECORD, "messages": [PAIR[0], PAIR[1] | {"train": False}, *PAIR]}
    )
    with pytest.raises(UsageError, match=f"weight 0, which {name} cannot say"):
        export(native, {name: beside(native, name)})


TOOL = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Büsum"}}}
CALLED = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "14:10"},
    {"role": "assistant", "content": "At 14:10."},
]


def test_tools_calls_and_thoughts_go_where_llama_factory_reads_them(tmp_path):
    thinking = [PAIR[0], PAIR[1] | {"reasoning_content": "Hm."}]
    native = write(
        tmp_path / "d.jsonl", {"messages": CALLED, "tools": [TOOL]}, {"messages": thinking}
    )
    out = beside(native, "sharegpt")
    export(native, {"sharegpt": out})
    first, second = map(json.loads, out.read_text().splitlines())
    assert [turn["from"] for turn in first["conversations"]] == [
        "human",
        "function_call",
        "observation",
        "gpt",
    ]
    assert json.loads(first["tools"]) == [TOOL["function"]]
    assert second["conversations"][1]["value"] == "<think>\nHm.\n</think>\n\na"
    (_, messages), _ = read(out)
    assert messages == [CALLED[0] | {"tools": [TOOL]}, *CALLED[1:]]


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("alpaca", {}),
        ("parquet", {}),
        ("sharegpt", {"content": "I look."}),
        ("sharegpt", {"thinking": "Hm."}),
    ],
)
def test_what_a_format_has_no_place_for_is_refused_with_its_line(tmp_path, name, turn):
    native = write(
        tmp_path / "d.jsonl",
        {"messages": PAIR},
        {"messages": [CALLED[0], CALLED[1] | turn, *CALLED[2:]]},
    )
    with pytest.raises(UsageError, match=rf"d\.jsonl:2: .*which {name} cannot say") as caught:
        export(native, {name: beside(native, name)})
    assert "leave the example out" in caught.value.fix


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_in_one_pass_with_the_same_bytes_each_time(
    tmp_path, name, monkeypatch
):
    monkeypatch.setattr(exporting, "ROWS", 2)
    native = write(tmp_path / "d.jsonl", *({**RECORD, "id": str(i)} for i in range(5)))
    first = {other: tmp_path / "one" / other for other in FORMATS}
    export(native, first)
    export(native, {name: tmp_path / "alone"})
    assert (tmp_path / "alone").read_bytes() == first[name].read_bytes()


def test_the_shapes(tmp_path):
    chat = [
        {"role": "system", "content": "s"},
        *PAIR,
        {"role": "user", "content": "q2"},
        {"role": "assistant", "content": "a2"},
    ]
    native = write(tmp_path / "d.jsonl", RECORD, {**RECORD, "messages": chat})
    out = {name: beside(native, name) for name in FORMATS}
    export(native, out)
    assert [path.name for path in out.values()] == [
        "d.alpaca.jsonl",
        "d.sharegpt.jsonl",
        "d.parquet",
    ]
    alpaca = [json.loads(line) for line in out["alpaca"].read_text().splitlines()]
    assert alpaca == [
        {"instruction": "q", "input": "", "output": "a", "source": SOURCE},
        {
            "instruction": "q2",
            "input": "",
            "output": "a2",
            "system": "s",
            "history": [["q", "a"]],
            "source": SOURCE,
        },
    ]
    sharegpt = json.loads(out["sharegpt"].read_text().splitlines()[1])
    assert [turn["from"] for turn in sharegpt["conversations"]] == [
        "system",
        "human",
        "gpt",
        "human",
        "gpt",
    ]
    table = pq.read_table(out["parquet"])
    assert table.column_names == [
        "messages",
        "kind",
        "id",
        "path",
        "span_start",
        "span_end",
        "sha256",
    ]
    assert table.to_pylist()[0] == {
        "messages": PAIR,
        "kind": "text",
        "id": "f" * 16,
        "path": SOURCE["path"],
        "span_start": 3,
        "span_end": 90,
        "sha256": SOURCE["sha256"],
    }


def test_row_groups_bound_what_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ROWS", 2)
    native = write(tmp_path / "d.jsonl", *[RECORD] * 5)
    export(native, {"parquet": tmp_path / "d.parquet"})
    file = pq.ParquetFile(tmp_path / "d.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1]


def test_what_cannot_be_trained_is_not_exported(tmp_path):
    native = write(tmp_path / "d.jsonl", RECORD, {**RECORD, "messages": PAIR[:1]})
    with pytest.raises(UsageError, match=r"d\.jsonl:2: no assistant turn"):
        export(native, {"alpaca": tmp_path / "out"})
    with pytest.raises(UsageError, match=r"unknown export format 'csv'"):
        export(native, {"csv": tmp_path / "out"})


# Reading files that others made

OTHERS = {
    "messages": {"messages": PAIR},
    "messages with more fields": {
        "messages": [{**turn, "name": None} for turn in PAIR],
        "source": "web",
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "system": None,
    },
    "alpaca": {"instruction": "q", "input": "", "output": "a", "system": None},
    "prompt-completion": {"prompt": "q", "completion": "a"},
}


@pytest.mark.parametrize("record", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_every_shape_in_every_container(tmp_path, record, suffix):
    path = tmp_path / f"d{suffix}"
    records = [record] * 3
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif suffix == ".json":
        path.write_text(json.dumps(records, indent=2))
    else:
        write(path, *records)
    assert list(read(path)) == [(1, PAIR), (2, PAIR), (3, PAIR)]


def test_sharegpt_with_its_system_prompt_beside_the_turns(tmp_path):
    path = write(tmp_path / "d.jsonl", {**OTHERS["sharegpt"], "system": "s"})
    assert next(read(path))[1] == [{"role": "system", "content": "s"}, *PAIR]


def test_jsonl_named_json_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "d.json"
    path.write_bytes(b"\xef\xbb\xbf" + (json.dumps(RECORD) + "\n").encode() * 2)
    assert list(read(path)) == [(1, PAIR), (2, PAIR)]


@pytest.mark.parametrize(
    ("name", "data", "line", "message"),
    [
        ("d.json", b'[\n{"prompt": "q", "completion": "a"},\n{"prompt": }]', 3, "not valid JSON"),
        ("d.json", b'{"messages": 3}', 1, "messages is int"),
        ("d.parquet", b"PAR1 is all of it", 1, "not valid parquet"),
        ("d.parquet", b"", 1, "not valid parquet"),
    ],
)
def test_broken_containers_are_findings(tmp_path, name, data, line, message):
    (tmp_path / name).write_bytes(data)
    (finding,) = validate(tmp_path / name, encoder=None, max_length=None)["findings"]
    assert finding["line"] == line
    assert message in finding["message"]


def test_a_damaged_parquet_file_reads_up_to_the_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ROWS", 500)
    native = write(tmp_path / "d.jsonl", *({**RECORD, "id": str(i)} for i in range(2000)))
    out = tmp_path / "d.parquet"
    export(native, {"parquet": out})
    data = bytearray(out.read_bytes())
    data[len(data) // 2 - 300 : len(data) // 2 + 300] = b"\xff" * 600
    out.write_bytes(data)
    found = list(lines(out))
    assert found[-1].json is False
    assert "not valid parquet" in (found[-1].error or "")
    assert found[-1].number == len(found)


def test_parquet_rows_with_nulls_are_told_by_their_row(tmp_path):
    path = tmp_path / "d.parquet"
    rows = [{"prompt": "q", "completion": "a"}, {"prompt": "q", "completion": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    result = validate(path, encoder=None, max_length=None)
    assert (result["examples"], result["errors"]) == (1, 1)
    assert result["findings"][0]["line"] == 2
