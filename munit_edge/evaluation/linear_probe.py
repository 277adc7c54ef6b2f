"""Can a linear classifier separate two sets of features?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.settings import StrictModel

Features = NDArray[np.float64]

NUM_FOLDS = 5
NUM_BINS = 32
PROBE_REACH = 2.0
"""Histograms of outputs cover the range from minus this to this."""


class LinearProbe(StrictModel):
    """Accuracy of a linear classifier on features that it was not fitted to."""

    accuracy: float
    """Mean of the accuracies on the two sets: 0.5 is guessing, 1 is always right."""
    chance: float
    """95th percentile of the accuracy of guessing with this number of samples."""
    samples: int
    """Number of samples in each set."""
    histograms: tuple[tuple[float, ...], tuple[float, ...]]
    """Density of the outputs for each set (-1: surely the first, 1: surely the second), in bins of
    equal width from -2 to 2."""


def density(values: Features, reach: float) -> tuple[float, ...]:
    """Histogram with `NUM_BINS` bins from -reach to reach; the outer bins include values beyond."""
    edge = reach * (1 - 1e-9)
    clipped = np.clip(values.ravel(), -edge, edge)
    heights, _ = np.histogram(clipped, NUM_BINS, (-reach, reach), density=True)
    return tuple(heights.tolist())


def linear_probe(first: Features, second: Features, seed: int = 0) -> LinearProbe:
    """Fit a ridge classifier to four fifths of the samples and test it on the last fifth.

    Each fifth is held out once. Features are standardised, and the penalty is the number of
    features, so that there may be more features than samples.

    Args:
        first: [N, D], N at least 5; the larger set is cut to the size of the smaller one.
        second: [M, D], M at least 5.
        seed: of the folds.
    """
    count = min(len(first), len(second))
    random = np.random.default_rng(seed)
    sets = [random.permutation(found)[:count] for found in (first, second)]
    features = np.concatenate(sets).astype(np.float64)
    labels = np.repeat([-1.0, 1.0], count)
    folds = np.tile(np.arange(count) % NUM_FOLDS, 2)
    answers = np.empty(2 * count)
    for fold in range(NUM_FOLDS):
        answers[folds == fold] = _answers(features, labels, folds == fold)
    # An output of exactly 0, as from constant features, counts as half right.
    accuracy = float((np.sign(answers * labels) + 1).mean() / 2)
    # The 95 % quantile of a binomial share, as a normal distribution.
    chance = 0.5 + 1.645 * 0.5 / np.sqrt(2 * count)
    return LinearProbe(
        accuracy=accuracy,
        chance=float(chance),
        samples=count,
        histograms=(density(answers[:count], PROBE_REACH), density(answers[count:], PROBE_REACH)),
    )


def _answers(
    features: Features, labels: NDArray[np.float64], held_out: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Output for each held-out sample: below 0 for the first set, above 0 for the second."""
    known = features[~held_out]
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    # A constant feature carries no information, and neither do its rounding errors.
    scale = np.where(deviation > 1e-6 * (np.abs(mean) + 1e-6), deviation, np.inf)
    fitted = (known - mean) / scale
    # The dual form: a system of N equations, however many features there are.
    gram = fitted @ fitted.T + features.shape[1] * np.eye(len(fitted))
    weights = fitted.T @ np.linalg.solve(gram, labels[~held_out])
    answers = (features[held_out] - mean) / scale @ weights
    return np.asarray(answers)
