"""SIGKILL at any moment: the next run finishes, goes on where it was, and ends with the same bytes."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEED = int(os.environ.get("FORGE_KILL_SEED", "20"))
KILLS = 5  # in each stage
CHECKPOINT = "a sealed checkpoint"
STAGES = ["download", "dataset", "train", "merge", "quantize", "modelfile", "deploy"]
# Several checkpoints, and most of the time of a run in steps rather than in imports.
SETTINGS: dict[str, dict[str, Any]] = {
    "train": {"max_steps": 24, "save_steps": 3, "keep_checkpoints": 2, "dropout": 0.1},
    "merge": {"enabled": True},
}

pytestmark = pytest.mark.slow


class Run:
    """`forge run --to STAGE` as a process group of its own, watched through what it says on stderr."""

    def __init__(self, root: Path, stage: str) -> None:
        self.said: list[str] = []
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OLLAMA_HOST": "127.0.0.1:9",
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from phoenix_forge.cli.boundary import main; sys.exit(main())",
                "run",
                "--to",
                stage,
            ],
            cwd=root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_until(self, text: str) -> bool:
        """Reads on until a line holds `text`; False when the process ended without saying it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return True
        return False

    def wait_for_checkpoint(self, root: Path) -> bool:
        """Waits for a checkpoint after those `root` has; False when the process ended without one."""
        before = sealed_step(root)
        while self.process.poll() is None and sealed_step(root) == before:
            time.sleep(0.02)
        return sealed_step(root) > before

    def kill(self) -> None:
        """All of it, at once; whether it had ended by itself does not matter."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.finish()

    def finish(self) -> int:
        _, rest = self.process.communicate()
        self.said.append(rest)
        return self.process.returncode


def run_to(root: Path, stage: str) -> Run:
    run = Run(root, stage)
    assert run.finish() == 0, "".join(run.said)
    return run


def manifest(root: Path, stage: str) -> dict:
    return json.loads((root / f".forge/manifests/{stage}.json").read_text())


def sealed_step(root: Path) -> int:
    """The last step that training can go on from."""
    return max(
        (
            int(p.parent.name.rpartition("-")[2])
            for p in root.glob("outputs/checkpoints/small/checkpoint-*/complete.json")
        ),
        default=0,
    )


def logged_steps(root: Path) -> list[int]:
    lines = [json.loads(line) for line in (root / "logs/metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if "loss" in line]


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every result that must not depend on what happened on the way."""
    kept = [
        path
        for pattern in ("models/**/*", "dataset_package/*.jsonl", "Modelfile")
        for path in root.glob(pattern)
        if path.is_file() and path.name != "gguf_model_manifest.json"
    ]  # it tells versions and digests of the card
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kept)
    }


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path]
) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("calm") / "work", **SETTINGS)
    run_to(root, STAGES[-1])
    return root


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path]
) -> Path:
    return make_workspace(tmp_path_factory.mktemp("stormy") / "work", **SETTINGS)


def moments(root: Path, stage: str) -> list[tuple[str, float]]:
    """(what to wait for, seconds to wait then) of each kill, from what an undisturbed run at `root` took.

    What to wait for is a text on stderr, or CHECKPOINT: a time alone can fall before every checkpoint when the machine
    is slower than it was for the undisturbed run.
    """
    chance, done = random.Random(f"{SEED} {stage}"), manifest(root, stage)
    start = f"▶ {stage}: running"
    if stage != "train":
        return [(start, chance.uniform(0, 1) * done["seconds"]) for _ in range(KILLS)]
    # Most of a tiny training is imports: two kills there, three among the steps, of which two must be resumed.
    steps = done["metrics"]["train_seconds"]
    loading = done["seconds"] - steps
    return [
        *((start, chance.uniform(0, 1) * loading) for _ in range(2)),
        (" of 24 steps", chance.uniform(0, 0.3) * steps),
        *((CHECKPOINT, chance.uniform(0, 0.3) * steps) for _ in range(2)),
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_killed_five_times_in_each_stage(undisturbed, disturbed, stage):
    """The stages follow one another in one workspace, so each test starts from what the one before it left."""
    log, hits, chosen = [f"FORGE_KILL_SEED={SEED}"], 0, moments(undisturbed, stage)
    assert len(chosen) == KILLS
    for text, wait in chosen:
        before, run = sealed_step(disturbed), Run(disturbed, stage)
        running = run.wait_for_checkpoint(disturbed) if text == CHECKPOINT else run.read_until(text)
        time.sleep(wait)
        run.kill()
        hits += running and not (disturbed / f".forge/manifests/{stage}.json").exists()
        log += [
            f"--- {stage}: killed {wait:.3f} s after {text!r}; sealed step {before} → {sealed_step(disturbed)}",
            *run.said,
        ]
        assert sealed_step(disturbed) >= before, "\n".join(log)
        first = re.search(r"train: (\d+) of 24 steps", "".join(run.said))
        assert first is None or int(first[1]) == before + 1, (
            "it goes on from the checkpoint\n" + "\n".join(log)
        )
    before = sealed_step(disturbed)
    finished = run_to(disturbed, stage)
    story = "\n".join([*log, *finished.said])
    assert hits >= (3 if stage == "train" else 0), (
        f"too few kills hit the stage while it ran:\n{story}"
    )
    if stage == "train":
        assert before > 0, f"no kill came after a checkpoint: nothing was resumed\n{story}"
        assert logged_steps(disturbed) == list(range(1, 25)), story
    ours, theirs = digests(disturbed), digests(undisturbed)
    assert {name: theirs.get(name) for name in ours} == ours, story


def test_the_end_is_the_same_and_nothing_is_left_over(undisturbed, disturbed):
    assert digests(disturbed) == digests(undisturbed)
    assert any(name.endswith(".gguf") for name in digests(disturbed))
    assert [str(p) for p in disturbed.rglob("*.partial")] == []


def test_a_second_run_does_nothing(disturbed):
    run = run_to(disturbed, STAGES[-1])
    assert "running" not in "".join(run.said)
