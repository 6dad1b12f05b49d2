"""Collects an importance matrix: the merged model reads examples, and what enters each of its matrices is squared and
summed.

As in llama-imatrix the examples are laid end to end and cut into chunks. All chunks pass one layer before the next is
loaded, so a layer, and the stream between two layers, is all that memory holds of a model of any size; and every weight
is read, and merged with the adapter, once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from phoenix_forge.catalog import costs
from phoenix_forge.catalog.memory import Sizes, sizes
from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.fsio import human
from phoenix_forge.core.report import Reporter
from phoenix_forge.examples.formats import read
from phoenix_forge.gguf.imatrix import Matrix
from phoenix_forge.gguf.names import gguf_names
from phoenix_forge.train.base import quiet
from phoenix_forge.train.choose import BYTES, dtype
from phoenix_forge.weights.adapter import open_adapter
from phoenix_forge.weights.base import ModelFolder, open_base
from phoenix_forge.weights.merge import Frozen, merged
from phoenix_forge.weights.safetensors import Tensor as Stored

METHOD = 1  # raise it when the same inputs give another matrix
CHUNK = 512  # tokens that see one another; llama-imatrix's default
SEED = 42
GPU_TOKENS, LEAST_TOKENS = 50_000, 2_048
CPU_SECONDS = 20  # of arithmetic at training's speed, half a minute with all else; where the tokens are not given
_SHORTEST = 16  # tokens of an example, for how many are looked at
_AT_A_TIME = {"cpu": 4, "cuda": 32}  # chunks that pass a layer together

Load = Callable[[str], Tensor]


@dataclass(frozen=True)
class Place:
    """Where the model is run, in which type, over how many tokens."""

    device: str
    precision: str
    tokens: int


def place(
    config: dict[str, Any], tokens: int | None, *, fast_bf16: bool, cores: int
) -> Place | str:
    """The best place on this machine, or what is missing for any. `config` is the base's config.json; `fast_bf16` says
    whether the processor has instructions for bf16.

    Without `tokens` a GPU reads GPU_TOKENS, a processor what it can in about CPU_SECONDS, and never fewer than
    LEAST_TOKENS. No speed is measured: the same machine has to make the same bytes.
    """
    size, missing = sizes(config), ""
    for device, precision, free in _devices(fast_bf16):
        chosen = Place(device, precision, tokens or _affordable(size, device, fast_bf16, cores))
        needed = _memory(size, chosen)
        if needed <= free:
            return chosen
        missing = f"{human(needed)} of memory, {human(free)} are free"
    return missing


def _devices(fast_bf16: bool) -> Iterator[tuple[str, str, int]]:
    if torch.cuda.is_available():
        modern = torch.cuda.get_device_capability() >= (8, 0)
        yield "cuda", "bf16" if modern else "fp32", torch.cuda.mem_get_info()[0]
    yield "cpu", "bf16" if fast_bf16 else "fp32", psutil.virtual_memory().available


def _affordable(size: Sizes, device: str, fast_bf16: bool, cores: int) -> int:
    if device == "cuda":
        return GPU_TOKENS
    rate = (
        costs.CORE_FLOPS[fast_bf16] * cores / (2 * size.layers * size.layer)
    )  # two operations a weight and token
    return max(LEAST_TOKENS, min(GPU_TOKENS, int(CPU_SECONDS * rate) // CHUNK * CHUNK))


def _memory(size: Sizes, chosen: Place) -> int:
    """A layer, as stored and as computed with; the stream before and behind it; what it computes for some chunks."""
    width, wide = BYTES[chosen.precision], size.layer // size.hidden
    return (
        size.layer * (width + 4)
        + 2 * chosen.tokens * size.hidden * width
        + _AT_A_TIME[chosen.device] * CHUNK * wide * width * 2
        + 1_000_000_000
    )


def chosen_chunks(dataset: Path, encoder: Encoder, tokens: int) -> list[list[int]]:
    """Ids of examples drawn from a dataset, end to end, in chunks; about `tokens` of them, or all that there are.

    The same draw each time. What does not fill a chunk is left out, unless it is all there is.
    """
    with open(dataset, "rb") as lines:
        count = sum(1 for _ in lines)
    order = random.Random(SEED).sample(range(count), min(count, tokens // _SHORTEST + 1))
    wanted = set(order)
    found = {i: messages for i, (_, messages) in enumerate(read(dataset)) if i in wanted}
    ids: list[int] = []
    for i in order:
        if len(ids) >= tokens:
            break
        ids += encoder.conversation(found[i]).ids if i in found else []  # a blank line is none
    ids = ids[:tokens]
    return [ids[at : at + CHUNK] for at in range(0, len(ids) - CHUNK + 1, CHUNK)] or [ids]


def collect(
    base_folder: Path,
    adapter_folder: Path | None,
    chunks: Sequence[list[int]],
    chosen: Place,
    *,
    frozen: Frozen | None = None,
    dataset: str,
    file: str,
    identity: str,
    report: Reporter,
) -> Matrix:
    """The matrix of base + adapter over chunks of equal length. `frozen` as for phoenix_forge.weights.merge.merged;
    `dataset`, `file` and `identity` are recorded in it."""
    base = open_base(base_folder)
    adapter = open_adapter(adapter_folder, base) if adapter_folder else None
    entries = (adapter.model if adapter else base).entries
    stream = {tensor.name: tensor for tensor in merged(base, adapter, frozen)}
    ids = np.array(chunks)
    sums = _Sums()
    with torch.inference_mode():
        decoder = _decoder(base, chosen, stream, sums, report)
        decoder(inputs_embeds=_embedded(decoder, stream, ids, chosen), use_cache=False)
    names = {
        source.removesuffix(".weight"): target
        for target, source in gguf_names(
            base.family.gguf, base.config["num_hidden_layers"], entries
        ).items()
        if source.endswith(".weight")
    }
    found = {
        names[name]: total.to("cpu", torch.float32).numpy()[None]
        for name, total in sums.totals.items()
    }
    counts = {name: np.array([ids.size], np.float32) for name in found}
    return Matrix(found, counts, (dataset,), max(1, ids.size // CHUNK), CHUNK, file, identity)


class _Sums:
    """Sums of squares by module, in fp64: 50,000 large squares would lose small ones in fp32."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor] = {}

    def watch(self, name: str, module: nn.Module) -> None:
        def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            squares = inputs[0].detach().flatten(0, -2).float().square().sum(0).double()
            self.totals[name] = squares + self.totals[name] if name in self.totals else squares

        module.register_forward_pre_hook(add)


class _Layer(nn.Module):
    """A decoder layer without weights, which get them for the time of one call, and take some chunks at a time."""

    def __init__(
        self, inner: nn.Module, prefix: str, load: Load, at_a_time: int, done: Callable[[], None]
    ) -> None:
        super().__init__()
        self.inner, self.prefix, self.load = inner, prefix, load
        self.at_a_time, self.done = at_a_time, done

    def __getattr__(self, name: str) -> Any:
        """The decoder looks at its layers' own attributes."""
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["inner"], name)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        weights = {name: self.load(self.prefix + name) for name, _ in self.inner.named_parameters()}
        out, count = torch.empty_like(hidden), len(hidden)
        for start in range(0, count, self.at_a_time):
            part = slice(start, start + self.at_a_time)
            out[part] = torch.func.functional_call(
                self.inner,
                weights,
                (hidden[part], *_cut(args, part, count)),
                _cut(kwargs, part, count),
            )
        self.done()
        return out


def _cut(value: Any, part: slice, count: int) -> Any:
    """The part of whatever has a row for each of `count` chunks: positions, their cosines and sines, masks."""
    if isinstance(value, Tensor):
        return value[part] if value.dim() > 1 and len(value) == count > 1 else value
    if isinstance(value, dict):
        return {key: _cut(item, part, count) for key, item in value.items()}
    return (
        type(value)(_cut(item, part, count) for item in value)
        if isinstance(value, tuple | list)
        else value
    )


def _decoder(
    base: ModelFolder, chosen: Place, stream: dict[str, Stored], sums: _Sums, report: Reporter
) -> Any:
    """transformers' decoder of the base, its layers streamed; without weights of its own, and without a head."""
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    config = AutoConfig.from_pretrained(base.folder, trust_remote_code=False, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            config,
            attn_implementation="sdpa",
            dtype=dtype(chosen.precision),
            trust_remote_code=False,
        )
    decoder: Any = model.base_model.eval()
    for name, buffer in [*decoder.named_buffers()]:
        owner, _, leaf = name.rpartition(".")
        decoder.get_submodule(owner).register_buffer(
            leaf, buffer.to(chosen.device), persistent=False
        )
    total, passed = len(decoder.layers), 0

    def done() -> None:
        nonlocal passed
        passed += 1
        report.progress("importance matrix", passed, total, "layers")

    for i, layer in enumerate(decoder.layers):
        prefix = f"model.layers.{i}."
        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                sums.watch(prefix + name, module)
        decoder.layers[i] = _Layer(
            layer,
            prefix,
            lambda name: _tensor(stream[name], chosen),
            _AT_A_TIME[chosen.device],
            done,
        )
    decoder.norm = nn.Identity()  # nothing comes after it
    return decoder


def _tensor(stored: Stored, chosen: Place, rows: np.ndarray | None = None) -> Tensor:
    array = stored.load()
    tensor = torch.from_numpy(
        array.copy() if rows is None else array[rows]
    )  # a view of a file may not be written to
    return (tensor.view(torch.bfloat16) if stored.dtype == "BF16" else tensor).to(
        chosen.device, dtype(chosen.precision)
    )


def _embedded(decoder: Any, stream: dict[str, Stored], ids: np.ndarray, chosen: Place) -> Tensor:
    """(chunks, tokens, hidden), through the decoder's own embedding, which may scale; only the rows that occur."""
    rows, places = np.unique(ids, return_inverse=True)
    decoder.embed_tokens.padding_idx = None  # it counts in the whole table
    table = _tensor(stream["model.embed_tokens.weight"], chosen, rows)
    return torch.func.functional_call(
        decoder.embed_tokens,
        {"weight": table},
        torch.from_numpy(places.reshape(ids.shape)).to(chosen.device),
    )
