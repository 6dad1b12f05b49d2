"""`forge serve` under load, and beside llama.cpp's own llama-server, with the real 0.5B on this machine's CPU.

Load: 32 clients stream without a pause for five minutes. Each holds conversations of up to three turns about texts of
different lengths; one answer of ten is left after its first token. Counted are errors, and answers that end too early;
sampled are the server's memory and how soon /health answers.
Comparison: Forge, the same library with llama.cpp's own defaults, and a llama-server, one at a time, in turn, with the
same context, places and threads: one stream, one for each place, then 32. Either part alone keeps the other's earlier
figures: --minutes 0, or no --peer. With --workspace the load is on `forge serve` there, with its model and documents:
each question brings its passages, and each later one is written as a search by the model first.
Usage: python bench/serve.py [--peer LLAMA_SERVER] [--minutes 5] [--model FILE.gguf] [--workspace FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil

HERE = Path(__file__).resolve().parent
MODEL = Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
PARALLEL, NUM_CTX, STREAMS, THREADS = 4, 2048, 32, psutil.cpu_count(logical=False) or 1
FORGE = """
import sys
from pathlib import Path
from phoenix_forge.core.report import Silent
from phoenix_forge.runtime.serve import Address, serve
from phoenix_forge.runtime.server.documents import Service
port, num_ctx, parallel, cores = map(int, sys.argv[2:6])
serve(Path(sys.argv[1]), Service("forge", num_ctx), report=Silent(), at=Address(port=port), parallel=parallel, cores=cores)
"""
PLAIN = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.verbosity = sys.argv[1], int(sys.argv[2]), -1
params.n_ctx, params.n_parallel = int(sys.argv[3]) * int(sys.argv[4]), int(sys.argv[4])
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[5])
server = xllamacpp.Server(params)
time.sleep(3600)
"""
OWN = {"forge": FORGE, "xllamacpp": PLAIN}
WORDS = [
    "lamp",
    "harbour",
    "keeper",
    "oil",
    "fog",
    "bell",
    "tide",
    "ferry",
    "crown",
    "rope",
    "signal",
    "storm",
    "log",
    "watch",
    "gull",
    "pier",
    "beacon",
    "night",
    "shift",
    "lens",
    "north",
    "wind",
    "salt",
    "boat",
    "supply",
]


def command(server: str, model: Path, port: int) -> list[str]:
    numbers = [str(NUM_CTX), str(PARALLEL), str(THREADS)]
    if server == "documents":  # the model is a workspace
        flags = ["--parallel", numbers[1], "--threads", numbers[2], "--quiet"]
        place = ["--workspace", str(model), "--set", f"deploy.num_ctx={NUM_CTX}"]
        return [sys.executable, "-m", "phoenix_forge", "serve", "--port", str(port), *flags, *place]
    if server in OWN:
        return [sys.executable, "-c", OWN[server], str(model), str(port), *numbers]
    return [
        server,
        "-m",
        str(model),
        "--port",
        str(port),
        "-c",
        str(NUM_CTX * PARALLEL),
        "-np",
        str(PARALLEL),
        "-t",
        str(THREADS),
        "--device",
        "none",
        "--no-kv-unified",
    ]


@contextmanager
def running(server: str, model: Path) -> Iterator[tuple[str, int]]:
    """Address and process id of a server that answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command(server, model, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        await_health(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(30)


def await_health(address: str, process: subprocess.Popen[Any]) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{address}/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            sys.exit(f"the server ended with {process.returncode}")
        time.sleep(0.2)


@dataclass
class Seen:
    """What the clients saw. Times in seconds since the start of the run."""

    firsts: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)  # when each came
    answers: int = 0
    left: int = 0
    reconnected: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    health: list[float] = field(default_factory=list)


def question(chance: random.Random, turn: int) -> str:
    text = " ".join(chance.choices(WORDS, k=chance.choice((8, 40, 150))))
    return (
        f"Notes: {text}\nSay in a few sentences what they are about."
        if turn == 0
        else f"And what of {text[:30]}?"
    )


async def client(
    web: httpx.AsyncClient, number: int, started: float, seen: Seen, leaves: float
) -> None:
    """Conversations one after the other until it is cancelled."""
    chance = random.Random(number)
    messages: list[dict[str, str]] = []
    while True:
        if len(messages) >= 6:
            messages = []
        messages.append({"role": "user", "content": question(chance, len(messages))})
        asked, pieces, finish = time.monotonic(), [], None
        leaving = chance.random() < leaves
        limit = chance.choice((16, 48, 96))
        try:
            async with web.stream(
                "POST",
                "/v1/chat/completions",
                json={"messages": messages, "max_tokens": limit, "stream": True},
            ) as response:
                if response.status_code != httpx.codes.OK:
                    seen.errors.append(
                        f"{response.status_code}: {(await response.aread())[:200]!r}"
                    )
                    continue
                async for line in response.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    chunk = json.loads(line[6:])
                    if "error" in chunk:
                        seen.errors.append(str(chunk["error"]))
                        break
                    for choice in chunk["choices"]:
                        finish = choice["finish_reason"] or finish
                        if piece := choice["delta"].get("content"):
                            now = time.monotonic()
                            if not pieces:
                                seen.firsts.append(now - asked)
                            pieces.append(piece)
                            seen.tokens.append(now - started)
                    if leaving and pieces:
                        break
        except httpx.HTTPError as error:
            # llama.cpp closes a connection right after a stream and announces to keep it: now and then a request
            # meets the closing one. OpenAI's client asks again, and so does this one, but counts it.
            if isinstance(error, httpx.RemoteProtocolError) and not pieces:
                seen.reconnected += 1
                messages.pop()
            else:
                seen.errors.append(repr(error))
            continue
        if leaving and pieces:
            seen.left += 1
            messages = []
            continue
        if finish is None:
            seen.errors.append("an answer ended without a reason")
        seen.answers += 1
        messages.append({"role": "assistant", "content": "".join(pieces)})


async def watch(
    web: httpx.AsyncClient, process: psutil.Process, started: float, seen: Seen
) -> None:
    while True:
        asked = time.monotonic()
        seen.memory.append(
            (asked - started, sum(p.memory_info().rss for p in [process, *process.children()]))
        )
        try:
            answer = await web.get("/health")
        finally:
            seen.health.append(time.monotonic() - asked)
        if answer.status_code != httpx.codes.OK:
            seen.errors.append(f"health: {answer.status_code}")
        await asyncio.sleep(1)


async def load(
    address: str, pid: int, streams: int, seconds: float, leaves: float
) -> dict[str, Any]:
    seen, started = Seen(), time.monotonic()
    busy = time.process_time()
    # Idle connections are dropped here before the servers do it, after 5 s: no request meets a closing one.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2)
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as web:
        tasks = [
            asyncio.create_task(client(web, number, started, seen, leaves))
            for number in range(streams)
        ]
        tasks.append(asyncio.create_task(watch(web, psutil.Process(pid), started, seen)))
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise RuntimeError("a client ended before the time was over") from ended

    def minute(first: float) -> int:
        return round(statistics.median(rss for at, rss in seen.memory if first <= at < first + 60))

    firsts = sorted(seen.firsts)
    return {
        "streams": streams,
        "seconds": seconds,
        "answers": seen.answers,
        "left": seen.left,
        "reconnected": seen.reconnected,
        "errors": len(seen.errors),
        "first_errors": seen.errors[:5],
        "tokens_per_second": round(len(seen.tokens) / seconds, 1),
        "first_token_seconds": {
            "median": round(statistics.median(firsts), 3),
            "p95": round(firsts[int(len(firsts) * 0.95)], 3),
            "max": round(firsts[-1], 3),
        },
        "rss_bytes": {
            "minutes": [minute(first) for first in range(0, max(1, round(seconds)), 60)],
            "peak": max(rss for _, rss in seen.memory),
        },
        "health_seconds_max": round(max(seen.health), 3),
        "client_cpu_share": round((time.process_time() - busy) / seconds, 2),
    }


def compared(peer: str, model: Path, rounds: int, seconds: float) -> list[dict[str, Any]]:
    rows = []
    for number in range(rounds):
        for server in (*OWN, peer):
            with running(server, model) as (address, pid):
                for streams, share in ((1, 0.5), (PARALLEL, 0.5), (STREAMS, 1.0)):
                    rows.append(
                        {
                            "server": server if server in OWN else "llama-server",
                            "round": number,
                            **asyncio.run(load(address, pid, streams, seconds * share, leaves=0.0)),
                        }
                    )
                    show(rows[-1])
    return rows


def show(row: dict[str, Any]) -> None:
    first = row["first_token_seconds"]
    memory = " → ".join(f"{median / 1e6:.0f}" for median in row["rss_bytes"]["minutes"])
    print(
        f"{row['server']:13} {row['streams']:3} streams {row['seconds']:5.0f} s  {row['answers']:5} answers "
        f"{row['left']:4} left {row['errors']:3} errors  {row['tokens_per_second']:6.1f} tokens/s  first token "
        f"{first['median']:.2f} s (p95 {first['p95']:.2f})  RSS {memory} MB  health ≤ "
        f"{row['health_seconds_max']:.2f} s  client {row['client_cpu_share']:.0%} of a core",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", type=Path, default=Path(os.environ.get("FORGE_TEST_MODEL", MODEL))
    )
    parser.add_argument("--peer", help="llama.cpp's llama-server; without it nothing is compared")
    parser.add_argument("--workspace", type=Path, help="whose model and documents are asked")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--seconds", type=float, default=30, help="of the longest row of the comparison"
    )
    parser.add_argument("--to", type=Path, default=HERE / "results/serve.json")
    given = parser.parse_args()
    before = json.loads(given.to.read_text(encoding="utf-8")) if given.to.exists() else {}
    result: dict[str, Any] = before | {
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "model": given.model.name,
        "parallel": PARALLEL,
        "num_ctx": NUM_CTX,
        "threads": THREADS,
        "xllamacpp": version("xllamacpp"),
    }
    if given.peer:
        result["llama-server"] = told(given.peer)
        result["compared"] = compared(given.peer, given.model, given.rounds, given.seconds)
    if given.minutes:
        server = "documents" if given.workspace else "forge"
        with running(server, given.workspace or given.model) as (address, pid):
            result["load"] = {
                "server": server,
                **asyncio.run(load(address, pid, STREAMS, given.minutes * 60, 0.1)),
            }
        show(result["load"])
    given.to.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if result.get("load", {}).get("errors"):
        sys.exit(f"errors: {result['load']['first_errors']}")


def cpu() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


def told(peer: str) -> str:
    done = subprocess.run([peer, "--version"], capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


if __name__ == "__main__":
    main()
