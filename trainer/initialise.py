"""First weights of convolutions and linear layers."""

from __future__ import annotations

import math
from collections.abc import Callable

from munit_edge.trainer.config import Initialisation
from munit_edge.trainer.torch_api import Tensor, nn, parametrize, torch

GAUSSIAN_STD = 0.02
NUM_POWER_ITERATIONS = 15
"""Iterations that find the singular vectors of spectral norm again after the weights change."""

_FILL: dict[Initialisation, Callable[[Tensor], object]] = {
    "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_in"),
    "xavier": lambda weight: nn.init.xavier_normal_(weight, gain=math.sqrt(2)),
    "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=math.sqrt(2)),
    "gaussian": lambda weight: nn.init.normal_(weight, std=GAUSSIAN_STD),
}


def initialise(networks: nn.Module, kind: Initialisation) -> None:
    """Draw new weights for every convolution and linear layer, in place; biases become 0.

    Norms keep their initial parameters; `default` changes nothing.

    Args:
        networks: new networks in training mode.
        kind: how to draw, see `TrainConfig.generator_init`.
    """
    if kind == "default":
        return
    with torch.no_grad():
        for module in networks.modules():
            if not isinstance(module, (nn.Conv2d, nn.Linear)):
                continue
            # A spectrally normalised weight is computed from `original`: only that can be written.
            spectral = parametrize.is_parametrized(module, "weight")
            _FILL[kind](
                module.parametrizations.weight.original  # type: ignore[union-attr, arg-type]
                if spectral
                else module.weight
            )
            if module.bias is not None:
                module.bias.zero_()
            if spectral:
                for _ in range(NUM_POWER_ITERATIONS):
                    _ = module.weight  # each reading in training mode is one power iteration
