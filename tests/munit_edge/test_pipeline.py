"""Stages in threads: order, bounds, errors in their place, and no thread left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from munit_edge.pipeline import Stopwatch, in_threads

T = TypeVar("T")
DEADLINE_S = 20.0


def within_deadline(work: Callable[[], T]) -> T:
    """What `work` returns; a deadlock is a failure, not a test that hangs."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "deadlock"
    if errors:
        raise errors[0]
    return results[0]


def threads_end(prefix: str) -> bool:
    """Whether all threads of a stage end soon."""
    deadline = time.monotonic() + DEADLINE_S
    while any(thread.name.startswith(prefix) for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_results_come_in_order(workers: int, limit: int) -> None:
    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 5 == 0 else 0)
        return item * item

    results = within_deadline(
        lambda: list(
            in_threads(slow_at_first, range(30), workers=workers, limit=limit, name="order")
        )
    )
    assert results == [item * item for item in range(30)]
    assert threads_end("order")


def test_nothing_gives_nothing() -> None:
    assert within_deadline(lambda: list(in_threads(abs, [], workers=2, limit=2))) == []


def test_none_is_a_result() -> None:
    stage = in_threads(lambda _: None, range(3), workers=2, limit=2)
    results = within_deadline(lambda: list(stage))
    assert results == [None] * 3


def test_no_more_items_are_taken_than_fit() -> None:
    """The consumer is slow: what costs 3 each waits when 7 are reached."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(12):
            taken.append(item)
            yield item

    largest = 0
    stage = in_threads(lambda item: item, items(), workers=4, limit=7, cost=lambda item: 3)
    for yielded in stage:
        time.sleep(0.02)
        # One more than is held is taken from the source and waits for room.
        largest = max(largest, len(taken) - (yielded + 1))
    assert taken == list(range(12))
    assert largest == 4


def test_an_item_that_costs_more_than_the_limit_goes_alone() -> None:
    under_way: set[int] = set()
    most = 0

    def work(item: int) -> int:
        nonlocal most
        under_way.add(item)
        most = max(most, len(under_way))
        time.sleep(0.005)
        under_way.discard(item)
        return item

    stage = in_threads(work, range(6), workers=4, limit=10, cost=lambda item: 1000)
    assert within_deadline(lambda: list(stage)) == list(range(6))
    assert most == 1


@pytest.mark.parametrize("failing", ["function", "items"])
@pytest.mark.parametrize("error", [ValueError("at 5"), KeyboardInterrupt("at 5")])
def test_an_error_comes_in_its_place(failing: str, error: BaseException) -> None:
    def items() -> Iterator[int]:
        for item in range(20):
            if failing == "items" and item == 5:
                raise error
            yield item

    def work(item: int) -> int:
        if failing == "function" and item == 5:
            raise error
        return item

    got: list[int] = []

    def consume() -> None:
        got.extend(in_threads(work, items(), workers=3, limit=8, name="faulty"))

    with pytest.raises(type(error), match="at 5"):
        within_deadline(consume)
    assert got == list(range(5))
    assert threads_end("faulty")


def test_results_before_an_error_are_yielded_first() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("at 3")
        time.sleep(0.02)  # the error is there long before its turn
        return item

    got = []
    stage = in_threads(work, range(10), workers=4, limit=8)
    with pytest.raises(ValueError, match="at 3"):
        for result in stage:
            got.append(result)
    assert got == [0, 1, 2]


def test_closing_drops_what_has_not_begun_and_waits_for_what_has() -> None:
    begun: list[int] = []
    ended: list[int] = []
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.02)
        ended.append(item)
        return item

    stage = in_threads(work, items(), workers=2, limit=50, settle=True, name="closing")
    next(stage)
    within_deadline(stage.close)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10
    assert closed.wait(DEADLINE_S)
    assert threads_end("closing")


def test_closing_does_not_wait_for_a_slow_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("munit_edge.pipeline.GRACE_S", 0.05)
    go_on = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        go_on.wait(DEADLINE_S)
        yield 1

    stage = in_threads(lambda item: item, items(), workers=1, limit=5, settle=True, name="slow")
    next(stage)
    started = time.monotonic()
    stage.close()
    assert time.monotonic() - started < 5
    go_on.set()
    assert threads_end("slow")


@pytest.mark.parametrize("stage_at_fault", ["read", "translate", "write", None])
def test_stages_in_a_row_end_whatever_fails(stage_at_fault: str | None) -> None:
    def fail_at(stage: str, item: int) -> int:
        if stage == stage_at_fault and item == 7:
            raise ValueError(stage)
        return item

    def translated(reads: Iterator[int]) -> Iterator[int]:
        for item in reads:
            yield fail_at("translate", item)

    def run() -> list[int]:
        reads = in_threads(
            lambda item: fail_at("read", item), range(50), workers=2, limit=2, name="row-read"
        )
        written = in_threads(
            lambda item: fail_at("write", item),
            translated(reads),
            workers=2,
            limit=2,
            settle=True,
            name="row-write",
        )
        return list(written)

    if stage_at_fault is None:
        assert within_deadline(run) == list(range(50))
    else:
        with pytest.raises(ValueError, match=stage_at_fault):
            within_deadline(run)
    assert threads_end("row-write")


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch:
            time.sleep(0.02)
    time.sleep(0.02)
    assert 0.04 <= watch.seconds < 0.06 + 1.0
    assert 0.02 <= watch.last < watch.seconds
    before = watch.seconds
    time.sleep(0.01)
    assert watch.seconds == before
