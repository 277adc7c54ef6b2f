"""The machine's own facts: read from files and from programs that a test puts there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from shell_programs import write_program

from munit_edge.system.machine import gpu_clock_mhz, look_at_machine, power_modes

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are found; /bin/sh needs no search."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write_system(root: Path, release: str = RELEASE, board: str = "Jetson AGX Orin\0") -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/nv_tegra_release").write_text(release)
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text(board)
    return root


def test_an_empty_system_is_described_without_an_error(tmp_path: Path, programs: Path) -> None:
    found = look_at_machine(tmp_path / "empty")
    assert (found.jetson, found.smi, found.platform.processor) == (None, None, "")
    assert found.python.executable == sys.executable
    assert found.platform.num_cores == os.cpu_count()


def test_a_jetson_with_its_package(tmp_path: Path, programs: Path) -> None:
    write_program(programs / "dpkg-query", "printf '6.2.1+b38'")
    jetson = look_at_machine(write_system(tmp_path / "root")).jetson
    assert jetson is not None
    assert (jetson.board, jetson.l4t, jetson.jetpack) == ("Jetson AGX Orin", "36.4.3", "6.2.1")


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        (RELEASE, "6.1 or 6.2"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "7.2"),
        ("# R99 (release), REVISION: 1.0, GCID: 1", ""),
    ],
    ids=["6", "7.2", "unknown"],
)
def test_a_jetsons_container_has_only_the_release(
    tmp_path: Path, programs: Path, release: str, jetpack: str
) -> None:
    write_program(programs / "dpkg-query", "echo no such package >&2; exit 1")
    jetson = look_at_machine(write_system(tmp_path / "root", release)).jetson
    assert jetson is not None
    assert jetson.jetpack == jetpack


def test_another_board_is_no_jetson(tmp_path: Path, programs: Path) -> None:
    write_system(tmp_path / "root", "something else", "Raspberry Pi 5\0")
    assert look_at_machine(tmp_path / "root").jetson is None


def test_gpus_on_the_bus_are_seen_without_a_driver(tmp_path: Path, programs: Path) -> None:
    devices = {
        "01:00.0": ("0x10de", "0x030000"),
        "01:00.1": ("0x10de", "0x040300"),  # its audio device
        "02:00.0": ("0x10de", "0x030200"),
        "00:02.0": ("0x8086", "0x030000"),
    }
    for name, (vendor, kind) in devices.items():
        folder = tmp_path / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    assert look_at_machine(tmp_path).pci_gpus == 2


def test_power_modes_of_a_jetson_with_governors(tmp_path: Path, programs: Path) -> None:
    write_program(programs / "nvpmodel", "printf 'NV Power Mode: MAXN\\n0\\n'")
    write_program(programs / "nvidia-smi", "printf '300.00, 350.00\\n[N/A], [N/A]\\n'")
    for core, governor in enumerate(["schedutil", "performance", "schedutil"]):
        file = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
        file.parent.mkdir(parents=True)
        file.write_text(f"{governor}\n")
    assert power_modes(tmp_path) == (
        "nvpmodel MAXN",
        "CPU governor performance and schedutil",
        "GPU 0 300.00 W of 350.00 W",
    )


def test_no_power_mode_without_programs_and_files(tmp_path: Path, programs: Path) -> None:
    assert power_modes(tmp_path) == ()


def test_the_clock_of_a_jetson_is_in_its_files(tmp_path: Path, programs: Path) -> None:
    write_program(programs / "nvidia-smi", "printf 'Orin (nvgpu), [N/A], [N/A]\\n'")
    for name, now, limit in (
        ("17000000.gpu", "918000000", "1020000000"),
        ("13e40000.host1x", 1, 2),
    ):
        folder = tmp_path / "sys/class/devfreq" / name
        folder.mkdir(parents=True)
        (folder / "cur_freq").write_text(f"{now}\n")
        (folder / "max_freq").write_text(f"{limit}\n")
    assert gpu_clock_mhz("Orin", tmp_path) == (918, 1020)
    write_program(programs / "nvidia-smi", "printf 'NVIDIA L4, 1980, 2040\\n'")
    assert gpu_clock_mhz("NVIDIA L4", tmp_path / "empty") == (1980, 2040)
    assert gpu_clock_mhz("another", tmp_path / "empty") is None
