"""A family that can only be trained is refused before anything expensive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from forge import pipeline
from forge.catalog.families import FAMILIES, GEMMA3, LLAMA3, MISTRAL, QWEN3, Family
from forge.core.config import assemble, dotted, read_yaml
from forge.core.report import Silent
from forge.core.workspace import Workspace
from forge.errors import UsageError
from forge.gguf.write import expected_bytes
from forge.stages import Context
from forge.weights.tiny import build_tiny

ONLY_TRAINED = [family for family in FAMILIES if not family.convertible]


@pytest.mark.parametrize("family", ONLY_TRAINED, ids=lambda family: family.name)
def test_no_file_is_planned(family: Family, tmp_path: Path, make_tiny: Callable[..., Path]) -> None:
    folder = make_tiny(tmp_path, family=family, hidden=64, ffn=64)
    with pytest.raises(UsageError, match=f"{family.architecture} can be trained, but not written as GGUF yet"):
        expected_bytes(folder, "x", "Q8_0")


@pytest.fixture
def own_base(tmp_path: Path, make_tiny: Callable[..., Path]) -> Callable[[Family], Path]:
    return lambda family: make_tiny(tmp_path / "base", family=family, hidden=64, ffn=128, vocab=600)


def test_forge_run_refuses_it_before_the_first_stage(own_base, workspace, run_forge) -> None:
    root = workspace(model={"base": str(own_base(QWEN3)), "name": "small"})
    refused = run_forge("run", cwd=root)
    assert refused.code == 2
    assert "Qwen3ForCausalLM can be trained, but not written as GGUF yet" in refused.stderr
    assert "forge run --to train" in refused.stderr
    assert not (root / "data").exists()


def test_a_teacher_that_is_asked_as_a_gguf_is_refused_too(own_base, workspace, run_forge) -> None:
    root = workspace(model={"base": str(own_base(QWEN3)), "name": "small"}, dataset={"replay_answers": "base"})
    refused = run_forge("dataset", cwd=root)
    assert (refused.code, "not written as GGUF yet" in refused.stderr) == (2, True)


@pytest.mark.parametrize("family", [LLAMA3, MISTRAL, GEMMA3], ids=lambda family: family.name)
def test_its_dataset_teaches_all_though_the_template_trims(family, own_base, workspace, run_forge) -> None:
    root = workspace(model={"base": str(own_base(family)), "name": "small"})
    # Its parts begin indented.
    (root / "docs/bells.py").write_text("class Bells:\n" + "".join(
        f"    def bell_{i}(self):\n        return {i}  # times a minute\n\n" for i in range(60)))
    made = run_forge("run", "--to", "dataset", cwd=root)
    assert made.code == 0, made.stderr


def test_a_base_that_comes_by_download_is_refused_as_soon_as_it_is_there(workspace, monkeypatch) -> None:
    root = workspace()
    monkeypatch.setattr("forge.weights.tiny.build_tiny", partial(build_tiny, family=QWEN3, hidden=64, ffn=64))
    loaded = assemble([("forge.yaml", dotted(read_yaml(root / "forge.yaml")))], [])
    context = Context(loaded.config, Workspace(root, loaded.config), Silent())
    done: list[pipeline.Done] = []
    with pytest.raises(UsageError, match="can be trained, but not written as GGUF yet"):
        pipeline.run(context, pipeline.selected(context), each=done.append)
    assert [(step.name, step.status) for step in done] == [("download", "done")]
    pipeline.run(context, ["dataset"], each=done.append)  # the base stays, to be trained
    assert done[-1].status == "done"
