"""Trackers that get curves and grids in addition to the run's own files, through Accelerate.

TensorBoard's files are in the run's folder. All other trackers are third-party packages, mostly
services. One that cannot start is an error before training begins. One that fails later is reported
and dropped, because no run should end for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from munit_edge.errors import EngineError
from munit_edge.extras import require
from munit_edge.files.names import storable
from munit_edge.files.paths import utf8_name
from munit_edge.files.system_errors import output_errors
from munit_edge.images.io import Images
from munit_edge.trainer.config import TrackerName
from munit_edge.trainer.run.folder import TENSORBOARD_FOLDER

PROJECT = "munit-edge"
"""The project's name in services; a run is named after its folder."""

_PURPOSE = "training"

# The form in which each service takes an image [H, W, 3]. The others take none through Accelerate.
_IMAGE: dict[TrackerName, Callable[[Images], Any]] = {
    "aim": lambda grid: grid,
    "clearml": lambda grid: grid,
    "swanlab": lambda grid: [grid],
    "wandb": lambda grid: [grid],
}


class Trackers:
    """The trackers of the run's first process; other processes have no names."""

    def __init__(self, names: tuple[TrackerName, ...], folder: Path) -> None:
        """Check that all of `names` are installed; nothing is started yet.

        Args:
            names: the trackers.
            folder: the run's folder.

        Raises:
            MissingExtraError: TensorBoard is not installed.
            EngineError: another package is not installed.
        """
        self._folder = folder
        self._classes = {name: _tracker_class(name) for name in names}
        self._started: dict[TrackerName, Any] = {}
        self._opened = contextlib.ExitStack()
        self._report: Callable[[str], None]

    def begin(
        self, iteration: int, settings: Mapping[str, Any], report: Callable[[str], None]
    ) -> None:
        """Start the trackers, or continue after `iteration`.

        Args:
            iteration: iterations done already; TensorBoard hides what it has of later ones.
            settings: numbers and text by dotted key, for services that show them.
            report: called with messages for the user.

        Raises:
            OutputError: TensorBoard's file cannot be written.
            EngineError: a service cannot be reached, or refuses.
        """
        self._report = report
        for name, tracker_class in self._classes.items():
            if name == "tensorboard":
                with output_errors(self._folder / TENSORBOARD_FOLDER):
                    purge = {"purge_step": iteration + 1} if iteration else {}
                    folder = self._opened.enter_context(utf8_name(self._folder))
                    tracker = _started(tracker_class, TENSORBOARD_FOLDER, folder, **purge)
            else:
                tracker = self._start_service(name, tracker_class, settings)
            self._started[name] = tracker

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Pass on the values of an iteration.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._started.items()):
            with self._guarded(name):
                tracker.log(dict(values), step=iteration)

    def log_image(self, iteration: int, title: str, pixels: Images) -> None:
        """Pass on an image, uint8 [H, W, 3], to the trackers that take images.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._started.items()):
            with self._guarded(name):
                if name == "tensorboard":
                    shown = {title: pixels[None]}
                    tracker.log_images(shown, step=iteration, dataformats="NHWC")
                elif name in _IMAGE:
                    tracker.log_images({title: _IMAGE[name](pixels)}, step=iteration)

    def end(self) -> None:
        """Flush and close all trackers.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._started.items()):
            del self._started[name]
            with self._guarded(name):
                tracker.finish()
        self._opened.close()

    def _start_service(self, name: TrackerName, tracker_class: Any, settings: Any) -> Any:
        # realpath: the run's name for `.` or a link is that of the folder itself.
        run, folder = storable(Path(os.path.realpath(self._folder)).name), str(self._folder)
        options: dict[TrackerName, dict[str, Any]] = {
            "clearml": {"task_name": run},
            "dvclive": {"dir": str(self._folder / "dvclive")},
            "mlflow": {"run_name": run},
            "swanlab": {"experiment_name": run, "logdir": str(self._folder / "swanlab")},
            "trackio": {"name": run},
            "wandb": {"name": run, "dir": folder},
        }
        places = [folder] if tracker_class.requires_logging_directory else []
        try:
            tracker = _started(tracker_class, PROJECT, *places, **options.get(name, {}))
            tracker.store_init_configuration(dict(settings))
        except Exception as exc:  # each service has its own exceptions
            raise EngineError(
                f"the tracker '{name}' cannot start ({_first_line(exc)}): set it up as its "
                "documentation says, or remove it from `trackers`"
            ) from exc
        return tracker

    @contextlib.contextmanager
    def _guarded(self, name: TrackerName) -> Iterator[None]:
        """Within the block, an error of a service is reported, and the service dropped."""
        if name == "tensorboard":
            with output_errors(self._folder / TENSORBOARD_FOLDER):
                yield
            return
        try:
            yield
        except Exception as exc:  # each service has its own exceptions
            self._started.pop(name, None)
            self._report(f"the tracker '{name}' failed and gets no more values: {_first_line(exc)}")


def _tracker_class(name: TrackerName) -> Any:
    """Accelerate's class for a tracker whose package is installed."""
    known = require("accelerate.tracking", _PURPOSE).LOGGER_TYPE_TO_CLASS
    if name == "tensorboard":
        require("tensorboard", _PURPOSE)
    elif importlib.util.find_spec(name) is None:
        raise EngineError(
            f"`trackers` names '{name}', which is not installed: run `pip install {name}`, or "
            "remove it from `trackers`"
        )
    if name not in known:
        raise EngineError(
            f"this version of Accelerate does not support the tracker '{name}': run `pip install "
            "--upgrade accelerate`, or remove it from `trackers`"
        )
    return known[name]


def _started(tracker_class: Any, *places: str, **options: Any) -> Any:
    tracker = tracker_class(*places, **options)
    if hasattr(tracker, "start"):  # earlier versions of Accelerate start in the constructor
        tracker.start()
    return tracker


def _first_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
