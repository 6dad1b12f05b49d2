"""A file just written is held against its plan and its checksum before anyone sees it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_faults import write_adapter

from phoenix_forge import pipeline
from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import ForgeError, StageFailed
from phoenix_forge.gguf import make
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.verify import require_digest, require_planned, verify
from phoenix_forge.gguf.write import GGUFLayout, layout, quantize
from phoenix_forge.stages import Context
from phoenix_forge.weights.base import open_base


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> tuple[bytes, GGUFLayout, str]:
    """A sound file's bytes, its plan, and the checksum that was taken while writing."""
    path = tmp_path_factory.mktemp("written") / "x.gguf"
    (result,) = quantize(tiny, None, {"Q4_K_M": path}, name="n", report=Silent())
    return path.read_bytes(), layout(open_base(tiny), "n", "Q4_K_M"), result["sha256"]


def test_what_was_written_is_what_was_planned(
    written: tuple[bytes, GGUFLayout, str], tmp_path: Path
) -> None:
    data, planned, digest = written
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    require_planned(path, planned)
    require_digest(path, sha256_file(path), digest)
    assert planned.size == len(data)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_the_header_is_missed(
    written: tuple[bytes, GGUFLayout, str], tmp_path: Path, place: float, bit: int
) -> None:
    data, planned, _ = written
    path, bad = tmp_path / "x.gguf", bytearray(data)
    bad[int(place * len(planned.header))] ^= 1 << bit
    path.write_bytes(bad)
    with pytest.raises(ForgeError):
        require_planned(path, planned)


@pytest.mark.parametrize("change", [-40, -1, 32, 4096])
def test_another_length_is_refused(
    written: tuple[bytes, GGUFLayout, str], tmp_path: Path, change: int
) -> None:
    data, planned, _ = written
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    os.truncate(path, len(data) + change)
    with pytest.raises(ForgeError, match=r"predicted were|cut short"):
        require_planned(path, planned)


def test_a_file_of_another_model_is_refused(
    written: tuple[bytes, GGUFLayout, str], tmp_path: Path, make_tiny: Callable[..., Path]
) -> None:
    """Sound in itself, but not what base and config ask for."""
    other = make_tiny(tmp_path / "other", ffn=512)
    quantize(other, None, {"Q4_K_M": tmp_path / "x.gguf"}, name="n", report=Silent())
    verify(tmp_path / "x.gguf")
    with pytest.raises(StageFailed, match="predicted were"):
        require_planned(tmp_path / "x.gguf", written[1])


def test_a_bit_of_the_data_shows_in_the_checksum(
    written: tuple[bytes, GGUFLayout, str], tmp_path: Path
) -> None:
    data, planned, digest = written
    path, bad = tmp_path / "x.gguf", bytearray(data)
    bad[-1000] ^= 1
    path.write_bytes(bad)
    require_planned(path, planned)
    with pytest.raises(StageFailed, match="reads back as SHA-256"):
        require_digest(path, sha256_file(path), digest)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (lambda start: start + 999, "reads back as SHA-256"),
        (lambda start: start - 400, "expected|sound GGUF|metadata"),
    ],
    ids=["in the data", "in the directory"],
)
def test_the_stage_refuses_what_changed_on_the_way_to_the_disk(
    tmp_path: Path,
    make_workspace: Callable[..., Path],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Callable[[int], int],
    words: str,
) -> None:
    root = make_workspace(
        tmp_path / "work",
        model={"base": str(tiny)},
        quantize={"types": ["Q8_0"], "gate": "none", "imatrix": "none"},
    )
    adapter = root / "models/small-adapter"
    write_adapter(adapter, tiny)

    def run() -> None:
        config = assemble([("forge.yaml", dotted(read_yaml(root / "forge.yaml")))], []).config
        pipeline.run(Context(config, Workspace(root, config), Silent()), ["quantize"], force=True)

    run()
    path = root / "models/gguf/small-Q8_0.gguf"
    before = path.read_bytes()

    def corrupted(*arguments: object, **keywords: object) -> list[dict]:
        results = quantize(*arguments, **keywords)  # type: ignore[arg-type]
        written = Path(results[0]["path"])
        with open(written, "r+b") as handle:
            handle.seek(place(read_header(written).start))
            handle.write(b"\xa5")
        return results

    monkeypatch.setattr(make, "quantize", corrupted)
    with pytest.raises(ForgeError, match=words):
        run()
    assert path.read_bytes() == before
    assert list(root.rglob("*.partial")) == []
