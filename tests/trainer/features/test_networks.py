"""Weight files as feature networks: what is read, how it is called, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_weights import VGG16, inception_shapes, random_weights, write_inception, write_lpips
from safetensors.torch import save_file

from munit_edge.errors import InputError, ModelError
from munit_edge.images.io import Images
from munit_edge.trainer.features import networks as feature_networks
from munit_edge.trainer.features.networks import InceptionNetwork, LpipsNetwork


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).integers(0, 256, (3, 36, 32, 3)).astype(np.uint8)


def test_images_of_any_channels_and_probabilities(images: Images, tmp_path: Path) -> None:
    path = write_inception(tmp_path / "classes.pth", 5)
    network = InceptionNetwork(path, "cpu")
    features = network.features(images)
    assert features.shape == (3, 128)
    one = network.features(images[1:2])
    np.testing.assert_allclose(one[0], features[1], rtol=1e-4, atol=1e-6)
    probabilities = network.probabilities(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    weight, bias = (torch.load(path)[f"fc.{part}"].numpy() for part in ("weight", "bias"))
    powers = np.exp(features @ weight.T + bias)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-3)
    grey, alpha = images[..., :1], images[..., 2:]
    as_colour = network.features(np.repeat(grey, 3, axis=3))
    np.testing.assert_array_equal(network.features(grey), as_colour)
    rgba = np.concatenate([images, alpha], axis=3)
    np.testing.assert_array_equal(network.features(rgba), features)


def test_the_card_says_network_version_and_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_inception(tmp_path / "fid.pth", 1008)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = InceptionNetwork(path, "cpu").card
    assert card.name == "Inception-v3, FID network"
    assert card.version == "not known to munit-edge"
    assert card.sha256 == {"fid.pth": digest}
    monkeypatch.setitem(feature_networks._KNOWN, digest[:8], "published")
    assert InceptionNetwork(path, "cpu").card.version == "published"
    save_file(random_weights(inception_shapes(7, 16)), tmp_path / "seven.safetensors")
    other = InceptionNetwork(tmp_path / "seven.safetensors", "cpu").card
    assert other.name == "Inception-v3, 7 classes, as torchvision's"


def test_versions_of_lpips(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, linear = write_lpips(tmp_path)
    network = LpipsNetwork([trunk, linear], "cpu")
    assert network.card.name == "LPIPS with AlexNet"
    unknown = "not known to munit-edge"
    assert network.card.version == (
        f"AlexNet {unknown}; linear layers {unknown}, assumed to be version 0.1"
    )
    assert list(network.card.sha256) == ["trunk.pth", "linear.pth"]
    newer = network.distances(images, images[::-1])
    assert newer.shape == (3,)
    assert newer[1] == 0  # with itself
    assert newer[0] == pytest.approx(newer[2])
    digest = hashlib.sha256(linear.read_bytes()).hexdigest()
    monkeypatch.setitem(feature_networks._LINEAR_LAYERS, digest, "0.0")
    first = LpipsNetwork([linear, trunk], "cpu")
    assert first.card.version == f"AlexNet {unknown}; linear layers version 0.0"
    assert abs(first.distances(images, images[::-1])[0] / newer[0] - 1) > 0.01


def test_images_that_are_too_small_for_lpips(images: Images, tmp_path: Path) -> None:
    network = LpipsNetwork(write_lpips(tmp_path, VGG16), "cpu")
    assert network.card.name == "LPIPS with VGG-16"
    with pytest.raises(InputError, match=r"36 x 15 pixels and LPIPS with VGG-16 needs at least 16"):
        network.distances(images[:, :, :15], images[:, :, :15])


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    trunk, linear = write_lpips(tmp_path)
    with pytest.raises(
        ModelError, match=r"trunk\.pth has no fc\.weight: weights of an Inception-v3"
    ):
        InceptionNetwork(trunk, "cpu")
    with pytest.raises(ModelError, match=r"trunk\.pth has no lin0\.model\.1\.weight: weights of"):
        LpipsNetwork([trunk], "cpu")
    with pytest.raises(ModelError, match=r"linear\.pth has no features\.0\.weight: weights of"):
        LpipsNetwork([linear], "cpu")
    with pytest.raises(
        InputError, match=r"missing\.pth does not exist: weights of an Inception-v3"
    ):
        InceptionNetwork(tmp_path / "missing.pth", "cpu")
    with pytest.raises(InputError, match=r"missing\.pth does not exist: weights of"):
        LpipsNetwork([trunk, tmp_path / "missing.pth"], "cpu")
