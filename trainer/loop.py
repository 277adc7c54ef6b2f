"""A training run, from its first iteration to its last checkpoint."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from munit_edge.errors import MunitEdgeError, TrainingError
from munit_edge.images.frame_tally import FrameTally
from munit_edge.interrupts import StopRequest, stop_requests
from munit_edge.model.config import DIRECTIONS, DOMAINS, Domain, split_direction
from munit_edge.styles.codes import sample_styles
from munit_edge.trainer.checkpoint import (
    best_checkpoint,
    newest_checkpoint,
    open_checkpoint,
    record_measures,
)
from munit_edge.trainer.config import HIGHER_IS_BETTER, TrainConfig
from munit_edge.trainer.data.batches import RawBatch, TrainingBatches, draw_styles, first_images
from munit_edge.trainer.data.image_sets import ImageSet, display_images, training_images
from munit_edge.trainer.data.loader import batches_ahead
from munit_edge.trainer.distributed import Processes
from munit_edge.trainer.graphs import image_from_bytes
from munit_edge.trainer.measures import Evaluation, reconstruction_error
from munit_edge.trainer.run.folder import RunFolder
from munit_edge.trainer.run.grids import DisplayImages, translation_grid
from munit_edge.trainer.run.page import duration, seconds_left, speed_words
from munit_edge.trainer.run.record import Session
from munit_edge.trainer.run.state import RunState
from munit_edge.trainer.run.view import Progress, RunView, Speed, new_session
from munit_edge.trainer.step import Pair
from munit_edge.trainer.torch_api import Tensor, torch

MAX_SKIPPED_IN_A_ROW = 100
"""Iterations in a row that may skip an update before the run ends."""


class Display(Protocol):
    """Where a run reports its progress."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more iterations are done; `note` holds the current losses."""

    def message(self, text: str) -> None:
        """Show a message to the user."""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a run."""

    iteration: int
    """Iterations done, including those before a resume."""
    checkpoint: Path
    """The last checkpoint."""
    images_per_second: float | None
    """Images of both domains together."""
    broken_images: int
    """Files that could not be read and were skipped."""
    first_frames: str
    """A sentence about images with several frames or pages, of which the first was used; or ""."""
    flat_images: int
    """Files with only one colour, among those that were read."""
    skipped_updates: int
    """Updates that were skipped because a loss or gradient was not finite."""
    best: Path | None
    """The best checkpoint by `TrainConfig.best_by`, or None if nothing was measured."""
    stopped_by: signal.Signals | None
    """The signal that ended the run early, or None."""


class TrainingRun:
    """A run that is ready to train; call `train` once."""

    def __init__(self, config: TrainConfig, folder: RunFolder, accelerator: Any) -> None:
        self.config = config
        self.folder = folder
        self.sets = training_images(config.data)
        # Before any other exchange: processes with other settings would call others, and hang.
        self.processes = Processes(accelerator)
        self.processes.check_same("settings", str(config.model_dump(mode="json", exclude={"data"})))
        for domain, found in self.sets.items():
            self.processes.check_same(f"training images of domain {domain}", found.fingerprint)
        self.state = RunState(config, accelerator.device, accelerator)
        self._accelerator = accelerator
        self._batches = TrainingBatches(
            self.sets, config, self.processes.index, self.processes.count
        )
        display_sets = display_images(config.data, self.sets)
        self._display = {
            domain: self._shown(domain, found) for domain, found in display_sets.items()
        }
        self._display_images = {domain: shown.images for domain, shown in self._display.items()}
        evaluates = config.best_by not in (None, "reconstruction")
        # Built now: a missing file or too few images are errors before the training, not after it.
        self._evaluation = (
            Evaluation(config, display_sets, accelerator.device)
            if evaluates and self.processes.is_first
            else None
        )
        self._view = RunView(config, folder, writes=self.processes.is_first)
        self._speed = Speed(len(DOMAINS) * self.state.images_per_iteration)
        self._broken: set[str] = set()
        self._frames = FrameTally()
        self._flat: set[str] = set()
        self._skipped_in_a_row = 0
        self.held = contextlib.ExitStack()
        """Released when the run ends: the lock of its folder."""

    @property
    def device(self) -> str:
        """The device of the run, such as "cpu" or "cuda:0 (NVIDIA H100)"."""
        device = self._accelerator.device
        if device.type != "cuda":
            return str(device.type)
        return f"{device} ({torch.cuda.get_device_name(device)})"

    @property
    def remaining(self) -> int:
        """Iterations still to do."""
        return self.config.iterations - self.state.iteration

    def train(self, display: Display) -> TrainingResult:
        """Train until the last iteration, Ctrl-C or SIGTERM, and save a checkpoint.

        Raises:
            TrainingError: a loss or gradient is NaN or infinite.
            InputError: no image of a domain can be read.
            OutputError: a checkpoint or image cannot be written; earlier checkpoints stay intact.
        """
        stopped_by = None
        # From the inside out: a lost connection is named, the view records the end, signals act as
        # usual again, and the folder is unlocked last.
        showing = self._view.session(self._new_session(), self._progress, display.message)
        with self.held, stop_requests() as stop, showing, self.processes.ending_together():
            if self.state.iteration and self.processes.is_first:
                self._evaluate(display, stop)  # the last session may have been stopped before
            for raw in batches_ahead(self._batches, self.state.iteration + 1, self.config):
                losses = self._iterate(self._readable(raw, display), display)
                self._report(losses, display)
                # An exchange in every iteration: all processes stop after the same one.
                stopped_by = self.processes.agreed_signal(stop.signal)
                saving = self._due(self.config.checkpoint_interval) or stopped_by is not None
                if saving and self.processes.is_first:
                    self._save()
                    if stopped_by is None:
                        self._evaluate(display, stop)
                drawing = self._due(self.config.image_interval)
                if drawing:
                    self._draw()
                self._view.write(if_old=not saving and not drawing)
                if stopped_by is not None:
                    break
            # Exchanges too: every process makes them, whether it has noticed anything or not.
            broken = self.processes.union(self._broken)
            flat = self.processes.union(self._flat)
            self._view.end(None if stopped_by is None else stopped_by.name)
        self.processes.leave()
        return TrainingResult(
            iteration=self.state.iteration,
            checkpoint=self.folder.checkpoint(self.state.iteration),
            images_per_second=self._speed.images_per_second,
            broken_images=len(broken),
            first_frames=self._frames.notice("used") if len(self._frames) > 1 else "",
            flat_images=len(flat),
            skipped_updates=self.state.skipped_updates,
            best=self._best_checkpoint(),
            stopped_by=stopped_by,
        )

    def _shown(self, domain: Domain, found: ImageSet) -> DisplayImages:
        names, images = first_images(found, domain, self.config, self.config.num_display_images)
        return DisplayImages(names, torch.from_numpy(images).to(self._accelerator.device))

    def _due(self, interval: int) -> bool:
        """Whether work that is done every `interval` iterations is due."""
        return self.state.iteration % interval == 0 or self.remaining == 0

    def _readable(self, raw: RawBatch | MunitEdgeError, display: Display) -> RawBatch:
        """Raise a worker's error; report each image once that is broken or has only one colour."""
        if isinstance(raw, MunitEdgeError):
            if self.processes.is_first and self.state.iteration:
                self._save()  # the iterations done so far are still good
            raise raw
        for fault in raw.broken:
            if fault not in self._broken:
                self._broken.add(fault)
                display.message(f"skipped: {fault}")
        for name, frames in raw.frames.items():
            if self._frames.add(name, frames):
                display.message(self._frames.notice("used"))
        for path in raw.flat:
            if path not in self._flat:
                self._flat.add(path)
                display.message(f"{path} has only one colour: there is nothing to learn from it")
        return raw

    def _iterate(self, raw: RawBatch, display: Display) -> dict[str, float]:
        iteration = self.state.iteration + 1
        styles = self._styles(iteration, 0), self._styles(iteration, 1)
        try:
            images = Pair(*(self._on_device(raw.images[domain]) for domain in DOMAINS))
            losses = self.state.step.run(iteration, images, *styles)
        except torch.OutOfMemoryError as exc:
            raise TrainingError(
                f"{self.device} is out of memory in iteration {iteration}: lower batch_size "
                "or data.crop_height and data.crop_width, or stop other programs on the GPU "
                f"({self._last_saved()})"
            ) from exc
        # NaN in one process makes the mean NaN in all of them, so they fail together.
        values = self.processes.mean(losses)
        self._check_finite(iteration, values, display)
        # Counted only now: the record of a run that fails above names the iterations that are done.
        self.state.iteration = iteration
        self.state.update_average()
        return values

    def _on_device(self, images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        on_host = torch.from_numpy(images)
        if self._accelerator.device.type == "cuda":
            on_host = on_host.pin_memory()  # lets the copy overlap with other work
        on_device = on_host.to(self._accelerator.device, non_blocking=True)
        # Permuted bytes have the strides of channels_last, which every layer would take over.
        return image_from_bytes(on_device).contiguous()

    def _styles(self, iteration: int, update: int) -> Pair:
        """This process's share of the style codes for one of the two updates of an iteration."""
        config, size = self.config, self.config.batch_size
        count = self.state.images_per_iteration
        # Every process draws the codes of all and takes its share: an image has the same style
        # however many processes share the batch. The two updates and domains have four streams.
        share = slice(self.processes.index * size, (self.processes.index + 1) * size)
        draws = (
            draw_styles(
                config.seed, iteration, len(DOMAINS) * update + i, count, config.model.style_dim
            )
            for i in range(len(DOMAINS))
        )
        return Pair(
            *(torch.from_numpy(codes[share]).to(self._accelerator.device) for codes in draws)
        )

    def _check_finite(self, iteration: int, losses: dict[str, float], display: Display) -> None:
        """Raise if a loss is not finite, or count the updates that were skipped because of it."""
        wrong = [f"{name} is {value}" for name, value in losses.items() if not math.isfinite(value)]
        skipped = self.state.step.skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if wrong and (not skipped or self._skipped_in_a_row > MAX_SKIPPED_IN_A_ROW):
            raise TrainingError(
                f"training diverged in iteration {iteration}: {', '.join(wrong)} "
                f"({self._last_saved()}): lower optimizer.generator_lr and "
                "optimizer.discriminator_lr, or use another seed"
            )
        if not skipped:
            return
        self.state.skipped_updates += len(skipped)
        if self.processes.is_first:
            display.message(
                f"iteration {iteration}: update of the {' and the '.join(skipped)} skipped: "
                f"{', '.join(wrong)}"
            )

    def _last_saved(self) -> str:
        saved = newest_checkpoint(self.folder.path)
        return "no checkpoint was saved" if saved is None else f"last checkpoint: {saved}"

    def _report(self, losses: dict[str, float], display: Display) -> None:
        self._speed.tick()
        speed = self._speed.images_per_second
        note = f"D {losses['discriminator_total']:.3f} G {losses['generator_total']:.3f}"
        note += f" {speed_words(speed)}"
        images = self.remaining * self.state.images_per_iteration * len(DOMAINS)
        if (left := seconds_left(images, speed)) is not None:
            note += f", {duration(left)} left"
        display.advance(note=note)
        if self._due(self.config.log_interval):
            factor = self.config.optimizer.factor(self.state.iteration)
            rates = {
                "learning_rate/generators": self.config.optimizer.generator_lr * factor,
                "learning_rate/discriminators": self.config.optimizer.discriminator_lr * factor,
            }
            numbers = {_curve(name): value for name, value in losses.items()} | rates
            self._view.log(self.state.iteration, numbers)

    def _display_styles(self) -> Tensor:
        """The random styles of the grids, the same in every grid."""
        config = self.config
        codes = sample_styles(config.num_display_styles, config.model.style_dim, config.seed)
        return torch.from_numpy(codes).to(self._accelerator.device)

    def _draw(self) -> None:
        """Draw the grids; every process must take part."""
        # An exchange, so before the other processes return: the page lists what all have noticed.
        self._broken |= self.processes.union(self._broken)
        if not self.processes.is_first:
            return
        styles = self._display_styles()
        for direction in DIRECTIONS:
            source, target = split_direction(direction)
            grid = translation_grid(
                self.state.best_generators,
                self._display[source],
                self._display[target],
                styles,
                direction,
            )
            self._view.draw(self.state.iteration, direction, grid)

    def _progress(self) -> Progress:
        return Progress(
            self.state.iteration,
            self._speed.images_per_second,
            self.state.skipped_updates,
            tuple(sorted(self._broken)),
        )

    def _new_session(self) -> Session:
        counts = {domain: len(found.names) for domain, found in self.sets.items()}
        return new_session(self.device, self.processes.count, counts, self.state.iteration)

    def _save(self) -> None:
        path = self.folder.checkpoint(self.state.iteration)
        self.state.save(path, self.sets, self._reconstruction())
        self.folder.prune(self.config.keep_checkpoints, self._best_checkpoint())

    def _evaluate(self, display: Display, stop: StopRequest) -> None:
        """Measure the checkpoint of this iteration on the test set, unless a signal arrives."""
        path = self.folder.checkpoint(self.state.iteration)
        if self._evaluation is None or self.config.best_by in open_checkpoint(path).info.measures:
            return

        def check_signal() -> None:
            if stop.signal is not None:
                raise _StoppedError

        try:
            found = self._evaluation.measure(path, check_signal)
        except _StoppedError:
            return
        except MunitEdgeError as exc:
            display.message(f"checkpoint {path} could not be measured: {exc}")
            return
        self._log_measures(found.items())
        # Only finite ones: JSON has no NaN.
        record_measures(path, {name: v for name, v in found.items() if math.isfinite(v)})
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        display.message(f"iteration {self.state.iteration}: {numbers}")
        self.folder.prune(self.config.keep_checkpoints, self._best_checkpoint())

    def _reconstruction(self) -> dict[str, float]:
        """The generators' reconstruction error, if it is to be measured and is finite."""
        if self.config.best_by != "reconstruction":
            return {}
        error = reconstruction_error(
            self.state.best_generators,
            self._display_images,
            self._display_styles(),
            self.config.loss,
        )
        measures = {"reconstruction": error}
        self._log_measures(measures.items())
        return {name: value for name, value in measures.items() if math.isfinite(value)}

    def _log_measures(self, measures: Iterable[tuple[str, float]]) -> None:
        numbers = {f"measure/{name}": value for name, value in measures}
        self._view.log(self.state.iteration, numbers)

    def _best_checkpoint(self) -> Path | None:
        if self.config.best_by is None:
            return None
        by = self.config.best_by
        return best_checkpoint(self.folder.path, by, highest=by in HIGHER_IS_BETTER)


class _StoppedError(Exception):
    """A signal arrived during an evaluation."""


def _curve(loss: str) -> str:
    """The name of the curve for a value of the step."""
    role, is_norm, _ = loss.partition("_gradient_norm")
    return f"gradient_norm/{role}s" if is_norm else f"loss/{loss}"
