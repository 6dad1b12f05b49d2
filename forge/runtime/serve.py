"""The built-in server: llama.cpp's own OpenAI-compatible API, in the foreground until it is told to stop."""

from __future__ import annotations

import ipaddress
import json
import signal
import socket
import threading
from pathlib import Path

from forge.core.report import Reporter
from forge.errors import EnvironmentProblem, UsageError
from forge.runtime import llama

# Goes in front of a chat template; a JSON string is a Jinja string.
WITH_SYSTEM = ("{{%- if messages[0].role != 'system' %}}"
               "{{%- set messages = [{{'role': 'system', 'content': {system}}}] + messages %}}{{%- endif %}}")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_port(host: str, port: int) -> None:
    """Refuses a port that is taken, or an address that is not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvironmentProblem(f"cannot listen on {host}:{port}: {error.strerror}",
                                     fix=f"choose another port with --port {port + 1}") from None


def serve(gguf: Path, *, report: Reporter, host: str = "127.0.0.1", port: int = 8080, num_ctx: int = 4096,
          parallel: int = 1, api_key: str | None = None, alias: str | None = None, system: str | None = None,
          chat_template: str | None = None, verbose: bool = False) -> None:
    """Serves until SIGINT or SIGTERM, then returns. Call it from the main thread: it installs signal handlers.

    `num_ctx` tokens for each of `parallel` simultaneous conversations; `alias` is the model's name in the API. Port 0
    takes any free one. `system` is put before conversations that bring no system message, as Ollama does with a model's
    own; it needs the model's `chat_template` (Jinja, the GGUF's tokenizer.chat_template). Raises UsageError for an
    address open to others without `api_key`.
    """
    if not is_loopback(host) and not api_key:
        raise UsageError(f"{host} lets other machines in, and no API key is set",
                         fix="--api-key KEY, or --host 127.0.0.1")
    _require_port(host, port)
    params = llama.parameters(gguf, num_ctx=num_ctx, parallel=parallel, verbose=verbose)
    params.hostnames, params.port = [host], port
    params.model_alias = {alias or gguf.stem}
    params.api_keys = [api_key] if api_key else []
    if system and chat_template:
        params.chat_template = WITH_SYSTEM.format(system=json.dumps(system, ensure_ascii=False)) + chat_template
    # Other web sites get no leave to call the model from a visitor's browser; the server's own page needs none.
    params.cors_origins, params.cors_origins_explicit = "null", True

    stop = threading.Event()
    handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server = llama.start(params)
        address = server.listening_address
        report.info(f"{alias or gguf.stem} answers at {address}/v1 (chat page: {address}); Ctrl-C stops it")
        stop.wait()
        del server
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    report.info("stopped")
