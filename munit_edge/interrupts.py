"""Signals that ask a program to end: Ctrl-C, SIGTERM and, when its terminal closes, SIGHUP.

Commands with nothing to save are interrupted by an exception (`interruptible`); their cleanup is
never interrupted (`uninterrupted`). Commands that save first check `stop_requests`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXIT_CODE_BASE = 128
"""The exit code after a signal is this plus the signal's number: 130 for Ctrl-C."""

_SAME_S = 1.0
"""Signals within this time of the first are the same request: terminals signal a whole process
group, and launchers forward the signal again."""
_AGAIN_S = 0.05


# A KeyboardInterrupt, so that no `except Exception` swallows it.
class Interrupted(KeyboardInterrupt):
    """One of `SIGNALS` arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)


def signal_of(exc: KeyboardInterrupt) -> signal.Signals:
    """The signal that caused an interruption."""
    return exc.signal if isinstance(exc, Interrupted) else signal.SIGINT


def take_last_signal() -> signal.Signals | None:
    """The signal that arrived in the last block of `interruptible`, or None; clears it.

    An interrupted library may turn `Interrupted` into its own error: a C module raises
    "initialization failed" during its import.
    """
    number, _state.number = _state.number, None
    return None if number is None else signal.Signals(number)


@dataclass
class _State:
    """State of the main thread, which handles the signals."""

    depth: int = 0
    """Nested blocks of `uninterrupted`."""
    waiting: int | None = None
    """A signal that arrived in such a block."""
    raised: float | None = None
    """When the last signal was raised, by time.monotonic()."""
    number: int | None = None
    """The last signal in a block of `interruptible`."""


_state = _State()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, each of `SIGNALS` raises `Interrupted` in the main thread.

    Ignored signals stay ignored, as under nohup. Outside the main thread, where Python handles no
    signals, nothing changes.
    """
    _state.raised = _state.number = None
    hook = sys.unraisablehook

    def again(unraisable: UnraisableHookArgs) -> None:
        # Raised where Python can only print it, such as in a destructor: raise it again later.
        if not isinstance(unraisable.exc_value, Interrupted):
            hook(unraisable)
            return
        # Else the repeated signal would count as the same request and be ignored.
        _state.raised = None
        number = unraisable.exc_value.signal
        # Another thread cannot raise in the main thread, but it can send a signal.
        timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = again
    try:
        with _handling(_interrupt):
            yield
    finally:
        sys.unraisablehook = hook


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay `Interrupted` until the end of the block, which should be short."""
    # Signal handlers run in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        # Raised by the outermost block: an inner one is part of the same cleanup.
        if _state.depth == 0 and _state.waiting is not None:
            number, _state.waiting = _state.waiting, None
            raise Interrupted(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _state.raised is not None and now - _state.raised < _SAME_S:
        return
    _state.raised, _state.number = now, number
    _raise(number)


def _raise(number: int) -> None:
    if _state.depth:
        _state.waiting = number
    else:
        raise Interrupted(number)


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        # Ignored since nohup or the shell's background: it stays ignored.
        wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@dataclass
class StopRequest:
    """Whether the work should stop."""

    signal: signal.Signals | None = None
    """The signal that arrived, or None."""


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block, the first signal is only recorded; a second Ctrl-C interrupts at once.

    Ignored signals stay ignored. Outside the main thread, where Python handles no signals, nothing
    changes.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal is None:
            request.signal = signal.Signals(number)
        elif number == signal.SIGINT:
            _raise(number)

    with _handling(note):
        yield request


@contextlib.contextmanager
def signals_left_to_parent() -> Iterator[None]:
    """Processes started within the block never receive any of `SIGNALS`.

    Terminals, batch systems and launchers signal a whole process group, but the parent decides what
    stops. The parent receives a signal that arrives within the block after it. A process that runs
    until it is stopped also calls `end_with_parent`.
    """
    # New processes inherit the mask, and keep it when they execute another program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this `multiprocessing` process at once when its parent ends for any reason.

    A killed parent cannot notify its children, and with the start method "forkserver" the system's
    parent process is the server, which lives as long as this process.
    """
    # Imported here because every command imports this module.
    from multiprocessing import connection, parent_process

    parent = parent_process()
    assert parent is not None, "this is the parent itself"

    def watch() -> None:
        connection.wait([parent.sentinel])
        # `sys.exit` would end this thread only.
        os._exit(1)

    threading.Thread(target=watch, name="munit-edge-parent", daemon=True).start()
