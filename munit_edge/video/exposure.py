"""Keeping the exposure of frames steady, as a camera's automatic control does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge.images.io import Images

CELLS = 8
"""Areas in each direction: small enough to see local change, large enough to average noise."""

_DARK = 8.0
"""Levels added to brightness, so that noise in black areas is no large ratio."""


def area_means(pixels: Images) -> NDArray[np.float32]:
    """Mean of each channel over 8 x 8 areas of a frame, uint8 [H, W, C]: float32 [8, 8, C]."""
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels[..., channel]))
            .convert("F")
            .resize((CELLS, CELLS), Image.Resampling.BOX)
        )
        for channel in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def exposure_change(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much brighter a frame became, as a natural logarithm for each channel, float64 [C].

    The median over areas: what moves or blinks in less than half of the picture does not count.

    Args:
        before: `area_means` of the frame before.
        after: of the frame.
    """
    ratio = np.log((after.astype(np.float64) + _DARK) / (before + _DARK))
    return np.asarray(np.median(ratio, axis=(0, 1)))


def changes(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Absolute change of each area once the change of exposure is taken out, float64 [8, 8, C]."""
    gain = np.exp(exposure_change(before, after))
    return np.asarray(np.abs(after - before * gain))


def exposed(pixels: Images, change: NDArray[np.float64]) -> Images:
    """A frame, uint8 [H, W, C], made brighter by what `exposure_change` gives."""
    if not change.any():
        return pixels
    table = (np.arange(256)[:, None] + _DARK) * np.exp(change) - _DARK
    levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.stack([levels[pixels[..., c], c] for c in range(pixels.shape[2])], axis=-1)
