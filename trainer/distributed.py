"""Distributed training: the processes that torchrun or accelerate launch start for one model.

All processes run the same iterations, each on its own images, and average their gradients. Anything
that only one of them notices (a signal, a broken image) is agreed on here: a process that diverges
from the others would leave them waiting.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Set
from typing import Any

from munit_edge.errors import ConfigError, TrainingError
from munit_edge.extras import require
from munit_edge.interrupts import SIGNALS
from munit_edge.trainer.step import Losses
from munit_edge.trainer.torch_api import torch

_KEPT: list[object] = []
"""Process groups that were left. They are never freed: see `Processes.leave`."""


class Processes:
    """The processes of a run, often only this one.

    Every method must be called by all processes, in the same order.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.index: int = accelerator.process_index
        """Rank of this process, from 0."""
        self.count: int = accelerator.num_processes
        """Number of processes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes to the disk and the terminal."""
        return self.index == 0

    def mean(self, losses: Losses) -> dict[str, float]:
        """The mean of each value over all processes; not finite if one of its values is not."""
        total = self._accelerator.reduce(torch.stack(list(losses.values())), "sum")
        return dict(zip(losses, (total / self.count).tolist(), strict=True))

    def agreed_signal(self, number: signal.Signals | None) -> signal.Signals | None:
        """A signal that any process received, or None."""
        if self.count == 1:
            return number
        # One place for each signal: a sum shows all that arrived, and the first in order is chosen.
        got = torch.tensor([number is each for each in SIGNALS], dtype=torch.int32)
        total = self._accelerator.reduce(got.to(self._accelerator.device), "sum").tolist()
        return next((each for each, times in zip(SIGNALS, total, strict=True) if times), None)

    def union(self, items: Set[str]) -> set[str]:
        """The union of the processes' sets."""
        return set(require("accelerate", "training").utils.gather_object(sorted(items)))

    def check_same(self, what: str, value: str) -> None:
        """Check that all processes have the same `value`.

        Raises:
            ConfigError: they differ; the message calls the value `what`.
        """
        if len(self.union({value})) > 1:
            raise ConfigError(
                f"the {self.count} processes of this run have different {what}: start all of them "
                "with the same command, and give every machine the same files"
            )

    def leave(self) -> None:
        """Wait for the other processes and disconnect from them; the last call of a run.

        Raises:
            TrainingError: another process has died.
        """
        # The group must outlive all its other owners, such as DDP's reducer. The last owner to free
        # it waits for the group's threads, possibly while holding the GIL, and a thread may need
        # the GIL to free the tensors of the last exchange: a deadlock.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            group = torch.distributed.group.WORLD
            assert group is not None
            _KEPT.append((group, group._get_backend(self._accelerator.device)))
        # Together, since a process that still writes needs the others' connections.
        with self.ending_together():
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block, the end of another process raises `TrainingError` in this one."""
        try:
            yield
        except RuntimeError as exc:
            if self.count == 1 or not _is_lost_connection(exc):
                raise
            raise TrainingError(
                "another process of this run has ended or cannot be reached "
                f"({str(exc).strip().partition(chr(10))[0]}), so this one ends too: see the "
                "other's message; the last checkpoint is intact, continue with --resume"
            ) from exc


def _is_lost_connection(exc: RuntimeError) -> bool:
    """Whether torch reports a lost connection: with gloo there is no exception class for it."""
    is_named = isinstance(exc, torch.distributed.DistError)
    return is_named or any(word in str(exc) for word in ("gloo", "NCCL", "Connection"))
