"""Forge's training step against a plain PEFT loop on a CPU, with the real 0.5B and real examples.

Both take the same 50 steps: the same batches in the same order from the same start, at a constant learning rate.
Tokens a second, peak memory, and every step's loss; the losses are drawn over each other. A process each, in turn.
fp8 is computed as a Hopper GPU rounds it, for its losses; its speed here means nothing.
Usage: python bench/train_cpu.py [--steps 50] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARIES = ("torch", "transformers", "peft")
RATE, RANK = 4e-4, 16
METHODS = ("PEFT fp32", "PEFT bf16", "Forge fp32", "Forge bf16", "Forge NF4 bf16", "Forge fp8")


def workspace(folder: Path) -> None:
    """Forge's own FAQ as examples, and the base."""
    (folder / "forge.yaml").write_text(
        f"profile: quick\nmodel: {{name: bench}}\ncorpus: {{roots: [{HERE.parent / 'docs' / 'faq.md'}]}}\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "phoenix_forge",
            "run",
            "--to",
            "dataset",
            "--workspace",
            str(folder),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"forge run failed:\n{done.stderr}")


def opened(folder: Path, method: str) -> tuple[Any, Any]:
    """The model under a method, with the same start, and the plan of its steps."""
    from phoenix_forge.catalog.memory import Placement
    from phoenix_forge.chat.encode import Encoder
    from phoenix_forge.core.config import TrainConfig
    from phoenix_forge.train.base import quiet
    from phoenix_forge.train.batches import encode, pack
    from phoenix_forge.train.choose import Compute
    from phoenix_forge.train.loop import Updates
    from phoenix_forge.train.trainable import EngineModel, PeftModel, Wanted
    from phoenix_forge.weights.base import open_base

    quiet()
    base = open_base(next((folder / "models/base").glob("*/*")))
    settings = TrainConfig(rank=RANK, max_length=512, tokens_per_update=512, epochs=100)
    encoder = Encoder.load(base.folder, stop=base.family.stop, pad=base.family.pad)
    updates = Updates.of(
        pack(encode(folder / "dataset_package/bench.jsonl", encoder, 512), 512, 42), settings
    )
    wanted = Wanted("bench", base.family.targets, 2 * RANK, settings)
    precision = "bf16" if "bf16" in method else "fp32"
    bits = 4 if "NF4" in method else {"fp8": 8, "fp32": 32, "bf16": 16}[method.rpartition(" ")[2]]
    compute, placement = Compute("cpu", precision, bits, "adamw", ""), Placement(24, 2, bits)
    if method.startswith("Forge"):
        return EngineModel(base, wanted, compute, placement), updates
    model = PeftModel(base, wanted, compute, placement)
    start = EngineModel(
        base, wanted, Compute("cpu", "bf16", 16, "adamw", ""), Placement(24, 2, 16)
    ).named()
    for name, tensor in model.named().items():
        tensor.copy_(start[name])
    return model, updates


def plain_step(model: Any, batch: Any, scale: float) -> float:
    """What a plain loop does: the packed row through transformers' model with labels, then backward."""
    import torch

    ids = torch.tensor([[i for e in batch.examples for i in e.ids]])
    labels = torch.tensor(
        [[i if t else -100 for e in batch.examples for i, t in zip(e.ids, e.trained, strict=True)]]
    )
    places = torch.tensor([[p for e in batch.examples for p in range(len(e.ids))]])
    model.model.train()
    with torch.autocast("cpu", model.kind, enabled=model.kind is not torch.float32):
        loss = model.model(input_ids=ids, labels=labels, position_ids=places, use_cache=False).loss
    total = loss * batch.targets
    (total * scale).backward()
    return float(total.detach())


def run(folder: Path, method: str, steps: int) -> None:
    """Prints one JSON object."""
    import torch

    from phoenix_forge.train.trainable import gradients, trained

    model, updates = opened(folder, method)
    optimizer = torch.optim.AdamW(trained(model), lr=RATE, weight_decay=0.0)
    losses, tokens, began = [], 0, 0.0
    for step in range(steps):
        update = updates.update(step)
        targets = sum(b.targets for b in update)
        for grad in gradients(model):
            grad.zero_()
        loss = sum(
            float(model.step(b, 1 / targets, 0))
            if method.startswith("Forge")
            else plain_step(model, b, 1 / targets)
            for b in update
        )
        optimizer.step()
        model.updated()
        losses.append(round(loss / targets, 5))
        if step == 1:  # the first two warm up
            began, tokens = time.perf_counter(), 0
        tokens += sum(b.tokens for b in update) if step > 1 else 0
    print(
        json.dumps(
            {
                "method": method,
                "tokens_per_second": round(tokens / (time.perf_counter() - began), 1),
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "losses": losses,
            }
        )
    )


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        axes.plot(
            range(1, len(row["losses"]) + 1),
            row["losses"],
            label=row["method"],
            linewidth=1.2,
            linestyle="--" if row["method"].startswith("PEFT") else "-",
        )
    axes.set(
        xlabel="step", ylabel="loss", title="The same 50 steps, Qwen2.5-Coder-0.5B on Forge's FAQ"
    )
    axes.legend()
    figure.savefig(target, dpi=120)


def machine() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text()
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in text.splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "avx512_bf16": "avx512_bf16" in text,
        "amx_bf16": "amx_bf16" in text,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", help="one method, as a process of its own")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.only:
        run(given.folder, given.only, given.steps)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workspace(Path(folder))
        for method in METHODS:
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--only",
                    method,
                    "--folder",
                    folder,
                    "--steps",
                    str(given.steps),
                ],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    base = rows[0]
    print(
        f"{'method':<16}{'tokens/s':>10}{'ratio':>8}{'peak GB':>9}{'last loss':>11}{'largest difference':>20}"
    )
    for row in rows:
        row["ratio"] = round(row["tokens_per_second"] / base["tokens_per_second"], 2)
        row["largest_difference"] = max(
            abs(a - b) for a, b in zip(row["losses"], base["losses"], strict=True)
        )
        print(
            f"{row['method']:<16}{row['tokens_per_second']:>10.1f}{row['ratio']:>8.2f}"
            f"{row['peak_rss_bytes'] / 1e9:>9.2f}{row['losses'][-1]:>11.4f}{row['largest_difference']:>20.4f}"
        )
    result = {
        "steps": given.steps,
        "machine": machine(),
        "versions": {n: version(n) for n in LIBRARIES},
        "rows": rows,
    }
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "train_cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(rows, HERE / "results" / "train_cpu.png")


if __name__ == "__main__":
    main()
