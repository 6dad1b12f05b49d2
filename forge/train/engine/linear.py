"""A frozen matrix with LoRA beside it, y = x Wᵀ + s (x Aᵀ) Bᵀ, forward and backward in as few passes as it takes.

The low-rank part costs little arithmetic but, done by itself, reads and writes the whole output once more. So where the
output is the wide side (q, k and v; gate and up) x carries x Aᵀ in spare columns behind it and the weight carries s B:
one product. Where the input is wide (down) the same is done backward: dy carries s dy B, and A lies in spare rows
below W. On the narrow side the second pass is cheap.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from forge.train.engine.lora import Lora, Slot
from forge.train.engine.shape import Group

Mask = Callable[[Tensor], Tensor]  # LoRA's dropout: x → x with some elements dropped, the same ones each time


def spread(group: Group, ranks: int) -> tuple[int, int]:
    """Rows and columns of the matrix with its spare part."""
    return (group.outputs, group.inputs + ranks) if group.expands else (group.outputs + ranks, group.inputs)


def fill(matrix: Tensor, group: Group, lora: Lora, layer: int) -> None:
    """Puts the adapter into the spare part: s B as columns, zero where a part does not belong, or A as rows."""
    slots = lora.slots[layer, group.name]
    if not slots:
        return
    if not group.expands:
        matrix[group.outputs:] = lora.stacked(layer, group.name, lora.a_used)
        return
    spare = matrix[:, group.inputs:]
    if len(slots) > 1 or slots[0].rows != slice(0, group.outputs):
        spare.zero_()
    for slot in slots:
        spare[slot.rows, slot.columns] = lora.b_of(slot, lora.b_used)


class Linear:
    """One group of one layer for the time of a forward or backward pass. `matrix` is spread() and filled."""

    def __init__(self, group: Group, layer: int, lora: Lora, matrix: Tensor, bias: Tensor | None,
                 drop: Mask | None) -> None:
        self.group, self.lora, self.matrix, self.bias, self.drop = group, lora, matrix, bias, drop
        self.slots: list[Slot] = lora.slots[layer, group.name]
        self.ranks = lora.ranks(layer, group.name)
        self.a = lora.stacked(layer, group.name, lora.a_used) if self.slots else None
        self.a_grad = lora.stacked(layer, group.name, lora.a_grad) if self.slots else None

    @property
    def weight(self) -> Tensor:
        """W alone, (out, in)."""
        return self.matrix[:self.group.outputs, :self.group.inputs]

    def project(self, wide: Tensor) -> None:
        """x Aᵀ into the columns behind x."""
        n = self.group.inputs
        if self.a is not None:
            x = wide[:, :n] if self.drop is None else self.drop(wide[:, :n])
            torch.mm(x, self.a.t(), out=wide[:, n:])

    def expand(self, wide: Tensor) -> Tensor:
        """(M, in + ranks), projected → (M, out)."""
        weight = self.matrix.t()
        return wide @ weight if self.bias is None else torch.addmm(self.bias, wide, weight)

    def contract(self, x: Tensor, residual: Tensor) -> Tensor:
        """(M, in) → residual + (M, out)."""
        y = torch.addmm(residual, x, self.weight.t())
        if self.bias is not None:
            y += self.bias
        if self.a is not None:
            low = (x if self.drop is None else self.drop(x)) @ self.a.t()
            for slot in self.slots:
                y[:, slot.rows].addmm_(low[:, slot.columns], self.lora.b_of(slot, self.lora.b_used).t())
        return y

    def expand_backward(self, grad: Tensor, wide: Tensor) -> Tensor:
        """Gradient of (M, out) and the projected input of the forward pass → gradient of (M, in); adds A's and B's."""
        n = self.group.inputs
        dx = grad @ self.matrix[:, :n]
        if self.a is None or self.a_grad is None:
            return dx
        low = grad.new_empty(len(grad), self.ranks)
        for slot in self.slots:
            torch.mm(grad[:, slot.rows], self.lora.b_of(slot, self.lora.b_used), out=low[:, slot.columns])
            self._add_b(slot, grad[:, slot.rows], wide[:, n:][:, slot.columns])
        x = wide[:, :n] if self.drop is None else self.drop(wide[:, :n])
        self.a_grad += low.t() @ x
        return dx.addmm_(low, self.a) if self.drop is None else dx.add_(self.drop(low @ self.a))

    def contract_backward(self, stream: Tensor) -> Tensor:
        """Gradient of (M, out) with spare columns behind it, which are overwritten → gradient of (M, in)."""
        n = self.group.outputs
        for slot in self.slots:
            torch.mm(stream[:, slot.rows], self.lora.b_of(slot, self.lora.b_used), out=stream[:, n:n + self.ranks])
        if self.drop is not None and self.a is not None:
            return (stream[:, :n] @ self.weight).add_(self.drop(stream[:, n:n + self.ranks] @ self.a))
        return stream[:, :n + self.ranks] @ self.matrix

    def contract_gradients(self, stream: Tensor, x: Tensor) -> None:
        """Adds A's and B's gradients, after contract_backward; x is the input of the forward pass."""
        if self.a is None or self.a_grad is None:
            return
        n = self.group.outputs
        x = x if self.drop is None else self.drop(x)
        low = x @ self.a.t()
        for slot in self.slots:
            self._add_b(slot, stream[:, slot.rows], low[:, slot.columns])
        self.a_grad += stream[:, n:n + self.ranks].t() @ x

    def _add_b(self, slot: Slot, grad: Tensor, low: Tensor) -> None:
        self.lora.b_of(slot, self.lora.b_grad).add_(grad.t() @ low, alpha=self.lora.scaling)
