"""Signals as requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from hang_guard import HANG_S

from munit_edge.interrupts import signals_left_to_parent, stop_requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        assert stop.signal is number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_change_nothing() -> None:
    seen = []

    def work() -> None:
        with stop_requests() as stop:
            seen.append((stop.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, signal.getsignal(signal.SIGINT))]


SELF_KILLING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
sys.exit(7)
"""


def test_child_processes_leave_signals_to_their_parent() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with signals_left_to_parent():
        process = subprocess.Popen([sys.executable, "-S", "-c", SELF_KILLING])
    assert process.wait(timeout=HANG_S) == 7
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_parent_sees_a_signal_that_came_while_children_began(number: signal.Signals) -> None:
    with stop_requests() as stop:
        with signals_left_to_parent():
            os.kill(os.getpid(), number)
        assert stop.signal is number
