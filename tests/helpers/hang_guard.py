"""Waiting for what must happen, however busy the machine is.

The one limit here catches hangs; a test that works never comes near it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

HANG_S = 300.0
"""Seconds after which something hangs."""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look until `condition` holds; `what` is the failure."""
    give_up = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


def wait_for(event: threading.Event, what: str = "an event never comes") -> None:
    """Wait until `event` is set."""
    assert event.wait(HANG_S), what


def without_hanging(work: Callable[[], T]) -> T:
    """What `work` returns or raises; a deadlock is a failure instead of a test without end."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANG_S)
    assert not thread.is_alive(), "deadlock"
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def narrow_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that holds 4096 bytes: a writer cannot run ahead of its reader."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        yield reading, writing
    finally:
        for end in (reading, writing):
            with contextlib.suppress(OSError):  # closed by the test
                os.close(end)


def without_progress(stderr: str) -> list[str]:
    """Lines of standard error, less those that a slow machine gets because time passes."""
    return [line for line in stderr.splitlines() if not re.match(r"[\w ]+: \d+(/\d+)?\b", line)]
