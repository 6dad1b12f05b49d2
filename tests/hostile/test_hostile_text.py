"""Datasets, questions and Modelfiles from strangers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_forge.cli.boundary import guarded
from phoenix_forge.errors import ForgeError, UsageError
from phoenix_forge.evaluate import questions
from phoenix_forge.examples.formats import LINE_LIMIT, checked, lines
from phoenix_forge.runtime.modelfile import parse, write

GOOD = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
ASKED = b'{"question": "q", "answer": "a"}\n'
LINES = {
    "nested 100,000 deep": b"[" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000,
    "NULs": b"\0" * 1000,
    "no UTF-8": b'{"messages": "\xff\xfe"}',
    "half a surrogate": b'{"instruction": "\\ud800", "output": "a"}',
    "a number of 10,000 digits": b'{"messages": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"messages": NaN}',
    "a list": b"[1]",
    "null": b"null",
    "messages that are a text": b'{"messages": "abc"}',
    "messages in messages": b'{"messages": [{"role": "user", "content": [{"role": "user", "content": []}]}]}',
    "a role that is a list": b'{"messages": [{"role": ["user"], "content": "a"}]}',
    "a conversation of numbers": b'{"conversations": [1, 2]}',
    "escapes": b'{"messages": [{"role": "\\u001b[2J"}]}',
}


@pytest.mark.parametrize("name", LINES)
def test_lines_of_a_dataset(name: str, tmp_path: Path, refused: Callable) -> None:
    """The line is named, and the others are read."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(GOOD + LINES[name] + b"\n" + GOOD)
    with refused(r"x\.jsonl:2: "):
        list(checked(path))
    assert [line.number for line in lines(path) if line.error is None] == [1, 3]


@pytest.mark.parametrize("name", LINES)
def test_lines_of_questions(name: str, tmp_path: Path, refused: Callable) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(ASKED + LINES[name] + b"\n")
    with refused(r"(?s)x\.jsonl.*line 2: "):
        questions.read(path)


def test_a_line_of_a_gigabyte(tmp_path: Path, refused: Callable, sparse: Callable) -> None:
    path = sparse(tmp_path / "x.jsonl", GOOD + b'{"messages": "', 1_000_000_000)
    with refused(r"x\.jsonl:2: longer than 64\.0 MB"):
        list(checked(path))
    assert [line.number for line in lines(path)] == [1, 2]


@pytest.mark.parametrize("name", ["x.json", "questions.jsonl"])
def test_files_that_are_read_at_once(
    name: str, tmp_path: Path, refused: Callable, sparse: Callable
) -> None:
    path = sparse(tmp_path / name, b"[", 10_000_000_000)
    with refused(f"{name} has 10.0 GB"):
        questions.read(path) if name == "questions.jsonl" else list(lines(path))


def test_a_long_line_may_be_as_long_as_that(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    text = b"a" * (LINE_LIMIT // 8)
    path.write_bytes(GOOD.replace(b'"a"', b'"' + text + b'"'))
    assert [len(line.messages[0]["content"]) for line in lines(path) if line.messages] == [
        len(text)
    ]


# ---- Modelfiles ----


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "FROM ",
                "PARAMETER ",
                "stop ",
                "num_ctx ",
                '"""',
                '"',
                "\n",
                "\r\n",
                "\0",
                "SYSTEM ",
                "MESSAGE user ",
                "LICENSE ",
                "ADAPTER ",
                "REQUIRES ",
                "TEMPLATE ",
                "x",
                " ",
                "\t",
                "#",
                "\ufeff",
                "\u202e",
                "1e999",
                "9" * 5000,
                "-1",
                "\x1b[2J",
                "{{ .",
                "../../x",
            ]
        )
        | st.text(max_size=8),
        max_size=40,
    ).map("".join)
)
def test_a_modelfile_is_read_or_refused_with_its_line(text: str) -> None:
    """What was read can be written, if the format can say it, and says the same again."""
    try:
        found = parse(text)
        written = write(found)
    except UsageError as error:
        refusal = error
    else:
        assert repr(parse(written)) == repr(found)
        return
    assert refusal.fix
    assert "Modelfile" in refusal.message


@pytest.mark.parametrize(
    "text",
    [
        'FROM x\nSYSTEM """' + "a\n" * 200_000,
        "FROM x\n" + "PARAMETER stop a\n" * 50_000,
        "FROM x\nSYSTEM " + '"' * 200_000,
        " \t" * 200_000 + "\nFROM x",
        "A" * 300_000 + "\nFROM x",
        "FROM x\nMESSAGE user" + " " * 300_000,
    ],
)
def test_long_modelfiles_take_no_longer_for_it(text: str) -> None:
    """Nothing here is quadratic: these would take minutes."""
    with contextlib.suppress(UsageError):
        parse(text)


# ---- what reaches the terminal ----


def test_no_escape_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A name in a file can hold what clears a terminal, or turns its text around."""

    def fail() -> int:
        raise UsageError(
            "tensor \x1b]0;owned\x07 \x1b[2J \u202egnp.exe \r\x9b31m " + "x" * 10_000,
            fix="look at it",
        )

    assert guarded(fail) == 2
    said = capsys.readouterr().err
    assert all(character.isprintable() or character == "\n" for character in said)
    assert r"\x1b[2J \u202egnp.exe \r\x9b31m" in said
    assert len(said) < 2_000


def test_messages_that_are_meant_to_have_lines_keep_them() -> None:
    error = ForgeError("two problems:\n  a\n  ß 東京\tb", fix="c")
    assert str(error) == "two problems:\n  a\n  ß 東京\tb\nfix: c"


def test_a_refused_modelfile_line_is_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        parse("FROM x\nNOTHING\x1b[2J of this\n")
    assert json.dumps(caught.value.message).count("\\n") == 0
