"""Causal attention over examples laid end to end, forward and backward, without a mask matrix.

A batch may begin with a prefix that all its examples share (the system prompt, usually): it is computed once, and every
example attends to it and to itself. The two parts are merged by their log-sum-exps, as ring attention merges blocks;
given the merged output and log-sum-exp, each part's own backward yields its share of the exact gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spans:
    """`lengths` of the segments in order, the prefix (if `prefix` > 0) being the first; `starts` has one entry more and
    lies on the device as int32."""

    lengths: tuple[int, ...]
    prefix: int
    starts: Tensor

    @property
    def longest(self) -> int:
        return max(self.lengths)

    @property
    def uniform(self) -> bool:
        return not self.prefix and len(set(self.lengths)) == 1

    def slices(self) -> list[slice]:
        ends = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths))]
        return [slice(end - n, end) for n, end in zip(self.lengths, ends, strict=True)]


def _shared(kv: Tensor, groups: int) -> Tensor:
    """(n, kv heads, d) → (1, heads, n, d): each key or value head serves `groups` query heads."""
    return kv.transpose(0, 1).repeat_interleave(groups, 0)[None]


def _summed(grad: Tensor, groups: int) -> Tensor:
    """The inverse for gradients: (1, heads, n, d) → (n, kv heads, d)."""
    _, heads, n, d = grad.shape
    return grad.view(heads // groups, groups, n, d).sum(1).transpose(0, 1)


class Cpu:
    """torch's flash attention for CPUs, one call a segment. Log-sum-exps are (heads, tokens), fp32."""

    def _forward(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
        groups = q.shape[1] // k.shape[1]
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q.transpose(0, 1)[None], _shared(k, groups), _shared(v, groups), 0.0, causal
        )
        return out[0].transpose(0, 1), lse[0]

    def _backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, causal: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        groups = q.shape[1] // k.shape[1]
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad.transpose(0, 1)[None],
            q.transpose(0, 1)[None],
            _shared(k, groups),
            _shared(v, groups),
            out.transpose(0, 1)[None],
            lse[None].contiguous(),
            0.0,
            causal,
        )
        return dq[0].transpose(0, 1), _summed(dk, groups), _summed(dv, groups)

    def causal(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
        parts = [self._forward(q[s], k[s], v[s], True) for s in spans.slices()]
        return torch.cat([o for o, _ in parts]), torch.cat([lse for _, lse in parts], -1)

    def causal_backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, spans: Spans
    ) -> tuple[Tensor, Tensor, Tensor]:
        parts = [
            self._backward(grad[s], q[s], k[s], v[s], out[s], lse[:, s], True)
            for s in spans.slices()
        ]
        dq, dk, dv = (torch.cat(grads) for grads in zip(*parts, strict=True))
        return dq, dk, dv

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self._forward(q, k, v, False)

    def full_backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._backward(grad, q, k, v, out, lse, False)


class Flash:
    """torch's flash attention on CUDA with cumulative lengths; grouped heads as they are, one launch for all segments.

    Ampere or newer, head_dim ≤ 256, 16-bit."""

    def _forward(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        starts: tuple[Tensor, Tensor],
        longest: tuple[int, int],
        causal: bool,
    ) -> tuple[Tensor, Tensor]:
        out, lse, *_ = torch.ops.aten._flash_attention_forward(
            q, k, v, *starts, *longest, 0.0, causal, False
        )
        return out, lse

    def _backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        starts: tuple[Tensor, Tensor],
        longest: tuple[int, int],
        causal: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        unused = torch.empty(
            2, dtype=torch.uint64, device=q.device
        )  # the state of a dropout that is not used
        return torch.ops.aten._flash_attention_backward(
            grad, q, k, v, out, lse, *starts, *longest, 0.0, causal, unused, unused
        )

    def causal(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
        return self._forward(
            q, k, v, (spans.starts, spans.starts), (spans.longest, spans.longest), True
        )

    def causal_backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, spans: Spans
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self._backward(
            grad,
            q,
            k,
            v,
            out,
            lse,
            (spans.starts, spans.starts),
            (spans.longest, spans.longest),
            True,
        )

    @staticmethod
    def _ends(n: int, device: torch.device) -> Tensor:
        return torch.arange(0, n + 1, n, dtype=torch.int32, device=device)

    def full(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        starts = self._ends(len(q), q.device), self._ends(len(k), q.device)
        return self._forward(q, k, v, starts, (len(q), len(k)), False)

    def full_backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        starts = self._ends(len(q), q.device), self._ends(len(k), q.device)
        return self._backward(grad, q, k, v, out, lse.contiguous(), starts, (len(q), len(k)), False)


class Cudnn:
    """cuDNN's attention for segments of equal length without a prefix: on Hopper 1.7 times as fast as flash."""

    @staticmethod
    def _batched(x: Tensor, spans: Spans) -> Tensor:
        return x.view(len(spans.lengths), spans.longest, *x.shape[1:]).transpose(1, 2)

    def causal(self, q: Tensor, k: Tensor, v: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
        q, k, v = (self._batched(x, spans) for x in (q, k, v))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
            q, k, v, None, True, 0.0, True
        )
        return out.transpose(1, 2).reshape(-1, q.shape[1], q.shape[3]), lse

    def causal_backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, spans: Spans
    ) -> tuple[Tensor, Tensor, Tensor]:
        unused = torch.empty(2, dtype=torch.int64, device=q.device)
        n = spans.longest
        grads = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            *(self._batched(x, spans) for x in (grad, q, k, v, out)),
            lse,
            unused[0],
            unused[1],
            None,
            None,
            None,
            n,
            n,
            0.0,
            True,
        )
        dq, dk, dv = (g.transpose(1, 2).reshape(-1, g.shape[1], g.shape[3]) for g in grads)
        return dq, dk, dv


def backend(spans: Spans, device: torch.device) -> Any:
    """cuDNN where its shape fits, long segments of equal length, and the same bits each time are not asked for."""
    if device.type != "cuda":
        return Cpu()
    plain = spans.uniform and spans.longest >= 256
    return Cudnn() if plain and not torch.are_deterministic_algorithms_enabled() else Flash()


def attend(ops: Any, q: Tensor, k: Tensor, v: Tensor, spans: Spans) -> tuple[Tensor, Tensor]:
    """q (M, heads, d), k and v (M, kv heads, d) → output (M, heads, d) and log-sum-exp; scaled by d^-0.5."""
    out, lse = ops.causal(q, k, v, spans)
    p = spans.prefix
    if not p:
        return out, lse
    out, lse = out.contiguous(), lse.contiguous()
    more, more_lse = ops.full(q[p:], k[:p], v[:p])
    merged = torch.logaddexp(lse[:, p:], more_lse)
    own, other = ((x - merged).exp().t()[..., None] for x in (lse[:, p:], more_lse))
    out[p:] = (out[p:].float() * own + more.float() * other).to(out.dtype)
    lse[:, p:] = merged
    return out, lse


def attend_backward(
    ops: Any, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, spans: Spans
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    dq, dk, dv = ops.causal_backward(grad, q, k, v, out, lse, spans)
    p = spans.prefix
    if p:
        more, prefix_k, prefix_v = ops.full_backward(
            grad[p:], q[p:], k[:p], v[:p], out[p:], lse[:, p:]
        )
        dq[p:] += more
        dk[:p] += prefix_k
        dv[:p] += prefix_v
    return dq, dk, dv
