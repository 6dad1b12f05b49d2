"""How this machine trains best: measured where it can be, and said in one line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from forge.core.config import TrainConfig
from forge.core.fsio import human
from forge.errors import EnvironmentProblem

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Choice:
    """`precision` is bf16, fp16 or fp32; `four_bit` quantises the frozen base to NF4."""

    device: str
    precision: str
    four_bit: bool
    recompute: bool
    optimizer: str
    why: str


BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}


def dtype(precision: str) -> torch.dtype:
    import torch
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


def matmul_seconds(kind: torch.dtype, repeats: int = 5) -> float:
    """Best time of a matrix product as a 0.5B model's MLP has it, 256 tokens."""
    import torch
    left, right = torch.ones(256, 896, dtype=kind), torch.ones(896, 4864, dtype=kind)
    best = float("inf")
    for _ in range(repeats + 1):  # the first call also sets up the kernel
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return best


def choose(train: TrainConfig, parameters: int) -> Choice:
    """Device, precision and method for a base of so many parameters on this machine."""
    import torch
    if torch.cuda.is_available():
        return _on_gpu(train)
    return _on_cpu(train, parameters)


def _on_gpu(train: TrainConfig) -> Choice:
    import torch
    total = torch.cuda.get_device_properties(0).total_memory
    precision = train.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    four_bit = train.method != "lora"
    recompute = total < 40e9 if train.recompute == "auto" else train.recompute
    optimizer = "paged_adamw_8bit" if train.optimizer == "auto" else train.optimizer
    why = (f"{torch.cuda.get_device_name(0)}, {human(total)}: {'4-bit NF4 base' if four_bit else 'base'} in "
           f"{precision}, {'recomputing' if recompute else 'keeping'} activations")
    return Choice("cuda", precision, four_bit, recompute, optimizer, why)


def _on_cpu(train: TrainConfig, parameters: int) -> Choice:
    import torch
    precision, why = train.precision, f"train.precision {train.precision}"
    if precision == "fp16":
        precision, why = "fp32", "fp16 is for GPUs: fp32 instead"
    if precision == "auto":
        ratio = matmul_seconds(torch.float32) / matmul_seconds(torch.bfloat16)
        # Well above 1, so that a noisy measurement does not flip the choice between a run and its resume.
        precision = "bf16" if ratio > 1.3 else "fp32"
        why = f"a bf16 matrix product is {ratio:.1f}× as fast as fp32 here"
    needed, available = parameters * BYTES[precision], psutil.virtual_memory().available
    four_bit = train.method == "qlora" or (train.method == "auto" and needed > available * 0.6)
    if four_bit and train.method == "auto":
        why += f"; {human(needed)} of {precision} weights would not fit {human(available)} of free memory: NF4"
    if not four_bit and needed > available:
        raise EnvironmentProblem(f"the base takes {human(needed)} in {precision}, {human(available)} of memory are "
                                 "free", fix="--set train.method=qlora, or a smaller base, or add swap")
    # Paged and 8-bit optimizers are CUDA code; the adapter's own state is small.
    return Choice("cpu", precision, four_bit, train.recompute is True, "adamw",
                  f"no CUDA GPU; {'NF4' if four_bit else 'plain'} LoRA in {precision} ({why})")
