"""How long a call takes, measured so that two measurements can be compared."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

from munit_edge.config import StrictModel


class Latency(StrictModel):
    """Times of single calls, after the warm-up."""

    p50_ms: float
    """Median, in milliseconds."""
    p95_ms: float
    """95 of 100 calls took no longer (nearest rank), in milliseconds."""
    n: int
    """Calls measured."""


def measure(
    call: Callable[[], object], *, warmup: int = 3, runs: int = 20, max_s: float = math.inf
) -> Latency:
    """Time a call that returns when its work is done, such as `Runner.run`.

    Args:
        call: what to time; work still under way on a GPU when it returns is not measured.
        warmup: calls before the first that counts.
        runs: calls that count, at least 1.
        max_s: stop early after so many seconds of counted calls.
    """
    for _ in range(warmup):
        call()
    times: list[float] = []
    while not times or (len(times) < runs and sum(times) < max_s):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    times.sort()
    return Latency(
        p50_ms=1000 * statistics.median(times),
        p95_ms=1000 * times[math.ceil(0.95 * len(times)) - 1],
        n=len(times),
    )
