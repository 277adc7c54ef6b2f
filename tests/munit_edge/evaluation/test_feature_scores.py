"""What is shown to feature networks, and how it is counted: networks that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munit_edge.evaluation.feature_networks import Networks
from munit_edge.evaluation.feature_scores import NetworkCounts, measure_direction, network_steps
from munit_edge.evaluation.scores import Features, NetworkCard
from munit_edge.images.io import Images
from munit_edge.model.config import Domain
from munit_edge.styles.codes import Styles, sample_styles
from munit_edge.translator import Content, Translator

CARD = NetworkCard(name="known", version="1", sha256={"file": "00"})


class StyleIsGrey(Translator):
    """A translation is grey all over: 100, and 10 for each 1 of the style."""

    def __init__(self) -> None:
        pass

    def sample_styles(self, count: int, seed: int = 0) -> Styles:
        return sample_styles(count, 1, seed)

    def encode_content(self, images: Images, domain: Domain) -> Content:
        return Content(np.zeros((len(images), 1, 2, 2), np.float32), (4, 4))

    def decode(self, content: Content, styles: Styles, domain: Domain) -> Images:
        grey = (100 + 10 * styles[:, 0]).clip(0, 255).astype(np.uint8)
        return np.broadcast_to(grey[None, :, None, None, None], (1, len(styles), 4, 4, 3))


class Grey:
    """A network that sees the mean of all pixels only."""

    card = CARD

    def __init__(self) -> None:
        self.seen: list[int] = []

    def features(self, images: Images) -> Features:
        self.seen.append(len(images))
        return images.reshape(len(images), -1).mean(axis=1, dtype=np.float64)[:, None]

    def probabilities(self, images: Images) -> Features:
        return np.hstack([self.features(images) > 100, self.features(images) <= 100]).astype(float)

    def distances(self, first: Images, second: Images) -> Features:
        return abs(self.features(first) - self.features(second))[:, 0]


@pytest.fixture
def images() -> dict[Domain, Images]:
    greys = np.arange(0, 240, 20, dtype=np.uint8)  # 12 images
    real = np.broadcast_to(greys[:, None, None, None], (12, 4, 4, 3))
    return {"a": real[:10], "b": real}


def test_everything_at_once(images: dict[Domain, Images]) -> None:
    steps: list[int] = []
    lpips, classifier = Grey(), Grey()
    networks = Networks(features=Grey(), lpips=lpips, classifiers={"b": classifier})
    counts = NetworkCounts(pairs=19, samples=50)
    made = images["b"][:10]
    found = measure_direction(
        StyleIsGrey(), networks, images, made, "a2b", counts, 0, lambda: steps.append(1)
    )
    assert len(steps) == network_steps(networks, images, "a2b") == 2 * 10 + 10 + 12
    assert found.fid is not None
    assert found.kid is not None
    greys = np.arange(0, 240, 20)
    means, stds = zip(*((g.mean(), g.std(ddof=1)) for g in (greys[:10], greys)), strict=True)
    expected = (means[0] - means[1]) ** 2 + (stds[0] - stds[1]) ** 2
    assert found.fid.value == pytest.approx(expected)
    assert (found.fid.pictures, found.kid.subset_size) == ((10, 12), 5)

    # The difference of two styles is N(0, 2), its mean size 2 / sqrt(pi): of 190 pairs.
    assert found.lpips is not None
    assert found.lpips.pairs == 190
    assert found.lpips.mean == pytest.approx(10 * 2 / math.sqrt(math.pi), rel=0.15)
    assert lpips.seen == [19, 19] * 10 + [12, 12]
    assert found.lpips.real >= 20  # never an image with itself

    # Half of the styles are of each class, for every image alike.
    assert found.scores is not None
    assert found.scores.conditional == pytest.approx(math.log(2), rel=0.05)
    assert found.scores.conditional_exp == math.exp(found.scores.conditional)
    assert found.scores.conditional <= found.scores.inception <= math.log(2)
    assert (found.scores.classes, found.scores.translations) == (2, (10, 50))
    for number in (found.fid, found.kid, found.lpips, found.scores):
        assert number.network == CARD


def test_a_classifier_is_asked_about_its_own_domain_only(images: dict[Domain, Images]) -> None:
    networks = Networks(classifiers={"a": Grey()})
    found = measure_direction(
        StyleIsGrey(), networks, images, images["b"], "a2b", NetworkCounts(), 0, lambda: None
    )
    assert network_steps(networks, images, "a2b") == 0
    assert found.model_dump(exclude={"direction"}) == dict.fromkeys(
        ("fid", "kid", "lpips", "scores")
    )
