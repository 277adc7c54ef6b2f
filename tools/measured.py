"""Run a command and print what it took: time and the largest memory of any of its processes.

For example: `python tools/measured.py munit-edge translate ...`
"""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import time


def main() -> int:
    command = sys.argv[1:]
    print(f"\n$ {shlex.join(command)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command).returncode
    seconds = time.monotonic() - started
    kilobytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"-> exit code {code}, {seconds:.1f} s, at most {kilobytes / 1024:.0f} MiB", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
