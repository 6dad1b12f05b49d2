"""A stand-in for the Hub: the endpoints that huggingface_hub needs to make a repository, commit to it and read it.

Large files travel by LFS (basic transfer), the rest inside the commit. Point HF_ENDPOINT at it, with
HF_HUB_DISABLE_XET=1. `fail` holds statuses to answer first: {"POST /api/repos/create": [503, 503]}.

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_NAMES = (".gguf", ".safetensors", ".bin")
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repo:
    """Commits in order, each a whole tree: {path: content}."""

    private: bool
    gated: bool = False
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


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0, *, token: str = "hf_test", user: str = "me") -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.token, self.user = token, user
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.fail: dict[str, list[int]] = {}
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False, gated: bool = False) -> str:
        """Puts a repository there, and returns its commit."""
        self.repos[name] = Repo(private, gated)
        return self.repos[name].commit(files)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, *_: object) -> None: ...

    def send(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, message: str, code: str = "") -> None:
        self.send(status, {"error": message}, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})})

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
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(f"{self.command} {path}")
        failing = next((codes for key, codes in self.server.fail.items()
                        if f"{self.command} {path}".startswith(key) and codes), None)
        if failing:
            self.refuse(failing.pop(0), "injected")
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
                    act(self, body, **match.groupdict())
                return
        self.refuse(404, f"no such endpoint: {self.command} {path}")

    do_GET = do_POST = do_HEAD = do_PUT = do  # noqa: N815 - the names that http.server calls

    # -- accounts and repositories
    def whoami(self, _: bytes) -> None:
        if self.known:
            self.send(200, {"type": "user", "name": self.server.user, "orgs": [], "auth": {"type": "access_token"}})
        else:
            self.refuse(401, "Invalid username or password.")

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or self.server.user}/{asked['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repos:
            self.send(409, {"error": "You already created this model repo", "url": url})
            return
        private = asked.get("private", asked.get("visibility") == "private")
        self.server.add(name, {".gitattributes": b"*.gguf filter=lfs\n"}, private=private)
        self.send(200, {"url": url, "name": name})

    def validate(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        wrong = not re.match(r"---\n.*?\n---\n", content, re.S)
        self.send(400 if wrong else 200, {"errors": [{"message": "no metadata"}] if wrong else [], "warnings": []})

    def info(self, _: bytes, repo: str, revision: str | None = None) -> None:
        if (found := self.repo(repo)) is None:
            return
        if (commit := found.at(revision or "main")) is None:
            self.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return
        self.send(200, {"id": repo, "modelId": repo, "sha": commit[0], "private": found.private, "tags": [],
                        "gated": "auto" if found.gated else False,
                        "siblings": [{"rfilename": name} for name in commit[1]]})

    def entries(self, tree: dict[str, bytes], names: list[str]) -> list[dict[str, Any]]:
        found = []
        for name in names:
            if name in tree:
                data = tree[name]
                entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_oid(data)}
                if name.endswith(LFS_NAMES):
                    entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                found.append(entry)
        return found

    def tree(self, _: bytes, repo: str, revision: str) -> None:
        if (found := self.repo(repo)) and (commit := found.at(revision)):
            self.send(200, self.entries(commit[1], list(commit[1])))

    def paths(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self.repo(repo)) and (commit := found.at(revision)):
            text = body.decode()
            asked = json.loads(text)["paths"] if text.startswith("{") else parse_qs(text).get("paths", [])
            self.send(200, self.entries(commit[1], asked))

    def resolve(self, _: bytes, repo: str, revision: str, path: str) -> None:
        if (found := self.repo(repo)) is None:
            return
        if found.gated:
            self.refuse(403 if self.known else 401, f"Access to model {repo} is restricted.", "GatedRepo")
            return
        commit = found.at(revision)
        if commit is None or path not in commit[1]:
            self.refuse(404, "Entry not found", "EntryNotFound")
            return
        data = commit[1][path]
        etag = hashlib.sha256(data).hexdigest() if path.endswith(LFS_NAMES) else git_oid(data)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit[0], "Accept-Ranges": "bytes"}
        begin = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range", ""))
        if begin:
            at = int(begin[1])
            self.send(206, data[at:], {**headers, "Content-Range": f"bytes {at}-{len(data) - 1}/{len(data)}"})
        else:
            self.send(200, data, headers)

    # -- committing
    def preupload(self, body: bytes, repo: str) -> None:
        if self.repo(repo):
            self.send(200, {"files": [{"path": f["path"], "shouldIgnore": False,
                                       "uploadMode": "lfs" if f["path"].endswith(LFS_NAMES) else "regular"}
                                      for f in json.loads(body)["files"]]})

    def batch(self, body: bytes, repo: str) -> None:
        if self.repo(repo):
            objects = [{"oid": o["oid"], "size": o["size"],
                        **({} if o["oid"] in self.server.large else
                           {"actions": {"upload": {"href": f"{self.server.url}/large/{o['oid']}"}}})}
                       for o in json.loads(body)["objects"]]
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
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{repo}/commit/{oid}"})


ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("GET|HEAD", rf"/api/models/{REPO}", Handler.info),
    ("GET", rf"/api/models/{REPO}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)", Handler.tree),
    ("POST", rf"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    ("POST", rf"/api/models/{REPO}/preupload/main", Handler.preupload),
    ("POST", rf"/api/models/{REPO}/commit/main", Handler.commit),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/large/(?P<oid>[0-9a-f]{64})", Handler.large),
    ("GET|HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]

@contextlib.contextmanager
def running(**settings: Any) -> Iterator[HubServer]:
    server = HubServer(**settings)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--token", default="hf_test")
    given = options.parse_args()
    with running(**vars(given)) as started:
        print(f"HF_ENDPOINT={started.url}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
