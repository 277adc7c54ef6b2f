"""Weights of feature networks in the layout that is published, with random values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

# Table 1 of the Inception-v3 paper, as torchvision builds and names it: inputs, then each
# convolution after the one before it ("name outputs kernel"); ">" goes back to the block's input,
# "=" to the input of the convolution before.
STEM = (
    "Conv2d_1a_3x3 32 3x3, Conv2d_2a_3x3 32 3x3, Conv2d_2b_3x3 64 3x3, "
    "Conv2d_3b_1x1 80 1x1, Conv2d_4a_3x3 192 3x3"
)
DOUBLE = "> branch3x3dbl_1 64 1x1, branch3x3dbl_2 96 3x3, branch3x3dbl_3 96 3x3"
A = (
    "> branch1x1 64 1x1, > branch5x5_1 48 1x1, branch5x5_2 64 5x5, "
    f"{DOUBLE}, > branch_pool {{0}} 1x1"
)
B = f"> branch3x3 384 3x3, {DOUBLE}"
C = (
    "> branch1x1 192 1x1, > branch7x7_1 {0} 1x1, branch7x7_2 {0} 1x7, branch7x7_3 192 7x1, "
    "> branch7x7dbl_1 {0} 1x1, branch7x7dbl_2 {0} 7x1, branch7x7dbl_3 {0} 1x7, "
    "branch7x7dbl_4 {0} 7x1, branch7x7dbl_5 192 1x7, > branch_pool 192 1x1"
)
D = (
    "> branch3x3_1 192 1x1, branch3x3_2 320 3x3, > branch7x7x3_1 192 1x1, "
    "branch7x7x3_2 192 1x7, branch7x7x3_3 192 7x1, branch7x7x3_4 192 3x3"
)
E = (
    "> branch1x1 320 1x1, > branch3x3_1 384 1x1, branch3x3_2a 384 1x3, = branch3x3_2b 384 3x1, "
    "> branch3x3dbl_1 448 1x1, branch3x3dbl_2 384 3x3, branch3x3dbl_3a 384 1x3, "
    "= branch3x3dbl_3b 384 3x1, > branch_pool 192 1x1"
)
BLOCKS = {
    "Mixed_5b": (192, A.format(32)),
    "Mixed_5c": (256, A.format(64)),
    "Mixed_5d": (288, A.format(64)),
    "Mixed_6a": (288, B),
    "Mixed_6b": (768, C.format(128)),
    "Mixed_6c": (768, C.format(160)),
    "Mixed_6d": (768, C.format(160)),
    "Mixed_6e": (768, C.format(192)),
    "Mixed_7a": (768, D),
    "Mixed_7b": (1280, E),
    "Mixed_7c": (2048, E),
}


def inception_shapes(classes: int, divisor: int = 1) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an Inception-v3, all channels divided."""

    def layers(block: str, inputs: int, text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        channels = before = inputs
        for part in text.split(", "):
            name, outputs, kernel = part.lstrip(">= ").split()
            source = {">": inputs, "=": before}.get(part[0], channels)
            before, channels = source, int(outputs) // divisor
            full = f"{block}.{name}" if block else name
            height, width = map(int, kernel.split("x"))
            yield f"{full}.conv.weight", (channels, source, height, width)
            for what in ("weight", "bias", "running_mean", "running_var"):
                yield f"{full}.bn.{what}", (channels,)
            yield f"{full}.bn.num_batches_tracked", ()

    shapes = dict(layers("", 3, STEM))
    for block, (inputs, text) in BLOCKS.items():
        shapes |= dict(layers(block, inputs // divisor, text))
    return shapes | {"fc.weight": (classes, 2048 // divisor), "fc.bias": (classes,)}


def random_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The same values for the same names and shapes, everywhere; features stay of one size."""
    tensors = {}
    for name, shape in shapes.items():
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        random = np.random.default_rng(seed)
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.tensor(1)
            continue
        values = random.random(shape, np.float32) - 0.5  # std 0.29
        if len(shape) > 1:
            values *= 5 / math.sqrt(math.prod(shape[1:]))  # as much out as in, through ReLU
        elif name.endswith("running_var") or (".bn." in name and name.endswith("weight")):
            values += 1.0
        tensors[name] = torch.from_numpy(values)
    return tensors


def write_inception(path: Path, classes: int, divisor: int = 16) -> Path:
    """A small Inception-v3; 1008 classes make it the FID network."""
    torch.save(random_weights(inception_shapes(classes, divisor)), path)
    return path


ALEXNET = {0: (64, 11), 3: (192, 5), 6: (384, 3), 8: (256, 3), 10: (256, 3)}
VGG16 = dict(
    zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        [(c, 3) for c in (64, 64, 128, 128, *(256,) * 3, *(512,) * 6)],
        strict=True,
    )
)


def trunk_shapes(layers: Mapping[int, tuple[int, int]], divisor: int) -> dict[str, tuple[int, ...]]:
    """The convolutions of torchvision's AlexNet or VGG-16, channels divided."""
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for place, (outputs, kernel) in layers.items():
        outputs //= divisor
        shapes[f"features.{place}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"features.{place}.bias"] = (outputs,)
        inputs = outputs
    return shapes


def linear_shapes(
    layers: Mapping[int, tuple[int, int]], divisor: int
) -> dict[str, tuple[int, ...]]:
    """The linear layers of LPIPS for it."""
    widths = [outputs // divisor for outputs, _ in layers.values()]
    compared = widths if len(widths) == 5 else [widths[i] for i in (1, 3, 6, 9, 12)]
    return {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(compared)}


def lpips_weights(
    layers: Mapping[int, tuple[int, int]], divisor: int = 16
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Network and linear layers; these are not negative."""
    trunk = random_weights(trunk_shapes(layers, divisor))
    linear = random_weights(linear_shapes(layers, divisor))
    return trunk, {name: value.abs() for name, value in linear.items()}


def write_lpips(folder: Path, layers: Mapping[int, tuple[int, int]] = ALEXNET) -> tuple[Path, Path]:
    """Two files: the network and the linear layers."""
    files = folder / "trunk.pth", folder / "linear.pth"
    for file, tensors in zip(files, lpips_weights(layers), strict=True):
        torch.save(tensors, file)
    return files
