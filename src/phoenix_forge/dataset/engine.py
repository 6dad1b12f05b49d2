"""Where documents are worked on: processes of this machine, or a Ray cluster. The same results in order.

Work comes as small batches and never runs more than a few of them ahead of whoever takes the results, so memory does
not grow with the corpus. Each document has limits of time and memory (`phoenix_forge.corpus.guarded`).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from phoenix_forge.chat.encode import Encoder
from phoenix_forge.core.config import Config
from phoenix_forge.corpus.guarded import (
    AHEAD,
    BATCH,
    Instead,
    Limits,
    Pool,
    Work,
    refused,
    start_method,
)
from phoenix_forge.corpus.prose import language
from phoenix_forge.dataset.extract import WorkerContext
from phoenix_forge.errors import EnvironmentProblem

ALONE = 48  # with fewer items starting processes costs more than it saves
UNKNOWN = 10_000_000  # bytes, for items that are no single document


def unknown(*_: object) -> Limits:
    return Limits.of(UNKNOWN)


@dataclass(frozen=True)
class ContextSource:
    """What another process needs to make the WorkerContext: the settings, and the folder of the base's tokenizer."""

    config: Config
    folder: Path
    stop: str
    pad: str

    def context(self) -> WorkerContext:
        return WorkerContext.of(
            self.config, Encoder.load(self.folder, stop=self.stop, pad=self.pad)
        )


@dataclass(frozen=True)
class Shipped:
    """The same for another machine: the tokenizer's files go along, by name."""

    source: ContextSource
    files: dict[str, bytes]

    @staticmethod
    def of(source: ContextSource) -> Shipped:
        names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        return Shipped(
            source,
            {
                name: (source.folder / name).read_bytes()
                for name in names
                if (source.folder / name).exists()
            },
        )

    def context(self) -> WorkerContext:
        with TemporaryDirectory() as folder:
            for name, data in self.files.items():
                (Path(folder) / name).write_bytes(data)
            return replace(self.source, folder=Path(folder)).context()


class Local:
    """Processes of this machine, which are started when they are first needed: one for few items."""

    ships = False

    def __init__(self, given: WorkerContext | ContextSource | Shipped, workers: int) -> None:
        """`given` is what a process has or makes its WorkerContext from."""
        self._given, self.workers = given, workers
        self._pool = Pool(
            workers, _context, (given,), "fork" if isinstance(given, WorkerContext) else "spawn"
        )

    def map(
        self,
        work: Work,
        items: Iterable[tuple],
        count: int,
        limits: Callable[..., Limits] = unknown,
        instead: Instead = refused,
    ) -> Iterator[Any]:
        """`work` on each of `count` items, in their order; see `phoenix_forge.corpus.guarded.Pool.map`."""
        if count and isinstance(
            self._given, WorkerContext
        ):  # a forked process has what was loaded before
            language("text")
        if count >= ALONE and isinstance(self._given, WorkerContext):
            self._given.scale.encoder.fast_counts.prepare()
        return self._pool.map(work, items, limits, instead, batch_size(count, self.workers))

    def close(self) -> None:
        self._pool.close()


def _context(given: WorkerContext | ContextSource | Shipped) -> WorkerContext:
    return given if isinstance(given, WorkerContext) else given.context()


def batch_size(count: int, workers: int) -> int:
    """Few items are one batch, for one process: starting another costs more than it saves."""
    return max(1, count) if count < ALONE else min(BATCH, max(1, count // workers))


class RayCluster:
    """Ray Data, with one actor a worker that loads the tokenizer once. Items and results travel as objects, so the
    cluster needs no file of this machine."""

    ships = True  # documents go with the work

    def __init__(self, source: ContextSource, workers: int) -> None:
        try:
            import ray
        except ImportError:
            raise EnvironmentProblem(
                "dataset.engine is ray, and Ray is not installed",
                fix="pip install 'phoenix-forge[ray]', or --engine local",
            ) from None
        self.ray, self.workers = ray, workers
        self._own = not ray.is_initialized()
        if self._own:
            address = os.environ.get("RAY_ADDRESS")
            with contextlib.chdir(
                "/"
            ):  # Ray has its workers import from this folder first, and documents lie in ours
                ray.init(
                    address=address,
                    num_cpus=None if address else workers,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        self.source = ray.put(Shipped.of(source))

    def map(
        self,
        work: Work,
        items: Iterable[tuple],
        count: int,
        limits: Callable[..., Limits] = unknown,
        instead: Instead = refused,
    ) -> Iterator[Any]:
        """As Local's."""
        shared = (self.source, work, limits, instead)
        for window in _batches(items, BATCH * AHEAD * self.workers * 4):
            rows = [{"batch": batch} for batch in _batches(window, BATCH)]
            worker: Any = _RayWorker
            done = self.ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                worker, fn_constructor_args=shared, concurrency=self.workers
            )
            for row in done.iter_rows():
                yield from row["batch"]

    def close(self) -> None:
        if self._own:
            self.ray.shutdown()


class _RayWorker:
    """An actor, which has one process of its own to work on documents."""

    def __init__(
        self, source: Any, work: Work, limits: Callable[..., Limits], instead: Instead
    ) -> None:
        import ray

        self.local, self.work, self.limits, self.instead = (
            Local(ray.get(source), 1),
            work,
            limits,
            instead,
        )

    def __call__(self, row: dict) -> dict:
        batch = row["batch"]
        return {
            "batch": list(self.local.map(self.work, batch, len(batch), self.limits, self.instead))
        }


@contextlib.contextmanager
def engine(
    config: Config, context: WorkerContext, encoder: Encoder
) -> Iterator[Local | RayCluster]:
    """The configured engine, as far as it can be: a job whose encoder came from no folder cannot go elsewhere."""
    workers = config.dataset.workers or os.cpu_count() or 1
    source = (
        ContextSource(config, encoder.folder, encoder.stop, encoder.pad) if encoder.folder else None
    )
    if config.dataset.engine == "ray" and source:
        pool: Local | RayCluster = RayCluster(source, workers)
    else:
        pool = Local(context if source is None or start_method() == "fork" else source, workers)
    with contextlib.closing(pool):
        yield pool


def _batches(items: Iterable[tuple], size: int) -> Iterator[list[tuple]]:
    batch: list[tuple] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
