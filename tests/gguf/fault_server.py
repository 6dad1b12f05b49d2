"""Runs `forge` commands as forks of one process that has everything imported: a fault costs no start.

Reads one JSON object a line: `arguments`, `cwd`, `limit` (bytes that a file may have, or null), `kill_after` (seconds,
or null). Answers each with the exit code (negative: the signal) and what went to stderr.
"""

import contextlib
import io
import json
import os
import resource
import select
import signal
import sys
import time

import gguf
import torch

import phoenix_forge.gguf.write
import phoenix_forge.stages.quantize
from phoenix_forge.cli.boundary import guarded, invoke

assert gguf
assert torch
assert phoenix_forge.gguf.write
assert phoenix_forge.stages.quantize


def child(request: dict, out: int) -> None:
    os.setsid()
    os.chdir(request["cwd"])
    if request["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], request["limit"]))
    with (
        contextlib.redirect_stdout(io.StringIO()),
        open(out, "w", encoding="utf-8") as said,
        contextlib.redirect_stderr(said),
    ):
        code = guarded(lambda: invoke(request["arguments"]))
        said.flush()
    os._exit(code)


def serve(request: dict) -> dict:
    reading, writing = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(request, writing)
    os.close(writing)
    said = b""
    wait = request["kill_after"]
    while True:
        left = None if wait is None else max(0.0, wait - (time.monotonic() - started))
        if select.select([reading], [], [], left)[0]:
            block = os.read(reading, 1 << 16)
            if not block:
                break
            said += block
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            wait = None
    _, status = os.waitpid(pid, 0)
    os.close(reading)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "stderr": said.decode(errors="replace"),
        "seconds": time.monotonic() - started,
    }


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for line in sys.stdin:
    sys.stdout.write(json.dumps(serve(json.loads(line))) + "\n")
    sys.stdout.flush()
