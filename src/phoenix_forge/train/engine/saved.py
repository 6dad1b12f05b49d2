"""What a layer leaves for its backward pass, and where that lies in between: on the device, or in RAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Saved:
    """One layer's activations; None: to be computed again. `qkv` is as multiplied where heads are normalised, else
    turned by position."""

    x: Any
    qkv: Tensor | None = None
    out: Tensor | None = None
    lse: Tensor | None = None
    middle: Tensor | None = None
    gate_up: Tensor | None = None


class DeviceActivations:
    """Activations stay on the device."""

    def __init__(self) -> None:
        self._saved: list[Saved] = []

    def put(self, saved: Saved) -> None:
        self._saved.append(saved)

    def take(self) -> Saved:
        return self._saved.pop()


class HostActivations:
    """Layers that are computed again leave what they keep in pinned host memory; it comes back one layer ahead of its
    use.

    A tensor is let go only once the work that follows waits for its copy, so its memory can be used again at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self._host: dict[tuple[int, str], Tensor] = {}
        self._kept: list[
            Saved | dict[str, Tensor]
        ] = []  # as it was, or views of host memory by field
        self._leaving: list[tuple[Any, Saved]] = []
        self._back: dict[int, tuple[Saved, Any]] = {}

    def _space(self, i: int, name: str, like: Tensor) -> Tensor:
        size = like.numel()
        if (i, name) not in self._host or self._host[i, name].numel() < size:
            self._host[i, name] = torch.empty(size, dtype=like.dtype, pin_memory=True)
        return self._host[i, name][:size].view(like.shape)

    def _copied(self) -> Any:
        done = torch.cuda.Event()
        done.record(self.stream)
        return done

    def put(self, saved: Saved) -> None:
        if saved.gate_up is not None:
            self._kept.append(saved)
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        views = {
            name: self._space(len(self._kept), name, tensor)
            for name, tensor in vars(saved).items()
            if tensor is not None
        }
        with torch.cuda.stream(self.stream):
            for name, view in views.items():
                view.copy_(getattr(saved, name), non_blocking=True)
        self._kept.append(views)
        self._leaving.append((self._copied(), saved))
        if len(self._leaving) > 1:
            self._let_go()

    def _let_go(self) -> None:
        done, _ = self._leaving.pop(0)
        torch.cuda.current_stream().wait_event(done)

    def _fetch(self, i: int) -> None:
        if i < 0 or i in self._back or isinstance(self._kept[i], Saved):
            return
        views = self._kept[i]
        assert isinstance(views, dict)
        back = Saved(
            **{name: torch.empty_like(view, device=self.device) for name, view in views.items()}
        )
        self.stream.wait_stream(
            torch.cuda.current_stream()
        )  # whoever had this memory before is done with it
        with torch.cuda.stream(self.stream):
            for name, view in views.items():
                getattr(back, name).copy_(view, non_blocking=True)
        self._back[i] = back, self._copied()

    def take(self) -> Saved:
        while self._leaving:
            self._let_go()
        i = len(self._kept) - 1
        self._fetch(i)
        self._fetch(i - 1)
        kept = self._kept.pop()
        if isinstance(kept, Saved):
            return kept
        saved, arrived = self._back.pop(i)
        torch.cuda.current_stream().wait_event(arrived)
        return saved

    def clear(self) -> None:
        """A step that ran out of memory may have left something."""
        if self._kept or self._back:
            torch.cuda.synchronize(self.device)
        self._kept.clear()
        self._leaving.clear()
        self._back.clear()
