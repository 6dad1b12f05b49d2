"""`forge deploy` with a stand-in Ollama that renders, tokenises and generates: made, checked, live, and back again.

With OLLAMA_HOST set and answering, the last test deploys to that server under a name of its own and removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from chat.chat_templates import QWEN3, QWEN3_TOOLS
from said import Said
from stand_ins import ollama as stand_in
from typer.testing import CliRunner

from phoenix_forge import pipeline
from phoenix_forge.catalog.families import LLAMA3
from phoenix_forge.cli.app import app
from phoenix_forge.core.config import Config
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.gguf.write import quantize
from phoenix_forge.runtime.modelfile import parse, write
from phoenix_forge.runtime.ollama import Ollama
from phoenix_forge.stages import Context
from phoenix_forge.stages.deploy import deployments
from phoenix_forge.stages.modelfile import takes_tools
from phoenix_forge.weights.tiny import build_tiny

REAL_HOST = os.environ.get("OLLAMA_HOST", "")


@pytest.fixture(scope="module")
def server() -> Iterator[stand_in.OllamaServer]:
    with stand_in.running(generates=True) as running:
        yield running


@pytest.fixture(autouse=True)
def emptied(server: stand_in.OllamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    server.models.clear()
    server.seen.clear()
    server.prompts.clear()
    server.rewrites = False


@pytest.fixture(scope="module")
def quantized(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "small-F16.gguf"
    quantize(tiny_base, None, {"F16": path}, name="small", report=Silent())
    return path


@pytest.fixture
def space(tmp_path: Path, tiny_base: Path, quantized: Path) -> Callable[..., Context]:
    """A workspace that has a GGUF and its Modelfile; keywords change settings of deploy."""
    root = tmp_path / "work"
    (root / "models/gguf").mkdir(parents=True)
    os.link(quantized, root / "models/gguf/small-F16.gguf")

    def make(**deploy: Any) -> Context:
        tree = {
            "model": {"base": str(tiny_base), "name": "small"},
            "quantize": {"types": ["F16"]},
            "deploy": {"target": "ollama", "num_ctx": 512, **deploy},
        }
        (root / "forge.yaml").write_text(yaml.safe_dump(tree))
        config = Config.model_validate(tree)
        ctx = Context(config, Workspace(root, config), Said())
        pipeline.run(ctx, ["modelfile"])
        return ctx

    return make


def deployed(ctx: Context) -> dict:
    pipeline.run(ctx, ["deploy"], force=True)
    made = Manifest.read(ctx.workspace.manifest("deploy"))
    assert made is not None
    return made.metrics


def test_deployed_checked_and_back_again(
    space: Callable[..., Context], server: stand_in.OllamaServer
) -> None:
    ctx = space()
    assert "gives the base's own prompts in all 7 conversations" in " ".join(ctx.report.lines)  # type: ignore[attr-defined]
    one = deployed(ctx)
    assert one["parity"]["prompts"] == one["parity"]["same"] == 2
    assert one["same_file"]
    assert server.models["small:latest"] == server.models[one["version"]]
    assert (
        "<|im_start|>system\nYou are a small test model.<|im_end|>" in server.prompts[0]
    )  # the model's own SYSTEM
    refused = Ollama()._send(
        "POST",
        "/api/chat",
        json={"model": "small", "tools": [{}], "messages": [{"role": "user", "content": "hi"}]},
    )
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "small:latest does not support tools"},
    )
    two = deployed(space(system="You keep the lamp."))
    assert two["version"] != one["version"]
    assert server.models["small:latest"]["system"] == "You keep the lamp."
    assert [method for method, path, _ in server.seen if path.startswith("/api/blobs")] == [
        "HEAD",
        "POST",
        "HEAD",
    ]
    client = Ollama()
    deployments(ctx, client).rollback("small")
    assert server.models["small:latest"] == server.models[one["version"]]


def test_questions_of_the_dataset_are_asked_as_ollama_asks_them(
    space: Callable[..., Context], server: stand_in.OllamaServer
) -> None:
    """With a system prompt configured, and examples that bring none: the model's own comes first."""
    ctx = space(system="You keep the lamp.")
    ctx.workspace.dataset.parent.mkdir(exist_ok=True)
    ctx.workspace.dataset.write_text(
        "".join(
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": question},
                        {"role": "assistant", "content": "At dusk."},
                    ]
                }
            )
            + "\n"
            for question in ("When is the lamp lit?", "Who rings the bell?")
        )
    )
    parity = deployed(ctx)["parity"]
    assert parity == {"prompts": 4, "same": 4}
    assert server.prompts[0].startswith(
        "<|im_start|>system\nYou keep the lamp.<|im_end|>\n<|im_start|>user\nWhen is"
    )


@pytest.mark.parametrize(
    "added", [False, True], ids=["the template writes it", "the tokenizer adds it"]
)
def test_the_beginning_of_text_token_is_there_once(
    tmp_path: Path, added: bool, server: stand_in.OllamaServer
) -> None:
    """Ollama adds it where the GGUF says so, and training had it in either case."""
    root = tmp_path / "work"
    build_tiny(
        root / "base",
        ["The lamp of Harbour Nine is lit at dusk by the keeper. " * 5],
        family=LLAMA3,
        hidden=64,
        ffn=64,
        layers=1,
        vocab=500,
    )
    (root / "models/gguf").mkdir(parents=True)
    settings = root / "base/tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"add_bos_token": added}))
    quantize(
        root / "base",
        None,
        {"F16": root / "models/gguf/small-F16.gguf"},
        name="small",
        report=Silent(),
    )
    tree = {
        "model": {"base": "./base", "name": "small"},
        "quantize": {"types": ["F16"]},
        "deploy": {"target": "ollama", "num_ctx": 512},
    }
    (root / "forge.yaml").write_text(yaml.safe_dump(tree))
    ctx = Context(Config.model_validate(tree), Workspace(root, Config.model_validate(tree)), Said())
    pipeline.run(ctx, ["modelfile"])
    assert "gives the base's own prompts in all 7" in " ".join(ctx.report.lines)  # type: ignore[attr-defined]
    parity = deployed(ctx)["parity"]
    assert parity["same"] == parity["prompts"] == 2
    assert server.prompts[0].startswith("<|begin_of_text|>") == (not added)


def test_auto_moves_to_an_ollama_that_answers_by_now(
    space: Callable[..., Context], server: stand_in.OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    ctx = space(target="auto")
    assert deployed(ctx)["target"] == "the built-in runtime"
    assert [step.reason for step in pipeline.plan(ctx, ["deploy"])] == [None]
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert [step.reason for step in pipeline.plan(ctx, ["deploy"])] == [
        f"Ollama answers at {server.url} by now"
    ]
    pipeline.run(ctx, ["deploy"])
    assert "small:latest" in server.models
    assert [step.reason for step in pipeline.plan(ctx, ["deploy"])] == [None]
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # stopped again: it has the model all the same
    assert [step.reason for step in pipeline.plan(ctx, ["deploy"])] == [None]


def test_what_does_not_fit_the_context_is_refused_not_cut(
    space: Callable[..., Context], server: stand_in.OllamaServer
) -> None:
    deployed(space())
    client = Ollama()
    long = [{"role": "user", "content": "The lamp is lit. " * 30}]
    with pytest.raises(
        UsageError, match=r"\d+ tokens\) exceeds the available context size \(64 tokens\)"
    ) as caught:
        client.chat("small", long, max_tokens=2, greedy=True, num_ctx=64)
    assert "deploy.num_ctx" in str(caught.value.fix)
    whole = client.chat("small", long, max_tokens=2, greedy=True).prompt_tokens
    silently = client._send(
        "POST",
        "/api/chat",
        json={
            "model": "small",
            "messages": long,
            "stream": False,
            "options": {"num_ctx": 64, "num_predict": 2},
        },
    ).json()
    assert (
        silently["prompt_eval_count"] < 64 < whole
    )  # what Ollama does when it is not asked to refuse


def test_a_template_that_is_not_the_trainings_does_not_go_live(
    space: Callable[..., Context], server: stand_in.OllamaServer
) -> None:
    ctx = space()
    live = deployed(ctx)["version"]
    file = ctx.workspace.modelfile
    file.write_text(
        file.read_text().replace("<|im_start|>assistant\n{{ .Response", "### Answer: {{ .Response")
    )
    with pytest.raises(
        StageFailed, match=r"from the first token on.*tokens of prompt, \d+ in training"
    ) as caught:
        pipeline.run(ctx, ["deploy"])
    assert "forge modelfile --force" in str(caught.value.fix)
    assert server.models["small:latest"] == server.models[live]
    assert [row["role"] for row in deployments(ctx, Ollama()).listed()] == [
        "model",
        "live",
        "not live",
    ]
    with pytest.raises(StageFailed, match="from the first token on"):
        pipeline.run(ctx, ["deploy"], force=True)  # to do it again is not to take it
    ctx.options["anyway"] = True
    assert deployed(ctx)["parity"]["same"] == 0
    assert server.models["small:latest"] != server.models[live]


def test_without_a_parser_ollama_sets_a_template_aside(
    space: Callable[..., Context], tmp_path: Path, server: stand_in.OllamaServer
) -> None:
    """Why build() names one: the file's own template has words for tools, and is taken instead (server/images.go)."""
    from phoenix_forge.chat.template import ChatTemplate

    ctx = space()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            server, "jinja", lambda model: ChatTemplate("{# tools #}{{ messages[0].content }}")
        )
        deployed(ctx)
        assert server.prompts[0].startswith("<|im_start|>")
        file, modelfile = ctx.workspace.modelfile, parse(ctx.workspace.modelfile.read_text())
        assert modelfile.parser == "passthrough"
        file.write_text(write(modelfile).replace('PARSER """passthrough"""\n', ""))
        with pytest.raises(StageFailed, match="from the first token on"):
            pipeline.run(ctx, ["deploy"])


def test_a_file_that_ollama_wrote_anew_is_told(
    space: Callable[..., Context], server: stand_in.OllamaServer
) -> None:
    server.rewrites = True
    ctx = space()
    assert not deployed(ctx)["same_file"]
    assert "wrote the file anew" in " ".join(ctx.report.lines)  # type: ignore[attr-defined]


def test_the_commands(space: Callable[..., Context], server: stand_in.OllamaServer) -> None:
    ctx = space()
    deployed(ctx)
    deployed(space(system="You keep the lamp."))

    def forge(*arguments: str) -> Any:
        return CliRunner().invoke(
            app, ["deploy", *arguments, "--workspace", str(ctx.workspace.root)]
        )

    rows = json.loads(forge("--list", "--json").stdout)["models"]
    assert [row["role"] for row in rows] == ["model", "live", "previous"]
    assert json.loads(forge("--rollback", "--json").stdout)["version"] == rows[2]["name"]
    again = forge()
    assert "skipped (up to date)" in again.stderr
    assert f"small is {rows[2]['name']} since a rollback" in again.stderr
    assert "keeper is small" in forge("--alias", "keeper").stdout
    assert "--alias and --list at once" in str(forge("--alias", "x", "--list").exception)
    assert "deleted small:latest, keeper:latest" in forge("--remove", "small").stdout
    assert not server.models
    assert "✓ deploy" in forge().stderr  # what the server has lost is made again
    assert "small:latest" in server.models


def test_a_real_ollama(space: Callable[..., Context], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", REAL_HOST)
    if not REAL_HOST or not Ollama().reachable():
        pytest.skip("no Ollama answers at OLLAMA_HOST")
    ctx = space(name=f"forge-test-{os.getpid()}")
    record = deployments(ctx, Ollama())
    try:
        made = deployed(ctx)
        assert made["parity"]["same"] == made["parity"]["prompts"]
    finally:
        deployments(ctx, record.server).remove(str(ctx.config.deploy.name), force=True)


@pytest.mark.parametrize(("source", "takes"), [(QWEN3_TOOLS, True), (QWEN3, False)])
def test_whether_a_model_takes_tools_is_its_templates(
    tmp_path: Path, source: str, takes: bool
) -> None:
    (tmp_path / "chat_template.jinja").write_text(source)
    ctx: Any = SimpleNamespace(
        base_dir=tmp_path, workspace=SimpleNamespace(adapter=tmp_path / "none")
    )
    assert takes_tools(ctx) is takes
