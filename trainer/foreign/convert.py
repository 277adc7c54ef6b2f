"""Public MUNIT checkpoints -> munit-edge checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munit_edge.errors import ConfigError, ModelError
from munit_edge.extras import require
from munit_edge.files.replacing import FolderTarget
from munit_edge.files.yaml_data import read_yaml
from munit_edge.model.config import DOMAINS, ModelConfig
from munit_edge.trainer.checkpoint import (
    CONVERTED_CHECKPOINT,
    CheckpointInfo,
    Weights,
    build_discriminators,
    build_generators,
    listed,
    not_finite,
    save_checkpoint,
)
from munit_edge.trainer.foreign.checkpoint import (
    ForeignCheckpoint,
    ForeignWeights,
    read_foreign_checkpoint,
)
from munit_edge.trainer.foreign.config import (
    IMAGINAIRE,
    MUNIT,
    is_imaginaire_yaml,
    is_munit_yaml,
    model_config_from_imaginaire,
    model_config_from_munit,
)
from munit_edge.trainer.foreign.hints import disagreements, implied_pre_activation
from munit_edge.trainer.foreign.names import NameMap, discriminator_names, generator_names
from munit_edge.trainer.networks import fold_spectral_norm
from munit_edge.trainer.torch_api import Tensor, nn

LICENCE_NOTES = {
    MUNIT: (
        "NVlabs/MUNIT and its released weights are licensed CC BY-NC-SA 4.0: "
        "non-commercial use only, share alike"
    ),
    IMAGINAIRE: (
        "NVlabs/imaginaire and its released weights are under the NVIDIA Source Code License: "
        "non-commercial use only, for research or evaluation"
    ),
}


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion."""

    program: str
    """Program that trained the weights."""
    iteration: int | None
    """Training iterations, if the checkpoint says."""
    config: ModelConfig
    generators: nn.ModuleDict
    average: nn.ModuleDict | None
    """The EMA, if the checkpoint has one and it was requested."""
    discriminators: nn.ModuleDict | None
    notes: list[str] = field(default_factory=list)
    """Messages for the user."""

    @property
    def licence_note(self) -> str:
        """Licence terms of such weights."""
        return LICENCE_NOTES[self.program]


def convert_checkpoint(
    checkpoint: Path,
    config: Path,
    out: Path,
    *,
    weights: Weights | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a public checkpoint into a checkpoint folder.

    Args:
        checkpoint: `gen_*.pt` of NVlabs/MUNIT (`dis_*.pt` beside it is read too) or
            `*_checkpoint.pt` of NVlabs/imaginaire.
        config: the YAML file that the model was trained with.
        out: the folder to create.
        weights: "average" keeps the EMA beside the live weights, and everything that opens the
            result prefers it; "live" drops it. None: "average" if there is one.
        overwrite: replace an earlier conversion.

    Raises:
        InputError: there is no such file.
        ConfigError: the configuration cannot be used, or is another program's.
        ModelError: the checkpoint is damaged, is of another program, has no EMA although one is
            requested, or does not fit the configuration: the message lists all tensors that are
            missing, unknown or of another shape.
        OutputError: `out` exists and may not be replaced, holds an input, or cannot be written.
        MissingExtraError: torch or safetensors is not installed.
    """
    for package in ("torch", "safetensors"):
        require(package, "converting checkpoints")
    target = FolderTarget(out, CONVERTED_CHECKPOINT, overwrite, (checkpoint, config))
    target.check()
    settings = read_yaml(config)
    model = model_config(settings, str(config))
    foreign = read_foreign_checkpoint(checkpoint)
    _check_program(foreign, model, config)
    conversion = adopt(foreign, model, str(config), weights=weights)
    info = CheckpointInfo(
        iteration=conversion.iteration or 0,
        origin=conversion.program,
        licence_note=conversion.licence_note,
    )
    save_checkpoint(
        out,
        model,
        info,
        generators=conversion.generators,
        average=conversion.average,
        discriminators=conversion.discriminators,
        replacing=target.replacing,
    )
    return conversion


def model_config(data: Mapping[str, Any], source: str) -> ModelConfig:
    """The model of a configuration file of either program.

    Raises:
        ConfigError: it is of neither program, or has settings that are not supported.
    """
    if is_munit_yaml(data):
        return model_config_from_munit(data, source)
    if is_imaginaire_yaml(data):
        return model_config_from_imaginaire(data, source)
    raise ConfigError(
        f"{source} is a configuration file of neither {MUNIT} nor {IMAGINAIRE}: name the YAML file "
        "that the model was trained with"
    )


def adopt(
    foreign: ForeignCheckpoint, config: ModelConfig, source: str, *, weights: Weights | None = None
) -> Conversion:
    """Our networks with the weights of a public checkpoint.

    Args:
        foreign: the checkpoint.
        config: the model of its configuration file.
        source: the name of the configuration in messages, such as its path.
        weights: see `convert_checkpoint`.

    Raises:
        ModelError: no EMA although one is requested, or the tensors do not fit `config`.
    """
    if weights == "average" and foreign.average is None:
        raise ModelError(f"{foreign.path} has no EMA of the weights: use --weights live")
    faults = _Faults()
    names = generator_names(config)
    generators = build_generators(config)
    faults.load(generators, names, foreign.live)
    average = None
    if foreign.average is not None and weights != "live":
        average = build_generators(config)
        # An EMA may have been saved with spectral norm or with it folded in: the names show which.
        # Ours is folded after its weights are read, or before.
        folded = not any(name.endswith(".weight_orig") for name in foreign.average.tensors)
        if folded:
            fold_spectral_norm(average)
        faults.load(average, names, foreign.average)
        fold_spectral_norm(average)
    discriminators = None
    if foreign.discriminators is not None:
        discriminators = build_discriminators(config)
        dis_names = discriminator_names(config.discriminator)
        faults.load(discriminators, dis_names, foreign.discriminators)
    # After all networks, so that one message lists everything.
    if faults:
        hints = _hints(foreign, config) or ["name the configuration that it was trained with"]
        text = "; ".join([*hints, *faults.texts()])
        raise ModelError(f"{foreign.path} does not fit {source}: {text}")
    if faults.not_finite:
        raise ModelError(
            f"{foreign.path} holds values that are not finite in {len(faults.not_finite)} of "
            f"{faults.loaded} tensors ({listed(faults.not_finite)}): the training that wrote it "
            "had diverged; use an earlier checkpoint"
        )
    return Conversion(
        program=foreign.program,
        iteration=foreign.iteration,
        config=config,
        generators=generators,
        average=average,
        discriminators=discriminators,
        notes=_notes(foreign, config),
    )


class _Faults:
    """Loads networks and collects all tensors that do not fit."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {
            "missing": [],
            "unknown": [],
            "of another shape": [],
            "not floating-point": [],
        }
        self.not_finite: list[str] = []
        """Tensors that fit and hold NaN or infinity."""
        self.loaded = 0
        """Number of tensors that were expected."""

    def __bool__(self) -> bool:
        return any(self._found.values())

    def texts(self) -> list[str]:
        found = self._found | {"not finite": self.not_finite}
        return [f"{kind}: {listed(names)}" for kind, names in found.items() if names]

    def load(self, networks: nn.ModuleDict, names: NameMap, weights: ForeignWeights) -> None:
        """Copy `weights` into `networks` if everything fits."""
        # By their names in the file, which messages show.
        wanted = {
            weights.prefixes[domain] + names.foreign(name): (f"{domain}.{name}", value)
            for domain in DOMAINS
            for name, value in networks[domain].state_dict().items()
        }
        ignored = {prefix + name for prefix in weights.prefixes.values() for name in names.ignored}
        given = weights.tensors
        self._found["missing"] += [name for name in wanted if name not in given]
        self._found["unknown"] += [n for n in given if n not in wanted and n not in ignored]
        self.loaded += len(wanted)
        for name, (_, value) in wanted.items():
            if name in given:
                self._check(name, given[name], value)
        # Nothing is copied after the first fault: the caller raises.
        if not self:
            networks.load_state_dict({ours: given[name] for name, (ours, _) in wanted.items()})

    def _check(self, name: str, given: Tensor, wanted: Tensor) -> None:
        if given.shape != wanted.shape:
            shapes = f"{tuple(given.shape)} instead of {tuple(wanted.shape)}"
            self._found["of another shape"].append(f"{name} {shapes}")
        elif not given.is_floating_point():
            self._found["not floating-point"].append(name)
        elif not_finite({name: given}):
            self.not_finite.append(name)


def _check_program(foreign: ForeignCheckpoint, model: ModelConfig, config: Path) -> None:
    expected = MUNIT if model.architecture == "munit" else IMAGINAIRE
    if foreign.program != expected:
        raise ConfigError(
            f"{config} is a configuration file of {expected}, but {foreign.path} is a checkpoint "
            f"of {foreign.program}: name the YAML file that the model was trained with"
        )


def _hints(foreign: ForeignCheckpoint, config: ModelConfig) -> list[str]:
    def shapes(weights: ForeignWeights) -> dict[str, dict[str, tuple[int, ...]]]:
        return {domain: weights.shapes(domain) for domain in DOMAINS}

    discriminators = None if foreign.discriminators is None else shapes(foreign.discriminators)
    return disagreements(config, shapes(foreign.live), discriminators)


def _notes(foreign: ForeignCheckpoint, config: ModelConfig) -> list[str]:
    if foreign.program != IMAGINAIRE:
        return list(foreign.notes)
    # Both orders have the same tensors, and a file may have been sorted: no more than a note.
    pre_activation = implied_pre_activation(foreign.live.tensors)
    if pre_activation is None or pre_activation == config.pre_activation:
        return []
    implied, configured = ("true", "false") if pre_activation else ("false", "true")
    return [
        f"the order of the tensors suggests gen.pre_act = {implied}, but the config says "
        f"{configured}, which was used: translations are wrong if the model was trained otherwise"
    ]
