"""Where documents are worked on: this process, processes of this machine, or a Ray cluster. The same results in order.

Work comes as small batches and never runs more than a few of them ahead of whoever takes the results, so memory does
not grow with the corpus.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forge.chat.encode import Encoder
from forge.core.config import Config
from forge.dataset.extract import Job
from forge.errors import EnvironmentProblem, StageFailed

BATCH = 16  # items a process gets at a time
AHEAD = 4  # batches a worker may be ahead
ALONE = 48  # with fewer items starting processes costs more than it saves
COLLECTED = 64  # batches between two searches for cyclic garbage, of which documents leave next to none
PARENT_SECONDS = 1.0  # how soon a worker notices that its parent was killed
Work = Callable[..., Any]  # (job, *item) → result; importable by name


@dataclass(frozen=True)
class Source:
    """What another process needs to make the Job: the settings, and the folder of the base's tokenizer."""

    config: Config
    folder: Path
    stop: str
    pad: str

    def job(self) -> Job:
        return Job.of(self.config, Encoder.load(self.folder, stop=self.stop, pad=self.pad))


@dataclass(frozen=True)
class Shipped:
    """The same for another machine: the tokenizer's files go along, by name."""

    source: Source
    files: dict[str, bytes]

    @staticmethod
    def of(source: Source) -> Shipped:
        names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        return Shipped(source, {name: (source.folder / name).read_bytes() for name in names
                                if (source.folder / name).exists()})

    def job(self) -> Job:
        with TemporaryDirectory() as folder:
            for name, data in self.files.items():
                (Path(folder) / name).write_bytes(data)
            return replace(self.source, folder=Path(folder)).job()


class Local:
    """This machine: this process for few items, else processes that are started when they are first needed.

    `source` None: always this process.
    """

    ships = False

    def __init__(self, job: Job, source: Source | None, workers: int) -> None:
        self.job, self.source, self.workers = job, source, workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, work: Work, items: Iterable[tuple], count: int) -> Iterator[Any]:
        """`work` on each of `count` items, in their order."""
        if self.source is None or self.workers == 1 or (count < ALONE and self._pool is None):
            return (work(self.job, *item) for item in items)
        if self._pool is None:
            self._pool = self._started(start_method(), self.source)
        size = min(BATCH, max(1, count // self.workers))
        return _pooled(self._pool, work, items, size, self.workers * AHEAD)

    def _started(self, method: str, source: Source) -> ProcessPoolExecutor:
        self.job.scale.encoder.fast_counts.prepare()
        given: Job | Source = self.job if method == "fork" else source
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context(method), _begin, (given, os.getpid()))

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def start_method() -> str:
    """A forked worker has at once all that was loaded here, but could wait for ever for a lock that another thread
    held at that moment: workers are forked only where there is no other thread."""
    return "fork" if threading.active_count() == 1 else "spawn"


def _pooled(pool: ProcessPoolExecutor, work: Work, items: Iterable[tuple], size: int, window: int) -> Iterator[Any]:
    try:
        for future in _windowed(lambda batch: pool.submit(_work, work, batch), _batches(items, size), window):
            yield from future.result()
    except BrokenProcessPool:
        raise StageFailed("a worker process died while reading documents (out of memory?)",
                          fix="forge dataset continues where it stopped; with --set dataset.workers=1 if it happens "
                              "again") from None


class RayCluster:
    """Ray Data, with one actor a worker that loads the tokenizer once. Items and results travel as objects, so the
    cluster needs no file of this machine."""

    ships = True  # documents go with the work

    def __init__(self, source: Source, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise EnvironmentProblem("dataset.engine is ray, and Ray is not installed",
                                     fix="pip install 'phoenix-forge[ray]', or --engine local") from None
        self.ray, self.workers = ray, workers
        self._own = not ray.is_initialized()
        if self._own:
            address = os.environ.get("RAY_ADDRESS")
            ray.init(address=address, num_cpus=None if address else workers, include_dashboard=False,
                     log_to_driver=False, logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        self.source = ray.put(Shipped.of(source))

    def map(self, work: Work, items: Iterable[tuple], count: int) -> Iterator[Any]:
        for window in _batches(items, BATCH * AHEAD * self.workers * 4):
            rows = [{"batch": batch} for batch in _batches(window, BATCH)]
            worker: Any = _RayWorker
            done = self.ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                worker, fn_constructor_args=(self.source, work), concurrency=self.workers)
            for row in done.iter_rows():
                yield from row["batch"]

    def close(self) -> None:
        if self._own:
            self.ray.shutdown()


class _RayWorker:
    def __init__(self, source: Any, work: Work) -> None:
        import ray
        self.job, self.work = ray.get(source).job(), work

    def __call__(self, row: dict) -> dict:
        return {"batch": [self.work(self.job, *item) for item in row["batch"]]}


@contextlib.contextmanager
def engine(config: Config, job: Job, encoder: Encoder) -> Iterator[Local | RayCluster]:
    """The configured engine, as far as it can be: an encoder that came from no folder stays in this process."""
    workers = config.dataset.workers or os.cpu_count() or 1
    source = Source(config, encoder.folder, encoder.stop, encoder.pad) if encoder.folder else None
    made: Local | RayCluster = Local(job, source, workers)
    if config.dataset.engine == "ray" and source:
        made = RayCluster(source, workers)
    with contextlib.closing(made):
        yield made


def _batches(items: Iterable[tuple], size: int) -> Iterator[list[tuple]]:
    batch: list[tuple] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _windowed(submit: Callable[[list[tuple]], Future], batches: Iterable[list[tuple]], window: int
              ) -> Iterator[Future]:
    waiting: deque[Future] = deque()
    for batch in batches:
        waiting.append(submit(batch))
        if len(waiting) >= window:
            yield waiting.popleft()
    yield from waiting


# -- in the worker -----------------------------------------------------------------------------------------------------

_job: Job | None = None
_batches_done = 0


def _begin(source: Job | Source, parent: int) -> None:
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and ends its workers
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core a process
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    gc.disable()
    _job = source if isinstance(source, Job) else source.job()


def _follow(parent: int) -> None:
    """A killed parent takes its workers with it: they would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _work(work: Work, batch: list[tuple]) -> list:
    global _batches_done
    assert _job is not None
    _batches_done += 1
    if _batches_done % COLLECTED == 0:
        gc.collect()
    return [work(_job, *item) for item in batch]
