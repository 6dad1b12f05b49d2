"""Go's text/template: what Go itself made of these templates, and what is refused.

go_golden.json was made by Go 1.27.3. `python tests/chat/test_go_template.py` makes it again, with `go` on the PATH,
from its random templates and the catalog's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_forge.catalog.families import FAMILIES, VARIANTS
from phoenix_forge.chat.go_template import EMPTY, GoTemplate
from phoenix_forge.chat.ollama import CONVERSATIONS
from phoenix_forge.errors import UsageError

GOLDEN = Path(__file__).parent / "go_golden.json"


def data(messages: list[dict[str, str]], **more: object) -> dict:
    return {
        "System": "",
        "Response": "",
        **more,
        "Messages": [{"Role": m["role"], "Content": m["content"]} for m in messages],
    }


def rendered(case: dict) -> str:
    whole = case["data"] | {"Messages": [message | EMPTY for message in case["data"]["Messages"]]}
    return GoTemplate(case["template"]).execute(whole)


def rows() -> list[dict]:
    """The catalog's templates over all conversations."""
    return [
        {
            "template": family.go_template,
            "data": data(
                messages,
                System="\n\n".join(m["content"] for m in messages if m["role"] == "system"),
            ),
        }
        for family in (*FAMILIES, *VARIANTS)
        for messages in CONVERSATIONS.values()
    ]


def test_as_go_renders() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    texts = 0
    for case in golden:
        if case["text"] is None:
            with pytest.raises(UsageError, match="the Go template: line"):
                rendered(case)
        else:
            assert rendered(case) == case["text"], case["template"]
            texts += 1
    assert texts > 200
    assert len(golden) - texts > 50


def test_every_row_of_the_catalog_was_rendered_by_go() -> None:
    """After a change of a row, or of a conversation, the file has to be made again."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    made = [{"template": case["template"], "data": case["data"]} for case in golden]
    assert all(row in made for row in rows())


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ if .Messages }}", "line 1: this if is never ended"),
        ("a\n{{ end }}", "line 2: an end without"),
        ("{{ .Messages", "never closed"),
        ('{{ template "x" }}', "line 1: 'template' is not understood"),
        ('{{ printf "%d" 1 }}', "'printf'"),
        ("{{ if }}x{{ end }}", "a value is missing"),
        ("{{ range .Messages }}{{ .Text }}{{ end }}", "there is no field Text"),
        ("{{ $x }}.Messages", "not declared"),
        ("{{ .System.Length }}.Messages", "no field Length"),
        ("{{ .System }}", "does not read .Messages"),
        ("{{ slice .Messages 5 }}", "out of range"),
        ("{{ len 3 }}.Messages", "len of int"),
        ("{{ . }} .Messages", "dict"),
    ],
)
def test_mistakes_are_named(template: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GoTemplate(template).prompt([{"role": "user", "content": "hi"}])


def test_tools_are_refused_with_a_reason() -> None:
    with pytest.raises(UsageError, match="no words for them"):
        GoTemplate(FAMILIES[0].go_template).prompt(
            [{"role": "user", "content": "hi"}, {"role": "tool", "content": "4"}]
        )


def test_turns_are_collated_as_ollama_does() -> None:
    """template/template_test.go, TestCollate: roles that follow each other are joined, all systems are .System."""
    turns = [
        {"role": role, "content": text}
        for role, text in (
            ("system", "S1"),
            ("system", "S2"),
            ("user", "Q1"),
            ("user", "Q2"),
            ("assistant", "A"),
            ("user", "Q3"),
            ("system", "S3"),
        )
    ]
    template = GoTemplate(
        "[{{ .System }}]{{ range .Messages }}<{{ .Role }}:{{ .Content }}>{{ end }}"
    )
    assert template.prompt(turns) == (
        "[S1\n\nS2\n\nS3]<system:S1\n\nS2><user:Q1\n\nQ2><assistant:A><user:Q3><system:S3>"
    )


pieces = st.sampled_from(
    [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "if ",
        "else",
        "end",
        "range ",
        ".Messages",
        ".Role",
        "$i, $m := ",
        "eq ",
        '"a"',
        "`",
        '"',
        "(",
        ")",
        "|",
        " ",
        "\n",
        "x",
        "/*",
        "*/",
        "and ",
        "$",
        "=",
        "1",
    ]
)


@example("{{and }}")
@given(st.lists(pieces, max_size=25).map("".join) | st.text())
def test_any_text_is_rendered_or_refused(text: str) -> None:
    try:
        rendered({"template": text, "data": data([{"role": "user", "content": "q"}])})
    except UsageError:
        return


def _make() -> None:
    random = [
        {"template": case["template"], "data": case["data"]}
        for case in json.loads(GOLDEN.read_text(encoding="utf-8"))
        if case.get("random")
    ]
    cases = [*rows(), *random]
    done = subprocess.run(
        ["go", "run", str(Path(__file__).with_name("go_golden.go"))],
        check=True,
        text=True,
        capture_output=True,
        input="\n".join(map(json.dumps, cases)),
    )
    made = [
        {
            **case,
            "text": json.loads(line).get("text"),
            **({"random": True} if case in random else {}),
        }
        for case, line in zip(cases, done.stdout.splitlines(), strict=True)
    ]
    GOLDEN.write_text(
        "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in made) + "\n]\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(_make())
