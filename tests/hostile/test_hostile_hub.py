"""Servers that lead elsewhere. A token is for the address that was named: whatever host a redirect goes on to, and
whatever port, sees none of it. Downloads may be redirected (a Hub keeps large files at a CDN), uploads may not leak."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from stand_ins import hub as stand_in
from stand_ins.hub import serving

from phoenix_forge.catalog.bases import Source
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import ForgeError
from phoenix_forge.hub import retry
from phoenix_forge.hub.account import endpoint
from phoenix_forge.hub.download import Fetched, fetch
from phoenix_forge.hub.publish import prepare, publish
from phoenix_forge.runtime.ollama import Ollama, address
from phoenix_forge.teacher.endpoint import Endpoint

SECRET = "hf_thisIsTheTokenOfSomebody"
WEIGHTS = bytes(range(256)) * 40
MODEL = {"config.json": b"{ }", "model.safetensors": WEIGHTS}


class Recorder(ThreadingHTTPServer):
    """Writes down what it is sent; answers with `content`, or with a redirect where `to` is set."""

    daemon_threads = True

    def __init__(self, host: str) -> None:
        super().__init__((host, 0), _Handler)
        self.seen: list[str] = []
        self.content, self.to, self.status = b"{}", "", 302

    @property
    def url(self) -> str:
        return f"http://{self.server_name_given}:{self.server_address[1]}"

    server_name_given = "127.0.0.1"


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def log_message(self, *_: object) -> None: ...

    def do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(
            f"{self.command} {self.path}\n{self.headers}\n{body.decode(errors='replace')}"
        )
        self.send_response(self.server.status if self.server.to else 200)
        if self.server.to:
            self.send_header("Location", self.server.to + self.path)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.server.content)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do  # noqa: N815 - the names that http.server calls


@contextlib.contextmanager
def recording(name: str = "127.0.0.1") -> Iterator[Recorder]:
    server = Recorder("127.0.0.1")
    server.server_name_given = name
    with serving(server):
        yield server


@pytest.fixture(params=["127.0.0.1", "localhost"], ids=["another port", "another host"])
def other(request: pytest.FixtureRequest) -> Iterator[Recorder]:
    """Where the redirects lead."""
    with recording(request.param) as server:
        yield server


@pytest.fixture
def first() -> Iterator[Recorder]:
    """What the user has named."""
    with recording() as server:
        yield server


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(retry, "WAITS", ())
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[stand_in.HubServer]:
    with stand_in.running(token=SECRET) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def download(folder: Path) -> Fetched:
    return fetch(
        Source("hub", "org/model"),
        folder / "cache",
        destination=folder / "base",
        revision=None,
        token=SECRET,
        report=Silent(),
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_hub_that_leads_elsewhere_gets_no_token_there(
    status: int, first: Recorder, other: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.to, first.status = other.url, status
    monkeypatch.setenv("HF_ENDPOINT", first.url)
    with pytest.raises(ForgeError) as caught:
        download(tmp_path)
    assert caught.value.fix
    assert any(SECRET in request for request in first.seen)  # there it belongs
    assert not any(SECRET in request for request in other.seen)
    assert not (tmp_path / "base").exists()


def test_large_files_from_a_cdn_are_asked_for_without_the_token(
    hub: stand_in.HubServer, other: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def redirected(handler: stand_in.Handler, body: bytes, **groups: str) -> None:
        handler.send(
            302, b"", {"Location": f"{other.url}/large", "X-Linked-Size": str(len(WEIGHTS))}
        )

    pattern = rf"/{stand_in.REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+\.safetensors)"
    monkeypatch.setattr(stand_in, "ROUTES", [("GET", pattern, redirected), *stand_in.ROUTES])
    hub.add("org/model", MODEL, private=True)
    other.content = WEIGHTS
    assert (download(tmp_path).path / "model.safetensors").read_bytes() == WEIGHTS
    assert other.seen
    assert not any(
        SECRET in request or "authorization" in request.lower() for request in other.seen
    )


def test_a_cdn_that_sends_something_else(
    hub: stand_in.HubServer,
    other: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable,
) -> None:
    pattern = rf"/{stand_in.REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+\.safetensors)"
    monkeypatch.setattr(
        stand_in,
        "ROUTES",
        [
            (
                "GET",
                pattern,
                lambda handler, body, **_: handler.send(
                    302, b"", {"Location": f"{other.url}/large"}
                ),
            ),
            *stand_in.ROUTES,
        ],
    )
    hub.add("org/model", MODEL)
    other.content = bytes(len(WEIGHTS))
    with refused("arrived with the SHA-256"):
        download(tmp_path)
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    "name", ["../evil.json", "../../../evil.json", "/evil.json", "a/../../evil.json"]
)
def test_a_hub_whose_files_are_called_after_other_places(
    name: str, hub: stand_in.HubServer, tmp_path: Path
) -> None:
    hub.add("org/model", MODEL | {name: b"{}"})
    with pytest.raises(ForgeError) as caught:
        download(tmp_path)
    assert caught.value.fix
    assert not list(tmp_path.parent.glob("evil.json"))
    assert not list(tmp_path.rglob("evil.json"))
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("header", ["ETag", "X-Linked-ETag", "X-Repo-Commit"])
def test_a_hub_whose_digests_are_other_places(
    header: str, hub: stand_in.HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library calls files in its cache after what these headers say."""
    send = stand_in.Handler.send

    def lying(
        self: stand_in.Handler,
        status: int,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        lie = {header: "../../../evil.json"} if headers and "ETag" in headers else {}
        send(self, status, body, {**(headers or {}), **lie})

    monkeypatch.setattr(stand_in.Handler, "send", lying)
    hub.add("org/model", MODEL)
    with pytest.raises(ForgeError) as caught:
        download(tmp_path)
    assert caught.value.fix
    assert not [path for folder in (tmp_path, tmp_path.parent) for path in folder.glob("evil*")]
    assert not (tmp_path / "base").exists()


def test_redirects_in_a_circle(
    first: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable
) -> None:
    first.to = first.url
    monkeypatch.setenv("HF_ENDPOINT", first.url)
    with refused("could not be downloaded|none of its sources"):
        download(tmp_path)
    assert len(first.seen) < 200


@pytest.mark.parametrize("status", [302, 307, 308])
def test_publishing_to_a_hub_that_leads_elsewhere(
    status: int, first: Recorder, other: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.to, first.status = other.url, status
    monkeypatch.setenv("HF_ENDPOINT", first.url)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(ForgeError):
        publish(
            prepare("me/model", private=True, create=True, ggufs=[tmp_path / "x.gguf"]),
            token=SECRET,
            message="m",
            report=Silent(),
        )
    assert not any(SECRET in request for request in other.seen)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_ollama_that_leads_elsewhere_is_not_followed(
    status: int, first: Recorder, other: Recorder, tmp_path: Path, refused: Callable
) -> None:
    first.to, first.status = other.url, status
    server, file = Ollama(first.url), tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" * 100)
    for act in (
        server.version,
        server.list,
        lambda: server.show("m"),
        lambda: server.delete("m"),
        lambda: server.upload(file, "0" * 64, Silent()),
        lambda: server.chat("m", []),
    ):
        with refused(f"refused \\({status}\\)"):
            act()
    server.close()
    assert other.seen == []


@pytest.mark.parametrize(
    "content", [b"<html>welcome</html>", b"[]", b"null", b"7", b"\xff\xfe", b"[" * 100_000]
)
def test_a_server_that_is_no_ollama(content: bytes, first: Recorder, refused: Callable) -> None:
    first.content = content
    server = Ollama(first.url)
    assert not server.reachable()
    for act in (
        server.version,
        server.list,
        lambda: server.show("m"),
        lambda: server.copy("a", "b"),
    ):
        with refused("sent something that is no JSON object"):
            act()
    with refused("sent something that is not JSON"):
        server.chat("m", [])
    server.close()


def test_a_teacher_that_leads_elsewhere_is_not_followed(first: Recorder, other: Recorder) -> None:
    first.to, first.status = other.url, 307
    with pytest.raises(ForgeError):
        Endpoint(f"{first.url}/v1", "m", SECRET, Silent(), 1).complete(
            [{"role": "user", "content": "x"}], None, 8
        )
    assert any(SECRET in request for request in first.seen)
    assert other.seen == []


ADDRESSES = [
    "file:///etc/passwd",
    "gopher://127.0.0.1:70",
    "ftp://host/x",
    "javascript:alert(1)",
    "dict://x:1",
    "http://",
    "https:///x",
    "http://host:99999",
    "http://host:x",
    "//host",
    "unix:///var/run/docker.sock",
    "http://ho\nst",
    "http://[::1",
]


@pytest.mark.parametrize("text", [*ADDRESSES, "host", "127.0.0.1:80"])
def test_addresses_of_a_hub(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", text)
    with refused("HF_ENDPOINT is"):
        endpoint()
    with refused("HF_ENDPOINT is"):
        download(tmp_path)


@pytest.mark.parametrize(
    "text", [a for a in ADDRESSES if a not in ("http://", "https:///x", "//host", "http://ho\nst")]
)
def test_addresses_of_ollama(text: str, refused: Callable) -> None:
    with refused("OLLAMA_HOST is"):
        address(text)
