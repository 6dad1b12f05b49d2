"""Where an adapter starts from when not at zero: PiSSA and LoftQ move part of the base's weights into it.

The frozen weights change with it, so what training adds to the base is s (B A - B0 A0): the adapter is saved with twice
the rank, [B, -B0] and [A; A0], and fits the base as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phoenix_forge.train.engine.kernels import kernels, quantize
from phoenix_forge.train.engine.lora import Lora, Slot

Init = Callable[[Tensor, Lora, Sequence[Slot], bool], Tensor]


def _principal(weight: Tensor, lora: Lora, slot: Slot) -> Tensor:
    """Puts the leading singular triplets into A and B, evenly; returns their product, s B A (out, in), fp32."""
    torch.manual_seed(0)  # the fast SVD projects at random
    u, s, v = torch.svd_lowrank(weight, q=min(lora.rank + 8, *weight.shape), niter=4)
    root = s[: lora.rank].sqrt()
    lora.b_of(slot).copy_(u[:, : lora.rank] * root / lora.scaling)
    lora.a_of(slot).copy_((v[:, : lora.rank] * root).t())
    return lora.scaling * (lora.b_of(slot) @ lora.a_of(slot))


def pissa(weight: Tensor, lora: Lora, slots: Sequence[Slot], four_bit: bool) -> Tensor:
    """Principal components trained, the rest frozen (Meng et al. 2024, arXiv 2404.02948)."""
    for slot in slots:
        weight[slot.rows] -= _principal(weight[slot.rows], lora, slot)
    return weight


def loftq(weight: Tensor, lora: Lora, slots: Sequence[Slot], four_bit: bool) -> Tensor:
    """The adapter starts as the best low-rank correction of the quantisation's error, found in five alternating steps
    (Li et al. 2023, arXiv 2310.08659). Without quantisation there is no error and nothing changes."""
    if not four_bit:
        return weight
    for slot in slots:
        whole = weight[slot.rows].clone()
        low = torch.zeros_like(whole)
        for _ in range(5):
            low = _principal(whole - _rounded(whole - low), lora, slot)
        weight[slot.rows] = whole - low
    return weight


def _rounded(weight: Tensor) -> Tensor:
    out = torch.empty_like(weight)
    kernels(weight.device).dequantize(*quantize(weight), out)
    return out


INITS: dict[str, Init | None] = {"default": None, "pissa": pissa, "loftq": loftq}
