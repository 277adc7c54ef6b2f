"""A short form of the kill trial: SIGTERM and SIGKILL over the quickest commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_nothing_half_written_and_nothing_left() -> None:
    names = ("convert", "styles")
    command = [sys.executable, ROOT / "tools" / "kill_trial.py", "--kills", str(len(names))]
    done = subprocess.run(
        [*command, "--only", ",".join(names)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split()[:4] for line in done.stdout.splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        [name, number, "1"] for name in names for number in ("SIGTERM", "SIGKILL")
    ]
