"""The pool of threads that customers are collected on, and the batches their slices are flushed in."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from optiinfra_dagster.model.slices import SliceResult

# A batch goes to ClickHouse when it is this large or this old: one flush for many customers, little lost by a kill.
FLUSH_ROWS = 200_000
FLUSH_SECONDS = 2.0

# So many tasks are at work or wait for it: enough for what a flush takes, and each holds its customer's inventory.
TASKS_AHEAD = 200

# A customer who takes longer gives its slot to another and goes on, up to so many times as many as there are slots:
# most take a second or two, but a cloud that hangs holds its customers for their whole bound of minutes. Only where one
# window is asked for: what is slow in a long range or a bill is the customer's own size, which slots bound in memory.
SLOW_SECONDS = 10.0
SLOW_TIMES = 4

TaskT = TypeVar("TaskT")


class _End:
    """A task's last item in the queue."""


_END = _End()

_stopping = threading.Event()


def stop_collecting() -> None:
    """Emit nothing from now on: this process is about to end, and what fails for that reason was not tried."""
    _stopping.set()


def in_flush_batches(  # noqa: C901 - two small closures and a loop, simpler together than apart
    work: Callable[[TaskT], Iterator[SliceResult]], tasks: Iterable[TaskT], slots: SlotPool
) -> Iterator[list[SliceResult]]:
    """Run `work` for the tasks on a pool of threads and yield the slices they yield, in batches worth a flush.

    Tasks are taken as they are needed, in the caller's thread, and none is kept once it has ended. When this generator
    is closed, tasks that wait are not begun, and nothing more is taken from those at work.
    """
    # A bounded queue: when ClickHouse is slow, collection waits instead of filling the memory.
    finished: queue.Queue[SliceResult | _End] = queue.Queue(maxsize=2 * slots.most)
    stop = threading.Event()

    def emit(item: SliceResult | _End) -> None:
        while not stop.is_set() and (item is _END or not _stopping.is_set()):
            try:
                return finished.put(item, timeout=0.5)
            except queue.Full:
                continue
        return None

    def run(task: TaskT) -> None:
        try:
            with slots.slot():
                if not stop.is_set():
                    for slices in work(task):
                        emit(slices)
                        if stop.is_set() or _stopping.is_set():
                            break
        finally:
            emit(_END)

    waiting, going = iter(tasks), 0
    with ThreadPoolExecutor(slots.threads, thread_name_prefix="customer") as pool:
        try:
            while True:
                for task in islice(waiting, TASKS_AHEAD - going):
                    pool.submit(run, task)
                    going += 1
                if not going:
                    break
                batch, ended = _next_batch(finished, going, slots)
                going -= ended
                if batch:
                    yield batch
        finally:
            stop.set()


class SlotPool:
    """Concurrency slots: `most` customers at work side by side, up to `threads` with slow ones. Thread-safe."""

    def __init__(self, most: int, threads: int) -> None:
        self.most, self.threads = most, threads
        self._free = threading.Semaphore(most)
        self._taken: dict[object, float] = {}  # since when
        self._lock = threading.Lock()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Acquire a slot, as soon as one is free."""
        self._free.acquire()
        mine = object()
        with self._lock:
            self._taken[mine] = time.monotonic()
        try:
            yield
        finally:
            self._release([mine])

    def free_slow_ones(self) -> None:
        """Give the slots of those who take long to others; they go on, each in its thread."""
        since = time.monotonic() - SLOW_SECONDS
        with self._lock:
            slow = [slot for slot, taken in self._taken.items() if taken <= since]
        self._release(slow)

    def _release(self, slots: Sequence[object]) -> None:
        with self._lock:
            for slot in slots:
                if self._taken.pop(slot, None) is not None:
                    self._free.release()


def _next_batch(
    finished: queue.Queue[SliceResult | _End], going: int, slots: SlotPool
) -> tuple[list[SliceResult], int]:
    """The slices that arrive until a batch is full or old, and how many of the `going` tasks ended meanwhile."""
    batch: list[SliceResult] = []
    ended, rows, deadline = 0, 0, math.inf
    while ended < going and rows < FLUSH_ROWS and (wait := deadline - time.monotonic()) > 0:
        if finished.empty():  # otherwise somebody may wait for ClickHouse, and not for a cloud
            slots.free_slow_ones()
        try:
            item = finished.get(timeout=min(wait, SLOW_SECONDS / 10))
        except queue.Empty:
            continue
        if isinstance(item, _End):
            ended += 1
            continue
        batch.append(item)
        rows += item.rows.num_rows if item.rows is not None else 0
        deadline = min(deadline, time.monotonic() + FLUSH_SECONDS)
    if _stopping.is_set():
        threading.Event().wait()  # for good: the process ends, and its run is recorded as canceled
    return batch, ended
