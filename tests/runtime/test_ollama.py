"""The Ollama client against a stand-in written from Ollama's API documentation."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from said import Said
from stand_ins import ollama as stand_in
from stand_ins import ollama_cli, socks

from phoenix_forge.catalog.families import QWEN2
from phoenix_forge.cli.boundary import guarded
from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import EnvironmentProblem, StageFailed, UsageError
from phoenix_forge.runtime.modelfile import build, write
from phoenix_forge.runtime.ollama import Ollama, OllamaModel, address

MODELFILE = build(
    "models/gguf/m.gguf",
    QWEN2.go_template,
    QWEN2.stops,
    system='I am "Guardian".\nTruly.',
    generation=GenerationConfig(),
    num_ctx=2048,
)
HELLO = [{"role": "user", "content": "Who are you?"}]


class Notes(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.steps: list[tuple[str, float, float | None]] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def progress(
        self, label: str, done: float, total: float | None, unit: str = "", **fields: object
    ) -> None:
        self.steps.append((label, done, total))


@pytest.fixture
def server() -> Iterator[stand_in.OllamaServer]:
    with stand_in.running(answer="I am Guardian, at your service.") as running:
        yield running


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "models/gguf/m.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF" + os.urandom(3_000_000))
    return path


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("box:8000", "http://box:8000"),
        (":8000", "http://127.0.0.1:8000"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("http://box:8000/", "http://box:8000"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("[::1]:5", "http://[::1]:5"),
        ("::1", "http://[::1]:11434"),
        (' "box:1" ', "http://box:1"),
    ],
)
def test_host_forms(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert address() == url


@pytest.mark.parametrize("host", ["box:notaport", "ftp://box", "box:99999"])
def test_no_address(host: str) -> None:
    with pytest.raises(UsageError, match="no address"):
        address(host)


def test_create_show_ask_copy_delete(server: stand_in.OllamaServer, gguf: Path) -> None:
    client, notes = Ollama(server.url), Notes()
    digest = client.create("guardian", gguf, MODELFILE, notes)
    assert (
        digest == hashlib.sha256(gguf.read_bytes()).hexdigest() == client.layer_digest("guardian")
    )
    assert ("sending m.gguf to Ollama", gguf.stat().st_size, gguf.stat().st_size) in notes.steps
    made = next(body for _, path, body in server.seen if path == "/api/create")
    assert made == {
        "model": "guardian",
        "files": {"m.gguf": f"sha256:{digest}"},
        "template": QWEN2.go_template,
        "system": 'I am "Guardian".\nTruly.',
        "stream": True,
        "parser": "passthrough",
        "parameters": {
            "num_ctx": 2048,
            "temperature": 0.7,
            "top_p": 0.9,
            "repeat_penalty": 1.0,
            "stop": ["<|im_end|>", "<|endoftext|>"],
        },
    }
    pieces: list[str] = []
    answer = client.chat("guardian", HELLO, on_text=pieces.append)
    assert "".join(pieces) == answer.text == "I am Guardian, at your service."
    assert (answer.stopped, answer.tokens) == (True, 6)
    cut = OllamaModel(client, "guardian").chat(HELLO, max_tokens=2, greedy=True, seed=5)
    assert (cut.text, cut.stopped) == ("I am", False)
    assert server.seen[-1][2]["options"] == {
        "num_predict": 2,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 1,
        "min_p": 0.0,
        "seed": 5,
    }
    client.copy("guardian", "guardian-old:1")
    client.delete("guardian")
    assert [m["name"] for m in client.list()] == ["guardian-old:1"]


def test_statuses_without_an_amount_are_told_without_one(
    server: stand_in.OllamaServer, gguf: Path
) -> None:
    said = Said()
    Ollama(server.url).create("m", gguf, MODELFILE, said)
    told = [line for line in said.lines if line.startswith("Ollama: ")]
    assert told == [
        f"Ollama: {status}"
        for status in ("parsing GGUF", "verifying conversion", "writing manifest", "success")
    ]
    notes = Notes()
    Ollama(server.url).create("m", gguf, MODELFILE, notes)
    assert [step for step in notes.steps if not step[2]] == []


def test_an_answer_of_one_token_over_and_over_did_not_stop(gguf: Path) -> None:
    """Ollama ends such a stream after status 200 with neither a last event nor an error."""
    with stand_in.running(answer="well " + "la " * 60) as server:
        client = Ollama(server.url)
        client.create("m", gguf, MODELFILE, Silent())
        answer = client.chat("m", HELLO, max_tokens=100)
    assert (answer.text, answer.stopped, answer.tokens) == ("well" + " la" * 31, False, 32)


def test_nor_did_one_of_halves_of_a_character(server: stand_in.OllamaServer) -> None:
    server.chat = lambda body: iter(())  # type: ignore[method-assign]
    answer = Ollama(server.url).chat("m", HELLO)
    assert (answer.text, answer.stopped) == ("", False)


@pytest.mark.parametrize("text", ["caf\udce9", "\ud83d"], ids=["a stray byte", "a lone surrogate"])
def test_half_a_character_is_refused_by_name(server: stand_in.OllamaServer, text: str) -> None:
    with pytest.raises(UsageError, match=r"the user message cannot be sent: character \d, U\+D"):
        Ollama(server.url).chat("m", [{"role": "user", "content": text}])
    assert not server.seen


def test_a_blob_it_has_is_not_sent_again(server: stand_in.OllamaServer, gguf: Path) -> None:
    client = Ollama(server.url)
    client.create("one", gguf, MODELFILE, Silent())
    client.create("two", gguf, MODELFILE, Silent())
    assert [method for method, path, _ in server.seen if path.startswith("/api/blobs")] == [
        "HEAD",
        "POST",
        "HEAD",
    ]


def test_a_wrong_digest_is_refused(server: stand_in.OllamaServer, gguf: Path) -> None:
    with pytest.raises(StageFailed, match="digest mismatch"):
        Ollama(server.url).create("one", gguf, MODELFILE, Silent(), sha256="0" * 64)
    assert not server.models
    assert list(server.blobs) == [f"sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"]


@pytest.mark.parametrize(
    ("path", "act"),
    [
        ("/api/create", lambda c, g: c.create("m", g, MODELFILE, Silent())),
        ("/api/chat", lambda c, g: c.chat("m", HELLO)),
    ],
)
def test_an_error_inside_the_stream_is_a_failure(
    server: stand_in.OllamaServer, gguf: Path, path: str, act
) -> None:
    client = Ollama(server.url)
    client.create("m", gguf, MODELFILE, Silent())
    server.fail[path] = "llama runner process has terminated"
    with pytest.raises(StageFailed, match="runner process has terminated"):
        act(client, gguf)


def test_an_unknown_model_is_named(server: stand_in.OllamaServer) -> None:
    with pytest.raises(StageFailed, match=r"404.*'nobody' not found") as caught:
        Ollama(server.url).chat("nobody", HELLO)
    assert "ollama list" in str(caught.value.fix)


def test_not_running() -> None:
    client = Ollama("127.0.0.1:9")
    assert not client.reachable()
    with pytest.raises(EnvironmentProblem, match="does not answer") as caught:
        client.require(Silent())
    assert "ollama serve" in str(caught.value.fix)
    assert "deploy.target=builtin" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("version", "warned"),
    [
        ("0.17.1", False),
        ("0.9.6", True),
        ("0.17.0-rc2", True),
        ("1.0", False),
        ("0.0.0", True),
        ("unknown", False),
    ],
)
def test_old_releases_are_warned_about(version: str, warned: bool) -> None:
    notes = Notes()
    with stand_in.running(version=version) as server:
        assert Ollama(server.url).require(notes) == version
    assert bool(notes.warnings) == warned


def test_a_socks_proxy_leads_to_other_machines(
    server: stand_in.OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks.proxy(("127.0.0.1", urlsplit(server.url).port or 0)) as proxy:
        for name in ("ALL_PROXY", "HTTP_PROXY", "http_proxy", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert Ollama("http://box.example:8000").version() == Ollama(server.url).version()
    assert proxy.asked == [("box.example", 8000)]


def test_a_proxy_of_a_kind_that_is_not_known_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:9")
    assert guarded(lambda: bool(Ollama("http://box.example:8000").version())) == 3
    assert re.search(
        "a proxy .* cannot be used.*socks4://.*\nfix: .*socks5://", capsys.readouterr().err
    )


def test_a_proxy_is_not_asked_for_this_machine(
    server: stand_in.OllamaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert Ollama(server.url).reachable()


def test_the_seeds_commands_with_the_written_modelfile(
    server: stand_in.OllamaServer, gguf: Path, tmp_path: Path
) -> None:
    """ollama create / run / cp / list / rm, in the workspace, with Forge's Modelfile."""
    (tmp_path / "bin").mkdir()
    ollama_cli.install(tmp_path / "bin")
    (tmp_path / "Modelfile").write_text(write(MODELFILE))
    env = {
        **os.environ,
        "OLLAMA_HOST": server.url,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }

    def sh(command: str, say: str = "") -> str:
        return subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=env,
            input=say,
            text=True,
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout

    assert sh("ollama create Sanctuary-Guardian-01 -f Modelfile").endswith("success\n")
    by_cli = dict(server.models["Sanctuary-Guardian-01:latest"])
    Ollama(server.url).create("Sanctuary-Guardian-01", gguf, MODELFILE, Silent())
    assert by_cli == server.models["Sanctuary-Guardian-01:latest"]  # both ways make the same model
    assert (
        sh("ollama run Sanctuary-Guardian-01", "Who are you?\n")
        == "I am Guardian, at your service.\n"
    )
    sh("ollama cp Sanctuary-Guardian-01 Alias:latest")
    assert "Alias:latest" in sh("ollama list")
    sh("ollama rm Alias:latest")
    assert "Alias" not in sh("ollama list")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        sh("ollama rm Alias:latest")
    assert "not found" in caught.value.stderr


GGUF = "sha256:" + hashlib.sha256(b"GGUF.").hexdigest()
OTHER = "sha256:" + hashlib.sha256(b"PK").hexdigest()
NOWHERE = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "last"),
    [
        ("POST", "/api/create", {}, 400, {"error": "invalid model name"}),
        (
            "POST",
            "/api/create",
            {"model": "a" * 81, "files": {"m.gguf": GGUF}},
            400,
            {"error": "invalid model name"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "modelfile": "FROM x"},
            400,
            {"error": "neither 'from' or 'files' was specified"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "files": {"model": NOWHERE}},
            400,
            {"error": "unknown type"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "files": {"m.gguf": NOWHERE}},
            200,
            {"error": f"open /models/blobs/sha256-{'1' * 64}: no such file or directory"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "files": {"m.gguf": OTHER}},
            200,
            {"error": "supplied file was not in GGUF format"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "files": {"m.gguf": GGUF}, "parameters": {"num_ctx": "many"}},
            200,
            {"error": 'option "num_ctx" must be of type integer'},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "from": "nobody"},
            200,
            {"error": "pull model manifest: file does not exist"},
        ),
        (
            "POST",
            "/api/create",
            {"model": "m", "from": "there", "files": {"x": NOWHERE}, "unknown": 1},
            200,
            {"status": "success"},
        ),
        (
            "POST",
            "/api/create",
            {"model": 3},
            400,
            {
                "error": "json: cannot unmarshal number into Go struct field CreateRequest.model of type string"
            },
        ),
        (
            "POST",
            "/api/show",
            {"model": "nobody"},
            404,
            {"error": "model 'nobody:latest' not found"},
        ),
        (
            "POST",
            "/api/copy",
            {"source": "nobody", "destination": "a b"},
            400,
            {"error": 'destination "a b" is invalid'},
        ),
        (
            "POST",
            "/api/copy",
            {"source": "nobody", "destination": "b"},
            404,
            {"error": 'model "nobody" not found'},
        ),
        ("DELETE", "/api/delete", {"name": "there"}, 200, None),
        ("HEAD", "/api/blobs/sha256:12", None, 400, None),
        ("HEAD", f"/api/blobs/{NOWHERE}", None, 404, None),
        ("POST", f"/api/blobs/{GGUF}", b"GGUF.", 200, None),
        (
            "POST",
            f"/api/blobs/{NOWHERE}",
            b"GGUF,",
            400,
            {
                "error": f'digest mismatch, expected "{NOWHERE}", got "sha256:'
                f'{hashlib.sha256(b"GGUF,").hexdigest()}"'
            },
        ),
        (
            "POST",
            "/api/chat",
            {
                "model": "there",
                "messages": [{"role": "Narrator", "content": "x"}],
                "options": {"num_predict": 0, "wishes": 3},
            },
            200,
            {"done_reason": "stop", "eval_count": 6},
        ),
        ("GET", "/api/create", None, 405, "405 method not allowed"),
        ("GET", "/nothing", None, 404, "404 page not found"),
        ("GET", "/", None, 200, "Ollama is running"),
    ],
)
def test_the_stand_in_answers_as_the_real_server(
    server: stand_in.OllamaServer, method: str, path: str, body: object, status: int, last: object
) -> None:
    """What release 0.33 was found to do, right or not: a test that relies on another server proves nothing."""
    client = Ollama(server.url)
    server.blobs |= {GGUF: b"GGUF.", OTHER: b"PK"}
    server.models["there:latest"] = {"blob": GGUF, "digest": "1"}
    sent = (
        {"content": body}
        if isinstance(body, bytes)
        else {}
        if body is None
        else {"content": json.dumps(body)}
    )
    response = client._send(method, path, **sent)
    assert response.status_code == status
    said = response.text
    if isinstance(last, dict):
        found = json.loads(said.splitlines()[-1])
        assert {key: found[key] for key in last} == last
    else:
        assert said == (last or "")
