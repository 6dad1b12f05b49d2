"""What the base writes by itself, to hold the tuned model to: text it would write anyway, with its own probabilities.

New knowledge costs old habits: a model that learns a folder by heart gives other prose less likelihood. Before the
first step the base, which the model still is, writes passages from nothing: half from the token that opens a text, half
behind the opening of a question in its chat template. Its likeliest next tokens at every place are kept, and each
update takes a few of these passages and lowers the distance from them. No text has to be shipped, and none of the
documents is needed (rehearsal by the model's own samples: Huang et al. 2024, arXiv 2403.01244; the loss is that of
distillation).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from phoenix_forge.chat.encode import Encoded, Encoder
from phoenix_forge.core.fsio import read_sealed, write_sealed
from phoenix_forge.train.batches import Batch
from phoenix_forge.train.generate import kept_bytes

if TYPE_CHECKING:
    from phoenix_forge.core.config import TrainConfig
    from phoenix_forge.train.choose import Compute
    from phoenix_forge.train.trainable import Trainable

LENGTH = {"cuda": 256, "cpu": 64}  # tokens of a passage, at most
PASSAGES = {"cuda": 256, "cpu": 16}
SHARE = 1 / 8  # of an update's tokens: as many of passages come to them
LIKELIEST = 64  # tokens whose probabilities are kept at each place
ROWS = 256  # written at a time, at most
ROOM = 0.3  # of the memory that is free beside the weights, for keys and values
ASKED = "\x02asked\x03"


def starts(encoder: Encoder) -> tuple[list[int], list[int]]:
    """The tokens behind which the base writes: of a text, and of a question put to it."""
    whole = encoder.template.render([{"role": "user", "content": ASKED}], prompt=True)
    opening = encoder.template.special.get("bos_token") or encoder.pad
    return encoder.ids(opening), encoder.ids(whole.partition(ASKED)[0])


def written(
    folder: Path, encoder: Encoder, compute: Compute, settings: TrainConfig
) -> list[Continuation]:
    """Passages that the base in `folder` writes, none longer than an example may be."""
    import torch

    from phoenix_forge.train.base import load_base, thaw

    model: Any = load_base(folder, compute).eval()
    thaw(model)
    torch.manual_seed(settings.seed)
    length = min(LENGTH[compute.device], settings.max_length)
    begun = [
        start for start in starts(encoder) if len(start) < length * 3 // 4
    ]  # some templates begin with a page
    each, rows = PASSAGES[compute.device] // max(1, len(begun)), _rows(model, length, settings)
    made = [
        Continuation(len(start), row)
        for start in begun
        for at in range(0, each, rows)
        for row in _sampled(model, start, min(each - at, rows), length)
    ]
    del model
    if compute.device == "cuda":
        torch.cuda.empty_cache()
    return made


def _rows(model: Any, length: int, settings: TrainConfig) -> int:
    """Passages whose keys and values fit the memory that is free, at a time."""
    import torch

    if model.device.type != "cuda":
        return ROWS
    free: float = torch.cuda.mem_get_info()[0]
    if settings.memory:
        free = min(free, settings.memory * 2**30 - torch.cuda.memory_allocated())
    return max(1, min(ROWS, int(free * ROOM / (2 * length * kept_bytes(model.config)))))


def _sampled(model: Any, start: Sequence[int], rows: int, length: int) -> list[list[int]]:
    """At temperature 1, from all of its distribution; what follows the end of a text is written on as it comes."""
    import torch

    ids = torch.tensor([list(start)] * rows, device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            repetition_penalty=1.0,
            eos_token_id=None,
            pad_token_id=0,
            max_new_tokens=length - len(start),
        )
    return [list(map(int, row)) for row in out.tolist()]


class Continuation(NamedTuple):
    """Tokens, the first `given` of which the base did not choose."""

    given: int
    ids: list[int]


@dataclass(frozen=True)
class Anchors:
    """Batches of passages with the base's probabilities; `weight` of their loss beside that of the examples."""

    batches: list[Batch]
    weight: float
    seed: int

    def of(self, step: int, rank: int, size: int) -> list[Batch]:
        """Those of a step (0, 1, …) for one of `size` processes: one batch for all, each before any comes again."""
        if not self.batches or rank != step % size:
            return []
        turn, place = divmod(step, len(self.batches))
        order = list(range(len(self.batches)))
        random.Random(f"anchors {self.seed}.{turn}").shuffle(order)
        return [self.batches[order[place]]]

    def share(self, batches: Sequence[Batch]) -> float:
        """What a target's loss counts beside the mean over the examples'."""
        return self.weight / max(1, sum(batch.targets for batch in batches))


def packed(passages: Sequence[Continuation], settings: TrainConfig, capacity: int) -> list[Batch]:
    """What an update takes in a batch, at most `capacity` tokens."""
    most = min(capacity, int(settings.tokens_per_update * SHARE))
    examples = [Encoded(ids, [int(i >= given) for i in range(len(ids))]) for given, ids in passages]
    each = max(1, most // max(len(example.ids) for example in examples)) if examples else 1
    return [Batch(tuple(examples[i : i + each]), 0) for i in range(0, len(examples), each)]


def judged(batches: Sequence[Batch], model: Trainable) -> list[Batch]:
    """The same batches with what the model, which must still be the base, gives the likeliest tokens."""
    return [Batch(batch.examples, 0, model.likeliest(batch, LIKELIEST)) for batch in batches]


def store(path: Path, passages: Sequence[Continuation]) -> None:
    write_sealed(path, [[given, ids] for given, ids in passages])


def restored(path: Path) -> list[Continuation] | None:
    """What was stored, or None where nothing was, or it is damaged."""
    found = read_sealed(path)
    return None if found is None else [Continuation(given, ids) for given, ids in found]
