# ruff: noqa: T201
"""A stand-in for the `ollama` command: create, run, list, show, cp, rm over the API of the server at OLLAMA_HOST.

It reads Modelfiles with a few lines of its own, so that a mistake in Forge's writer is not hidden by Forge's reader.
To have it as `ollama` on the PATH: install(folder).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VALUE = r'(?:"""(?P<three>.*?)"""|"(?P<one>[^"]*)"|(?P<bare>[^\n]*))'
LINE = re.compile(
    rf"^(?P<word>[A-Za-z]+)[ \t]+(?:(?<=PARAMETER )(?P<name>\w+)[ \t]+)?{VALUE}[ \t]*$", re.M | re.S
)


def install(folder: Path) -> Path:
    """Puts a program called `ollama` into `folder`, for PATH."""
    program = folder / "ollama"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    return program


def call(method: str, path: str, body: Any = None) -> Iterator[dict[str, Any]]:
    host = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434")
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{host if '://' in host else f'http://{host}'}{path}", data, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            for line in response:
                event = json.loads(line)
                if "error" in event:
                    sys.exit(f"Error: {event['error']}")
                yield event
    except urllib.error.HTTPError as error:
        if method == "HEAD":
            raise
        sys.exit(f"Error: {json.loads(error.read())['error']}")
    except urllib.error.URLError:
        sys.exit("Error: could not connect to ollama server, run 'ollama serve' to start it")


def create(name: str, flag: str, file: str) -> None:
    assert flag == "-f", flag
    text, settings = Path(file).read_text(encoding="utf-8"), {}
    body: dict[str, Any] = {"model": name, "stream": True}
    gguf: Path | None = None
    for match in LINE.finditer(text):
        value = next((match[g] for g in ("three", "one", "bare") if match[g] is not None), "")
        word = match["word"].upper()
        if word == "FROM":
            path = Path(file).parent / Path(value).expanduser()
            gguf = path if path.is_file() else None
            if gguf is None:
                body["from"] = value
        elif word == "PARAMETER":
            number = re.fullmatch(r"-?\d+(\.\d+)?", value)
            parsed = (float(value) if number[1] else int(value)) if number else value
            settings[match["name"]] = (
                [*settings.get("stop", []), value] if match["name"] == "stop" else parsed
            )
        elif value:
            body[word.lower()] = value
    if gguf:
        digest = f"sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"
        try:
            list(call("HEAD", f"/api/blobs/{digest}"))
        except urllib.error.HTTPError:
            list(call("POST", f"/api/blobs/{digest}", gguf.read_bytes()))
        body["files"] = {gguf.name: digest}
    for event in call(
        "POST", "/api/create", {**body, **({"parameters": settings} if settings else {})}
    ):
        print(event["status"])


def run(name: str, *prompt: str) -> None:
    questions = [" ".join(prompt)] if prompt else (line.strip() for line in sys.stdin)
    if name.startswith("hf.co/") and not any(
        m["name"] == name for m in next(call("GET", "/api/tags"))["models"]
    ):
        pull(name)
    for question in questions:
        body = {"model": name, "messages": [{"role": "user", "content": question}]}
        print("".join(event["message"]["content"] for event in call("POST", "/api/chat", body)))


def pull(name: str) -> None:
    sys.exit(f"Error: pull model manifest: {name}: this stand-in reaches no registry")


def listing() -> None:
    print(f"{'NAME':60}{'ID':16}SIZE")
    for model in next(call("GET", "/api/tags"))["models"]:
        print(f"{model['name']:60}{model['digest'][:12]:16}{model['size'] / 1e9:.1f} GB")


def show(name: str) -> None:
    print(next(call("POST", "/api/show", {"model": name}))["modelfile"])


def copy(source: str, destination: str) -> None:
    list(call("POST", "/api/copy", {"source": source, "destination": destination}))
    print(f"copied '{source}' to '{destination}'")


def remove(*names: str) -> None:
    for name in names:
        list(call("DELETE", "/api/delete", {"model": name}))
        print(f"deleted '{name}'")


def version() -> None:
    print(f"ollama version is {next(call('GET', '/api/version'))['version']}")


COMMANDS = {
    "create": create,
    "run": run,
    "pull": pull,
    "list": listing,
    "ls": listing,
    "show": show,
    "cp": copy,
    "rm": remove,
    "--version": version,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
