"""How the threads of OpenMP wait for each other; torch's kernels use them."""

from __future__ import annotations

import os

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables that decide it. OpenMP reads them once, when its library is loaded."""


def yield_cores_while_waiting() -> None:
    """Let threads that wait sleep at once instead of spinning, unless the user chose otherwise.

    By default GNU's OpenMP spins for some milliseconds. On cores that other programs use too, a
    spinning thread holds back the one that it waits for: training took 3 to 11 times as long
    (docs/benchmarks.md). Call it before torch is imported; processes that are started later, such
    as workers that load images, inherit it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"
