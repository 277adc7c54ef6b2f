from __future__ import annotations

import numpy as np
import pytest
from noise_images import noise

from munit_edge.images.difference import mean_squared_error, psnr_db, ssim


def test_squared_error_and_psnr() -> None:
    black, grey = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 5, np.uint8)
    assert mean_squared_error(black, grey) == mean_squared_error(grey, black) == 25
    assert psnr_db(25.0) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr_db(0.0) == 100


def test_ssim_is_the_mean_over_windows() -> None:
    """Against the formula written out for every window."""
    x, y = noise(24, 17).astype(float), noise(24, 17, seed=1).astype(float)
    y = 0.7 * x + 0.3 * y
    weights = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    kernel = np.outer(weights, weights)[..., None]
    kernel /= kernel.sum()
    y = y.round()
    values = []
    for i in range(24 - 10):
        for j in range(17 - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_a, mean_b = (kernel * a).sum((0, 1)), (kernel * b).sum((0, 1))
            var_a = (kernel * (a - mean_a) ** 2).sum((0, 1))
            var_b = (kernel * (b - mean_b) ** 2).sum((0, 1))
            cov = (kernel * (a - mean_a) * (b - mean_b)).sum((0, 1))
            c1, c2 = 2.55**2, 7.65**2
            numerator = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
            values.append(numerator / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
    assert ssim(x.astype(np.uint8), y.astype(np.uint8)) == pytest.approx(np.mean(values), abs=1e-9)


@pytest.mark.parametrize("size", [(24, 17), (8, 30)])
def test_ssim_of_the_same_image(size: tuple[int, int]) -> None:
    assert ssim(noise(*size), noise(*size)) == pytest.approx(1)
    assert ssim(noise(*size), noise(*size, seed=1)) < 0.5
