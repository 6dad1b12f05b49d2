"""A stand-in for the Hub: the endpoints that huggingface_hub needs to make a repository, commit to it and read it.

Large files travel by LFS (basic transfer), the rest inside the commit. Point HF_ENDPOINT at it, with
HF_HUB_DISABLE_XET=1. Faults are lists by the beginning of "METHOD /path", used up one a request:

- `fail`: a status to answer with, or (status, headers);
- `drop`: how many bytes of a GET's answer or of a request's body pass before the connection breaks;
- `stall`: how many bytes of a GET's answer pass before it waits for an event (`held` is set meanwhile);
- `flip`: the first byte of a GET's answer is another;
- `lose`: the request is acted on, but its answer never comes;
- `hold`: an event to wait for before a request is read (`held` is set meanwhile).

    python tests/stand_ins/hub.py --port 0 --token hf_test
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

Server = TypeVar("Server", bound=ThreadingHTTPServer)

LFS_NAMES = (".gguf", ".safetensors", ".bin")
LFS_BYTES = 10_000_000  # a file as large as this travels by LFS whatever its name is
NAME = r"[\w.-]+/[\w.-]+"
REPO = rf"(?P<repo>(?:datasets/)?{NAME})"  # at the root of the address
API = rf"/api/(?P<kind>models|datasets)/(?P<name>{NAME})"
# Hub documentation, "Licenses"; what is not listed goes under `other`, with a license_name.
LICENSES = """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 wtfpl
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 ecl-2.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib
    pddl lgpl-lr deepfloyd-if-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other"""


@dataclass
class Repo:
    """Commits in order, each a whole tree: {path: content}."""

    private: bool
    gated: str = ""  # what the Hub says of it
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes]) -> str:
        tree = {**(self.commits[-1][1] if self.commits else {}), **files}
        oid = hashlib.sha1(f"{len(self.commits)}{sorted(tree)}".encode()).hexdigest()
        self.commits.append((oid, tree))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next((c for c in self.commits if c[0] == revision), None)


def lfs(name: str, size: int) -> bool:
    return name.endswith(LFS_NAMES) or size >= LFS_BYTES


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0, *, token: str = "hf_test", user: str = "me") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.token, self.user = token, user
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.fail: dict[str, list[int | tuple[int, dict[str, str]]]] = {}
        self.drop: dict[str, list[int]] = {}
        self.stall: dict[str, list[tuple[int, threading.Event]]] = {}
        self.flip: dict[str, list[bool]] = {}
        self.lose: dict[str, list[bool]] = {}
        self.hold: dict[str, list[threading.Event]] = {}
        self.held = threading.Event()
        self.seen: list[str] = []
        self.sent: dict[str, int] = {}  # bytes of the bodies of answers, by "METHOD /path"
        self.ranges = True  # whether a part of a file can be asked for
        self.elsewhere = False  # whether large files are read from another host, as the Hub's are
        self.shown_elsewhere: list[str] = []  # tokens that came along to it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(
        self, name: str, files: dict[str, bytes], *, private: bool = False, gated: str = ""
    ) -> str:
        """Puts a repository there, and returns its commit."""
        self.repos[name] = Repo(private, gated)
        return self.repos[name].commit(files)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: object) -> None: ...

    def send(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        if status < 400 and self.next_of(self.server.lose):
            self.close_connection = True
            return
        reading = self.command == "GET"
        if reading and data and self.next_of(self.server.flip):
            data = bytes([data[0] ^ 1]) + data[1:]
        stall = self.next_of(self.server.stall) if reading else None
        cut = self.next_of(self.server.drop) if reading else None
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        shown = data if cut is None else data[:cut]
        first = stall[0] if stall else 0
        self.wfile.write(shown[:first])
        if stall:
            self.server.held.set()
            stall[1].wait(60)
        self.wfile.write(shown[first:])
        key = f"{self.command} {unquote(urlsplit(self.path).path)}"
        self.server.sent[key] = self.server.sent.get(key, 0) + len(shown)
        self.close_connection |= cut is not None

    def next_of(self, faults: dict[str, list[Any]]) -> Any:
        """The next fault meant for this request, which is used up by that."""
        key = f"{self.command} {unquote(urlsplit(self.path).path)}"
        return next(
            (
                left.pop(0)
                for start, left in faults.items()
                if fnmatchcase(key, start + "*") and left
            ),
            None,
        )

    def refuse(
        self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.send(
            status,
            {"error": message},
            {
                "X-Error-Message": message,
                **({"X-Error-Code": code} if code else {}),
                **(headers or {}),
            },
        )

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.server.token}"

    def repo(self, name: str) -> Repo | None:
        """The repository if this visitor may see it; otherwise the refusal is sent as the Hub words it."""
        found = self.server.repos.get(name)
        if found is None or (found.private and not self.known):
            self.refuse(404 if self.known else 401, "Repository not found", "RepoNotFound")
            return None
        return found

    def do(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.server.seen.append(f"{self.command} {path}")
        if waiting := self.next_of(self.server.hold):
            self.server.held.set()
            waiting.wait(60)
        length = int(self.headers.get("Content-Length", 0))
        if length and (cut := self.next_of(self.server.drop)) is not None:
            self.rfile.read(min(cut, length))
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the client is gone
            return
        if failing := self.next_of(self.server.fail):
            status, headers = failing if isinstance(failing, tuple) else (failing, {})
            self.refuse(status, "injected", headers=headers)
            return
        if self.headers.get("Authorization") and not self.known:
            self.refuse(401, "Invalid credentials in Authorization header")
            return
        for method, pattern, act in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split("|"):
                # Reading is open, and a signed upload address carries no token, as at the Hub.
                if method == "POST" and act is not Handler.paths and not self.known:
                    self.refuse(401, "Invalid username or password.")
                else:
                    found = match.groupdict()
                    if kind := found.pop("kind", None):
                        found["repo"] = (
                            f"{'datasets/' if kind == 'datasets' else ''}{found.pop('name')}"
                        )
                    act(self, body, **found)
                return
        self.refuse(404, f"no such endpoint: {self.command} {path}")

    do_GET = do_POST = do_HEAD = do_PUT = do  # noqa: N815 - the names that http.server calls

    # -- accounts and repositories
    def whoami(self, _: bytes) -> None:
        if self.known:
            self.send(
                200,
                {
                    "type": "user",
                    "name": self.server.user,
                    "orgs": [],
                    "auth": {"type": "access_token"},
                },
            )
        else:
            self.refuse(401, "Invalid username or password.")

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or self.server.user}/{asked['name']}"
        name = f"datasets/{name}" if asked.get("type") == "dataset" else name
        url = f"{self.server.url}/{name}"
        if name in self.server.repos:
            self.send(409, {"error": "You already created this repo", "url": url})
            return
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.add(name, {".gitattributes": b"*.gguf filter=lfs\n"}, private=private)
        self.send(200, {"url": url, "name": name})

    def validate(self, body: bytes) -> None:
        """The front matter's form, and the values that the Hub knows."""
        front = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.S)
        data = yaml.safe_load(front[1]) if front else {}
        wrong = [] if front else ["no metadata"]
        if data.get("license", "other") not in LICENSES.split():
            wrong.append(f'"license" must be one of {", ".join(LICENSES.split())}')
        if not re.fullmatch(r"[a-z0-9.-]+", data.get("license_name", "x")):
            wrong.append('"license_name" must be lower case')
        if data.get("base_model_relation", "quantized") not in (
            "quantized",
            "adapter",
            "finetune",
            "merge",
        ):
            wrong.append('"base_model_relation" is not known')
        if not re.fullmatch(NAME, data.get("base_model", "a/b")):
            wrong.append('"base_model" is not a repository')
        self.send(
            400 if wrong else 200,
            {"errors": [{"message": message} for message in wrong], "warnings": []},
        )

    def info(self, _: bytes, repo: str, revision: str | None = None) -> None:
        if (found := self.repo(repo)) is None:
            return
        if (commit := found.at(revision or "main")) is None:
            self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return
        name = repo.removeprefix("datasets/")
        self.send(
            200,
            {
                "id": name,
                "modelId": name,
                "sha": commit[0],
                "private": found.private,
                "tags": [],
                "gated": "auto" if found.gated else False,
                "cardData": front_matter(commit[1]),
                "siblings": [{"rfilename": name} for name in commit[1]],
            },
        )

    def entries(self, tree: dict[str, bytes], names: list[str]) -> list[dict[str, Any]]:
        found = []
        for name in names:
            if name in tree:
                data = tree[name]
                entry: dict[str, Any] = {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": git_oid(data),
                }
                if lfs(name, len(data)):
                    entry["lfs"] = {
                        "oid": hashlib.sha256(data).hexdigest(),
                        "size": len(data),
                        "pointerSize": 130,
                    }
                found.append(entry)
        return found

    def tree(self, _: bytes, repo: str, revision: str) -> None:
        if (found := self.repo(repo)) and (commit := found.at(revision)):
            self.send(200, self.entries(commit[1], list(commit[1])))

    def paths(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self.repo(repo)) and (commit := found.at(revision)):
            text = body.decode()
            asked = (
                json.loads(text)["paths"]
                if text.startswith("{")
                else parse_qs(text).get("paths", [])
            )
            self.send(200, self.entries(commit[1], asked))

    def resolve(self, _: bytes, repo: str, revision: str, path: str) -> None:
        if (found := self.repo(repo)) is None:
            return
        if found.gated:
            self.refuse(403 if self.known else 401, found.gated, "GatedRepo")
            return
        commit = found.at(revision)
        if commit is None or path not in commit[1]:
            self.refuse(404, "Entry not found", "EntryNotFound")
            return
        data = commit[1][path]
        large = lfs(path, len(data))
        etag = hashlib.sha256(data).hexdigest() if large else git_oid(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit[0], "Accept-Ranges": "bytes"}
        if large and self.server.elsewhere:
            # Another name of the same machine is another host to a client.
            self.send(
                302,
                b"",
                {
                    **headers,
                    "X-Linked-Etag": f'"{etag}"',
                    "X-Linked-Size": str(len(data)),
                    "Location": f"http://localhost:{self.server.server_address[1]}/elsewhere/{etag}",
                },
            )
            self.server.large[etag] = data
        else:
            self.ranged(data, headers)

    def stored(self, _: bytes, oid: str) -> None:
        if shown := self.headers.get("Authorization"):
            self.server.shown_elsewhere.append(shown)
        self.ranged(self.server.large[oid], {})

    def ranged(self, data: bytes, headers: dict[str, str]) -> None:
        begin = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        if begin and self.server.ranges:
            at = int(begin[1])
            self.send(
                206,
                data[at:],
                {**headers, "Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}"},
            )
        else:
            self.send(200, data, headers)

    # -- committing
    def preupload(self, body: bytes, repo: str) -> None:
        """How each file is to travel, and what of its name is there now."""
        if found := self.repo(repo):
            tree = found.commits[-1][1]
            there = {
                entry["path"]: entry.get("lfs", entry)["oid"]
                for entry in self.entries(tree, list(tree))
            }
            self.send(
                200,
                {
                    "files": [
                        {
                            "path": f["path"],
                            "shouldIgnore": False,
                            "oid": there.get(f["path"]),
                            "uploadMode": "lfs" if lfs(f["path"], f["size"]) else "regular",
                        }
                        for f in json.loads(body)["files"]
                    ]
                },
            )

    def batch(self, body: bytes, repo: str) -> None:
        if self.repo(repo):
            objects = [
                {
                    "oid": o["oid"],
                    "size": o["size"],
                    **(
                        {}
                        if o["oid"] in self.server.large
                        else {
                            "actions": {"upload": {"href": f"{self.server.url}/large/{o['oid']}"}}
                        }
                    ),
                }
                for o in json.loads(body)["objects"]
            ]
            self.send(200, {"transfer": "basic", "objects": objects})

    def large(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self.refuse(400, "checksum mismatch")
            return
        self.server.large[oid] = body
        self.send(200)

    def commit(self, body: bytes, repo: str) -> None:
        if (found := self.repo(repo)) is None:
            return
        lines = [json.loads(line) for line in body.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent and parent != found.at("main")[0]:  # type: ignore[index]
            self.refuse(412, "A commit has happened since. Please refresh and try again.")
            return
        files: dict[str, bytes] = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.server.large:
                    self.refuse(400, f"LFS object {value['oid']} was not uploaded")
                    return
                files[value["path"]] = self.server.large[value["oid"]]
        oid = found.commit(files)
        self.send(
            200,
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{self.server.url}/{repo}/commit/{oid}",
            },
        )


def front_matter(files: dict[str, bytes]) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", files.get("README.md", b"").decode(), re.S)
    return yaml.safe_load(found[1]) if found else {}


ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("GET|HEAD", API, Handler.info),
    ("GET", rf"{API}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", rf"{API}/tree/(?P<revision>[^/]+)", Handler.tree),
    ("POST", rf"{API}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    ("POST", rf"{API}/preupload/main", Handler.preupload),
    ("POST", rf"{API}/commit/main", Handler.commit),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(?P<oid>[0-9a-f]{64})", Handler.large),
    ("GET|HEAD", r"/elsewhere/(?P<oid>[0-9a-f]{64})", Handler.stored),
    ("GET|HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Any server, in a thread of its own."""
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def running(**settings: Any) -> contextlib.AbstractContextManager[HubServer]:
    return serving(HubServer(**settings))


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--token", default="hf_test")
    given = options.parse_args()
    with running(**vars(given)) as started:
        print(f"HF_ENDPOINT={started.url}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
