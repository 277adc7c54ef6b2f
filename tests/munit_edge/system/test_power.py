"""The power mode, and the memory of this process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from munit_edge.system import power
from munit_edge.system.process_memory import peak_memory_bytes


def test_power_modes_of_a_jetson_with_governors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"nvpmodel": "NV Power Mode: MAXN\n0\n", "nvidia-smi": "300.00, 350.00\n"}

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, told[command[0]], "")

    monkeypatch.setattr(power, "run_program", run)
    for core, governor in enumerate(["schedutil", "performance", "schedutil"]):
        file = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
        file.parent.mkdir(parents=True)
        file.write_text(f"{governor}\n")
    assert power.power_modes(tmp_path) == (
        "nvpmodel MAXN",
        "CPU governor performance and schedutil",
        "GPU 0 300.00 W of 350.00 W",
    )


def test_no_power_mode_where_nothing_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "run_program", lambda command: None)
    assert power.power_modes(tmp_path) == ()


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory_bytes()
    held = np.ones(1 << 26, np.uint8)
    current = peak_memory_bytes()
    assert 10 << 20 < current < 1 << 36
    assert current >= before
    assert current >= held.nbytes
