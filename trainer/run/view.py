"""The output of a run for its user: values, grids, the record, and the page made of them."""

from __future__ import annotations

import contextlib
import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from munit_edge.errors import OutputError
from munit_edge.files.names import storable
from munit_edge.images.io import ImageData, Images, on_white, write_image
from munit_edge.model.config import Domain
from munit_edge.system.limits import usable_cores
from munit_edge.system.machine import processor_name
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.run.curves import CurveFile
from munit_edge.trainer.run.folder import RunFolder, flat_settings
from munit_edge.trainer.run.page import Snapshot, write_page
from munit_edge.trainer.run.record import (
    RunRecord,
    Session,
    SessionState,
    read_record,
    write_record,
)
from munit_edge.trainer.run.trackers import Trackers
from munit_edge.trainer.torch_api import torch
from munit_edge.version import __version__

PAGE_INTERVAL_S = 60.0
"""Seconds after which new values alone update the page."""

_SPEED_OVER = 100
"""Iterations over which the speed is measured."""


class Speed:
    """The speed of the last iterations, including the time between them."""

    def __init__(self, images: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: `images` per iteration; `clock` in seconds."""
        self._images = images
        self._clock = clock
        self._times = deque([clock()], maxlen=_SPEED_OVER + 1)

    def tick(self) -> None:
        """An iteration is done."""
        self._times.append(self._clock())

    @property
    def images_per_second(self) -> float | None:
        """None before the first iteration."""
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) * self._images / seconds if seconds else None


class Progress(NamedTuple):
    """The progress of a run."""

    iteration: int
    """Iterations done."""
    images_per_second: float | None
    """Recent speed; None: no iteration was done."""
    skipped_updates: int
    """Updates skipped because a loss or gradient was not finite."""
    broken_images: tuple[str, ...]
    """The faults of files that could not be read in this session."""


class RunView:
    """The output of a run's first process for its user; other processes write nothing.

    Every method raises `OutputError` if its file cannot be written.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, *, writes: bool) -> None:
        """Check that the trackers are installed; nothing is written.

        Args:
            config: the run's configuration.
            folder: the run's folder.
            writes: whether this is the first process.

        Raises:
            MissingExtraError: TensorBoard is not installed.
            EngineError: another tracker is not installed.
        """
        self._config = config
        self._folder = folder
        self._writes = writes
        self._trackers = Trackers(config.trackers if writes else (), folder.path)
        self._written = 0.0
        self._record: RunRecord
        self._numbers: CurveFile
        self._progress: Callable[[], Progress]

    @contextlib.contextmanager
    def session(
        self, session: Session, progress: Callable[[], Progress], report: Callable[[str], None]
    ) -> Iterator[None]:
        """Within the block, keep the record and page up to date; record the error that ends it.

        Args:
            session: the new session.
            progress: returns the current progress.
            report: called with messages for the user.

        Raises:
            EngineError: a tracker cannot start.
            ModelError: the record of earlier sessions is damaged.
        """
        if not self._writes:
            yield
            return
        self._progress = progress
        self._record = read_record(self._folder.record_file).begun(session)
        self._numbers = CurveFile(self._folder.curve_file, session.first_iteration)
        try:
            self._trackers.begin(session.first_iteration, flat_settings(self._config), report)
            self.write()
            yield
        except BaseException as exc:
            # The error that ends the session is reported, not those that it causes here.
            with contextlib.suppress(OutputError):
                self._write_ended("failed", storable(str(exc)) or type(exc).__name__)
            with contextlib.suppress(OutputError):
                self._trackers.end()
            raise
        self._trackers.end()

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration to the curves."""
        if self._writes:
            self._trackers.log(iteration, values)
            self._numbers.add(iteration, values)

    def draw(self, iteration: int, name: str, grid: Images) -> None:
        """Write a grid, uint8 [H, W, 4], and pass it on to the trackers."""
        if self._writes:
            write_image(self._folder.grid(iteration, name), ImageData(grid))
            self._trackers.log_image(iteration, name, on_white(grid[..., :3], grid[..., 3]))

    def write(self, *, if_old: bool = False) -> None:
        """Update the record and the page.

        Args:
            if_old: only if they are older than `PAGE_INTERVAL_S`.
        """
        if not self._writes or (if_old and time.monotonic() - self._written < PAGE_INTERVAL_S):
            return
        done = self._progress()
        latest = {
            "iteration": done.iteration,
            "images_per_second": done.images_per_second,
            "updated": time.time(),
        }
        # Those of earlier sessions first, each once.
        broken = dict.fromkeys((*self._record.broken_images, *done.broken_images))
        self._record = self._record.with_latest(latest).model_copy(
            update={"skipped_updates": done.skipped_updates, "broken_images": tuple(broken)}
        )
        # The record first: the page is made from it and can be regenerated.
        write_record(self._folder.record_file, self._record)
        write_page(Snapshot(self._folder, self._config, self._record, self._numbers.curves))
        self._written = time.monotonic()

    def end(self, signal_name: str | None) -> None:
        """Record the end of the session: by a signal, or with all iterations done."""
        if self._writes:
            self._write_ended("finished" if signal_name is None else "stopped", signal_name or "")

    def _write_ended(self, state: SessionState, note: str) -> None:
        self._record = self._record.with_latest({"state": state, "note": note})
        self.write()


def new_session(
    device: str, processes: int, images: Mapping[Domain, int], iteration: int
) -> Session:
    """A session that starts now, on this machine."""
    now = time.time()
    return Session(
        device=device,
        processes=processes,
        machine=f"{processor_name()}, {usable_cores()} cores",
        software=(
            f"munit-edge {__version__}, torch {torch.__version__}, "
            f"Python {platform.python_version()}"
        ),
        images=dict(images),
        started=now,
        updated=now,
        first_iteration=iteration,
        iteration=iteration,
    )
