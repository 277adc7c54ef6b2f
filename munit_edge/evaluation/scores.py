"""Numbers that are computed from what a feature network says of pictures. Needs NumPy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from munit_edge.model.config import Direction
from munit_edge.settings import StrictModel

Features = NDArray[np.float64]

KID_SUBSETS = 100
"""Random pairs of subsets that KID is the mean of."""
KID_SUBSET_SIZE = 1000
"""Pictures in each, at most: half of what there are where they are fewer."""


class NetworkCard(StrictModel):
    """Which network a number was measured with: others give other numbers."""

    name: str
    """Architecture and what it was trained for, as far as the weights tell."""
    version: str
    """Of the weights, where munit-edge knows them, and of the way that pictures are fed."""
    sha256: dict[str, str]
    """Of each weight file, by its name."""


class FrechetDistance(StrictModel):
    """FID: how far apart two sets of features lie as normal distributions."""

    value: float
    """0: alike. Too high by an amount that shrinks as pictures become more."""
    pictures: tuple[int, int]
    """Translations and real ones."""
    network: NetworkCard
    """Which saw them."""


class KernelDistance(StrictModel):
    """KID: the squared MMD of two sets of features under a cubic kernel."""

    mean: float
    """Over the subsets; 0: alike. As high with few pictures as with many."""
    deviation: float
    """Standard deviation over the subsets."""
    subset_size: int
    """Pictures in each."""
    network: NetworkCard
    """Which saw them."""


class Diversity(StrictModel):
    """LPIPS diversity: how much translations of one picture differ to the eye."""

    mean: float
    """Over all pairs of translations with two random styles; 0: styles change nothing."""
    pairs: int
    """How many in all."""
    real: float
    """The same of random pairs of different real pictures of that domain."""
    network: NetworkCard
    """Which saw them."""


class ClassScores(StrictModel):
    """Inception Score and conditional Inception Score, as the paper tabulates them."""

    inception: float
    """IS: mean KL divergence of a translation's classes from those of all translations, in nats.
    High: each is of a clear class, and all classes occur."""
    inception_exp: float
    """e to the power of it, which other papers print."""
    conditional: float
    """CIS: mean KL divergence of a translation's classes from those of all translations of the same
    picture. 0: styles change no class."""
    conditional_exp: float
    """e to the power of it."""
    classes: int
    """That the classifier knows; no score is above the logarithm of it."""
    translations: tuple[int, int]
    """Pictures, and translations of each."""
    network: NetworkCard
    """Which saw them."""


class NetworkMeasures(StrictModel):
    """Numbers of one direction that need feature networks; None: no network was named."""

    direction: Direction
    """From which domain to which."""
    fid: FrechetDistance | None = None
    """Of translations and real pictures."""
    kid: KernelDistance | None = None
    """Of translations and real pictures."""
    lpips: Diversity | None = None
    """Of translations of one picture."""
    scores: ClassScores | None = None
    """Of the classes of translations."""


def frechet_distance(first: Features, second: Features) -> float:
    """Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS 2017, equation 6.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with the unbiased covariances. The trace of the
    root is the sum of the singular values of A1 A2^T, where A are the centred features over the
    root of their number less 1: exact also where there are fewer pictures than features.

    Args:
        first: [N, D], N at least 2.
        second: [M, D], M at least 2.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    difference = first.mean(axis=0) - second.mean(axis=0)
    a1, a2 = _scaled(first), _scaled(second)
    roots = np.linalg.svd(a1 @ a2.T, compute_uv=False)
    distance = difference @ difference + (a1**2).sum() + (a2**2).sum() - 2 * roots.sum()
    return max(float(distance), 0.0)  # equal sets: rounding may leave a little less than 0


def _scaled(features: Features) -> Features:
    """[N, D] -> at most [D, D] rows whose squares add up to the covariance."""
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
        seed: of the subsets.

    Returns:
        Mean and standard deviation over the subsets, and their size.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
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

    within = sum(float(k.sum() - k.trace()) for k in (kernel(first, first), kernel(second, second)))
    return float(within / (size * (size - 1)) - 2 * kernel(first, second).mean())


def class_scores(probabilities: Features) -> tuple[float, float]:
    """Inception Score (Salimans et al., 2016) and conditional Inception Score (section 5.2).

    Args:
        probabilities: [N, S, K], of K classes for each of S translations of N pictures.

    Returns:
        Both as mean KL divergence in nats.
    """
    of_picture = probabilities.mean(axis=1, keepdims=True)
    of_all = of_picture.mean(axis=0, keepdims=True)
    return _mean_divergence(probabilities, of_all), _mean_divergence(probabilities, of_picture)


def _mean_divergence(probabilities: Features, others: Features) -> float:
    """Mean KL(p || q) over all but the last axis; where p is 0 it adds nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = probabilities * (np.log(probabilities) - np.log(others))
    return float(np.where(probabilities > 0, terms, 0.0).sum(axis=-1).mean())
