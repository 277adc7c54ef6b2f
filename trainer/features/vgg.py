"""The convolutional part of VGG-16, for the perceptual loss.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015,
table 1, column D. Names and indices of the layers are torchvision's (`features.0.weight`, ...), so
that its weights fit; only layers up to the chosen one are read. The number of channels of each
layer is taken from the weights, so that tests can use a small network of the same architecture.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import get_args

from munit_edge.errors import ModelError
from munit_edge.trainer.config import VggLayer
from munit_edge.trainer.features.weights import Weights
from munit_edge.trainer.tensor_files import read_weight_file
from munit_edge.trainer.torch_api import F, Tensor, nn, torch

BLOCKS = (2, 2, 3, 3, 3)
"""Numbers of 3x3 convolutions, each with ReLU, between poolings."""
MEAN = (0.485, 0.456, 0.406)
"""Statistics of ImageNet's images in [0, 1], by which torchvision normalises."""
STD = (0.229, 0.224, 0.225)

_EXPECTED = (
    "VGG-16 weights with torchvision's names (features.0.weight and on, 3x3 convolutions on RGB) "
    "are needed here, as .safetensors or as a state dictionary saved by torch"
)


class VggFeatures(nn.Module):
    """Images -> output of one layer. The weights are fixed."""

    mean: Tensor
    std: Tensor

    def __init__(self, convolutions: list[nn.Conv2d]) -> None:
        """Args: the first `convolutions` of the network."""
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])
        self.eval().requires_grad_(False)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights in hexadecimal."""
        digest = hashlib.sha256()
        for parameter in self.parameters():
            digest.update(parameter.cpu().float().numpy().tobytes())
        return digest.hexdigest()

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, C, H, W] in [-1, 1] -> features [B, channels, h, w].

        Grey images are expanded to RGB; alpha (the fourth channel) is ignored.
        """
        # expand copies nothing, and its gradient adds up the three channels.
        rgb = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image[:, :3]
        x = ((rgb + 1) / 2 - self.mean) / self.std
        # Pooling comes before a convolution, so none follows the last layer that was read.
        for convolution, first in zip(self.convolutions, _starts_block(), strict=False):
            if first:
                x = F.max_pool2d(x, 2)
            x = F.relu(convolution(x))
        return x


def read_vgg(path: Path, layer: VggLayer) -> VggFeatures:
    """The network up to `layer`, with weights from a file.

    Raises:
        InputError: there is no such file.
        ModelError: the file does not hold such weights.
    """
    weights = Weights(read_weight_file(path, _EXPECTED), str(path), _EXPECTED)
    count = get_args(VggLayer).index(layer) + 1
    return VggFeatures([_convolution(weights, i, path) for i in range(count)])


def _starts_block() -> list[bool]:
    """For each convolution, whether a pooling precedes it."""
    firsts = [i == 0 for size in BLOCKS for i in range(size)]
    return [False, *firsts[1:]]


def feature_index(convolution: int) -> int:
    """Index of a convolution, counted from 0, in torchvision's `features`: 0, 2, 5, 7, 10, ..."""
    poolings = sum(_starts_block()[: convolution + 1])
    return 2 * convolution + poolings


def _convolution(weights: Weights, number: int, path: Path) -> nn.Conv2d:
    name = f"features.{feature_index(number)}"
    before = f"features.{feature_index(number - 1)}.bias" if number else None
    inputs = 3 if before is None else len(weights.tensor(before))
    weight, bias = weights.tensor(f"{name}.weight"), weights.tensor(f"{name}.bias")
    outputs = bias.shape[0] if bias.ndim == 1 else 0
    if tuple(weight.shape) != (outputs, inputs, 3, 3):
        raise ModelError(
            f"{path}: {name} has weights {tuple(weight.shape)} and "
            f"biases {tuple(bias.shape)}, which do not follow {inputs} channels: {_EXPECTED}"
        )
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    return convolution
