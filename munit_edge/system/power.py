"""The power mode of this machine: what decides how fast it may run. Never raises."""

from __future__ import annotations

import re
from pathlib import Path

from munit_edge.system.machine import run_program


def power_modes(root: Path = Path("/")) -> tuple[str, ...]:
    """What the system tells, such as ("nvpmodel MAXN", "CPU governor performance"); may be empty.

    Args:
        root: where the system's files are looked up.
    """
    return tuple(told for told in (_jetson(), _governor(root), _gpu_limits()) if told)


def _jetson() -> str:
    done = run_program(["nvpmodel", "-q"])
    match = re.search(r"NV Power Mode:\s*(\S+)", done.stdout) if done else None
    return f"nvpmodel {match[1]}" if match else ""


def _governor(root: Path) -> str:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    try:
        governors = sorted({file.read_text(encoding="utf-8").strip() for file in files})
    except OSError:
        return ""
    return f"CPU governor {' and '.join(governors)}" if governors else ""


def _gpu_limits() -> str:
    query = "--query-gpu=power.limit,power.max_limit"
    done = run_program(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    if done is None or done.returncode:
        return ""
    limits = re.findall(r"^\s*([\d.]+),\s*([\d.]+)\s*$", done.stdout, re.MULTILINE)
    return ", ".join(f"GPU {i} {now} W of {most} W" for i, (now, most) in enumerate(limits))
