"""forge mcp, as the official client sees it: over pipes, over HTTP, and in process where a model has to misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from runtime.conftest import write_tiny

from phoenix_forge.cli import ask, mcp_tools, runs
from phoenix_forge.cli import mcp as assistant
from phoenix_forge.cli.setup import Setup
from phoenix_forge.runtime.answer import Answer

pytestmark = pytest.mark.slow

FORGE = "import sys; sys.argv[0] = 'forge'; from phoenix_forge.cli.boundary import main; sys.exit(main())"
SECRET = "hf_" + "abcDEF123" * 4
ENDED = {"done", "stopped", "failed"}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
TOOLS = {
    "query_model": {"prompt"},
    "search_documents": {"query"},
    "model_status": set(),
    "start_run": set(),
    "follow_run": {"run_id"},
    "stop_run": {"run_id"},
}
OF_THE_WORKFLOW = {"query_sanctuary_model": {"prompt"}, "check_sanctuary_model_status": set()}
RESOURCES = {
    "forge://dataset/card",
    "forge://report/summary",
    "forge://report/evaluation",
    "forge://config",
}
EVALUATION = {
    "questions": 4,
    "created": "2026-01-02T03:04:05+00:00",
    "conditions": [],
    "gate": {"passed": False, "failures": ["too low"]},
    "knowledge_gained": {"value": 0.5, "low": 0.25, "high": 0.75},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path]) -> Path:
    """A workspace with a GGUF that somebody put there; nothing has run."""
    folder = make_workspace(tmp_path_factory.mktemp("assistant") / "work")
    gguf = folder / "models/gguf/small-Q4_K_M.gguf"
    gguf.parent.mkdir(parents=True)
    write_tiny(gguf)
    (folder / ".env").write_text(f"HF_TOKEN={SECRET}\n")
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "work"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OLLAMA_HOST": "127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "HF_TOKEN": SECRET,
        "FORGE_CACHE": str(tmp_path / "cache"),
    }


@pytest.fixture
def talk(folder: Path, environment: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """Holds a conversation with a server process of its own, in the workspace."""

    def run(conversation: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
        async def session() -> Any:
            server = StdioServerParameters(
                command=sys.executable, args=["-c", FORGE, "mcp"], env=environment, cwd=folder
            )
            with open(tmp_path / "stderr", "a") as errors:
                async with Client(stdio_client(server, errors), mode=mode) as client:
                    return await conversation(client)

        return asyncio.run(asyncio.wait_for(session(), 200))

    return run


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert (
        json.loads(result.content[0].text) == result.structured_content
    )  # for clients that read only text
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.structured_content
    return result.content[0].text


async def followed(
    client: Client, run_id: str, until: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """What was told last; its `lines` are the whole log."""
    lines: list[str] = []
    while True:
        told = await call(client, "follow_run", run_id=run_id, since_line=len(lines), wait=50)
        lines += told["lines"]
        assert told["next_line"] == len(lines)
        if until(told) or told["state"] in ENDED:
            return {**told, "lines": lines}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_what_it_offers_to_clients_of_either_protocol(talk, mode):
    async def conversation(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {
            name: set(tool.input_schema.get("required", [])) for name, tool in tools.items()
        } == TOOLS
        assert all(tool.description for tool in tools.values())
        acting = [name for name, tool in tools.items() if not tool.annotations.read_only_hint]
        assert acting == ["start_run", "stop_run"]
        assert {
            str(resource.uri) for resource in (await client.list_resources()).resources
        } == RESOURCES
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == [
            "answer_from_documents"
        ]

    talk(conversation, mode)


def test_questions_to_the_model(talk):
    async def conversation(client: Client) -> None:
        pieces: list[float] = []

        async def progress(done: float, total: float | None, _: str | None) -> None:
            assert total == 6
            pieces.append(done)

        result = await client.call_tool(
            "query_model",
            {"prompt": "Who lights the lamp?", "max_tokens": 6},
            progress_callback=progress,
        )
        answer = result.structured_content
        assert set(answer) == {
            "answer",
            "stopped",
            "tokens",
            "seconds",
            "passages",
            "citations",
            "supported",
            "unsupported",
            "quote",
            "abstained",
            "note",
        }
        assert answer["note"].startswith("closed book: nothing at models/base/"), "nothing has run"
        assert 1 <= answer["tokens"] <= 6
        assert pieces == sorted(pieces) != []
        again = await call(client, "query_model", prompt="Who lights the lamp?", max_tokens=6)
        assert again["answer"] == answer["answer"], "the config asks for the likeliest token"

        assert "fix: shorten the conversation" in await refused(
            client, "query_model", prompt="word " * 1000
        )
        assert "nothing at models/base" in await refused(
            client, "query_model", prompt="?", model="adapter"
        )
        assert "choose from base" in await refused(client, "query_model", prompt="?", model="gpt")
        assert "Ollama does not answer" in await refused(
            client, "query_model", prompt="?", model="ollama"
        )
        for wrong in (
            {"prompt": " "},
            {"prompt": "x" * 100_001},
            {"prompt": "?", "max_tokens": 8193},
            {"prompt": "?", "temperature": 3},
        ):
            assert "validation error" in await refused(client, "query_model", **wrong)

    talk(conversation)


def test_a_run_from_start_to_end_and_what_it_made(talk, folder):
    async def conversation(client: Client) -> None:
        assert "fix: forge download" in await refused(client, "search_documents", query="lamp")
        with pytest.raises(MCPError, match="fix: forge dataset"):
            await client.read_resource("forge://dataset/card")
        with pytest.raises(MCPError, match="fix: forge download"):
            await client.get_prompt("answer_from_documents", {"question": "Who lights the lamp?"})

        run = await call(
            client, "start_run", last="dataset", settings={"dataset": {"amplification": 1}}
        )
        told = await followed(client, run["run_id"], lambda told: False)
        assert (told["state"], told["exit_code"], told["error"]) == ("done", 0, None)
        assert told["stages"] == {"download": "done", "dataset": "done"}
        assert told["lines"] == (folder / run["log"]).read_text().splitlines()
        again = await call(client, "follow_run", run_id=run["run_id"], since_line=10**6)
        assert (again["state"], again["lines"], again["next_line"]) == (
            "done",
            [],
            len(told["lines"]),
        )

        card = json.loads((await client.read_resource("forge://dataset/card")).contents[0].text)
        assert (card["documents"], card["amplification"]) == (4, 1.0)
        found = await call(client, "search_documents", query="Who lights the lamp?", count=1)
        (passage,) = found["passages"]
        assert passage["path"] == "docs/lighthouse.md"
        assert "Maren Holt" in passage["text"]
        grounded, closed = [
            await call(client, "query_model", prompt="Who lights the lamp?", max_tokens=2, **more)
            for more in ({}, {"closed_book": True})
        ]
        assert grounded["passages"][0]["path"] == "docs/lighthouse.md"
        assert (grounded["note"], grounded["supported"]) == (None, False)
        assert (closed["passages"], closed["supported"]) == ([], None)
        prompt = await client.get_prompt(
            "answer_from_documents", {"question": "Who lights the lamp?"}
        )
        assert "Maren Holt" in prompt.messages[0].content.text

        status = await call(client, "model_status")
        assert {stage["name"]: stage["up_to_date"] for stage in status["stages"]}["download"]
        assert not status["up_to_date"]
        assert status["evaluation"] is None
        assert not status["ollama"]["reachable"]
        assert status["latest_run"]["run_id"] == run["run_id"]

        report = folder / "outputs/report"
        report.mkdir(parents=True)
        (report / "evaluation.json").write_text(json.dumps(EVALUATION))
        (report / "evaluation.md").write_text("## Evaluation\n")
        assert (
            json.loads((await client.read_resource("forge://report/evaluation")).contents[0].text)
            == EVALUATION
        )
        assert (await client.read_resource("forge://report/summary")).contents[
            0
        ].text == "## Evaluation\n"
        evaluation = (await call(client, "model_status"))["evaluation"]
        assert "50.0" in evaluation["headline"]
        assert evaluation["gate"] == EVALUATION["gate"]

        shown = (await client.read_resource("forge://config")).contents[0].text
        assert json.loads(shown)["model.name"] == {
            "value": "small",
            "origin": str(folder / "forge.yaml"),
        }
        assert SECRET not in shown + json.dumps(status) + "".join(told["lines"])

        (folder / "forge.yaml").write_text("model: {base: tiny, nmae: x}\n")
        assert "model.nmae" in await refused(client, "model_status"), "the config is read anew"

    talk(conversation)


def test_a_training_run_outlives_its_server_and_saves_when_it_is_stopped(talk, folder):
    async def first(client: Client) -> str:
        run = await call(client, "start_run", last="train", settings={"train.max_steps": 100_000})
        await followed(
            client, run["run_id"], lambda told: "train: 1 of 100,000" in told["progress"]
        )
        assert f"run {run['run_id']} is under way" in await refused(
            client, "start_run", last="download"
        )
        return run["run_id"]

    async def second(client: Client) -> None:
        assert (await call(client, "follow_run", run_id=run_id))["state"] == "running"
        assert (await call(client, "stop_run", run_id=run_id))["state"] == "stopping"
        told = await followed(client, run_id, lambda told: False)
        assert (told["state"], told["error"], told["stages"]["train"]) == (
            "stopped",
            None,
            "stopped",
        )
        assert any("a checkpoint is saved" in line for line in told["lines"])
        assert f"run {run_id} has ended" in await refused(client, "stop_run", run_id=run_id)

    run_id = talk(first)
    talk(second)
    assert list((folder / "outputs/checkpoints/small").glob("checkpoint-*"))


def test_a_run_that_fails_says_why_and_what_is_refused_before_it_starts(talk, folder):
    async def conversation(client: Client) -> None:
        run = await call(client, "start_run", first="train", last="train")
        told = await followed(client, run["run_id"], lambda told: False)
        assert (told["state"], told["exit_code"]) == ("failed", 2)
        assert told["error"].startswith("error: ")
        assert "fix: " in told["error"]

        for settings in (
            {"paths.dataset": "/tmp/x"},
            {"paths": {"dataset": "/tmp/x"}},
            {" paths.dataset": "/tmp/x"},
            {"corpus": {"roots": ["/"]}},
            {"dataset.teacher": "https://elsewhere/v1#m"},
            {"publish.repo": "a/b"},
            {"deploy.name": "another"},
            {"evaluate.questions": "/etc/passwd"},
            {"profile": "sanctuary"},
            {"model.base": "/etc"},
        ):
            assert "not for an assistant to set" in await refused(
                client, "start_run", settings=settings
            )
        assert "train.epochs" in await refused(client, "start_run", settings={"train.epochs": -1})
        assert "no stage 'nope'" in await refused(client, "start_run", last="nope")
        for run_id in ("../../forge.yaml", "20260101-000000-abcd", ""):
            assert "there is no run" in await refused(client, "follow_run", run_id=run_id)
            assert "there is no run" in await refused(client, "stop_run", run_id=run_id)

    talk(conversation)
    assert len(list((folder / ".forge/runs").glob("*.json"))) == 1, "what was refused left nothing"


@pytest.fixture
def at_work(folder: Path) -> Iterator[None]:
    """Another Forge, at work in the workspace."""
    program = (
        "import sys; from pathlib import Path; from phoenix_forge import pipeline\n"
        "from phoenix_forge.cli.setup import Setup\n"
        f"with pipeline.lock(Setup(workspace=Path({str(folder)!r})).context()): print('locked', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_a_run_is_refused_while_another_forge_is_at_work(in_process, at_work):
    async def conversation(client: Client) -> None:
        assert "another forge is at work" in await refused(client, "start_run", last="download")

    in_process(conversation)


def test_a_run_killed_from_outside_is_not_taken_for_done(folder):
    setup = Setup(workspace=folder)
    run_id = runs.start(setup, last="download")
    process = runs._process(setup.space, run_id)
    if process:
        process.kill()
    told = runs.follow(setup.space, run_id, wait=60)
    while told["state"] == "running":
        told = runs.follow(setup.space, run_id, told["next_line"], wait=60)
    record = json.loads(runs._at(setup.space, run_id, "json").read_text())
    assert (told["state"], told["exit_code"]) in {("failed", None), ("done", 0)}
    assert (told["error"] == runs.KILLED) == (told["state"] == "failed")
    # The number of a process that ended may be another's by now.
    runs._at(setup.space, run_id, "json").write_text(
        json.dumps({**record, "pid": os.getpid(), "created": 0.0})
    )
    assert runs.follow(setup.space, run_id)["state"] == told["state"]


def test_http_answers_this_machine_and_refuses_other_sites(folder, environment):
    command = [sys.executable, "-c", FORGE, "mcp", "--workspace", str(folder)]
    with subprocess.Popen(
        [*command, "--http", "0"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            address = said.split()[2].rstrip(";")

            async def conversation() -> None:
                async with Client(address) as client:
                    assert (await call(client, "query_model", prompt="Who?", max_tokens=2))[
                        "tokens"
                    ] <= 2
                    assert "fix: " in await refused(client, "search_documents", query="lamp")

            asyncio.run(asyncio.wait_for(conversation(), 100))
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            for header, status in (
                ({"Host": "evil.example"}, 421),
                ({"Origin": "https://evil.example"}, 403),
            ):
                header["Accept"] = "application/json, text/event-stream"
                assert httpx2.post(address, json=body, headers=header).status_code == status
            port = address.split(":")[2].partition("/")[0]
            taken = subprocess.run(
                [*command, "--http", port],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert taken.returncode == 3
            assert f"cannot listen on 127.0.0.1:{port}" in taken.stderr
        finally:
            process.terminate()


def test_nothing_but_the_protocol_reaches_stdout(folder, environment):
    program = (
        "import os, sys; from phoenix_forge.cli import ask\nclass Loud:\n"
        "    def chat(self, messages, **named):\n"
        "        print('to sys.stdout'); os.write(1, b'to the descriptor\\n'); os.system('echo from a child')\n"
        "        raise ask.UsageError('loud', fix='hush')\n"
        "ask.MODELS['gguf'] = lambda ctx: Loud()\n" + FORGE
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "mcp"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for message in (
            {"id": 1, "method": "initialize", "params": HELLO},
            {"method": "notifications/initialized"},
            {
                "id": 2,
                "method": "tools/call",
                "params": {"name": "query_model", "arguments": {"prompt": "?"}},
            },
        ):
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        rest, errors = process.stdout.read(), process.stderr.read()
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["isError"]
    assert rest == ""
    assert "to the descriptor" in errors
    assert "from a child" in errors
    assert process.returncode == 0


def test_an_interrupt_ends_it_while_the_client_still_holds_the_pipe(folder, environment):
    with subprocess.Popen(
        [sys.executable, "-c", FORGE, "mcp"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}) + "\n"
        )
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


def test_help(run_forge, tmp_path):
    ran = run_forge("mcp", "--help", cwd=tmp_path)
    assert (ran.code, ran.stdout.startswith("Usage: forge mcp "), "--http" in ran.stdout) == (
        0,
        True,
        True,
    )
    assert not list(tmp_path.iterdir()), "help writes nothing"


def test_without_the_package_it_says_what_to_install(folder, environment):
    program = "import sys; sys.modules['mcp.server'] = None\n" + FORGE
    ran = subprocess.run(
        [sys.executable, "-c", program, "mcp"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "fix: pip install 'phoenix-forge[mcp]'" in ran.stderr


# -- in process, with models that do what real ones do only now and then


@pytest.fixture
def in_process(folder: Path) -> Callable[..., Any]:
    def run(conversation: Callable[[Client], Awaitable[Any]]) -> Any:
        tools = mcp_tools.Tools(Setup(workspace=folder))

        async def session() -> Any:
            async with Client(
                assistant.server(tools), mode="legacy"
            ) as client:  # messages as on a wire
                return await conversation(client)

        try:
            return asyncio.run(asyncio.wait_for(session(), 100))
        finally:
            tools.close()

    return run


def test_the_workflows_own_tools_are_there_where_its_profile_is(in_process, folder, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    config = folder / "forge.yaml"
    config.write_text(f"profile: sanctuary\n{config.read_text()}")

    async def conversation(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {
            name: set(tool.input_schema.get("required", [])) for name, tool in tools.items()
        } == TOOLS | OF_THE_WORKFLOW
        assert {"temperature", "max_tokens", "system_prompt"} < set(
            tools["query_sanctuary_model"].input_schema["properties"]
        )
        bounds = {"prompt": "Who?", "temperature": 0.0, "max_tokens": 3}
        theirs = await call(client, "query_sanctuary_model", system_prompt="Be brief.", **bounds)
        assert (theirs["status"], theirs["model"]) == ("success", "small")
        assert theirs["total_tokens"] == theirs["prompt_tokens"] + theirs["completion_tokens"]
        own = await call(client, "query_model", system="Be brief.", **bounds)
        assert own["answer"] == theirs["response"]
        assert await call(client, "check_sanctuary_model_status") == {
            "status": "success",
            "model": "small",
            "available": True,
            "all_models": [],
        }

    in_process(conversation)


class Stand:
    """A model that counts how often it was loaded, how many are loaded, and how many conversations it holds at once."""

    loaded = alive = talking = 0

    def __init__(self, *_: object) -> None:
        Stand.loaded += 1
        Stand.alive += 1

    def close(self) -> None:
        Stand.alive -= 1

    def chat(self, messages: Any, *, on_text: Callable[[str], None], **_: Any) -> Answer:
        Stand.talking += 1
        assert Stand.talking == 1
        for _i in range(3):
            on_text(
                "x"
            )  # comes back by way of the server's loop, so another conversation could start here
        Stand.talking -= 1
        return Answer("xxx", True, 3, 0.0)


@pytest.fixture
def stand(monkeypatch) -> type[Stand]:
    Stand.loaded = Stand.alive = Stand.talking = 0
    monkeypatch.setitem(ask.MODELS, "gguf", Stand)
    monkeypatch.setitem(ask.MODELS, "base", Stand)
    return Stand


def test_a_model_is_loaded_once_and_talks_to_one_at_a_time(in_process, stand, folder, monkeypatch):
    async def conversation(client: Client) -> None:
        await asyncio.gather(*(call(client, "query_model", prompt=str(i)) for i in range(8)))
        assert (stand.loaded, stand.alive) == (1, 1)
        os.utime(folder / "models/gguf/small-Q4_K_M.gguf", ns=(1, 1))
        await call(client, "query_model", prompt="the file changed")
        assert (stand.loaded, stand.alive) == (2, 1)
        await call(client, "query_model", prompt="?", model="base")
        assert (stand.loaded, stand.alive) == (3, 1)
        monkeypatch.setattr(runs, "start", lambda *arguments: "20260101-000000-abcd")
        await call(client, "start_run")
        assert stand.alive == 0, "its memory is the run's"
        await call(client, "query_model", prompt="?")
        assert (stand.loaded, stand.alive) == (4, 1)

    in_process(conversation)
    assert stand.alive == 0


def test_a_client_that_no_longer_waits_ends_the_answer(in_process, monkeypatch):
    started, ended = threading.Event(), threading.Event()

    class Endless(Stand):
        def chat(self, messages: Any, *, on_text: Callable[[str], None], **_: Any) -> Answer:
            try:
                while True:
                    started.set()
                    on_text("x")
            finally:
                ended.set()

    monkeypatch.setitem(ask.MODELS, "gguf", Endless)

    async def conversation(client: Client) -> None:
        asking = asyncio.create_task(client.call_tool("query_model", {"prompt": "?"}))
        await asyncio.to_thread(started.wait, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(ended.wait, 60)
        monkeypatch.setitem(ask.MODELS, "base", Stand)
        await call(client, "query_model", prompt="?", model="base")

    in_process(conversation)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'torch'"), "fix: pip install 'phoenix-forge[train]'"),
        (OSError(28, "No space left on device", "/x"), "No space left on device: /x"),
        (ZeroDivisionError("inner workings"), "Error executing tool query_model"),
    ],
)
def test_failures_are_told_and_a_bug_is_logged_with_its_traceback(
    in_process, monkeypatch, caplog, error, said
):
    def broken(ctx: Any) -> None:
        raise error

    monkeypatch.setitem(ask.MODELS, "gguf", broken)

    async def conversation(client: Client) -> None:
        text = await refused(client, "query_model", prompt="?")
        assert said in text
        assert "inner workings" not in text

    in_process(conversation)
    bug = isinstance(error, ZeroDivisionError)
    assert any(record.exc_info and record.levelname == "ERROR" for record in caplog.records) == bug
