"""The elementwise work between matrix products, each in one pass over memory: Triton on CUDA, plain torch elsewhere.

Both tables have the same functions; tests compare them. Matrices are row-major with unit stride in the last dimension
and may be wider than they are filled (a leading dimension larger than the width): see linear.py for why.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from phoenix_forge.train.engine.formats import E4M3_MAX, NF4

BLOCK = 64  # weights that share one absmax


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """NF4 codes, two a byte (the first in the high half), and one fp16 absmax for every 64 weights in row-major order.

    Elements must be a multiple of 64. fp16 scales are closer than the 8-bit ones of double quantisation.
    """
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(
        weight.contiguous(), blocksize=BLOCK, quant_type="nf4", compress_statistics=False
    )
    return packed.view(-1), state.absmax.to(torch.float16)


# ---- plain torch -----------------------------------------------------------------------------------------------------


def _dequantize(packed: Tensor, absmax: Tensor, out: Tensor) -> None:
    code = torch.tensor(NF4, device=packed.device)
    pairs = torch.stack(
        [code.repeat_interleave(16), code.repeat(16)], -1
    )  # of every byte, as 64 bits to look up
    values = (
        pairs.view(torch.int64)[:, 0]
        .index_select(0, packed.int())
        .view(torch.float32)
        .view(-1, BLOCK)
    )
    out.copy_(values.mul_(absmax.float()[:, None]).view(out.shape))


def _rows(*matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same few rows of each: what is computed between them stays in the cache (a megabyte, fp32)."""
    step = max(1, 262_144 // max(m.shape[-1] for m in matrices))
    yield from zip(*(m.split(step) for m in matrices), strict=True)


def _rms(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    for rows, result in _rows(x, out):
        wide = rows.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        torch.mul((wide * scale).to(x.dtype), weight, out=result)


def _rms_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float, total: Tensor) -> None:
    for change, rows, sums in _rows(grad, x, total):
        wide, g = rows.float(), change.float() * weight.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        along = torch.linalg.vecdot(g, wide)[:, None] * scale**3 / x.shape[-1]
        sums.add_(g.mul_(scale).addcmul_(wide, along, value=-1).to(total.dtype))


def _swiglu(gate_up: Tensor, out: Tensor) -> None:
    for both, result in _rows(gate_up, out):
        gate, up = both.chunk(2, -1)
        torch.mul(torch.nn.functional.silu(gate), up, out=result)


def _swiglu_backward(gate_up: Tensor, grad: Tensor) -> None:
    for both, change in _rows(gate_up, grad):
        gate, up = both.chunk(2, -1)
        g, u, d = (
            part.to(torch.float32, copy=True) for part in (gate, up, change)
        )  # all three are written over
        active = torch.nn.functional.silu(g)
        change.copy_(active * u)
        up.copy_(active.mul_(d))
        gate.copy_(torch.ops.aten.silu_backward(d.mul_(u), g))


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    low, high = x.float().chunk(2, -1)
    c, s = cos[:, None], sin[:, None]
    return torch.cat([low * c - high * s, high * c + low * s], -1).to(x.dtype)


def _rope(heads: Tensor, cos: Tensor, sin: Tensor) -> None:
    heads.copy_(_turn(heads, cos, sin))


def _rope_backward(grad: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    out.copy_(_turn(grad, cos, -sin))


def _cross_entropy(logits: Tensor, target: Tensor, scale: float) -> Tensor:
    losses = []
    for rows, wanted in zip(
        logits.split(1), target.split(1), strict=True
    ):  # a row is the cache's size
        wide = rows.float()
        normaliser = torch.logsumexp(wide, -1, keepdim=True)
        losses.append(normaliser[:, 0] - wide.gather(1, wanted[:, None])[:, 0])
        grad = torch.exp(wide - normaliser)
        grad[0, wanted] -= 1
        rows.copy_(grad.mul_(scale))
    return torch.cat(losses)


def _round8(x: Tensor) -> tuple[Tensor, Tensor]:
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / E4M3_MAX
    return (x.float() / scale).to(torch.float8_e4m3fn), scale


def _product8(
    x: Tensor, x_scale: Tensor, weight: Tensor, scale: Tensor, kind: torch.dtype
) -> Tensor:
    return ((x.float() @ weight.float().t()) * x_scale * scale.t()).to(kind)


PLAIN = SimpleNamespace(
    dequantize=_dequantize,
    rms=_rms,
    rms_backward=_rms_backward,
    swiglu=_swiglu,
    swiglu_backward=_swiglu_backward,
    rope=_rope,
    rope_backward=_rope_backward,
    cross_entropy=_cross_entropy,
    round8=_round8,
    product8=_product8,
)
"""What each function does, for matrices of M tokens:

dequantize(packed, absmax, out): NF4 into `out` (rows, columns), whatever its leading dimension.
rms(x, weight, eps, out): RMSNorm of (M, H) into `out`, rounded before the weight as transformers does.
rms_backward(grad, x, weight, eps, total): adds to `total` the gradient that reaches x through the norm.
swiglu(gate_up, out): silu(gate) · up of (M, 2 I) into (M, I).
swiglu_backward(gate_up, grad): in place; gate_up becomes its gradient, grad becomes swiglu's output again.
rope(heads, cos, sin): turns (M, heads, d) in place; cos and sin are fp32 (M, d / 2), halves paired as in Llama.
rope_backward(grad, cos, sin, out): the inverse turn of `grad` into `out`.
round8(x): x in 8 bits, e4m3, and the fp32 scale of each row (M, 1).
product8(x, x_scale, weight, scale, kind): x Wᵀ of two such matrices, in `kind`.
cross_entropy(logits, target, scale): losses (M) in fp32; logits become their gradient times `scale`.
"""


def kernels(device: torch.device) -> Any:
    """The table for a device. On CUDA Triton is needed; it comes with torch there."""
    if device.type != "cuda":
        return PLAIN
    from phoenix_forge.train.engine import triton_kernels

    return triton_kernels
