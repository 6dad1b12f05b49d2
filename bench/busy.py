"""How fast training stays beside one other busy program, by how its threads wait for each other.

A process a run, the settings in turn and several times over, since others may use the machine; medians are told.
Usage: python bench/busy.py BASE_FOLDER [--steps 4] [--rounds 5] [--method fp32]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETTINGS: dict[str, dict[str, str]] = {
    "as it comes": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_NUM_THREADS=1": {"OMP_NUM_THREADS": "1"},
}
OURS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def train(base_folder: Path, precision: str, steps: int) -> None:
    """Prints tokens a second of the steps behind the first."""
    import torch

    from phoenix_forge.catalog.memory import Placement
    from phoenix_forge.chat.encode import Encoded
    from phoenix_forge.core.config import TrainConfig
    from phoenix_forge.train.base import quiet
    from phoenix_forge.train.batches import Batch
    from phoenix_forge.train.choose import Compute
    from phoenix_forge.train.trainable import EngineModel, Wanted, gradients, trained
    from phoenix_forge.weights.base import open_base

    quiet()
    base = open_base(base_folder)
    bits = {"fp32": 32, "bf16": 16}[precision]
    model = EngineModel(
        base,
        Wanted("bench", base.family.targets, 32, TrainConfig(rank=16)),
        Compute("cpu", precision, bits, "adamw", ""),
        Placement(24, 2, bits),
    )
    optimizer = torch.optim.AdamW(trained(model), lr=1e-4)
    batch = Batch((Encoded(list(range(10, 138)), [0] * 64 + [1] * 64),) * 2, 0)
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        for grad in gradients(model):
            grad.zero_()
        model.step(batch, 1 / batch.targets, 0)
        optimizer.step()
        model.updated()
    print(json.dumps(steps * batch.tokens / (time.perf_counter() - began)))


def speed(arguments: list[str], settings: dict[str, str]) -> float:
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--only"],
        env=kept | settings,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("--method", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="store_true", help="one run, in this process")
    given = parser.parse_args()
    if given.only:
        train(given.base, given.method, given.steps)
        return
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(given.rounds):
        for busy in (False, True):
            other = subprocess.Popen(["yes"], stdout=subprocess.DEVNULL) if busy else None
            for name, settings in SETTINGS.items():
                found.setdefault((name, busy), []).append(speed(sys.argv[1:], settings))
            if other:
                other.kill()
                other.wait()
    for name in SETTINGS:
        quiet, busy = (statistics.median(found[name, beside]) for beside in (False, True))
        print(
            f"{name:26} quiet {quiet:9.1f} tokens/s, beside a busy program {busy:9.1f}; all {found[name, False]} "
            f"{found[name, True]}"
        )


if __name__ == "__main__":
    main()
