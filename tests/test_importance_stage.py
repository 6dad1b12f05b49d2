"""quantize.imatrix through the quantize stage: collected, used again, given as a file, or done without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train.train_helpers import Recorder, conversation, write_examples

from phoenix_forge.core.config import assemble, dotted, read_yaml
from phoenix_forge.core.fsio import sha256_file
from phoenix_forge.core.workspace import Workspace
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.imatrix import Matrix, read, write
from phoenix_forge.stages import Context, quantize
from phoenix_forge.weights.safetensors import Tensor
from phoenix_forge.weights.safetensors import write as write_safetensors

Make = Callable[..., Context]


@pytest.fixture
def context(workspace: Callable[..., Path], tiny_base: Path, tmp_path: Path) -> Make:
    """A Context on a workspace with the user's own base, an adapter and a dataset; keywords are quantize's settings."""
    root = workspace(model={"base": str(tiny_base)})
    adapter = root / "models/small-adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1})
    )
    write_safetensors(
        adapter / "adapter_model.safetensors",
        [
            Tensor(
                f"base_model.model.model.layers.0.mlp.up_proj.lora_{half}.weight",
                "F32",
                shape,
                lambda shape=shape: np.full(shape, 0.01, np.float32),
            )
            for half, shape in (("A", (1, 64)), ("B", (128, 1)))
        ],
    )
    (root / "dataset_package").mkdir()
    write_examples(root / "dataset_package/small.jsonl", [conversation(i) for i in range(24)])

    def make(force: bool = False, **settings: Any) -> Context:
        loaded = assemble(
            [
                ("forge.yaml", dotted(read_yaml(root / "forge.yaml"))),
                ("test", {f"quantize.{k}": v for k, v in ({"gate": "none"} | settings).items()}),
            ],
            [],
        )
        w = Workspace(root, loaded.config)
        w.gguf().parent.mkdir(parents=True, exist_ok=True)
        return Context(loaded.config, w, Recorder(), options={"force": force})

    return make


def header(ctx: Context, quant: str = "Q4_K_M") -> Any:
    return read_header(ctx.staged(ctx.workspace.gguf(quant)))


def test_auto_collects_and_uses_what_it_collected(context: Make) -> None:
    ctx = context(imatrix_tokens=600)
    metrics = quantize.run(ctx)
    matrix = read(ctx.workspace.imatrix)
    assert metrics["weighting"] == {
        "imatrix": "models/gguf/small-imatrix.gguf",
        "tokens": 512,
        "device": "cpu",
        "precision": metrics["weighting"]["precision"],
        "sha256": sha256_file(ctx.workspace.imatrix),
    }
    assert set(matrix.sums) == {
        f"blk.{i}.{part}.weight"
        for i in range(2)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    }
    found = header(ctx)
    assert [
        found.get(f"quantize.imatrix.{key}")
        for key in ("file", "dataset", "entries_count", "chunks_count")
    ] == ["small-imatrix.gguf", "dataset_package/small.jsonl", 14, 1]


def test_a_matrix_of_the_same_inputs_is_used_again(
    context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize.run(context(imatrix_tokens=600))
    first = context().workspace.imatrix.stat()
    assert quantize.run(context(imatrix_tokens=600, types=["Q4_K_S"]))["weighting"]["tokens"] == 512
    assert context().workspace.imatrix.stat().st_ino == first.st_ino
    quantize.run(context(imatrix_tokens=1100))
    second = context().workspace.imatrix.stat()
    assert second.st_ino != first.st_ino
    quantize.run(context(imatrix_tokens=1100, force=True))
    assert context().workspace.imatrix.stat().st_ino != second.st_ino


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"types": ["Q8_0", "F16"]}, None), ({"imatrix": "none"}, None), ({}, "no dataset")],
)
def test_without_a_matrix(context: Make, settings: dict[str, Any], reason: str | None) -> None:
    ctx = context(**settings)
    if reason:
        ctx.workspace.dataset.unlink()
    weighting = quantize.run(ctx)["weighting"]
    assert weighting == {"imatrix": "none"} | ({"reason": reason} if reason else {})
    assert not ctx.workspace.imatrix.exists()
    assert not [key for key in header(ctx, ctx.config.quantize.types[0]).fields if "imatrix" in key]
    said: list[str] = ctx.report.said  # type: ignore[attr-defined]
    assert any("no importance matrix" in line for line in said) == bool(reason)


def test_too_little_memory_is_said_and_passed_over(
    context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "phoenix_forge.train.importance.place", lambda *_, **__: "9 GB of memory, 1 GB are free"
    )
    ctx = context()
    assert quantize.run(ctx)["weighting"] == {
        "imatrix": "none",
        "reason": "needs 9 GB of memory, 1 GB are free",
    }
    said: list[str] = ctx.report.said  # type: ignore[attr-defined]
    assert (
        "warning: no importance matrix: collecting one needs 9 GB of memory, 1 GB are free" in said
    )


def made_up(path: Path, columns: int) -> Path:
    write(
        path,
        Matrix(
            {"blk.0.ffn_up.weight": np.ones((1, columns), np.float32)},
            {"blk.0.ffn_up.weight": np.ones(1, np.float32)},
            (),
            0,
            512,
            "x",
        ),
    )
    return path


def test_a_file_is_used_as_it_is(context: Make, tmp_path: Path) -> None:
    ctx = context(imatrix=str(made_up(tmp_path / "given.gguf", 64)))
    quantize.check(ctx)
    assert quantize.inputs(ctx)["imatrix"] == tmp_path / "given.gguf"
    assert quantize.run(ctx)["weighting"]["sha256"] == sha256_file(tmp_path / "given.gguf")
    assert header(ctx).get("quantize.imatrix.file") == "given.gguf"
    assert not ctx.workspace.imatrix.exists()


def test_a_file_that_is_not_there_or_not_this_models_is_refused(
    context: Make, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*absent\.gguf"):
        quantize.check(context(imatrix=str(tmp_path / "absent.gguf")))
    with pytest.raises(UsageError, match="has 65 columns in it, here 64"):
        quantize.run(context(imatrix=str(made_up(tmp_path / "given.gguf", 65))))


def test_a_file_in_the_way_that_is_not_forges_is_left_alone(context: Make) -> None:
    ctx = context()
    before = made_up(ctx.workspace.imatrix, 64).read_bytes()
    with pytest.raises(UsageError, match="was not collected by Forge"):
        quantize.run(ctx)
    assert ctx.workspace.imatrix.read_bytes() == before


def test_only_what_changes_the_output_counts(context: Make) -> None:
    assert "dataset" in quantize.inputs(context())
    assert "dataset" not in quantize.inputs(context(types=["Q8_0"]))
    assert quantize.settings(context(types=["Q8_0"], imatrix_tokens=5)) == quantize.settings(
        context(types=["Q8_0"])
    )
    assert quantize.settings(context(imatrix_tokens=5)) != quantize.settings(context())
