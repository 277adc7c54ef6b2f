"""Running an iterator ahead in a thread, for sources that may be silent or too fast.

`munit_edge.system.threads` has more workers and costs of items; here waiting can be stopped from
outside, and old items can make room for new ones.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

GRACE_S = 2.0
"""Seconds that `Prefetch.close` waits."""

_POLL_S = 0.1


class Prefetch(Generic[T]):
    """Items of an iterable, fetched by a thread of its own.

    Args:
        items: is iterated, and closed if it is a generator, in that thread.
        depth: how many items wait at most.
        drop_old: when that many wait, the oldest makes room for the newest (live sources); else
            the thread waits.
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
        """The items, until `stop` says so; it is asked often, also while no item comes.

        Raises:
            BaseException: what the iterable raised, after the items before it.
        """
        while not stop() and not self._closed.is_set():
            ended = self._ended.is_set()  # before looking: what comes first is in the queue then
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
        """Stop fetching; items that wait are dropped.

        An item that is being fetched is waited for, but not long: its thread keeps no program from
        ending.
        """
        self._closed.set()
        self._thread.join(GRACE_S)

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
        """Queue an item; False: nobody wants any more."""
        while not self._closed.is_set():
            try:
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
