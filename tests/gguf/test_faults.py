"""Whatever goes wrong while quantising: a clear refusal, the previous GGUF untouched, nothing left over."""

from __future__ import annotations

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
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_forge import pipeline
from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.manifest import Manifest
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import ForgeError, StageFailed, UsageError
from phoenix_forge.gguf.write import expected_bytes
from phoenix_forge.stages import Context
from phoenix_forge.weights.base import INDEX, open_base
from phoenix_forge.weights.safetensors import Tensor, read_header, write

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FORGE_KILL_SEED", "20"))
KILLS = 20
TYPES = ["Q8_0", "Q4_0"]
WITHOUT_GATE = {"quantize": {"types": TYPES, "gate": "none"}}


def write_adapter(
    folder: Path,
    base: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    columns: int | None = None,
    value: float | None = None,
) -> None:
    """A LoRA adapter of one layer's queries; `columns` and `value` make it a wrong one."""
    chance = np.random.default_rng(seed)
    rows, width = open_base(base).entries["model.layers.0.self_attn.q_proj.weight"].shape
    halves = {
        "A": chance.standard_normal((rank, columns or width), np.float32),
        "B": chance.standard_normal((rows, rank), np.float32),
    }
    if value is not None:
        halves["B"][0, 0] = value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank})
    )
    write(
        folder / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight",
                "F32",
                array.shape,
                lambda array=array: array,
            )
            for half, array in halves.items()
        ],
    )


class Space:
    """A workspace with a sharded base folder, an adapter, and commands that run in this process or in a fork."""

    def __init__(self, root: Path) -> None:
        self.root, self.base, self.adapter = root, root / "base", root / "models/small-adapter"

    def context(self, **options: Any) -> Context:
        config = assemble([("forge.yaml", dotted(read_yaml(self.root / "forge.yaml")))], []).config
        return Context(config, Workspace(self.root, config), Silent(), options=options)

    def quantize(self) -> list[pipeline.Done]:
        return pipeline.run(self.context(), ["quantize"])

    def results(self) -> dict[str, bytes]:
        """Everything published and its record."""
        paths = [
            *self.root.glob("models/gguf/*.gguf"),
            *self.root.glob(".forge/manifests/quantize.json"),
        ]
        return {path.name: path.read_bytes() for path in paths}

    def ggufs(self) -> dict[str, bytes]:
        return {name: data for name, data in self.results().items() if name.endswith(".gguf")}

    def partials(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.partial"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., Path]) -> Path:
    return make_tiny(
        tmp_path_factory.mktemp("small") / "base", hidden=64, ffn=128, max_shard_bytes=100_000
    )


@pytest.fixture
def space(tmp_path: Path, small: Path, make_workspace: Callable[..., Path]) -> Space:
    """Nothing quantised yet."""
    made = Space(make_workspace(tmp_path / "work", model={"base": "./base"}, **WITHOUT_GATE))
    shutil.copytree(small, made.base)
    write_adapter(made.adapter, made.base)
    return made


def patch_header(path: Path, change: Callable[[dict], None]) -> None:
    """Rewrites a safetensors header, data unchanged."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def first_shard(space: Space) -> Path:
    return sorted(space.base.glob("*.safetensors"))[0]


def truncate(space: Space) -> None:
    path = first_shard(space)
    path.write_bytes(path.read_bytes()[:-100])


def lie_about_offsets(space: Space) -> None:
    def shift(header: dict) -> None:
        row = next(row for name, row in header.items() if name != "__metadata__")
        row["data_offsets"] = [offset + 2 for offset in row["data_offsets"]]

    patch_header(first_shard(space), shift)


def reach_beyond_the_end(space: Space) -> None:
    def stretch(header: dict) -> None:
        row = max(
            (row for name, row in header.items() if name != "__metadata__"),
            key=lambda r: r["data_offsets"],
        )
        row["shape"][0] += 1_000_000
        row["data_offsets"][1] = row["data_offsets"][0] + 2 * int(np.prod(row["shape"]))

    patch_header(first_shard(space), stretch)


def name_in_index(name: str) -> Callable[[Space], None]:
    def change(space: Space) -> None:
        index = json.loads((space.base / INDEX).read_text())
        index["weight_map"][next(iter(index["weight_map"]))] = name
        (space.base / INDEX).write_text(json.dumps(index))

    return change


def poison(value: float) -> Callable[[Space], None]:
    """One bf16 weight of a shard becomes this value."""

    def change(space: Space) -> None:
        entry = open_base(space.base).entries["model.layers.1.mlp.up_proj.weight"]
        with open(entry.path, "r+b") as handle:
            handle.seek(entry.start + 10)
            handle.write(struct.pack("<f", value)[2:])

    return change


FAULTS: dict[str, tuple[Callable[[Space], None], type[ForgeError], str]] = {
    "shard truncated": (
        truncate,
        UsageError,
        "not a sound safetensors file: header and tensors take",
    ),
    "shard empty": (lambda s: first_shard(s).write_bytes(b""), UsageError, "it has 0 bytes"),
    "shard missing": (lambda s: first_shard(s).unlink(), UsageError, "which is not there"),
    "offsets overlap": (lie_about_offsets, UsageError, "starts at byte 2 of the data, expected 0"),
    "offsets beyond the end": (
        reach_beyond_the_end,
        UsageError,
        "header and tensors take|expected",
    ),
    "index points up": (name_in_index("../evil.safetensors"), UsageError, "not inside its folder"),
    "index points to the root": (name_in_index("/etc/passwd"), UsageError, "not inside its folder"),
    "index names a pickle": (name_in_index("pytorch_model.bin"), UsageError, "not safetensors"),
    "weight is NaN": (
        poison(float("nan")),
        StageFailed,
        r"blk\.1\.ffn_up\.weight holds NaN or infinite",
    ),
    "weight is infinite": (
        poison(float("inf")),
        StageFailed,
        r"blk\.1\.ffn_up\.weight holds NaN or infinite",
    ),
    "adapter of another width": (
        lambda s: write_adapter(s.adapter, s.base, columns=63),
        UsageError,
        "another base",
    ),
    "adapter of another rank": (
        lambda s: (s.adapter / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 8})
        ),
        UsageError,
        "rank 8",
    ),
    "adapter is NaN": (
        lambda s: write_adapter(s.adapter, s.base, value=float("nan")),
        UsageError,
        "1 NaN",
    ),
    "adapter truncated": (
        lambda s: os.truncate(s.adapter / "adapter_model.safetensors", 500),
        UsageError,
        "not a sound safetensors file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_input_is_refused_and_nothing_is_touched(
    space: Space, tmp_path: Path, fault: str
) -> None:
    damage, kind, words = FAULTS[fault]
    space.quantize()
    before = space.results()
    shutil.copytree(space.root, tmp_path / "good")
    damage(space)
    with pytest.raises(kind, match=words) as caught:
        space.quantize()
    assert caught.value.fix
    assert caught.value.exit_code
    assert space.results() == before
    for part in ("base", "models/small-adapter"):  # and back
        shutil.rmtree(space.root / part)
        shutil.copytree(tmp_path / "good" / part, space.root / part)
    assert [done.status for done in space.quantize()] in (["done"], ["skipped"])
    assert space.ggufs() == {name: data for name, data in before.items() if name.endswith(".gguf")}
    assert space.partials() == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_a_fetched_shard_is_missed(recorded: Space, place: float, bit: int) -> None:
    """In the data no parser can see it: the record of the download does. A header may tell before that."""
    shard = sorted(recorded.base.glob("*.safetensors"))[0]
    good, stamp = shard.read_bytes(), shard.stat().st_mtime_ns
    before = recorded.results()
    bad = bytearray(good)
    at = int(place * len(bad))
    bad[at] ^= 1 << bit
    in_data = at >= 8 + struct.unpack("<Q", good[:8])[0]
    try:
        shard.write_bytes(bad)
        os.utime(
            shard, ns=(stamp + 1, stamp + 1)
        )  # within a tick of the clock two writes have the same time
        with pytest.raises(
            UsageError, match="is not as forge download made it" if in_data else None
        ):
            recorded.quantize()
    finally:
        shard.write_bytes(good)
        os.utime(shard, ns=(stamp, stamp))
    assert recorded.results() == before


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path]
) -> Space:
    """Its base was made by the download stage, and its GGUFs are up to date."""
    made = Space(make_workspace(tmp_path_factory.mktemp("recorded") / "work", **WITHOUT_GATE))
    pipeline.run(made.context(), ["download"])
    made.base = made.context().base_dir
    write_adapter(made.adapter, made.base)
    made.quantize()
    return made


def test_a_changed_adapter_is_refused_until_forced(recorded: Space) -> None:
    record = recorded.root / ".forge/manifests/train.json"
    context = recorded.context()
    shown = {
        "adapter": {
            "path": "models/small-adapter",
            "sha256": context.digests.tree(recorded.adapter),
        }
    }
    Manifest("train", "", {}, {}, shown, {}, {}, "", 0.0).write(record)
    try:
        assert [done.status for done in recorded.quantize()] == ["skipped"]
        write_adapter(recorded.adapter, recorded.base, seed=1)
        with pytest.raises(UsageError, match="small-adapter is not as forge train made it"):
            recorded.quantize()
        (done,) = pipeline.run(recorded.context(force=True), ["quantize"], force=True)
        assert done.status == "done"
    finally:
        record.unlink()
        write_adapter(recorded.adapter, recorded.base)
        recorded.quantize()


class Server:
    """tests/gguf/fault_server.py, and what it answers."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fault_server.py")],
            text=True,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self, root: Path, *arguments: str, limit: int | None = None, kill_after: float | None = None
    ) -> dict:
        assert self.process.stdin
        assert self.process.stdout
        request = {
            "arguments": ["quantize", *arguments],
            "cwd": str(root),
            "limit": limit,
            "kill_after": kill_after,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.process.communicate()  # its input ends, and so does it


def test_a_file_that_may_not_grow_ends_the_stage_at_any_byte(space: Space, server: Server) -> None:
    """RLIMIT_FSIZE stops a write as a full disk does, at an exact byte: in the header, between and inside tensors, in
    the record itself."""
    assert server.run(space.root)["code"] == 0
    before = space.results()
    size = expected_bytes(space.base, "small", TYPES[0])
    chance = random.Random(SEED)
    write_adapter(space.adapter, space.base, seed=1)
    for limit in sorted({0, 1, 100, size - 1, *(chance.randrange(size) for _ in range(12))}):
        ran = server.run(space.root, limit=limit)
        assert ran["code"] == 3, f"limit {limit}: {ran}"
        assert "error: " in ran["stderr"]
        assert "fix: " in ran["stderr"]
        assert space.results() == before, f"limit {limit}"
    ran = server.run(space.root)
    assert ran["code"] == 0, ran["stderr"]
    assert space.ggufs().keys() == {f"small-{name}.gguf" for name in TYPES}
    assert all(space.ggufs()[name] != before[name] for name in space.ggufs())
    assert space.partials() == []


def test_killed_at_twenty_moments(space: Space, server: Server) -> None:
    first = server.run(space.root)
    assert first["code"] == 0, first["stderr"]
    old = space.ggufs()
    write_adapter(space.adapter, space.base, seed=1)
    second = server.run(space.root)
    assert second["code"] == 0, second["stderr"]
    new = space.ggufs()
    assert all(new[name] != old[name] for name in old)
    chance, span, killed, turn = random.Random(SEED), second["seconds"], 0, 0
    while killed < KILLS:
        turn += 1
        assert turn <= 4 * KILLS, f"only {killed} of {turn} runs were killed before they ended"
        write_adapter(space.adapter, space.base, seed=turn % 2)
        ran = server.run(space.root, "--force", kill_after=chance.uniform(0, 1) * span)
        if ran["code"] == -signal.SIGKILL:
            killed += 1
        else:
            assert ran["code"] == 0, ran["stderr"]
            span = min(span, ran["seconds"])
        found = space.ggufs()
        assert found.keys() == old.keys()
        for name, data in found.items():
            assert data in (old[name], new[name]), f"turn {turn}: {name} is a mixture\n{ran}"
    last = server.run(space.root)
    assert last["code"] == 0, last["stderr"]
    assert space.ggufs() == (new if turn % 2 else old)
    assert space.partials() == []


def test_headers_are_what_the_faults_start_from(small: Path) -> None:
    """The base of these tests is sharded, and its shards hold several tensors each: else the faults above hit less."""
    shards = sorted(small.glob("*.safetensors"))
    assert len(shards) > 2
    assert max(len(read_header(shard)) for shard in shards) > 1
