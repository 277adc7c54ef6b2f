"""Checkpoints: folders of safetensors, YAML and JSON; nothing in them is ever unpickled.

    checkpoint.json             what it is: format version, iteration, origin (`CheckpointInfo`)
    model.yaml                  the model's configuration (`ModelConfig`)
    generators.safetensors      live weights, keys `a.` and `b.`, spectral norm unfolded
    average.safetensors         EMA of the generators, spectral norm folded in (optional)
    discriminators.safetensors  (optional)
    training.safetensors        tensors of optimisers and random states (optional)
    training.json               the rest of the training state (optional)

A run folder keeps its checkpoints in `checkpoints/<iteration>/`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from munit_edge.errors import ConfigError, InputError, ModelError
from munit_edge.extras import require
from munit_edge.files.atomic import BeforeReplacing, atomic_file, atomic_folder, sha256
from munit_edge.files.paths import exists, is_file, is_folder, utf8_name
from munit_edge.files.plain_data import read_json, shown
from munit_edge.files.replacing import FolderKind
from munit_edge.files.unfinished import PARTIAL_PREFIX
from munit_edge.files.yaml_data import dump_yaml, read_yaml
from munit_edge.model.config import DOMAINS, ModelConfig
from munit_edge.settings import StrictModel, validate
from munit_edge.trainer.networks import Generator, build_discriminator, fold_spectral_norm
from munit_edge.trainer.torch_api import Tensor, nn, parametrize

FORMAT_VERSION: Literal[1] = 1
CHECKPOINTS_FOLDER = "checkpoints"

INFO_FILE = "checkpoint.json"
CONFIG_FILE = "model.yaml"
GENERATORS_FILE = "generators.safetensors"
AVERAGE_FILE = "average.safetensors"
DISCRIMINATORS_FILE = "discriminators.safetensors"
TRAINING_TENSORS_FILE = "training.safetensors"
TRAINING_VALUES_FILE = "training.json"

MAX_LISTED = 20
"""Tensors that a message lists; the rest are counted."""

Weights = Literal["average", "live"]

_WEIGHTS_ONLY = frozenset(
    [INFO_FILE, CONFIG_FILE, GENERATORS_FILE, AVERAGE_FILE, DISCRIMINATORS_FILE]
)
CHECKPOINT_FILES = _WEIGHTS_ONLY | {TRAINING_TENSORS_FILE, TRAINING_VALUES_FILE}
"""All file names that a checkpoint may hold."""
CONVERTED_CHECKPOINT = FolderKind(
    name="converted checkpoint",
    marker=INFO_FILE,
    keys=frozenset(["format_version", "origin"]),
    files=lambda data: _WEIGHTS_ONLY,
)
"""A checkpoint without training state: a conversion never replaces a run's checkpoint."""
RUN_CHECKPOINT = FolderKind(
    name="checkpoint",
    marker=INFO_FILE,
    keys=CONVERTED_CHECKPOINT.keys,
    files=lambda data: CHECKPOINT_FILES,
    carries_others=True,
)
"""A checkpoint of a run, which a resumed run may write again."""


class CheckpointInfo(StrictModel):
    """The contents of `checkpoint.json`."""

    format_version: Literal[1] = FORMAT_VERSION
    """Version of this layout."""
    iteration: int = 0
    """Optimiser steps taken."""
    origin: str = "munit-edge"
    """Program that trained the weights."""
    licence_note: str | None = None
    """Licence terms of converted weights; copied into every export."""
    measures: dict[str, float] = Field(default_factory=dict)
    """Measures of its quality, by the names of `TrainConfig.best_by`."""


@dataclass
class TrainingState:
    """What resuming needs in addition to the weights; the training loop defines its contents."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    """Plain JSON data."""


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint folder; weights are read on demand."""

    path: Path
    info: CheckpointInfo
    config: ModelConfig

    @property
    def has_average(self) -> bool:
        """Whether it holds an EMA of the generators."""
        return (self.path / AVERAGE_FILE).is_file()

    @property
    def has_discriminators(self) -> bool:
        """Whether it holds the discriminators."""
        return (self.path / DISCRIMINATORS_FILE).is_file()

    @property
    def has_training_state(self) -> bool:
        """Whether training can be resumed from here."""
        return (self.path / TRAINING_VALUES_FILE).is_file()

    def generators(self, weights: Weights | None = None) -> nn.ModuleDict:
        """Both generators, keys `a` and `b`, in eval mode with spectral norm folded in.

        Args:
            weights: which weights; None: the EMA if there is one, else the live weights.

        Raises:
            ModelError: there is no EMA, or a file does not fit.
        """
        if weights is None:
            weights = "average" if self.has_average else "live"
        if weights == "average" and not self.has_average:
            raise ModelError(f"{self.path} has no EMA of the weights: use --weights live")
        networks = build_generators(self.config)
        # The EMA is stored folded, under plain names, so the networks are folded before it is read;
        # live weights need the singular vectors that were stored with them, and are folded after.
        if weights == "average":
            fold_spectral_norm(networks)
            self._load(networks, AVERAGE_FILE)
        else:
            self._load(networks, GENERATORS_FILE)
            fold_spectral_norm(networks)
        return networks.eval().requires_grad_(False)

    def load_live_generators(self, networks: nn.ModuleDict) -> None:
        """Copy the live generator weights into `networks` (made by `build_generators`)."""
        self._load(networks, GENERATORS_FILE)

    def load_average(self, networks: nn.ModuleDict) -> None:
        """Copy the EMA into `networks`, whose spectral norm is folded."""
        self._load(networks, AVERAGE_FILE)

    def load_discriminators(self, networks: nn.ModuleDict) -> None:
        """Copy the discriminator weights into `networks` (made by `build_discriminators`)."""
        self._load(networks, DISCRIMINATORS_FILE)

    def training_state(self) -> TrainingState:
        """What the training loop saved for resuming.

        Raises:
            ModelError: there is none, as in a converted checkpoint.
        """
        if not self.has_training_state:
            raise ModelError(
                f"{self.path} holds only weights and cannot be resumed: start a new run"
            )
        values = _read_values(self.path / TRAINING_VALUES_FILE)
        return TrainingState(_read_tensors(self.path / TRAINING_TENSORS_FILE), values)

    def weights_sha256(self, weights: Weights | None = None) -> str:
        """Hash of the configuration and the weights file that `generators(weights)` reads."""
        average = self.has_average if weights is None else weights == "average"
        files = [
            self.path / CONFIG_FILE,
            self.path / (AVERAGE_FILE if average else GENERATORS_FILE),
        ]
        return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()

    def _load(self, networks: nn.ModuleDict, file: str) -> None:
        tensors = _read_tensors(self.path / file)
        if bad := not_finite(tensors):
            raise ModelError(
                f"{self.path / file} holds values that are not finite in {len(bad)} of "
                f"{len(tensors)} tensors ({listed(bad)}): the training had diverged; use an "
                "earlier checkpoint"
            )
        load_weights(networks, tensors, str(self.path / file))


def build_generators(config: ModelConfig) -> nn.ModuleDict:
    """Generators for both domains, keys `a` and `b`, randomly initialised."""
    return nn.ModuleDict({d: Generator(config, config.channels(d)) for d in DOMAINS})


def build_discriminators(config: ModelConfig) -> nn.ModuleDict:
    """Discriminators for both domains, keys `a` and `b`, randomly initialised."""
    return nn.ModuleDict(
        {d: build_discriminator(config.discriminator, config.channels(d)) for d in DOMAINS}
    )


def load_weights(networks: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `networks`; names and shapes must match exactly.

    Raises:
        ModelError: lists every tensor that is missing, unknown or of another shape.
    """
    expected = networks.state_dict()
    faults = [f"missing {name}" for name in expected if name not in tensors]
    faults += [f"unknown {name}" for name in tensors if name not in expected]
    # load_state_dict would convert integers without a message.
    faults += [
        f"{name} holds {value.dtype}, not floating-point numbers"
        for name, value in tensors.items()
        if not value.is_floating_point() and name in expected
    ]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if faults:
        raise ModelError(f"{source} does not fit the model's configuration: {listed(faults)}")
    networks.load_state_dict(dict(tensors))


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity as float32."""
    return [
        name
        for name, value in tensors.items()
        if value.is_floating_point() and not bool(value.float().isfinite().all())
    ]


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first `MAX_LISTED`, and the number of the others."""
    more = len(names) - MAX_LISTED
    shown = [name if name.isprintable() else repr(name) for name in names[:MAX_LISTED]]
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def save_checkpoint(
    path: Path,
    config: ModelConfig,
    info: CheckpointInfo,
    *,
    generators: nn.ModuleDict,
    average: nn.ModuleDict | None = None,
    discriminators: nn.ModuleDict | None = None,
    training: TrainingState | None = None,
    replacing: BeforeReplacing | None = None,
) -> None:
    """Write a checkpoint folder, atomically: the complete folder or nothing.

    Args:
        path: the folder to create.
        config: the model's configuration.
        info: the contents of `checkpoint.json`.
        generators: live weights, spectral norm unfolded.
        average: EMA with spectral norm folded in.
        discriminators: the discriminators.
        training: what resuming needs.
        replacing: called before an existing folder is replaced (`munit_edge.files.replacing`);
            None: nothing is replaced.

    Raises:
        OutputError: the folder exists or cannot be written.
    """
    with atomic_folder(path, replacing=replacing) as partial:
        (partial / INFO_FILE).write_text(_info_text(info), encoding="utf-8")
        settings = dump_yaml(config.model_dump(mode="json"))
        (partial / CONFIG_FILE).write_text(settings, encoding="utf-8")
        networks = {
            GENERATORS_FILE: generators,
            AVERAGE_FILE: average,
            DISCRIMINATORS_FILE: discriminators,
        }
        for file, module in networks.items():
            if module is not None:
                _write_tensors(partial / file, module.state_dict())
        if training is not None:
            _write_tensors(partial / TRAINING_TENSORS_FILE, training.tensors)
            text = json.dumps(training.values, indent=2)
            (partial / TRAINING_VALUES_FILE).write_text(text + "\n", encoding="utf-8")


def is_checkpoint(path: Path) -> bool:
    """Whether `path` looks like a checkpoint folder."""
    return is_file(path / INFO_FILE)


def saved_checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run folder, the newest last."""
    folder = run / CHECKPOINTS_FOLDER
    if not is_folder(folder):
        return []
    # Names are iterations of at least 8 digits: the longer one is the larger.
    return sorted(
        (p for p in folder.iterdir() if is_checkpoint(p) and not p.name.startswith(PARTIAL_PREFIX)),
        key=lambda path: (len(path.name), path.name),
    )


def newest_checkpoint(run: Path) -> Path | None:
    """The checkpoint with the highest iteration in a run folder, or None."""
    return next(reversed(saved_checkpoints(run)), None)


def check_newest_whole(run: Path) -> None:
    """Check that the newest checkpoint of a run folder has not lost its `INFO_FILE`.

    Resuming from the one before it, or from none, would repeat iterations and overwrite what is
    left of the newest.

    Raises:
        ModelError: it has lost it.
    """
    newest = newest_checkpoint(run)
    folder = run / CHECKPOINTS_FOLDER
    for path in sorted(folder.iterdir()) if is_folder(folder) else ():
        is_newer = newest is None or path.name > newest.name
        if (
            is_newer
            and is_file(path / GENERATORS_FILE)
            and not path.name.startswith(PARTIAL_PREFIX)
        ):
            before = (
                "start again" if newest is None else f"continue from the one before it, {newest}"
            )
            raise ModelError(
                f"{path} is damaged: its {INFO_FILE} is missing. Move the folder away to {before}"
            )


def record_measures(checkpoint: Path, measures: Mapping[str, float]) -> None:
    """Add measures to a saved checkpoint.

    Raises:
        OutputError: the file cannot be written; the checkpoint is unchanged.
    """
    info = open_checkpoint(checkpoint).info
    known = info.model_copy(update={"measures": info.measures | dict(measures)})
    with atomic_file(checkpoint / INFO_FILE) as partial:
        partial.write_text(_info_text(known), encoding="utf-8")


def _info_text(info: CheckpointInfo) -> str:
    return info.model_dump_json(indent=2) + "\n"


def best_checkpoint(run: Path, measure: str, *, highest: bool = False) -> Path | None:
    """The checkpoint of a run folder with the lowest `measure`, or None if none has it.

    Args:
        run: the run folder.
        measure: name in `CheckpointInfo.measures`.
        highest: take the highest instead.
    """
    values: dict[Path, float] = {}
    # A damaged checkpoint must not end the run that looks for the best one.
    for path in saved_checkpoints(run):
        with contextlib.suppress(ModelError, InputError):
            measures = open_checkpoint(path).info.measures
            if measure in measures:
                values[path] = -measures[measure] if highest else measures[measure]
    return min(values, key=values.__getitem__, default=None)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder, or the newest checkpoint of a run folder.

    Raises:
        InputError: `path` does not exist or is neither.
        ModelError: the checkpoint is damaged or has an unknown version.
    """
    if not exists(path):
        raise InputError(f"checkpoint {path} does not exist")
    folder = path if is_checkpoint(path) else newest_checkpoint(path)
    if folder is None:
        raise InputError(
            f"{path} is neither a checkpoint nor a run folder: name one that `munit-edge train` "
            "or `munit-edge convert` made (public .pt files need `munit-edge convert` first)"
        )
    data = _read_values(folder / INFO_FILE)
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{folder} has checkpoint format {shown(version)} and this version reads "
            f"{FORMAT_VERSION}: install the munit-edge that wrote it"
        )
    try:
        info = validate(CheckpointInfo, data, str(folder / INFO_FILE))
        config = validate(ModelConfig, read_yaml(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    except ConfigError as exc:
        raise ModelError(f"{exc}: the checkpoint is damaged, or another version wrote it") from exc
    return Checkpoint(folder, info, config)


def average_weights(average: nn.ModuleDict, live: nn.ModuleDict, decay: float) -> None:
    """Move `average` (folded) towards the `live` weights: a = decay * a + (1 - decay) * w."""
    average_state = average.state_dict()  # tensors that share the memory of the parameters
    for name, value in folded_state(live).items():
        average_state[name].lerp_(value, 1 - decay)


def folded_state(networks: nn.Module) -> dict[str, Tensor]:
    """The state of `networks` with spectral norm folded in; `networks` itself is unchanged."""
    was_training = networks.training
    networks.eval()  # in training, reading a spectrally normalised weight changes its buffers
    state: dict[str, Tensor] = {}
    for prefix, module in networks.named_modules():
        # Inside are `original` and the vectors; the module around them returns the folded weight.
        if "parametrizations" in prefix.split("."):
            continue
        names = [name for name, _ in module.named_parameters(recurse=False)]
        names += [name for name, _ in module.named_buffers(recurse=False)]
        if parametrize.is_parametrized(module):
            names += list(module.parametrizations)
        for name in names:
            state[f"{prefix}.{name}" if prefix else name] = getattr(module, name).detach()
    networks.train(was_training)
    return state


def _read_values(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except ConfigError as exc:
        raise ModelError(f"{exc}: the checkpoint is damaged") from exc
    if not isinstance(data, dict):
        raise ModelError(f"{path} does not hold a JSON object: the checkpoint is damaged")
    return data


def _read_tensors(path: Path) -> dict[str, Tensor]:
    safetensors = require("safetensors", "reading checkpoints")
    try:
        with utf8_name(path) as name:
            return dict(require("safetensors.torch", "reading checkpoints").load_file(name))
    except FileNotFoundError as exc:
        raise ModelError(f"{path} is missing: the checkpoint is incomplete") from exc
    except (safetensors.SafetensorError, OSError) as exc:
        raise ModelError(f"{path} cannot be read: the checkpoint is damaged ({exc})") from exc


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    safetensors = require("safetensors.torch", "writing checkpoints")
    # The format has no strides: contiguous() brings weights in channels_last into the usual order.
    # Through memory: Python's own write raises with the system's error number, such as a full disk.
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    path.write_bytes(safetensors.save(plain))
