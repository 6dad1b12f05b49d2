"""The GPU: its driver, PyTorch's build for it, and what its kernels really compute."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phoenix_forge.core import proc
from phoenix_forge.core.fsio import human
from phoenix_forge.doctor.finding import CUDA_GUIDE, FITTING_TORCH, SETUP, Ctx, Finding
from phoenix_forge.errors import ForgeError

if TYPE_CHECKING:
    import torch

LEAST_GPU = 8e9  # bytes: 7B in NF4 with 1 x 2048 tokens peaks at 6.4 GB
OLDEST_DRIVER = 525  # for any build of PyTorch for CUDA 12 (CUDA's "minor version compatibility")
PCI = Path("/sys/bus/pci/devices")
# What a GPU's compute capability allows, from which on.
ALLOWS = (("bf16 and flash attention", (8, 0)), ("fp8", (8, 9)), ("train.method=fp8", (9, 0)))
# Largest error of attention over 64 random keys: rounding makes a tenth of it, a wrong mask or scale 1 and more.
ATTENTION_ERROR = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


def torch_works(ctx: Ctx) -> Finding:
    import torch

    product = (torch.full((8, 8), 2.0) @ torch.eye(8)).sum().item()
    if product != 128:
        return Finding(
            "failed", f"torch {torch.__version__} multiplies wrongly: {product} for 128", SETUP
        )
    return Finding("ok", torch.__version__)


@dataclass(frozen=True)
class Driver:
    """What the NVIDIA driver says: its GPUs' names, its own version, and the newest CUDA that it serves."""

    gpus: tuple[str, ...] = ()
    version: str | None = None
    serves: str | None = None


def nvidia_smi() -> Driver:
    """Empty where there is no driver, or where it sees no GPU."""
    if shutil.which("nvidia-smi") is None:
        return Driver()
    try:
        rows = proc.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], timeout=20
        )
        banner = proc.run(["nvidia-smi"], timeout=20)
    except ForgeError:  # the tool is there and no GPU answers: the same as none
        return Driver()
    gpus = [line.rpartition(", ") for line in rows.splitlines() if ", " in line]
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*([\d.]+)", banner)
    return Driver(
        tuple(name.strip() for name, _, _ in gpus),
        gpus[0][2].strip() if gpus else None,
        cuda and cuda[1],
    )


def on_the_bus() -> bool:
    """Whether a display controller of NVIDIA's is plugged in, whatever the software says (Linux's sysfs)."""

    def read(path: Path) -> str:
        try:
            return path.read_text().strip()
        except OSError:
            return ""

    return any(
        read(card / "vendor") == "0x10de" and read(card / "class").startswith("0x03")
        for card in PCI.glob("*")
    )


def driver(ctx: Ctx) -> Finding:
    found = nvidia_smi()
    if not found.gpus:
        if on_the_bus():
            return Finding(
                "warning",
                "an NVIDIA GPU is plugged in, and no driver answers for it",
                f"install the NVIDIA driver (in a container: start it with --gpus all), then nvidia-smi: "
                f"{CUDA_GUIDE}",
            )
        return Finding("ok", "no NVIDIA GPU or driver here")
    text = f"{found.version} for {', '.join(found.gpus)}, serves CUDA up to {found.serves or 'an unknown version'}"
    if (
        found.version
        and found.version.split(".")[0].isdigit()
        and int(found.version.split(".")[0]) < OLDEST_DRIVER
    ):
        return Finding(
            "warning",
            f"{text}: older than the {OLDEST_DRIVER} that CUDA 12 needs",
            f"update the NVIDIA driver: {CUDA_GUIDE}",
        )
    return Finding("ok", text)


def mismatch(built: str | None, served: str | None) -> str:
    """Why a machine works although nvidia-smi and PyTorch name two versions of CUDA."""
    if not built or not served or built == served:
        return ""
    newer = [int(n) for n in served.split(".")] > [int(n) for n in built.split(".")]
    why = (
        "drivers run older CUDA builds"
        if newer
        else "drivers run all builds of a major version that they know"
    )
    return f" (the driver serves up to {served}: harmless, {why})"


def cuda(ctx: Ctx) -> Finding:
    import torch

    if torch.cuda.is_available():
        torch.ones(
            256, device="cuda"
        ).sum().item()  # RuntimeError where this build has no kernels for the GPU
        return Finding(
            "ok",
            f"{torch.cuda.get_device_name(0)}, torch built for CUDA {torch.version.cuda}"
            + mismatch(torch.version.cuda, nvidia_smi().serves),
        )
    seen = nvidia_smi()
    names, served = seen.gpus, seen.serves
    if not names:
        return Finding(
            "warning",
            "no CUDA GPU: training will run on the CPU",
            "none needed for models up to about 1B; a GPU that should be here: run nvidia-smi",
        )
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return Finding(
            "warning",
            f"{names[0]} is hidden by CUDA_VISIBLE_DEVICES: training will run on the CPU",
            "unset CUDA_VISIBLE_DEVICES",
        )
    if torch.version.cuda is None:
        return Finding(
            "failed",
            f"{names[0]} is here, but torch {torch.__version__} was built without CUDA",
            FITTING_TORCH,
        )
    return Finding(
        "failed",
        f"torch cannot reach {names[0]}: it was built for CUDA {torch.version.cuda}, the driver "
        f"serves up to {served or 'an unknown version'}",
        f"{FITTING_TORCH}; or update the NVIDIA driver: {CUDA_GUIDE}",
    )


def gpu_memory(ctx: Ctx) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "no GPU to measure")
    free, total = torch.cuda.mem_get_info(0)
    found = f"{human(free)} free of {human(total)}"
    if total < LEAST_GPU:
        return Finding(
            "warning",
            f"{found}: a 7B model needs {human(LEAST_GPU)}",
            "--set model.base=qwen3-1.7b",
        )
    if free < 0.8 * total:
        return Finding("warning", found, "end what nvidia-smi lists as using the GPU")
    return Finding("ok", found)


def capability(ctx: Ctx) -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("ok", "no GPU to ask")
    found = torch.cuda.get_device_capability(0)
    allowed = [what for what, least in ALLOWS if found >= least]
    lacking = [f"{what} ({least[0]}.{least[1]})" for what, least in ALLOWS if found < least]
    text = (
        f"{found[0]}.{found[1]}"
        + (f", enough for {', '.join(allowed)}" if allowed else "")
        + (f"; too low for {', '.join(lacking)}" if lacking else "")
    )
    if not allowed:
        return Finding("warning", text, "none needed: training takes fp16 by itself, and longer")
    return Finding("ok", text)


def attention_error(device: str, kind: torch.dtype, backends: Any) -> float:
    """Largest difference of a backend's causal attention from plain math in fp64.

    Raises RuntimeError where no such kernel exists for the device.
    """
    import torch
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 64, 64, generator=random).to(kind) for _ in range(3))
    scores = (q.double() @ k.double().transpose(-1, -2) / 8).masked_fill(
        torch.ones(64, 64, dtype=torch.bool).triu(1), float("-inf")
    )
    expected = scores.softmax(-1) @ v.double()
    with sdpa_kernel(backends), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says at length why a kernel does not fit
        made = scaled_dot_product_attention(
            q.to(device), k.to(device), v.to(device), is_causal=True
        )
    return (made.double().cpu() - expected).abs().max().item()


def attention(ctx: Ctx) -> Finding:
    """PyTorch's attention against plain math: what the CPU takes, or each of the GPU's kernels."""
    import torch
    from torch.nn.attention import SDPBackend as Backend

    if torch.cuda.is_available():
        kind = torch.bfloat16 if torch.cuda.get_device_capability(0) >= (8, 0) else torch.float16
        trials: list[tuple[str, str, torch.dtype, Any]] = [
            ("flash", "cuda", kind, Backend.FLASH_ATTENTION),
            ("cuDNN", "cuda", kind, Backend.CUDNN_ATTENTION),
            ("memory-efficient", "cuda", kind, Backend.EFFICIENT_ATTENTION),
        ]
    else:
        # No backend is forced: the CPU has one fused kernel and plain math.
        trials = [
            (str(kind).removeprefix("torch."), "cpu", kind, [Backend.FLASH_ATTENTION, Backend.MATH])
            for kind in (torch.float32, torch.bfloat16)
        ]
    works, absent = [], []
    for name, device, kind, backends in trials:
        try:
            error = attention_error(device, kind, backends)
        except RuntimeError:
            absent.append(name)
            continue
        if error > (limit := ATTENTION_ERROR[str(kind).removeprefix("torch.")]):
            return Finding(
                "failed",
                f"{name} attention computes wrongly on {device}: error {error:.3f}, {limit} at "
                "most from rounding",
                SETUP,
            )
        works.append(name)
    text = f"{', '.join(works) or 'no kernel'} on {trials[0][1]}" + (
        f"; not {', '.join(absent)}" if absent else ""
    )
    if not works:
        return Finding(
            "warning", f"{text}: attention takes plain math, which is slow", f"see {CUDA_GUIDE}"
        )
    return Finding("ok", text)


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        os.environ.update({name: before} if before is not None else {})


def triton(ctx: Ctx) -> Finding:
    """Compiles one of training's own kernels afresh and compares what it computes."""
    import torch

    if not torch.cuda.is_available():
        return Finding("warning", "not needed, there is no CUDA GPU", "none needed")
    # Its caches would hide a compiler that is gone: triton compiles a small C launcher as well as the kernel.
    with (
        tempfile.TemporaryDirectory(prefix="forge-triton-") as cache,
        variable("TRITON_CACHE_DIR", cache),
    ):
        import triton

        from phoenix_forge.train.engine.triton_kernels import swiglu

        gate, up = torch.randn(2, 4, 256, device="cuda")
        made = torch.empty_like(up)
        try:
            swiglu(torch.cat([gate, up], 1), made)
        except RuntimeError as error:
            if "compiler" in str(error).lower():
                return Finding(
                    "failed", f"{triton.__version__} finds no C compiler", "sudo apt install gcc"
                )
            raise
    difference = (made - torch.nn.functional.silu(gate) * up).abs().max().item()
    if difference > 1e-4:
        return Finding(
            "failed",
            f"{triton.__version__} compiles wrongly: error {difference:.5f} in SwiGLU",
            SETUP,
        )
    return Finding("ok", f"{triton.__version__}, a kernel compiled and right")
