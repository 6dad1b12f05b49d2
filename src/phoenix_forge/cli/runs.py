"""`forge run` in a process of its own: started, followed and stopped by its id, from any later process as well.

It outlives whoever started it: hours of training do not end with an editor. `.forge/runs` keeps what is known of it:
ID.json (process and arguments), ID.exit (its exit code, written last) and ID.stop (somebody asked it to stop);
`logs/runs/ID.log` keeps what it says.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psutil

from phoenix_forge import pipeline
from phoenix_forge.cli.setup import Setup
from phoenix_forge.core.fsio import write_json, write_text
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError

ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
STAGE = re.compile(
    r"^\S (\w+): (running|done|skipped|failed|stopped)\b"
)  # as the plain console says it
INTERRUPTED = 130
SAME_PROCESS = 2.0  # seconds: start times move that little when the clock is set
LINES, CHARACTERS = 200, 2000  # most lines of a log in one answer, and most characters of a line
POLL = 0.1  # seconds between looks at a log that is waited for
KILLED = "it ended without an exit code: killed, perhaps for want of memory; the next run goes on where it stopped"


def _at(space: Workspace, run_id: str, suffix: str) -> Path:
    return space.state / "runs" / f"{run_id}.{suffix}"


def log(space: Workspace, run_id: str) -> Path:
    return space.logs / "runs" / f"{run_id}.log"


def ids(space: Workspace) -> list[str]:
    """Every run that is remembered, the latest last."""
    return sorted(
        path.stem
        for path in _at(space, "", "json").parent.glob("*.json")
        if ID.fullmatch(path.stem)
    )


def start(
    setup: Setup, first: str | None = None, last: str | None = None, force: bool = False
) -> str:
    """Starts `forge run` with the flags of `setup`; returns the run's id.

    Raises UsageError for stages that do not exist, and where Forge is at work in the workspace already.
    """
    ctx = setup.context()
    space = ctx.workspace
    pipeline.selected(ctx, first, last)
    for run_id in ids(space):
        if _process(space, run_id):
            raise UsageError(
                f"run {run_id} is under way", fix=f"follow_run {run_id}, or stop_run {run_id}"
            )
    with pipeline.lock(ctx):
        pass  # the run takes it for itself; somebody else's is better told now than in a log
    run_id = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    flags = [
        ("--workspace", str(space.root)),
        ("--config", setup.config and str(setup.config.resolve())),
        ("--from", first),
        ("--to", last),
        *(("--set", pair) for pair in setup.set),
    ]
    arguments = [
        *(part for flag, value in flags if value for part in (flag, value)),
        *(["--force"] if force else []),
    ]
    for folder in (_at(space, run_id, "json").parent, log(space, run_id).parent):
        folder.mkdir(parents=True, exist_ok=True)
    with open(log(space, run_id), "xb") as out:
        # -P: a workspace may have a folder forge/ of its own. UTF-8: the console's marks, whatever the locale.
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "phoenix_forge.cli.background",
                str(_at(space, run_id, "exit")),
                *arguments,
            ],
            cwd=space.root,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )
    write_json(
        _at(space, run_id, "json"),
        {
            "pid": process.pid,
            "created": psutil.Process(process.pid).create_time(),
            "arguments": arguments,
        },
    )
    return run_id


def _process(space: Workspace, run_id: str) -> psutil.Process | None:
    """The run's process while it lives; another that got its number is not taken for it."""
    record = orjson.loads(_at(space, run_id, "json").read_bytes())
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["created"]) < SAME_PROCESS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _require(space: Workspace, run_id: str) -> None:
    if not ID.fullmatch(run_id) or not _at(space, run_id, "json").exists():
        raise UsageError(
            f"there is no run {run_id!r}; runs: {', '.join(ids(space)[-5:]) or 'none'}",
            fix="start_run",
        )


def follow(
    space: Workspace,
    run_id: str,
    since_line: int = 0,
    wait: float = 0.0,
    each: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """State (running, done, stopped or failed), stages with their states, and the log from line `since_line` on.

    Waits up to `wait` seconds for a new line or the end, and calls `each` meanwhile. Raises UsageError for a run that
    does not exist.
    """
    _require(space, run_id)
    deadline = time.monotonic() + wait
    while True:
        running = (
            _process(space, run_id) is not None
        )  # before the log is read: what ended has said everything
        lines = log(space, run_id).read_text(encoding="utf-8", errors="replace").split("\n")
        if running:
            lines.pop()  # is still being written
        elif not lines[-1]:
            lines.pop()
        if not running or len(lines) > since_line or time.monotonic() >= deadline:
            return _told(space, run_id, running, lines, since_line)
        each()
        time.sleep(POLL)


def _told(
    space: Workspace, run_id: str, running: bool, lines: list[str], since_line: int
) -> dict[str, Any]:
    stages = {found[1]: found[2] for line in lines if (found := STAGE.match(line))}
    ended = _at(space, run_id, "exit")
    code = int(ended.read_text()) if not running and ended.exists() else None
    asked = _at(space, run_id, "stop").exists()
    stopped = (
        code == INTERRUPTED
        or (code == 0 and "stopped" in stages.values())
        or (code is None and asked)
    )
    state = "running" if running else "stopped" if stopped else "done" if code == 0 else "failed"
    new = lines[since_line : since_line + LINES]
    error = None
    if state == "failed":
        said = max((i for i, line in enumerate(lines) if line.startswith("error: ")), default=None)
        error = KILLED if code is None or said is None else "\n".join(lines[said:])[:CHARACTERS]
    return {
        "run_id": run_id,
        "state": state,
        "exit_code": code,
        "error": error,
        "stages": stages,
        "lines": [line[:CHARACTERS] for line in new],
        "next_line": min(since_line, len(lines)) + len(new),
        "progress": lines[-1][:CHARACTERS].strip() if lines else "",
    }


def stop(space: Workspace, run_id: str) -> None:
    """Asks a run to stop: training saves a checkpoint first, other stages leave nothing behind."""
    _require(space, run_id)
    process = _process(space, run_id)
    if process is None:
        raise UsageError(f"run {run_id} has ended", fix=f"follow_run {run_id} says how")
    write_text(_at(space, run_id, "stop"), "")
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
