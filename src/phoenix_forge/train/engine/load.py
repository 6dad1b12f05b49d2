"""A base's tensors → a Decoder, one layer at a time: quantised, or laid out with room for the adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from phoenix_forge.catalog.memory import Placement
from phoenix_forge.train.engine import lora_init
from phoenix_forge.train.engine.frozen import Layer, Resident, sharded, streamed
from phoenix_forge.train.engine.kernels import kernels, quantize
from phoenix_forge.train.engine.linear import spread
from phoenix_forge.train.engine.lora import Lora
from phoenix_forge.train.engine.model import Decoder
from phoenix_forge.train.engine.shape import Group, Shape, rotary

if TYPE_CHECKING:
    from phoenix_forge.weights.base import ModelFolder

Read = Callable[[str], Tensor]
STORES = {"resident": Resident, "streamed": streamed, "sharded": sharded}


@dataclass(frozen=True)
class ComputeDevice:
    """The device that computes, and the type that it computes in."""

    device: torch.device
    kind: torch.dtype


@dataclass(frozen=True)
class LoraSettings:
    """`start` is a name in lora_init.INITS."""

    targets: tuple[str, ...]
    rank: int
    scaling: float
    seed: int
    start: str = "default"


def reader(model: ModelFolder) -> Read:
    """Tensors of a model folder as they are stored, on the CPU."""

    def read(name: str) -> Tensor:
        value = model.read(name)
        tensor = torch.from_numpy(value.copy())  # a view of the file may not be written to
        return tensor.view(torch.bfloat16) if model.entries[name].dtype == "BF16" else tensor

    return read


def load(
    folder: Path,
    s: Shape,
    read: Read,
    lora: LoraSettings,
    placement: Placement,
    on: ComputeDevice,
) -> Decoder:
    """The decoder, its adapter at its start. `folder` is where transformers finds the config (rotary scaling)."""
    adapter = Lora(s, lora.targets, lora.rank, lora.scaling, on.device, on.kind)
    adapter.start(lora.seed)
    start = lora_init.INITS[lora.start]
    angles, factor = rotary(folder, s.head_dim)
    store = STORES[placement.store](_layers(s, read, adapter, start, placement, on), on.device)
    adapter.settle()
    embedding = read("model.embed_tokens.weight").to(on.kind)
    head = (embedding if s.tied else read("lm_head.weight").to(on.kind)).to(on.device)
    if not placement.embedding_on_host:
        embedding = head if s.tied else embedding.to(on.device)
    return Decoder(
        s,
        store,
        embedding,
        head,
        read("model.norm.weight").to(on.device, on.kind),
        angles,
        factor,
        adapter,
        placement,
    )


def _layers(
    s: Shape,
    read: Read,
    adapter: Lora,
    start: lora_init.Init | None,
    placement: Placement,
    on: ComputeDevice,
) -> Iterator[Layer]:
    for i in range(s.layers):
        prefix = f"model.layers.{i}."
        layer = {
            "norm1": read(prefix + "input_layernorm.weight"),
            "norm2": read(prefix + "post_attention_layernorm.weight"),
        }
        if s.qk_norm:
            layer |= {f"{x}_norm": read(f"{prefix}self_attn.{x}_norm.weight") for x in "qk"}
        layer = {name: t.to(on.device, on.kind) for name, t in layer.items()}
        for group in s.groups:
            stem = f"{prefix}{group.module}."
            if group.bias:
                layer[f"{group.name}.bias"] = torch.cat(
                    [read(f"{stem}{p}.bias") for p, _ in group.parts]
                ).to(on.device, on.kind)
            weight = torch.cat([read(f"{stem}{p}.weight").to(on.device) for p, _ in group.parts])
            if start:
                weight = start(
                    weight.float(), adapter, adapter.slots[i, group.name], placement.bits == 4
                )
            layer |= _stored(weight, group, adapter.ranks(i, group.name), placement, on)
        yield layer


def _stored(
    weight: Tensor, group: Group, ranks: int, placement: Placement, on: ComputeDevice
) -> Layer:
    ops = kernels(on.device)
    if placement.bits == 8:
        forward, backward = (
            ops.round8(weight.to(on.kind)),
            ops.round8(weight.to(on.kind).t().contiguous()),
        )
        return {
            f"{group.name}.eight": forward[0],
            f"{group.name}.eight_scale": forward[1],
            f"{group.name}.eight_back": backward[0],
            f"{group.name}.eight_back_scale": backward[1],
        }
    packed, absmax = quantize(weight.to(on.kind)) if placement.bits == 4 else (None, None)
    if packed is not None and absmax is not None and not placement.expanded:
        return {f"{group.name}.packed": packed, f"{group.name}.absmax": absmax}
    matrix = torch.empty(spread(group, ranks), dtype=on.kind, device=on.device)
    inner = matrix[: group.outputs, : group.inputs]
    if packed is None or absmax is None:
        inner.copy_(weight)
    else:
        ops.dequantize(packed, absmax, inner)
    return {f"{group.name}.dense": matrix}
