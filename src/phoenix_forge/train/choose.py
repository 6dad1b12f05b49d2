"""How this machine trains best: measured where it can be, and said in one line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from phoenix_forge.catalog.memory import (
    MemoryPlan,
    Placement,
    Sizes,
    device_bytes,
    passes,
    placements,
    plans,
)
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.fsio import human
from phoenix_forge.errors import EnvironmentProblem

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Compute:
    """`precision` is bf16, fp16 or fp32; `bits` of a frozen weight: 4 is NF4, 8 is e4m3, else the precision's;
    `modern`: the GPU has bf16 and flash attention (Ampere or newer)."""

    device: str
    precision: str
    bits: int
    optimizer: str
    why: str
    modern: bool = True


BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
STATE_BYTES = {
    "adamw": 8,
    "adamw_8bit": 2,
    "paged_adamw_8bit": 2,
}  # of the optimizer, a trained parameter


def dtype(precision: str) -> torch.dtype:
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]


PATIENCE = 0.25  # seconds, for each type


def matmul_seconds(kind: torch.dtype, repeats: int = 5) -> float:
    """Best time of a matrix product as a 0.5B model's MLP has it, 64 tokens; few are tried where one takes long, as
    in a type that a processor has no instructions for."""
    import torch

    left, right = torch.ones(64, 896, dtype=kind), torch.ones(896, 4864, dtype=kind)
    spent: list[float] = []
    while len(spent) <= repeats and sum(spent) < PATIENCE:  # the first call also sets up the kernel
        start = time.perf_counter()
        left @ right
        spent.append(time.perf_counter() - start)
    return min(spent)


def cuda() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


def sixteen_bits(compute: Compute, parameters: int) -> Compute:
    """The base in 16 bits where a GPU's free memory holds it, else in 4: for models that are only asked."""
    import torch

    if compute.device != "cuda":
        return compute
    roomy = torch.cuda.mem_get_info()[0] > parameters * 2 * 1.3
    return replace(compute, bits=16 if roomy else 4)


def choose(train: TrainConfig, parameters: int) -> Compute:
    """Device, precision and method for a base of so many parameters on this machine."""
    import torch

    if torch.cuda.is_available():
        return _on_gpu(train)
    return _on_cpu(train, parameters)


def _on_gpu(train: TrainConfig) -> Compute:
    import torch

    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    modern = torch.cuda.get_device_capability() >= (8, 0)
    precision, note = train.precision, ""
    if precision == "auto" or (precision == "fp16" and modern):
        # Where both are computed at the same speed, the one that cannot overflow.
        note = (
            " (fp16 asked for: bf16 is as fast here and needs no loss scaling)"
            if precision == "fp16"
            else ""
        )
        precision = "bf16" if modern else "fp16"
    bits = {"auto": 4, "qlora": 4, "fp8": 8, "lora": 16}[train.method]
    if bits == 8 and torch.cuda.get_device_capability() < (9, 0):
        raise EnvironmentProblem(
            "train.method fp8 needs a Hopper GPU or newer; "
            f"{torch.cuda.get_device_name()} is older",
            fix="--set train.method=qlora",
        )
    optimizer = "adamw_8bit" if train.optimizer == "auto" else train.optimizer
    base = {4: "4-bit NF4 base", 8: "8-bit e4m3 base", 16: "base"}[bits]
    why = f"{torch.cuda.get_device_name()}, {human(total)}: {base} in {precision}"
    return Compute("cuda", precision, bits, optimizer, why + note, modern)


def _on_cpu(train: TrainConfig, parameters: int) -> Compute:
    import torch

    precision, why = train.precision, f"train.precision {train.precision}"
    if train.method == "fp8":
        raise EnvironmentProblem(
            "train.method fp8 needs a Hopper GPU or newer; this machine has no CUDA GPU",
            fix="--set train.method=auto",
        )
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
        raise EnvironmentProblem(
            f"the base takes {human(needed)} in {precision}, {human(available)} of memory are free",
            fix="--set train.method=qlora, or a smaller base, or add swap",
        )
    # Paged and 8-bit optimizers are CUDA code; the adapter's own state is small.
    return Compute(
        "cpu",
        precision,
        4 if four_bit else 8 * BYTES[precision],
        "adamw",
        f"no CUDA GPU; {'NF4' if four_bit else 'plain'} LoRA in {precision} ({why})",
    )


def device_budget(train: TrainConfig, compute: Compute) -> int:
    """Bytes that training may take on its device: what is free, or train.memory where that is less."""
    import torch

    if compute.device != "cuda":
        return psutil.virtual_memory().available
    free = torch.cuda.mem_get_info()[0]
    return min(free, int(train.memory * 2**30)) if train.memory else free


def options(
    train: TrainConfig, compute: Compute, sizes: Sizes, budget: int, world: int = 1
) -> Iterator[MemoryPlan]:
    """Ways to train within `budget` bytes on the device, the fastest first."""
    gpu = compute.device == "cuda"
    recompute = None if train.recompute == "auto" else train.recompute
    streamed = None if train.stream == "auto" else train.stream
    candidates = placements(
        sizes, BYTES[compute.precision], compute.bits, gpu, recompute, streamed, world
    )
    host = psutil.virtual_memory().available if gpu else 1 << 62  # on a CPU the device is the host
    return plans(
        sizes,
        candidates,
        passes(train.max_length, train.tokens_per_update, train.micro_batch, gpu),
        train.rank,
        STATE_BYTES[compute.optimizer],
        budget,
        host,
    )


def by_autograd(train: TrainConfig, compute: Compute, sizes: Sizes) -> MemoryPlan:
    """For a model that PEFT trains: everything resident, and recomputation where half as much again would not fit."""
    tokens = train.max_length * (train.micro_batch or 1)
    placement = Placement(sizes.layers, BYTES[compute.precision], compute.bits)
    needed = device_bytes(sizes, placement, tokens, train.rank, STATE_BYTES[compute.optimizer])
    keep = (
        needed * 3 // 2 < device_budget(train, compute)
        if train.recompute == "auto"
        else not train.recompute
    )
    placement = placement if keep else replace(placement, whole=0)
    return MemoryPlan(
        placement,
        tokens,
        device_bytes(sizes, placement, tokens, train.rank, STATE_BYTES[compute.optimizer]) * 3 // 2,
        0,
    )


def too_small(train: TrainConfig, compute: Compute, sizes: Sizes) -> EnvironmentProblem:
    """The refusal when nothing fits, with what the leanest way would take."""
    gpu = compute.device == "cuda"
    leanest = plans(
        sizes,
        placements(sizes, BYTES[compute.precision], compute.bits, gpu, None, None),
        [train.max_length],
        train.rank,
        STATE_BYTES[compute.optimizer],
        1 << 62,
        1 << 62,
    )
    least = min(memory.device_bytes for memory in leanest)
    return EnvironmentProblem(
        f"training needs {human(least)} {'of GPU memory' if gpu else 'of memory'} at least, "
        f"{human(device_budget(train, compute))} are free",
        fix="--set train.max_length=… or train.rank=… lower, train.method=qlora, or a smaller base",
    )


def described(memory: MemoryPlan, sizes: Sizes) -> str:
    """One line: what is kept where, and what that is predicted to take."""
    placement = memory.placement
    words = []
    if placement.expanded:
        words.append("4-bit weights laid out once")
    if placement.streamed:
        words.append("frozen layers streamed from RAM")
    if placement.sharded > 1:
        words.append(f"frozen layers spread over {placement.sharded} GPUs")
    if placement.whole == sizes.layers:
        words.append("activations kept")
    else:
        words.append(
            "activations recomputed"
            if not placement.whole
            else f"activations of {placement.whole} of {sizes.layers} layers kept"
        )
        if placement.on_host:
            words.append("their inputs in RAM")
    host = f" and {human(memory.host_bytes)} of RAM" if memory.host_bytes else ""
    return f"{', '.join(words)}; {human(memory.device_bytes)}{host} predicted"


def stored(compute: Compute, memory: MemoryPlan) -> dict[str, Any]:
    """As it lies beside the checkpoints; the keys are those of trainings that are under way."""
    return {
        "choice": asdict(compute),
        "use": asdict(memory.placement),
        "tokens": memory.tokens,
        "device_bytes": memory.device_bytes,
        "host_bytes": memory.host_bytes,
    }


def restored(value: dict[str, Any]) -> tuple[Compute, MemoryPlan]:
    return Compute(**value["choice"]), MemoryPlan(
        Placement(**value["use"]), value["tokens"], value["device_bytes"], value["host_bytes"]
    )
