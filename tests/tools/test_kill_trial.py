"""The short form of the kill trial: one SIGTERM and one SIGKILL over the two quickest commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_half_written_and_nothing_left() -> None:
    command = [sys.executable, ROOT / "tools" / "kill_trial.py", "--kills", "2"]
    done = subprocess.run(
        [*command, "--only", "convert,styles"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split()[:4] for line in done.stdout.splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        [name, number, "1"] for name in ("convert", "styles") for number in ("SIGTERM", "SIGKILL")
    ]
