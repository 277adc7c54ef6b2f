"""Checks and preparation before a training run, new or resumed."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from munit_edge.errors import ConfigError, EngineError, ModelError, OutputError
from munit_edge.extras import require
from munit_edge.files.locks import writing_into
from munit_edge.trainer.checkpoint import check_newest_whole, open_checkpoint, saved_checkpoints
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.distributed import Processes
from munit_edge.trainer.loop import TrainingRun
from munit_edge.trainer.run.folder import RunFolder
from munit_edge.trainer.torch_api import torch

DeviceName = Literal["auto", "cpu", "cuda"]

LONGEST_WAIT = timedelta(hours=2)
"""How long the other processes wait for the first, which saves and measures alone: on GPUs, torch's
10 minutes are shorter than an evaluation may take."""

_PURPOSE = "training"


def prepare_run(
    config: TrainConfig,
    path: Path,
    *,
    device: DeviceName = "auto",
    resume: bool = False,
    overwrite: bool = False,
    source: Path | None = None,
) -> TrainingRun:
    """Check all that can be checked, create or reopen the run's folder, and build the networks.

    Args:
        config: the configuration.
        path: the run's folder.
        device: "auto" uses CUDA if there is a GPU.
        resume: continue from the newest checkpoint.
        overwrite: replace an earlier run.
        source: the file that `config` was read from; it must not be overwritten.

    Raises:
        ConfigError: the configuration cannot be used, or is not the resumed run's.
        InputError: images or the run to resume are missing.
        EngineError: the device or a package is missing.
        OutputError: the folder holds a run already, or an input of this one, or cannot be written.
    """
    if resume and overwrite:
        raise ConfigError("--resume continues a run and --overwrite replaces it: choose one")
    folder, accelerator = RunFolder(path), open_accelerator(device)
    with contextlib.ExitStack() as stack:
        _lock(folder, Processes(accelerator), stack)
        if resume:
            folder.check_resumable(config)
        else:
            inputs = [*config.files(), *([source] if source is not None else [])]
            folder.check_free(overwrite=overwrite, inputs=inputs)
        run = TrainingRun(config, folder, accelerator)
        # Nothing has been written so far: no error above leaves a half-made run behind.
        if resume:
            _restore_newest(run)
        if run.remaining < 0:
            raise ConfigError(
                f"the run has already done {run.state.iteration} iterations and iterations is "
                f"{config.iterations}: increase it"
            )
        if run.processes.is_first:
            folder.begin(config, replace=not resume)
        run.held = stack.pop_all()  # the lock now lasts until the run ends
    return run


def _lock(folder: RunFolder, processes: Processes, stack: contextlib.ExitStack) -> None:
    """Lock the folder in the first process, for all of them.

    Raises:
        OutputError: another run uses it; raised in all processes.
    """
    # The others get the fault as data: an exception in one process would leave them waiting.
    fault = set[str]()
    if processes.is_first:
        try:
            stack.enter_context(writing_into(folder.path))
        except OutputError as exc:
            fault = {str(exc)}
    for text in processes.union(fault):
        raise OutputError(text)


def _restore_newest(run: TrainingRun) -> None:
    check_newest_whole(run.folder.path)
    *earlier, newest = saved_checkpoints(run.folder.path) or (None,)
    if newest is None:
        return
    try:
        run.state.restore(open_checkpoint(newest), run.sets)
    except ModelError as exc:
        if not earlier:
            raise
        raise ModelError(
            f"{exc}. Move {newest} away to continue from the one before it, {earlier[-1]}"
        ) from exc


def open_accelerator(device: DeviceName) -> Any:
    """Accelerate's `Accelerator` for this process.

    Raises:
        EngineError: there is no CUDA GPU for "cuda".
    """
    accelerate = require("accelerate", _PURPOSE)
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError(
            "torch finds no CUDA GPU for --device cuda: use --device cpu, or install NVIDIA's "
            "driver and a torch build with CUDA"
        )
    return accelerate.Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="no",  # the step sets the borders of autocast itself
        kwargs_handlers=[accelerate.utils.InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
    )
