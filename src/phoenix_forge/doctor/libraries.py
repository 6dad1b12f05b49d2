"""The libraries that Forge stands on, each tried by what Forge does with it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import metadata, version
from pathlib import Path

from phoenix_forge.core.report import Silent
from phoenix_forge.doctor.finding import SETUP, Ctx, Finding
from phoenix_forge.doctor.gpu import nvidia_smi

TOKENS = 4
CPU = 0  # ggml's type of a device
# Where xllamacpp's description says that its builds for CUDA lie, with the CUDA's major and minor (as in setup_env.py).
GPU_BUILDS = re.compile(r"--index-url\s+(\S+/cu(\d\d)(\d))\b")
RUNTIME_SECONDS = 180  # for what takes half a second
# Writes to stdout how many tokens came. It leaves without the library's destructors, as the runtime's own trials do.
GENERATE = f"""
import os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.verbosity, params.n_ctx, params.warmup = sys.argv[1], -1, 64, False
server = xllamacpp.Server(params)
answer = server.handle_completions({{"prompt": "A doctor", "max_tokens": {TOKENS}, "ignore_eos": True}})
os.write(1, str(answer["usage"]["completion_tokens"]).encode())
os._exit(0)
"""


@contextlib.contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Keeps a library's own log lines off the screen while it is tried."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def bitsandbytes(ctx: Ctx) -> Finding:
    import torch

    with quiet("bitsandbytes"):
        import bitsandbytes
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        device = "cuda" if torch.cuda.is_available() else "cpu"
        values = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = quantize_4bit(values, quant_type="nf4")
        error = (dequantize_4bit(packed, state) - values).abs().max().item()
    # NF4's widest gap between neighbouring levels is 0.304 (-1 to -0.696): rounding errs by half of it at most.
    if error > 0.16:
        return Finding(
            "failed",
            f"{bitsandbytes.__version__} quantises wrongly on {device}: error {error:.3f} "
            "where NF4 allows 0.152",
            SETUP,
        )
    return Finding("ok", f"{bitsandbytes.__version__}, NF4 quantised on {device}")


def library(module: str, symbol: str | None = None) -> Callable[[Ctx], Finding]:
    """A check that imports `module` and, where its parts load lazily, the one that Forge uses."""

    def run(ctx: Ctx) -> Finding:
        loaded = importlib.import_module(module)
        if symbol and not hasattr(loaded, symbol):
            return Finding("failed", f"{module} {loaded.__version__} has no {symbol}", SETUP)
        return Finding("ok", loaded.__version__)

    return run


def extra(module: str, why: str) -> Callable[[Ctx], Finding]:
    """A check of a library that Forge does without: absent is only a note."""

    def run(ctx: Ctx) -> Finding:
        if importlib.util.find_spec(module) is None:
            return Finding(
                "warning",
                f"not installed (optional): {why}",
                f"none needed; else pip install {module}",
            )
        return Finding("ok", importlib.import_module(module).__version__)

    return run


def runtime(ctx: Ctx) -> Finding:
    """A GGUF of a random model is written, loaded and asked for tokens, in a process of its own that may crash."""
    import xllamacpp

    with tempfile.TemporaryDirectory(prefix="forge-doctor-") as folder:
        made = subprocess.run(
            [sys.executable, "-P", "-c", GENERATE, str(random_gguf(Path(folder)))],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUNTIME_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if made.returncode or made.stdout.strip() != str(TOKENS):
        why = (
            made.stdout.strip()
            or " ".join(made.stderr.split())[-200:]
            or f"signal {-made.returncode}"
        )
        return Finding(
            "failed", f"xllamacpp {xllamacpp.__version__} does not generate: {why}", SETUP
        )
    devices = ", ".join(device["description"] for device in xllamacpp.get_device_info())
    return Finding(
        "ok",
        f"xllamacpp {xllamacpp.__version__} on {devices}, {TOKENS} tokens generated from a GGUF",
    )


def runtime_gpu(ctx: Ctx) -> Finding:
    """Whether llama.cpp uses the GPU that is there; the wheel that pip takes by itself is for the CPU."""
    import xllamacpp

    found = [
        device["description"]
        for device in xllamacpp.get_device_info()
        if device["type"].value != CPU
    ]
    if found:
        return Finding("ok", f"answers on {', '.join(found)}")
    driver = nvidia_smi()
    build = gpu_build(driver.serves)
    if not driver.gpus or build is None:
        why = "no build for a CUDA that the driver serves" if driver.gpus else "no NVIDIA GPU here"
        return Finding("ok", f"answers on the CPU: {why}")
    return Finding(
        "warning",
        f"answers on the CPU, and there is {driver.gpus[0]} (optional; training uses it)",
        f"pip install --force-reinstall --no-deps --index-url {build} xllamacpp=={xllamacpp.__version__}",
    )


def gpu_build(serves: str | None) -> str | None:
    """Where the newest build for a CUDA that the driver serves lies, by the package's own description; None without."""
    if serves is None:
        return None
    found = GPU_BUILDS.findall(metadata("xllamacpp")["Description"])
    builds = {(int(major), int(minor)): url for url, major, minor in found}
    fitting = [cuda for cuda in builds if cuda <= tuple(map(int, serves.split(".")))]
    return builds[max(fitting)] if fitting else None


def random_gguf(folder: Path) -> Path:
    """A tenth of a second's worth of model, by the way that every GGUF takes here."""
    from phoenix_forge.gguf.write import quantize
    from phoenix_forge.weights.tiny import build_tiny

    build_tiny(
        folder / "base",
        ["A doctor asks a tiny model for a few tokens."],
        hidden=64,
        ffn=128,
        layers=1,
        vocab=400,
    )
    (file,) = quantize(
        folder / "base", None, {"Q8_0": folder / "random.gguf"}, name="random", report=Silent()
    )
    return Path(file["path"])


def quantiser(ctx: Ctx) -> Finding:
    import numpy as np

    from phoenix_forge.gguf.quantization import dequantize_rows, quantize_rows

    values = np.linspace(-1, 1, 512, dtype=np.float32)
    error = np.abs(
        dequantize_rows("Q4_K", quantize_rows("Q4_K", values.reshape(2, 256)), values.size) - values
    ).max()
    # 16 levels for 32 neighbouring values, their scale and offset in 6 bits: 0.032 on this ramp.
    if error > 0.05:
        return Finding(
            "failed", f"ggml quantises wrongly: error {error:.3f} where Q4_K makes 0.032", SETUP
        )
    return Finding("ok", f"libggml-python {version('libggml-python')}, Q4_K quantised")
