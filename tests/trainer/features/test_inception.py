"""Inception-v3 against the programs that its weights were published for.

Features and classes were recorded with pytorch-fid 0.3.0 and torchvision 0.28.0 at full size, on
the weights of `feature_weights.random_weights`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from feature_weights import inception_shapes, random_weights
from torch import Tensor

from munit_edge.errors import ModelError
from munit_edge.trainer.features.inception import Inception

LAYOUT = "fafa3415657058129e4a7af77948625b3355ed5914dedf6216076dd4be883d60"
"""SHA-256 of the names and shapes in torchvision's state dictionary (no auxiliary classifier)."""


@pytest.fixture(scope="module")
def images() -> Tensor:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 40, 33, 3), np.uint8)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2) / 255


def test_names_and_shapes_are_torchvisions() -> None:
    lines = [f"{name} {shape}" for name, shape in sorted(inception_shapes(1000).items())]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == LAYOUT


RECORDED_FID = [
    [11.13084, 0.10648, 0.64448, 13.56094, 13.09030, 10.80160, 6.73890, 0.42344],
    [11.61168, 0.15656, 0.62818, 13.82130, 12.29182, 10.33110, 6.92777, 0.49306],
]
RECORDED_TORCHVISION = [
    [10.51520, 0.10675, 0.65832, 13.10893, 13.21455, 11.38247, 6.44683, 0.41998],
    [10.72957, 0.18924, 0.68180, 13.13641, 12.50132, 11.16445, 6.78025, 0.44720],
]
RECORDED_LOGITS = [
    [-21.38554, -17.16210, -34.99215, 2.01743],
    [-21.02249, -17.53568, -35.50113, 1.56989],
]


def test_features_are_those_of_pytorch_fid(images: Tensor) -> None:
    network = Inception(random_weights(inception_shapes(1008)), "weights")
    assert network.is_fid
    with torch.no_grad():
        features = network.features(images)
    assert features.shape == (2, 2048)
    np.testing.assert_allclose(features[:, ::256], RECORDED_FID, rtol=1e-4)


def test_features_and_classes_are_torchvisions(images: Tensor) -> None:
    network = Inception(random_weights(inception_shapes(1000)), "weights")
    assert not network.is_fid
    with torch.no_grad():
        features, logits = network.features(images), network.logits(images)
    np.testing.assert_allclose(features[:, ::256], RECORDED_TORCHVISION, rtol=1e-4)
    np.testing.assert_allclose(logits[:, ::250], RECORDED_LOGITS, rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "shape", "words"),
    [
        ("fc.bias", None, r"has no fc\.bias: weights of an Inception-v3"),
        ("Mixed_6c.branch7x7_2.bn.running_var", None, "has no Mixed_6c.branch7x7_2.bn.running_var"),
        ("fc.weight", (9, 100), r"fc\.weight has shape \(9, 100\) where \(9, 128\) follows"),
        ("Mixed_7c.branch_pool.conv.weight", (12, 128, 3, 3), r"where \(12, 128, 1, 1\) follows"),
        ("Mixed_5b.branch1x1.bn.bias", (3,), r"has shape \(3,\) where \(4,\) follows"),
        ("Conv2d_1a_3x3.conv.weight", (), r"has shape \(\)"),
    ],
)
def test_weights_that_do_not_fit(changed: str, shape: tuple[int, ...] | None, words: str) -> None:
    tensors = random_weights(inception_shapes(9, 16))
    if shape is None:
        del tensors[changed]
    else:
        tensors[changed] = torch.zeros(shape)
    with pytest.raises(ModelError, match=words):
        Inception(tensors, "file.pth")


def test_an_auxiliary_classifier_is_not_looked_at() -> None:
    tensors = random_weights(inception_shapes(9, 16)) | {"AuxLogits.fc.bias": torch.zeros(9)}
    assert Inception(tensors, "file.pth").classes == 9
