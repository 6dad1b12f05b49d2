"""One training step of a decoder with LoRA, written out: embed, layers forward, loss, layers backward.

Only the adapter has gradients, so the backward pass is a chain of matrix products with the frozen weights, and what has
to be kept for it is known: per token and layer the stream before and after attention, q, k and v, attention's output,
and gate and up. `Placement` says which of these stay and which are computed again; the result is the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from phoenix_forge.catalog.memory import Placement
from phoenix_forge.train.engine import attention
from phoenix_forge.train.engine.attention import Spans, attend, attend_backward
from phoenix_forge.train.engine.kernels import kernels
from phoenix_forge.train.engine.linear import Eight, Linear, fill, spread
from phoenix_forge.train.engine.lora import Lora
from phoenix_forge.train.engine.saved import DeviceActivations, HostActivations, Saved
from phoenix_forge.train.engine.shape import Shape

WIDE = 4  # how much fewer tokens have logits at a time where they are needed in fp32


@dataclass(frozen=True)
class Inputs:
    """One forward pass on the device: `ids` and `positions` (M); row `at[i]` of the last layer predicts `target[i]`,
    or, where there is `soft`, the tokens of its i-th row with the probabilities beside them, (n, k) each."""

    ids: Tensor
    positions: Tensor
    spans: Spans
    at: Tensor
    target: Tensor
    soft: tuple[Tensor, Tensor] | None = None


@dataclass
class Decoder:
    """`store` yields layers of tensors: the norms, and per group packed and absmax, or dense, and bias.

    `embedding` may lie on the host; `head` is (vocabulary, hidden) on the device. `dropout` and `noise` (NEFTune's
    alpha) apply in training; their randomness follows from `seed`, set before each pass, so that it can be repeated.
    """

    shape: Shape
    store: Any
    embedding: Tensor
    head: Tensor
    norm: Tensor
    angles: Tensor
    angle_factor: float
    lora: Lora
    placement: Placement
    dropout: float = 0.0
    noise: float = 0.0
    training: bool = True
    seed: int = 0
    _scratch: dict[str, Tensor] = field(
        default_factory=dict
    )  # dequantised matrices of the layer at work
    _holds: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # whose they are: layer, version of the adapter
    _filled: dict[tuple[int, str], int] = field(default_factory=dict)  # the same for dense matrices

    def __post_init__(self) -> None:
        self.device, self.kind = self.head.device, self.head.dtype
        self.ops = kernels(self.device)
        self.angles = self.angles.to(self.device)
        self._turned = 2 * len(self.angles)  # of a head's dimensions; the rest has no positions
        self._groups = {g.name: g for g in self.shape.groups}
        self._spare = max(self.lora.ranks(0, name) for name in ("o", "down"))
        self._activations: HostActivations | None = None
        self._part = 0  # first row of the chunk at work

    # ---- the step ----

    @torch.no_grad()
    def losses(self, inputs: Inputs) -> Tensor:
        """Cross-entropy of every target (n), fp32, without gradients."""
        return self._loss(self._forward(inputs), inputs, 0.0)[0]

    @torch.no_grad()
    def likeliest(self, inputs: Inputs, k: int) -> tuple[Tensor, Tensor]:
        """The k likeliest tokens at the place of every target, and their probabilities of all tokens, (n, k) each."""
        found = [
            torch.topk(torch.softmax((rows @ self.head.t()).float(), -1), k)
            for rows in self._forward(inputs).split(max(1, self.placement.logits // WIDE))
        ]
        return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])

    def _forward(self, inputs: Inputs) -> Tensor:
        """The rows that predict the targets, behind the last norm."""
        x, turns = self._embed(inputs), self._turns(inputs)
        ops = attention.backend(inputs.spans, self.device)
        for i in range(self.shape.layers):
            x, _ = self._layer(i, x, inputs, turns, ops, whole=False)
        return self._norm(x[inputs.at], self.norm)

    @torch.no_grad()
    def step(self, inputs: Inputs, scale: float) -> Tensor:
        """Losses of the targets (n); adds the gradient of `scale` × their sum to the adapter's."""
        turns, ops = self._turns(inputs), attention.backend(inputs.spans, self.device)
        x, last = self._embed(inputs), self.shape.layers - 1
        activations = self._store_for()
        for i in range(last + 1):
            whole = i > last - self.placement.whole
            x, saved = self._layer(i, x, inputs, turns, ops, whole)
            activations.put(saved)
            del saved
        losses, grad = self._head(x, inputs, scale)
        del x
        for i in range(last, -1, -1):
            self._layer_backward(i, grad, activations.take(), inputs, turns, ops)
        return losses

    def _store_for(self) -> DeviceActivations | HostActivations:
        if not self.placement.on_host:
            return DeviceActivations()
        self._activations = self._activations or HostActivations(
            self.device
        )  # kept: pinning memory is slow
        self._activations.clear()
        return self._activations

    def _embed(self, inputs: Inputs) -> Tensor:
        table = self.embedding
        pinned = (
            table.device.type == "cpu" and self.device.type == "cuda"
        )  # then nobody waits for the copy
        rows = torch.empty(
            len(inputs.ids),
            table.shape[1],
            dtype=table.dtype,
            device=table.device,
            pin_memory=pinned,
        )
        torch.index_select(table, 0, inputs.ids.to(table.device), out=rows)
        x = rows.to(self.device, non_blocking=True)
        if self.noise and self.training:
            # NEFTune (Jain et al. 2023, arXiv 2310.05914): uniform noise of alpha / sqrt(L · d) on each example.
            lengths = torch.tensor(
                [n for n in inputs.spans.lengths for _ in range(n)], device=self.device
            )
            size = self.noise / (lengths * self.shape.hidden).sqrt()
            x += (
                torch.rand(x.shape, generator=self._random("noise"), device=self.device) * 2 - 1
            ) * size[:, None]
        return x

    def _turns(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        angles = inputs.positions[:, None].float() * self.angles
        return angles.cos() * self.angle_factor, angles.sin() * self.angle_factor

    # ---- a layer ----

    def _layer(
        self, i: int, x: Tensor, inputs: Inputs, turns: Any, ops: Any, whole: bool
    ) -> tuple[Tensor, Saved]:
        tensors = self.store.get(i, i + 1 if i + 1 < self.shape.layers else None)
        saved = Saved(x)
        self._attention(i, tensors, saved, inputs, turns, ops)
        middle = saved.middle
        assert middle is not None
        gate_up, down = self._linear(i, "gate_up", tensors), self._linear(i, "down", tensors)
        if whole:
            saved.gate_up = gate_up.expand(self._projected(middle, tensors["norm2"], gate_up))
            return down.contract(self._swiglu(saved.gate_up), middle), saved
        y = torch.empty_like(x)
        for part in self._chunks(len(x)):
            both = gate_up.expand(self._projected(middle[part], tensors["norm2"], gate_up))
            y[part] = down.contract(self._swiglu(both), middle[part])
        return y, saved if self.placement.attention else Saved(x)

    def _attention(
        self, i: int, tensors: dict[str, Tensor], saved: Saved, inputs: Inputs, turns: Any, ops: Any
    ) -> None:
        """Fills `saved` up to the stream after attention."""
        qkv, o = self._linear(i, "qkv", tensors), self._linear(i, "o", tensors)
        saved.qkv = qkv.expand(self._projected(saved.x, tensors["norm1"], qkv))
        q, k, v = self._heads(saved.qkv, tensors, turns, fresh=True)
        saved.out, saved.lse = attend(ops, q, k, v, inputs.spans)
        saved.middle = o.contract(saved.out.reshape(len(saved.x), -1), saved.x)

    def _heads(
        self, qkv: Tensor, tensors: dict[str, Tensor], turns: Any, fresh: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Views (M, heads, d) of q, k and v, turned; `fresh`: qkv comes from the product and has not been turned."""
        s = self.shape
        heads = qkv.view(len(qkv), -1, s.head_dim)
        turning, v = heads[:, : s.heads + s.kv_heads], heads[:, s.heads + s.kv_heads :]
        if s.qk_norm:  # qkv is kept as it was: the norm's backward needs it
            turning = torch.cat(
                [
                    _head_norm(turning[:, : s.heads], tensors["q_norm"], s.eps),
                    _head_norm(turning[:, s.heads :], tensors["k_norm"], s.eps),
                ],
                1,
            )
        if fresh or s.qk_norm:
            self.ops.rope(turning[..., : self._turned], *turns)
        return turning[:, : s.heads], turning[:, s.heads :], v

    def _layer_backward(
        self, i: int, stream: Tensor, saved: Saved, inputs: Inputs, turns: Any, ops: Any
    ) -> None:
        """`stream` (M, hidden + spare) is the gradient of the layer's output, and becomes that of its input."""
        tensors = self.store.get(i, i - 1 if i else None)
        if saved.middle is None:
            self._attention(i, tensors, saved, inputs, turns, ops)
        self._mlp_backward(i, tensors, stream, saved)
        saved.middle = None
        assert saved.qkv is not None
        assert saved.out is not None
        assert saved.lse is not None
        s, m = self.shape, len(stream)
        o = self._linear(i, "o", tensors)
        grad = o.contract_backward(stream)
        o.contract_gradients(stream, saved.out.reshape(m, -1))
        q, k, v = self._heads(saved.qkv, tensors, turns, fresh=False)
        dq, dk, dv = attend_backward(
            ops, grad.view(m, s.heads, -1), q, k, v, saved.out, saved.lse, inputs.spans
        )
        del grad, q, k, v
        saved.out = None
        grad = self._heads_backward(dq, dk, dv, saved.qkv, tensors, turns)
        del dq, dk, dv
        qkv = self._linear(i, "qkv", tensors)
        inner = qkv.expand_backward(
            grad, self._projected(saved.x, tensors["norm1"], qkv), further=i > 0
        )
        if inner is not None:
            self.ops.rms_backward(inner, saved.x, tensors["norm1"], s.eps, stream[:, : s.hidden])

    def _heads_backward(
        self,
        dq: Tensor,
        dk: Tensor,
        dv: Tensor,
        qkv: Tensor,
        tensors: dict[str, Tensor],
        turns: Any,
    ) -> Tensor:
        """Gradients of the heads → gradient of q, k and v as multiplied, (M, attention width)."""
        s = self.shape
        grad = torch.empty_like(qkv)
        heads = grad.view(len(qkv), -1, s.head_dim)
        queries, keys, values = heads.split([s.heads, s.kv_heads, s.kv_heads], 1)
        for grads, out in ((dq, queries), (dk, keys)):
            self.ops.rope_backward(grads[..., : self._turned], *turns, out[..., : self._turned])
            if self._turned < s.head_dim:
                out[..., self._turned :] = grads[..., self._turned :]
        values.copy_(dv)
        if s.qk_norm:
            q, k, _ = qkv.view(len(qkv), -1, s.head_dim).split([s.heads, s.kv_heads, s.kv_heads], 1)
            _head_norm_backward(queries, q, tensors["q_norm"], s.eps)
            _head_norm_backward(keys, k, tensors["k_norm"], s.eps)
        return grad

    def _mlp_backward(
        self, i: int, tensors: dict[str, Tensor], stream: Tensor, saved: Saved
    ) -> None:
        gate_up, down = self._linear(i, "gate_up", tensors), self._linear(i, "down", tensors)
        middle, kept, n = saved.middle, saved.gate_up, self.shape.hidden
        assert middle is not None
        saved.gate_up = None
        for part in [slice(None)] if kept is not None else self._chunks(len(stream)):
            wide = self._projected(middle[part], tensors["norm2"], gate_up)
            both = gate_up.expand(wide) if kept is None else kept
            grad = down.contract_backward(stream[part])
            self.ops.swiglu_backward(
                both, grad
            )  # both is now gate's and up's gradient, grad what down had read
            down.contract_gradients(stream[part], grad)
            del grad
            inner = gate_up.expand_backward(both, wide)
            del both, wide
            self.ops.rms_backward(
                inner, middle[part], tensors["norm2"], self.shape.eps, stream[part, :n]
            )

    # ---- pieces ----

    def _linear(self, i: int, name: str, tensors: dict[str, Tensor]) -> Linear | Eight:
        """The group's matrix with the adapter in its spare part, dequantised only where it is not at hand already."""
        group, ranks = self._groups[name], self.lora.ranks(i, name)
        drop = partial(self._drop, f"{i}.{name}") if self.dropout and self.training else None
        side = group, i, self.lora, tensors.get(f"{name}.bias"), drop
        if f"{name}.eight" in tensors:
            forward, backward = (
                (tensors[f"{name}.{key}"], tensors[f"{name}.{key}_scale"])
                for key in ("eight", "eight_back")
            )
            return Eight(forward, backward, self.ops, *side)
        matrix = tensors.get(f"{name}.dense")
        if matrix is None:
            rows, columns = spread(group, ranks)
            matrix = self._space(name, rows * columns).view(rows, columns)
            if self._holds.get(name) != (i, self.lora.version):
                self.ops.dequantize(
                    tensors[f"{name}.packed"],
                    tensors[f"{name}.absmax"],
                    matrix[: group.outputs, : group.inputs],
                )
                fill(matrix, group, self.lora, i)
                self._holds[name] = i, self.lora.version
        elif self._filled.get((i, name)) != self.lora.version:
            fill(matrix, group, self.lora, i)
            self._filled[i, name] = self.lora.version
        return Linear(matrix, *side)

    def _space(self, name: str, size: int) -> Tensor:
        if name not in self._scratch or self._scratch[name].numel() < size:
            self._scratch[name] = torch.empty(size, dtype=self.kind, device=self.device)
        return self._scratch[name][:size]

    def _chunks(self, rows: int) -> Iterator[slice]:
        for at in range(0, rows, self.placement.chunk):
            self._part = at
            yield slice(at, min(at + self.placement.chunk, rows))
        self._part = 0

    def _norm(self, x: Tensor, weight: Tensor, spare: int = 0) -> Tensor:
        out = x.new_empty(len(x), x.shape[1] + spare)
        self.ops.rms(x, weight, self.shape.eps, out[:, : x.shape[1]])
        return out

    def _projected(self, x: Tensor, weight: Tensor, linear: Linear | Eight) -> Tensor:
        wide = self._norm(x, weight, linear.ranks)
        linear.project(wide)
        return wide

    def _swiglu(self, gate_up: Tensor) -> Tensor:
        out = gate_up.new_empty(len(gate_up), self.shape.ffn)
        self.ops.swiglu(gate_up, out)
        return out

    def _random(self, what: str) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(zlib.crc32(f"{self.seed}.{what}".encode()))

    def _drop(self, what: str, x: Tensor) -> Tensor:
        """LoRA's dropout: the same elements whenever a group and chunk of one pass asks, forward or backward."""
        kept = torch.empty(x.shape, device=x.device, dtype=x.dtype)
        kept.bernoulli_(1 - self.dropout, generator=self._random(f"{what}.{self._part}"))
        return x * kept.div_(1 - self.dropout)

    def _loss(self, normal: Tensor, inputs: Inputs, scale: float) -> tuple[Tensor, Tensor]:
        """Losses of rows that have been through the last norm, and the gradient of those rows."""
        losses, grad = [], torch.empty_like(normal)
        step = max(1, self.placement.logits // WIDE) if inputs.soft else self.placement.logits
        for at in range(0, len(normal), step):
            part = slice(at, at + step)
            logits = normal[part] @ self.head.t()
            if inputs.soft:
                losses.append(
                    soft_cross_entropy(logits, inputs.soft[0][part], inputs.soft[1][part], scale)
                )
            else:
                losses.append(self.ops.cross_entropy(logits, inputs.target[part], scale))
            if scale:
                torch.mm(logits, self.head, out=grad[part])
            del logits
        return torch.cat(losses), grad

    def _head(self, x: Tensor, inputs: Inputs, scale: float) -> tuple[Tensor, Tensor]:
        """Losses, and the gradient of the last layer's output with spare columns behind it."""
        rows = x[inputs.at]
        losses, grad = self._loss(self._norm(rows, self.norm), inputs, scale)
        total = torch.zeros_like(rows)
        self.ops.rms_backward(grad, rows, self.norm, self.shape.eps, total)
        stream = x.new_zeros(len(x), self.shape.hidden + self._spare)
        stream[:, : self.shape.hidden].index_copy_(0, inputs.at, total)
        return losses, stream


def soft_cross_entropy(logits: Tensor, ids: Tensor, probabilities: Tensor, scale: float) -> Tensor:
    """How far the logits (n, vocabulary) are from the distribution over `ids`, (n, k) each: cross-entropy less the
    distribution's own entropy, (n) in fp32; logits become their gradient times `scale`."""
    told = torch.log_softmax(logits.float(), -1)
    wanted = probabilities / probabilities.sum(-1, keepdim=True)
    losses = torch.nn.functional.kl_div(told.gather(1, ids), wanted, reduction="none").sum(-1)
    if scale:
        logits.copy_(told.exp_().scatter_add_(1, ids, -wanted).mul_(scale))
    return losses


def _head_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of each head, (M, heads, d)."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def _head_norm_backward(grad: Tensor, x: Tensor, weight: Tensor, eps: float) -> None:
    """Turns the gradient of _head_norm's output into that of x, in place."""
    wide, g = x.float(), grad.float() * weight.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    normal = wide * scale
    grad.copy_((g - normal * (g * normal).mean(-1, keepdim=True)) * scale)
