"""Work on documents in processes of their own: none of them can end, block or fill the one that asked.

Each item has limits of processor time and memory, kept by the operating system. Time is that of the processor, so a
busy machine loses no document; memory is what is allocated beyond what the process held before. An item that goes
beyond them, or that ends its process, comes back as `Lost` with the reason; the process is started again for what is
left. Where there are no such limits (Windows; memory on macOS) a crash is still only that item's.
"""

from __future__ import annotations

import contextlib
import gc
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from phoenix_forge.errors import ForgeError, StageFailed

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SECONDS, SECONDS_A_MEGABYTE = (
    30,
    30,
)  # of a processor; an ordinary document of a megabyte takes two to four
MEMORY, MEMORY_A_BYTE = 1_500_000_000, 100
BATCH = 16  # items a process gets at a time
AHEAD = 4  # batches a process may be ahead of whoever takes the results
QUEUED = 32_768  # bytes that certainly fit a pipe: a batch as small is sent before the one before it is done
COLLECTED = (
    1024  # items between two searches for cyclic garbage, of which documents leave next to none
)
PARENT_SECONDS = 1.0  # how soon a process notices that its parent was killed
STATM_DATA = 5  # field of /proc/self/statm: pages of data and stack
READY = "ready"

Work = Callable[..., Any]  # (what `make` gave, *item) → result; importable by name
Instead = Callable[..., Any]  # (lost, *item) → the result in its place


class Limits(NamedTuple):
    """Seconds of a processor, and bytes of memory."""

    seconds: int
    memory: int

    @staticmethod
    def of(size: int) -> Limits:
        """For a document of so many bytes."""
        return Limits(
            SECONDS + SECONDS_A_MEGABYTE * size // 1_000_000, MEMORY + MEMORY_A_BYTE * size
        )


class Lost(NamedTuple):
    """What work on an item came to that has no result."""

    reason: str


def refused(lost: Lost, *_: object) -> NoReturn:
    """Where nothing can stand in an item's place."""
    raise StageFailed(
        f"a part of the corpus cannot be worked on: {lost.reason}",
        fix="forge dataset --verbose shows how far it came; leave that document out with corpus.exclude",
    )


@dataclass
class _Batch:
    """`results` wait to be taken; `done` counts all that there were. `killed` is the item at which somebody else ended
    the process."""

    work: Work
    instead: Instead
    items: Sequence[tuple[Limits, tuple]]
    results: deque[Any] = field(default_factory=deque)
    done: int = 0
    killed: int = -1

    @property
    def complete(self) -> bool:
        return self.done == len(self.items)

    def packed(self) -> bytes:
        """What is left to do."""
        return pickle.dumps((self.work, self.items[self.done :]), pickle.HIGHEST_PROTOCOL)

    def add(self, result: Any) -> None:
        if isinstance(result, Lost):
            _, item = self.items[self.done]
            result = self.instead(result, *item)
        self.results.append(result)
        self.done += 1


class Pool:
    """Up to `workers` processes, each with what `make(*given)` returns there, started when the first work comes.

    `method` is multiprocessing's; by default `start_method()`.
    """

    def __init__(
        self, workers: int, make: Callable[..., Any], given: tuple, method: str | None = None
    ) -> None:
        self.workers, self._begin, self._method = workers, (make, given), method
        self._children: list[_Child] = []

    def map(
        self,
        work: Work,
        items: Iterable[tuple],
        limits: Callable[..., Limits],
        instead: Instead = refused,
        size: int = BATCH,
    ) -> Iterator[Any]:
        """`work` on each item, in their order, under its `limits(*item)`; `instead(lost, *item)` where it has no
        result. A ForgeError that work raises is raised here. `size` items go to a process at a time, and no more is
        taken than a few batches ahead."""
        pairs = ((limits(*item), item) for item in items)
        batches = (
            _Batch(work, instead, batch) for batch in iter(lambda: list(islice(pairs, size)), [])
        )
        order: deque[_Batch] = deque()
        try:
            while self._feed(batches, order) or order:
                self._receive(None if not order[0].results else 0)
                while order and order[0].results:
                    yield _taken(order[0].results.popleft())
                    if order[0].complete and not order[0].results:
                        order.popleft()
        finally:
            self._abandon()

    def close(self) -> None:
        for child in self._children:
            child.end()
        self._children = []

    def _abandon(self) -> None:
        """Ends the processes that are still at work, whose results nobody takes."""
        for child in self._children:
            if child.waiting:
                child.end()
        self._children = [child for child in self._children if not child.waiting]

    def _feed(self, batches: Iterator[_Batch], order: deque[_Batch]) -> bool:
        """Gives a batch to each process that has none, then a second one to each; whether there was any."""
        fed = False
        for most in (0, 1):
            for child in self._free(most):
                if len(order) == self.workers * AHEAD or (batch := next(batches, None)) is None:
                    return fed
                order.append(batch)
                child.give(batch)
                fed = True
        return fed

    def _free(self, most: int) -> Iterator[_Child]:
        """The processes that have no more than `most` batches, of which none is long; first those that are there."""
        yield from (
            child for child in self._children if len(child.waiting) <= most and not child.blocked
        )
        while most == 0 and len(self._children) < self.workers:
            self._children.append(_Child(self._method, self._begin))
            yield self._children[-1]

    def _receive(self, seconds: float | None) -> None:
        working: dict[Any, _Child] = {
            child.connection: child for child in self._children if child.waiting
        }
        for connection in wait(list(working), seconds):
            working[connection].receive()


def _taken(result: Any) -> Any:
    if isinstance(result, ForgeError):
        raise result
    return result


def start_method() -> str:
    """A forked process has at once all that was loaded here, but could wait for ever for a lock that another thread
    held at that moment: processes are forked only where there is no other thread."""
    forks = "fork" in multiprocessing.get_all_start_methods()
    return "fork" if forks and threading.active_count() == 1 else "spawn"


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
    """A process that is spawned in here does not run the caller's script again, as multiprocessing would have it: all
    that is done there lies in modules, and somebody's script of five lines need not guard them by its __name__."""
    script = sys.modules["__main__"]
    originals: dict[str, Any] = {
        name: vars(script)[name] for name in ("__file__", "__spec__") if name in vars(script)
    }
    try:
        vars(script).update(dict.fromkeys(originals))
        yield
    finally:
        vars(script).update(originals)


class _Child:
    """A process, and the batches that it was given: the first is worked on."""

    def __init__(self, method: str | None, begin: tuple) -> None:
        self._method, self._begin = method, begin
        self.waiting: deque[_Batch] = deque()
        self._start()

    def _start(self) -> None:
        context: Any = multiprocessing.get_context(self._method or start_method())
        self.connection, theirs = context.Pipe()
        self._ready = self.blocked = False
        self._process = context.Process(
            target=_serve, args=(theirs, os.getpid(), *self._begin), daemon=True
        )
        with _without_script():
            self._process.start()
        theirs.close()

    def give(self, batch: _Batch) -> None:
        self.waiting.append(batch)
        self._send(batch)

    def _send(self, batch: _Batch) -> None:
        packed = batch.packed()
        if (
            len(self.waiting) > 1 and len(packed) > QUEUED
        ):  # it would wait here until the process reads
            self.blocked = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receive() finds out why
            self.connection.send_bytes(packed)

    def receive(self) -> None:
        """Takes one result, or notices that the process has ended."""
        try:
            result = pickle.loads(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            self._restart()
            return
        if not self._ready:
            self._ready = True
            return
        self.waiting[0].add(result)
        if self.waiting[0].complete:
            self.waiting.popleft()
            if self.blocked:
                self.blocked = False
                self._send(self.waiting[0])

    def _restart(self) -> None:
        """The process has ended over the first item that is not done, which is lost unless it was killed from outside
        for the first time: that can be for want of memory elsewhere."""
        self._process.join()
        code, batch = self._process.exitcode or 0, self.waiting[0]
        if not self._ready:
            raise StageFailed(
                f"a process that was to read documents ended with {_ended(code)} as it started",
                fix="free some memory, and run the command again",
            )
        if code == -KILLED and batch.killed != batch.done:
            batch.killed = batch.done
        else:
            batch.add(Lost(_reason(code, batch.items[batch.done][0])))
        if batch.complete:
            self.waiting.popleft()
        self.connection.close()
        self._start()
        waiting, self.waiting = self.waiting, deque()
        for each in waiting:
            self.give(each)

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self.connection.close()


FAILED = 1  # exit code after an error that nothing expects, whose traceback Python writes to stderr
KILLED, TIME = 9, getattr(signal, "SIGXCPU", None)  # Windows has neither


def _ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {-code}, {signal.strsignal(-code)}"


def _reason(code: int, limits: Limits) -> str:
    if -code == TIME:
        return f"took more than {limits.seconds} s of a processor"
    if -code == KILLED:
        return "ended its reader twice: killed from outside, perhaps for want of memory"
    if code == FAILED:
        return "its reader failed, with the traceback above: please report this as a bug"
    return f"ended its reader ({_ended(code)})"


# -- in the process ----------------------------------------------------------------------------------------------------


def _serve(connection: Connection, parent: int, make: Callable[..., Any], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked, and ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core a process
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    gc.disable()
    first = make(*arguments)
    connection.send(READY)
    items = 0
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            work, batch = pickle.loads(connection.recv_bytes())
            for limits, item in batch:
                connection.send_bytes(_done(work, first, item, limits))
                items += 1
                if items % COLLECTED == 0:
                    gc.collect()


def _follow(parent: int) -> None:
    """A killed parent takes its processes with it: they would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _done(work: Work, first: Any, item: tuple, limits: Limits) -> bytes:
    _limit(limits)
    try:
        return pickle.dumps(work(first, *item), pickle.HIGHEST_PROTOCOL)
    except ForgeError as error:
        return pickle.dumps(error)
    except MemoryError:
        lost = Lost(f"needed more than {limits.memory / 1e9:.1f} GB of memory")
    except RecursionError:
        lost = Lost("nests too deeply")
    gc.collect()
    return pickle.dumps(lost)


def _limit(limits: Limits) -> None:
    """From now on. What the system cannot limit stays unlimited."""
    if resource is None:
        return
    spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: math.ceil(spent) + limits.seconds,
        resource.RLIMIT_DATA: _allocated() + limits.memory,
    }
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(
                kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard)
            )


def _allocated() -> int:
    """Bytes of this process's data and stack; 0 where there is no /proc."""
    try:
        fields = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return 0
    return int(fields[STATM_DATA]) * resource.getpagesize()
