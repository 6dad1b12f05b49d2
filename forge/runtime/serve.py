"""The built-in server: llama.cpp's own OpenAI-compatible API, in the foreground until it is told to stop."""

from __future__ import annotations

import ipaddress
import json
import signal
import socket
import threading
from pathlib import Path

from forge.core.config import GenerationConfig
from forge.core.fsio import human
from forge.core.report import Reporter
from forge.errors import EnvironmentProblem, UsageError
from forge.runtime import llama, threads
from forge.runtime.answer import sampler

PROMPTS_MIB = 128  # of RAM for the computed beginnings of conversations that have lost their place to others
CONNECTIONS = 128  # at least, open at a time: each has a thread, and one more than there are waits, even for /health
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


def placed(cores: tuple[int, int], before: dict[str, int], after: dict[str, int]) -> str:
    """What computes: threads for answers and for prompts, and the GPU memory taken, from what was free before and is
    now. The library tells the number of layers only in its log."""
    answers, prompts = cores
    said = f"threads: {answers}" + (f" ({prompts} for prompts)" if prompts != answers else "")
    taken = [f"{human(max(0, free - after.get(name, free)))} of {human(free)} free on {name}"
             for name, free in before.items()]
    return ", ".join([said, *taken])


def serve(gguf: Path, *, report: Reporter, host: str = "127.0.0.1", port: int = 8080, num_ctx: int = 4096,
          parallel: int = 1, api_key: str | None = None, alias: str | None = None, system: str | None = None,
          chat_template: str | None = None, generation: GenerationConfig | None = None, cores: int | None = None,
          gpu_layers: int | None = None, verbose: bool = False) -> None:
    """Serves until SIGINT or SIGTERM, then returns. Call it from the main thread: it installs signal handlers.

    `num_ctx` tokens for each of `parallel` simultaneous conversations, further ones wait for their turn; `alias` is the
    model's name in the API. Port 0 takes any free one. `cores` is the number of threads (else measured), `gpu_layers`
    that of layers on the GPU (else as many as fit). `system` is put before conversations that bring no system message,
    as Ollama does with a model's own; it needs the model's `chat_template` (Jinja, the GGUF's tokenizer.chat_template).
    `generation` is how requests are sampled that do not say how. Raises UsageError for an address open to others and no
    `api_key`.
    """
    if not is_loopback(host) and not api_key:
        raise UsageError(f"{host} lets other machines in, and no API key is set",
                         fix="--api-key KEY, or --host 127.0.0.1")
    _require_port(host, port)
    chosen = (cores, cores) if cores else threads.measured(gguf)
    params = llama.parameters(gguf, num_ctx=num_ctx, parallel=parallel, verbose=verbose, cores=chosen,
                              gpu_layers=gpu_layers)
    params.cache_ram_mib, params.n_threads_http = PROMPTS_MIB, CONNECTIONS
    if generation:
        for name, value in sampler(generation.temperature, generation.top_p, generation.greedy, seed=None).items():
            setattr(params.sampling, "temp" if name == "temperature" else name, value)
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
        free = llama.gpu_memory()
        server = llama.start(params)
        address = server.listening_address
        report.info(f"{alias or gguf.stem} answers at {address}/v1 (chat page: {address}), "
                    f"{placed(chosen, free, llama.gpu_memory())}; Ctrl-C stops it")
        stop.wait()
        del server
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    report.info("stopped")
