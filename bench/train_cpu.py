"""CPU training methods against plain fp32 LoRA, on the real 0.5B: tokens a second and peak memory, a process each.

The choice in forge/train/choose.py rests on this table. Usage: python bench/train_cpu.py [--steps 4]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
METHODS = {"fp32 LoRA": ("lora", "fp32"), "bf16 LoRA": ("lora", "bf16"), "NF4 in fp32": ("qlora", "fp32"),
           "NF4 in bf16": ("qlora", "bf16")}
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")


def forge(workspace: Path, *arguments: str) -> dict:
    command = [sys.executable, "-c", "import sys; from forge.cli.boundary import main; sys.exit(main())", *arguments,
               "--workspace", str(workspace), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def machine() -> dict:
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())
    flags = Path("/proc/cpuinfo").read_text()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "avx512_bf16": "avx512_bf16" in flags,
            "amx_bf16": "amx_bf16" in flags, "python": platform.python_version()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4)
    steps = parser.parse_args().steps
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        (workspace / "forge.yaml").write_text(
            f"profile: quick\nmodel: {{name: bench}}\ncorpus: {{roots: [{HERE.parent / 'docs' / 'faq.md'}]}}\n")
        forge(workspace, "run", "--to", "dataset")
        for name, (method, precision) in METHODS.items():
            figures = forge(workspace, "train", "--force", "--set", f"train.max_steps={steps}",
                            "--set", f"train.method={method}", "--set", f"train.precision={precision}")
            rows.append({"method": name, "tokens_per_second": figures["tokens_per_second"],
                         "peak_rss_bytes": figures["peak_rss_bytes"], "loss": figures["loss"]})
    base = rows[0]["tokens_per_second"]
    print(f"{'method':<14}{'tokens/s':>10}{'ratio':>8}{'peak GB':>9}{'loss':>8}")
    for row in rows:
        row["ratio"] = round(row["tokens_per_second"] / base, 2)
        print(f"{row['method']:<14}{row['tokens_per_second']:>10.1f}{row['ratio']:>8.2f}"
              f"{row['peak_rss_bytes'] / 1e9:>9.2f}{row['loss']:>8.3f}")
    result = {"steps": steps, "machine": machine(), "versions": {n: version(n) for n in LIBRARIES}, "rows": rows}
    target = HERE / "results" / "train_cpu.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
