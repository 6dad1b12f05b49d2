"""`forge chat` and `forge serve` in a finished workspace, as commands."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from phoenix_forge.catalog.bases import Source
from phoenix_forge.cli import ask

pytestmark = pytest.mark.slow


def test_a_chat_hears_the_base_shows_sources_and_is_kept(
    copy: Path, run_forge: Callable[..., Any]
) -> None:
    ran = run_forge(
        "chat",
        cwd=copy,
        stdin="When is the lamp lit?\n/source\n/source four crowns\n/base\n/exit\n",
    )
    assert ran.code == 0, ran.stderr
    assert "docs/lighthouse.md › Lighthouse (bytes " in ran.stdout
    assert "The lamp of Harbour Nine is lit at dusk by the keeper, Maren Holt." in ran.stdout
    assert "docs/ferry.md › The ferry (bytes " in ran.stdout
    (kept,) = (copy / "logs").glob("chat-*.md")
    assert f"kept in {kept.relative_to(copy)}" in ran.stderr
    turns = re.findall(r"^\*\*(\w+)\*\*$", kept.read_text(encoding="utf-8"), re.MULTILINE)
    assert turns == ["user", "assistant", "source", "source", "base"]


def test_a_chat_without_a_base_or_documents_goes_on(
    copy: Path, run_forge: Callable[..., Any]
) -> None:
    (copy / "models/base").rename(copy / "models/elsewhere")
    ran = run_forge("chat", cwd=copy, stdin="Hello?\n/base\n/source\nAgain?\n")
    assert ran.code == 0, ran.stderr
    assert (
        ran.stdout.count("fix: forge download") == 3
    )  # why it is closed book, once; the base; the source
    assert ran.stdout.count("closed book: nothing at models/base") == 1
    (kept,) = (copy / "logs").glob("chat-*.md")
    assert kept.read_text(encoding="utf-8").count("**assistant**") == 2


def test_a_killed_chat_has_kept_what_was_said(copy: Path) -> None:
    command = [sys.executable, "-m", "phoenix_forge", "chat"]
    with subprocess.Popen(
        command, cwd=copy, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as chat:
        assert chat.stdin
        assert chat.stdout
        chat.stdin.write("Who is the keeper?\n/nonsense\n")
        chat.stdin.flush()
        said = ""
        while "no command" not in said:
            line = chat.stdout.readline()
            assert line, said
            said += line
        chat.kill()
    (kept,) = (copy / "logs").glob("chat-*.md")
    answer = said.partition("no command")[0].rstrip("\n")
    assert kept.read_text(encoding="utf-8").startswith(
        f"**user**\n\nWho is the keeper?\n\n**assistant**\n\n{answer}"
    )


def test_the_served_model_is_the_configured_one(copy: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "phoenix_forge",
        "serve",
        "--port",
        "0",
        "--threads",
        "1",
        "--gpu-layers",
        "0",
        "--set",
        "deploy.system=I am Small.",
        "--set",
        "generation.greedy=true",
    ]
    with subprocess.Popen(command, cwd=copy, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            told = next(line for line in server.stderr if "answers at" in line)
            found = re.search(r"small answers at (http://127\.0\.0\.1:\d+/v1) .*threads: 1", told)
            assert found, told
            client = openai.OpenAI(base_url=found[1], api_key="none", max_retries=0, timeout=60)

            def answer(*messages: dict[str, str]) -> Any:
                return client.chat.completions.create(
                    model="small", messages=list(messages), max_tokens=8
                )

            question = {"role": "user", "content": "Hello"}
            bare, own = (
                answer(question),
                answer({"role": "system", "content": "I am Small."}, question),
            )
            assert bare.usage.prompt_tokens == own.usage.prompt_tokens
            assert bare.choices[0].message.content == own.choices[0].message.content
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.mark.parametrize("flags", [["--threads", "0"], ["--gpu-layers", "-1"], ["--parallel", "0"]])
def test_numbers_that_mean_nothing_are_refused(
    done: Path, run_forge: Callable[..., Any], flags: list[str]
) -> None:
    ran = run_forge("serve", *flags, cwd=done)
    assert ran.code == 2
    assert flags[0] in ran.stderr


def test_the_base_is_heard_as_a_gguf_where_one_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*sources: Source) -> Any:
        ctx: Any = SimpleNamespace(
            base=SimpleNamespace(sources=sources),
            config=SimpleNamespace(deploy=SimpleNamespace(num_ctx=77)),
        )
        return ask.base_model(ctx)

    monkeypatch.setenv("FORGE_CACHE", str(tmp_path))
    monkeypatch.setattr("phoenix_forge.runtime.llama.Model", lambda path, num_ctx: (path, num_ctx))
    monkeypatch.setitem(ask.MODELS, "base", lambda _: "folder")
    own, joined = tmp_path / "own.gguf", tmp_path / "gguf" / "abc.gguf"
    wheels = Source("wheels", "parts", "abc", 2, "1", "x")
    assert (
        opened(Source("hub", "ORG/NAME"), wheels, Source("gguf", str(own))) == "folder"
    )  # none of them is there
    for path in (own, joined):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert opened(Source("hub", "ORG/NAME"), wheels) == (joined, 77)
    assert opened(Source("gguf", str(own))) == (own, 77)
