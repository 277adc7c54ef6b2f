"""What training changes in a run: networks, optimisers and EMA, created, saved and restored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from munit_edge.errors import ConfigError, InputError, ModelError, TrainingError
from munit_edge.files.replacing import FolderTarget
from munit_edge.model.config import DOMAINS, Domain
from munit_edge.settings import validate
from munit_edge.trainer.checkpoint import (
    RUN_CHECKPOINT,
    TRAINING_VALUES_FILE,
    Checkpoint,
    CheckpointInfo,
    TrainingState,
    average_weights,
    build_discriminators,
    build_generators,
    folded_state,
    save_checkpoint,
)
from munit_edge.trainer.config import TrainConfig
from munit_edge.trainer.data.image_sets import ImageSets
from munit_edge.trainer.initialise import initialise
from munit_edge.trainer.networks import fold_spectral_norm
from munit_edge.trainer.step import Placement, TrainingStep
from munit_edge.trainer.torch_api import Tensor, nn, torch

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""Adam's state of a parameter."""


class _SavedImages(BaseModel):
    """Identifies the training images of a domain."""

    count: int
    names: str


class SavedValues(BaseModel):
    """What `RunState.save` writes in addition to the tensors; every part may be missing."""

    images: dict[Domain, _SavedImages] = {}
    images_per_iteration: int | None = None
    skipped_updates: int = Field(0, ge=0)
    vgg: str | None = None


class RunState:
    """Networks, optimisers and EMA after `iteration` iterations.

    There is no random state: all random numbers are drawn from the seed and the iteration.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, placement: Placement | None = None
    ) -> None:
        self.config = config
        self.images_per_iteration = config.batch_size * (
            1 if placement is None else placement.num_processes
        )
        """Images of each domain over all processes."""
        self.iteration = 0
        self.skipped_updates = 0
        """Updates skipped because something was not finite."""
        # Drawn on the CPU, so the weights are the same for every device, and in this order: whether
        # there is an EMA must not change the others. The caller's random state is kept.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            generators = build_generators(config.model)
            discriminators = build_discriminators(config.model)
            initialise(generators, config.generator_init)
            initialise(discriminators, config.discriminator_init)
            average = None if config.average_decay is None else build_generators(config.model)
        self.generators = generators.to(device)
        self.discriminators = discriminators.to(device)
        self.step = TrainingStep(self.generators, self.discriminators, config, placement)
        self.average: nn.ModuleDict | None = None
        if average is not None:
            fold_spectral_norm(average)
            self.average = average.to(device).requires_grad_(False)
            self.average.load_state_dict(folded_state(self.generators))

    @property
    def best_generators(self) -> nn.ModuleDict:
        """The generators that an export uses: the EMA if there is one."""
        return self.generators if self.average is None else self.average

    def update_average(self) -> None:
        """Update the EMA; call once after each iteration."""
        if self.average is None or self.config.average_decay is None:
            return
        if "generator" in self.step.skipped:  # the weights did not move
            return
        # A smaller decay at the start: else the initial weights would dominate the EMA for long.
        decay = min(self.config.average_decay, (1 + self.iteration) / (10 + self.iteration))
        with torch.no_grad():
            average_weights(self.average, self.generators, decay)

    def save(
        self, path: Path, sets: ImageSets, measures: Mapping[str, float] | None = None
    ) -> None:
        """Write a checkpoint folder that `restore` can continue from.

        Args:
            path: the folder to create.
            sets: the training images, whose names the checkpoint records.
            measures: finite measures of its quality, by their names in `best_by`.

        Raises:
            TrainingError: a weight is not finite.
            OutputError: the folder cannot be written; an earlier one is unchanged.
        """
        self._check_finite()
        tensors = _optimizer_tensors("generators", self.generators, self.step.generator_optimizer)
        tensors |= _optimizer_tensors(
            "discriminators", self.discriminators, self.step.discriminator_optimizer
        )
        values = {
            "images": _fingerprints(sets),
            "images_per_iteration": self.images_per_iteration,
            "skipped_updates": self.skipped_updates,
            "vgg": None if self.step.vgg is None else self.step.vgg.fingerprint,
        }
        save_checkpoint(
            path,
            self.config.model,
            CheckpointInfo(iteration=self.iteration, measures=dict(measures or {})),
            generators=self.generators,
            average=self.average,
            discriminators=self.discriminators,
            training=TrainingState(tensors, values),
            replacing=FolderTarget(path, RUN_CHECKPOINT, overwrite=True).replacing,
        )

    def restore(self, checkpoint: Checkpoint, sets: ImageSets) -> None:
        """Load a checkpoint of a run with this configuration.

        Raises:
            InputError: the names of the training images or the weights of the perceptual loss
                differ from those of the run.
            ConfigError: the number of images per iteration differs.
            ModelError: the checkpoint is damaged, or holds no training state.
        """
        training = checkpoint.training_state()
        saved = saved_values(training, checkpoint.path)
        _check_images(saved.images, sets)
        self._check_vgg(saved.vgg)
        self._check_images_per_iteration(saved.images_per_iteration)
        # The checks came first: from here on the state changes.
        checkpoint.load_live_generators(self.generators)
        checkpoint.load_discriminators(self.discriminators)
        if self.average is not None:
            checkpoint.load_average(self.average)
        for name, networks, optimizer in (
            ("generators", self.generators, self.step.generator_optimizer),
            ("discriminators", self.discriminators, self.step.discriminator_optimizer),
        ):
            _restore_optimizer(name, networks, optimizer, training.tensors)
        self.iteration = checkpoint.info.iteration
        self.skipped_updates = saved.skipped_updates

    def _check_images_per_iteration(self, before: int | None) -> None:
        if before not in (None, self.images_per_iteration):
            raise ConfigError(
                f"this run has {before} images of each domain per iteration and would now have "
                f"{self.images_per_iteration}: choose the number of processes and batch_size so "
                f"that their product is {before}"
            )

    def _check_vgg(self, before: str | None) -> None:
        if before is not None and self.step.vgg and self.step.vgg.fingerprint != before:
            raise InputError(
                f"{self.config.loss.perceptual_file} holds other weights than the run started "
                "with: set loss.perceptual_file to the original file, or start a new run"
            )

    def _check_finite(self) -> None:
        for networks, what in (
            (self.generators, "generators"),
            (self.discriminators, "discriminators"),
        ):
            for name, parameter in networks.named_parameters():
                if not torch.isfinite(parameter).all():
                    raise TrainingError(
                        f"the weights '{name}' of the {what} are not finite after iteration "
                        f"{self.iteration} and were not saved"
                    )


def _optimizer_tensors(
    prefix: str, networks: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """The state of an optimiser by parameter name: "<prefix>.<parameter>.<what>"."""
    # By name: torch's own state dict numbers the parameters, which ties a file to their order.
    return {
        f"{prefix}.{name}.{what}": optimizer.state[parameter][what]
        for name, parameter in networks.named_parameters()
        for what in ADAM_STATE
        if parameter in optimizer.state  # absent while every update was skipped
    }


def _restore_optimizer(
    prefix: str,
    networks: nn.Module,
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
) -> None:
    fused = all(group["fused"] for group in optimizer.param_groups)
    for name, parameter in networks.named_parameters():
        saved = {what: tensors.get(f"{prefix}.{name}.{what}") for what in ADAM_STATE}
        for what, value in saved.items():
            # The step is a scalar.
            if value is not None and value.ndim and value.shape != parameter.shape:
                raise ModelError(
                    f"the optimiser's {what} of '{name}' has shape {tuple(value.shape)} instead of "
                    f"{tuple(parameter.shape)}: the checkpoint is damaged, resume from an earlier "
                    "one"
                )
        optimizer.state[parameter] = {
            what: _placed(value, parameter, fused=fused)
            for what, value in saved.items()
            if value is not None
        }


def _placed(value: Tensor, parameter: nn.Parameter, *, fused: bool) -> Tensor:
    """A value of Adam's state on the device and in the memory layout that Adam expects."""
    if value.ndim == 0 and not fused:
        return value  # the step is counted on the CPU, unless Adam is fused
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    # In the parameter's memory layout, which the fused kernel assumes.
    return torch.empty_like(parameter).copy_(value)


def _fingerprints(sets: ImageSets) -> dict[str, dict[str, Any]]:
    return {d: {"count": len(sets[d].names), "names": sets[d].fingerprint} for d in DOMAINS}


def saved_values(training: TrainingState, path: Path) -> SavedValues:
    """The values that the checkpoint at `path` holds in addition to the tensors.

    Raises:
        ModelError: they are not what a training run writes.
    """
    try:
        return validate(SavedValues, training.values, str(path / TRAINING_VALUES_FILE))
    except ConfigError as exc:
        raise ModelError(f"{exc}: the checkpoint is damaged, resume from an earlier one") from exc


def _check_images(saved: Mapping[Domain, _SavedImages], sets: ImageSets) -> None:
    for domain in DOMAINS:
        now = _SavedImages(**_fingerprints(sets)[domain])
        before = saved.get(domain)
        if before is not None and before != now:
            raise InputError(
                f"the training images of domain {domain} are not those that the run started with "
                f"({before.count} then, {now.count} now, or other names): restore them, or "
                "start a new run"
            )
