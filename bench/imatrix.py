"""What an importance matrix is worth: how far a quantised model's predictions lie from the 16-bit model's.

Mean KL divergence KL(16-bit ‖ quantised) of the next-token distributions, in nats, and how often both take the same
likeliest token, per type, without and with a matrix that `forge quantize --imatrix auto` would collect: on documents of
the corpus that the dataset was made without (`corpus`), and on Python's own help texts (`neutral`). Quantised weights
are decoded exactly and run through transformers in fp32 in place of the 16-bit ones.

The 16-bit model at hand was imported from a Q4_K_M file: its weights lie on that file's steps, where rounding to the
same steps loses nothing. So it is first written in another way that computes the same: what enters the columns of each
matrix is divided by a random factor in what makes it (a norm's weights, the rows of v and up), and the columns are
multiplied by it (--spread: factors of e^±spread). The columns of a block then no longer share steps. The figures are of
that model; its own 16-bit weights are the reference.

Usage: python bench/imatrix.py --corpus DIR [--types Q4_K_M,Q3_K_M,IQ4_XS] [--collect 2048,6144] [--evaluate 4096]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.core.fsio import write_json
from phoenix_forge.core.report import Silent
from phoenix_forge.dataset.build import build
from phoenix_forge.gguf.container import read_header
from phoenix_forge.gguf.imatrix import Matrix
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.gguf.quantization import dequantize_rows, to_bfloat16, to_float32
from phoenix_forge.gguf.write import quantize
from phoenix_forge.stages.train import cpu_flags
from phoenix_forge.train import importance
from phoenix_forge.train.base import load_base, quiet
from phoenix_forge.train.choose import Compute
from phoenix_forge.weights.base import open_base
from phoenix_forge.weights.safetensors import Tensor
from phoenix_forge.weights.writer import copy_side_files, write_shards

RESULT = Path(__file__).resolve().parent / "results" / "imatrix.json"
REAL = Path(
    os.environ.get(
        "FORGE_TEST_MODEL",
        Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    )
)
LIBRARIES = ("libggml-python", "gguf", "numpy", "torch", "transformers")
CHUNK = 512
HELD_OUT = 10  # every tenth document


def off_the_grid(source: Path, out: Path, spread: float) -> None:
    """bf16 copy of a Qwen2's folder that computes the same with other weights; see the module."""
    base, random = open_base(source), np.random.default_rng(0)
    out.mkdir()
    copy_side_files(source, out)
    config = base.config | {"torch_dtype": "bfloat16"}
    write_json(out / "config.json", config)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    factors: dict[str, np.ndarray] = {}  # of rows, or of single values, and of columns

    def draw(count: int) -> np.ndarray:
        return np.exp(random.uniform(-spread, spread, count)).astype(np.float32)

    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for norm, readers in (
            ("input_layernorm", ("q", "k", "v")),
            ("post_attention_layernorm", ("gate", "up")),
        ):
            by = draw(config["hidden_size"])
            factors[f"{layer}{norm}.weight"] = 1 / by
            for reader in readers:
                place = "self_attn" if norm == "input_layernorm" else "mlp"
                factors[f"{layer}{place}.{reader}_proj.weight columns"] = by
        value = draw(base.entries[f"{layer}self_attn.v_proj.bias"].shape[0])
        for part in ("weight", "bias"):
            factors[f"{layer}self_attn.v_proj.{part}"] = 1 / value
        factors[f"{layer}self_attn.o_proj.weight columns"] = np.repeat(
            value.reshape(groups, -1), heads // groups, axis=0
        ).reshape(-1)
        inner = draw(config["intermediate_size"])
        factors[f"{layer}mlp.up_proj.weight"] = 1 / inner
        factors[f"{layer}mlp.down_proj.weight columns"] = inner

    def changed(name: str) -> np.ndarray:
        values = to_float32(base.read(name), base.entries[name].dtype).reshape(
            base.entries[name].shape
        )
        rows = factors.get(name, np.ones(1, np.float32))
        values = (
            values
            * (rows[:, None] if values.ndim == 2 else rows)
            * factors.get(f"{name} columns", np.float32(1))
        )
        return to_bfloat16(np.ascontiguousarray(values))

    write_shards(
        out, [Tensor(n, "BF16", e.shape, partial(changed, n)) for n, e in base.entries.items()]
    )


def split(corpus: Path, into: Path) -> list[Path]:
    """Copies the corpus without the held-out documents; returns those."""
    documents = sorted(path for path in corpus.rglob("*.md") if path.is_file())
    random.Random(0).shuffle(documents)
    for path in documents[len(documents) // HELD_OUT :]:
        copy = into / path.relative_to(corpus)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return documents[: len(documents) // HELD_OUT]


def made_dataset(corpus: Path, encoder: Encoder, work: Path) -> Path:
    config = Config.model_validate({"corpus": {"roots": [str(corpus)]}})
    out = {role: work / f"{role}.jsonl" for role in ("dataset", "validation", "probes", "card")}
    build(config, work, encoder, out, Silent(), cache=work / "cache.sqlite")
    return out["dataset"]


def chunks(texts: list[str], encoder: Encoder, tokens: int, device: str) -> torch.Tensor:
    """(chunks, CHUNK): the beginnings of the texts, each its own chunk."""
    found = [ids[:CHUNK] for ids in map(encoder.ids, texts) if len(ids) >= CHUNK]
    return torch.tensor(found[: tokens // CHUNK], device=device)


def neutral() -> list[str]:
    """Python's help texts on the language, in pieces of 4,000 characters."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[key] for key in sorted(topics))
    pieces = [text[at : at + 4000] for at in range(0, len(text), 4000)]
    random.Random(0).shuffle(pieces)
    return pieces


@torch.inference_mode()
def hidden(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return torch.cat(
        [model.model(input_ids=part, use_cache=False).last_hidden_state for part in ids.split(2)]
    )


@torch.inference_mode()
def compare(
    model: Any, ids: torch.Tensor, head: torch.Tensor, expected: torch.Tensor
) -> dict[str, float]:
    """KL divergence and agreement of the model with the one whose head and last states are given."""
    total, agreed, divergences = 0, 0, []
    for state, row in zip(expected, ids, strict=True):
        p = (state @ head.t()).log_softmax(-1)
        q = model(input_ids=row[None], use_cache=False).logits[0].float().log_softmax(-1)
        divergences.append((p.exp() * (p - q)).sum(-1))
        agreed += int((p.argmax(-1) == q.argmax(-1)).sum())
        total += len(row)
    divergence = torch.cat(divergences)
    return {
        "kl": float(divergence.mean()),
        "kl_median": float(divergence.median()),
        "kl_error": float(divergence.view(len(ids), -1).mean(1).std() / len(ids) ** 0.5),
        "top1": agreed / total,
    }


def fill(model: Any, base_folder: Path, gguf: Path) -> None:
    """Replaces the model's weights by those of a GGUF, decoded."""
    base, header, data = open_base(base_folder), read_header(gguf), np.memmap(gguf, np.uint8, "r")
    for name, source in gguf_names(
        base.family.gguf, base.config["num_hidden_layers"], base.entries
    ).items():
        info = header.tensors[name]
        at = header.start + info.offset
        values = dequantize_rows(info.type, data[at : at + info.nbytes], int(np.prod(info.shape)))
        model.get_parameter(source).data.copy_(torch.from_numpy(values.reshape(info.shape).copy()))


def others(settings: dict[str, Any], types: list[str]) -> list[dict[str, Any]]:
    """Rows of other types that were measured before in the same way."""
    before = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    same = all(before.get(key) == value for key, value in settings.items())
    return [row for row in before["rows"] if row["type"] not in types] if same else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--types", default="Q4_K_M,Q3_K_M,IQ4_XS")
    parser.add_argument("--collect", default="6144", help="tokens that matrices are collected from")
    parser.add_argument("--evaluate", type=int, default=4096, help="tokens of each text")
    parser.add_argument("--spread", type=float, default=0.3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if not REAL.exists():
        sys.exit(f"error: the real 0.5B is not at {REAL}\nfix: make model")
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, work: Path) -> None:
    quiet()
    import_gguf(REAL, work / "imported", report=Silent())
    base = work / "base"
    off_the_grid(work / "imported", base, options.spread)
    encoder = Encoder.load(base, stop="<|im_end|>", pad="<|endoftext|>")
    held_out = split(options.corpus, work / "corpus")
    dataset = made_dataset(work / "corpus", encoder, work)
    texts = {
        "corpus": chunks(
            [path.read_text(errors="replace") for path in held_out],
            encoder,
            options.evaluate,
            options.device,
        ),
        "neutral": chunks(neutral(), encoder, options.evaluate, options.device),
    }
    matrices: dict[str, Matrix | None] = {"none": None}
    settings = {
        "evaluated_tokens": {text: ids.numel() for text, ids in texts.items()},
        "held_out_documents": len(held_out),
        "spread": options.spread,
        "model": REAL.name,
    }
    rows = others(settings, options.types.split(","))
    fast = options.device == "cuda" or "avx512_bf16" in cpu_flags()
    for tokens in map(int, options.collect.split(",")):
        place = importance.Place(options.device, "bf16" if fast else "fp32", tokens)
        started = time.perf_counter()
        picked = importance.chosen_chunks(dataset, encoder, tokens)
        matrices[str(tokens)] = importance.collect(
            base,
            None,
            picked,
            place,
            dataset="bench",
            file="bench.gguf",
            identity="bench",
            report=Silent(),
        )
        print(f"matrix of {tokens} tokens: {time.perf_counter() - started:.1f} s", flush=True)
    model: Any = load_base(base, Compute(options.device, "fp32", 16, "adamw", "bench")).eval()
    head = model.get_input_embeddings().weight.detach().clone()
    expected = {name: hidden(model, ids) for name, ids in texts.items()}
    for quant in options.types.split(","):
        for name, matrix in matrices.items():
            started = time.perf_counter()
            gguf = work / "x.gguf"
            size = quantize(
                base, None, {quant: gguf}, name="bench", matrix=matrix, report=Silent()
            )[0]["bytes"]
            row: dict[str, Any] = {
                "type": quant,
                "matrix_tokens": name,
                "bytes": size,
                "seconds": round(time.perf_counter() - started, 1),
            }
            fill(model, base, gguf)
            for text, ids in texts.items():
                row[text] = compare(model, ids, head, expected[text])
            rows.append(row)
            print(json.dumps(row), flush=True)
            write_json(
                RESULT,
                {
                    "what": __doc__.strip().splitlines()[0],
                    "rows": rows,
                    **settings,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores, {options.device}",
                    "versions": {library: version(library) for library in LIBRARIES},
                },
            )


if __name__ == "__main__":
    main()
