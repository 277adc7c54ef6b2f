"""What feature networks are asked here, and the files that users name for them."""

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
"""That a network is shown in one batch, so that memory does not grow with the pictures."""


class NetworkFiles(StrictModel):
    """Files of weights, or .onnx graphs; None or (): what needs them is not measured."""

    features: Path | None = None
    """Inception-v3, or a graph that gives features: FID and KID."""
    lpips: tuple[Path, ...] = ()
    """AlexNet or VGG-16 and the linear layers of LPIPS, in one file or two."""
    classifier_a: Path | None = None
    """Classifier of pictures of domain a: IS and CIS of translations to it."""
    classifier_b: Path | None = None
    """Classifier of pictures of domain b."""


class FeatureNetwork(Protocol):
    """Pictures -> a vector for each."""

    card: NetworkCard

    def features(self, images: Images) -> Features:
        """uint8 [N, H, W, C], C 1, 3 or 4 -> [N, D]."""


class Classifier(Protocol):
    """Pictures -> how probable each class is."""

    card: NetworkCard

    def probabilities(self, images: Images) -> Features:
        """uint8 [N, H, W, C], C 1, 3 or 4 -> [N, classes], rows that add up to 1."""


class ImageDistance(Protocol):
    """Pairs of pictures -> how different they look."""

    card: NetworkCard

    def distances(self, first: Images, second: Images) -> Features:
        """uint8 [N, H, W, C] twice, C 1, 3 or 4 -> [N].

        Raises:
            InputError: they are smaller than the network takes.
        """


@dataclass(frozen=True)
class Networks:
    """The networks that a run of `munit-edge evaluate` has."""

    features: FeatureNetwork | None = None
    """For FID and KID."""
    lpips: ImageDistance | None = None
    """For the diversity."""
    classifiers: Mapping[Domain, Classifier] = field(default_factory=dict)
    """Of pictures of a domain, for IS and CIS."""

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
    """uint8 [N, H, W, C] -> [N, H, W, 3]: grey as a colour, transparency not looked at."""
    return np.repeat(images, 3, axis=3) if images.shape[3] == 1 else images[..., :3]


def batches(images: Images, pixels: int) -> Iterator[Images]:
    """Pictures in order, as many at once as is good.

    Args:
        images: [N, H, W, C].
        pixels: of one picture as the network sees it.
    """
    step = max(1, PIXELS_AT_ONCE // pixels)
    for start in range(0, len(images), step):
        yield images[start : start + step]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, classes], over the classes."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
