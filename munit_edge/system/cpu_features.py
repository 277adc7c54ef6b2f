"""Which instructions the processor has, in the kernel's own words."""

from __future__ import annotations

import re
from pathlib import Path

from munit_edge.system.system_files import system_text


def cpu_features(root: Path = Path("/")) -> frozenset[str]:
    """Instruction sets such as "avx512_vnni" or "asimddp"; empty where Linux does not report them.

    Those that all cores have: the others are not there for a thread that may run on any core.

    Args:
        root: where the system's files are looked up.
    """
    # x86 calls them flags, Arm calls them features; one line for each core.
    lines = re.findall(
        r"^(?:flags|Features)\s*:(.*)$", system_text(root / "proc/cpuinfo"), re.MULTILINE
    )
    cores = [frozenset(line.split()) for line in lines]
    return frozenset.intersection(*cores) if cores else frozenset()
