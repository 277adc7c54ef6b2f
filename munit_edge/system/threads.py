"""Stages of a pipeline: functions computed ahead by threads, in order and with bounded queues.

Stages are iterators, so one can be the input of the next:

    reads = in_threads(read, paths, workers=2, limit=3)
    written = in_threads(write, translated(reads), workers=2, limit=8)
    for result in written: ...

`translated` is then run by the second stage's own thread, and the caller's thread only waits: it
hears of Ctrl-C at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

GRACE_S = 1.0
"""Seconds that a stage waits at its end for the thread that computes its items."""

# Where a wait cannot be interrupted, signals are seen this often (seconds).
_WAKE_S = 0.5


def in_threads(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    limit: int,
    cost: Callable[[T], int] = lambda item: 1,
    settle: bool = False,
    name: str = "stage",
) -> Generator[R, None, None]:
    """`function` of every item, in the order of the items, computed by threads.

    One more thread iterates over `items`. It waits while the items that were taken and not yet
    yielded cost `limit` or more, so memory stays flat however many items there are. An error, of
    an item or of `items` itself, is raised in its place: the results before it come first.

    When the iteration ends early (an error, or the generator is closed), items not begun are
    dropped and `items` is closed by its thread. No thread keeps the program from ending.

    Args:
        function: called by several threads at once.
        items: iterated by one thread of this stage.
        workers: number of threads that call `function`.
        limit: cost of items under way at which no more are taken.
        cost: of one item, counted until its result was yielded.
        settle: at an early end wait for calls of `function` that have begun, as files being
            written want.
        name: the start of the threads' names.
    """
    stage = _Stage(function, items, limit, cost)
    stage.start(workers, name)
    try:
        yield from stage.results()
    finally:
        stage.close(settle=settle)


class _Task(Generic[T, R]):
    """One item on its way."""

    def __init__(self, item: T, cost: int) -> None:
        self.item: T | None = item
        self.cost = cost
        self.value: R | None = None
        self.error: BaseException | None = None
        self.done = False


class _Stage(Generic[T, R]):
    """What the threads of one stage share; everything changes under the one condition."""

    def __init__(
        self, function: Callable[[T], R], items: Iterable[T], limit: int, cost: Callable[[T], int]
    ) -> None:
        self._function = function
        self._items = items
        self._limit = limit
        self._cost = cost
        self._changed = threading.Condition()
        self._waiting: deque[_Task[T, R]] = deque()
        """Tasks that no worker has taken."""
        self._order: deque[_Task[T, R]] = deque()
        """Tasks not yet yielded."""
        self._held = 0
        """What those cost."""
        self._ended = False
        """No more items will come."""
        self._failure: BaseException | None = None
        """Why, if `items` raised."""
        self._closed = False
        self._feeder = threading.Thread()
        self._workers: list[threading.Thread] = []

    def start(self, workers: int, name: str) -> None:
        self._feeder = threading.Thread(target=self._feed, name=f"{name}-feeder", daemon=True)
        self._workers = [
            threading.Thread(target=self._work, name=f"{name}-{index}", daemon=True)
            for index in range(workers)
        ]
        for thread in (self._feeder, *self._workers):
            thread.start()

    def results(self) -> Iterator[R]:
        while True:
            with self._changed:
                self._wait(lambda: self._order[0].done if self._order else self._ended)
                if not self._order:
                    break
                task = self._order.popleft()
                self._held -= task.cost
                self._changed.notify_all()
            if task.error is not None:
                raise task.error
            yield task.value  # type: ignore[misc]  # R may allow None
        if self._failure is not None:
            raise self._failure

    def close(self, *, settle: bool) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        if settle:
            for worker in self._workers:
                worker.join()
        self._feeder.join(GRACE_S)

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not self._changed.wait_for(ready, _WAKE_S):
            pass

    def _feed(self) -> None:
        """Take items while there is room."""
        try:
            for item in self._items:
                with self._changed:
                    self._wait(lambda: self._held < self._limit or self._closed)
                    if self._closed:
                        break
                    task = _Task[T, R](item, self._cost(item))
                    self._waiting.append(task)
                    self._order.append(task)
                    self._held += task.cost
                    self._changed.notify_all()
                del item, task  # else the last item stays in memory while the next one is made
        except BaseException as exc:  # it is raised by the thread that wants the results
            self._failure = exc
        finally:
            _close(self._items)
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _work(self) -> None:
        """Compute tasks until there are no more."""
        while (task := self._next_task()) is not None:
            try:
                task.value = self._function(task.item)  # type: ignore[arg-type]  # not yet dropped
            except BaseException as exc:  # as above
                task.error = exc
            with self._changed:
                task.item = None
                task.done = True
                self._changed.notify_all()
            del task  # its result belongs to the consumer

    def _next_task(self) -> _Task[T, R] | None:
        with self._changed:
            self._wait(lambda: bool(self._waiting) or self._ended or self._closed)
            return self._waiting.popleft() if self._waiting else None


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()


class Stopwatch:
    """Adds up the time spent in `with` blocks.

    Args:
        clock: tells the time in seconds.

    Attributes:
        seconds: so far.
        last: in the last block.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds = 0.0
        self.last = 0.0
        self._started = 0.0

    def __enter__(self) -> Stopwatch:
        self._started = self._clock()
        return self

    def __exit__(self, *exc: object) -> None:
        self.last = self._clock() - self._started
        self.seconds += self.last
