"""The largest memory that this process has used."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Most memory that this process has held so far (resident), in bytes.

    Not from `getrusage` where there is another way: on Linux its number includes what the parent
    held when it started this process.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    match = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    if match:
        return int(match[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
