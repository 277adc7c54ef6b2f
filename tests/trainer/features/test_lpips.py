"""LPIPS against the formula, written out for small networks, and against the lpips package."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from feature_weights import ALEXNET, VGG16, lpips_weights
from torch import Tensor

from munit_edge.errors import ModelError
from munit_edge.trainer.features.lpips import Lpips, LpipsVersion

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 2, 3, 40, 33, generator=random)
    return first, second


def alexnet_features(tensors: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    found = []
    for place, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        weight, bias = (tensors[f"features.{place}.{part}"] for part in ("weight", "bias"))
        x = F.relu(F.conv2d(x, weight, bias, stride, padding))
        found.append(x)
        if place in (0, 3):
            x = F.max_pool2d(x, 3, 2)
    return found


def vgg_features(tensors: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
    found = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        for place in block:
            weight, bias = (tensors[f"features.{place}.{part}"] for part in ("weight", "bias"))
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
        found.append(x)
        x = F.max_pool2d(x, 2)
    return found


@pytest.mark.parametrize("version", ["0.0", "0.1"])
@pytest.mark.parametrize("name", ["AlexNet", "VGG-16"])
def test_the_distance_is_that_of_the_formula(
    name: str, version: LpipsVersion, pair: tuple[Tensor, Tensor]
) -> None:
    layers, features = {"AlexNet": (ALEXNET, alexnet_features), "VGG-16": (VGG16, vgg_features)}[
        name
    ]
    trunk, linear = lpips_weights(layers)
    network = Lpips(trunk | linear, version, "weights")
    assert network.trunk == name

    expected = torch.zeros(2)
    seen = [(x - MEAN) / STD if version == "0.1" else 2 * x - 1 for x in pair]
    for i, (x, y) in enumerate(zip(*(features(trunk, image) for image in seen), strict=True)):
        weights = linear[f"lin{i}.model.1.weight"].flatten()
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                a, b = (
                    f[:, :, row, column] / (f[:, :, row, column].norm(dim=1, keepdim=True) + 1e-10)
                    for f in (x, y)
                )
                expected += ((a - b) ** 2 @ weights) / (x.shape[2] * x.shape[3])
    assert expected.min() > 1e-3
    assert torch.allclose(network(*pair), expected, rtol=1e-4)
    assert torch.equal(network(pair[0], pair[0]), torch.zeros(2))


def test_one_file_as_the_lpips_package_saves_it(pair: tuple[Tensor, Tensor]) -> None:
    trunk, linear = lpips_weights(ALEXNET)
    places = dict(zip((0, 3, 6, 8, 10), range(1, 6), strict=True))
    saved = {
        f"net.slice{places[int(name.split('.')[1])]}.{name.removeprefix('features.')}": value
        for name, value in trunk.items()
    }
    saved |= {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    one, two = Lpips(saved | linear, "0.1", "one"), Lpips(trunk | linear, "0.1", "two")
    assert torch.equal(one(*pair), two(*pair))


@pytest.mark.parametrize(("name", "layers"), [("AlexNet", ALEXNET), ("VGG-16", VGG16)])
def test_the_smallest_image(name: str, layers: Mapping[int, tuple[int, int]]) -> None:
    trunk, linear = lpips_weights(layers)
    network = Lpips(trunk | linear, "0.1", "weights")
    smallest = torch.rand(2, 1, 3, network.min_size, network.min_size)
    assert torch.isfinite(network(*smallest)).all()
    with pytest.raises(RuntimeError):
        network(*smallest[..., 1:])


@pytest.mark.parametrize(
    ("changed", "shape", "words"),
    [
        ("lin3.model.1.weight", None, "has no lin3.model.1.weight: weights of"),
        ("features.6.bias", None, "has no features.6.bias: weights of"),
        ("features.3.weight", (12, 5, 5, 5), r"has shape \(12, 5, 5, 5\) where \(12, 4, 5, 5\)"),
        ("lin0.model.1.weight", (1, 64, 1, 1), r"lin0.* has shape \(1, 64, 1, 1\) where \(1, 4,"),
        ("features.0.weight", (64,), r"has shape \(64,\)"),
    ],
)
def test_weights_that_do_not_fit(changed: str, shape: tuple[int, ...] | None, words: str) -> None:
    trunk, linear = lpips_weights(ALEXNET)
    tensors = trunk | linear
    if shape is None:
        del tensors[changed]
    else:
        tensors[changed] = torch.zeros(shape)
    with pytest.raises(ModelError, match=words):
        Lpips(tensors, "0.1", "file.pth")
