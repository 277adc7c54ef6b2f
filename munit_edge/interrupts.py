"""Ctrl-C and SIGTERM as requests: the step under way is finished, and what there is is saved."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class StopRequest:
    """Whether somebody wants the work to stop."""

    signal: signal.Signals | None = None
    """The signal that came, or None."""


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block the first signal is only noted; a second Ctrl-C interrupts at once.

    Outside of the main thread, where Python takes no signals, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.signal = signal.Signals(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_left_to_parent() -> Iterator[None]:
    """Processes that are started within the block never see Ctrl-C or SIGTERM.

    Terminals, batch systems and launchers send them to a whole group of processes, but the parent
    decides what stops. One that comes within the block is seen by the parent after it. A process
    that works on without end calls `end_with_parent`, too.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let this process of `multiprocessing` end at once when its parent has, however that ended.

    A parent that was killed tells nobody, and with the start method "forkserver" the system names
    another process as the parent, which lives as long as this one.
    """
    # Here, since every command imports this module.
    from multiprocessing import connection, parent_process

    parent = parent_process()
    assert parent is not None, "this is the parent itself"

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="munit-edge-parent", daemon=True).start()
