"""NumPy starts no threads in a process that multiplies no matrices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from munit_edge.system.blas import import_numpy_without_threads
from munit_edge.system.limits import usable_cores

PROGRAM = """
import os
from munit_edge.system.blas import import_numpy_without_threads
before = dict(os.environ)
import_numpy_without_threads()
assert dict(os.environ) == before
import numpy
print(len(os.listdir("/proc/self/task")))
"""


def _threads(**limits: str) -> int:
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | limits,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_numpy_starts_no_threads() -> None:
    assert _threads() == 1


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_choice_of_the_user_is_kept() -> None:
    # At most one thread for each core.
    if usable_cores() == 1 or _threads(OMP_NUM_THREADS="2") == 1:
        pytest.skip("NumPy starts no threads here anyway")
    assert _threads(OPENBLAS_NUM_THREADS="2") == 2


def test_nothing_changes_once_numpy_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy  # noqa: F401

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    import_numpy_without_threads()
    assert dict(os.environ) == before
