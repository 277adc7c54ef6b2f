"""Freed memory goes back to the system. Only glibc needs this; elsewhere nothing is done."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

LARGE_BLOCK_BYTES = 10 << 20
"""Blocks from this size on are asked from the system one by one, and go back when they are freed.
Smaller ones are kept for the next: the system clears every page that it hands out, which takes
time. With width 64 and 256 x 256 pixels most of what lies between a network's layers is smaller:
with 4 MB here one decoding took a third longer."""

KEPT_BYTES = 24 << 20
"""How much of what smaller blocks leave free at the heap's end is kept for the next."""

SMALL_BLOCK_BYTES = 4 << 20
"""The same of both while memory is what counts: what is kept below 10 MB depends on the order of
things, and came to 20 to 150 MB."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_heap_small() -> None:
    """Tell the C library from which size on freed blocks go back: a setting of the whole process.

    By itself glibc raises that size to 32 MB as such blocks come and go. For programs of ours, not
    for those that use us.
    """
    _set_limits(LARGE_BLOCK_BYTES, KEPT_BYTES)


@contextlib.contextmanager
def heap_kept_smallest() -> Iterator[None]:
    """Within the block least is kept, for a third more time; then as `keep_heap_small` says."""
    give_back_freed_memory()
    _set_limits(SMALL_BLOCK_BYTES, SMALL_BLOCK_BYTES)
    try:
        yield
    finally:
        keep_heap_small()


def give_back_freed_memory() -> None:
    """Give what was freed back now, such as what it took to read a graph: twice its size."""
    _call("malloc_trim", 0)


def _set_limits(large_block: int, kept: int) -> None:
    _call("mallopt", _M_MMAP_THRESHOLD, large_block)
    _call("mallopt", _M_TRIM_THRESHOLD, kept)


def _call(function: str, *arguments: int) -> None:
    try:
        found = getattr(ctypes.CDLL(None), function)
    except (OSError, AttributeError, TypeError):  # another C library
        return
    found(*arguments)
