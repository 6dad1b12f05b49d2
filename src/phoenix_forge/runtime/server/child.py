"""The process that computes: llama.cpp's own server on a socket that only this user can open.

`python -m phoenix_forge.runtime.server.child SETTINGS` (JSON) says on stdout, as one JSON line, what it found or why it
cannot start. It ends when its stdin does, however the front ended.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from phoenix_forge.core.config import GenerationConfig
from phoenix_forge.core.fsio import human
from phoenix_forge.errors import ForgeError, StageFailed
from phoenix_forge.runtime import llama, threads
from phoenix_forge.runtime.answer import sampler

PROMPTS_MIB = (
    128  # of RAM for the computed beginnings of conversations that have lost their place to others
)
CONNECTIONS = 160  # each has a thread
SPARE = 2 << 30  # bytes that answering may take beyond what there is after the first token
# Tokens of a prompt that are computed at a time. After each batch the others' answers go on, and the front sees that
# something happens, so on a CPU it is no more than seconds' worth.
CPU_BATCH = 256


def parameters(given: dict[str, Any], cores: tuple[int, int]) -> Any:
    params = llama.parameters(
        Path(given["gguf"]),
        num_ctx=given["num_ctx"],
        parallel=given["parallel"],
        verbose=given["verbose"],
        cores=cores,
        gpu_layers=given["gpu_layers"],
    )
    params.cache_ram_mib, params.n_threads_http = PROMPTS_MIB, CONNECTIONS
    params.hostnames, params.endpoint_slots, params.ui = [given["socket"]], False, False
    if not llama.gpu_memory():
        params.n_batch = CPU_BATCH
    if given["generation"]:
        generation = GenerationConfig(**given["generation"])
        for name, value in sampler(
            generation.temperature, generation.top_p, generation.greedy, seed=None
        ).items():
            setattr(params.sampling, "temp" if name == "temperature" else name, value)
    return params


def limit_memory() -> None:
    """What asks for more from here on gets none. Without it one grammar was seen to take 23 GB."""
    status = Path("/proc/self/status")
    if status.exists():
        used = next(
            int(line.split()[1])
            for line in status.read_text().splitlines()
            if line.startswith("VmData:")
        )
        resource.setrlimit(resource.RLIMIT_DATA, (used * 1024 + SPARE, used * 1024 + SPARE))


def start(given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The running server, and what to say of it. Raises StageFailed where llama.cpp cannot load the file."""
    gguf = Path(given["gguf"])
    llama.check(gguf)
    llama.require_loadable(gguf)
    cores = tuple(given["cores"]) if given["cores"] else threads.measured(gguf)
    free = llama.gpu_memory()
    params = parameters(given, cores)
    try:
        server = llama.library().Server(params)
    except RuntimeError:
        raise StageFailed(
            f"llama.cpp cannot load {gguf} ({human(gguf.stat().st_size)}) with {params.n_ctx} tokens of "
            "context: too little memory",
            fix="--set deploy.num_ctx=2048, or a smaller --parallel",
        ) from None
    server.handle_completions(llama.FIRST_TOKEN)
    found = {"cores": cores, "before": free, "after": llama.gpu_memory(), "guided": guided()}
    return server, found


def guided() -> bool:
    """Whether the library was built with llguidance: without it, it ends its process over such a grammar."""
    return bool(llama.library().json_schema_to_grammar({}).startswith("%llguidance"))


def main() -> None:
    given = json.loads(sys.argv[1])
    try:
        server, found = start(given)
    except ForgeError as error:
        found = {"failed": type(error).__name__, "message": error.message, "fix": error.fix}
        server = None
    else:
        limit_memory()
    sys.stdout.write(f"{json.dumps(found)}\n")
    sys.stdout.flush()
    if server:
        sys.stdin.read()
        shutil.rmtree(
            Path(given["socket"]).parent, ignore_errors=True
        )  # a front that was killed cannot
    os._exit(0)  # the library's destructors wait for what is computed


if __name__ == "__main__":
    main()
