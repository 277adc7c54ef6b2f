"""Time of `munit-edge --help` in new processes; the target is under 0.5 s.

    python benchmarks/cli_startup.py [--runs 20]

The first run is reported separately: it may read files from disk and write bytecode. "python" is
the interpreter alone, doing nothing: the lower limit for any Python program.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_S = 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description="Time of `munit-edge --help`.")
    parser.add_argument("--runs", type=int, default=20, help="runs after the first [20]")
    runs = parser.parse_args().runs

    program = Path(sys.executable).with_name("munit-edge")
    first = _time_s([str(program), "--help"])
    help_s = sorted(_time_s([str(program), "--help"]) for _ in range(runs))
    python_s = sorted(_time_s([sys.executable, "-c", "pass"]) for _ in range(runs))

    median = statistics.median(help_s)
    print(hardware())
    print(f"munit-edge --help, first run: {first:.3f} s")
    print(f"munit-edge --help, next {runs}: median {median:.3f} s, p95 {_p95(help_s):.3f} s")
    print(f"python -c pass, {runs}: median {statistics.median(python_s):.3f} s")
    print(f"target {TARGET_S} s: {'met' if median < TARGET_S else 'MISSED'}")
    return 0 if median < TARGET_S else 1


def _time_s(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def hardware() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
