"""What `nvidia-smi` reports about the GPUs. Works without CUDA; never raises."""

from __future__ import annotations

import re
import subprocess

from munit_edge.settings import StrictModel
from munit_edge.system.child import ProgramTimeoutError, run_program

_GPU_FIELDS = ("name", "driver_version", "memory.total", "compute_cap")


class SmiGpu(StrictModel):
    """One GPU as `nvidia-smi` describes it."""

    name: str
    """Product name."""
    driver: str
    """Version of the driver."""
    memory_mib: int | None
    """Memory in MiB; None where it is shared with the processor."""
    compute_capability: str | None
    """Such as "8.7"; None where `nvidia-smi` does not report it."""


class SmiFacts(StrictModel):
    """What `nvidia-smi` reports."""

    gpus: tuple[SmiGpu, ...] = ()
    """One for each GPU."""
    fault: str | None = None
    """Why it gave no answer; None when it did."""


def query_gpus() -> SmiFacts | None:
    """All GPUs, or why there is no answer; None: there is no `nvidia-smi`."""
    try:
        done = _query(_GPU_FIELDS)
    except ProgramTimeoutError as exc:
        return SmiFacts(fault=str(exc))
    if done is None:
        return None
    if done.returncode:
        printed = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[0]
        return SmiFacts(fault=f"nvidia-smi ended with code {done.returncode}: {printed}")
    rows = _rows(done)
    return SmiFacts(gpus=tuple(_gpu(row) for row in rows if len(row) == len(_GPU_FIELDS)))


def free_memory_bytes(index: int) -> int | None:
    """Memory of one GPU that no program uses; None where it is unknown."""
    return _memory_bytes("memory.free", index)


def used_memory_bytes(index: int) -> int | None:
    """Memory of one GPU that all programs use together; None where it is unknown."""
    return _memory_bytes("memory.used", index)


def power_limits() -> dict[int, tuple[str, str]]:
    """Power limit and its highest setting in watts, as printed, by index of the GPU."""
    rows = _answers(("power.limit", "power.max_limit"))
    return {
        index: (row[0], row[1])
        for index, row in enumerate(rows)
        if len(row) == 2 and all(map(_is_number, row))
    }


def clocks_mhz(name: str) -> tuple[int, int | None] | None:
    """Clock of the multiprocessors now and its limit, in MHz; None where there is no answer.

    Args:
        name: product name; of several such GPUs the fastest one counts, which is the busy one.
    """
    rows = _answers(("name", "clocks.sm", "clocks.max.sm"))
    clocks = [
        (int(row[1]), int(row[2]) if row[2].isdigit() else None)
        for row in rows
        if len(row) == 3 and row[0] == name and row[1].isdigit()
    ]
    return max(clocks, key=lambda clock: clock[0], default=None)


def _memory_bytes(field: str, index: int) -> int | None:
    rows = _answers((field,), f"--id={index}")
    mebibytes = rows[0][0] if rows else ""
    return int(mebibytes) << 20 if mebibytes.isdigit() else None


def _answers(fields: tuple[str, ...], *options: str) -> list[list[str]]:
    """A row for each GPU; none where there is no answer."""
    try:
        done = _query(fields, *options)
    except ProgramTimeoutError:
        return []
    return _rows(done) if done is not None and not done.returncode else []


def _query(fields: tuple[str, ...], *options: str) -> subprocess.CompletedProcess[str] | None:
    query = f"--query-gpu={','.join(fields)}"
    return run_program(["nvidia-smi", *options, query, "--format=csv,noheader,nounits"])


def _rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]


def _gpu(row: list[str]) -> SmiGpu:
    name, driver, memory, capability = row
    return SmiGpu(
        name=name,
        driver=driver,
        # "[N/A]" on a Jetson.
        memory_mib=int(memory) if memory.isdigit() else None,
        compute_capability=capability if re.fullmatch(r"\d+\.\d+", capability) else None,
    )


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[\d.]+", cell) is not None
