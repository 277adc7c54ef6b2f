"""What this process may use: processor cores and memory, and the most memory that it has used.

Limits come from the system and from the control group (a container, a batch system). A container
sees its own group at the top of /sys/fs/cgroup, in version 1 or 2 of the interface.
"""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from pathlib import Path

from munit_edge.system.system_files import system_text

_GROUPS = "sys/fs/cgroup"


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy, at least 1. More threads than that only wait.

    The cores that the process is bound to (`taskset`, a batch system), or fewer if its control
    group is limited to less processor time (`docker run --cpus 2`).

    Args:
        root: where the system's files are looked up.
    """
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        bound = os.cpu_count() or 1
    quota = _core_quota(root / _GROUPS)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be allocated without swapping; None if the system does not report it.

    What the system reports as available, or what the control group leaves if that is less
    (`docker run --memory 4g`).

    Args:
        root: where the system's files are looked up.
    """
    match = re.search(
        r"^MemAvailable:\s*(\d+) kB", system_text(root / "proc/meminfo"), re.MULTILINE
    )
    system = int(match[1]) << 10 if match else None
    found = [size for size in (system, _group_memory(root / _GROUPS)) if size is not None]
    return min(found, default=None)


def peak_memory_bytes() -> int:
    """The most resident memory that this process has had so far, in bytes."""
    match = re.search(r"^VmHWM:\s*(\d+) kB$", system_text(Path("/proc/self/status")), re.MULTILINE)
    if match:
        return int(match[1]) << 10
    # Second choice: on Linux `getrusage` includes what the parent held when it forked.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _core_quota(groups: Path) -> float | None:
    """Cores' worth of processor time that the control group allows; None: no limit is known."""
    # Version 2 has one file, "200000 100000" or "max 100000" in microseconds; version 1 has two.
    files = (groups / "cpu/cpu.cfs_quota_us", groups / "cpu/cpu.cfs_period_us")
    values = system_text(groups / "cpu.max").split() or [system_text(file) for file in files]
    try:
        quota, period = map(int, values)
    except ValueError:  # "max": no limit
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1 in version 1: no limit


def _group_memory(groups: Path) -> int | None:
    """Bytes that the control group leaves; None: no limit is known."""
    old = groups / "memory"
    # Version 2, then version 1.
    for limit_file, usage_file, statistics, cache in (
        (groups / "memory.max", groups / "memory.current", groups / "memory.stat", "inactive_file"),
        (
            old / "memory.limit_in_bytes",
            old / "memory.usage_in_bytes",
            old / "memory.stat",
            "total_inactive_file",
        ),
    ):
        limit, usage = system_text(limit_file).strip(), system_text(usage_file).strip()
        if limit.isdigit() and usage.isdigit():  # "max": no limit
            match = re.search(rf"^{cache} (\d+)$", system_text(statistics), re.MULTILINE)
            reclaimable = int(match[1]) if match else 0  # file cache that the kernel would drop
            return max(0, int(limit) - int(usage) + reclaimable)
    return None
