"""The built-in server: an OpenAI-compatible API in the foreground until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.faults import unbound
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import EnvironmentProblem, UsageError
from phoenix_forge.runtime import llama
from phoenix_forge.runtime.server.documents import Service

if TYPE_CHECKING:
    from phoenix_forge.runtime.server.backend import Backend


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
            fix=unbound(error, port, "--port", "--host"),
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


@dataclass(frozen=True)
class Address:
    """Where a server listens and whom it lets in. Port 0 takes any free one. `allow_hosts` are further names that it
    goes by (NAME or NAME:PORT), `allow_origins` the web sites whose pages may ask it (https://NAME)."""

    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str | None = None
    allow_hosts: Sequence[str] = ()
    allow_origins: Sequence[str] = ()

    @property
    def key(self) -> str | None:
        """None for an empty one as well."""
        return (self.api_key or "").strip() or None

    def require_key(self) -> None:
        """Raises UsageError for an address open to others and no key."""
        if not is_loopback(self.host) and not self.key:
            raise UsageError(
                f"{self.host} lets other machines in, and no API key is set",
                fix="--api-key KEY, or --host 127.0.0.1",
            )


def serve(
    gguf: Path,
    service: Service,
    *,
    report: Reporter,
    at: Address = Address(),
    parallel: int = 1,
    system: str | None = None,
    generation: GenerationConfig | None = None,
    cores: int | None = None,
    gpu_layers: int | None = None,
    verbose: bool = False,
) -> None:
    """Serves a GGUF until SIGINT or SIGTERM, then returns. Call it from the main thread: it installs signal handlers.

    `service.num_ctx` tokens for each of `parallel` simultaneous conversations, further ones wait for their turn.
    `cores` is the number of threads (else measured), `gpu_layers` that of layers on the GPU (else as many as fit).
    `system` is put before conversations that bring no system message, as Ollama does with a model's own. `generation`
    is how requests are sampled that do not say how. Raises UsageError for an address open to others and no `api_key`,
    and for a chat template that cannot be used; StageFailed for a file that llama.cpp cannot load or ends at.
    """
    at.require_key()
    llama.check(gguf)
    settings = {
        "gguf": str(gguf.absolute()),
        "num_ctx": service.num_ctx,
        "parallel": parallel,
        "verbose": verbose,
        "cores": (cores, cores) if cores else None,
        "gpu_layers": gpu_layers,
        "generation": generation.model_dump() if generation else None,
    }

    def backend() -> Backend:
        from phoenix_forge.runtime.server.backend import BuiltIn

        return BuiltIn(settings, system, report)

    serve_backend(backend, service, report=report, at=at, verbose=verbose)


def serve_backend(
    backend: Callable[[], Backend],
    service: Service,
    *,
    report: Reporter,
    at: Address,
    verbose: bool = False,
) -> None:
    """The same with what `backend` makes, when the event loop runs, to write the answers."""
    at.require_key()
    origins = [_origin(origin) for origin in at.allow_origins]
    try:
        from phoenix_forge.runtime.server.front import Door
        from phoenix_forge.runtime.server.run import run
    except ImportError as error:
        raise EnvironmentProblem(
            f"the server is not usable: {error}", fix="pip install 'phoenix-forge[train]'"
        ) from None
    if not verbose:  # of clients that leave while they are written to
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with contextlib.closing(_bound(at.host, at.port)) as listening:
        names = [at.host, socket.gethostname(), *at.allow_hosts]
        door = Door(
            listening.getsockname()[1],
            key=at.key,
            any_address=not is_loopback(at.host),
            origins=origins,
            hosts=[name.lower() for name in names],
        )
        asyncio.run(run(backend, listening, door, service, report))
    report.info("stopped")
