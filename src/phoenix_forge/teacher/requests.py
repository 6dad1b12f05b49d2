"""Many requests to a teacher → its answers, in order: kept as they come, asked together where the teacher can."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from phoenix_forge.chat.template import Message
from phoenix_forge.core.fsio import sha256_json
from phoenix_forge.core.report import Reporter
from phoenix_forge.errors import ForgeError
from phoenix_forge.teacher.cache import Cache, Completion
from phoenix_forge.teacher.transports import Teacher

REPLAY_TOKENS = 320  # of a base's own answer to a general question


@dataclass
class Tally:
    """What a run cost and what came of it. Tokens are those of this run's requests; cached completions cost none."""

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic, repr=False)

    def add(self, completion: Completion) -> None:
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.completion_tokens += completion.completion_tokens

    @property
    def tokens_per_second(self) -> float:
        """Tokens written, over all requests at a time."""
        return self.completion_tokens / max(time.monotonic() - self.started, 1e-3)

    def told(self) -> str:
        lost = ", ".join(f"{reason} {n:,}" for reason, n in self.dropped.most_common())
        return (
            f"{self.requests:,} requests, {self.cached:,} from the cache; {self.prompt_tokens:,} tokens in, "
            f"{self.completion_tokens:,} out, {self.tokens_per_second:,.0f} tokens/s; {self.kept:,} kept"
            + (f"; dropped: {lost}" if lost else "")
        )


def completed(
    asked: Sequence[Sequence[Message]],
    max_tokens: int,
    teacher: Teacher,
    cache: Cache,
    workers: int,
    tally: Tally,
    report: Reporter,
    label: str,
) -> list[Completion]:
    """The teacher's greedy answer to each conversation. Equal ones are asked once, known ones not at all."""
    keys = [sha256_json([teacher.identity, list(one), max_tokens]) for one in asked]
    known = cache.get_many(keys)
    if cache.damaged:
        report.warn(
            f"{cache.damaged} kept answers in {cache.path} are damaged and are asked for again"
        )
        cache.damaged = 0
    tally.cached += len(known)
    missing = {key: one for key, one in zip(keys, asked, strict=True) if key not in known}
    wanted = len(known) + len(missing)
    for key, completion in _answers(missing, max_tokens, teacher, workers):
        cache.put(key, completion)
        known[key] = completion
        tally.add(completion)
        report.progress(
            f"teacher, {label}",
            len(known),
            wanted,
            "answers",
            tokens_in=tally.prompt_tokens,
            tokens_out=tally.completion_tokens,
            tokens_per_second=round(tally.tokens_per_second),
        )
    return [known[key] for key in keys]


def self_answers(
    prompts: Sequence[str],
    teacher: Teacher,
    cache: Cache,
    workers: int,
    report: Reporter,
    *,
    max_tokens: int = REPLAY_TOKENS,
    tally: Tally | None = None,
) -> dict[str, str]:
    """The model's own greedy answer to each prompt, for replay; prompts whose answer did not end in time are absent.

    `teacher` is the base itself. Kept and resumable as everything that is asked.
    """
    different = list(dict.fromkeys(prompts))
    asked: list[list[Message]] = [[{"role": "user", "content": prompt}] for prompt in different]
    said = completed(
        asked,
        max_tokens,
        teacher,
        cache,
        workers,
        tally or Tally(),
        report,
        "the base's own answers",
    )
    return {
        prompt: one.text.strip()
        for prompt, one in zip(different, said, strict=True)
        if one.stopped and one.text.strip()
    }


def _answers(
    missing: dict[str, Sequence[Message]], max_tokens: int, teacher: Teacher, workers: int
) -> Iterator[tuple[str, Completion]]:
    keys = list(missing)
    if teacher.together:
        for i, completion in teacher.together(list(missing.values()), max_tokens):
            yield keys[i], completion
        return
    with pool(workers, teacher) as threads:
        under_way = {
            threads.submit(teacher.complete, one, None, max_tokens): key
            for key, one in missing.items()
        }
        ended: set[Future[Completion]] = set()
        try:
            for done in as_completed(under_way):
                ended.add(done)
                yield under_way[done], done.result()
        except ForgeError:
            teacher.stop()
            left = [one for one in under_way if one not in ended and not one.cancel()]
            for done in as_completed(left):  # paid for: kept, whatever failed
                if done.exception() is None:
                    yield under_way[done], done.result()
            raise


@contextlib.contextmanager
def pool(workers: int, teacher: Teacher) -> Iterator[ThreadPoolExecutor]:
    """Threads that ask. Left by an error or Ctrl-C, nothing new is asked, and what is under way is waited for."""
    threads, ended = ThreadPoolExecutor(workers, thread_name_prefix="teacher"), False
    try:
        yield threads
        ended = True
    finally:
        if not ended:
            teacher.stop()
        threads.shutdown(wait=True, cancel_futures=True)
