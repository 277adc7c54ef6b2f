"""Interfaces of feature networks, and the files that users name for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from munit_edge.evaluation.scores import Features, NetworkCard
from munit_edge.files.atomic import sha256
from munit_edge.images.io import Images
from munit_edge.model.config import Domain
from munit_edge.settings import StrictModel

PIXELS_AT_ONCE = 1 << 20
"""Pixels in one batch for a network, so that memory does not grow with the number of images."""


class NetworkFiles(StrictModel):
    """Files of weights, or .onnx graphs; None or (): measures that need them are skipped."""

    features: Path | None = None
    """Inception-v3, or a graph whose output is features, for FID and KID."""
    lpips: tuple[Path, ...] = ()
    """AlexNet or VGG-16 and the linear layers of LPIPS, in one or two files."""
    classifier_a: Path | None = None
    """Classifier of images of domain a, for IS and CIS of translations to a."""
    classifier_b: Path | None = None
    """Classifier of images of domain b, for IS and CIS of translations to b."""


class FeatureNetwork(Protocol):
    """Maps images to feature vectors."""

    card: NetworkCard

    def features(self, images: Images) -> Features:
        """uint8 [N, H, W, C], C 1, 3 or 4 -> [N, D]."""


class Classifier(Protocol):
    """Maps images to class probabilities."""

    card: NetworkCard

    def probabilities(self, images: Images) -> Features:
        """uint8 [N, H, W, C], C 1, 3 or 4 -> [N, classes]; each row sums to 1."""


class ImageDistance(Protocol):
    """Maps pairs of images to perceptual distances."""

    card: NetworkCard

    def distances(self, first: Images, second: Images) -> Features:
        """uint8 [N, H, W, C] twice, C 1, 3 or 4 -> [N].

        Raises:
            InputError: the images are too small for the network.
        """


@dataclass(frozen=True)
class Networks:
    """The networks of one run of `munit-edge evaluate`."""

    features: FeatureNetwork | None = None
    """For FID and KID; None: not measured."""
    lpips: ImageDistance | None = None
    """For the diversity; None: not measured."""
    classifiers: Mapping[Domain, Classifier] = field(default_factory=dict)
    """By domain of the translations, for IS and CIS."""

    @property
    def some(self) -> bool:
        """Whether there is any."""
        return bool(self.features or self.lpips or self.classifiers)


def card(name: str, version: str, *files: Path) -> NetworkCard:
    """A card with the files' hashes."""
    return NetworkCard(
        name=name, version=version, sha256={file.name: sha256(file) for file in files}
    )


def rgb(images: Images) -> Images:
    """uint8 [N, H, W, C] -> [N, H, W, 3]: grey is repeated, alpha is ignored."""
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images[..., :3]


def batches(images: Images, pixels: int) -> Iterator[Images]:
    """Batches of at most `PIXELS_AT_ONCE` pixels, but at least one image, in order.

    Args:
        images: [N, H, W, C].
        pixels: pixels of one image at the network's input.
    """
    step = max(1, PIXELS_AT_ONCE // pixels)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the classes: [N, classes] -> [N, classes]."""
    # The largest exponent is 0, so nothing overflows.
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
