"""A process measured from outside: wall time, its own peak memory, what it said."""

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
"""What processes do not inherit: without bytecode every start would compile this checkout anew, as
it does no installed package."""

# Between us and the process that is measured stands this small one: Linux counts what the parent
# has ever held as held by the child.
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
    said: str
    """Standard error, and standard output if it was asked for."""


def run_process(
    command: Sequence[object], *, both_streams: bool = False, codes: tuple[int, ...] = (0,)
) -> Run:
    """Run a process to its end; threads are what it chooses by itself.

    Args:
        command: program and arguments.
        both_streams: keep what it prints to standard output, too.
        codes: exit codes that are no failure.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _OURS_ALONE}
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with tempfile.TemporaryFile() as said, tempfile.NamedTemporaryFile("r") as told:
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, told.name, *map(str, command)]
        started = time.perf_counter()
        subprocess.run(
            launcher,
            stdout=said if both_streams else subprocess.DEVNULL,
            stderr=said,
            stdin=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
        seconds = time.perf_counter() - started
        code, peak = map(int, told.read().split())
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if code not in codes:
        last = (text.splitlines() or ["without a message"])[-1]
        start = " ".join(str(part) for part in command[:6])
        raise NotMeasuredError(f"{start} ... ended with code {code}: {last}")
    return Run(seconds, peak * (1 if sys.platform == "darwin" else 1024), text)
