"""phoenix_forge.doctor beyond this process: the Hub and its clock, Ollama, a llama.cpp folder, and what --fix does."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
import time

import pytest
from stand_ins import hub, ollama

from phoenix_forge.core.report import Silent
from phoenix_forge.doctor import CHECKS, examine, fixes, mend, services
from phoenix_forge.doctor.finding import Ctx
from phoenix_forge.errors import StageFailed
from phoenix_forge.workflow import llama_cpp_shims
from phoenix_forge.workflow.llama_cpp_shims import link

TOKEN = "hf_" + "Q" * 34
NAMES = ("HF_TOKEN", "HUGGING_FACE_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No account, no service: a test brings its own."""
    for name in (*NAMES, "HF_HUB_OFFLINE", "HF_ENDPOINT", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", os.devnull)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    monkeypatch.setattr(
        "phoenix_forge.doctor.hub.HUB_SECONDS", 60.0
    )  # however busy this machine is


@pytest.fixture
def at_hub(monkeypatch):
    with hub.running(token=TOKEN) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def write_token(root, text=TOKEN):
    (root / ".env").write_text(f"HUGGING_FACE_TOKEN={text}\n")


# The token


@pytest.mark.parametrize("place", ["environment", "env file"])
def test_the_hub_says_whose_token_it_is(tmp_path, monkeypatch, at_hub, place):
    if place == "environment":
        monkeypatch.setenv("HUGGING_FACE_TOKEN", TOKEN)
    else:
        write_token(tmp_path)
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "ok", finding
    assert finding.found.startswith(
        f"HUGGING_FACE_TOKEN in {'the environment' if place == 'environment' else '.env'} "
        f"is {at_hub.user}'s"
    )
    assert TOKEN not in finding.found


def test_a_token_that_the_hub_refuses_failed(tmp_path, at_hub):
    write_token(tmp_path, "hf_expired")
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "failed"
    assert "refused" in finding.found
    assert "hf_expired" not in finding.found
    assert "settings/tokens" in finding.fix


@pytest.mark.parametrize(
    ("text", "says"), [("hf_your_token_here", "still the placeholder"), ("", "none")]
)
def test_no_token_is_a_warning_and_nobody_is_asked(tmp_path, at_hub, text, says):
    write_token(tmp_path, text)
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert says in finding.found
    assert not at_hub.seen


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE is set"),
        ("HF_ENDPOINT", "http://127.0.0.1:9", "cannot be reached"),
        ("HF_ENDPOINT", "http://mirror.example", "not sent unencrypted"),
    ],
)
def test_a_token_that_cannot_be_checked_is_a_warning(tmp_path, monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    write_token(tmp_path)
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "not checked" in finding.found
    assert says in finding.found
    assert TOKEN not in finding.found
    assert services.clock(Ctx(tmp_path)).status == "ok"


def test_an_endpoint_that_is_no_address_failed_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    write_token(tmp_path)
    rows = examine(tmp_path, only=["token", "clock"], report=Silent())
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert all("'mirror'" in row["found"] and row["fix"] == "unset HF_ENDPOINT" for row in rows)


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_in_trouble_says_nothing_about_the_token(tmp_path, at_hub, status):
    write_token(tmp_path)
    at_hub.fail["GET /api/whoami-v2"] = [status]
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert str(status) in finding.found


def test_a_token_with_odd_characters_is_not_sent(tmp_path, at_hub):
    write_token(tmp_path, "hf_ü")
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "characters" in finding.found
    assert not at_hub.seen


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers everything as its server says: (status, headers, body)."""

    def do_GET(self):
        self.server.seen.append(self.headers.get("Authorization"))
        status, headers, body = self.server.answer
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def odd(monkeypatch):
    """Odd servers, by answer; the first one made is the Hub."""
    made = []

    def make(status, headers, body=b""):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        server.answer, server.seen = (status, headers, body), []
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        if not made:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        made.append(server)
        return server

    yield make
    for server in made:
        server.shutdown()
        server.server_close()


def test_a_redirect_does_not_carry_the_token_away(tmp_path, odd):
    write_token(tmp_path)
    headers = {}
    first, other = odd(302, headers), odd(200, {})
    headers["Location"] = f"http://127.0.0.1:{other.server_address[1]}/"
    finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "302" in finding.found
    assert first.seen == [f"Bearer {TOKEN}"]
    assert not other.seen


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name": 7}',
        b'{"name": "\\u001b[2J"}',
        b'{"name": "ada", "auth": "x"}',
        b"\xff",
    ],
)
def test_an_odd_answer_is_no_error_and_moves_no_cursor(tmp_path, odd, body):
    write_token(tmp_path)
    odd(200, {}, body)
    finding = services.token(Ctx(tmp_path))
    assert finding.status == ("ok" if b"ada" in body else "warning")
    assert "\x1b" not in finding.found


def test_a_fine_grained_token_is_told_by_its_role(tmp_path, odd):
    write_token(tmp_path)
    odd(200, {}, json.dumps({"name": "ada", "auth": {"accessToken": {"role": "write"}}}).encode())
    assert services.token(Ctx(tmp_path)).found == "HUGGING_FACE_TOKEN in .env is ada's (write)"


def test_a_hub_that_never_answers_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("phoenix_forge.doctor.hub.HUB_SECONDS", 0.2)
    write_token(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        finding = services.token(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "not checked" in finding.found


# The clock


@pytest.mark.parametrize(
    ("ahead", "status", "says"),
    [
        (0, "ok", "within"),
        (3600, "warning", "60 minutes ahead of"),
        (-7200, "warning", "120 minutes behind"),
    ],
)
def test_the_clock_is_held_against_the_hubs(tmp_path, monkeypatch, at_hub, ahead, status, says):
    real = time.time
    monkeypatch.setattr(services.time, "time", lambda: real() + ahead)
    monkeypatch.setattr(
        at_hub,
        "RequestHandlerClass",
        type(
            "Dated",
            (hub.Handler,),
            {
                "date_time_string": lambda self, timestamp=None: (
                    hub.BaseHTTPRequestHandler.date_time_string(self, real())
                )
            },
        ),
    )
    finding = services.clock(Ctx(tmp_path))
    assert finding.status == status
    assert says in finding.found


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_hub_without_a_clock_is_not_compared_with(tmp_path, odd, date):
    odd(401, {"Date": date} if date else {})
    finding = services.clock(Ctx(tmp_path))
    assert finding.status == "ok"
    assert "not compared" in finding.found


def test_the_hub_is_asked_once_for_all_checks(tmp_path, at_hub):
    write_token(tmp_path)
    rows = examine(tmp_path, only=["clock", "token"], report=Silent())
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert at_hub.seen == ["GET /api/whoami-v2"]


# Ollama


def test_an_ollama_that_does_not_answer_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    finding = services.ollama(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "forge chat" in finding.found


@pytest.mark.parametrize(
    ("release", "status"), [("0.17.0", "warning"), ("0.17.1", "ok"), ("0.20.0-rc1", "ok")]
)
def test_an_old_ollama_is_warned_about(tmp_path, monkeypatch, release, status):
    with ollama.running(version=release) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        finding = services.ollama(Ctx(tmp_path))
    assert finding.status == status
    assert release in finding.found


def test_an_ollama_open_to_the_network_or_elsewhere_is_warned_about(tmp_path, monkeypatch):
    with ollama.running() as server:
        port = server.server_address[1]
        monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{port}")
        assert "every machine of the network" in services.ollama(Ctx(tmp_path)).found
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
        assert services.ollama(Ctx(tmp_path)).status == "ok"
        monkeypatch.setattr(services, "is_loopback", lambda host: False)
        finding = services.ollama(Ctx(tmp_path))
    assert finding.status == "warning"
    assert "another machine" in finding.found


# A llama.cpp folder beside the workspace


@pytest.fixture
def space(tmp_path):
    (tmp_path / "work").mkdir()
    return Ctx(tmp_path / "work")


def test_the_states_of_a_llama_cpp_folder(space):
    folder = space.root.parent / "llama.cpp"
    assert llama_cpp_shims.check(space).found.startswith(f"none at {folder}")
    link(folder)
    assert (
        llama_cpp_shims.check(space).found
        == f"{folder} holds Forge's own commands under llama.cpp's names"
    )
    (folder / "build/bin/llama-cli").unlink()
    stale = llama_cpp_shims.check(space)
    assert (stale.status, stale.fix) == ("warning", f"forge tools link {folder}")
    (folder / "build/bin/llama-cli").write_bytes(b"\x7fELF")
    assert llama_cpp_shims.check(space).found.startswith(
        f"programs of llama.cpp at {folder}, with build/bin/llama-cli"
    )
    (folder / "CMakeLists.txt").touch()
    assert llama_cpp_shims.check(space).found.startswith(
        f"a checkout of llama.cpp at {folder}, with build/bin/llama-cli"
    )


# --fix


def test_every_fix_belongs_to_a_check():
    assert set(fixes.FIXES) <= set(CHECKS)


def mended(root, *names):
    return mend(examine(root, only=names, report=Silent()), root, report=Silent())


def test_fix_writes_a_place_for_the_token_once(tmp_path):
    rows, done = mended(tmp_path, "token", "python")
    assert [(d["name"], d["done"]) for d in done] == [("token", True)]
    assert "placeholder" in next(row for row in rows if row["name"] == "token")["found"]
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / ".env").read_text()
    assert mended(tmp_path, "token")[1] == []
    assert (tmp_path / ".env").read_text() == text


def test_fix_lays_the_commands_of_another_environment_again(space):
    folder = space.root.parent / "llama.cpp"
    link(folder)
    path = folder / "build/bin/llama-server"
    path.write_text(path.read_text().replace(sys.executable, "/gone/bin/python"))
    rows, done = mended(space.root, "llama_cpp")
    assert rows[0]["status"] == "ok"
    assert done == [
        {"name": "llama_cpp", "done": True, "what": "laid build/bin/llama-server again"}
    ]
    assert sys.executable in path.read_text()
    assert mended(space.root, "llama_cpp")[1] == []


@pytest.fixture
def broken(monkeypatch):
    """Checks whose library is broken, and the pip commands that would mend it."""
    import phoenix_forge.doctor.table as table

    commands = []

    def run(ctx):
        raise ImportError("libcublas.so.12: not found")

    for name in ("bitsandbytes", "torch"):
        monkeypatch.setitem(table.CHECKS, name, table.Check(name, name, "required", run))
    monkeypatch.setattr(fixes.proc, "run", lambda command, **_: commands.append(command) or "")
    return commands


def test_fix_reinstalls_small_libraries_only_in_an_environment_of_its_own(
    tmp_path, monkeypatch, broken
):
    monkeypatch.setattr(fixes, "OURS", False)
    assert mended(tmp_path, "bitsandbytes", "torch")[1] == []
    monkeypatch.setattr(fixes, "OURS", True)
    rows, done = mended(tmp_path, "bitsandbytes", "torch")
    assert [d["name"] for d in done] == ["bitsandbytes"], "torch is gigabytes: shown, not done"
    (command,) = broken
    assert command[:5] == [sys.executable, "-P", "-m", "pip", "install"]
    assert {"--no-deps", "bitsandbytes", str(fixes.CONSTRAINTS)} <= set(command)
    assert {row["status"] for row in rows} == {"failed"}, "checked again, and told as it is"


def test_a_fix_that_fails_is_told(tmp_path, monkeypatch, broken):
    def pip(command, **_):
        raise StageFailed("pip ended with exit code 1")

    monkeypatch.setattr(fixes, "OURS", True)
    monkeypatch.setattr(fixes.proc, "run", pip)
    assert mended(tmp_path, "bitsandbytes")[1] == [
        {"name": "bitsandbytes", "done": False, "what": "pip ended with exit code 1"}
    ]


def test_a_failed_runtime_forgets_what_had_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(fixes, "OURS", False)
    monkeypatch.setattr(fixes, "cache_folder", lambda: tmp_path)
    assert fixes.runtime(Ctx(tmp_path)) is None
    (tmp_path / "loadable").mkdir()
    (tmp_path / "loadable/abc").touch()
    assert "forgot" in fixes.runtime(Ctx(tmp_path))
    assert not (tmp_path / "loadable").exists()
