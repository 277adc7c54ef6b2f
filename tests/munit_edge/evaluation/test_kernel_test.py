"""The kernel two-sample test, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from munit_edge.evaluation.kernel_test import kernel_test


def test_p_values_are_uniform_where_the_distributions_are_equal() -> None:
    random = np.random.default_rng(2)
    tests = [
        kernel_test(random.normal(size=(12, 3)), random.normal(size=(16, 3)), seed)
        for seed in range(200)
    ]
    p_values = np.array([test.p_value for test in tests])
    # Bounds of 3 to 4 standard errors.
    assert abs(p_values.mean() - 0.5) < 0.07
    assert abs((p_values < 0.5).mean() - 0.5) < 0.12
    assert (p_values < 0.05).mean() < 0.11
    inside = [test.by_chance[0] <= test.mmd_squared <= test.by_chance[1] for test in tests]
    assert abs(np.mean(inside) - 0.9) < 0.08
    mmds = np.array([test.mmd_squared for test in tests])  # unbiased: 0 on average
    assert abs(mmds.mean()) < 3 * mmds.std() / np.sqrt(len(mmds))


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_discrepancy_of_two_normal_distributions_is_the_known_one(shift: float) -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(size=(400, 1)), random.normal(shift, 1, size=(400, 1))
    test = kernel_test(first, second)
    samples = np.concatenate([first, second])
    squares = np.square(samples - samples.T)
    width = np.median(squares[np.triu_indices(len(squares), 1)])
    # E exp(-(x - y)^2 / 2w) for x - y from N(m, 2) is sqrt(w / (w + 2)) exp(-m^2 / 2(w + 2)).
    across = np.exp(-(shift**2) / (2 * (width + 2)))
    expected = 2 * np.sqrt(width / (width + 2)) * (1 - across)
    assert test.mmd_squared == pytest.approx(expected, abs=0.2 * expected + 0.01)
    assert test.p_value == 0.001
    assert test.samples == (400, 400)


def test_the_estimate_is_the_papers_formula() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(size=(4, 2)), random.normal(size=(6, 2)) * 2
    samples = np.concatenate([first, second])
    squares = np.square(samples[:, None] - samples).sum(axis=2)
    kernel = np.exp(-squares / (2 * np.median(squares[np.triu_indices(10, 1)])))
    within = [
        np.mean([kernel[i, j] for i in part for j in part if i != j])
        for part in (range(4), range(4, 10))
    ]
    expected = sum(within) - 2 * kernel[:4, 4:].mean()
    assert kernel_test(first, second).mmd_squared == pytest.approx(expected)


def test_other_spread_of_the_same_mean_is_seen() -> None:
    random = np.random.default_rng(3)
    test = kernel_test(random.normal(size=(80, 8)), 0.5 * random.normal(size=(80, 8)))
    assert test.p_value == 0.001


def test_samples_that_never_change_do_not_differ() -> None:
    test = kernel_test(np.ones((10, 3)), np.ones((12, 3)))
    assert (test.mmd_squared, test.p_value) == (pytest.approx(0), 1)
