"""A run of several processes on this machine, each as a launcher would start it."""

from __future__ import annotations

import gc
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import accelerate
import torch
from ended_runs import start
from hang_guard import wait_until
from torch.utils.hooks import RemovableHandle
from training_runs import Recorder, prepared

from munit_edge.errors import MunitEdgeError
from munit_edge.trainer.distributed import Processes
from munit_edge.trainer.loop import TrainingRun
from munit_edge.trainer.prepare import open_accelerator

OnStep = Callable[[TrainingRun, int], None]


def start_processes(
    count: int, data: Path, path: Path, overrides: tuple[str, ...], on_step: OnStep | None = None
) -> list[BaseProcess]:
    """Begin `count` processes of one run; each calls `on_step(run, iterations done)`."""
    port = _meeting_point()
    return [
        start(_take_part, rank, count, port, data, path, overrides, on_step)
        for rank in range(count)
    ]


def start_programs(count: int, outputs: Path, arguments: list[str]) -> list[BaseProcess]:
    """Begin `python -m munit_edge` so; what each prints is kept as OUTPUTS/<rank>.out and .err."""
    port = _meeting_point()
    return [start(_run_program, rank, count, port, outputs, arguments) for rank in range(count)]


def start_leaving(
    count: int, folder: Path, how: Callable[[Processes, Path], None]
) -> list[BaseProcess]:
    """Begin processes without a run, which only meet, do `how(processes, folder)` and end."""
    port = _meeting_point()
    return [start(_meet, rank, count, port, folder, how) for rank in range(count)]


def ending(path: Path, rank: int) -> str:
    """How the process `rank` of the run in `path` ended."""
    return path.with_name(f"ending_{rank}.txt").read_text()


_meeting_points: list[torch.distributed.TCPStore] = []


def _meeting_point() -> int:
    """The port of a store where the processes of a run meet, kept by this process.

    As with `torchrun`: a port that was looked up and let go may be taken by another program.
    """
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    _meeting_points.append(store)
    return int(store.port)


class _Calling(Recorder):
    def __init__(self, run: TrainingRun, on_step: OnStep | None) -> None:
        super().__init__()
        self._run = run
        self._on_step = on_step

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        if self._on_step is not None:
            self._on_step(self._run, self.steps)


def _take_part(
    rank: int,
    count: int,
    port: int,
    data: Path,
    path: Path,
    overrides: tuple[str, ...],
    on_step: OnStep | None,
) -> None:
    _join(rank, count, port)
    note = path.with_name(f"ending_{rank}.txt")
    try:
        run = prepared(data, path, *overrides)
        result = run.train(_Calling(run, on_step))
    except MunitEdgeError as exc:
        note.write_text(f"{type(exc).__name__}: {exc}")
        os._exit(2)
    stopped = "" if result.stopped_by is None else f" {result.stopped_by.name}"
    note.write_text(
        f"{result.iteration} iterations{stopped}, {result.broken_images} broken, "
        f"{result.skipped_updates} skipped"
    )


def _join(rank: int, count: int, port: int) -> None:
    """The environment that a launcher gives its processes."""
    for name, value in {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }.items():
        os.environ[name] = str(value)
    torch.set_num_threads(1)


def _meet(
    rank: int, count: int, port: int, folder: Path, how: Callable[[Processes, Path], None]
) -> None:
    _join(rank, count, port)
    note = folder / f"ending_{rank}.txt"
    try:
        how(Processes(open_accelerator("cpu")), folder)
    except MunitEdgeError as exc:
        note.write_text(f"{type(exc).__name__}: {exc}")
        os._exit(2)


def _run_program(rank: int, count: int, port: int, outputs: Path, arguments: list[str]) -> None:
    _join(rank, count, port)
    sys.argv = ["munit_edge", *arguments]
    with (
        (outputs / f"{rank}.out").open("w") as sys.stdout,
        (outputs / f"{rank}.err").open("w") as sys.stderr,
    ):
        runpy.run_module("munit_edge", run_name="__main__")


# ----------------------------------------------------------------------------------------------
# What a process may do in place of a run


def leave_during_an_exchange(processes: Processes, folder: Path) -> None:
    """The first process leaves while its exchange waits for the second, and frees what it can."""
    processes._accelerator.wait_for_everyone = lambda: None  # it would wait for the exchange, too
    # As in a run: freed without giving up Python's lock, and with it the group if none else has it.
    reducer = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    leaving, done = folder / "leaving", folder / "done"
    if processes.is_first:
        # Only the exchange holds the tensor: its thread frees it, and needs Python for that.
        torch.distributed.all_reduce(torch.ones(1), async_op=True)
        leaving.touch()
        processes.leave()
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        del processes, reducer
        gc.collect()
        wait_until(done.exists, "the other process does not get ready")
    else:
        wait_until(leaving.exists, "the first process does not leave")
        time.sleep(2)  # what the first one frees is free by then; if not, nothing is tried
        torch.distributed.all_reduce(torch.ones(1))
        done.touch()
        processes.leave()


def die_while_others_leave(processes: Processes, folder: Path) -> None:
    if not processes.is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.leave()


# ----------------------------------------------------------------------------------------------
# What a process may do after an iteration


def save_gradients(run: TrainingRun, done: int) -> None:
    if done == 1:
        path = run.folder.path.with_name(f"gradients_{run.processes.index}.pt")
        torch.save(gradients(run), path)
        group = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))  # type: ignore[union-attr]
        path.with_name(f"wait_{run.processes.index}.txt").write_text(str(group.options._timeout))


def gradients(run: TrainingRun) -> dict[str, torch.Tensor]:
    return {
        f"{i}.{name}": parameter.grad.clone()
        for i, networks in enumerate((run.state.generators, run.state.discriminators))
        for name, parameter in networks.named_parameters()
        if parameter.grad is not None
    }


def stop_second_process(run: TrainingRun, done: int) -> None:
    if done == 2 and run.processes.index == 1:
        os.kill(os.getpid(), signal.SIGTERM)


def kill_second_process(run: TrainingRun, done: int) -> None:
    if done == 2 and run.processes.index == 1:
        os.kill(os.getpid(), signal.SIGKILL)


_broken: list[RemovableHandle] = []


def break_second_gradient(run: TrainingRun, done: int) -> None:
    """The gradient of the second process is infinite in iteration 3, before it is shared."""
    if run.processes.index == 1 and done == 2:
        parameter = next(run.state.generators.parameters())
        _broken.append(parameter.register_hook(lambda gradient: gradient * float("inf")))
    elif _broken:
        _broken.pop().remove()
