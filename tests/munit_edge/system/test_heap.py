"""What is freed goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from munit_edge.system import heap

PROGRAM = """
import ctypes, re, sys
from pathlib import Path
from munit_edge.system import heap

def held_mib():
    return int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]

def make(size, count):
    blocks = [library.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    return blocks

# A block below the threshold that is freed raises it, unless it is fixed.
heap.keep_heap_small()
library.free(make(30 << 20, 1)[0])
before = held_mib()
with heap.heap_kept_smallest():
    medium = make(6 << 20, 3)
    make(1000, 1)  # the heap cannot shrink from its end
    for block in medium:
        library.free(block)
smallest = held_mib()
small = make(100_000, 1000)
last = make(100_000, 1)
for block in small:
    library.free(block)
kept = held_mib()
heap.give_back_freed_memory()
print(before, smallest, kept, held_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_was_freed_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    before, smallest, kept, after = map(float, done.stdout.split())
    assert smallest - before < 5
    assert kept - before > 50, "glibc keeps small blocks"
    assert after - before < 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap.keep_heap_small()
    heap.give_back_freed_memory()
