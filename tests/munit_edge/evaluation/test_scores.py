"""FID, KID, IS and CIS against known values and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munit_edge.evaluation.scores import (
    KID_SUBSETS,
    Features,
    class_scores,
    frechet_distance,
    kernel_distance,
)


def white(count: int, dimensions: int, seed: int) -> Features:
    """Samples whose mean is 0 and whose covariance is the unit matrix, exactly."""
    samples = np.random.default_rng(seed).standard_normal((count, dimensions))
    samples -= samples.mean(axis=0)
    root = np.linalg.cholesky(np.cov(samples, rowvar=False))
    return np.asarray(np.linalg.solve(root, samples.T).T)


@pytest.mark.parametrize("counts", [(50, 60), (50, 6), (6, 7)])
def test_fid_of_known_normal_distributions(counts: tuple[int, int]) -> None:
    """Of diagonal covariances it is |m1 - m2|^2 + the sum of (s1 - s2)^2."""
    means = np.array([[1.0, -2, 0, 3, 5], [0.0, 1, 2, 3, -1]])
    stds = np.array([[1.0, 2, 3, 0.5, 1], [2.0, 2, 1, 0.1, 4]])
    first, second = (
        white(count, 5, seed) * std + mean
        for count, seed, std, mean in zip(counts, (0, 1), stds, means, strict=True)
    )
    expected = ((means[0] - means[1]) ** 2).sum() + ((stds[0] - stds[1]) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("counts", [(6, 8), (30, 6), (40, 30)])
def test_fid_of_any_covariances_and_of_few_images(counts: tuple[int, int]) -> None:
    """The formula as it is written, where the covariances have no inverse."""
    random = np.random.default_rng(2)
    first, second = (
        random.standard_normal((count, 12)) @ random.standard_normal((12, 12)) for count in counts
    )
    c1, c2 = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(c1 @ c2).real, 0)).sum()
    difference = first.mean(axis=0) - second.mean(axis=0)
    expected = difference @ difference + c1.trace() + c2.trace() - 2 * roots
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_fid_of_moved_and_of_equal_sets() -> None:
    features = np.random.default_rng(3).standard_normal((20, 40)).astype(np.float32)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 40, rel=1e-5)


def test_kid_is_what_loops_give() -> None:
    random = np.random.default_rng(4)
    first, second = random.standard_normal((9, 5)), random.standard_normal((12, 5)) + 0.5

    def kernel(x: Features, y: Features) -> float:
        return float((x @ y / 5 + 1) ** 3)

    draw, expected = np.random.default_rng(7), []
    for _ in range(KID_SUBSETS):
        x = first[draw.choice(9, 4, replace=False)]
        y = second[draw.choice(12, 4, replace=False)]
        within_x = sum(kernel(x[i], x[j]) for i in range(4) for j in range(4) if i != j) / 12
        within_y = sum(kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j) / 12
        across = sum(kernel(x[i], y[j]) for i in range(4) for j in range(4)) / 16
        expected.append(within_x + within_y - 2 * across)
    mean, std, size = kernel_distance(first, second, seed=7)
    assert size == 4
    assert mean == pytest.approx(np.mean(expected))
    assert std == pytest.approx(np.std(expected))


def test_kid_of_one_distribution_is_0_with_few_samples_too() -> None:
    """FID of the same samples is far from 0: it is biased."""
    random = np.random.default_rng(5)
    found = [
        kernel_distance(random.standard_normal((20, 8)), random.standard_normal((20, 8)))[0]
        for _ in range(30)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / math.sqrt(len(found))
    samples = random.standard_normal((2, 20, 8))
    assert frechet_distance(samples[0], samples[1]) > 1


def test_scores_of_clear_classes() -> None:
    certain = np.eye(4)
    all_classes = np.stack([certain, certain])  # each image in every class
    assert class_scores(all_classes) == pytest.approx((math.log(4), math.log(4)))
    one_class = np.repeat(certain[:, None], 3, axis=1)  # styles change nothing
    assert class_scores(one_class) == pytest.approx((math.log(4), 0))
    assert class_scores(np.full((3, 5, 4), 0.25)) == pytest.approx((0, 0))


def test_scores_by_hand() -> None:
    # Two translations of each of two images, two classes.
    probabilities = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.4, 0.6]]])

    def divergence(p: Features, q: Features) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    overall = np.array([0.5, 0.5])  # (0.9 + 0.5 + 0.2 + 0.4) / 4
    means = np.array([[0.7, 0.3], [0.3, 0.7]])
    pairs = [(i, j) for i in range(2) for j in range(2)]
    inception = sum(divergence(probabilities[i, j], overall) for i, j in pairs) / 4
    conditional = sum(divergence(probabilities[i, j], means[i]) for i, j in pairs) / 4
    assert class_scores(probabilities) == pytest.approx((inception, conditional))
