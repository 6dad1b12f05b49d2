"""Families other than Qwen2, from a base to a GGUF that runs; and what llama.cpp's graph of one has not is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phoenix_forge.catalog.families import FAMILIES, GEMMA3, LLAMA3, MISTRAL, PHI3, Family
from phoenix_forge.core.report import Silent
from phoenix_forge.errors import UsageError
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.write import expected_bytes, quantize

Make = Callable[..., Path]


def change(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_llama_cpp_answers_as_transformers_does(
    family: Family, tmp_path: Path, make_tiny: Make
) -> None:
    """The same next tokens for the same ids: weights, rotary embeddings, norms and heads are what the graph expects."""
    torch, xllamacpp = pytest.importorskip("torch"), pytest.importorskip("xllamacpp")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = make_tiny(tmp_path / "base", family=family, layers=7, dtype="F32", hidden=64)
    quantize(folder, None, {"F32": tmp_path / "x.gguf"}, name="n", report=Silent())
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = (
        str(tmp_path / "x.gguf"),
        128,
        1,
        False,
    )
    server = xllamacpp.Server(params)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = tokenizer("The forge turns documents", add_special_tokens=False)["input_ids"]
    found = server.handle_completions(
        {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 5}
    )
    ours = (
        {
            top["token"]: top["logprob"]
            for top in json.loads(json.dumps(found))["choices"][0]["logprobs"]["content"][0][
                "top_logprobs"
            ]
        }
        if "choices" in found
        else {}
    )
    logits = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
    best = torch.topk(logits, 3)
    theirs = {
        tokenizer.convert_ids_to_tokens(int(i)): float(value)
        for i, value in zip(best.indices, best.values, strict=True)
    }
    assert ours, found
    assert max(ours.values()) == pytest.approx(max(theirs.values()), abs=1e-3)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (GEMMA3, {"sliding_window_pattern": 2}, r"layers \[1, 3, 5\] see the whole context"),
        (GEMMA3, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        (MISTRAL, {"sliding_window": 512}, "sliding_window is 512"),
        (
            LLAMA3,
            {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
            "rope_type 'dynamic' is not supported",
        ),
        (
            PHI3,
            {"rope_scaling": {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}},
            "has 1 values",
        ),
    ],
)
def test_what_the_graph_has_not_is_refused(
    family: Family, settings: dict[str, Any], message: str, tmp_path: Path, make_tiny: Make
) -> None:
    folder = make_tiny(tmp_path, family=family, hidden=64, ffn=64, layers=6)
    change(folder, **settings)
    with pytest.raises(UsageError, match=message):
        expected_bytes(folder, "x", "Q8_0")


def test_without_a_tokenizer_model_the_merges_give_the_scores(
    tmp_path: Path, make_tiny: Make
) -> None:
    folder = make_tiny(tmp_path, family=MISTRAL, hidden=64)
    quantize(folder, None, {"F16": tmp_path / "a.gguf"}, name="n", report=Silent())
    (folder / "tokenizer.model").unlink()
    quantize(folder, None, {"F16": tmp_path / "b.gguf"}, name="n", report=Silent())
    a, b = (read_header(tmp_path / f"{name}.gguf") for name in "ab")
    key = "tokenizer.ggml.tokens"
    assert a.get(key) == b.get(key)
    normal = [
        i
        for i, kind in enumerate(a.get("tokenizer.ggml.token_type"))
        if kind == 1 and len(a.get(key)[i]) > 1
    ]
    order = [
        sorted(normal, key=lambda i, h=h: (-h.get("tokenizer.ggml.scores")[i], i)) for h in (a, b)
    ]
    assert order[0] == order[1]
    assert len(normal) > 50


@pytest.fixture
def own_base(tmp_path: Path, make_tiny: Make) -> Callable[[Family], Path]:
    return lambda family: make_tiny(tmp_path / "base", family=family, hidden=64, ffn=128, vocab=600)


@pytest.mark.slow
@pytest.mark.parametrize("family", [LLAMA3, MISTRAL, GEMMA3], ids=lambda family: family.name)
def test_its_dataset_teaches_all_though_the_template_trims(
    family, own_base, workspace, run_forge
) -> None:
    root = workspace(model={"base": str(own_base(family)), "name": "small"})
    # Its parts begin indented.
    (root / "docs/bells.py").write_text(
        "class Bells:\n"
        + "".join(
            f"    def bell_{i}(self):\n        return {i}  # times a minute\n\n" for i in range(60)
        )
    )
    made = run_forge("run", "--to", "dataset", cwd=root)
    assert made.code == 0, made.stderr
