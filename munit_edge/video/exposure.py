"""Exposure and brightness from frame to frame: holding exposure steady, and measuring flicker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge.images.io import Images
from munit_edge.settings import StrictModel

CELLS = 8
"""Areas in each direction: small enough to show local changes, large enough to average noise."""

STILL_LEVELS = 2.0
"""An area is still if its brightness changes by less than this (8-bit levels, exposure removed)."""

_DARK = 8.0
"""Levels added to the brightness, so that noise in black areas does not give large ratios."""


def area_means(pixels: Images) -> NDArray[np.float32]:
    """Mean of each channel over 8 x 8 areas of a frame, uint8 [H, W, C]: float32 [8, 8, C]."""
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(pixels[..., channel]))
            # In float: Pillow would round the means of uint8 areas to whole levels.
            .convert("F")
            .resize((CELLS, CELLS), Image.Resampling.BOX)
        )
        for channel in range(pixels.shape[2])
    ]
    return np.stack(channels, axis=-1).astype(np.float32)


def exposure_change(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much brighter a frame became, as a natural logarithm for each channel, float64 [C].

    It is the median over areas, so what moves or blinks in less than half of the image does not
    count.

    Args:
        before: `area_means` of the previous frame.
        after: `area_means` of this frame.
    """
    # Exposure multiplies all levels, so it is an addition in the logarithm.
    ratio = np.log((after.astype(np.float64) + _DARK) / (before + _DARK))
    return np.asarray(np.median(ratio, axis=(0, 1)))


def changes(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
    """Absolute change of each area without the change of exposure, float64 [8, 8, C]."""
    gain = np.exp(exposure_change(before, after))
    return np.asarray(np.abs(after - before * gain))


def exposed(pixels: Images, change: NDArray[np.float64]) -> Images:
    """A frame, uint8 [H, W, C], with its exposure changed by `change` (see `exposure_change`)."""
    if not change.any():
        return pixels
    # 256 levels are computed once for each channel, and pixels look theirs up.
    table = (np.arange(256)[:, None] + _DARK) * np.exp(change) - _DARK
    levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.stack([levels[pixels[..., c], c] for c in range(pixels.shape[2])], axis=-1)


class Flicker(StrictModel):
    """Mean change of brightness between frames where the input is still, in 8-bit levels."""

    input: float
    """The input's change in those areas: noise, and changes of exposure."""
    output: float
    """The result's change in the same areas."""
    still: float
    """Share of areas that are still, from 0 to 1."""


class FlickerMeter:
    """Measures flicker over the frames of an input and of its result.

    Brightness (ITU-R BT.601 luma, 0 to 255) is averaged over 8 x 8 areas of each frame. An area is
    still between two frames if the input's brightness there changes by less than 2 levels after the
    change of exposure, the median over all areas, is removed. Flicker is the mean absolute change
    over all still areas, so motion in the input does not count.
    """

    def __init__(self) -> None:
        self._before: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._changes = np.zeros(2)
        self._num_still = 0
        self._num_areas = 0

    def add(self, frame: Images, result: Images) -> None:
        """Add the next frame and its result, uint8 [H, W, 3] each."""
        now = _brightness(frame), _brightness(result)
        if self._before is not None:
            moved = [np.abs(after - old) for old, after in zip(self._before, now, strict=True)]
            # Decided on the input alone, so that a flickering result cannot hide its own flicker.
            still = changes(self._before[0], now[0]) < STILL_LEVELS
            self._changes += [float(change[still].sum()) for change in moved]
            self._num_still += int(still.sum())
            self._num_areas += still.size
        self._before = now

    @property
    def flicker(self) -> Flicker | None:
        """The flicker so far; None: nothing was still, or there were fewer than two frames."""
        if not self._num_still:
            return None
        before, after = self._changes / self._num_still
        return Flicker(
            input=round(before, 3),
            output=round(after, 3),
            still=round(self._num_still / self._num_areas, 3),
        )


def _brightness(rgb: Images) -> NDArray[np.float32]:
    return area_means(np.asarray(Image.fromarray(rgb).convert("L"))[..., None])
