"""Examples → token ids → rows without padding.

Packing puts whole examples behind one another until a row is full. Position ids restart at each example; the attention
implementation takes those restarts as borders, so an example never sees its neighbours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.chat.encode import Encoded, Encoder
from forge.dataset.formats import read
from forge.errors import UsageError

IGNORED = -100  # label of a token that is no target, as torch's cross-entropy has it


@dataclass(frozen=True)
class Row:
    """One packed row: three lists of equal length. `labels` are not shifted (the model shifts them)."""

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]


def encode(path: Path, encoder: Encoder, max_length: int) -> list[Encoded]:
    """Every example of a dataset; one that does not fit a row, or trains nothing, is refused with its line."""
    encoded = []
    for number, messages in read(path):
        example = encoder.conversation(messages)
        if len(example.ids) > max_length:
            raise UsageError(f"{path}:{number}: {len(example.ids)} tokens do not fit train.max_length {max_length}",
                             fix="forge dataset makes sections that fit; or raise train.max_length")
        if not any(example.trained):
            raise UsageError(f"{path}:{number}: no assistant turn, nothing to train on", fix=f"forge validate {path}")
        encoded.append(example)
    return encoded


def row(examples: Sequence[Encoded]) -> Row:
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    for example in examples:
        ids += example.ids
        labels += [token if trained else IGNORED for token, trained in zip(example.ids, example.trained, strict=True)]
        positions += range(len(example.ids))
    return Row(ids, labels, positions)


def pack(examples: Sequence[Encoded], length: int, seed: int) -> list[Row]:
    """Rows of at most `length` tokens: examples in shuffled order, each put into the first row that has room.

    First fit over the newest 64 rows keeps the order random (best fit decreasing would sort rows by length) and wastes
    little: full rows are not looked at again.
    """
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)
    bins: list[list[int]] = []
    room: list[int] = []
    for i in order:
        need = len(examples[i].ids)
        window = range(max(0, len(bins) - 64), len(bins))
        target = next((b for b in window if room[b] >= need), None)
        if target is None:
            bins.append([])
            room.append(length)
            target = len(bins) - 1
        bins[target].append(i)
        room[target] -= need
    return [row([examples[i] for i in b]) for b in bins]


def trained_tokens(rows: Sequence[Row]) -> int:
    return sum(label != IGNORED for r in rows for label in r.labels)
