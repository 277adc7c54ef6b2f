"""Work done ahead by threads, in order and with bounded queues.

`in_threads` calls a function for each item. It returns an iterator, so one stage can be the input
of the next:

    reads = in_threads(read, paths, workers=2, limit=3)
    written = in_threads(write, translated(reads), workers=2, limit=8)
    for result in written: ...

`translated` then runs in the second stage's own thread, and the caller's thread only waits, so it
reacts to Ctrl-C at once.

`Ahead` makes one value ahead of its use.

`Prefetch` iterates ahead over a source that may be silent or too fast: waiting for it can be
stopped, and new items can replace old ones.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

GRACE_S = 1.0
"""Seconds that a stage waits at its end for the thread that iterates over its items."""
PREFETCH_GRACE_S = 2.0
"""Seconds that `Prefetch.close` waits for the item that is being fetched."""

# A wait without a time limit cannot be interrupted, so waits wake up this often (seconds).
_WAKE_S = 0.5
_POLL_S = 0.1


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
    """Apply `function` to every item in threads; yield the results in the order of the items.

    One more thread iterates over `items`. It waits while the items that were taken and not yet
    yielded cost `limit` or more, so memory use does not grow with the number of items. An error of
    an item, or of `items` itself, is raised in its place, after the results before it.

    If the iteration ends early (an error, or the generator is closed), items not begun are dropped
    and `items` is closed by its thread. No thread keeps the program from ending.

    Args:
        function: called by several threads at once.
        items: iterated by one thread of this stage.
        workers: number of threads that call `function`.
        limit: total cost of the items in progress above which no more are taken.
        cost: of one item, counted until its result has been yielded.
        settle: after an early end, wait for calls of `function` that have begun, so that files are
            written completely.
        name: prefix of the threads' names.
    """
    stage = _Stage(function, items, limit, cost)
    stage.start(workers, name)
    try:
        yield from stage.results()
    finally:
        stage.close(settle=settle)


class _Task(Generic[T, R]):
    """One item in progress."""

    def __init__(self, item: T, cost: int) -> None:
        self.item: T | None = item
        self.cost = cost
        self.value: R | None = None
        self.error: BaseException | None = None
        self.done = False


class _Stage(Generic[T, R]):
    """State shared by the threads of one stage; `_changed` guards all of it."""

    def __init__(
        self, function: Callable[[T], R], items: Iterable[T], limit: int, cost: Callable[[T], int]
    ) -> None:
        self._function = function
        self._items = items
        self._limit = limit
        self._cost = cost
        self._changed = threading.Condition()
        self._waiting: deque[_Task[T, R]] = deque()
        """Tasks that no worker has started."""
        self._order: deque[_Task[T, R]] = deque()
        """Tasks not yet yielded."""
        self._held = 0
        """Total cost of the tasks in `_order`."""
        self._ended = False
        """Set when there are no more items."""
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
                # The oldest task is done, or there is none and none will come.
                self._wait(lambda: self._order[0].done if self._order else self._ended)
                if not self._order:
                    break
                task = self._order.popleft()
                self._held -= task.cost
                self._changed.notify_all()
            # Outside the lock: the consumer may keep this generator waiting for long.
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
        # Not for ever: `items` may be waiting for a camera.
        self._feeder.join(GRACE_S)

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not self._changed.wait_for(ready, _WAKE_S):
            pass

    def _feed(self) -> None:
        """Take items while their cost stays below the limit."""
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
        except BaseException as exc:  # re-raised in the thread that takes the results
            self._failure = exc
        finally:
            # By the thread that iterates: another one cannot close a generator that runs.
            _close(self._items)
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _work(self) -> None:
        """Run tasks until there are no more."""
        while (task := self._next_task()) is not None:
            try:
                task.value = self._function(task.item)  # type: ignore[arg-type]  # not yet dropped
            except BaseException as exc:  # as above
                task.error = exc
            with self._changed:
                # The input, such as an image, is freed now, not when the result is taken.
                task.item = None
                task.done = True
                self._changed.notify_all()
            del task  # so that only the consumer holds its result

    def _next_task(self) -> _Task[T, R] | None:
        with self._changed:
            self._wait(lambda: bool(self._waiting) or self._ended or self._closed)
            return self._waiting.popleft() if self._waiting else None


def _close(items: object) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()


class Prefetch(Generic[T]):
    """Items of an iterable, fetched ahead by a thread.

    Args:
        items: iterated, and closed if it is a generator, in that thread.
        depth: largest number of waiting items.
        drop_old: when the queue is full, drop its oldest item (for live sources) instead of waiting
            until there is room.
    """

    def __init__(self, items: Iterable[T], depth: int, *, drop_old: bool = False) -> None:
        self._items = items
        self._drop_old = drop_old
        self._queue: queue.Queue[T] = queue.Queue(depth)
        self._closed = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self.num_dropped = 0
        """Items dropped so far."""
        self._thread = threading.Thread(target=self._fetch, daemon=True)
        self._thread.start()

    def until(self, stop: Callable[[], bool]) -> Iterator[T]:
        """The items until `stop` returns true; it is called often, also while no item arrives.

        Raises:
            BaseException: whatever the iterable raised, after the items before it.
        """
        while not stop() and not self._closed.is_set():
            ended = self._ended.is_set()  # read first: if set, all items are queued by now
            try:
                yield self._queue.get(block=not ended, timeout=_POLL_S)
            except queue.Empty:
                if ended:
                    break
        if self._error is not None and not stop():
            raise self._error

    def __iter__(self) -> Iterator[T]:
        return self.until(lambda: False)

    def close(self) -> None:
        """Stop fetching and drop the waiting items.

        Waits shortly for an item that is being fetched. Its thread does not keep the program from
        ending.
        """
        self._closed.set()
        self._thread.join(PREFETCH_GRACE_S)

    def _fetch(self) -> None:
        iterator = iter(self._items)
        try:
            for item in iterator:
                if not self._put(item):
                    break
        except BaseException as exc:
            self._error = exc
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
            self._ended.set()

    def _put(self, item: T) -> bool:
        """Queue an item; return False once closed."""
        while not self._closed.is_set():
            try:
                # Only this thread puts, so after one drop there is room.
                self._queue.put(item, timeout=0 if self._drop_old else _POLL_S)
            except queue.Full:
                if self._drop_old:
                    self._drop()
            else:
                return True
        return False

    def _drop(self) -> None:
        try:
            self._queue.get_nowait()
        except queue.Empty:
            return  # the reader was faster
        self.num_dropped += 1


class Ahead(Generic[R]):
    """A value that a thread makes while the caller does something else.

    As a context manager it waits for the thread at the end of the block, so that no library is left
    at work in a program that ends.

    Args:
        make: called once, by the thread.
        discard: called at the end with a value that was not taken.
        name: of the thread.
    """

    def __init__(
        self,
        make: Callable[[], R],
        discard: Callable[[R], None] = lambda value: None,
        *,
        name: str = "ahead",
    ) -> None:
        self._make = make
        self._discard = discard
        self._made: list[R] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def take(self) -> R:
        """The value, once it is made; it is the caller's from then on.

        Raises:
            BaseException: whatever `make` raised.
        """
        self._wait()
        if self._error is not None:
            raise self._error
        return self._made.pop()

    def __enter__(self) -> Ahead[R]:
        return self

    def __exit__(self, *exc: object) -> None:
        self._wait()
        for value in self._made:
            self._discard(value)

    def _wait(self) -> None:
        while self._thread.is_alive():
            self._thread.join(_WAKE_S)

    def _run(self) -> None:
        try:
            self._made.append(self._make())
        except BaseException as exc:  # re-raised in the thread that takes the value
            self._error = exc


class Stopwatch:
    """Adds up the time spent in `with` blocks.

    Args:
        clock: returns the time in seconds.

    Attributes:
        seconds: time in all blocks so far.
        last: time in the last block.
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
