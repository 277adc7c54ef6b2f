"""Times of calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from munit_edge.system.latency import measure


def calls_of(seconds: Iterable[float], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that takes the next of `seconds`, on a clock of its own."""
    clock = 0.0
    lengths = iter(seconds)

    def call() -> None:
        nonlocal clock
        clock += next(lengths)

    monkeypatch.setattr(time, "perf_counter", lambda: clock)
    return call


def test_median_and_p95_of_counted_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    call = calls_of([9.0, 9.0, *[n / 1000 for n in range(1, 21)]], monkeypatch)
    latency = measure(call, warmup=2, runs=20)
    assert latency.n == 20
    assert latency.p50_ms == pytest.approx(10.5)
    assert latency.p95_ms == pytest.approx(19.0)


def test_a_slow_call_is_counted_at_least_once() -> None:
    calls = []
    latency = measure(lambda: calls.append(1), warmup=0, runs=5, max_s=0.0)
    assert (latency.n, len(calls)) == (1, 1)


def test_percentiles_are_calls_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    call = calls_of([n / 1000 for n in range(200, 0, -1)], monkeypatch)
    latency = measure(call, warmup=0, runs=200)
    assert latency.p90_ms == pytest.approx(180.0)
    assert latency.p95_ms == pytest.approx(190.0)
    assert latency.p99_ms == pytest.approx(198.0)
