"""Signals as requests: the tests beside this file, in a process that nothing has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hang_guard import HANG_S

TESTS = Path(__file__).with_name("interrupts_in_process.py")


def test_signals_in_a_process_of_their_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    # Else pytest would take itself for a worker of the process that runs this test.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=HANG_S, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
