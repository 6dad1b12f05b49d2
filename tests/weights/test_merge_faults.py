"""Whatever goes wrong while merging: a clear refusal, the previous merged folder untouched, nothing left over.

The commands run as forks of one process, which tests/gguf/fault_server.py describes.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from phoenix_forge.core.fsio import replaced_path
from phoenix_forge.weights import safetensors
from phoenix_forge.weights.base import INDEX, open_base
from phoenix_forge.weights.safetensors import Tensor, write
from phoenix_forge.weights.writer import write_shards

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FORGE_KILL_SEED", "5"))
KILLS = 20
SERVER = Path(__file__).parents[1] / "gguf" / "fault_server.py"
QUERIES = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, SERVER],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    yield process
    process.communicate()  # its input ends, and so does it


class Space:
    """A workspace with a sharded base folder, an adapter, and `forge merge`."""

    def __init__(self, root: Path, process: subprocess.Popen[str]) -> None:
        self.root, self.process = root, process
        self.base, self.adapter = root / "base", root / "models/small-adapter"
        self.merged = root / "models/merged/small-merged"

    def write_adapter(
        self, seed: int = 0, columns: int | None = None, value: float | None = None
    ) -> None:
        """Of one layer's queries; `columns` and `value` make it a wrong one."""
        chance = np.random.default_rng(seed)
        rows, width = open_base(self.base).entries[f"{QUERIES}.weight"].shape
        halves = {
            "A": chance.standard_normal((4, columns or width), np.float32),
            "B": chance.standard_normal((rows, 4), np.float32),
        }
        halves["B"][0, 0] = halves["B"][0, 0] if value is None else value
        self.adapter.mkdir(parents=True, exist_ok=True)
        (self.adapter / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8})
        )
        write(
            self.adapter / "adapter_model.safetensors",
            [
                Tensor(
                    f"base_model.model.{QUERIES}.lora_{half}.weight",
                    "F32",
                    array.shape,
                    lambda array=array: array,
                )
                for half, array in halves.items()
            ],
        )

    def merge(
        self, *arguments: str, limit: int | None = None, kill_after: float | None = None
    ) -> dict:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(
            json.dumps(
                {
                    "arguments": ["merge", *arguments],
                    "cwd": str(self.root),
                    "limit": limit,
                    "kill_after": kill_after,
                }
            )
            + "\n"
        )
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def done(self, *arguments: str) -> dict[str, bytes]:
        ran = self.merge(*arguments)
        assert ran["code"] == 0, ran["stderr"]
        assert self.left_over() == []
        return self.result()

    def result(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.merged.glob("*")}

    def left_over(self) -> list[Path]:
        return [
            *self.root.rglob("*.partial"),
            *([aside] if (aside := replaced_path(self.merged)).exists() else []),
        ]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., Path]) -> Path:
    return make_tiny(tmp_path_factory.mktemp("small") / "base", max_shard_bytes=100_000)


@pytest.fixture
def space(
    tmp_path: Path, small: Path, make_workspace: Callable[..., Path], server: subprocess.Popen[str]
) -> Space:
    """Nothing merged yet."""
    made = Space(
        make_workspace(tmp_path / "work", model={"base": "./base", "name": "small"}), server
    )
    shutil.copytree(small, made.base)
    made.write_adapter()
    return made


def shard(space: Space) -> Path:
    return sorted(space.base.glob("*.safetensors"))[0]


def flip(at: int) -> Callable[[Space], None]:
    def change(space: Space) -> None:
        data = bytearray(shard(space).read_bytes())
        data[at] ^= 0x40
        shard(space).write_bytes(data)

    return change


def in_header(change: Callable[[dict], None]) -> Callable[[Space], None]:
    def rewrite(space: Space) -> None:
        raw = shard(space).read_bytes()
        length = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        shard(space).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])

    return rewrite


def overlap(header: dict) -> None:
    names = [name for name in header if name != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]


def outside(space: Space) -> None:
    index = json.loads((space.base / INDEX).read_text())
    index["weight_map"][f"{QUERIES}.weight"] = "../outside.safetensors"
    (space.base / INDEX).write_text(json.dumps(index))


FAULTS: dict[str, tuple[Callable[[Space], None], str]] = {
    "shard truncated": (
        lambda s: os.truncate(shard(s), shard(s).stat().st_size - 1),
        "not a sound safetensors file",
    ),
    "header's length flipped": (flip(5), "its header is said to have"),
    "header's first bit flipped": (flip(8), "its header is not JSON"),
    "offsets lie": (in_header(overlap), "not a sound safetensors file"),
    "index names a file outside": (outside, "not inside its folder"),
    "adapter of another width": (lambda s: s.write_adapter(columns=63), "another base"),
    "adapter is NaN": (lambda s: s.write_adapter(value=float("nan")), "1 NaN or infinite"),
    "adapter truncated": (
        lambda s: os.truncate(s.adapter / "adapter_model.safetensors", 700),
        "not a sound safetensors file",
    ),
}


def test_damaged_inputs_are_refused_and_nothing_is_touched(space: Space, tmp_path: Path) -> None:
    before = space.done()
    good = shutil.copytree(space.root, tmp_path / "good")
    for fault, (damage, words) in FAULTS.items():
        damage(space)
        ran = space.merge()
        assert ran["code"] in (2, 3, 4), f"{fault}: {ran}"
        assert words in ran["stderr"], f"{fault}: {ran}"
        assert "fix: " in ran["stderr"], f"{fault}: {ran}"
        assert space.result() == before, fault
        assert space.left_over() == [], fault
        for part in ("base", "models/small-adapter"):
            shutil.rmtree(space.root / part)
            shutil.copytree(good / part, space.root / part)
    assert space.done() == before


def test_a_file_that_may_not_grow_ends_the_stage_at_any_byte(space: Space) -> None:
    """RLIMIT_FSIZE stops a write as a full disk does, at an exact byte: in the copied files, the header, between and
    inside tensors."""
    before = space.done()
    size = len(before["model.safetensors"])
    chance = random.Random(SEED)
    space.write_adapter(seed=1)
    for limit in sorted({0, 1, 100, size - 1, *(chance.randrange(size) for _ in range(12))}):
        ran = space.merge(limit=limit)
        assert ran["code"] == 3, f"limit {limit}: {ran}"
        assert "error: " in ran["stderr"]
        assert "fix: " in ran["stderr"]
        assert space.result() == before, f"limit {limit}"
    after = space.done()
    assert after.keys() == before.keys()
    assert after["model.safetensors"] != before["model.safetensors"]


class _Full:
    """A file on a disk with room for so many bytes more."""

    def __init__(self, inner: object, room: list[int]) -> None:
        self.inner, self.room = inner, room

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self.inner.close()

    def write(self, data: bytes) -> int:
        self.room[0] -= len(data)
        if self.room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.inner.write(data)


@pytest.mark.parametrize("room", [0, 1, 5_000, 150_000, 250_000])
def test_a_disk_that_is_full_after_some_shards_says_so(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Bytes count over all shards, as a disk counts them, and the index, which comes last, is never written."""
    left = [room]

    def limited(path: Path, mode: str) -> object:
        handle = open(path, mode)  # noqa: SIM115 - whoever asked for it closes it
        return _Full(handle, left) if mode == "wb" else handle

    monkeypatch.setattr(safetensors, "open", limited, raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        write_shards(tmp_path, open_base(small).tensors(), max_shard_bytes=100_000)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / INDEX).exists()


def test_killed_at_twenty_moments(space: Space) -> None:
    """A folder cannot be replaced in one step: there is the old one, the new one, or none, and never a mixture."""
    results = [space.done()]
    space.write_adapter(seed=1)
    second = space.merge()
    assert second["code"] == 0, second["stderr"]
    results.append(space.result())
    assert results[0] != results[1]
    chance, span, killed, turn = random.Random(SEED), second["seconds"], 0, 0
    while killed < KILLS:
        turn += 1
        assert turn <= 4 * KILLS, f"only {killed} of {turn} runs were killed before they ended"
        space.write_adapter(seed=turn % 2)
        ran = space.merge("--force", kill_after=chance.uniform(0, 1) * span)
        if ran["code"] == -signal.SIGKILL:
            killed += 1
        else:
            assert ran["code"] == 0, ran["stderr"]
            span = min(span, ran["seconds"])
        assert space.result() in (*results, {}), (
            f"FORGE_KILL_SEED={SEED}, turn {turn}: a mixture\n{ran}"
        )
    assert space.done() == results[turn % 2]
