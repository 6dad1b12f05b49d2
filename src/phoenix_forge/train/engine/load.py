"""A base's tensors → a Decoder, one layer at a time: quantised, or laid out with room for the adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from phoenix_forge.train.engine import starts
from phoenix_forge.train.engine.frozen import Layer, Resident, sharded, streamed
from phoenix_forge.train.engine.kernels import kernels, quantise
from phoenix_forge.train.engine.linear import spread
from phoenix_forge.train.engine.lora import Lora
from phoenix_forge.train.engine.model import Decoder, Keep
from phoenix_forge.train.engine.shape import Group, Shape, rotary, shape

if TYPE_CHECKING:
    from phoenix_forge.weights.base import ModelFolder

Read = Callable[[str], Tensor]
STORES = {"resident": Resident, "streamed": streamed, "sharded": sharded}


@dataclass(frozen=True)
class Placement:
    """`bits` a frozen weight: 4 is NF4, 8 is e4m3 in both directions, 16 is `kind`. `expanded`: NF4's values laid out
    in the type of the computation, which spares dequantising and takes four times the memory. `store` is a name in
    STORES."""

    device: torch.device
    kind: torch.dtype
    bits: int
    expanded: bool = False
    store: str = "resident"
    embedding_on_host: bool = False


@dataclass(frozen=True)
class LoraSettings:
    """`start` is a name in starts.STARTS."""

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
    config: dict[str, Any],
    family: str,
    read: Read,
    lora: LoraSettings,
    place: Placement,
    keep: Keep,
) -> Decoder:
    """The decoder, its adapter at its start. `folder` is where transformers finds the config (rotary scaling)."""
    s = shape(config, family)
    adapter = Lora(s, lora.targets, lora.rank, lora.scaling, place.device, place.kind)
    adapter.start(lora.seed)
    start = starts.STARTS[lora.start]
    angles, factor = rotary(folder, s.head_dim)
    store = STORES[place.store](_layers(s, read, adapter, place, start), place.device)
    adapter.settle()
    embedding = read("model.embed_tokens.weight").to(place.kind)
    head = (embedding if s.tied else read("lm_head.weight").to(place.kind)).to(place.device)
    if not place.embedding_on_host:
        embedding = head if s.tied else embedding.to(place.device)
    return Decoder(
        s,
        store,
        embedding,
        head,
        read("model.norm.weight").to(place.device, place.kind),
        angles,
        factor,
        adapter,
        keep,
    )


def _layers(
    s: Shape, read: Read, adapter: Lora, place: Placement, start: starts.Start | None
) -> Iterator[Layer]:
    for i in range(s.layers):
        prefix = f"model.layers.{i}."
        layer = {
            "norm1": read(prefix + "input_layernorm.weight"),
            "norm2": read(prefix + "post_attention_layernorm.weight"),
        }
        if s.qk_norm:
            layer |= {f"{x}_norm": read(f"{prefix}self_attn.{x}_norm.weight") for x in "qk"}
        layer = {name: t.to(place.device, place.kind) for name, t in layer.items()}
        for group in s.groups:
            stem = f"{prefix}{group.module}."
            if group.bias:
                layer[f"{group.name}.bias"] = torch.cat(
                    [read(f"{stem}{p}.bias") for p, _ in group.parts]
                ).to(place.device, place.kind)
            weight = torch.cat([read(f"{stem}{p}.weight").to(place.device) for p, _ in group.parts])
            if start:
                weight = start(
                    weight.float(), adapter, adapter.slots[i, group.name], place.bits == 4
                )
            layer |= _stored(weight, group, adapter.ranks(i, group.name), place)
        yield layer


def _stored(weight: Tensor, group: Group, ranks: int, place: Placement) -> Layer:
    ops = kernels(place.device)
    if place.bits == 8:
        forward, backward = (
            ops.round8(weight.to(place.kind)),
            ops.round8(weight.to(place.kind).t().contiguous()),
        )
        return {
            f"{group.name}.eight": forward[0],
            f"{group.name}.eight_scale": forward[1],
            f"{group.name}.eight_back": backward[0],
            f"{group.name}.eight_back_scale": backward[1],
        }
    packed, absmax = quantise(weight.to(place.kind)) if place.bits == 4 else (None, None)
    if packed is not None and absmax is not None and not place.expanded:
        return {f"{group.name}.packed": packed, f"{group.name}.absmax": absmax}
    matrix = torch.empty(spread(group, ranks), dtype=place.kind, device=place.device)
    inner = matrix[: group.outputs, : group.inputs]
    if packed is None or absmax is None:
        inner.copy_(weight)
    else:
        ops.dequantise(packed, absmax, inner)
    return {f"{group.name}.dense": matrix}
