"""Limits of cores and memory, read from made-up system files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from munit_edge.system.limits import (
    available_memory,
    peak_memory_bytes,
    usable_cores,
)

GIB = 1 << 30


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:       32000000 kB\nMemAvailable:   8388608 kB\n"}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param({}, 8 * GIB, id="no-group"),
        pytest.param(
            {"memory.max": "max\n", "memory.current": "5\n"}, 8 * GIB, id="version-2-no-limit"
        ),
        pytest.param(
            {
                "memory.max": f"{4 * GIB}\n",
                "memory.current": f"{3 * GIB}\n",
                "memory.stat": f"anon 7\ninactive_file {GIB}\n",
            },
            2 * GIB,
            id="version-2-cache-can-be-given-up",
        ),
        pytest.param(
            {"memory.max": f"{GIB}\n", "memory.current": f"{2 * GIB}\n"}, 0, id="version-2-full"
        ),
        pytest.param(
            {
                "memory/memory.limit_in_bytes": f"{6 * GIB}\n",
                "memory/memory.usage_in_bytes": f"{GIB}\n",
                "memory/memory.stat": "total_inactive_file 0\n",
            },
            5 * GIB,
            id="version-1",
        ),
    ],
)
def test_the_nearer_limit_counts(groups: dict[str, str], expected: int, tmp_path: Path) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in groups.items()}
    assert available_memory(_write(tmp_path, MEMINFO | files)) == expected


def test_memory_is_unknown_without_system_files(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory_bytes()
    held = np.ones(1 << 26, np.uint8)
    current = peak_memory_bytes()
    assert 10 << 20 < current < 1 << 36
    assert current >= before
    assert current >= held.nbytes


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "0\n"}, 8),
    ],
)
def test_core_quota(files: dict[str, str], cores: int, tmp_path: Path) -> None:
    groups = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert usable_cores(_write(tmp_path, groups)) == cores


def test_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5}, raising=False)
    assert usable_cores(tmp_path) == 2


def test_systems_without_affinity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path) == 6
