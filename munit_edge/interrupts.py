"""Signals that ask a program to end: Ctrl-C, SIGTERM and, when its terminal closes, SIGHUP.

A command that has nothing to save is interrupted by an exception (`interruptible`), whose cleaning
up is never interrupted itself (`uninterrupted`). One that saves first asks `stop_requests`.
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
"""A program that a signal ended exits with this plus the signal's number: 130 for Ctrl-C."""

_SAME_S = 1.0
"""Signals so soon after the first one are the same one: terminals send theirs to a whole group of
processes, and launchers pass it on once more."""
_AGAIN_S = 0.05


class Interrupted(KeyboardInterrupt):
    """One of `SIGNALS` came."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)


def signal_of(exc: KeyboardInterrupt) -> signal.Signals:
    """The signal behind an interruption."""
    return exc.signal if isinstance(exc, Interrupted) else signal.SIGINT


def take_last_signal() -> signal.Signals | None:
    """The signal that came in the last block of `interruptible`, or None; it is then forgotten.

    A library that is interrupted may turn `Interrupted` into an error of its own: a module in C
    that is being imported says "initialization failed".
    """
    number, _state.number = _state.number, None
    return None if number is None else signal.Signals(number)


@dataclass
class _State:
    """Of the main thread, which takes the signals."""

    depth: int = 0
    """Blocks of `uninterrupted` that it is in."""
    waiting: int | None = None
    """A signal that came there."""
    raised: float | None = None
    """When the last one was raised, by time.monotonic()."""
    number: int | None = None
    """The last one that came in a block of `interruptible`."""


_state = _State()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block each of `SIGNALS` raises `Interrupted` in the main thread.

    Signals that are ignored stay so, as under nohup. Outside of the main thread, where Python takes
    no signals, nothing changes.
    """
    _state.raised = _state.number = None
    hook = sys.unraisablehook

    def again(unraisable: UnraisableHookArgs) -> None:
        # It was raised where Python can only print it, as in a destructor: once more, elsewhere.
        if not isinstance(unraisable.exc_value, Interrupted):
            hook(unraisable)
            return
        _state.raised = None
        number = unraisable.exc_value.signal
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
    """Within the block, a short one, `Interrupted` waits for its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
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
        wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@dataclass
class StopRequest:
    """Whether somebody wants the work to stop."""

    signal: signal.Signals | None = None
    """The signal that came, or None."""


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block the first signal is only noted; a second Ctrl-C interrupts at once.

    Signals that are ignored stay so. Outside of the main thread, where Python takes no signals,
    nothing changes.
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
    """Processes that are started within the block never see any of `SIGNALS`.

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
