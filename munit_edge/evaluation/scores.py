"""Scores computed from the outputs of a feature network. Needs NumPy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from munit_edge.model.config import Direction
from munit_edge.settings import StrictModel

Features = NDArray[np.float64]

KID_SUBSETS = 100
"""Random pairs of subsets that KID is averaged over."""
KID_SUBSET_SIZE = 1000
"""Largest number of images in a subset; at most half of all images."""


class NetworkCard(StrictModel):
    """The network that a score was measured with: scores of different networks differ."""

    name: str
    """Architecture and training, as far as the weights show it."""
    version: str
    """Version of the weights, if munit-edge knows them, and of the preprocessing."""
    sha256: dict[str, str]
    """Hash of each weight file, by file name."""


class FrechetDistance(StrictModel):
    """FID: Fréchet distance between two sets of features as normal distributions."""

    value: float
    """0: equal. Biased upwards; the bias shrinks with the number of images."""
    pictures: tuple[int, int]
    """Number of translations and of real images."""
    network: NetworkCard
    """The network that gave the features."""


class KernelDistance(StrictModel):
    """KID: squared MMD of two sets of features with a cubic kernel."""

    mean: float
    """Mean over the subsets; 0: equal. Unbiased for any number of images."""
    deviation: float
    """Standard deviation over the subsets."""
    subset_size: int
    """Images in each subset."""
    network: NetworkCard
    """The network that gave the features."""


class Diversity(StrictModel):
    """LPIPS diversity: perceptual distance between translations of one image."""

    mean: float
    """Mean over all pairs of translations with two random styles; 0: styles have no effect."""
    pairs: int
    """Total number of pairs."""
    real: float
    """Mean over random pairs of different real images of the target domain."""
    network: NetworkCard
    """The network that gave the features."""


class ClassScores(StrictModel):
    """Inception Score and conditional Inception Score, as the paper tabulates them."""

    inception: float
    """IS: mean KL divergence of a translation's classes from those of all translations, in nats.
    High if each translation is clearly of one class, and all classes occur."""
    inception_exp: float
    """exp of the IS, as other papers report it."""
    conditional: float
    """CIS: mean KL divergence of a translation's classes from those of all translations of the same
    image, in nats. 0: styles change no class."""
    conditional_exp: float
    """exp of the CIS."""
    classes: int
    """Number of the classifier's classes; its logarithm is the upper bound of both scores."""
    translations: tuple[int, int]
    """Number of images, and of translations of each."""
    network: NetworkCard
    """The network that gave the features."""


class NetworkMeasures(StrictModel):
    """Measures with feature networks in one direction; None: there is no network for it."""

    direction: Direction
    """Source and target domain."""
    fid: FrechetDistance | None = None
    """Between translations and real images."""
    kid: KernelDistance | None = None
    """Between translations and real images."""
    lpips: Diversity | None = None
    """Diversity of the translations of one image."""
    scores: ClassScores | None = None
    """IS and CIS of the translations."""


def frechet_distance(first: Features, second: Features) -> float:
    """Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, equation 6.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with the unbiased covariances. The trace of the
    root is the sum of the singular values of A1 A2^T, where A are the centred features divided by
    sqrt(N - 1). This is exact even with fewer images than features.

    Args:
        first: [N, D], N at least 2.
        second: [M, D], M at least 2.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    difference = first.mean(axis=0) - second.mean(axis=0)
    a1, a2 = _scaled(first), _scaled(second)
    roots = np.linalg.svd(a1 @ a2.T, compute_uv=False)
    distance = difference @ difference + (a1**2).sum() + (a2**2).sum() - 2 * roots.sum()
    return max(float(distance), 0.0)  # rounding may give a little less than 0 for equal sets


def _scaled(features: Features) -> Features:
    """[N, D] -> A of at most D rows such that A^T A is the covariance."""
    centred: Features = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    triangle: Features = np.asarray(np.linalg.qr(centred, mode="r"))
    return triangle


def kernel_distance(first: Features, second: Features, seed: int = 0) -> tuple[float, float, int]:
    """Binkowski et al., "Demystifying MMD GANs", ICLR 2018: kernel (x y / D + 1)^3, unbiased.

    Args:
        first: [N, D], N at least 4.
        second: [M, D], M at least 4.
        seed: for the subsets.

    Returns:
        Mean and standard deviation over the subsets, and their size.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    # At most half, so that subsets differ from each other.
    size = min(KID_SUBSET_SIZE, len(first) // 2, len(second) // 2)
    random = np.random.default_rng(seed)
    found = [
        _squared_mmd(
            first[random.choice(len(first), size, replace=False)],
            second[random.choice(len(second), size, replace=False)],
        )
        for _ in range(KID_SUBSETS)
    ]
    return float(np.mean(found)), float(np.std(found)), size


def _squared_mmd(first: Features, second: Features) -> float:
    size, num_features = first.shape

    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / num_features + 1) ** 3)

    # Without the diagonal, where samples meet themselves: this makes the estimate unbiased.
    within = sum(float(k.sum() - k.trace()) for k in (kernel(first, first), kernel(second, second)))
    return float(within / (size * (size - 1)) - 2 * kernel(first, second).mean())


def class_scores(probabilities: Features) -> tuple[float, float]:
    """Inception Score (Salimans et al., 2016) and conditional Inception Score (section 5.2).

    Args:
        probabilities: [N, S, K], of K classes for each of S translations of N images.

    Returns:
        Both as mean KL divergence in nats.
    """
    of_image = probabilities.mean(axis=1, keepdims=True)
    of_all = of_image.mean(axis=0, keepdims=True)
    return _mean_divergence(probabilities, of_all), _mean_divergence(probabilities, of_image)


def _mean_divergence(probabilities: Features, others: Features) -> float:
    """Mean KL(p || q) over all but the last axis; terms with p = 0 are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = probabilities * (np.log(probabilities) - np.log(others))
    return float(np.where(probabilities > 0, terms, 0.0).sum(axis=-1).mean())
