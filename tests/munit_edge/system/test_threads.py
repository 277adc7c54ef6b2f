"""Work ahead in threads: order, bounds, errors in their place, and no thread left waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hang_guard import HANG_S, wait_for, wait_until, without_hanging

from munit_edge.system.threads import Prefetch, Stopwatch, in_threads


def threads_end(prefix: str) -> None:
    """Check that all threads of a stage end."""

    def ended() -> bool:
        return not any(thread.name.startswith(prefix) for thread in threading.enumerate())

    wait_until(ended, f"threads of {prefix} never end")


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_results_come_in_order(workers: int, limit: int) -> None:
    done = [threading.Event() for _ in range(30)]

    def overtaken(item: int) -> int:
        """Every fifth item ends after the next one, if they are computed at the same time."""
        if item % 5 == 0 and workers > 1 and limit > 1:
            wait_for(done[item + 1])
        done[item].set()
        return item * item

    results = without_hanging(
        lambda: list(in_threads(overtaken, range(30), workers=workers, limit=limit, name="order"))
    )
    assert results == [item * item for item in range(30)]
    threads_end("order")


def test_nothing_gives_nothing() -> None:
    assert without_hanging(lambda: list(in_threads(abs, [], workers=2, limit=2))) == []


def test_none_is_a_result() -> None:
    stage = in_threads(lambda _: None, range(3), workers=2, limit=2)
    results = without_hanging(lambda: list(stage))
    assert results == [None] * 3


def test_no_more_items_are_taken_than_fit() -> None:
    """What costs 3 each waits when 7 are reached."""
    taken: list[int] = []
    asked_for = 0
    most = 0

    def items() -> Iterator[int]:
        nonlocal most
        for item in range(12):
            taken.append(item)
            most = max(most, len(taken) - asked_for)
            yield item

    stage = in_threads(lambda item: item, items(), workers=4, limit=7, cost=lambda item: 3)
    for asked_for in range(1, 13):
        assert next(stage) == asked_for - 1
        # Three are held; one more is taken from the source and waits for room.
        expected = min(12, asked_for + 4)
        wait_until(lambda n=expected: len(taken) >= n, "the stage takes too few")  # type: ignore[misc]
    assert list(stage) == []
    assert taken == list(range(12))
    assert most == 4


def test_an_item_that_costs_more_than_the_limit_goes_alone() -> None:
    taken: list[int] = []
    under_way: set[int] = set()
    most = 0

    def items() -> Iterator[int]:
        for item in range(6):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        nonlocal most
        under_way.add(item)
        most = max(most, len(under_way))
        wait_until(lambda: len(taken) >= min(6, item + 2), "the next item is not taken")
        under_way.discard(item)
        return item

    stage = in_threads(work, items(), workers=4, limit=10, cost=lambda item: 1000)
    assert without_hanging(lambda: list(stage)) == list(range(6))
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
        without_hanging(consume)
    assert got == list(range(5))
    threads_end("faulty")


def test_results_before_an_error_are_yielded_first() -> None:
    failed = threading.Event()

    def work(item: int) -> int:
        if item == 3:
            failed.set()
            raise ValueError("at 3")
        wait_for(failed)  # the error is there before its turn
        return item

    got = []
    stage = in_threads(work, range(10), workers=4, limit=8)
    with pytest.raises(ValueError, match="at 3"):
        for result in stage:
            got.append(result)
    assert got == [0, 1, 2]


def thousand(closed: threading.Event) -> Iterator[int]:
    """Numbers; `closed` is set when no more are taken."""
    try:
        yield from range(1000)
    finally:
        closed.set()


def test_closing_drops_what_has_not_begun_and_waits_for_what_has() -> None:
    begun: list[int] = []
    ended: list[int] = []
    closed, go_on = threading.Event(), threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item > 0:
            wait_for(go_on)
        ended.append(item)
        return item

    stage = in_threads(work, thousand(closed), workers=2, limit=50, settle=True, name="closing")
    next(stage)
    wait_until(lambda: len(begun) == 3, "two workers take two items")
    closing = threading.Thread(target=stage.close, daemon=True)
    closing.start()
    wait_for(closed)
    assert closing.is_alive(), "it waits for what has begun"
    go_on.set()
    closing.join(HANG_S)
    assert not closing.is_alive()
    assert sorted(begun) == sorted(ended) == [0, 1, 2]
    threads_end("closing")


def test_closing_does_not_wait_for_a_slow_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("munit_edge.system.threads.GRACE_S", 0.05)
    waiting, go_on, gone_on = threading.Event(), threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        waiting.set()
        go_on.wait(HANG_S)
        gone_on.set()
        yield 1

    stage = in_threads(lambda item: item, items(), workers=1, limit=5, settle=True, name="slow")
    next(stage)
    wait_for(waiting)
    without_hanging(stage.close)
    assert not gone_on.is_set()
    go_on.set()
    threads_end("slow")


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
        assert without_hanging(run) == list(range(50))
    else:
        with pytest.raises(ValueError, match=stage_at_fault):
            without_hanging(run)
    threads_end("row-write")


# ----------------------------------------------------------------------------------------------
# Prefetch


def test_prefetched_items_come_in_order_and_errors_after_them() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("after 5")

    taken: list[int] = []
    with pytest.raises(ValueError, match="after 5"):
        without_hanging(lambda: taken.extend(Prefetch(items(), 2)))
    assert taken == list(range(5))


def test_a_full_queue_drops_its_oldest_item_or_makes_the_source_wait() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        ended.set()

    ended = threading.Event()
    newest = Prefetch(items(), 2, drop_old=True)
    wait_for(ended)
    assert without_hanging(lambda: list(newest)) == [8, 9]
    assert newest.num_dropped == 8

    every = Prefetch(items(), 2)
    assert without_hanging(lambda: list(every)) == list(range(10))
    assert every.num_dropped == 0


def test_waiting_for_a_silent_source_can_be_stopped() -> None:
    silent = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        wait_for(silent)

    def take() -> None:
        for item in ahead.until(lambda: bool(taken)):
            taken.append(item)

    taken: list[int] = []
    ahead = Prefetch(items(), 2)
    without_hanging(take)
    assert taken == [1]
    silent.set()
    ahead.close()


def test_a_closed_prefetch_closes_its_source() -> None:
    closed = threading.Event()
    ahead = Prefetch(thousand(closed), 1)
    without_hanging(ahead.close)
    wait_for(closed)
    assert list(ahead) == []


def test_a_stopwatch_adds_up() -> None:
    times = iter([1.0, 1.5, 10.0, 12.0])
    watch = Stopwatch(clock=lambda: next(times))
    with watch:
        pass
    assert (watch.last, watch.seconds) == (0.5, 0.5)
    with watch:
        pass
    assert (watch.last, watch.seconds) == (2.0, 2.5)
