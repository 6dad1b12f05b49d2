"""What a model makes of prompts: how likely it finds given continuations, and what it answers by itself.

Two engines with one method, over the same token ids: Hugging Face (a folder, with or without an adapter) and a GGUF in
llama.cpp. A prompt is computed once, for all its continuations and for the answer.
"""

from __future__ import annotations

import copy
import itertools
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.errors import StageFailed, UsageError
from phoenix_forge.runtime.llama import Model
from phoenix_forge.weights.base import open_base

if TYPE_CHECKING:
    import torch

    from phoenix_forge.train.choose import Compute

CPU_TOKENS = 4096  # of prompts that are computed together, padding included
GPU_SHARE = 0.2  # of its free memory, for the keys and values of such prompts
BATCH_ROWS = {"cpu": 16, "cuda": 128}
PARALLEL = 4  # prompts that llama.cpp works on together
REPLACEMENT = "\ufffd"  # what a decoder makes of a part of a character
MARGIN = 8  # tokens of context beyond what a prompt and what follows it take


@dataclass(frozen=True)
class Prompt:
    """`ids` of a prompt, what may follow it, each as ids, and how many tokens the model may answer by itself."""

    ids: Sequence[int]
    continuations: Sequence[Sequence[int]] = ()
    max_tokens: int = 0

    @property
    def tokens(self) -> int:
        """What is computed for it, at most."""
        return len(self.ids) + sum(map(len, self.continuations)) + self.max_tokens


@dataclass(frozen=True)
class Reply:
    """`logprobs`: of each continuation, of each of its tokens, in nats. `ids`: the greedy answer without the token that
    ends it; `stopped`: the model ended it by itself."""

    logprobs: list[list[float]]
    ids: list[int]
    stopped: bool


class Engine(Protocol):
    def ask(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        """The number of each prompt with its reply, in the order that suits the engine."""

    def close(self) -> None:
        """Gives the memory back."""


# -- Hugging Face ------------------------------------------------------------------------------------------------------


class HuggingFace:
    """A model folder, and an adapter of it if one is given. That is merged, as in a GGUF, except into a base in 4 bits.

    Prompts of like length are computed together, padded on the left; transformers' cache of their keys and values then
    serves the continuations, padded on the right, and the answers.
    """

    def __init__(
        self, base_folder: Path, encoder: Encoder, compute: Compute, adapter: Path | None = None
    ) -> None:
        from phoenix_forge.train.base import load_base, quiet, thaw, with_adapter

        quiet()
        self.encoder, self.device = encoder, compute.device
        self.model: Any = load_base(base_folder, compute)
        if adapter:
            self.model = with_adapter(self.model, base_folder, adapter)
            if compute.bits > 4:
                self.model = self.model.merge_and_unload()
        thaw(self.model.eval())
        self._tokens = (
            CPU_TOKENS if compute.device == "cpu" else self._room(open_base(base_folder).config)
        )

    def _room(self, config: dict[str, Any]) -> int:
        """Tokens whose keys and values, and logits of one in eight, fit the GPU beside the weights."""
        import torch

        heads = config["num_attention_heads"]
        size = config.get("head_dim") or config["hidden_size"] // heads
        kept = 2 * config["num_hidden_layers"] * config.get("num_key_value_heads", heads) * size * 2
        return max(
            CPU_TOKENS,
            int(torch.cuda.mem_get_info()[0] * GPU_SHARE / (kept + config["vocab_size"] // 2)),
        )

    def close(self) -> None:
        import torch

        self.model = None
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def ask(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        import torch

        for batch in _batches(prompts, self._tokens, BATCH_ROWS[self.device]):
            with torch.inference_mode():
                replies = self._together([prompts[i] for i in batch])
            yield from zip(batch, replies, strict=True)

    def _together(self, prompts: Sequence[Prompt]) -> list[Reply]:
        from transformers import DynamicCache

        ids, there = self._padded([prompt.ids for prompt in prompts], left=True)
        cache = DynamicCache(config=self.model.config)
        last = self._forward(ids, there, cache, keep=1)[:, -1]
        likely = self._continued(prompts, last, copy.deepcopy(cache), there)
        answers = self._answered(prompts, last, cache, there)
        return [Reply(logprobs, *answer) for logprobs, answer in zip(likely, answers, strict=True)]

    def _continued(
        self, prompts: Sequence[Prompt], last: torch.Tensor, cache: Any, there: torch.Tensor
    ) -> list[list[list[float]]]:
        """Log-probabilities of every continuation of every prompt; `last` are the logits at the prompts' ends."""
        import torch

        rows = [(i, list(ids)) for i, prompt in enumerate(prompts) for ids in prompt.continuations]
        found: list[list[list[float]]] = [[] for _ in prompts]
        if not rows:
            return found
        owner = torch.tensor([i for i, _ in rows], device=last.device)
        ids, inside = self._padded([ids for _, ids in rows], left=False)
        first = last[owner].float().log_softmax(-1).gather(-1, ids[:, :1])
        if ids.shape[1] == 1:
            logprobs = first
        else:
            cache.batch_select_indices(owner)
            logits = self._forward(ids[:, :-1], torch.cat([there[owner], inside[:, :-1]], 1), cache)
            logprobs = torch.cat([first, _gathered(logits, ids[:, 1:])], 1)
        for (i, own), row in zip(rows, logprobs.tolist(), strict=True):
            found[i].append(row[: len(own)])
        return found

    def _answered(
        self, prompts: Sequence[Prompt], last: torch.Tensor, cache: Any, there: torch.Tensor
    ) -> list[tuple[list[int], bool]]:
        """The greedy answers, each up to its stop token."""
        import torch

        made: list[list[int]] = [[] for _ in prompts]
        open_ = [prompt.max_tokens > 0 for prompt in prompts]
        stopped = [False] * len(prompts)
        while True:
            chosen = last.argmax(-1).tolist()
            for i, token in enumerate(chosen):
                if not open_[i]:
                    continue
                stopped[i] = token == self.encoder.stop_id
                if not stopped[i]:
                    made[i].append(token)
                open_[i] = not stopped[i] and len(made[i]) < prompts[i].max_tokens
            if not any(open_):
                return list(zip(made, stopped, strict=True))
            there = torch.cat([there, there.new_ones(len(prompts), 1)], 1)
            last = self._forward(
                torch.tensor(chosen, device=last.device)[:, None], there, cache, keep=1
            )[:, -1]

    def _forward(
        self, ids: torch.Tensor, there: torch.Tensor, cache: Any, keep: int = 0
    ) -> torch.Tensor:
        """Logits of the last `keep` places, 0: of all; `there` marks what is no padding, in the cache too."""
        positions = (there.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(
            input_ids=ids,
            attention_mask=there,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits

    def _padded(
        self, rows: Sequence[Sequence[int]], *, left: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        width = max(map(len, rows))
        pad = [[self.encoder.pad_id] * (width - len(row)) for row in rows]
        marks = [[0] * len(p) for p in pad]
        ids = [[*p, *row] if left else [*row, *p] for p, row in zip(pad, rows, strict=True)]
        there = [
            [*m, *[1] * len(row)] if left else [*[1] * len(row), *m]
            for m, row in zip(marks, rows, strict=True)
        ]
        return torch.tensor(ids, device=self.device), torch.tensor(there, device=self.device)


def _gathered(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (rows, places) of `ids` in fp32, row by row: all at once they can take gigabytes."""
    import torch

    return torch.stack(
        [
            row.float().log_softmax(-1).gather(-1, own[:, None])[:, 0]
            for row, own in zip(logits, ids, strict=True)
        ]
    )


def _batches(prompts: Sequence[Prompt], tokens: int, rows: int) -> Iterator[list[int]]:
    """Numbers of prompts of like length, the longest first: what needs too much memory fails at once. At most so many
    `rows`, and so many `tokens` unless one prompt has more."""

    def most(prompt: Prompt) -> int:
        """Tokens a row of the batch takes with its continuations beside each other, or with its answer."""
        width = max(map(len, prompt.continuations), default=0)
        return max(
            (len(prompt.ids) + width) * max(1, len(prompt.continuations)),
            len(prompt.ids) + prompt.max_tokens,
        )

    batch: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: (-len(prompts[i].ids), i)):
        if batch and (
            len(batch) == rows
            or (len(batch) + 1) * max(most(prompts[j]) for j in (*batch, i)) > tokens
        ):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


# -- llama.cpp ---------------------------------------------------------------------------------------------------------


class LlamaCpp:
    """A GGUF. A grammar of single tokens makes it follow a continuation, and its log-probabilities are those before
    grammar and sampling."""

    def __init__(self, gguf: Path, encoder: Encoder, longest: int) -> None:
        self.encoder = encoder
        self.model = Model(gguf, num_ctx=longest + MARGIN, parallel=PARALLEL)
        asked = [{"role": "user", "content": "Größe, 東京 and `x`?"}]
        if self.model.prompt(asked) != encoder.prompt(asked):
            self.close()
            raise UsageError(
                f"{gguf}: its tokenizer or chat template is another than the base's, so the two cannot "
                "be asked the same",
                fix="forge quantize --force",
            )
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(PARALLEL):
            self._slots.put(slot)

    def close(self) -> None:
        self.model.close()

    def ask(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Reply]]:
        with ThreadPoolExecutor(PARALLEL, "llama.cpp") as workers:
            yield from zip(itertools.count(), workers.map(self._reply, prompts), strict=False)

    def _reply(self, prompt: Prompt) -> Reply:
        """One prompt stays in one slot of llama.cpp's cache."""
        slot = self._slots.get()
        try:
            logprobs = [self._follow(prompt.ids, ids, slot) for ids in prompt.continuations]
            ids, stopped = self._answer(prompt, slot)
        finally:
            self._slots.put(slot)
        return Reply(logprobs, ids, stopped)

    def _follow(self, prompt: Sequence[int], ids: Sequence[int], slot: int) -> list[float]:
        if any(self._broken(i) for i in ids):
            whole = self.encoder.ids("a")[0]
            return [
                self.model.likelihood([*prompt, *ids[:i]], token, whole, slot=slot)
                for i, token in enumerate(ids)
            ]
        made = self.model.follow(prompt, ids, slot=slot)
        if made is None:
            raise StageFailed(
                f"{self.model.path}: llama.cpp does not say how likely it finds "
                f"{self.encoder.tokenizer.decode(ids)!r}",
                fix="forge quantize --force",
            )
        return made

    def _broken(self, token: int) -> bool:
        """Whether it is a part of a character only."""
        return REPLACEMENT in self.encoder.tokenizer.decode([token], skip_special_tokens=False)

    def _answer(self, prompt: Prompt, slot: int) -> tuple[list[int], bool]:
        if not prompt.max_tokens:
            return [], False
        made = self.model.proceed(prompt.ids, prompt.max_tokens, slot=slot)
        return [token for token in made.ids if token != self.encoder.stop_id], made.stopped
