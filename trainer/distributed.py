"""Several processes that train one model together, as torchrun and accelerate launch start them.

All of them do the same iterations on images of their own, and gradients are averaged. Whatever one
of them may find alone (a signal, a broken picture) is agreed here, since a process that goes its
own way leaves the others waiting.
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
"""Groups of processes that were left. They are never freed: see `Processes.leave`."""


class Processes:
    """The processes of a run, often this one alone.

    Every method has to be called by all of them, in the same order.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.index: int = accelerator.process_index
        """Number of this one, from 0."""
        self.count: int = accelerator.num_processes
        """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes, on disk and terminal."""
        return self.index == 0

    def mean(self, losses: Losses) -> dict[str, float]:
        """The mean of each number; not finite everywhere when it is so in one process."""
        total = self._accelerator.reduce(torch.stack(list(losses.values())), "sum")
        return dict(zip(losses, (total / self.count).tolist(), strict=True))

    def agreed_signal(self, number: signal.Signals | None) -> signal.Signals | None:
        """A signal that one of them got, or None."""
        if self.count == 1:
            return number
        got = torch.tensor([number is each for each in SIGNALS], dtype=torch.int32)
        total = self._accelerator.reduce(got.to(self._accelerator.device), "sum").tolist()
        return next((each for each, times in zip(SIGNALS, total, strict=True) if times), None)

    def union(self, items: Set[str]) -> set[str]:
        """What any of them has."""
        return set(require("accelerate", "training").utils.gather_object(sorted(items)))

    def check_same(self, what: str, value: str) -> None:
        """Check that all have the same `value`.

        Raises:
            ConfigError: they have not; `what` says what it is.
        """
        if len(self.union({value})) > 1:
            raise ConfigError(
                f"the {self.count} processes of this run do not all have the same {what}: start "
                "them with the same command, and give every machine the same files"
            )

    def leave(self) -> None:
        """Be the last call of a run: wait for the others and give up the connection to them.

        Raises:
            TrainingError: another process has died meanwhile.
        """
        # The group must outlive every other holder, such as DDP's reducer: whoever frees it last
        # waits for its threads, perhaps with the interpreter's lock held, and a thread may want
        # that lock to free the tensors of the last exchange. Neither then ever goes on.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            group = torch.distributed.group.WORLD
            assert group is not None
            _KEPT.append((group, group._get_backend(self._accelerator.device)))
        # Together, since a process that still writes would lose the others' connections.
        with self.ending_together():
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block the end of another process is a `TrainingError` of this one."""
        try:
            yield
        except RuntimeError as exc:
            if self.count == 1 or not _is_lost_connection(exc):
                raise
            raise TrainingError(
                "another process of this run has ended or is out of reach "
                f"({str(exc).strip().partition(chr(10))[0]}), so this one ends too: see the "
                "message of that one; the last checkpoint is whole, go on with --resume"
            ) from exc


def _is_lost_connection(exc: RuntimeError) -> bool:
    """Whether torch says so: it has no class of its own for it with gloo."""
    is_named = isinstance(exc, torch.distributed.DistError)
    return is_named or any(word in str(exc) for word in ("gloo", "NCCL", "Connection"))
