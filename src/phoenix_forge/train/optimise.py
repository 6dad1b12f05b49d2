"""Optimizer, learning rate and clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from phoenix_forge.core.config import TrainConfig


def _eight_bit(name: str) -> Callable[..., torch.optim.Optimizer]:
    def make(groups: list[dict[str, Any]], **more: Any) -> torch.optim.Optimizer:
        import bitsandbytes

        return getattr(bitsandbytes.optim, name)(groups, **more)

    return make


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": lambda groups, **more: torch.optim.AdamW(groups, fused=True, **more),
    "adamw_8bit": _eight_bit("AdamW8bit"),
    "paged_adamw_8bit": _eight_bit("PagedAdamW8bit"),
}


def optimizer(
    name: str, groups: dict[str, list[Parameter]], train: TrainConfig
) -> torch.optim.Optimizer:
    """AdamW without weight decay; each step sets the learning rate. B has its own (LoRA+, Hayou et al. 2024, arXiv
    2402.12354)."""
    made = [
        {"params": groups["a"], "factor": 1.0},
        {"params": groups["b"], "factor": train.lora_plus},
    ]
    return OPTIMIZERS[name]([g for g in made if g["params"]], lr=0.0, weight_decay=0.0)


SHAPES: dict[
    str, Callable[[float], float]
] = {  # share of the steps after warm-up → share of the learning rate
    "cosine": lambda x: 0.5 * (1 + math.cos(math.pi * x)),
    "linear": lambda x: 1 - x,
    "constant": lambda x: 1.0,
}


def learning_rate(train: TrainConfig, step: int, steps: int) -> float:
    """For step 0, 1, … of `steps`: rises from zero to its peak over the warm-up, then follows the schedule."""
    warmup = int(train.warmup * steps)
    if step < warmup:
        return train.learning_rate * step / warmup
    return train.learning_rate * SHAPES[train.schedule]((step - warmup) / max(1, steps - warmup))


def clip(grads: Sequence[Tensor], most: float) -> Tensor:
    """Scales the gradients down to a joint norm of `most`; returns the norm they had, on the device."""
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
    scale = (most / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(scale)
    return norm
