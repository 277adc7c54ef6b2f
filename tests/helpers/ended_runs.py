"""Training runs in processes of their own, which end as no run should.

The functions named `run_...` are what such a process does; `start` begins it.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hang_guard import HANG_S
from training_runs import Recorder, prepared, train

from munit_edge.errors import OutputError
from munit_edge.trainer import checkpoint as checkpoints
from munit_edge.trainer.data.batches import RawBatch, TrainingBatches
from munit_edge.trainer.run import view as run_view
from munit_edge.trainer.step import Losses, TrainingStep

PRELOADED = ["torch._dynamo", "accelerate", "torch.utils.tensorboard", "ended_runs"]
"""What would else be imported by each process again: four fifths of its time."""

NOT_ALLOWED = 77
"""Exit code of a process that may not do here what it should."""


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Begin a process that has torch already, and none of this one's threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def exit_code(process: BaseProcess) -> int | None:
    """How it ended; it is killed when it hangs."""
    process.join(HANG_S)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_killed_in_an_iteration(data: Path, path: Path, overrides: tuple[str, ...], at: int) -> None:
    """Kill -9 between the two updates of iteration `at`."""
    original = TrainingStep.update_generators

    def dying(self: TrainingStep, *arguments: Any) -> Losses:
        if run.state.iteration + 1 == at:
            _die()
        return original(self, *arguments)

    TrainingStep.update_generators = dying  # type: ignore[method-assign]
    run_view.PAGE_INTERVAL_S = math.inf  # only grids and checkpoints update the page
    run = prepared(data, path, *overrides)
    run.train(Recorder())


def run_killed_with_workers(data: Path, path: Path, pids: Path) -> None:
    """Kill -9 while other processes prepare images; their numbers are left in `pids`."""

    class Dying(Recorder):
        def advance(self, steps: int = 1, note: str = "") -> None:
            super().advance(steps, note)
            pids.write_text(" ".join(str(c.pid) for c in multiprocessing.active_children()))
            _die()

    train(data, path, "data.workers=2", "iterations=1000", display=Dying())


class _Failing(TrainingBatches):
    def batch(self, iteration: int) -> RawBatch:
        raise MemoryError("no memory for an image")


def run_without_memory_for_images(data: Path, path: Path) -> None:
    """An unexpected error in a process that prepares images."""
    run = prepared(data, path, "data.workers=1")
    run._batches = _Failing(run.sets, run.config)
    try:
        run.train(Recorder())
    except MemoryError as exc:
        (data / "error.txt").write_text(str(exc))
        raise


def run_killed_while_saving(data: Path, path: Path, overrides: tuple[str, ...], at: int) -> None:
    """Kill -9 in the middle of a file of the checkpoint after iteration `at`."""
    original = checkpoints._write_tensors

    def dying(file: Path, tensors: dict[str, Any]) -> None:
        original(file, tensors)
        if run.state.iteration == at and file.name == checkpoints.TRAINING_TENSORS_FILE:
            os.truncate(file, file.stat().st_size // 2)
            _die()

    checkpoints._write_tensors = dying
    run = prepared(data, path, *overrides)
    run.train(Recorder())


class _Filling(Recorder):
    """Leaves too little room for another checkpoint after iteration 4."""

    def __init__(self, fill: Callable[[], None]) -> None:
        super().__init__()
        self._fill = fill

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        if self.steps == 4:
            self._fill()


def _half_a_checkpoint(path: Path) -> int:
    return sum(f.stat().st_size for f in (path / "checkpoints" / "00000003").iterdir()) // 2


def run_until_half_a_checkpoint_is_free(data: Path, path: Path, copy: Path) -> None:
    """Train in a small file system of this process alone; copy what is left at the end."""
    _run_in_small_file_system(data, path, copy, _half_a_checkpoint)


def run_until_nothing_is_free(data: Path, path: Path, copy: Path) -> None:
    """The same, and the curves find the file system full before a checkpoint does."""
    _run_in_small_file_system(data, path, copy, lambda path: 0)


def _run_in_small_file_system(
    data: Path, path: Path, copy: Path, free: Callable[[Path], int]
) -> None:
    path.mkdir()
    root = os.getuid() == 0
    user, mount = 0x10000000, 0x00020000
    if ctypes.CDLL(None).unshare(mount if root else mount | user) != 0:
        os._exit(NOT_ALLOWED)
    small = ["mount", "-t", "tmpfs", "-o", "size=32m", "small", str(path)]
    if subprocess.run(small, capture_output=True, check=False).returncode != 0:
        os._exit(NOT_ALLOWED)

    def fill() -> None:
        (path / "filler").write_bytes(bytes(shutil.disk_usage(path).free - free(path)))
        # What the curves' file has in its last page of memory is free, too.
        for file in (path / "tensorboard").rglob("events*"):
            os.truncate(file, file.stat().st_size + 4096)

    _train_and_note(data, path, _Filling(fill))
    (path / "filler").unlink()
    shutil.copytree(path, copy)


def run_until_a_file_is_too_large(data: Path, path: Path, copy: Path) -> None:
    """The same with the limit that the system sets for the size of files."""

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        limit = (path / "checkpoints" / "00000003" / checkpoints.GENERATORS_FILE).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit // 2, before[1]))

    _train_and_note(data, path, _Filling(fill))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    shutil.copytree(path, copy)


def _train_and_note(data: Path, path: Path, display: Recorder) -> None:
    run = prepared(data, path)
    try:
        run.train(display)
    except OutputError as exc:
        (data / "error.txt").write_text(str(exc))
