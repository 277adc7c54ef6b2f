"""LPIPS: the perceptual distance of two images.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
equation 1: the features of five layers are scaled to length 1 at each position; their squared
differences are weighted by channel, averaged over positions and summed over layers.

Weights have torchvision's names (`features.0.weight`, ...) and those of the `lpips` package
(`lin0.model.1.weight`, ...), in two files or, as that package saves the whole, in one
(`net.slice1.0.weight`, ...). The number of channels of each layer is taken from the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from munit_edge.trainer.features.vgg import BLOCKS, MEAN, STD, feature_index
from munit_edge.trainer.features.weights import Weights
from munit_edge.trainer.torch_api import F, Tensor, nn, torch

LpipsVersion = Literal["0.0", "0.1"]
"""0.0 feeds images in [-1, 1], as the first release did; 0.1 feeds images normalised as for
training. The linear layers of each version are fitted to its inputs."""

EXPECTED = (
    "weights of AlexNet or VGG-16 with torchvision's names (features.0.weight, ...) and the linear "
    "layers of the lpips package (lin0.model.1.weight to lin4.model.1.weight) are needed here, in "
    "one file or two"
)

_EPSILON = 1e-10


@dataclass(frozen=True)
class _Layer:
    """A convolution with ReLU."""

    index: int
    """Index in torchvision's `features`."""
    kernel: int
    stride: int = 1
    pool: int | None = None
    """Size of the max pooling before it, with stride 2."""
    compared: bool = True
    """Whether its output is one of the five that are compared."""


_ALEXNET = (
    _Layer(0, 11, stride=4),
    _Layer(3, 5, pool=3),
    _Layer(6, 3, pool=3),
    _Layer(8, 3),
    _Layer(10, 3),
)


def _vgg() -> Iterator[_Layer]:
    number = 0
    for block, size in enumerate(BLOCKS):
        for i in range(size):
            pool = 2 if block and not i else None  # before each block but the first
            yield _Layer(feature_index(number), 3, pool=pool, compared=i == size - 1)
            number += 1


class Lpips(nn.Module):
    """Pairs of images -> distances. The weights are fixed."""

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], version: LpipsVersion, source: str) -> None:
        """Build the network from weights.

        Args:
            tensors: the weights of both parts, by name.
            version: the version of the linear layers.
            source: the name of the files in messages.

        Raises:
            ModelError: a weight is missing or does not fit the others.
        """
        super().__init__()
        named = {_plain_name(name): value for name, value in tensors.items()}
        weights = Weights(named, source, EXPECTED)
        first = weights.tensor("features.0.weight")
        is_alexnet = first.ndim == 4 and first.shape[2] == _ALEXNET[0].kernel
        self.trunk = "AlexNet" if is_alexnet else "VGG-16"
        """The name of the trunk network."""
        # 31 pixels give 7, 3 and 1 after AlexNet's first convolution and its two poolings; VGG-16
        # halves four times.
        self.min_size = 31 if is_alexnet else 16
        """The smallest height and width in pixels that it takes."""
        self._layers = _ALEXNET if is_alexnet else tuple(_vgg())
        self._convolutions, self._channel_weights = nn.ModuleList(), nn.ParameterList()
        channels = 3
        for layer in self._layers:
            convolution = _convolution(weights, layer, channels)
            channels = convolution.out_channels
            self._convolutions.append(convolution)
            if layer.compared:
                name = f"lin{len(self._channel_weights)}.model.1.weight"
                self._channel_weights.append(weights.shaped(name, (1, channels, 1, 1)))
        # Mean and std of 0.5 map [0, 1] to [-1, 1].
        scaled = version == "0.1"
        self.register_buffer("mean", torch.tensor(MEAN if scaled else (0.5,) * 3)[:, None, None])
        self.register_buffer("std", torch.tensor(STD if scaled else (0.5,) * 3)[:, None, None])
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] twice, H and W at least `min_size` -> [B]."""
        pairs = zip(self._features(first), self._features(second), strict=True)
        # [B, C, h, w] with weights [1, C, 1, 1] -> [B, 1, h, w] -> [B], for each compared layer.
        parts = [
            F.conv2d((_to_length_1(x) - _to_length_1(y)) ** 2, weight).mean(dim=(1, 2, 3))
            for weight, (x, y) in zip(self._channel_weights, pairs, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)

    def _features(self, image: Tensor) -> list[Tensor]:
        x, found = (image - self.mean) / self.std, []
        for layer, convolution in zip(self._layers, self._convolutions, strict=True):
            if layer.pool is not None:
                x = F.max_pool2d(x, layer.pool, 2)
            x = F.relu(convolution(x))
            if layer.compared:
                found.append(x)
        return found


def _to_length_1(features: Tensor) -> Tensor:
    length = features.square().sum(dim=1, keepdim=True).sqrt()
    return features / (length + _EPSILON)  # outside the root, as in the lpips package


def _plain_name(name: str) -> str:
    """Torchvision's name of a layer in the lpips package."""
    return re.sub(r"^net\.slice\d+\.", "features.", name)


def _convolution(weights: Weights, layer: _Layer, inputs: int) -> nn.Conv2d:
    name = f"features.{layer.index}"
    weight = weights.tensor(f"{name}.weight")
    outputs = weight.shape[0] if weight.ndim else 0
    weights.shaped(f"{name}.weight", (outputs, inputs, layer.kernel, layer.kernel))
    bias = weights.shaped(f"{name}.bias", (outputs,))
    padding = 2 if layer.kernel > 3 else 1
    convolution = nn.Conv2d(inputs, outputs, layer.kernel, layer.stride, padding)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution
