"""Difference of two images: PSNR and SSIM, for levels of 0 to 255."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.images.io import Images

NO_DIFFERENCE_DB = 100.0
"""PSNR that stands for equal images, for which the formula gives infinity."""

# The paper's values (section III-C); K1 = 0.01 and K2 = 0.03.
_WINDOW, _STD = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def mean_squared_error(image: Images, reference: Images) -> float:
    """Mean squared difference in squared levels; both are uint8 [..., H, W, C]."""
    return float(np.square(image.astype(np.float64) - reference).mean())


def psnr_db(squared_error: float) -> float:
    """Peak signal to noise ratio of a mean squared error, at most `NO_DIFFERENCE_DB`."""
    if squared_error == 0:
        return NO_DIFFERENCE_DB
    return float(min(NO_DIFFERENCE_DB, 10 * np.log10(255**2 / squared_error)))


def ssim(image: Images, reference: Images) -> float:
    """Structural similarity (Wang et al., 2004): Gaussian window, mean over pixels and channels.

    The window has 11 pixels, or the side of a smaller image.

    Args:
        image: uint8 [H, W, C].
        reference: of the same shape.
    """
    x, y = image.astype(np.float64), reference.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    # With C3 = C2 / 2 the terms for contrast and structure become one (equation 13).
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return float((luminance * structure).mean())


def _blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian means over windows, [H, W, C] -> [H - 10, W - 10, C]."""
    for axis in (0, 1):
        window = min(_WINDOW, values.shape[axis])
        offsets = np.arange(window) - (window - 1) / 2
        weights = np.exp(-(offsets**2) / (2 * _STD**2))
        weights /= weights.sum()
        length = values.shape[axis] - window + 1
        # A Gaussian is separable: one axis after the other.
        values = sum(
            weight * values.take(range(i, i + length), axis) for i, weight in enumerate(weights)
        )
    return values
