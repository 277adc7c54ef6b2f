"""Training steps against traces that the original program recorded.

Every reference case with a `train_trace.json` is replayed: same weights, images and styles. Wrong
variants of the step must fail the same check.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_cases import reference_folder

from munit_edge.model.config import DOMAINS, ModelConfig
from munit_edge.trainer import step
from munit_edge.trainer.checkpoint import build_discriminators, build_generators
from munit_edge.trainer.config import OptimizerConfig, TrainConfig
from munit_edge.trainer.config_files import read_train_config
from munit_edge.trainer.foreign.names import discriminator_names, generator_names

REFERENCE = reference_folder()
CASES = sorted(path.parent.name for path in REFERENCE.glob("*/train_trace.json"))
FIRST_ITERATION = 10

pytestmark = pytest.mark.skipif(
    not CASES, reason=f"no training traces in {REFERENCE}: set MUNIT_EDGE_REFERENCE"
)

ROUNDING_FACTOR = 2.5
"""Both programs round: a case without bounds of its own may differ by this times the distance
between our step in float32 and in float64."""


@dataclass(frozen=True)
class Bounds:
    """Largest relative error of a loss, and of the update of all parameters together."""

    loss: float
    update: float


FIXED_BOUNDS = {"munit_lsgan": Bounds(2e-4, 0.06), "munit_nsgan": Bounds(1e-5, 0.002)}
FLOOR = Bounds(1e-5, 0.002)

TERMS = {"adv": "gan", "recon_x": "image", "recon_s": "style", "recon_c": "content"}
TERMS["cycrecon_x"] = "cycle"
LOSS_NAMES = {
    f"loss_gen_{theirs}_{domain}": f"{ours}_{domain}"
    for theirs, ours in TERMS.items()
    for domain in DOMAINS
}
LOSS_NAMES |= {f"loss_dis_{which}": f"discriminator_{which}" for which in (*DOMAINS, "total")}
LOSS_NAMES["loss_gen_total"] = "generator_total"

Weights = dict[str, torch.Tensor]
Trace = list[dict[str, float]]


@dataclass(frozen=True)
class Result:
    trace: Trace
    weights: Weights


def load(case: Path, iteration: int, config: ModelConfig) -> tuple[torch.nn.ModuleDict, ...]:
    """Generators and discriminators as the original program saved them."""
    found = []
    for kind, networks, names in (
        ("gen", build_generators(config), generator_names(config)),
        ("dis", build_discriminators(config), discriminator_names(config.discriminator)),
    ):
        file = torch.load(case / f"{kind}_{iteration:08d}.pt", weights_only=True)
        for domain in DOMAINS:
            ours = networks[domain].state_dict()
            networks[domain].load_state_dict(
                {name: file[domain][names.foreign(name)] for name in ours}
            )
        found.append(networks)
    return tuple(found)


def compared_weights(*networks: torch.nn.ModuleDict) -> Weights:
    """Every parameter but the biases of convolutions and linear layers, in float64.

    The gradient of most of those biases is exactly zero (a norm follows), so Adam moves them by
    rounding errors alone.
    """
    return {
        f"{i}.{name}": parameter.detach().to(torch.float64, copy=True)
        for i, module in enumerate(networks)
        for name, parameter in module.named_parameters()
        if not name.endswith(".bias") or name.endswith("norm.bias")
    }


def replay(case: Path, config: TrainConfig, dtype: torch.dtype = torch.float32) -> Result:
    generators, discriminators = (n.to(dtype) for n in load(case, FIRST_ITERATION, config.model))
    steps = step.TrainingStep(generators, discriminators, config)
    inputs = np.load(case / "train_inputs.npz")

    def pair(name: str, i: int) -> step.Pair:
        values = [torch.tensor(inputs[f"{name}_{d}"][i], dtype=dtype) for d in DOMAINS]
        return step.Pair(*(v.flatten(1) if "s" in name else v for v in values))

    trace = []
    for i in range(len(inputs["x_a"])):
        losses = steps.run(i + 1, pair("x", i), pair("dis_s", i), pair("gen_s", i))
        row = {name: value.item() for name, value in losses.items()}
        trace.append(row | {"lr": steps.generator_optimizer.param_groups[0]["lr"]})
    return Result(trace, compared_weights(generators, discriminators))


@functools.cache
def reference(name: str) -> tuple[TrainConfig, Weights, Result]:
    """Settings, first weights, and what the original program made of them."""
    case = REFERENCE / name
    config = read_train_config(case / "config.yaml")
    rows = json.loads((case / "train_trace.json").read_text())
    trace = [
        {LOSS_NAMES.get(key, key): value for key, value in row.items() if "vgg" not in key}
        for row in rows
    ]
    first = compared_weights(*load(case, FIRST_ITERATION, config.model))
    last = compared_weights(*load(case, FIRST_ITERATION + len(rows), config.model))
    return config, first, Result(trace, last)


@functools.cache
def right_replay(name: str) -> Result:
    """The case with its own settings, in float32."""
    return replay(REFERENCE / name, reference(name)[0])


def loss_error(ours: Trace, theirs: Trace) -> float:
    """Largest relative difference; a term that one side lacks must be 0 at the other."""
    errors = [
        abs(our_row.get(key, 0.0) - value) / (abs(value) or 1.0)
        for our_row, their_row in zip(ours, theirs, strict=True)
        for key, value in their_row.items()
        if key in LOSS_NAMES.values()
    ]
    return max(errors)


def update_error(first: Weights, ours: Weights, theirs: Weights) -> float:
    """||d - d_ref|| / ||d_ref|| with d = last - first, over all parameters together."""
    assert set(first) == set(ours) == set(theirs)
    difference = sum((ours[n] - theirs[n]).square().sum().item() for n in first)
    length = sum((theirs[n] - first[n]).square().sum().item() for n in first)
    return float((difference / length) ** 0.5)


@functools.cache
def derived_bounds(name: str) -> Bounds:
    """What rounding may do to this case, by our own step in two precisions.

    With the up-sampling as the original program computes it: folded, less is rounded, and the
    distance would not tell how far that program may be off.
    """
    _, first, _ = reference(name)
    config = read_train_config(REFERENCE / name / "config.yaml", ["speed.fold_up_sampling=false"])
    single = replay(REFERENCE / name, config)
    double = replay(REFERENCE / name, config, torch.float64)
    return Bounds(
        max(FLOOR.loss, ROUNDING_FACTOR * loss_error(single.trace, double.trace)),
        max(
            FLOOR.update,
            ROUNDING_FACTOR * update_error(first, single.weights, double.weights),
        ),
    )


@functools.cache
def bounds(name: str) -> Bounds:
    return FIXED_BOUNDS.get(name) or derived_bounds(name)


def faults(name: str, ours: Result, allowed: Bounds) -> list[str]:
    """What is wrong with a replay of a case; nothing when it holds."""
    _, first, theirs = reference(name)
    found = []
    if [row["lr"] for row in ours.trace] != [row["lr"] for row in theirs.trace]:
        found.append("learning rate")
    loss = loss_error(ours.trace, theirs.trace)
    if not loss <= allowed.loss:
        found.append(f"losses: {loss:.2e} > {allowed.loss:.2e}")
    update = update_error(first, ours.weights, theirs.weights)
    if not update <= allowed.update:
        found.append(f"update: {update:.2e} > {allowed.update:.2e}")
    return found


@pytest.mark.parametrize("name", CASES)
def test_replay_follows_the_trace(name: str) -> None:
    assert faults(name, right_replay(name), bounds(name)) == []


@pytest.mark.parametrize("name", CASES)
def test_every_term_of_the_trace_is_compared(name: str) -> None:
    _, _, theirs = reference(name)
    assert set(LOSS_NAMES.values()) | {"lr", "iteration"} == set(theirs.trace[0])


@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_bounds_from_float64_let_the_right_step_pass(name: str) -> None:
    assert faults(name, right_replay(name), derived_bounds(name)) == []


WRONG_SETTINGS = {
    "no weight decay": "optimizer.weight_decay=0",
    "beta1 0.9": "optimizer.beta1=0.9",
    "detached content target": "loss.detach_content_target=true",
    "another learning rate": "optimizer.generator_lr=0.000101",
}


def _adamw(
    parameters: list[torch.nn.Parameter], config: OptimizerConfig, lr: float, *, fused: bool
) -> torch.optim.Optimizer:
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(
        parameters, lr=lr, betas=betas, weight_decay=config.weight_decay, fused=fused
    )


def _generators_first(
    self: step.TrainingStep,
    iteration: int,
    images: step.Pair,
    discriminator_styles: step.Pair,
    generator_styles: step.Pair,
) -> step.Losses:
    self.set_learning_rates(iteration)
    losses = self.update_generators(
        iteration, images, self.shared_forward(images), generator_styles
    )
    shared = self.shared_forward(images)
    return losses | self.update_discriminators(iteration, images, shared, discriminator_styles)


@pytest.mark.parametrize("wrong", WRONG_SETTINGS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.slow
def test_wrong_settings_fail(name: str, wrong: str) -> None:
    config = read_train_config(REFERENCE / name / "config.yaml", [WRONG_SETTINGS[wrong]])
    ours = replay(REFERENCE / name, config)
    assert faults(name, ours, bounds(name))
    assert faults(name, ours, derived_bounds(name))


@pytest.mark.parametrize("name", CASES)
def test_adamw_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "adam", _adamw)
    assert faults(name, replay(REFERENCE / name, reference(name)[0]), bounds(name))


@pytest.mark.parametrize("name", CASES)
def test_swapped_updates_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step.TrainingStep, "run", _generators_first)
    assert faults(name, replay(REFERENCE / name, reference(name)[0]), bounds(name))
