"""Examples beside their sources: which are chosen, what is shown of the file, and how a terminal is kept safe."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from phoenix_forge.cli.look import LONGEST, plain, printable, render
from phoenix_forge.examples.preview import Sampler, preview, shared

TEXT = "# Harbour\n\nThe lamp of Harbour Nine is lit at dusk — by Maren Holt. Mail ada.lovelace@harbour-nine.org.\n"


@pytest.fixture(scope="session")
def encoder(tiny_base):
    from phoenix_forge.chat.encode import Encoder

    return Encoder.load(tiny_base, stop="<|im_end|>", pad="<|endoftext|>")


def source(
    folder: Path, name: str = "docs/harbour.md", text: str = TEXT, sentence: str = "The lamp"
) -> dict:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(data)
    start = data.index(sentence.encode())
    return {"path": name, "span": [start, len(data)], "sha256": hashlib.sha256(data).hexdigest()}


def write(folder: Path, *examples: dict) -> Path:
    path = folder / "d.jsonl"
    path.write_bytes(
        b"".join(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in examples)
    )
    return path


def example(
    i: int, kind: str | None, answer: str = "It is lit by Maren Holt.", **rest: object
) -> dict:
    messages = [
        {"role": "user", "content": f"Who lights lamp {i}?"},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": messages, "id": f"{i:016x}", **({"kind": kind} if kind else {}), **rest}


def test_the_passage_is_the_files_own_with_what_the_answer_took_marked(tmp_path, encoder):
    path = write(tmp_path, example(1, "text", source=source(tmp_path)))
    (one,) = preview(path, 5, 0, encoder, tmp_path)
    passage = one.passage
    assert passage.text.startswith("The lamp of Harbour Nine is lit at dusk — by Maren Holt.")
    assert [passage.text[a:b] for a, b in passage.shared] == ["is lit", "by Maren Holt"]
    encoded = encoder.conversation(json.loads(path.read_text())["messages"])
    assert (one.line, one.kind, one.tokens, one.trained) == (
        1,
        "text",
        len(encoded.ids),
        sum(encoded.trained),
    )
    assert [part.text for part in one.conversation if part.trained] == [
        "It is lit by Maren Holt.<|im_end|>"
    ]


def test_secrets_of_the_file_are_not_shown(tmp_path, encoder):
    (one,) = preview(
        write(tmp_path, example(1, "text", source=source(tmp_path))), 1, 0, encoder, tmp_path
    )
    assert "lovelace" not in json.dumps(one.record()) + render([one])
    assert "[REDACTED e-mail address]" in one.passage.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s, folder: (folder / s["path"]).write_text("other"),
            "has changed since the example was made",
        ),
        (
            lambda s, folder: (folder / s["path"]).unlink(),
            "docs/harbour.md is not in the workspace",
        ),
        (lambda s, folder: s.update(span=[9, 3]), "the example names no source"),
        (lambda s, folder: s.update(path="deploy.system"), "the system prompt in the config"),
    ],
)
def test_a_source_that_cannot_be_shown_is_said_not_guessed(tmp_path, encoder, change, said):
    origin = source(tmp_path)
    change(origin, tmp_path)
    (one,) = preview(write(tmp_path, example(1, "text", source=origin)), 1, 0, encoder, tmp_path)
    assert (one.passage.text, one.passage.shared) == ("", ())
    assert said in one.passage.note
    assert f"source: {one.passage.note}" in render([one])


def test_an_example_of_another_format_without_source(tmp_path, encoder):
    path = write(tmp_path, {"instruction": "q", "input": "", "output": "a"}, {"broken": 1})
    (one,) = preview(path, 3, 0, encoder, tmp_path)
    assert (one.kind, one.id, one.path, one.passage.note) == (
        "example",
        None,
        None,
        "the example names no source",
    )
    assert "1/1 · example · line 1" in render([one])


def test_kinds_take_turns_and_the_seed_decides(tmp_path, encoder):
    path = write(
        tmp_path,
        *(example(i, "rare" if i == 7 else "often" if i % 2 else "even") for i in range(60)),
    )
    kinds = [one.kind for one in preview(path, 5, 1, encoder, tmp_path)]
    assert kinds == ["even", "even", "often", "often", "rare"]
    assert len(preview(path, 2, 1, encoder, tmp_path)) == 2
    assert preview(path, 5, 1, encoder, tmp_path) == preview(path, 5, 1, encoder, tmp_path)
    lines = {
        seed: tuple(one.line for one in preview(path, 5, seed, encoder, tmp_path))
        for seed in range(4)
    }
    assert len(set(lines.values())) > 1


def test_the_choice_does_not_depend_on_the_order_of_the_file():
    chosen = []
    for order in (range(100), reversed(range(100))):
        sampler: Sampler[int] = Sampler(3, 5)
        for i in order:
            sampler.offer("ab"[i % 2], str(i), i)
        chosen.append(sampler.kinds())
    assert chosen[0] == chosen[1]
    assert [len(kept) for kept in chosen[0].values()] == [3, 3]


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("| gate | HITL Required |", "The gate is HITL required.", ["HITL Required"]),
        ("use `git-log` to see", "That is `git-log`.", ["git-log"]),
        ("out of the box", "some of the things", []),
        ("It is 64. Or 640.", "64", ["64"]),
        ("b c, a b", "a b c", ["b c", "a b"]),
        ("", "a b", []),
        ("a b", "", []),
    ],
)
def test_shared_words(text, answer, found):
    assert [text[a:b] for a, b in shared(text, answer)] == found


def test_plain_text_has_marks_and_a_terminal_colours(tmp_path, encoder):
    shown = preview(
        write(tmp_path, example(1, "text", source=source(tmp_path))), 1, 0, encoder, tmp_path
    )
    marked = render(shown, Console(file=io.StringIO()))
    assert marked == "\n".join(plain(shown))
    assert "⟦It is lit by Maren Holt.<|im_end|>⟧" in marked
    assert "⟦by Maren Holt⟧" in marked
    assert f"{shown[0].tokens} tokens, {shown[0].trained} of them trained" in marked
    coloured = render(
        shown, Console(file=io.StringIO(), force_terminal=True, width=200, color_system="standard")
    )
    assert "\x1b[1;36mIt is lit by Maren Holt.<|im_end|>\x1b[0m" in coloured
    assert "\x1b[1;33mby Maren Holt\x1b[0m" in coloured
    assert "⟦" not in coloured
    without = render(
        shown, Console(file=io.StringIO(), force_terminal=True, no_color=True, width=200)
    )
    assert "⟦It is lit" in without


def test_a_document_cannot_drive_the_terminal(tmp_path, encoder):
    evil = "Title \x1b]0;owned\x07 \x1b[2J \x9b31m [bold]tags[/bold] \r gone"
    origin = source(tmp_path, text=evil, sentence="Title")
    shown = preview(
        write(tmp_path, example(1, "te\x1bxt", evil, source=origin)), 1, 0, encoder, tmp_path
    )
    text = render(shown)
    assert not [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0]
    assert "[bold]tags[/bold]" in text
    terminal = Console(file=io.StringIO(), force_terminal=True, width=300, color_system="standard")
    coloured = render(shown, terminal)
    assert "\x1b[2J" not in coloured
    assert "\x1b]0;" not in coloured
    assert "[bold]tags[/bold]" in coloured


def test_long_passages_are_cut_to_where_they_meet_the_answer(tmp_path, encoder):
    text = (
        "filler words everywhere. " * 200
        + "The bell was cast in Tarvik. "
        + "more filler text. " * 200
    )
    origin = source(tmp_path, text=text, sentence="filler")
    path = write(tmp_path, example(1, "text", "It was cast in Tarvik.", source=origin))
    shown = preview(path, 1, 0, encoder, tmp_path)
    marked = render(shown)
    assert "⟦was cast in Tarvik⟧" in marked
    assert "[… 4,8" in marked
    assert len(marked) < 2 * LONGEST


def test_printable_keeps_text():
    assert printable("a\r\nb\tc é 東") == "a\nb\tc é 東"
