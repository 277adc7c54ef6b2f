"""First weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from training_runs import tiny_config

from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.config import Initialisation
from munit_edge.trainer.initialise import initialise

FAN_IN = 48 * 9
STDS: dict[Initialisation, float] = {
    "kaiming": math.sqrt(2 / FAN_IN),
    "xavier": math.sqrt(2) * math.sqrt(2 / (FAN_IN + 64 * 9)),
    "orthogonal": math.sqrt(2 / FAN_IN),
    "gaussian": 0.02,
}


@pytest.mark.parametrize("kind", STDS)
def test_spread_of_the_weights(kind: Initialisation) -> None:
    torch.manual_seed(0)
    networks = nn.Sequential(nn.Conv2d(48, 64, 3), nn.Linear(48 * 9, 64))
    initialise(networks, kind)
    for module in networks:
        assert module.bias is not None
        assert not module.bias.any()
    assert networks[0].weight.std().item() == pytest.approx(STDS[kind], rel=0.03)


def test_default_changes_nothing() -> None:
    module = nn.Conv2d(3, 4, 3)
    before = module.weight.clone()
    initialise(module, "default")
    assert torch.equal(before, module.weight)


def test_spectrally_normalised_weights_have_norm_1() -> None:
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 16, 3))
    before = conv.weight.detach().clone()
    initialise(conv, "kaiming")
    conv.eval()
    assert not torch.equal(before, conv.weight)
    matrix = conv.weight.detach().flatten(1)
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=0.02)


def test_every_convolution_of_a_generator_is_reached() -> None:
    networks = build_generators(tiny_config().model)
    before = {name: value.clone() for name, value in networks.named_parameters()}
    initialise(networks, "gaussian")
    kept = [n for n, v in networks.named_parameters() if torch.equal(before[n], v)]
    assert all("norm" in name for name in kept)
