"""The frozen base, layer by layer: where its bytes lie, and how they get to where a layer is computed.

One layer is a dictionary of tensors. Resident layers lie on the device. Streamed ones lie in pinned memory of the host
and take turns in two places on the device, the next one on its way while the present one is computed. Sharded ones lie
in pieces on all the GPUs of a job and are gathered the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Layer = dict[str, Tensor]
_ALIGN = 256


class Resident:
    """All layers on the device."""

    def __init__(self, layers: Iterable[Layer], device: torch.device) -> None:
        self.layers = [{name: t.to(device) for name, t in layer.items()} for layer in layers]

    def get(self, i: int, then: int | None) -> Layer:
        return self.layers[i]


class Packed:
    """Layers that lie elsewhere as single byte strings of one size, and two places on the device where they are looked
    at. `kept` makes of a layer's bytes what is kept of it, `brought` brings that into a place."""

    def __init__(
        self,
        layers: Iterable[Layer],
        device: torch.device,
        kept: Callable[[Tensor], Tensor],
        brought: Callable[[Tensor, Tensor], object],
        align: int = _ALIGN,
    ) -> None:
        self.device, self.brought, self.align = device, brought, align
        self.table: list[tuple[str, torch.dtype, torch.Size, int, int]] = []
        self.size = 0
        self.pieces = [kept(self._bytes(layer)) for layer in layers]
        self.places: list[Tensor] = []
        self.holds: list[int | None] = [None, None]
        self.arrived: list[Any] = [None, None]
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def _bytes(self, layer: Layer) -> Tensor:
        if not self.table:
            for name, t in layer.items():
                size = t.numel() * t.element_size()
                self.table.append((name, t.dtype, t.shape, self.size, size))
                self.size += -(-size // _ALIGN) * _ALIGN
            self.size = -(-self.size // self.align) * self.align
        packed = torch.zeros(self.size, dtype=torch.uint8)
        for name, _, _, at, size in self.table:
            packed[at : at + size] = (
                layer[name].detach().to("cpu").contiguous().view(torch.uint8).view(-1)
            )
        return packed

    def get(self, i: int, then: int | None) -> Layer:
        """Layer i; `then` is the layer asked for next, whose transfer begins now."""
        if not self.places:
            self.places = [
                torch.empty(self.size, dtype=torch.uint8, device=self.device) for _ in range(2)
            ]
        if i not in self.holds:
            self._fetch(i, 0 if self.holds[0] != then else 1)
        here = self.holds.index(i)
        if self.arrived[here] is not None:
            torch.cuda.current_stream().wait_event(self.arrived[here])
        if then is not None and then not in self.holds:
            self._fetch(then, 1 - here)
        place = self.places[here]
        return {
            name: place[at : at + size].view(kind).view(form)
            for name, kind, form, at, size in self.table
        }

    def _fetch(self, i: int, slot: int) -> None:
        self.holds[slot] = i
        if self.stream is None:
            self.brought(self.pieces[i], self.places[slot])
            return
        self.stream.wait_stream(
            torch.cuda.current_stream()
        )  # what was computed from this place is done
        with torch.cuda.stream(self.stream):
            self.brought(self.pieces[i], self.places[slot])
            self.arrived[slot] = torch.cuda.Event()
            self.arrived[slot].record()


def streamed(layers: Iterable[Layer], device: torch.device) -> Packed:
    """All layers in the host's memory, pinned where a GPU fetches them."""
    return Packed(
        layers,
        device,
        lambda whole: whole.pin_memory() if device.type == "cuda" else whole,
        lambda piece, place: place.copy_(piece, non_blocking=True),
    )


def sharded(layers: Iterable[Layer], device: torch.device) -> Packed:
    """Each process of a job keeps an equal piece of every layer on its GPU; a layer is gathered when it is needed."""
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    return Packed(
        layers,
        device,
        lambda whole: whole.view(world, -1)[rank].to(device, copy=True),
        lambda piece, place: torch.distributed.all_gather_into_tensor(place, piece),
        _ALIGN * world,
    )
