"""Every file of the workflow's tables of outputs lies at its path and is what it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_workflow import NAME, run  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


def examples(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows
    assert all(row["messages"][-1]["role"] == "assistant" for row in rows)


def json_lines(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def is_json(path: Path) -> None:
    assert json.loads(path.read_text(encoding="utf-8"))


def holds(*names: str) -> Callable[[Path], None]:
    """A folder with these files, none of them empty, none unfinished beside them."""

    def check(folder: Path) -> None:
        for name in names:
            assert (folder / name).stat().st_size > 0, name
        assert not list(folder.rglob("*.partial"))

    return check


def weights(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as tensors:
        assert list(tensors.keys())


def gguf(path: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    assert reader.tensors
    assert reader.fields["general.architecture"].contents() == "qwen2"


def modelfile(path: Path) -> None:
    words = [
        line.split()[0]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line[:1].isupper()
    ]
    assert {"FROM", "TEMPLATE", "SYSTEM", "PARAMETER"} <= set(words)
    named = next(
        line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("FROM ")
    )
    assert (path.parent / named.removeprefix("FROM ").strip().strip('"')).is_file()


def text(path: Path) -> None:
    assert path.read_text(encoding="utf-8").strip()


OUTPUTS: list[tuple[str, Callable[[Path], None]]] = [
    ("dataset_package/sanctuary_whole_genome_data.jsonl", examples),
    ("dataset_package/sanctuary_whole_genome_data_val.jsonl", json_lines),
    ("dataset_package/probes.jsonl", json_lines),
    ("dataset_package/dataset_card.json", is_json),
    ("models/base/Qwen/Qwen2-7B-Instruct", holds("config.json", "tokenizer.json")),
    (f"models/{NAME}-adapter", holds("adapter_model.safetensors", "adapter_config.json")),
    (f"models/{NAME}-adapter/adapter_model.safetensors", weights),
    (f"models/merged/{NAME}-merged", holds("config.json", "tokenizer.json")),
    (f"models/merged/{NAME}-merged/model.safetensors", weights),
    (f"models/gguf/{NAME}-Q4_K_M.gguf", gguf),
    ("forge/gguf_model_manifest.json", is_json),
    ("Modelfile", modelfile),
    ("logs/metrics.jsonl", json_lines),
    (".env", text),
]


@pytest.mark.parametrize(("path", "check"), OUTPUTS, ids=[path for path, _ in OUTPUTS])
def test_output(run, path, check):  # noqa: F811
    check(run.root / path)


def test_nothing_unfinished_is_left(run):  # noqa: F811
    left = [p for p in run.root.rglob("*.partial") if ".venv" not in p.parts]
    assert left == []
