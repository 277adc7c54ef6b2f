"""How much memory this process may still take."""

from __future__ import annotations

import re
from pathlib import Path

from munit_edge.system.machine import run_program


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be taken without pushing others out; None where the system does not tell.

    What the system calls available, or less where the control group's limit is nearer
    (`docker run --memory 4g`).

    Args:
        root: where the system's files are looked up.
    """
    found = [size for size in (_system(root), _group(root / "sys/fs/cgroup")) if size is not None]
    return min(found, default=None)


def available_gpu_memory(index: int) -> int | None:
    """Bytes free on an NVIDIA GPU; None where `nvidia-smi` does not tell."""
    query = ["nvidia-smi", f"--id={index}", "--query-gpu=memory.free"]
    done = run_program([*query, "--format=csv,noheader,nounits"])
    told = done.stdout.strip() if done and not done.returncode else ""
    return int(told) << 20 if told.isdigit() else None


def _system(root: Path) -> int | None:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) << 10 if match else None


def _group(groups: Path) -> int | None:
    """What the control group leaves; a container sees its own at the top, in either version."""
    old = groups / "memory"
    for limit_file, usage_file, statistics, cache in (
        (groups / "memory.max", groups / "memory.current", groups / "memory.stat", "inactive_file"),
        (
            old / "memory.limit_in_bytes",
            old / "memory.usage_in_bytes",
            old / "memory.stat",
            "total_inactive_file",
        ),
    ):
        limit, usage = _text(limit_file).strip(), _text(usage_file).strip()
        if limit.isdigit() and usage.isdigit():  # "max": no limit
            match = re.search(rf"^{cache} (\d+)$", _text(statistics), re.MULTILINE)
            reclaimable = int(match[1]) if match else 0
            return max(0, int(limit) - int(usage) + reclaimable)
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
