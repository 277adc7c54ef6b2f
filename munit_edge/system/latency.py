"""Latency of a call, measured in a way that makes measurements comparable."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

from munit_edge.settings import StrictModel


class Latency(StrictModel):
    """Times of single calls, after the warm-up."""

    p50_ms: float
    """Median, in milliseconds."""
    p90_ms: float
    """90th percentile (nearest rank), in milliseconds."""
    p95_ms: float
    """95th percentile, in milliseconds."""
    p99_ms: float
    """99th percentile, in milliseconds; the slowest call if there are fewer than 100."""
    n: int
    """Number of measured calls."""


def measure(
    call: Callable[[], object], *, warmup: int = 3, runs: int = 20, max_s: float = math.inf
) -> Latency:
    """Time a synchronous call, such as `Runner.run`.

    Args:
        call: the function; work that a GPU does after it returns is not measured.
        warmup: calls before the first measured one.
        runs: measured calls, at least 1.
        max_s: stop after this many seconds of measured calls.
    """
    for _ in range(warmup):
        call()
    times: list[float] = []
    # One call is always measured, however long it takes.
    while not times or (len(times) < runs and sum(times) < max_s):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    times.sort()
    return Latency(
        p50_ms=1000 * statistics.median(times),
        p90_ms=_nearest_rank_ms(times, 90),
        p95_ms=_nearest_rank_ms(times, 95),
        p99_ms=_nearest_rank_ms(times, 99),
        n=len(times),
    )


def _nearest_rank_ms(ordered_s: list[float], percent: int) -> float:
    return 1000 * ordered_s[math.ceil(percent * len(ordered_s) / 100) - 1]
