"""Answers of `nvidia-smi`: a script stands in for the program."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell_programs import write_program

from munit_edge.system import child, nvidia_smi
from munit_edge.system.nvidia_smi import query_gpus


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the only program that is found; /bin/sh needs no search."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def test_no_program_gives_no_answers(program: Path) -> None:
    assert query_gpus() is None
    assert nvidia_smi.free_memory_bytes(0) is None
    assert nvidia_smi.used_memory_bytes(0) is None
    assert nvidia_smi.power_limits() == {}
    assert nvidia_smi.clocks_mhz("NVIDIA L4") is None


def test_gpus(program: Path) -> None:
    rows = "NVIDIA H100, 580.65.06, 81559, 9.0\\nOrin (nvgpu), 540.4.0, [N/A], [N/A]\\n"
    write_program(program, f"printf '{rows}'")
    facts = query_gpus()
    assert facts is not None
    server, jetson = facts.gpus
    assert (server.name, server.driver) == ("NVIDIA H100", "580.65.06")
    assert (server.memory_mib, server.compute_capability) == (81559, "9.0")
    assert (jetson.memory_mib, jetson.compute_capability) == (None, None)


def test_memory_of_one_gpu(program: Path) -> None:
    free, used = ("--id=1*memory.free*) echo 2048", "--id=1*memory.used*) echo 5")
    write_program(program, f'case "$*" in {free};; {used};; *memory.free*) exit 6;; esac')
    assert nvidia_smi.free_memory_bytes(1) == 2 << 30
    assert nvidia_smi.used_memory_bytes(1) == 5 << 20
    assert nvidia_smi.free_memory_bytes(7) is None
    assert nvidia_smi.used_memory_bytes(7) is None
    write_program(program, "echo '[N/A]'")
    assert nvidia_smi.used_memory_bytes(1) is None


def test_power_limits_of_the_gpus_that_have_them(program: Path) -> None:
    write_program(program, "printf '[N/A], [N/A]\\n300.00, 350.00\\n'")
    assert nvidia_smi.power_limits() == {1: ("300.00", "350.00")}


def test_the_clock_is_that_of_the_busy_one_of_equal_gpus(program: Path) -> None:
    rows = "NVIDIA L4, 210, 2040\\nNVIDIA L4, 1980, 2040\\nNVIDIA A2, 2100, 2100\\n"
    write_program(program, f'case "$*" in *name,clocks.sm,clocks.max.sm*) printf "{rows}";; esac')
    assert nvidia_smi.clocks_mhz("NVIDIA L4") == (1980, 2040)
    assert nvidia_smi.clocks_mhz("NVIDIA A2") == (2100, 2100)
    assert nvidia_smi.clocks_mhz("NVIDIA H100") is None
    write_program(program, "printf 'Orin (nvgpu), [N/A], [N/A]\\n'")
    assert nvidia_smi.clocks_mhz("Orin (nvgpu)") is None


def test_a_program_that_fails(program: Path) -> None:
    write_program(program, "echo Driver/library version mismatch; exit 18")
    facts = query_gpus()
    assert facts is not None
    assert facts.fault == "nvidia-smi ended with code 18: Driver/library version mismatch"
    assert nvidia_smi.used_memory_bytes(0) is None


def test_a_program_that_hangs(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PROGRAM_TIMEOUT_S", 0.2)
    write_program(program, "while :; do :; done")
    facts = query_gpus()
    assert facts is not None
    assert facts.fault == "nvidia-smi gave no answer within 0.2 s"
    assert nvidia_smi.free_memory_bytes(0) is None
