"""Any JSONL dataset, good or broken, checked line by line."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.chat.encode import Encoder
from forge.chat.template import ChatTemplate
from forge.cli.validate import bars, lines_of
from forge.errors import UsageError
from forge.examples import tokens
from forge.examples.formats import conversation, lines, read
from forge.examples.scripts import language, script
from forge.examples.tokens import Count, Tally
from forge.examples.validate import histogram, validate

OTHER = [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "a2"}]
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


@pytest.mark.parametrize("record", [
    {"messages": PAIR, "conversations": None, "instruction": None, "output": None},
    {"messages": None, "instruction": "q", "input": None, "output": "a", "system": None, "history": None},
    {"messages": None, "prompt": "q", "completion": "a"}])
def test_a_null_is_a_key_that_is_not_there(record, tmp_path):
    assert conversation(record) == PAIR
    assert validate(write(tmp_path / "d.jsonl", record), encoder=None, max_length=None)["errors"] == 0
    assert list(read(write(tmp_path / "d.json", json.dumps([record]).encode()))) == [(1, PAIR)]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_read_whatever_its_name(tmp_path, indent):
    rows = [{"messages": PAIR}, {"messages": OTHER}]
    path = write(tmp_path / "d.jsonl", b"\xef\xbb\xbf" + json.dumps(rows, indent=indent).encode())
    assert list(read(path)) == [(1, PAIR), (2, OTHER)]
    path.write_bytes(b'[1]\n{"messages": []}\n')  # lines, of which the first is an array
    assert [line.number for line in lines(path)] == [1, 2]


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
        ({"messages": [PAIR[0], PAIR[1] | {"weight": 0}]}, "turns", "no assistant turn"),
        ({"messages": [PAIR[0], PAIR[1] | {"weight": 0.5}]}, "schema", "messages[1]: weight is 0.5"),
        ({"messages": [PAIR[0], PAIR[1] | {"train": False}, *OTHER]}, "weight", "turn 2 is not learned"),
        ({"messages": [*PAIR, PAIR[0]]}, "turns", "the last turn is the user's"),
        ({"messages": PAIR}, "duplicate", "the same conversation as line 1"),
        ({"messages": [PAIR[0], {**PAIR[1], "content": "b"}]}, "conflict", "the same question as line 1, with another"),
        ({"messages": OTHER, "kind": "text"}, "provenance", "1 of 2 examples name no source (lines 3)"),
        ({"messages": OTHER, "source": {"path": "a", "span": [4, 2], "sha256": "0" * 64}}, "provenance", "span [4, 2]"),
        ({"messages": OTHER, "source": {"path": "", "span": [1, 2], "sha256": "xy"}}, "provenance", "sha256 'xy'"),
        ({"messages": [PAIR[0], {**PAIR[1], "content": "Привет, как дела?"}]}, "script", "are in Cyrillic script"),
    ],
)
def test_findings_have_line_and_reason(tmp_path, row, kind, message):
    result = validate(write(tmp_path / "d.jsonl", {"messages": PAIR}, b"", row), encoder=None, max_length=None)
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
    assert [(f["line"], f["kind"], f["level"]) for f in result["findings"] if f["kind"] == "control"] == [
        (1, "control", "error")
    ]
    assert "turn 2 (assistant) holds the control token <|im_end|>" in result["findings"][0]["message"]


def test_a_template_that_refuses_is_an_error_with_its_line(tmp_path, encoder):
    refusing = "{% if messages|length > 2 %}{{ raise_exception('two turns at most') }}{% endif %}"
    strict = Encoder(encoder.tokenizer, ChatTemplate(refusing + encoder.template.source), encoder.stop, "<|endoftext|>")
    path = write(tmp_path / "d.jsonl", {"messages": PAIR}, {"messages": [*PAIR, *OTHER]})
    (finding,) = validate(path, encoder=strict, max_length=None)["findings"]
    assert (finding["line"], finding["kind"]) == (2, "template")
    assert "two turns at most" in finding["message"]


def test_repeats_are_told_once_each_with_the_first(tmp_path):
    again = [PAIR[0], {**PAIR[1], "content": "b"}]
    rows = [{"messages": m} for m in (PAIR, OTHER, again, PAIR, OTHER, again)]
    findings = validate(write(tmp_path / "d.jsonl", *rows), encoder=None, max_length=None)["findings"]
    assert [(f["line"], f["kind"], f["message"].split(",")[0].split()[-1]) for f in findings] == [
        (3, "conflict", "1"), (4, "duplicate", "1"), (5, "duplicate", "2"), (6, "duplicate", "3")
    ]  # fmt: skip


def test_kinds_languages_and_histogram(tmp_path, encoder):
    german = [{"role": "user", "content": "Was ist das?"}, {"role": "assistant", "content": "Das ist nicht der Hund."}]
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
    rows = [{"messages": [PAIR[0], {**PAIR[1], "content": "x" * i or " "}], "kind": "text"} for i in range(30)]
    result = validate(write(tmp_path / "d.jsonl", *rows), encoder=encoder, max_length=None)
    lines = lines_of(result)
    assert lines[0] == "line 1: error: turn 2 (assistant) is empty"
    assert lines[20] == "… 30 in all: conflict 28, provenance 1, turns 1 (--json lists the first 200 of each)"
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
    ["<|im_end|>", "a<|im_start|>b", "x</think> y", " padded ", "\x020\x03", "What is the default rank? It is 64."]
)


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
    special = type("Wrong", (), {"split": lambda self, text: text.split("i"), "search": lambda self, text: None})()
    monkeypatch.setattr(tokens, "control_tokens", lambda encoder: special)
    conversations = [[{"role": "user", "content": "this is it"}, {"role": "assistant", "content": "it is this"}]]
    encoded = encoder.conversation(conversations[0])
    for _ in range(2):
        tally = Tally(encoder)
        assert tally.counts(conversations) == [Count(len(encoded.ids), sum(encoded.trained))]
        assert not tally._cuts


def test_counts_are_forgotten_when_they_are_too_many(encoder, monkeypatch):
    monkeypatch.setattr(tokens, "REMEMBERED", 3)
    tally = Tally(encoder)
    for i in range(20):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"answer {i}"}]
        assert tally.counts([messages, messages]) == [tally._alone(messages)] * 2
        assert len(tally._known) <= 4
