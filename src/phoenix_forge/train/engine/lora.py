"""The adapter's weights: two flat fp32 vectors, every A behind one another and every B, with views into them.

Flat, because then the optimizer, the gradient norm, an all-reduce and a checkpoint are each one operation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from phoenix_forge.train.engine.shape import Group, Shape


@dataclass(frozen=True)
class Slot:
    """One adapted linear layer: `rows` of its group's output, `columns` of its group's stacked ranks, and where its A
    (rank, in) and B (out, rank) begin in the flat vectors."""

    name: str
    rows: slice
    columns: slice
    inputs: int
    a: int
    b: int


class Lora:
    """Weights, gradients and 16-bit copies. `scaling` is on B wherever B is used, never in the stored weights."""

    def __init__(
        self,
        shape: Shape,
        targets: tuple[str, ...],
        rank: int,
        scaling: float,
        device: torch.device,
        kind: torch.dtype,
    ) -> None:
        self.rank, self.scaling = rank, scaling
        self.slots: dict[tuple[int, str], list[Slot]] = {}
        sizes = [0, 0]
        for layer in range(shape.layers):
            for group in shape.groups:
                self.slots[layer, group.name] = list(
                    _slots(group, f"model.layers.{layer}.{group.module}.", targets, rank, sizes)
                )
        self.a, self.b = (torch.zeros(n, device=device) for n in sizes)
        self.a_grad, self.b_grad = torch.zeros_like(self.a), torch.zeros_like(self.b)
        # What the matrix products read: A, and B times the scaling, in the type of the computation.
        self.a_used, self.b_used = (torch.empty(n, device=device, dtype=kind) for n in sizes)
        self.version = 0
        self.origin: tuple[Tensor, Tensor] | None = None

    def start(self, seed: int) -> None:
        """A uniform as PEFT starts it (Kaiming with a = √5: ±1/√in), B zero; the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        for slot in self.each():
            bound = 1 / math.sqrt(slot.inputs)
            self.a_of(slot).copy_(
                torch.empty(self.rank, slot.inputs).uniform_(-bound, bound, generator=generator)
            )
        self.refresh()

    def settle(self) -> None:
        """After loading: remembers where an adapter that took weights from the base began."""
        if bool(self.b.any()):
            self.origin = self.a.clone(), self.b.clone()
        self.refresh()

    def refresh(self) -> None:
        """To be called whenever the weights have changed."""
        self.a_used.copy_(self.a)
        self.b_used.copy_(self.b * self.scaling)
        self.version += 1

    def each(self) -> Iterator[Slot]:
        for slots in self.slots.values():
            yield from slots

    def ranks(self, layer: int, group: str) -> int:
        """Columns of the group's stacked A, transposed: rank × adapted parts."""
        return self.rank * len(self.slots[layer, group])

    def a_of(self, slot: Slot, flat: Tensor | None = None) -> Tensor:
        n = self.rank * slot.inputs
        return (self.a if flat is None else flat)[slot.a : slot.a + n].view(self.rank, slot.inputs)

    def b_of(self, slot: Slot, flat: Tensor | None = None) -> Tensor:
        rows = slot.rows.stop - slot.rows.start
        return (self.b if flat is None else flat)[slot.b : slot.b + rows * self.rank].view(
            rows, self.rank
        )

    def stacked(self, layer: int, group: str, flat: Tensor) -> Tensor:
        """A of all the group's parts, (ranks, in): they lie behind one another."""
        slots = self.slots[layer, group]
        return flat[slots[0].a : slots[0].a + self.ranks(layer, group) * slots[0].inputs].view(
            -1, slots[0].inputs
        )

    def named(self, a: Tensor | None = None, b: Tensor | None = None) -> dict[str, Tensor]:
        """Views under PEFT's names; of other vectors of the same layout where given."""
        found = {}
        for slot in self.each():
            found[f"base_model.model.{slot.name}.lora_A.weight"] = self.a_of(slot, a)
            found[f"base_model.model.{slot.name}.lora_B.weight"] = self.b_of(slot, b)
        return found


def _slots(
    group: Group, prefix: str, targets: tuple[str, ...], rank: int, sizes: list[int]
) -> Iterator[Slot]:
    row = column = 0
    for part, rows in group.parts:
        if part in targets:
            yield Slot(
                prefix + part,
                slice(row, row + rows),
                slice(column, column + rank),
                group.inputs,
                *sizes,
            )
            column += rank
            sizes[0] += rank * group.inputs
            sizes[1] += rows * rank
        row += rows
