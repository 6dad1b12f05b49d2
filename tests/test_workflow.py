"""The workflow document does what it says: its blocks run in order, and it has every command of the seed's workflow."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from workflow_run import DOCUMENT, REPOSITORY, ROOT, TOKEN, Block, blocks, workflow_run

BLOCKS = blocks(DOCUMENT.read_text(encoding="utf-8"))
SEED = ROOT.parent / "shared/seed/forge-llm-workflow.md"
NAME = "Sanctuary-Qwen2-7B-v1.0"

# Commands of the seed's workflow that ours leaves out, and why.
LEFT_OUT: dict[str, str] = {}


def identity(block: Block) -> str:
    return f"line {block.line}: {block.commands[0]}"


@pytest.fixture(scope="module")
def run():
    if not (Path(sys.prefix) / "bin/activate").exists():
        pytest.skip("the tests do not run from a virtual environment, which the workflow activates")
    return workflow_run()


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=identity)
def test_block(block, run):
    if block.kind == "skip":
        pytest.skip(block.attribute("reason"))
    outcome = run.outcomes[block.line]
    if not block.attribute("may-fail"):
        assert outcome.code == 0, str(outcome)
    for text in block.expected:
        assert text in outcome.stdout, str(outcome)


@pytest.mark.parametrize("block", BLOCKS, ids=identity)
def test_every_block_says_what_becomes_of_it(block):
    if block.kind == "skip":
        assert block.attribute("reason"), "a skipped block needs a reason"
    else:
        assert block.kind in ("run", "stand-in"), f"no <!-- test: … --> before line {block.line}"
        assert block.language == "bash"
        assert block.kind == "run" or block.words, "which stand-in?"


def test_the_parser_of_blocks():
    text = (
        'text\n<!-- test: run expect="a b" expect="c" -->\n```bash\n# y\nfirst \\\n  --flag  # this\nsecond\n```\n'
        "```text\nnot a command\n```\n```bash\nbare\n```\n"
    )
    first, bare = blocks(text)
    assert (first.line, first.kind, first.expected) == (3, "run", ["a b", "c"])
    assert first.commands == ["first --flag", "second"]
    assert (bare.kind, bare.commands) == ("", ["bare"])


def test_every_command_of_the_seed_is_here():
    if not SEED.exists():
        pytest.skip(f"{SEED} is not here")
    ours = {command for block in BLOCKS for command in block.commands}
    theirs = {
        command for block in blocks(SEED.read_text(encoding="utf-8")) for command in block.commands
    }
    assert len(theirs) > 40, "the seed's commands were not found"
    assert theirs - ours == set(LEFT_OUT)


def test_the_drawings_are_the_files():
    text = DOCUMENT.read_text(encoding="utf-8")
    drawings = sorted((ROOT / "docs/architecture_diagrams/workflows").glob("*.mmd"))
    assert len(drawings) == 3
    for path in drawings:
        body = "\n".join(
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if not line.startswith("%%")
        )
        assert f"```mermaid\n{body}\n```" in text, (
            f"{path.name} differs from the drawing in {DOCUMENT.name}"
        )


# What the run left behind


@pytest.mark.slow
def test_validation_counts_the_lines_of_the_file(run):
    lines = (
        (run.root / "dataset_package/sanctuary_whole_genome_data.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    block = next(b for b in BLOCKS if "validate_dataset.py" in b.body)
    assert f"✅ All {len(lines)} lines are valid JSON." in run.outcomes[block.line].stdout


@pytest.mark.slow
def test_ollama_serves_the_very_file_and_the_alias_is_the_same_model(run):
    gguf = (run.root / f"models/gguf/{NAME}-Q4_K_M.gguf").read_bytes()
    made = run.ollama.models["Sanctuary-Guardian-01:latest"]
    assert made["blob"] == f"sha256:{hashlib.sha256(gguf).hexdigest()}"
    assert "GUARDIAN-01" in made["system"]
    assert made["template"]
    assert (
        run.ollama.models["Sanctuary-Qwen2-7B:latest"]
        == run.ollama.models[f"hf.co/{REPOSITORY}:Q4_K_M"]
    )


@pytest.mark.slow
def test_the_second_conversion_replaced_the_file_by_the_same_bytes(run):
    manifest = json.loads((run.root / "forge/gguf_model_manifest.json").read_text(encoding="utf-8"))
    gguf = (run.root / f"models/gguf/{NAME}-Q4_K_M.gguf").read_bytes()
    assert hashlib.sha256(gguf).hexdigest() in json.dumps(manifest)


@pytest.mark.slow
def test_the_token_is_in_no_file_but_env(run):
    holding = [
        path
        for path in run.root.rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert holding == [run.root / ".env"]
    assert not any(TOKEN in str(outcome) for outcome in run.outcomes.values())
    assert not any(TOKEN.encode() in data for data in run.published.values())


@pytest.mark.slow
def test_the_hub_holds_what_was_asked_for(run):
    gguf = f"{NAME}-Q4_K_M.gguf"
    assert run.published[gguf] == (run.root / "models/gguf" / gguf).read_bytes()
    assert run.published["Modelfile"].startswith(b"FROM")
    assert run.published["README.md"].startswith(b"---\n")
    assert not any(name.endswith(".safetensors") for name in run.published), (
        "the adapter was not asked for"
    )
