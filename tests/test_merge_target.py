"""merge.target through the commands: trained in 4 bits, merged into either, scored, and the choice recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge import pipeline
from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.report import Silent
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.stages import Context

pytestmark = pytest.mark.slow

pytest.importorskip("torch")
pytest.importorskip("bitsandbytes")


def run(root: Path, first: str, last: str, **settings: Any) -> list[pipeline.Done]:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    config = assemble(
        [("forge.yaml", dotted(read_yaml(root / "forge.yaml"))), ("--set", given)], []
    ).config
    ctx = Context(config, Workspace(root, config), Silent())
    return pipeline.run(ctx, pipeline.selected(ctx, first, last))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Path]) -> Path:
    root = make_workspace(
        tmp_path_factory.mktemp("target") / "work",
        dataset={"validation": 0.2},
        train={"method": "qlora"},
        quantize={"types": ["F16"], "imatrix": "none", "gate": "auto"},
    )
    run(root, "download", "train")
    return root


@pytest.fixture
def space(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "work")


def test_each_target_is_merged_scored_and_recorded(space: Path) -> None:
    base = run(space, "merge", "merge")[0].metrics
    assert base["merge"] == {"target": "base"}
    assert run(space, "merge", "merge")[0].status == "skipped"
    other = run(space, "merge", "merge", merge__target="dequantised")[0]
    record = other.metrics["merge"]
    assert record["target"] == "dequantised"
    assert record["eval_loss"].keys() == {"base", "dequantised"}
    assert record["eval_loss"]["base"] != record["eval_loss"]["dequantised"]
    assert 0 < record["eval_tokens"] <= 4096 + 256
    digests = [
        next(f["sha256"] for f in metrics["files"] if f["type"] == "safetensors")
        for metrics in (base, other.metrics)
    ]
    assert digests[0] != digests[1]
    manifest = json.loads((space / ".forge/manifests/merge.json").read_text())
    assert manifest["metrics"]["merge"] == record
    automatic = run(space, "merge", "merge", merge__target="auto")[0].metrics
    best = min(record["eval_loss"], key=lambda name: record["eval_loss"][name])
    assert automatic["merge"] == record | {"target": best}
    assert automatic["files"] == (base["files"] if best == "base" else other.metrics["files"])


def test_the_gguf_in_one_pass_is_the_merged_folders(space: Path) -> None:
    from phoenix_forge.gguf.write import quantize

    run(space, "merge", "merge", merge__target="dequantised")
    done = run(space, "quantize", "quantize", merge__target="dequantised")[0].metrics
    assert done["merge"]["target"] == "dequantised"
    assert done["gate"]["answers"] == "compared"  # with the same weights under the adapter
    again = quantize(
        space / "models/merged/small-merged",
        None,
        {"F16": space / "again.gguf"},
        name="small",
        report=Silent(),
    )
    assert again[0]["sha256"] == done["files"][0]["sha256"]


def test_an_adapter_of_unknown_making_is_refused_or_merged_into_the_base(space: Path) -> None:
    shutil.rmtree(space / "outputs/checkpoints")
    with pytest.raises(
        UsageError, match=r"how models/small-adapter was trained is not recorded here"
    ) as caught:
        run(space, "merge", "merge", merge__target="dequantised")
    assert "merge.target=base" in (caught.value.fix or "")
    record = run(space, "merge", "merge", merge__target="auto")[0].metrics["merge"]
    assert record["target"] == "base"
    assert "is not recorded here" in record["why"]


def test_without_validation_examples_nothing_is_scored(space: Path) -> None:
    (space / "none.jsonl").write_bytes(b"")
    none = {"paths__validation": "none.jsonl"}
    record = run(space, "merge", "merge", merge__target="auto", **none)[0].metrics["merge"]
    assert record == {
        "target": "base",
        "not_scored": "there are no validation examples (dataset.validation)",
    }
    record = run(space, "merge", "merge", merge__target="dequantised", **none)[0].metrics["merge"]
    assert record["target"] == "dequantised"
