"""A process measured from outside: wall time, peak memory of its own, and its output."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEBI = 1 << 20

MUNIT_EDGE = (sys.executable, "-c", "from munit_edge.cli.main import main; main()")
"""The program of this checkout."""

_OURS_ALONE = {"OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"}
"""Variables that processes do not inherit. Without bytecode every start would compile this checkout
again, unlike an installed package."""

# Starts the measured process: Linux counts the parent's peak memory as the child's, so the parent
# has to be small.
_LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
open(sys.argv[1], "w").write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""


class NotMeasuredError(Exception):
    """A process that failed; the message is its last line."""


@dataclass(frozen=True)
class Run:
    """One process."""

    seconds: float
    peak_bytes: int
    output: str
    """Standard error, and standard output if both streams are kept."""


def run_process(
    command: Sequence[object], *, both_streams: bool = False, codes: tuple[int, ...] = (0,)
) -> Run:
    """Run a process to its end; it chooses the number of threads itself.

    Args:
        command: program and arguments.
        both_streams: keep standard output, too.
        codes: exit codes that are not failures.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _OURS_ALONE}
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile("r") as usage:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, usage.name, *map(str, command)]
        started = time.perf_counter()
        subprocess.run(
            launcher,
            stdout=output if both_streams else subprocess.DEVNULL,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
        seconds = time.perf_counter() - started
        code, peak = map(int, usage.read().split())
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if code not in codes:
        last = (text.splitlines() or ["without a message"])[-1]
        start = " ".join(str(part) for part in command[:6])
        raise NotMeasuredError(f"{start} ... ended with code {code}: {last}")
    return Run(seconds, peak * (1 if sys.platform == "darwin" else 1024), text)
