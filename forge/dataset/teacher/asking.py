"""Passages → what a teacher wrote about them, in order, a bounded number at a time, resumable at every completion."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from forge.chat.template import Message
from forge.core.fsio import sha256_json
from forge.core.report import Reporter
from forge.dataset.teacher.cache import Cache, Completion
from forge.dataset.teacher.gate import kept
from forge.dataset.teacher.prompts import STYLES, Passage, Style, Written, messages, parsed, whole_items
from forge.dataset.teacher.transports import Teacher
from forge.errors import ForgeError

REPLAY_TOKENS = 320  # of a base's own answer to a general question


@dataclass
class Tally:
    """What a run cost and what came of it. Tokens are those of this run's requests; cached completions cost none."""

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: int = 0
    cut_off: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic, repr=False)

    def add(self, completion: Completion, cached: bool) -> None:
        if cached:
            self.cached += 1
            return
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens

    @property
    def tokens_per_second(self) -> float:
        """Tokens written, over all requests at a time."""
        return self.completion_tokens / max(time.monotonic() - self.started, 1e-3)

    def told(self) -> str:
        lost = ", ".join(f"{reason} {n}" for reason, n in self.dropped.most_common())
        return (f"{self.requests} requests, {self.cached} from the cache; {self.prompt_tokens:,} tokens in, "
                f"{self.completion_tokens:,} out, {self.tokens_per_second:,.0f} tokens/s; {self.kept} answers kept"
                + (f"; dropped: {lost}" if lost else ""))


def teach(passages: Iterable[Passage], teacher: Teacher, cache: Cache, workers: int, report: Reporter, *,
          styles: Sequence[Style] = STYLES, tally: Tally | None = None) -> Generator[tuple[Passage, list[Written]]]:
    """Every passage with what was kept of the teacher's writing, in the passages' order whatever the order of answers.

    Only a few passages are held at a time, and `passages` may be a generator; where it has a length, progress has an
    end. Each completion is in `cache` before it counts. A failed request ends the run, named by its passage: those
    under way are waited for and kept. Left early, the teacher is stopped for good.
    """
    tally = tally or Tally()
    total = len(passages) * len(styles) if isinstance(passages, Sized) else None
    with _pool(workers, teacher) as pool:
        waiting: deque[tuple[Passage, list[_Answer]]] = deque()
        for passage in passages:
            waiting.append((passage, [pool.submit(_asked, teacher, cache, messages(style, passage), style.schema,
                                                  style.max_tokens, f"{passage.place} ({style.name})")
                                      for style in styles]))
            if len(waiting) > 1 + workers // len(styles):
                yield _gathered(*waiting.popleft(), styles, tally, report, total)
        while waiting:
            yield _gathered(*waiting.popleft(), styles, tally, report, total)
    report.info(f"teacher {teacher.name}: {tally.told()}")


_Answer = Future[tuple[Completion, bool]]


def _gathered(passage: Passage, answers: list[_Answer], styles: Sequence[Style], tally: Tally, report: Reporter,
              total: int | None) -> tuple[Passage, list[Written]]:
    written: list[Written] = []
    seen: set[str] = set()
    for style, answer in zip(styles, answers, strict=True):
        completion, cached = answer.result()
        tally.add(completion, cached)
        written += kept(style, _read(style, completion, tally), passage, seen, tally.dropped)
        _progress(report, "teacher", tally, total)
    tally.kept += len(written)
    return passage, written


def _read(style: Style, completion: Completion, tally: Tally) -> list[Written]:
    try:
        return parsed(style, completion.text)
    except ValueError:
        tally.cut_off += not completion.stopped
        tally.dropped["not of the schema" if completion.stopped else "cut off"] += 1
        return [] if completion.stopped else whole_items(style, completion.text)


def _progress(report: Reporter, label: str, tally: Tally, total: int | None) -> None:
    report.progress(label, tally.requests + tally.cached, total, "completions", tokens_in=tally.prompt_tokens,
                    tokens_out=tally.completion_tokens, tokens_per_second=round(tally.tokens_per_second))


def _asked(teacher: Teacher, cache: Cache, asked: list[Message], schema: dict[str, Any] | None, max_tokens: int,
           place: str) -> tuple[Completion, bool]:
    """A completion, and whether it came from the cache. Its key is all that decides it."""
    key = sha256_json([teacher.identity, asked, schema, max_tokens])
    if (known := cache.get(key)) is not None:
        return known, True
    try:
        completion = teacher.complete(asked, schema, max_tokens)
    except ForgeError as error:
        raise type(error)(f"{place}: {error.message}", fix=error.fix) from None
    cache.put(key, completion)
    return completion, False


@contextlib.contextmanager
def _pool(workers: int, teacher: Teacher) -> Iterator[ThreadPoolExecutor]:
    """Threads that ask. Left by an error or Ctrl-C, nothing new is asked, and what is under way is waited for."""
    pool, ended = ThreadPoolExecutor(workers, thread_name_prefix="teacher"), False
    try:
        yield pool
        ended = True
    finally:
        if not ended:
            teacher.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def self_answers(prompts: Sequence[str], teacher: Teacher, cache: Cache, workers: int, report: Reporter, *,
                 max_tokens: int = REPLAY_TOKENS, tally: Tally | None = None) -> dict[str, str]:
    """The model's own greedy answer to each prompt, for replay; prompts whose answer did not end in time are absent.

    `teacher` is the base itself. Cached and resumable as teach() is.
    """
    tally, answers = tally or Tally(), {}
    with _pool(workers, teacher) as pool:
        asked = {prompt: pool.submit(_asked, teacher, cache, [{"role": "user", "content": prompt}], None, max_tokens,
                                     f"general question {prompt[:60]!r}") for prompt in dict.fromkeys(prompts)}
        for prompt, answer in asked.items():
            completion, cached = answer.result()
            tally.add(completion, cached)
            _progress(report, "the base's own answers", tally, len(asked))
            if completion.stopped and completion.text.strip():
                answers[prompt] = completion.text.strip()
    return answers
