"""What this machine is: Python, platform, JetPack, and what `nvidia-smi` says. Never raises.

Only files, the standard library and two small programs (`nvidia-smi`, `dpkg-query`) are asked, so
it works where nothing else does.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from munit_edge.settings import StrictModel

PROGRAM_TIMEOUT_S = 20.0

JETPACK_OF_L4T = {"36.4": "6.1 or 6.2", "38.4": "7.1", "39.2": "7.2"}
"""JetPack by the first two numbers of L4T, where the package that carries its name is missing."""

_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"
_SMI_FIELDS = ("name", "driver_version", "memory.total", "compute_cap")


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
    """Model of the processor; "" where the system does not tell."""
    num_cores: int
    """Logical cores."""


class JetsonFacts(StrictModel):
    """A Jetson's own software."""

    board: str
    """What the device tree calls the board; "" where it does not tell (in a container)."""
    l4t: str
    """Release of Jetson Linux, such as "36.4.3"; "" where unknown."""
    jetpack: str
    """Release of JetPack; "" where unknown."""


class SmiGpu(StrictModel):
    """One GPU as `nvidia-smi` describes it."""

    name: str
    """Product name."""
    driver: str
    """Version of the driver."""
    memory_mib: int | None
    """Memory; None where it is shared with the processor."""
    compute_capability: str | None
    """Such as "8.7"; None where `nvidia-smi` does not tell."""


class SmiFacts(StrictModel):
    """What `nvidia-smi` says."""

    gpus: tuple[SmiGpu, ...] = ()
    """One for each GPU."""
    fault: str | None = None
    """Why it could not be asked; None when it answered."""


class Machine(StrictModel):
    """Everything that is known without a backend."""

    python: PythonFacts
    """The interpreter."""
    platform: PlatformFacts
    """Operating system and processor."""
    jetson: JetsonFacts | None
    """None: not a Jetson."""
    smi: SmiFacts | None
    """None: there is no `nvidia-smi`."""
    pci_gpus: int = 0
    """NVIDIA's display and compute devices on the PCI bus: there with or without a driver."""


def look_at_machine(root: Path = Path("/")) -> Machine:
    """Gather the facts.

    Args:
        root: where the system's files are looked up.
    """
    return Machine(
        python=_python(),
        platform=_platform(root),
        jetson=_jetson(root),
        smi=_smi(),
        pci_gpus=_count_pci_gpus(root),
    )


def processor_name(root: Path = Path("/")) -> str:
    """Model of the processor; "" where the system does not tell."""
    match = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    return match[1] if match else ""


def _python() -> PythonFacts:
    inside = sys.prefix != sys.base_prefix
    settings = Path(sys.prefix) / "pyvenv.cfg"
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
    release = re.search(
        r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", _text(root / "etc/nv_tegra_release")
    )
    board = _text(root / "proc/device-tree/model").rstrip("\0\n")
    if release is None and "jetson" not in board.lower():
        return None
    l4t = f"{release[1]}.{release[2]}" if release else ""
    installed = run_program(["dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack"])
    jetpack = installed.stdout.partition("+")[0] if installed and not installed.returncode else ""
    if not jetpack:
        jetpack = JETPACK_OF_L4T.get(".".join(l4t.split(".")[:2]), "")
    return JetsonFacts(board=board, l4t=l4t, jetpack=jetpack)


def _smi() -> SmiFacts | None:
    query = f"--query-gpu={','.join(_SMI_FIELDS)}"
    try:
        done = run_program(["nvidia-smi", query, "--format=csv,noheader,nounits"], check_time=True)
    except TimeoutError as exc:
        return SmiFacts(fault=str(exc))
    if done is None:
        return None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[0]
        return SmiFacts(fault=f"nvidia-smi ended with code {done.returncode}: {said}")
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return SmiFacts(gpus=tuple(_smi_gpu(row) for row in rows if len(row) == len(_SMI_FIELDS)))


def _smi_gpu(row: list[str]) -> SmiGpu:
    name, driver, memory, capability = row
    return SmiGpu(
        name=name,
        driver=driver,
        memory_mib=int(memory) if memory.isdigit() else None,
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
    )


def _count_pci_gpus(root: Path) -> int:
    devices = (root / "sys/bus/pci/devices").glob("*")
    return sum(
        _text(device / "vendor").strip() == _NVIDIA
        and _text(device / "class").startswith(_DISPLAY_CLASS)
        for device in devices
    )


def run_program(
    command: list[str], *, check_time: bool = False
) -> subprocess.CompletedProcess[str] | None:
    """Run a small program; None where there is none of that name, or it cannot be started.

    Raises:
        TimeoutError: it did not end in time and `check_time` is set; else that is None, too.
    """
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return None
    except subprocess.TimeoutExpired as exc:
        if not check_time:
            return None
        message = f"{command[0]} gave no answer within {PROGRAM_TIMEOUT_S:g} s"
        raise TimeoutError(message) from exc


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
