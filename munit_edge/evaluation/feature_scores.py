"""Measures that need feature networks: FID, KID, LPIPS diversity, IS and CIS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from munit_edge.evaluation.feature_networks import (
    Classifier,
    FeatureNetwork,
    ImageDistance,
    Networks,
)
from munit_edge.evaluation.scores import (
    ClassScores,
    Diversity,
    Features,
    FrechetDistance,
    KernelDistance,
    NetworkCard,
    NetworkMeasures,
    class_scores,
    frechet_distance,
    kernel_distance,
)
from munit_edge.images.io import Images
from munit_edge.model.config import DIRECTIONS, Direction, Domain, split_direction
from munit_edge.translator import Translator

_SHOWN_AT_ONCE = 8
"""Images for a feature network between two progress reports."""
_STYLES_SEED = 1000
"""Added to the seed, so that the styles differ from those of the measures without networks."""


@dataclass(frozen=True)
class NetworkCounts:
    """How many translations are made for the networks."""

    pairs: int = 19
    """Pairs of translations of each image for LPIPS; the paper's number."""
    samples: int = 100
    """Translations of each image for IS and CIS; the paper's number."""


def network_steps(networks: Networks, images: Mapping[Domain, Images], direction: Direction) -> int:
    """How many steps `measure_direction` reports."""
    source, target = split_direction(direction)
    looks = (networks.lpips is not None) + (target in networks.classifiers)
    shown = 0 if networks.features is None else len(images[source]) + len(images[target])
    return len(images[source]) * looks + shown


def measure_direction(
    translator: Translator,
    networks: Networks,
    images: Mapping[Domain, Images],
    translations: Images,
    direction: Direction,
    counts: NetworkCounts,
    seed: int,
    on_step: Callable[[], None],
) -> NetworkMeasures:
    """Measure the translations in one direction with the available networks.

    Args:
        translator: the model.
        networks: the available networks.
        images: uint8 [N, H, W, C], the real images of both domains.
        translations: uint8 [N, H, W, C], one for each image of the source domain.
        direction: source and target domain.
        counts: how many translations are made.
        seed: for all random numbers.
        on_step: called after each image, or after the translations of each image.

    Raises:
        InputError: the images are too small for a network.
        EngineError: a network or the engine failed.
    """
    source, target = split_direction(direction)
    styles_seed = seed + _STYLES_SEED + DIRECTIONS.index(direction)
    sampling = _Sampling(translator, images[source], direction, styles_seed, on_step)
    real = images[target]
    fid, kid, lpips, scores = None, None, None, None
    if networks.features is not None:
        made, expected = (
            _features(networks.features, shown, on_step) for shown in (translations, real)
        )
        fid, kid = _distances(made, expected, seed, networks.features.card)
    if networks.lpips is not None:
        lpips = _diversity(networks.lpips, sampling, real, counts.pairs, seed)
    if target in networks.classifiers:
        scores = _scores(networks.classifiers[target], sampling, counts.samples)
    return NetworkMeasures(direction=direction, fid=fid, kid=kid, lpips=lpips, scores=scores)


@dataclass(frozen=True)
class _Sampling:
    """Translates each image with many random styles, one image at a time."""

    translator: Translator
    images: Images
    direction: Direction
    seed: int
    on_step: Callable[[], None]

    def each(self, num_styles: int, look: Callable[[Images], Features]) -> Features:
        """Results of `look` for the translations [num_styles, H, W, C] of each image, stacked."""
        source, target = split_direction(self.direction)
        count = len(self.images)
        styles = self.translator.sample_styles(count * num_styles, self.seed)
        found = []
        for image, drawn in zip(self.images, np.split(styles, count), strict=True):
            content = self.translator.encode_content(image[None], source)
            # Only the scores are kept: 100 translations of each image would not fit in memory.
            found.append(look(self.translator.decode(content, drawn, target)[0]))
            self.on_step()
        return np.stack(found)


def _features(network: FeatureNetwork, images: Images, on_step: Callable[[], None]) -> Features:
    found = []
    for start in range(0, len(images), _SHOWN_AT_ONCE):
        found.append(network.features(images[start : start + _SHOWN_AT_ONCE]))
        for _ in found[-1]:
            on_step()
    return np.concatenate(found)


def _distances(
    made: Features, real: Features, seed: int, card: NetworkCard
) -> tuple[FrechetDistance, KernelDistance]:
    mean, deviation, size = kernel_distance(made, real, seed)
    value, counts = frechet_distance(made, real), (len(made), len(real))
    return (
        FrechetDistance(value=value, pictures=counts, network=card),
        KernelDistance(mean=mean, deviation=deviation, subset_size=size, network=card),
    )


def _diversity(
    network: ImageDistance, sampling: _Sampling, real: Images, pairs: int, seed: int
) -> Diversity:
    # Pairs are disjoint, so all distances are independent.
    found = sampling.each(2 * pairs, lambda x_ab: network.distances(x_ab[::2], x_ab[1::2]))
    # Each real image against the next one in a random order: as many pairs as images.
    order = np.random.default_rng(seed).permutation(len(real))
    return Diversity(
        mean=float(found.mean()),
        pairs=found.size,
        real=float(network.distances(real[order], real[np.roll(order, 1)]).mean()),
        network=network.card,
    )


def _scores(classifier: Classifier, sampling: _Sampling, samples: int) -> ClassScores:
    found = sampling.each(samples, classifier.probabilities)
    inception, conditional = class_scores(found)
    return ClassScores(
        inception=inception,
        inception_exp=math.exp(inception),
        conditional=conditional,
        conditional_exp=math.exp(conditional),
        classes=found.shape[2],
        translations=(found.shape[0], found.shape[1]),
        network=classifier.card,
    )
