"""Returns freed memory to the system. Only glibc needs this; elsewhere nothing is done."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

LARGE_BLOCK_BYTES = 10 << 20
"""Blocks of at least this size are mapped one by one, and returned when they are freed. Smaller
ones are kept for reuse, because the system clears every page that it hands out, which takes time.
With width 64 and 256 x 256 pixels most activations between layers are smaller: with 4 MB here one
decoding took a third longer."""

KEPT_BYTES = 24 << 20
"""How much free memory is kept at the end of the heap for later small blocks."""

SMALL_BLOCK_BYTES = 4 << 20
"""Replaces both limits while memory matters most. With the limits above, the memory kept in blocks
below 10 MB depends on the order of allocations, and was 20 to 150 MB."""

# From <malloc.h>. Setting either of them ends glibc's own adjustment of both (mallopt(3)).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_heap_small() -> None:
    """Set the size from which freed blocks are returned, for the whole process.

    By default glibc raises that size up to 32 MB as large blocks are freed. For our own programs,
    not for programs that import munit-edge.
    """
    _set_limits(LARGE_BLOCK_BYTES, KEPT_BYTES)


@contextlib.contextmanager
def heap_kept_smallest() -> Iterator[None]:
    """Keep the least memory within the block, which takes a third more time."""
    give_back_freed_memory()
    _set_limits(SMALL_BLOCK_BYTES, SMALL_BLOCK_BYTES)
    try:
        yield
    finally:
        keep_heap_small()


def give_back_freed_memory() -> None:
    """Return freed memory now, for example after reading a graph, which takes twice its size."""
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
