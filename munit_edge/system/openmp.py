"""How OpenMP's threads wait for each other. Torch's kernels use OpenMP."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from pathlib import Path

from munit_edge.system.limits import usable_cores

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Environment variables that control it. OpenMP reads them once, when its library is loaded."""

_LOOKS = 5
_BETWEEN_LOOKS_S = 0.004


def choose_waiting(root: Path = Path("/")) -> None:
    """Make waiting threads sleep instead of spin if other programs need the cores.

    By default GNU's OpenMP spins for some milliseconds. On idle cores that is right: small networks
    train almost twice as fast. On cores that other programs keep busy, a spinning thread delays the
    thread that it waits for, and training takes several times as long (docs/benchmarks.md). A
    choice of the user is kept.

    Call it before torch is imported. Processes started later, such as workers that load images,
    inherit the choice. It does not follow later changes of the load.

    Args:
        root: where the system's files are looked up.
    """
    if any(name in os.environ for name in WAITING):
        return
    # OpenMP starts a thread for each usable core: with those of others they are too many.
    if _others_running(root) + usable_cores(root) > (os.cpu_count() or 1):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def _others_running(root: Path) -> float:
    """Threads of other programs that run or could run now; 0 if the system does not report it."""
    counts = []
    # A moment says little: the median of several looks is taken.
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN_LOOKS_S)
        try:
            text = (root / "proc/loadavg").read_text(encoding="ascii")
            # The fourth word is "running/all threads", as in "0.20 0.18 0.12 1/80 11206".
            counts.append(int(text.split()[3].partition("/")[0]) - _own_running(root))
        except (OSError, ValueError, IndexError):
            return 0
    return statistics.median(counts)


def _own_running(root: Path) -> int:
    """Running threads of this process, at least 1: NumPy's may still be starting."""
    running = 0
    for file in (root / "proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # the thread has ended
            text = file.read_text(encoding="ascii", errors="replace")
            # The state follows the name in brackets, which may itself contain brackets.
            running += text.rpartition(")")[2][1] == "R"
    return max(1, running)
