"""What an adapter can be merged into: the base as it is stored, or the 4-bit weights that it was trained beside.

QLoRA's adapter has learnt to correct those weights' rounding errors too. Which merged model is the better one is a
matter of the data; the loss on examples that nobody trained on tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from phoenix_forge.catalog.families import ANY
from phoenix_forge.catalog.memory import Placement
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import TrainConfig
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import UsageError
from phoenix_forge.train.base import quiet
from phoenix_forge.train.batches import Batch, encode, pack, tensors
from phoenix_forge.train.choose import BYTES, Compute, choose, dtype
from phoenix_forge.train.engine.kernels import BLOCK, PLAIN
from phoenix_forge.train.trainable import why_not_the_engine
from phoenix_forge.weights.adapter import Adapter
from phoenix_forge.weights.base import ModelFolder
from phoenix_forge.weights.merge import Frozen, merged

TOKENS = {"cpu": 4_096, "cuda": 100_000}  # that are scored: a minute at most for 0.5B on two cores
_ROWS = 1_000_000  # values quantised at a time: bitsandbytes takes 16 times their memory on a CPU
_PLAIN = "--set merge.target=base"


def frozen_weights(model: ModelFolder, train: TrainConfig, compute: Compute) -> Frozen:
    """The weights that stood beside the adapter while it was trained with `train` in the way of `compute`: NF4 in blocks
    of 64, from and to the type of the computation; scales as fp16 where the engine trained, quantised again where PEFT
    and bitsandbytes did.

    Raises UsageError where the base was not in 4 bits, or the adapter started from its principal components.
    """
    if compute.bits != 4:
        raise UsageError(
            f"merge.target dequantised: the adapter was trained beside {compute.precision} weights "
            f"(train.method {train.method}), not beside 4-bit ones",
            fix=_PLAIN,
        )
    if train.start != "default":
        raise UsageError(
            f"merge.target dequantised: with train.start {train.start} the 4-bit weights were not the "
            "base's",
            fix=_PLAIN,
        )
    if model.family.name == ANY:
        raise UsageError(
            "merge.target dequantised: which layers of a family without a row were in 4 bits is not known",
            fix=_PLAIN,
        )
    scales = _nested if why_not_the_engine(model, train, compute) else _halved
    kind = dtype(compute.precision)

    def frozen(name: str, weight: Tensor) -> Tensor:
        if weight.shape[1] % BLOCK:
            raise UsageError(
                f"merge.target dequantised: rows of {name} are {weight.shape[1]} wide, which blocks of "
                f"{BLOCK} do not divide",
                fix=_PLAIN,
            )
        return _rounded(weight, kind, scales)

    return frozen


def _halved(absmax: Tensor) -> Tensor:
    """As phoenix_forge.train.engine.kernels keeps them."""
    return absmax.to(torch.float16)


def _nested(absmax: Tensor) -> Tensor:
    """Double quantisation (arXiv 2305.14314, section 3): 8 bits, in blocks of 256 around the mean."""
    from bitsandbytes.functional import dequantize_blockwise, quantize_blockwise

    mean = absmax.mean()
    return dequantize_blockwise(*quantize_blockwise(absmax - mean, blocksize=256)) + mean


def _rounded(weight: Tensor, kind: torch.dtype, scales: Callable[[Tensor], Tensor]) -> Tensor:
    """`weight` (out, in) to NF4 and back, in `kind`; a few rows at a time, which no block of 64 crosses."""
    from bitsandbytes.functional import quantize_4bit

    step = max(1, _ROWS // weight.shape[1])
    pieces = [
        quantize_4bit(
            rows.to(kind).contiguous(), blocksize=BLOCK, quant_type="nf4", compress_statistics=False
        )
        for rows in weight.split(step)
    ]
    absmax = scales(torch.cat([state.absmax for _, state in pieces]))
    out = torch.empty(weight.shape, dtype=kind)
    per_step = step * weight.shape[1] // BLOCK
    for rows, (packed, _), own in zip(out.split(step), pieces, absmax.split(per_step), strict=True):
        PLAIN.dequantize(packed.view(-1), own, rows)
    return out


@dataclass(frozen=True)
class Scores:
    """Nats per held-out target of each merged model, by name; or why there are none."""

    losses: dict[str, float]
    tokens: int
    why_not: str | None = None


def held_out(
    model: ModelFolder,
    adapter: Adapter,
    targets: dict[str, Frozen | None],
    validation: Path,
    encoder: Encoder,
    report: Reporter,
) -> Scores:
    """The loss of every target's merged model on the beginning of the validation examples, in the engine, without
    keeping any of them on disk. One model at a time is in memory."""
    quiet()
    train = TrainConfig()
    compute = choose(train, model.parameters)
    slow = why_not_the_engine(model, train, compute)
    needed = model.parameters * BYTES[compute.precision]
    free = (
        torch.cuda.mem_get_info()[0]
        if compute.device == "cuda"
        else psutil.virtual_memory().available
    )
    if slow or needed > free * 0.7:
        return Scores({}, 0, slow or f"the merged model needs {needed:,} bytes, {free:,} are free")
    batches, tokens = _some(
        pack(encode(validation, encoder, 1 << 30), train.max_length, train.seed),
        TOKENS[compute.device],
    )
    if not batches:
        return Scores({}, 0, f"{validation.name} holds no example")
    losses = {}
    for name, frozen in targets.items():
        losses[name] = _loss(adapter, model, frozen, compute, batches)
        report.info(f"merged into {name}: {losses[name]:.4f} nats on {tokens:,} held-out tokens")
    return Scores(losses, tokens)


def _some(batches: list[Batch], tokens: int) -> tuple[list[Batch], int]:
    """The first batches, up to so many tokens, but one at least."""
    chosen: list[Batch] = []
    total = 0
    for batch in batches:
        if chosen and total + batch.computed > tokens:
            break
        chosen.append(batch)
        total += batch.computed
    return chosen, total


def _loss(
    adapter: Adapter,
    base: ModelFolder,
    frozen: Frozen | None,
    compute: Compute,
    batches: list[Batch],
) -> float:
    from phoenix_forge.train.engine.load import ComputeDevice, LoraSettings, load
    from phoenix_forge.train.engine.shape import shape

    stream = {tensor.name: tensor for tensor in merged(base, adapter, frozen)}

    def read(name: str) -> Tensor:
        tensor = torch.from_numpy(stream[name].load().copy())
        return tensor.view(torch.bfloat16) if stream[name].dtype == "BF16" else tensor

    device = torch.device(compute.device)
    decoder = load(
        base.folder,
        shape(adapter.model.config, base.family.model_type),
        read,
        LoraSettings((), 1, 1.0, 0),
        Placement(0),
        ComputeDevice(device, dtype(compute.precision)),
    )
    decoder.training = False
    total = sum(
        float(
            decoder.losses(tensors(batch, decoder.device, decoder.embedding.device)).double().sum()
        )
        for batch in batches
    )
    return total / sum(batch.targets for batch in batches)
