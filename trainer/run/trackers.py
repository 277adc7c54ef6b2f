"""Where curves and grids go besides the run's own files: Accelerate's trackers, by name.

TensorBoard's files lie in the run's folder. All others are packages, and mostly services, of other
people: one that cannot begin is an error before anything is trained, and one that fails later is
told and left out, since no run should end because of it.
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
"""What services call the project; a run is called like its folder."""

_PURPOSE = "training"

# How each of them takes a picture [H, W, 3]; the others take none through Accelerate.
_PICTURE: dict[TrackerName, Callable[[Images], Any]] = {
    "aim": lambda grid: grid,
    "clearml": lambda grid: grid,
    "swanlab": lambda grid: [grid],
    "wandb": lambda grid: [grid],
}


class Trackers:
    """The trackers of one process: the run's first, or the names are empty."""

    def __init__(self, names: tuple[TrackerName, ...], folder: Path) -> None:
        """Look whether all of `names` can be had; nothing is begun yet.

        Args:
            names: which.
            folder: the run's.

        Raises:
            MissingExtraError: TensorBoard is not installed.
            EngineError: another package is not installed.
        """
        self._folder = folder
        self._classes = {name: _tracker_class(name) for name in names}
        self._begun: dict[TrackerName, Any] = {}
        self._opened = contextlib.ExitStack()
        self._tell: Callable[[str], None] = _say_nothing

    def begin(
        self, iteration: int, settings: Mapping[str, Any], tell: Callable[[str], None]
    ) -> None:
        """Begin, or go on after `iteration`.

        Args:
            iteration: done already; what TensorBoard has of later ones is not shown any more.
            settings: numbers and words by dotted key, for services that show them.
            tell: is called with what the user should read.

        Raises:
            OutputError: TensorBoard's file cannot be written.
            EngineError: a service cannot be reached, or refuses.
        """
        self._tell = tell
        for name, tracker_class in self._classes.items():
            if name == "tensorboard":
                with output_errors(self._curves):
                    purge = {"purge_step": iteration + 1} if iteration else {}
                    folder = self._opened.enter_context(utf8_name(self._folder))
                    self._begun[name] = _begun(tracker_class, TENSORBOARD_FOLDER, folder, **purge)
                continue
            try:
                self._begun[name] = self._begin_service(name, tracker_class, settings)
            except Exception as exc:  # a service has errors of its own
                raise EngineError(
                    f"the tracker '{name}' cannot begin ({_first_line(exc)}): set it up as its "
                    f"maker says, or take it out of `trackers`"
                ) from exc

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Hand over the numbers of an iteration.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._begun.items()):
            with self._guarded(name):
                tracker.log(dict(values), step=iteration)

    def log_picture(self, iteration: int, title: str, pixels: Images) -> None:
        """Hand over a picture, uint8 [H, W, 3], to those that take pictures.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._begun.items()):
            with self._guarded(name):
                if name == "tensorboard":
                    shown = {title: pixels[None]}
                    tracker.log_images(shown, step=iteration, dataformats="NHWC")
                elif name in _PICTURE:
                    tracker.log_images({title: _PICTURE[name](pixels)}, step=iteration)

    def end(self) -> None:
        """Write what is not written yet, and close all of them.

        Raises:
            OutputError: TensorBoard's file cannot be written.
        """
        for name, tracker in list(self._begun.items()):
            del self._begun[name]
            with self._guarded(name):
                tracker.finish()
        self._opened.close()

    @property
    def _curves(self) -> Path:
        return self._folder / TENSORBOARD_FOLDER

    def _begin_service(self, name: TrackerName, tracker_class: Any, settings: Any) -> Any:
        run = storable(Path(os.path.realpath(self._folder)).name)
        options: dict[TrackerName, dict[str, Any]] = {
            "clearml": {"task_name": run},
            "dvclive": {"dir": str(self._folder / "dvclive")},
            "mlflow": {"run_name": run},
            "swanlab": {"experiment_name": run, "logdir": str(self._folder / "swanlab")},
            "trackio": {"name": run},
            "wandb": {"name": run, "dir": str(self._folder)},
        }
        places = [str(self._folder)] if tracker_class.requires_logging_directory else []
        tracker = _begun(tracker_class, PROJECT, *places, **options.get(name, {}))
        tracker.store_init_configuration(dict(settings))
        return tracker

    @contextlib.contextmanager
    def _guarded(self, name: TrackerName) -> Iterator[None]:
        """An error of a service is told, and the service left out from now on."""
        if name == "tensorboard":
            with output_errors(self._curves):
                yield
            return
        try:
            yield
        except Exception as exc:  # as above
            self._begun.pop(name, None)
            self._tell(f"the tracker '{name}' gets no more numbers: {_first_line(exc)}")


def _tracker_class(name: TrackerName) -> Any:
    """Accelerate's class for a tracker whose package is installed."""
    known = require("accelerate.tracking", _PURPOSE).LOGGER_TYPE_TO_CLASS
    if name == "tensorboard":
        require("tensorboard", _PURPOSE)
    elif importlib.util.find_spec(name) is None:
        raise EngineError(
            f"`trackers` names '{name}', which is not installed: run `pip install {name}`, or take "
            "it out of `trackers`"
        )
    if name not in known:
        raise EngineError(
            f"this release of Accelerate does not know the tracker '{name}': run `pip install "
            "--upgrade accelerate`, or take it out of `trackers`"
        )
    return known[name]


def _begun(tracker_class: Any, *places: str, **options: Any) -> Any:
    tracker = tracker_class(*places, **options)
    if hasattr(tracker, "start"):  # earlier releases of Accelerate begin when they are made
        tracker.start()
    return tracker


def _first_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]


def _say_nothing(text: str) -> None:
    pass
