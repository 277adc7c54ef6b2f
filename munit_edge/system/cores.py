"""How many processor cores this process may use: affinity and the quota of its control group."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy, at least 1.

    The cores that it is bound to (`taskset`, a batch system), or fewer where its control group is
    given less time than that (`docker run --cpus 2`). Threads beyond this number only wait.

    Args:
        root: where the system's files are looked up.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        bound = os.cpu_count() or 1
    quota = _quota(root / "sys/fs/cgroup")
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def _quota(groups: Path) -> float | None:
    """Cores' worth of time that the control group allows; None: no limit is known.

    A container sees its own group at the top, in either version of the interface.
    """
    try:
        allowed, period = (groups / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            cpu = groups / "cpu"
            allowed = (cpu / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (cpu / "cpu.cfs_period_us").read_text(encoding="ascii")
        except (OSError, ValueError):
            return None
    try:
        quota = int(allowed) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return quota if quota > 0 else None  # version 1 says -1 for no limit
