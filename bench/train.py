"""Training on one GPU, Forge beside PEFT and Unsloth in one run: speed, memory, prediction: results/train_gpu.json.

Each stack is a process of its own; Unsloth may have its own interpreter. With --logs nothing is run: the lines that
bench/train_gpu.py printed elsewhere are read, as from a machine that gives only so many minutes a command.
Usage: python bench/train.py --tokenizer FOLDER [--examples FILE.json] [--peer-python PYTHON]
       python bench/train.py --logs LOG ... [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LEAST, MOST = "unsloth recompute=unsloth", "unsloth recompute=False"
# Which row of Unsloth's stands beside ours: its leanest where memory is to be equal or less, else its fastest.
BESIDE = {
    "recompute": LEAST,
    "attention on host": LEAST,
    "lean": LEAST,
    "keep": MOST,
    "keep expanded": MOST,
    "fp8 keep": MOST,
    "planned 1x2048": LEAST,
    "planned 4x2048": LEAST,
    "planned 1x8192": LEAST,
}
Line = dict[str, Any]


def lines(text: str) -> list[Line]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def run(given: argparse.Namespace) -> list[Line]:
    """Everything, one process after the other."""
    script, found = str(HERE / "train_gpu.py"), []
    mine = [
        ["forge"],
        *([["real", str(given.examples)]] if given.examples else []),
        ["make", str(given.tokenizer)],
    ]
    peers = [[who, str(given.tokenizer)] for who in ("unsloth", "unsloth-keep", "peft")]
    for python, arguments in [
        *((sys.executable, a) for a in mine),
        *((given.peer_python, a) for a in peers),
    ]:
        print(" ".join(arguments), file=sys.stderr, flush=True)
        done = subprocess.run(
            [python, script, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        found += lines(done.stdout)
    return found


def compared(found: list[Line]) -> list[Line]:
    """Rows with speeds, each with the speed of the peer that stands beside it."""
    rows = [line for line in found if "tokens_per_second" in line]
    speeds = {(r["row"], r.get("batch"), r.get("length")): r for r in rows}
    for row in rows:
        peer = speeds.get((BESIDE.get(row["row"], ""), row.get("batch"), row.get("length")))
        if peer:
            row |= {
                "beside": peer["row"],
                "ratio": round(row["tokens_per_second"] / peer["tokens_per_second"], 3),
                "peer_reserved_gib": peer["reserved_gib"],
            }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, help="tokenizer files of any Qwen2 model")
    parser.add_argument(
        "--examples", type=Path, help='real examples: {"examples": [[ids, trained], ...]}'
    )
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--logs", type=Path, nargs="*")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train_gpu.json")
    given = parser.parse_args()
    found = (
        [line for path in given.logs for line in lines(path.read_text())]
        if given.logs
        else run(given)
    )
    rows = compared(found)
    print(
        f"{'row':<26}{'shape':>9}{'tokens/s':>10}{'ratio':>7}{'reserved':>10}{'predicted':>10}{'peer GiB':>9}"
    )
    for r in rows:
        shape = f"{r['batch']}x{r['length']}" if "batch" in r else ""
        print(
            f"{r['row']:<26}{shape:>9}{r['tokens_per_second']:>10,}{r.get('ratio', ''):>7}"
            f"{r.get('reserved_gib', ''):>10}{r.get('predicted_gib', ''):>10}{r.get('peer_reserved_gib', ''):>9}"
        )
    machine = next(line for line in found if "gpu" in line)
    given.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
