"""Examples → token ids → batches without padding → tensors.

A batch is one forward pass: whole examples laid end to end. Attention keeps them apart, so an example never sees its
neighbours. What all examples of a dataset begin with (the system prompt, usually) is computed once a batch.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from phoenix_forge.chat.encode import Encoded, Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.errors import UsageError
from phoenix_forge.examples.formats import read

if TYPE_CHECKING:
    import torch

    from phoenix_forge.train.engine.model import Inputs

SHARED = 8  # a prefix of fewer tokens is not worth its own attention call
CHUNK = 4096  # examples that are tokenised together
WINDOW = 64  # batches that are looked at for room


@dataclass(frozen=True)
class Batch:
    """Examples that go through the model together; the first `prefix` tokens of each are the same.

    `soft`: what is aimed at in place of the examples' own tokens, token ids and their probabilities, (targets, k) each.
    """

    examples: tuple[Encoded, ...]
    prefix: int
    soft: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of the examples, each counted whole."""
        return sum(len(e.ids) for e in self.examples)

    @property
    def computed(self) -> int:
        """Tokens that go through the model."""
        return self.tokens - self.prefix * (len(self.examples) - 1)

    @property
    def targets(self) -> int:
        return sum(sum(e.trained) for e in self.examples)


def encode(path: Path, encoder: Encoder, max_length: int) -> list[Encoded]:
    """Every example of a dataset; one that is too long, or trains nothing, is refused with its line."""
    encoded: list[Encoded] = []
    lines = read(path)
    while chunk := list(islice(lines, CHUNK)):
        encoded += _checked(path, chunk, encoder, max_length)
    return encoded


def _checked(
    path: Path, lines: Sequence[tuple[int, list[Message]]], encoder: Encoder, max_length: int
) -> Sequence[Encoded]:
    try:
        examples = encoder.conversations([messages for _, messages in lines])
    except UsageError:
        for number, messages in lines:
            _require_rendered(f"{path}:{number}", messages, encoder)
        raise
    for (number, _), example in zip(lines, examples, strict=True):
        if len(example.ids) > max_length:
            raise UsageError(
                f"{path}:{number}: {len(example.ids)} tokens do not fit train.max_length {max_length}",
                fix="forge dataset makes sections that fit; or raise train.max_length",
            )
        if not any(example.trained):
            raise UsageError(
                f"{path}:{number}: no assistant turn, nothing to train on",
                fix=f"forge validate {path}",
            )
    return examples


def _require_rendered(where: str, messages: list[Message], encoder: Encoder) -> None:
    try:
        encoder.conversation(messages)
    except UsageError as error:
        raise UsageError(f"{where}: {error.message}", fix=error.fix) from None


def shared_prefix(examples: Sequence[Encoded]) -> list[int]:
    """The tokens that most examples begin with and none of them trains; empty where they are few.

    Most, not all: examples with a system prompt of their own are packed by themselves.
    """
    if len(examples) < 2:
        return []
    start, count = Counter(tuple(e.ids[:SHARED]) for e in examples).most_common(1)[0]
    alike = [e for e in examples if tuple(e.ids[:SHARED]) == start]
    # A target is predicted from the token before it, which must be the example's own.
    untrained = min(e.trained.index(1) for e in alike) - 1
    first, last = (
        min(e.ids for e in alike),
        max(e.ids for e in alike),
    )  # what these share, all share
    prefix = [
        a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    ][:untrained]
    return prefix if len(prefix) >= SHARED and count > 1 else []


def pack(examples: Sequence[Encoded], capacity: int, seed: int) -> list[Batch]:
    """Batches of at most `capacity` tokens: examples in shuffled order, each put where there is room first.

    Looking at the newest 64 batches keeps the order random (best fit decreasing would sort batches by length) and
    wastes little: full batches are not looked at again.
    """
    prefix = shared_prefix(examples)
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    alike = [i for i in order if prefix and examples[i].ids[: len(prefix)] == prefix]
    others = [i for i in order if not prefix or examples[i].ids[: len(prefix)] != prefix]
    batches = _fill(examples, alike, capacity, len(prefix)) + _fill(examples, others, capacity, 0)
    random.Random(seed).shuffle(batches)
    return batches


def _fill(examples: Sequence[Encoded], order: list[int], capacity: int, prefix: int) -> list[Batch]:
    members: list[list[int]] = []
    room: list[int] = []
    for i in order:
        need = len(examples[i].ids)
        window = range(max(0, len(members) - WINDOW), len(members))
        target = next((b for b in window if room[b] >= need), None)
        if target is None:
            members.append([])
            room.append(capacity)
            target = len(members) - 1
        members[target].append(i)
        room[target] -= need
    return [Batch(tuple(examples[i] for i in m), prefix) for m in members]


def halves(batch: Batch) -> list[Batch]:
    """The same examples in two passes; one example alone cannot be split."""
    middle = len(batch.examples) // 2
    first, second = (
        Batch(batch.examples[:middle], batch.prefix),
        Batch(batch.examples[middle:], batch.prefix),
    )
    if batch.soft:
        cut = first.targets
        first, second = (
            replace(part, soft=(batch.soft[0][where], batch.soft[1][where]))
            for part, where in ((first, slice(cut)), (second, slice(cut, None)))
        )
    return [part for part in (first, second) if part.examples]


def tensors(batch: Batch, device: torch.device, looked_up_on: torch.device | None = None) -> Inputs:
    """A batch for the engine; its ids where the embedding lies. Built in pinned memory where a GPU fetches it, so that
    nobody waits for the copy."""
    import torch

    from phoenix_forge.train.engine.attention import Spans
    from phoenix_forge.train.engine.model import Inputs

    prefix = batch.prefix if len(batch.examples) > 1 else 0
    ids = list(batch.examples[0].ids[:prefix])
    positions, lengths = list(range(prefix)), [prefix] if prefix else []
    at: list[int] = []
    target: list[int] = []
    for example in batch.examples:
        start = len(ids) - prefix
        trained = [i for i, flag in enumerate(example.trained) if flag and i]
        at += [start + i - 1 for i in trained]
        target += [example.ids[i] for i in trained]
        ids += example.ids[prefix:]
        positions += range(prefix, len(example.ids))
        lengths.append(len(example.ids) - prefix)
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)

    def placed(
        values: list[int], kind: torch.dtype = torch.int64, on: torch.device = device
    ) -> torch.Tensor:
        made = torch.tensor(values, dtype=kind)
        return made.pin_memory().to(on, non_blocking=True) if on.type == "cuda" else made

    return Inputs(
        placed(ids, on=looked_up_on or device),
        placed(positions),
        Spans(tuple(lengths), prefix, placed(starts, torch.int32)),
        placed(at),
        placed(target),
        batch.soft,
    )
