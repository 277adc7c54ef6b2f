"""The linear probe, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from munit_edge.evaluation.linear_probe import linear_probe


@pytest.mark.parametrize("num_features", [3, 200])
def test_equal_distributions_cannot_be_distinct(num_features: int) -> None:
    random = np.random.default_rng(0)
    probes = [
        linear_probe(
            random.normal(size=(40, num_features)), random.normal(size=(40, num_features)), seed
        )
        for seed in range(40)
    ]
    accuracies = np.array([probe.accuracy for probe in probes])
    assert abs(accuracies.mean() - 0.5) < 0.04
    assert (accuracies > probes[0].chance).mean() < 0.2
    assert probes[0].chance == pytest.approx(0.5 + 1.645 * np.sqrt(0.25 / 80))


@pytest.mark.parametrize("num_features", [1, 5, 200])
def test_separable_sets_are_distinct(num_features: int) -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 50, num_features))
    first[:, 0] += 1000  # whatever the scale and the mean
    second[:, 0] += 1000 + 20
    second[:, 1:] += 2
    assert linear_probe(first, second).accuracy == 1


def test_overlapping_normal_distributions_give_the_known_share() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 500, 1))
    probe = linear_probe(first, second + 2)
    assert probe.accuracy == pytest.approx(0.8413, abs=0.03)  # of N(0, 1) below 1


def test_the_larger_set_is_cut_and_constant_features_tell_nothing() -> None:
    probe = linear_probe(np.full((30, 4), 0.1), np.full((10, 4), 0.1))
    assert (probe.accuracy, probe.samples) == (0.5, 10)
