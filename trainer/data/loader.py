"""Batches prepared ahead by worker processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import tempfile
from collections.abc import Iterator
from typing import Any

from munit_edge.errors import MunitEdgeError, TrainingError
from munit_edge.files.unfinished import process_scratch
from munit_edge.interrupts import end_with_parent, signals_left_to_parent
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.data.batches import RawBatch, TrainingBatches
from munit_edge.trainer.torch_api import torch


def batches_ahead(
    batches: TrainingBatches, first: int, config: TrainConfig
) -> Iterator[RawBatch | MunitEdgeError]:
    """The batches from iteration `first` to the last, prepared by `data.workers` processes.

    An error that stops training takes the place of a batch, also when a worker has died.
    """
    workers = config.data.workers
    loader: Any = torch.utils.data.DataLoader(
        batches,  # type: ignore[arg-type]  # it needs no length
        batch_size=None,
        sampler=range(first, config.iterations + 1),
        num_workers=workers,
        collate_fn=_unchanged,
        multiprocessing_context=_worker_context() if workers else None,
        worker_init_fn=_end_with_parent,
    )
    with signals_left_to_parent():
        prepared: Any = iter(loader)
    try:
        yield from _with_errors(prepared)
    finally:
        # An exception may keep the iterator alive, and at exit Python would wait for its
        # processes, which ignore signals.
        if workers:
            prepared._shutdown_workers()


def _with_errors(
    batches: Iterator[RawBatch | MunitEdgeError],
) -> Iterator[RawBatch | MunitEdgeError]:
    """The batches, and an error instead of one that a dead worker owes."""
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as exc:
            if "DataLoader worker" not in str(exc):  # torch has no class for it
                raise
            batch = TrainingError(
                f"a process that prepares images has died ({exc}): if memory is short, lower "
                "data.workers; continue with --resume"
            )
        yield batch


def _worker_context() -> Any:
    """The start method of worker processes: forked from a server process without threads.

    A fork of this process, which has threads of torch and TensorBoard, could hang.
    """
    # The folder of the server's sockets: multiprocessing does not remove its own when killed.
    before, tempfile.tempdir = tempfile.tempdir, str(process_scratch())
    multiprocessing.util.get_temp_dir()
    tempfile.tempdir = before
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "munit_edge.trainer.data.batches"])
    return context


def _end_with_parent(worker: int) -> None:
    end_with_parent()


def _unchanged(item: Any) -> Any:
    return item
