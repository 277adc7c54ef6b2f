"""What this machine is: Python, platform, JetPack, GPUs and power mode. Never raises.

Reads system files and runs small programs (`nvidia-smi`, `dpkg-query`, `nvpmodel`) only, so it also
works on a machine where no backend does.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from munit_edge.settings import StrictModel
from munit_edge.system.child import ProgramTimeoutError, run_program
from munit_edge.system.nvidia_smi import SmiFacts, clocks_mhz, power_limits, query_gpus
from munit_edge.system.system_files import system_text

JETPACK_OF_L4T = {"36.4": "6.1 or 6.2", "38.4": "7.1", "39.2": "7.2"}
"""JetPack by the first two numbers of L4T, for systems without the package `nvidia-jetpack`."""

# NVIDIA's number as a PCI vendor, and how the class codes of display and 3D controllers begin.
_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"


class PythonFacts(StrictModel):
    """The interpreter that runs munit-edge."""

    version: str
    """Such as "3.10.12"."""
    executable: str
    """Path of the interpreter."""
    virtual_environment: bool
    """Whether it belongs to a virtual environment."""
    system_packages: bool
    """Whether packages of the system's Python can be imported, as a Jetson's TensorRT needs."""


class PlatformFacts(StrictModel):
    """Operating system and processor."""

    system: str
    """Such as "Linux"."""
    release: str
    """Release of the kernel."""
    machine: str
    """Instruction set, such as "x86_64" or "aarch64"."""
    processor: str
    """Model of the processor; "" where the system does not report it."""
    num_cores: int
    """Logical cores."""


class JetsonFacts(StrictModel):
    """A Jetson's own software."""

    board: str
    """The board's name in the device tree; "" where it is missing (in a container)."""
    l4t: str
    """Release of Jetson Linux, such as "36.4.3"; "" where unknown."""
    jetpack: str
    """Release of JetPack; "" where unknown."""


class Machine(StrictModel):
    """Everything that is known without a backend."""

    python: PythonFacts
    """The interpreter."""
    platform: PlatformFacts
    """Operating system and processor."""
    jetson: JetsonFacts | None
    """None: not a Jetson."""
    smi: SmiFacts | None
    """What `nvidia-smi` reports; None: there is no `nvidia-smi`."""
    pci_gpus: int = 0
    """NVIDIA's display and compute devices on the PCI bus, visible without a driver, too."""


def look_at_machine(root: Path = Path("/")) -> Machine:
    """Gather the facts.

    Args:
        root: where the system's files are looked up.
    """
    return Machine(
        python=_python(),
        platform=_platform(root),
        jetson=_jetson(root),
        smi=query_gpus(),
        pci_gpus=_count_pci_gpus(root),
    )


def processor_name(root: Path = Path("/")) -> str:
    """Model of the processor; "" where the system does not report it."""
    match = re.search(r"^model name\s*:\s*(.+)$", system_text(root / "proc/cpuinfo"), re.MULTILINE)
    return match[1] if match else ""


def power_modes(root: Path = Path("/")) -> tuple[str, ...]:
    """Settings that limit the speed, such as ("nvpmodel MAXN", "CPU governor performance").

    Empty where the system reports none.

    Args:
        root: where the system's files are looked up.
    """
    limits = ", ".join(
        f"GPU {index} {limit} W of {highest} W"
        for index, (limit, highest) in power_limits().items()
    )
    return tuple(mode for mode in (_nvpmodel(), _governors(root), limits) if mode)


def gpu_clock_mhz(name: str, root: Path = Path("/")) -> tuple[int, int | None] | None:
    """Clock of a GPU now and its limit, in MHz; None where the system reports none.

    Args:
        name: product name of the GPU; a Jetson has only one.
        root: where the system's files are looked up.
    """
    if clock := clocks_mhz(name):
        return clock
    # A Jetson: "17000000.gpu" on Orin; in hertz. `nvidia-smi` there has no clocks.
    for folder in sorted((root / "sys/class/devfreq").glob("*gpu*")):
        now, limit = (system_text(folder / file).strip() for file in ("cur_freq", "max_freq"))
        if now.isdigit():
            return int(now) // 10**6, int(limit) // 10**6 if limit.isdigit() else None
    return None


def _nvpmodel() -> str:
    match = re.search(r"NV Power Mode:\s*(\S+)", _output(["nvpmodel", "-q"]))
    return f"nvpmodel {match[1]}" if match else ""


def _governors(root: Path) -> str:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    governors = sorted({system_text(file).strip() for file in files} - {""})
    return f"CPU governor {' and '.join(governors)}" if governors else ""


def _python() -> PythonFacts:
    inside = sys.prefix != sys.base_prefix
    settings = Path(sys.prefix) / "pyvenv.cfg"
    # Without a virtual environment, the system's packages are those that are imported.
    system = True
    if inside and settings.is_file():
        text = settings.read_text(encoding="utf-8", errors="replace").lower()
        system = bool(re.search(r"^include-system-site-packages\s*=\s*true", text, re.MULTILINE))
    return PythonFacts(
        version=platform.python_version(),
        executable=sys.executable,
        virtual_environment=inside,
        system_packages=system,
    )


def _platform(root: Path) -> PlatformFacts:
    return PlatformFacts(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        processor=processor_name(root),
        num_cores=os.cpu_count() or 1,
    )


def _jetson(root: Path) -> JetsonFacts | None:
    # The line is "# R36 (release), REVISION: 4.3, GCID: ..."; the device tree ends text with NUL.
    release = re.search(
        r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)",
        system_text(root / "etc/nv_tegra_release"),
    )
    board = system_text(root / "proc/device-tree/model").rstrip("\0\n")
    if release is None and "jetson" not in board.lower():
        return None
    l4t = f"{release[1]}.{release[2]}" if release else ""
    # Versions are such as "6.2+b77".
    jetpack = _output(["dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack"]).partition("+")[0]
    if not jetpack:
        jetpack = JETPACK_OF_L4T.get(".".join(l4t.split(".")[:2]), "")
    return JetsonFacts(board=board, l4t=l4t, jetpack=jetpack)


def _count_pci_gpus(root: Path) -> int:
    devices = (root / "sys/bus/pci/devices").glob("*")
    return sum(
        system_text(device / "vendor").strip() == _NVIDIA
        and system_text(device / "class").startswith(_DISPLAY_CLASS)
        for device in devices
    )


def _output(command: list[str]) -> str:
    """What a program prints; "" if it is missing, fails or hangs."""
    try:
        done = run_program(command)
    except ProgramTimeoutError:
        return ""
    return done.stdout if done is not None and not done.returncode else ""
