"""A frozen matrix with LoRA beside it, y = x Wᵀ + s (x Aᵀ) Bᵀ, forward and backward in as few passes as it takes.

The low-rank part costs little arithmetic but, done by itself, reads and writes the whole output once more. So where the
output is the wide side (q, k and v; gate and up) x carries x Aᵀ in spare columns behind it and the weight carries s B:
one product. Where the input is wide (down) the same is done backward: dy carries s dy B, and A lies in spare rows
below W. On the narrow side the second pass is cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phoenix_forge.train.engine.lora import Lora, Slot
from phoenix_forge.train.engine.shape import Group

Mask = Callable[
    [Tensor], Tensor
]  # LoRA's dropout: x → x with some elements dropped, the same ones each time


def spread(group: Group, ranks: int) -> tuple[int, int]:
    """Rows and columns of the matrix with its spare part."""
    return (
        (group.outputs, group.inputs + ranks)
        if group.expands
        else (group.outputs + ranks, group.inputs)
    )


def fill(matrix: Tensor, group: Group, lora: Lora, layer: int) -> None:
    """Puts the adapter into the spare part: s B as columns, zero where a part does not belong, or A as rows."""
    slots = lora.slots[layer, group.name]
    if not slots:
        return
    if not group.expands:
        matrix[group.outputs :] = lora.stacked(layer, group.name, lora.a_used)
        return
    spare = matrix[:, group.inputs :]
    if len(slots) > 1 or slots[0].rows != slice(0, group.outputs):
        spare.zero_()
    for slot in slots:
        spare[slot.rows, slot.columns] = lora.b_of(slot, lora.b_used)


class Adapter:
    """The low-rank side of one group of one layer, for the time of a forward or backward pass."""

    def __init__(
        self, group: Group, layer: int, lora: Lora, bias: Tensor | None, drop: Mask | None
    ) -> None:
        self.group, self.lora, self.bias, self.drop = group, lora, bias, drop
        self.slots: list[Slot] = lora.slots[layer, group.name]
        self.ranks = lora.ranks(layer, group.name)
        self.a = lora.stacked(layer, group.name, lora.a_used) if self.slots else None
        self.a_grad = lora.stacked(layer, group.name, lora.a_grad) if self.slots else None

    def project(self, wide: Tensor) -> None:
        """x Aᵀ into the columns behind x."""
        n = self.group.inputs
        if self.a is not None:
            torch.mm(self._dropped(wide[:, :n]), self.a.t(), out=wide[:, n:])

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.drop is None else self.drop(x)

    def _add_low(self, y: Tensor, low: Tensor) -> Tensor:
        """y += s (x Aᵀ) Bᵀ."""
        for slot in self.slots:
            y[:, slot.rows].addmm_(low[:, slot.columns], self.lora.b_of(slot, self.lora.b_used).t())
        return y

    def _lowered(self, grad: Tensor, out: Tensor) -> None:
        """s dy B of each part, side by side."""
        for slot in self.slots:
            torch.mm(
                grad[:, slot.rows], self.lora.b_of(slot, self.lora.b_used), out=out[:, slot.columns]
            )

    def _gradients(self, grad: Tensor, lowered: Tensor, x: Tensor, low: Tensor) -> None:
        """Adds A's and B's, from dy, s dy B, x and x Aᵀ."""
        assert self.a_grad is not None
        for slot in self.slots:
            self.lora.b_of(slot, self.lora.b_grad).add_(
                grad[:, slot.rows].t() @ low[:, slot.columns], alpha=self.lora.scaling
            )
        self.a_grad += lowered.t() @ self._dropped(x)

    def contract_gradients(self, stream: Tensor, x: Tensor) -> None:
        """Adds A's and B's gradients, after contract_backward; x is the input of the forward pass."""
        if self.a is not None:
            n = self.group.outputs
            self._gradients(
                stream[:, :n], stream[:, n : n + self.ranks], x, self._dropped(x) @ self.a.t()
            )


class Linear(Adapter):
    """With a 16- or 32-bit matrix, spread() and filled."""

    def __init__(
        self,
        matrix: Tensor,
        group: Group,
        layer: int,
        lora: Lora,
        bias: Tensor | None,
        drop: Mask | None,
    ) -> None:
        super().__init__(group, layer, lora, bias, drop)
        self.matrix = matrix

    @property
    def weight(self) -> Tensor:
        """W alone, (out, in)."""
        return self.matrix[: self.group.outputs, : self.group.inputs]

    def expand(self, wide: Tensor) -> Tensor:
        """(M, in + ranks), projected → (M, out)."""
        weight = self.matrix.t()
        return wide @ weight if self.bias is None else torch.addmm(self.bias, wide, weight)

    def contract(self, x: Tensor, residual: Tensor) -> Tensor:
        """(M, in) → residual + (M, out)."""
        y = torch.addmm(residual, x, self.weight.t())
        if self.bias is not None:
            y += self.bias
        return y if self.a is None else self._add_low(y, self._dropped(x) @ self.a.t())

    def expand_backward(self, grad: Tensor, wide: Tensor, further: bool = True) -> Tensor | None:
        """Gradient of (M, out) and the projected input of the forward pass → gradient of (M, in), if it goes any
        further; adds A's and B's."""
        n = self.group.inputs
        dx = grad @ self.matrix[:, :n] if further else None
        if self.a is None:
            return dx
        lowered = grad.new_empty(len(grad), self.ranks)
        self._lowered(grad, lowered)
        self._gradients(grad, lowered, wide[:, :n], wide[:, n:])
        if dx is None:
            return None
        return (
            dx.addmm_(lowered, self.a)
            if self.drop is None
            else dx.add_(self.drop(lowered @ self.a))
        )

    def contract_backward(self, stream: Tensor) -> Tensor:
        """Gradient of (M, out) with spare columns behind it, which are overwritten → gradient of (M, in)."""
        n = self.group.outputs
        lowered = stream[:, n : n + self.ranks]
        self._lowered(stream, lowered)
        if self.drop is not None and self.a is not None:
            return (stream[:, :n] @ self.weight).add_(self.drop(lowered @ self.a))
        return stream[:, : n + self.ranks] @ self.matrix


class Eight(Adapter):
    """With the matrix in 8 bits, e4m3 with a scale a row, once as it is and once transposed: both products want what
    they sum over to be contiguous. What is multiplied with it is rounded the same way, the adapter is not."""

    def __init__(
        self,
        forward: tuple[Tensor, Tensor],
        backward: tuple[Tensor, Tensor],
        ops: Any,
        group: Group,
        layer: int,
        lora: Lora,
        bias: Tensor | None,
        drop: Mask | None,
    ) -> None:
        super().__init__(group, layer, lora, bias, drop)
        self.forward, self.backward, self.ops = forward, backward, ops

    def _product(self, x: Tensor, weight: tuple[Tensor, Tensor]) -> Tensor:
        return self.ops.product8(*self.ops.round8(x), *weight, x.dtype)

    def expand(self, wide: Tensor) -> Tensor:
        n = self.group.inputs
        y = self._product(wide[:, :n], self.forward)
        if self.bias is not None:
            y += self.bias
        return self._add_low(y, wide[:, n:])

    def contract(self, x: Tensor, residual: Tensor) -> Tensor:
        y = self._product(x, self.forward).add_(residual)
        if self.bias is not None:
            y += self.bias
        return y if self.a is None else self._add_low(y, self._dropped(x) @ self.a.t())

    def expand_backward(self, grad: Tensor, wide: Tensor, further: bool = True) -> Tensor | None:
        n = self.group.inputs
        dx = self._product(grad, self.backward) if further else None
        if self.a is None:
            return dx
        lowered = grad.new_empty(len(grad), self.ranks)
        self._lowered(grad, lowered)
        self._gradients(grad, lowered, wide[:, :n], wide[:, n:])
        return None if dx is None else self._add_back(dx, lowered)

    def contract_backward(self, stream: Tensor) -> Tensor:
        n = self.group.outputs
        lowered = stream[:, n : n + self.ranks]
        self._lowered(stream, lowered)
        dx = self._product(stream[:, :n], self.backward)
        return dx if self.a is None else self._add_back(dx, lowered)

    def _add_back(self, dx: Tensor, lowered: Tensor) -> Tensor:
        assert self.a is not None
        return (
            dx.addmm_(lowered, self.a)
            if self.drop is None
            else dx.add_(self.drop(lowered @ self.a))
        )
