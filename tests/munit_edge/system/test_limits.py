from __future__ import annotations

from pathlib import Path

import pytest

from munit_edge.system import limits as memory
from munit_edge.system.limits import available_gpu_memory, available_memory

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


def test_unknown_where_nothing_tells(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None


def test_gpu_memory_by_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = --id=1 ] && echo 2048 || exit 6\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert available_gpu_memory(1) == 2 * GIB
    assert available_gpu_memory(7) is None
    monkeypatch.setattr(memory, "run_program", lambda command: None)
    assert available_gpu_memory(1) is None
