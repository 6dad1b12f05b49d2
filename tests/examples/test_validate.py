"""Any JSONL dataset, good or broken, checked line by line."""

import json
from copy import copy
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import ChatTemplate
from phoenix_forge.cli.validate import bars, lines_of
from phoenix_forge.errors import UsageError
from phoenix_forge.examples import formats, tokens
from phoenix_forge.examples.formats import conversation, lines, problems, read
from phoenix_forge.examples.scripts import language, script
from phoenix_forge.examples.tokens import Count, Tally
from phoenix_forge.examples.validate import histogram, validate
from phoenix_forge.train.batches import encode

OTHER = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
PAIR = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def write(path, *rows):
    path.write_bytes(
        b"".join(
            (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
        )
    )
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


@pytest.mark.parametrize(
    "record",
    [
        {"messages": PAIR, "conversations": None, "instruction": None, "output": None},
        {
            "messages": None,
            "instruction": "q",
            "input": None,
            "output": "a",
            "system": None,
            "history": None,
        },
        {"messages": None, "prompt": "q", "completion": "a"},
    ],
)
def test_a_null_is_a_key_that_is_not_there(record, tmp_path):
    assert conversation(record) == PAIR
    assert (
        validate(write(tmp_path / "d.jsonl", record), encoder=None, max_length=None)["errors"] == 0
    )
    assert list(read(write(tmp_path / "d.json", json.dumps([record]).encode()))) == [(1, PAIR)]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_read_whatever_its_name(tmp_path, indent):
    rows = [{"messages": PAIR}, {"messages": OTHER}]
    path = write(tmp_path / "d.jsonl", b"\xef\xbb\xbf" + json.dumps(rows, indent=indent).encode())
    assert list(read(path)) == [(1, PAIR), (2, OTHER)]
    path.write_bytes(b'[1]\n{"messages": []}\n')  # lines, of which the first is an array
    assert [line.number for line in lines(path)] == [1, 2]


def test_alpaca_with_input():
    assert (
        conversation({"instruction": "do", "input": "this", "output": "a"})[0]["content"]
        == "do\n\nthis"
    )


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
        (
            {"messages": [{"role": "user", "content": " "}, PAIR[1]]},
            "turns",
            "turn 1 (user) is empty",
        ),
        ({"messages": PAIR[:1]}, "turns", "no assistant turn"),
        ({"messages": [PAIR[1], PAIR[0]]}, "turns", "do not alternate"),
        ({"messages": [PAIR[0], PAIR[1] | {"weight": 0}]}, "turns", "no assistant turn"),
        (
            {"messages": [PAIR[0], PAIR[1] | {"weight": 0.5}]},
            "schema",
            "messages[1]: weight is 0.5",
        ),
        (
            {"messages": [PAIR[0], PAIR[1] | {"train": False}, *OTHER]},
            "weight",
            "turn 2 is not learned",
        ),
        ({"messages": [*PAIR, PAIR[0]]}, "turns", "the last turn is the user's"),
        ({"messages": PAIR}, "duplicate", "the same conversation as line 1"),
        (
            {"messages": [PAIR[0], {**PAIR[1], "content": "b"}]},
            "conflict",
            "the same question as line 1, with another",
        ),
        (
            {"messages": OTHER, "kind": "text"},
            "provenance",
            "1 of 2 examples name no source (lines 3)",
        ),
        (
            {"messages": OTHER, "source": {"path": "a", "span": [4, 2], "sha256": "0" * 64}},
            "provenance",
            "span [4, 2]",
        ),
        (
            {"messages": OTHER, "source": {"path": "", "span": [1, 2], "sha256": "xy"}},
            "provenance",
            "sha256 'xy'",
        ),
        (
            {"messages": [PAIR[0], {**PAIR[1], "content": "Привет, как дела?"}]},
            "script",
            "are in Cyrillic script",
        ),
    ],
)
def test_findings_have_line_and_reason(tmp_path, row, kind, message):
    result = validate(
        write(tmp_path / "d.jsonl", {"messages": PAIR}, b"", row), encoder=None, max_length=None
    )
    mine = [f for f in result["findings"] if f["kind"] == kind]
    assert mine[0]["line"] == 3
    assert message in mine[0]["message"]
    mild = kind in ("duplicate", "conflict", "provenance", "script", "weight")
    assert bool(result["errors"]) != mild
    assert bool(result["warnings"]) == mild
    assert result["found"][kind] == len(mine)
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


def test_control_tokens_are_errors(tmp_path, encoder):
    texts = ("end<|im_end|>", "<|im_end |>", "<tool>")
    rows = [{"messages": [PAIR[0], {**PAIR[1], "content": text}]} for text in texts]
    result = validate(write(tmp_path / "d.jsonl", *rows), encoder=encoder, max_length=None)
    assert [
        (f["line"], f["kind"], f["level"]) for f in result["findings"] if f["kind"] == "control"
    ] == [(1, "control", "error")]
    assert (
        "turn 2 (assistant) holds the control token <|im_end|>" in result["findings"][0]["message"]
    )


def test_a_template_that_refuses_is_an_error_with_its_line(tmp_path, encoder):
    refusing = "{% if messages|length > 2 %}{{ raise_exception('two turns at most') }}{% endif %}"
    strict = Encoder(
        encoder.tokenizer,
        ChatTemplate(refusing + encoder.template.source),
        encoder.stop,
        "<|endoftext|>",
    )
    path = write(tmp_path / "d.jsonl", {"messages": PAIR}, {"messages": [*PAIR, *OTHER]})
    (finding,) = validate(path, encoder=strict, max_length=None)["findings"]
    assert (finding["line"], finding["kind"]) == (2, "template")
    assert "two turns at most" in finding["message"]


def test_repeats_are_told_once_each_with_the_first(tmp_path):
    again = [PAIR[0], {**PAIR[1], "content": "b"}]
    rows = [{"messages": m} for m in (PAIR, OTHER, again, PAIR, OTHER, again)]
    findings = validate(write(tmp_path / "d.jsonl", *rows), encoder=None, max_length=None)[
        "findings"
    ]
    assert [(f["line"], f["kind"], f["message"].split(",")[0].split()[-1]) for f in findings] == [
        (3, "conflict", "1"), (4, "duplicate", "1"), (5, "duplicate", "2"), (6, "duplicate", "3")
    ]  # fmt: skip


def test_kinds_languages_and_histogram(tmp_path, encoder):
    german = [
        {"role": "user", "content": "Was ist das?"},
        {"role": "assistant", "content": "Das ist nicht der Hund."},
    ]
    rows = [{"messages": PAIR, "kind": "text", "source": None}, {"messages": german, "kind": "a"}]
    result = validate(write(tmp_path / "d.jsonl", *rows), encoder=encoder, max_length=None)
    assert result["kinds"] == {"a": 1, "text": 1}
    assert result["languages"] == {"de": 0.5, "other": 0.5}
    assert sum(one["examples"] for one in result["histogram"]) == 2


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("What is the capital of the country, and where is it?", "en"),
        ("Die Katze ist nicht auf dem Tisch, und das ist gut.", "de"),
        ("Le chat est sur la table et il ne dort pas.", "fr"),
        ("El gato no está en la mesa, pero los perros sí.", "es"),
        ("Il gatto non è sul tavolo, ma questo è di una amica.", "it"),
        ("O gato não está em uma mesa, mas os dois são da Maria.", "pt"),
        ("De kat zit niet op het dak, maar hij is er ook geweest.", "nl"),
        ("def main(): pass", "other"),
        ("1234 --- 5678", "other"),
        ("", "other"),
        ("Кошка сидит на столе", "Cyrillic"),
        ("猫はテーブルの上にいる", "Kana"),
        ("猫在桌子上", "Han"),
        ("고양이가 탁자 위에 있다", "Hangul"),
        ("القط على الطاولة", "Arabic"),
        ("Η γάτα είναι στο τραπέζι", "Greek"),
        ("✅ — “the answer is in the table”", "en"),
    ],
)
def test_language(text, guess):
    assert language(text) == guess


@given(st.text(max_size=50))
def test_any_text_has_a_script_and_a_language(text):
    assert script(text)
    assert language(text)


def test_histogram_bins_hold_everything():
    lengths = [0, 15, 16, 95, 96, 40_000, 100_000]
    bins = histogram(lengths)
    assert sum(one["examples"] for one in bins) == len(lengths)
    assert all(one["below"] == two["from"] for one, two in pairwise(bins))
    assert (bins[0]["from"], bins[-1]["below"]) == (0, 100_001)
    assert histogram([]) == []


def test_bars_are_to_scale_and_never_nothing():
    drawn = bars([{"from": 16, "below": 32, "examples": 8000}, {"from": 32, "below": 48, "examples": 4000},
                  {"from": 48, "below": 64, "examples": 1}, {"from": 64, "below": 96, "examples": 0}])  # fmt: skip
    assert [line.count("█") for line in drawn] == [40, 20, 0, 0]
    assert "▏" in drawn[2]
    assert drawn[0].split() == ["16–31", "█" * 40, "8,000"]
    assert drawn[3].split() == ["64–95", "0"]


def test_the_text_of_a_result(tmp_path, encoder):
    rows = [
        {"messages": [PAIR[0], {**PAIR[1], "content": "x" * i or " "}], "kind": "text"}
        for i in range(30)
    ]
    result = validate(write(tmp_path / "d.jsonl", *rows), encoder=encoder, max_length=None)
    lines = lines_of(result)
    assert lines[0] == "line 1: error: turn 2 (assistant) is empty"
    assert (
        lines[20]
        == "… 30 in all: conflict 28, provenance 1, turns 1 (--json lists the first 200 of each)"
    )
    assert "kinds: text 29" in lines
    assert lines[-1].startswith("❌ 1 errors, 29 warnings in 30 lines, 30 of them valid JSON.")
    good = validate(write(tmp_path / "g.jsonl", {"messages": PAIR}), encoder=None, max_length=None)
    assert lines_of(good)[-1] == "✅ All 1 lines are valid JSON."


# Counting in bulk

TEMPLATES = {
    "as it is": None,
    "trims contents": ("['content'] }}", "['content'] | trim }}"),
    "looks into contents": ("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}"),
    "writes a content twice": ("<|im_start|>{{", "{{ m['content'] }}<|im_start|>{{"),
}
CONTENT = st.text(st.sampled_from("ab e\n<|>é 東"), min_size=1, max_size=12) | st.sampled_from(
    [
        "<|im_end|>",
        "a<|im_start|>b",
        "x</think> y",
        " padded ",
        "\x020\x03",
        "What is the default rank? It is 64.",
    ]
)


@pytest.mark.slow
@pytest.mark.parametrize("change", TEMPLATES.values(), ids=TEMPLATES)
@settings(max_examples=60)
@given(contents=st.lists(st.tuples(CONTENT, CONTENT, st.none() | CONTENT), min_size=1, max_size=6))
def test_the_tally_counts_as_the_encoder_does(encoder, change, contents):
    source = encoder.template.source.replace(*change) if change else encoder.template.source
    mine = Encoder(encoder.tokenizer, ChatTemplate(source), encoder.stop, "<|endoftext|>")
    conversations = [
        [*([{"role": "system", "content": system}] if system else []),
         {"role": "user", "content": user}, {"role": "assistant", "content": answer}]
        for user, answer, system in contents
    ]  # fmt: skip
    tally = Tally(mine)
    tally.counts([PAIR])  # so that what follows is not compared by the tally itself
    expected = [tally._alone(messages) for messages in conversations]
    assert tally.counts(conversations) == expected
    assert tally.counts(conversations) == expected
    if change is None:
        assert tally.counts(conversations, render=False) == expected
        assert tally.trained(conversations) == [count.trained for count in expected]


def test_a_tokenizer_that_does_not_cut_at_control_tokens_is_found_out(encoder, monkeypatch):
    special = type(
        "Wrong",
        (),
        {"split": lambda self, text: text.split("i"), "search": lambda self, text: None},
    )()
    monkeypatch.setattr(tokens, "control_tokens", lambda encoder: special)
    conversations = [
        [{"role": "user", "content": "this is it"}, {"role": "assistant", "content": "it is this"}]
    ]
    encoded = encoder.conversation(conversations[0])
    for _ in range(2):
        tally = Tally(encoder)
        assert tally.counts(conversations) == [Count(len(encoded.ids), sum(encoded.trained))]
        assert not tally._cuts


def test_counts_are_forgotten_when_they_are_too_many(encoder, monkeypatch):
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    tally = Tally(encoder)
    for i in range(20):
        messages = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": f"answer {i}"},
        ]
        assert tally.counts([messages, messages]) == [tally._alone(messages)] * 2
        assert len(tally._known) <= 4


TOOL = {
    "type": "function",
    "function": {"name": "tide", "parameters": {"type": "object", "properties": {}}},
}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Büsum"}}}
CALLED = [
    {"role": "user", "content": "q", "tools": [TOOL]},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": '{"high": "14:10"}'},
    {"role": "assistant", "content": "At 14:10."},
]
WRITTEN = '{"name": "tide", "arguments": {"port": "Büsum"}}'
END = [{"from": "observation", "value": '{"high": "14:10"}'}, {"from": "gpt", "value": "At 14:10."}]
BARE = [TOOL["function"]]


@pytest.mark.parametrize(
    "record",
    [
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        CALL | {"function": {"name": "tide", "arguments": '{"port": "Büsum"}'}}
                    ],
                },
                *CALLED[2:],
            ],
        },
        {
            "tools": json.dumps([TOOL]),
            "messages": [
                PAIR[0],
                {"role": "assistant", "tool_calls": [CALL["function"]]},
                {"role": "tool", "content": {"high": "14:10"}},
                CALLED[3],
            ],
        },
        {
            "functions": BARE,
            "messages": [
                PAIR[0],
                {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "tide", "arguments": '{"port": "Büsum"}'},
                },
                CALLED[2] | {"role": "function"},
                CALLED[3],
            ],
        },
        {
            "tools": json.dumps(BARE),
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": WRITTEN},
                *END,
            ],
        },
        {
            "tools": BARE,
            "conversations": [
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": f"[{WRITTEN}]"},
                END[0] | {"from": "tool"},
                END[1],
            ],
        },
    ],
    ids=["openai", "json texts", "openai's older", "sharegpt", "sharegpt, lists"],
)
def test_tools_in_every_shape_are_one_conversation(record):
    found = conversation(record)
    assert found == CALLED
    assert not problems(found)


def test_a_system_prompt_beside_the_turns():
    assert conversation({"system": "s", "messages": PAIR}) == [
        {"role": "system", "content": "s"},
        *PAIR,
    ]


def test_alpaca_with_tools_calls_and_thoughts():
    record = {"instruction": "q", "output": "", "tools": json.dumps(BARE), "function_call": WRITTEN}
    assert conversation(record) == CALLED[:2]
    assert conversation({"instruction": "q", "output": "a", "thinking": " Hm. "}) == [
        PAIR[0],
        PAIR[1] | {"reasoning_content": "Hm."},
    ]


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        (
            {
                "messages": [
                    PAIR[0],
                    {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]},
                ]
            },
            "schema",
            "messages[1]: call 1 has no name",
        ),
        (
            {
                "messages": [
                    PAIR[0],
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": "{port"}}],
                    },
                ]
            },
            "schema",
            "arguments is not valid JSON",
        ),
        (
            {
                "messages": [
                    PAIR[0],
                    {"role": "assistant", "tool_calls": [{"name": "f", "arguments": [1]}]},
                ]
            },
            "schema",
            "arguments is list, not an object",
        ),
        (
            {"messages": [PAIR[0] | {"tool_calls": [CALL]}, PAIR[1]]},
            "schema",
            "tool_calls of 'user'; only an assistant",
        ),
        ({"messages": PAIR, "tools": "tide"}, "schema", "tools is not valid JSON"),
        ({"messages": PAIR, "tools": [{"type": "function"}]}, "schema", "tools[0] has no name"),
        (
            {"messages": PAIR, "tools": [{"name": "f", "x": json.loads("[" * 300 + "]" * 300)}]},
            "schema",
            "nested more",
        ),
        ({"messages": PAIR, "documents": ["text"]}, "schema", "documents is not a list of objects"),
        ({"messages": PAIR, "images": ["a.png"]}, "schema", "images is not read: only text"),
        (
            {"messages": PAIR, "chat_template_kwargs": {"enable_thinking": False}},
            "schema",
            "is not read",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
                    PAIR[1],
                ]
            },
            "schema",
            "content[0] is of type 'image_url'",
        ),
        (
            {"messages": [PAIR[0], CALLED[2], PAIR[1]]},
            "turns",
            "a tool's result where it called: user, tool, assistant",
        ),
        ({"messages": CALLED[:3]}, "turns", "the last turn is the tool's"),
        (
            {
                "conversations": [
                    {"from": "human", "value": "q"},
                    {"from": "function_call", "value": "tide(x)"},
                ]
            },
            "schema",
            "conversations[1]: the call is not valid JSON",
        ),
    ],
)
def test_what_is_wrong_with_tools_has_its_line(tmp_path, record, kind, message):
    result = validate(
        write(tmp_path / "d.jsonl", {"messages": OTHER}, record), encoder=None, max_length=None
    )
    (found,) = [finding for finding in result["findings"] if finding["level"] == "error"]
    assert (found["line"], found["kind"]) == (2, kind)
    assert message in found["message"]


def test_the_page_about_data_names_all_that_is_read():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    keys = {key for _, needed, _ in formats.FORMATS for key in needed}
    for name in (
        *keys,
        *formats.SHAREGPT_ROLES,
        *formats.ROLES,
        *formats.WEIGHTS,
        *formats.THOUGHTS,
        *formats.TOOLS,
        *formats.KEPT,
        *formats.UNREAD,
    ):
        assert f"`{name}`" in page, name


def test_parquet_columns_of_nulls_are_keys_that_are_not_there(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, plain = tmp_path / "d.parquet", {"messages": PAIR, "tools": None}
    rows = [
        {"messages": [CALLED[0] | {"tools": None}, *CALLED[1:]], "tools": json.dumps([TOOL])},
        plain,
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert [messages for _, messages in read(path)] == [CALLED, PAIR]


def test_tools_that_a_base_leaves_out_are_an_error_with_its_line(tmp_path, encoder):
    path = write(
        tmp_path / "d.jsonl",
        {"messages": PAIR},
        {"tools": [TOOL], "messages": [PAIR[0], CALLED[1], *CALLED[2:]]},
        {"messages": [PAIR[0], PAIR[1] | {"thinking": "Hm."}]},
    )
    result = validate(path, encoder=encoder, max_length=None)
    said = {
        finding["line"]: finding["message"]
        for finding in result["findings"]
        if finding["kind"] == "template"
    }
    assert "leaves out tool calls" in said[2]
    assert "leaves out an answer's thoughts" in said[3]


def test_training_refuses_it_with_its_line(tmp_path, encoder):
    path = write(tmp_path / "d.jsonl", {"messages": PAIR}, {"tools": [TOOL], "messages": PAIR})
    with pytest.raises(
        UsageError, match=r"d\.jsonl:2: the chat template.* leaves out `tools`"
    ) as caught:
        encode(path, encoder, 512)
    assert "model.base" in caught.value.fix


def test_the_tally_knows_what_is_learned_in_each_example(encoder):
    weighed = [PAIR[0], PAIR[1] | {"weight": "0"}, *OTHER]
    many = [[*PAIR, *OTHER]] * 300 + [weighed] + [[*PAIR, *OTHER]]  # more than it counts both ways
    tally = Tally(encoder)
    assert [count.trained for count in tally.counts(many)] == [
        sum(encoder.conversation(m).trained) for m in many
    ]
    assert (
        tally.trained([weighed])
        == [sum(encoder.conversation(weighed).trained)]
        != tally.trained(many[:1])
    )


def test_thoughts_that_a_template_takes_out_of_earlier_turns_are_told_once(tmp_path, encoder):
    thinking = copy(encoder)
    thinking.template = ChatTemplate(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content and loop.last %}<think>"
        "{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    answers = [PAIR[1] | {"reasoning_content": text} for text in ("I see.", "I see again.")]
    rows = [{"messages": [PAIR[0], answers[0], OTHER[0], answers[1]]}] * 2 + [
        {"messages": [PAIR[0], answers[0]]}
    ]
    result = validate(write(tmp_path / "d.jsonl", *rows), encoder=thinking, max_length=None)
    (said,) = [
        finding["message"] for finding in result["findings"] if finding["kind"] == "thoughts"
    ]
    assert "2 of 3 examples" in said
    assert result["errors"] == 0
