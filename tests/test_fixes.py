"""Every failure that Forge raises says what to do, and what it names exists: commands, flags and settings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import phoenix_forge
from phoenix_forge import errors
from phoenix_forge.cli.app import app
from phoenix_forge.core.config import Config, dotted

PACKAGE = Path(phoenix_forge.__file__).parent
# Those whose argument `fix` is optional; for Preempted it is what comes next.
TYPES = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.ForgeError)
}
SETTINGS = set(dotted(Config().model_dump()))
SECTIONS = {key.partition(".")[0] for key in SETTINGS if "." in key}
# Programs whose flags are their own, up to the end of that command.
OTHERS = re.compile(
    r"\b(pip|sudo|make|cmake|wsl|git|chgrp|chmod|uv|ollama (?!base)|ulimit|nvidia-smi|apt|systemctl)\b"
    r"[^,;]*"
)
COMMAND = re.compile(r"\bforge ((?!is\b|and\b|or\b)[a-z]+)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SETTING = re.compile(rf"\b(?:{'|'.join(sorted(SECTIONS))})\.[a-z_]+(?:\.[a-z_]+)*")
FILES = (".yaml", ".json", ".jsonl", ".gguf", ".md", ".txt", ".py", ".safetensors", ".jinja")


@dataclass(frozen=True)
class Raised:
    """An error made in the source; `fix` is what of its text is written there, None where it has none."""

    place: str
    fix: str | None


def raised() -> Iterator[Raised]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in TYPES:
                given = next(
                    (word.value for word in node.keywords if word.arg == "fix"),
                    node.args[1] if len(node.args) > 1 else None,
                )
                yield Raised(
                    f"{path.relative_to(PACKAGE)}:{node.lineno}",
                    None if given is None else written(given),
                )


def written(node: ast.expr) -> str:
    """The constant parts of a text; … stands for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return written(node.left) + written(node.right)
    if isinstance(node, ast.IfExp):
        return f"{written(node.body)} ; {written(node.orelse)}"
    return "…"


def names(
    command: typer.main.TyperCommand | typer.main.TyperGroup,
) -> Iterator[tuple[str, set[str]]]:
    """(name, flags) of every command below a group."""
    for name, one in getattr(command, "commands", {}).items():
        yield (
            name,
            {flag for option in one.params for flag in (*option.opts, *option.secondary_opts)},
        )
        yield from names(one)


FOUND = list(raised())
FLAGS = dict(names(typer.main.get_command(app)))
ALL_FLAGS = set().union(*FLAGS.values()) | {"--version", "--help"}


def test_the_walk_sees_the_errors():
    assert len(FOUND) > 300
    assert {"deploy", "verify", "show"} <= set(FLAGS)
    assert "--rollback" in FLAGS["deploy"]


def test_every_error_has_a_fix():
    assert [one.place for one in FOUND if not one.fix] == []


def test_every_finding_of_the_doctor_that_is_not_ok_has_a_fix():
    lacking = []
    for path in (PACKAGE / "doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "Finding"
                and len(node.args) < 3
                and ast.unparse(node.args[0]) != "'ok'"
                and not node.keywords
            ):
                lacking.append(f"{path.name}:{node.lineno}")
    assert lacking == []


def wrong(fix: str) -> list[str]:
    """What a fix names that does not exist."""
    own = OTHERS.sub("", fix)
    commands = [word for word in COMMAND.findall(own) if word not in FLAGS]
    flags = [flag for flag in FLAG.findall(own) if flag not in ALL_FLAGS]
    of_command = [
        f"forge {name} {flag}"
        for name, flag in re.findall(r"\bforge ([a-z]+) (--[a-z-]+)", own)
        if name in FLAGS and flag not in FLAGS[name]
    ]
    settings = [
        key
        for key in SETTING.findall(own)
        if key not in SETTINGS
        and not key.endswith(FILES)
        and not any(known.startswith(f"{key}.") for known in SETTINGS)
    ]
    return [*commands, *flags, *of_command, *settings]


@pytest.mark.parametrize(
    ("fix", "found"),
    [
        ("forge dataste --force", ["dataste"]),
        ("forge train --forse", ["--forse", "forge train --forse"]),
        ("forge train --rollback", ["forge train --rollback"]),
        ("--set train.epoch=2", ["train.epoch"]),
        ("pip install --upgrade x; --set train.epochs=2, or forge tools link …", []),
    ],
)
def test_what_does_not_exist_is_seen(fix, found):
    assert wrong(fix) == found


def test_what_a_fix_names_exists():
    assert {one.place: bad for one in FOUND if (bad := wrong(one.fix or ""))} == {}
