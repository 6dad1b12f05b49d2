"""Many greedy answers of a Hugging Face model at once: what prompts begin with in common is computed once a batch.

A teacher asks hundreds of questions about the same passage behind the same demonstrations. Sorted, prompts with a long
common beginning lie side by side: each batch computes every such beginning once, copies its keys and values to the
prompts that share it, computes what is left of them, and goes on token by token until all have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.chat.template import Message
from phoenix_forge.teacher.cache import Completion

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from phoenix_forge.train.choose import Compute

SHARED = 0.5  # of a prompt's tokens: from which share on a common beginning is computed once
ROWS = {"cpu": 32, "cuda": 2048}
CHECKED = 8  # tokens between looks whether all answers have ended: each look waits for the GPU
SHRUNK = 0.5  # share of answers under way below which those that ended are dropped from the batch


ROOM = 0.3  # of the memory that is free beside the weights, for keys and values
ASKED = "\x02asked\x03"  # stands for a last turn while a template is rendered


class Writer:
    """A model folder in transformers that answers many conversations together; close() gives its memory back."""

    def __init__(self, folder: Path, encoder: Encoder, compute: Compute) -> None:
        from phoenix_forge.train.base import load_base, quiet, thaw

        quiet()
        self.encoder = encoder
        self.model: Any = load_base(folder, compute)
        thaw(self.model.eval())
        self._frames: dict[int, tuple[object, str, str, str]] = {}

    def close(self) -> None:
        import torch

        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def together(
        self, asked: Sequence[Sequence[Message]], max_tokens: int
    ) -> Iterator[tuple[int, Completion]]:
        """(number of the conversation, its greedy answer), in the order they are made."""
        prompts = self.encoder.behind([self._rendered(messages) for messages in asked])
        for i, (*_, last) in enumerate(asked):
            if self.encoder.control_tokens.search(
                last["content"]
            ):  # of a document, where it is text
                prompts[i] = self.encoder.prompt(asked[i])
        decode = self.encoder.tokenizer.decode
        for i, ids, stopped in generate(
            self.model,
            prompts,
            max_tokens,
            self.encoder.stop_id,
            self.encoder.pad_id,
            self._budget(),
        ):
            yield (
                i,
                Completion(
                    decode(ids, skip_special_tokens=True), stopped, len(prompts[i]), len(ids)
                ),
            )

    def complete(self, messages: Sequence[Message], schema: object, max_tokens: int) -> Completion:
        """One greedy answer; a schema is not kept to."""
        return next(completion for _, completion in self.together([messages], max_tokens))

    def _rendered(self, messages: Sequence[Message]) -> tuple[str, str]:
        """As the template has it: the turns before the last, which are rendered once for all conversations that share
        them, up to where they end, and the rest."""
        *before, last = messages
        key = hash(tuple((turn["role"], turn["content"]) for turn in before))
        if key not in self._frames:
            whole = self.encoder.template.render([*before, {**last, "content": ASKED}], prompt=True)
            start, _, end = whole.partition(ASKED)
            ended = (
                start.rfind(self.encoder.stop) + len(self.encoder.stop)
                if self.encoder.stop in start
                else 0
            )
            self._frames[key] = (before, start[:ended], start[ended:], end)
        _, earlier, start, end = self._frames[key]
        return earlier, f"{start}{last['content'].strip()}{end}"

    def _budget(self) -> int:
        """Tokens whose keys and values fit beside the weights."""
        import psutil
        import torch

        kept = kept_bytes(self.model.config)
        free = (
            torch.cuda.mem_get_info()[0]
            if self.model.device.type == "cuda"
            else psutil.virtual_memory().available
        )
        return max(4096, int(free * ROOM / (2 * kept)))  # twice: copied when a token is added


def kept_bytes(config: Any) -> int:
    """Bytes of a token's keys and values, in 16 bits."""
    config = config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(
        2
        * config.num_hidden_layers
        * (getattr(config, "num_key_value_heads", None) or heads)
        * size
        * 2
    )


@dataclass(frozen=True)
class Group:
    """Prompts (by number) that begin with the same `shared` tokens."""

    shared: tuple[int, ...]
    members: tuple[int, ...]


def generate(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, stop: int, pad: int, budget: int
) -> Iterator[tuple[int, list[int], bool]]:
    """(number of the prompt, its answer's ids without `stop`, whether it ended by itself), in the order they are made.

    `budget`: tokens whose keys and values fit the device at a time, padding included.
    """
    import torch

    rows = ROWS[model.device.type]
    for groups in batches(prompts, rows, max_tokens, budget):
        with torch.inference_mode():
            yield from _together(model, prompts, groups, max_tokens, stop, pad)


def batches(
    prompts: Sequence[Sequence[int]], rows: int, max_tokens: int, budget: int
) -> Iterator[list[Group]]:
    """Groups of prompts with a common beginning, as many together as fit."""
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    batch: list[Group] = []
    count, beginning, rest = 0, 0, 0
    for group in _groups(prompts, order, rows, budget, max_tokens):
        own = max(len(prompts[i]) for i in group.members) - len(group.shared)
        more, longer, wider = (
            count + len(group.members),
            max(beginning, len(group.shared)),
            max(rest, own),
        )
        # Beginnings and what is left of prompts are padded apart from each other.
        if batch and (more > rows or more * (longer + wider + max_tokens) > budget):
            yield batch
            batch, more, longer, wider = [], len(group.members), len(group.shared), own
        batch.append(group)
        count, beginning, rest = more, longer, wider
    if batch:
        yield batch


def _groups(
    prompts: Sequence[Sequence[int]], order: Sequence[int], rows: int, budget: int, max_tokens: int
) -> Iterator[Group]:
    members: list[int] = []
    shared: Sequence[int] = ()
    longest = 0
    for i in order:
        own = prompts[i]
        common = _common(shared, own[:-1]) if members else own[:-1]
        longest = max(longest, len(own))
        full = len(members) == rows or (len(members) + 1) * (longest + max_tokens) > budget
        if members and (full or len(common) < SHARED * len(own)):
            yield Group(tuple(shared), tuple(members))
            members, common, longest = [], own[:-1], len(own)
        members.append(i)
        shared = common
    if members:
        yield Group(tuple(shared), tuple(members))


def _common(left: Sequence[int], right: Sequence[int]) -> Sequence[int]:
    pairs = enumerate(zip(left, right, strict=False))
    return left[: next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))]


def _together(
    model: Any,
    prompts: Sequence[Sequence[int]],
    groups: Sequence[Group],
    max_tokens: int,
    stop: int,
    pad: int,
) -> Iterator[tuple[int, list[int], bool]]:
    import torch
    from transformers import DynamicCache

    device = model.device
    numbers = [i for group in groups for i in group.members]
    owner = torch.tensor(
        [g for g, group in enumerate(groups) for _ in group.members], device=device
    )
    cache = DynamicCache(config=model.config)
    ids, there = _padded(
        [group.shared for group in groups], pad, device
    )  # (groups, longest beginning)
    if ids.shape[1]:  # none where every prompt is a single token
        _forward(model, ids, there, cache)
        cache.batch_select_indices(owner)
    rest, own = _padded(
        [prompts[i][len(group.shared) :] for group in groups for i in group.members], pad, device
    )
    there = torch.cat([there[owner], own], 1)  # (prompts, beginning + rest)
    last = _forward(model, rest, there, cache)
    made = torch.full((len(numbers), max_tokens), stop, device=device)
    rows = torch.arange(
        len(numbers), device=device
    )  # which prompt each row of the cache belongs to
    ended = torch.zeros(len(numbers), dtype=torch.bool, device=device)
    for step in range(max_tokens):
        token = last.argmax(-1)
        made[rows, step] = torch.where(ended[rows], stop, token)
        ended[rows] |= token == stop
        if step % CHECKED == CHECKED - 1:
            going = ~ended[rows]
            share = going.float().mean().item()
            if share == 0:
                break
            if share < SHRUNK:
                rows, there, token = rows[going], there[going], token[going]
                cache.batch_select_indices(going.nonzero()[:, 0])
        there = torch.cat([there, there.new_ones(len(rows), 1)], 1)
        last = _forward(model, token[:, None], there, cache)
    stopped = ended.tolist()
    for i, row, done in zip(numbers, made.tolist(), stopped, strict=True):
        yield i, row[: row.index(stop)] if done else row, done


def _forward(model: Any, ids: torch.Tensor, there: torch.Tensor, cache: Any) -> torch.Tensor:
    """Logits (rows, words) behind the last token; `there` marks what is no padding, in the cache too."""
    positions = (there.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    return model(
        input_ids=ids,
        attention_mask=there,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]


def _padded(
    rows: Sequence[Sequence[int]], pad: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and marks of what is no padding, (rows, longest), padded on the left."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor(
        [[*[pad] * (width - len(row)), *row] for row in rows], dtype=torch.long, device=device
    )
    marks = torch.tensor(
        [[*[0] * (width - len(row)), *[1] * len(row)] for row in rows],
        dtype=torch.long,
        device=device,
    )
    return ids, marks
