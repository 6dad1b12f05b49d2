"""How many CPU threads serve a GGUF: measured once for a machine, a version of the library and a size of file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from phoenix_forge.core.fsio import sha256_json, write_json
from phoenix_forge.hub.download import cache_folder
from phoenix_forge.runtime import llama

SECONDS = 8.0  # for all of a measurement; what is measured by then counts
BUSY = 30.0  # % of the processor that others may use while it is measured
WORTH = 1.05  # times as fast as the usual number of threads is worth another one
# A loading for each number of threads, since the library fixes it there. Short runs are repeated and the fastest
# counts: whatever else the machine does only ever slows one down.
MEASURE = """
import json, os, sys, time, xllamacpp
ask = {"prompt": "The keeper writes the weather down. " * 5, "max_tokens": 8, "temperature": 0, "ignore_eos": True,
       "cache_prompt": False}
for number in map(int, sys.argv[2:]):
    params = xllamacpp.CommonParams()
    params.model.path, params.verbosity, params.n_ctx, params.warmup = sys.argv[1], -1, 256, False
    params.chat_template = "chatml"
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = number
    server = xllamacpp.Server(params)
    server.handle_completions({"prompt": "x", "max_tokens": 1})
    until, best = time.monotonic() + 0.7, (0.0, 0.0)
    while not best[0] or time.monotonic() < until:
        timings = server.handle_completions(ask)["timings"]
        best = (max(best[0], timings["prompt_per_second"]), max(best[1], timings["predicted_per_second"]))
    os.write(1, json.dumps([number, *best]).encode() + b"\\n")
os._exit(0)
"""


class Speed(NamedTuple):
    """Tokens a second with so many threads, of a prompt and of an answer."""

    threads: int
    prompt: float
    answer: float


def fastest(speeds: Sequence[Speed], usual: int) -> tuple[int, int]:
    """Threads for answers and for prompts: the fastest, or the usual number where that is as good or unmeasured."""
    known = next((speed for speed in speeds if speed.threads == usual), None)
    if known is None:
        return usual, usual
    answer, prompt = (max(speeds, key=lambda s: s.answer), max(speeds, key=lambda s: s.prompt))
    return (
        answer.threads if answer.answer > known.answer * WORTH else usual,
        prompt.threads if prompt.prompt > known.prompt * WORTH else usual,
    )


def measured(gguf: Path) -> tuple[int, int]:
    """Threads for answers and for prompts. The first time it takes some seconds; the cache folder remembers it for this
    machine, library version and power of two of the file's size.

    The usual number on a machine with one core or one that is busy, where a measurement would tell of something else.
    Raises what llama.start() raises for a file that cannot be loaded.
    """
    usual, usable = llama.threads(), llama.usable_cores()
    candidates = list(dict.fromkeys([usual, usable, max(1, usual // 2)]))
    llama.check(gguf)
    llama.require_loadable(gguf)
    library = llama.library()
    machine = [[device["description"] for device in library.get_device_info()], candidates]
    key = sha256_json([machine, library.__version__, MEASURE, gguf.stat().st_size.bit_length()])[
        :32
    ]
    remembered = cache_folder() / "threads" / f"{key}.json"
    speeds = _read(remembered)
    if speeds is None:
        if len(candidates) == 1 or psutil.cpu_percent(0.3) > BUSY:
            return usual, usual
        speeds = measure(gguf, candidates)
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_json(remembered, speeds)
    return fastest(speeds, usual)


def measure(gguf: Path, candidates: Sequence[int]) -> list[Speed]:
    """What could be measured in SECONDS, in a process of its own, in the order of the candidates."""
    command = [sys.executable, "-P", "-c", MEASURE, str(gguf), *map(str, candidates)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as child:
        try:
            said, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            said, _ = child.communicate()
    return [Speed(*json.loads(line)) for line in said.splitlines() if line.endswith("]")]


def _read(path: Path) -> list[Speed] | None:
    try:
        return [Speed(*row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
