"""kernels.PLAIN, as Triton. Imported on CUDA only."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from phoenix_forge.train.engine.formats import E4M3_MAX, NF4

_codes: dict[torch.device, Tensor] = {}


@triton.jit
def _dequantize(
    packed, absmax, code, out, n, K: tl.constexpr, LD: tl.constexpr, BLOCK: tl.constexpr
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    byte = tl.load(packed + i, mask=inside, other=0).to(tl.int32)
    scale = tl.load(absmax + (i >> 5), mask=inside, other=0).to(tl.float32)
    first, second = tl.load(code + (byte >> 4)) * scale, tl.load(code + (byte & 15)) * scale
    kind = out.dtype.element_ty
    o = tl.program_id(0).to(tl.int64) * BLOCK * 2 + tl.arange(0, BLOCK * 2)
    tl.store(
        out + (o // K) * LD + o % K, tl.interleave(first.to(kind), second.to(kind)), mask=o < 2 * n
    )


def dequantize(packed: Tensor, absmax: Tensor, out: Tensor) -> None:
    device = packed.device
    if device not in _codes:
        _codes[device] = torch.tensor(NF4, device=device)
    n = packed.numel()
    _dequantize[(triton.cdiv(n, 2048),)](
        packed,
        absmax,
        _codes[device],
        out,
        n,
        K=out.shape[1],
        LD=out.stride(0),
        BLOCK=2048,
        num_warps=4,
    )


@triton.jit
def _rms(x, weight, out, sx, so, eps, H: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = c < H
    v = tl.load(x + row * sx + c, mask=inside, other=0).to(tl.float32)
    v = v * tl.rsqrt(tl.sum(v * v, 0) / H + eps)
    w = tl.load(weight + c, mask=inside, other=0)
    tl.store(out + row * so + c, v.to(w.dtype) * w, mask=inside)


def rms(x: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    block = triton.next_power_of_2(x.shape[1])
    _rms[(x.shape[0],)](
        x, weight, out, x.stride(0), out.stride(0), eps, H=x.shape[1], BLOCK=block, num_warps=8
    )


@triton.jit
def _rms_backward(grad, x, weight, total, sg, sx, st, eps, H: tl.constexpr, BLOCK: tl.constexpr):
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = c < H
    v = tl.load(x + row * sx + c, mask=inside, other=0).to(tl.float32)
    g = tl.load(grad + row * sg + c, mask=inside, other=0).to(tl.float32)
    g = g * tl.load(weight + c, mask=inside, other=0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(v * v, 0) / H + eps)
    v = v * scale
    d = (g - v * (tl.sum(g * v, 0) / H)) * scale
    t = tl.load(total + row * st + c, mask=inside, other=0)
    tl.store(total + row * st + c, (t.to(tl.float32) + d).to(t.dtype), mask=inside)


def rms_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float, total: Tensor) -> None:
    block = triton.next_power_of_2(x.shape[1])
    _rms_backward[(x.shape[0],)](
        grad,
        x,
        weight,
        total,
        grad.stride(0),
        x.stride(0),
        total.stride(0),
        eps,
        H=x.shape[1],
        BLOCK=block,
        num_warps=8,
    )


@triton.jit
def _swiglu(gate_up, out, sg, so, I, BLOCK: tl.constexpr):  # noqa: E741
    row, c = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < I
    g = tl.load(gate_up + row * sg + c, mask=inside, other=0).to(tl.float32)
    u = tl.load(gate_up + row * sg + I + c, mask=inside, other=0)
    tl.store(out + row * so + c, (g * tl.sigmoid(g)).to(u.dtype) * u, mask=inside)


def swiglu(gate_up: Tensor, out: Tensor) -> None:
    rows, width = out.shape
    _swiglu[(rows, triton.cdiv(width, 2048))](
        gate_up, out, gate_up.stride(0), out.stride(0), width, BLOCK=2048, num_warps=8
    )


@triton.jit
def _swiglu_backward(gate_up, grad, sg, sd, I, BLOCK: tl.constexpr):  # noqa: E741
    row, c = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = c < I
    at = gate_up + row * sg + c
    g = tl.load(at, mask=inside, other=0).to(tl.float32)
    u = tl.load(at + I, mask=inside, other=0)
    d = tl.load(grad + row * sd + c, mask=inside, other=0).to(tl.float32)
    s = tl.sigmoid(g)
    tl.store(grad + row * sd + c, (g * s).to(u.dtype) * u, mask=inside)
    tl.store(at, (d * u.to(tl.float32) * s * (1 + g * (1 - s))).to(u.dtype), mask=inside)
    tl.store(at + I, (d * g * s).to(u.dtype), mask=inside)


def swiglu_backward(gate_up: Tensor, grad: Tensor) -> None:
    rows, width = grad.shape
    _swiglu_backward[(rows, triton.cdiv(width, 2048))](
        gate_up, grad, gate_up.stride(0), grad.stride(0), width, BLOCK=2048, num_warps=8
    )


@triton.jit
def _turn(
    x,
    cos,
    sin,
    out,
    sx,
    hx,
    so,
    ho,
    n,
    SIGN: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    h, c = tl.arange(0, HEADS)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = (h < n) & (c < HALF)
    co = tl.load(cos + row * HALF + c, mask=c < HALF, other=0)
    si = tl.load(sin + row * HALF + c, mask=c < HALF, other=0) * SIGN
    at = x + row * sx + h * hx + c
    low = tl.load(at, mask=inside, other=0).to(tl.float32)
    high = tl.load(at + HALF, mask=inside, other=0).to(tl.float32)
    to = out + row * so + h * ho + c
    kind = out.dtype.element_ty
    tl.store(to, (low * co - high * si).to(kind), mask=inside)
    tl.store(to + HALF, (high * co + low * si).to(kind), mask=inside)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor, sign: float) -> None:
    rows, n, width = x.shape
    _turn[(rows,)](
        x,
        cos,
        sin,
        out,
        x.stride(0),
        x.stride(1),
        out.stride(0),
        out.stride(1),
        n,
        SIGN=sign,
        HALF=width // 2,
        HEADS=triton.next_power_of_2(n),
        BLOCK=triton.next_power_of_2(width // 2),
        num_warps=4,
    )


def rope(heads: Tensor, cos: Tensor, sin: Tensor) -> None:
    _rotate(heads, cos, sin, heads, 1.0)


def rope_backward(grad: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> None:
    _rotate(grad, cos, sin, out, -1.0)


@triton.jit
def _cross_entropy(logits, target, losses, scale, stride, V, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    c = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):  # each lane keeps its own running maximum and sum
        v = tl.load(logits + start + c, mask=start + c < V, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(top, v)
        shrink = tl.where(higher == float("-inf"), 0.0, tl.exp(top - higher))
        total = total * shrink + tl.where(v == float("-inf"), 0.0, tl.exp(v - higher))
        top = higher
    peak = tl.max(top, 0)
    normaliser = peak + tl.log(tl.sum(total * tl.exp(top - peak), 0))
    t = tl.load(target + row)
    tl.store(losses + row, normaliser - tl.load(logits + t).to(tl.float32))
    tl.debug_barrier()  # the target's logit is read before it is overwritten
    for start in range(0, V, BLOCK):
        at, inside = logits + start + c, start + c < V
        p = tl.exp(tl.load(at, mask=inside, other=float("-inf")).to(tl.float32) - normaliser)
        p = tl.where(start + c == t, p - 1, p) * scale
        tl.store(at, p.to(logits.dtype.element_ty), mask=inside)


def cross_entropy(logits: Tensor, target: Tensor, scale: float) -> Tensor:
    losses = torch.empty(len(target), dtype=torch.float32, device=logits.device)
    _cross_entropy[(len(target),)](
        logits, target, losses, scale, logits.stride(0), logits.shape[1], BLOCK=4096, num_warps=8
    )
    return losses


@triton.jit
def _round8(x, out, scales, stride, n, most, BLOCK: tl.constexpr):
    row, c = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    x += row * stride
    top = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n, BLOCK):
        top = tl.maximum(
            top, tl.abs(tl.load(x + start + c, mask=start + c < n, other=0).to(tl.float32))
        )
    scale = tl.maximum(tl.max(top, 0), 1e-12) / most
    tl.store(scales + row, scale)
    for start in range(0, n, BLOCK):  # the row is in the cache by now
        v = tl.load(x + start + c, mask=start + c < n, other=0).to(tl.float32) / scale
        tl.store(out + row * n + start + c, v.to(tl.float8e4nv), mask=start + c < n)


def round8(x: Tensor) -> tuple[Tensor, Tensor]:
    rows, n = x.shape
    out = torch.empty(rows, n, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    _round8[(rows,)](x, out, scales, x.stride(0), n, E4M3_MAX, BLOCK=4096, num_warps=8)
    return out, scales


def product8(
    x: Tensor, x_scale: Tensor, weight: Tensor, scale: Tensor, kind: torch.dtype
) -> Tensor:
    return torch._scaled_mm(
        x, weight.t(), scale_a=x_scale, scale_b=scale.t(), out_dtype=kind, use_fast_accum=True
    )
