"""The folder of a training run, and whether a run may start or continue in it.

RUN/
  train.yaml       the run's configuration (`TrainConfig`)
  checkpoints/     <iteration, 8 digits>/: the newest and the best (`munit_edge.trainer.checkpoint`)
  images/          <iteration, 8 digits>_<direction>.png: image grids
  tensorboard/     curves and image grids
  curves.jsonl     every logged value (`munit_edge.trainer.run.curves`)
  run.json         the history of the run (`munit_edge.trainer.run.record`)
  index.html       the page of the run (`munit_edge.trainer.run.page`)
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munit_edge.errors import ConfigError, InputError, MunitEdgeError, OutputError
from munit_edge.files.atomic import atomic_file
from munit_edge.files.held_locks import HIDDEN_PREFIX
from munit_edge.files.paths import exists, is_file, is_folder
from munit_edge.files.replacing import holds
from munit_edge.files.system_errors import input_errors, output_errors
from munit_edge.files.unfinished import PARTIAL_PREFIX, remove_folder, sweep
from munit_edge.model.config import DIRECTIONS
from munit_edge.trainer.checkpoint import CHECKPOINT_FILES, CHECKPOINTS_FOLDER, saved_checkpoints
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.config_files import dump_train_config, read_train_config
from munit_edge.trainer.run.record import read_record

CONFIG_FILE = "train.yaml"
IMAGES_FOLDER = "images"
TENSORBOARD_FOLDER = "tensorboard"
CURVE_FILE = "curves.jsonl"
RECORD_FILE = "run.json"
PAGE_FILE = "index.html"

MAY_CHANGE = (
    "iterations",
    "batch_size",
    "log_interval",
    "image_interval",
    "num_display_images",
    "num_display_styles",
    "checkpoint_interval",
    "keep_checkpoints",
    "best_by",
    "evaluation",
    "trackers",
    "on_non_finite",
    "data.root",
    "data.train_a",
    "data.train_b",
    "data.test_a",
    "data.test_b",
    "data.workers",
    "data.cache",
    "loss.perceptual_file",
    "speed.compile",
    "speed.channels_last",
)
"""Keys that a resumed run may change: the steps stay the same up to rounding. Images and the file
of the perceptual loss may move, but the training state records the images' names and the hash of
the weights. `batch_size` may be split over more or fewer processes; the training state records the
product."""


_WRITTEN = re.compile(
    rf"{CHECKPOINTS_FOLDER}/(\d{{8}}|{re.escape(PARTIAL_PREFIX)}[^/]*)/"
    rf"({'|'.join(map(re.escape, sorted(CHECKPOINT_FILES)))})"
    rf"|{IMAGES_FOLDER}/\d{{8}}_[^/]+\.png"
    rf"|{TENSORBOARD_FOLDER}/(.+/)?(events\.out\.tfevents\.[^/]+|hparams\.yml)"
)
"""Files that runs write in these folders."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration of the run."""
        return self.path / CONFIG_FILE

    @property
    def curve_file(self) -> Path:
        """Every logged value."""
        return self.path / CURVE_FILE

    @property
    def record_file(self) -> Path:
        """The history of the run."""
        return self.path / RECORD_FILE

    @property
    def page(self) -> Path:
        """The page of the run."""
        return self.path / PAGE_FILE

    def checkpoint(self, iteration: int) -> Path:
        """The folder of the checkpoint after `iteration`."""
        return self.path / CHECKPOINTS_FOLDER / f"{iteration:08d}"

    def grid(self, iteration: int, name: str) -> Path:
        """The file of an image grid drawn after `iteration`."""
        return self.path / IMAGES_FOLDER / f"{iteration:08d}_{name}.png"

    def drawn(self, up_to: int) -> list[int]:
        """Iterations up to `up_to` with grids for both directions, the newest last.

        Later grids are from a session that was killed after its last checkpoint.
        """
        names = {path.name for path in (self.path / IMAGES_FOLDER).glob("*.png")}
        found = {int(name.partition("_")[0]) for name in names if re.match(r"\d{8,}_", name)}
        return sorted(
            i
            for i in found
            if i <= up_to and all(self.grid(i, d).name in names for d in DIRECTIONS)
        )

    def check_free(self, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
        """Check that a new run may start here.

        Args:
            overwrite: whether an earlier run may be replaced.
            inputs: what the new run reads; it must not be in the earlier run.

        Raises:
            OutputError: the folder holds a run and `overwrite` is false, or other files, or an
                input.
        """
        if self._is_run():
            if overwrite:
                self._check_removable(inputs)
            else:
                raise OutputError(
                    f"{self.path} already holds a training run: pass --resume to continue it, "
                    "--overwrite to replace it, or name another folder"
                )
        elif exists(self.path) and not self._is_empty():
            raise OutputError(
                f"{self.path} exists and is not a training run: name a new or empty folder"
            )

    def _is_empty(self) -> bool:
        """Whether the folder exists and holds only locks and leftovers of a killed run."""
        with input_errors(self.path):
            return is_folder(self.path) and all(
                entry.name.startswith(HIDDEN_PREFIX) for entry in self.path.iterdir()
            )

    def _is_run(self) -> bool:
        """Whether `munit-edge train` has started a run here; a train.yaml alone may be a user's."""
        if not is_file(self.config_file):
            return False
        # Written by a run: normalised, so that reading and writing it changes nothing.
        with contextlib.suppress(MunitEdgeError, OSError, ValueError):
            text = self.config_file.read_text(encoding="utf-8")
            if text == dump_train_config(read_train_config(self.config_file)):
                return True
        with contextlib.suppress(MunitEdgeError, OSError):
            if read_record(self.record_file).sessions:
                return True
        # The record is missing, and another version wrote the configuration or a user edited it.
        return bool(saved_checkpoints(self.path))

    def _check_removable(self, inputs: Iterable[Path]) -> None:
        for path in (*self._files, *self._folders):
            if path.is_symlink():
                raise OutputError(
                    f"{path} is a link, which --overwrite does not follow: remove it, or name "
                    "another folder"
                )
            given = next((given for given in inputs if holds(path, given)), None)
            if given is not None:
                raise OutputError(
                    f"{given} is an input and belongs to the run that --overwrite would remove: "
                    "name another folder, or copy it elsewhere first"
                )

    def check_is_run(self) -> None:
        """Check that there is a run here.

        Raises:
            InputError: there is none.
        """
        if not self._is_run():
            raise InputError(
                f"{self.path} holds no training run: name a folder that `munit-edge train` made"
            )

    def check_resumable(self, config: TrainConfig) -> None:
        """Check that the run here may continue with `config`.

        Raises:
            InputError: there is no run here.
            ConfigError: `config` differs from the run's in a key that must not change.
        """
        if not self._is_run():
            raise InputError(f"{self.path} holds no training run to resume: omit --resume")
        changed = differing_keys(read_train_config(self.config_file), config)
        if forbidden := [text for key, text in changed.items() if key not in MAY_CHANGE]:
            raise ConfigError(
                f"the run in {self.path} was started with other settings: {'; '.join(forbidden)}. "
                f"Resume with {self.config_file}, or start a new run in another folder"
            )

    def begin(self, config: TrainConfig, *, replace: bool) -> None:
        """Write the configuration; with `replace`, delete an earlier run first.

        Raises:
            OutputError: the folder cannot be written.
        """
        with output_errors(self.path):
            if replace:
                self._remove_run()
            # What a killed run left half-written.
            for folder in (CHECKPOINTS_FOLDER, IMAGES_FOLDER):
                sweep(self.path / folder)
        with atomic_file(self.config_file) as partial:
            partial.write_text(dump_train_config(config), encoding="utf-8")

    def prune(self, keep: int, best: Path | None = None) -> None:
        """Delete all checkpoints except the newest `keep` and `best`."""
        # `keep` is at least 1: [:-0] would be no checkpoint instead of all.
        for path in saved_checkpoints(self.path)[:-keep]:
            if path != best:
                with output_errors(path):
                    remove_folder(path)

    @property
    def _files(self) -> tuple[Path, ...]:
        return self.config_file, self.curve_file, self.record_file, self.page

    @property
    def _folders(self) -> tuple[Path, ...]:
        names = (CHECKPOINTS_FOLDER, IMAGES_FOLDER, TENSORBOARD_FOLDER)
        return tuple(self.path / name for name in names)

    def _remove_run(self) -> None:
        """Delete the files that runs write, and nothing else.

        The configuration stays until the new one replaces it: it marks the folder as a run.
        """
        for file in self._files:
            if file != self.config_file:
                file.unlink(missing_ok=True)
        # Bottom up: a folder is empty only after its subfolders are gone.
        for top in self._folders:
            for folder, _, files in os.walk(top, topdown=False):
                for file in (Path(folder, name) for name in files):
                    if _WRITTEN.fullmatch(file.relative_to(self.path).as_posix()):
                        file.unlink()
                with contextlib.suppress(OSError):  # it holds the user's files
                    Path(folder).rmdir()


def differing_keys(old: TrainConfig, new: TrainConfig) -> dict[str, str]:
    """The differences between two configurations: dotted key -> "key was X and is Y"."""
    before, after = (_flat(config.model_dump(mode="json")) for config in (old, new))
    return {
        key: f"{key} was {before.get(key)!r} and is {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """A configuration by dotted key, as numbers, text and booleans; "" for null."""
    flat = _flat(config.model_dump(mode="json"))
    simple = (bool, int, float, str)
    return {
        key: value if isinstance(value, simple) else "" if value is None else str(value)
        for key, value in flat.items()
    }


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; sources of images stay nested."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        name = prefix + key
        # A key that may change as a whole is compared as a whole.
        if isinstance(value, Mapping) and name not in MAY_CHANGE:
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat
