"""The built-in server: an OpenAI-compatible API in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.runtime import llama


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has its address; EnvironmentProblem for a port that is taken, or an address of another machine."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise EnvironmentProblem(
            f"cannot listen on {host}:{port}: {error.strerror}",
            fix=f"choose another port with --port {port + 1}",
        ) from None
    return made


def _origin(text: str) -> str:
    """As browsers send it. Raises UsageError for what is none."""
    found = urlsplit(text.strip().lower())
    if (
        found.scheme not in ("http", "https")
        or not found.hostname
        or found.path.strip("/")
        or "*" in text
    ):
        raise UsageError(
            f"--allow-origin {text!r:.100} is no web site's origin",
            fix="--allow-origin https://NAME, or http://NAME:PORT",
        )
    return f"{found.scheme}://{found.netloc}"


def serve(
    gguf: Path,
    *,
    report: Reporter,
    host: str = "127.0.0.1",
    port: int = 8080,
    num_ctx: int = 4096,
    parallel: int = 1,
    api_key: str | None = None,
    alias: str | None = None,
    system: str | None = None,
    generation: GenerationConfig | None = None,
    cores: int | None = None,
    gpu_layers: int | None = None,
    verbose: bool = False,
    allow_hosts: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
) -> None:
    """Serves until SIGINT or SIGTERM, then returns. Call it from the main thread: it installs signal handlers.

    `num_ctx` tokens for each of `parallel` simultaneous conversations, further ones wait for their turn; `alias` is the
    model's name in the API. Port 0 takes any free one. `cores` is the number of threads (else measured), `gpu_layers`
    that of layers on the GPU (else as many as fit). `system` is put before conversations that bring no system message,
    as Ollama does with a model's own. `generation` is how requests are sampled that do not say how. `allow_hosts` are
    further names that the server goes by (NAME or NAME:PORT), `allow_origins` the web sites whose pages may ask it
    (https://NAME). Raises UsageError for an address open to others and no `api_key`, and for a chat template that
    cannot be used; StageFailed for a file that llama.cpp cannot load or ends at.
    """
    key = (api_key or "").strip() or None
    if not is_loopback(host) and not key:
        raise UsageError(
            f"{host} lets other machines in, and no API key is set",
            fix="--api-key KEY, or --host 127.0.0.1",
        )
    origins = [_origin(origin) for origin in allow_origins]
    llama.check(gguf)
    try:
        from phoenix_forge.runtime.server.front import Door
        from phoenix_forge.runtime.server.run import run
    except ImportError as error:
        raise EnvironmentProblem(
            f"the server is not usable: {error}", fix="pip install 'phoenix-forge[train]'"
        ) from None
    with contextlib.closing(_bound(host, port)) as listening:
        settings = {
            "gguf": str(gguf.absolute()),
            "num_ctx": num_ctx,
            "parallel": parallel,
            "verbose": verbose,
            "cores": (cores, cores) if cores else None,
            "gpu_layers": gpu_layers,
            "generation": generation.model_dump() if generation else None,
        }
        door = Door(
            listening.getsockname()[1],
            key=key,
            any_address=not is_loopback(host),
            origins=origins,
            hosts=[host.lower(), socket.gethostname().lower(), *map(str.lower, allow_hosts)],
        )
        asyncio.run(run(settings, listening, door, report, alias=alias or gguf.stem, system=system))
    report.info("stopped")
