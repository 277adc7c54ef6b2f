"""How much a video flickers: the change of its brightness where the input stands still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge.images.io import Images
from munit_edge.settings import StrictModel
from munit_edge.video.exposure import area_means, changes

STILL_LEVELS = 2.0
"""An area whose brightness changes by less (8-bit levels, without exposure) stands still."""


class Flicker(StrictModel):
    """Mean change of brightness from frame to frame, in 8-bit levels, where the input is still."""

    input: float
    """Of the input in those areas: noise, and changes of exposure."""
    output: float
    """Of the result in the same areas."""
    still: float
    """The share of areas that stand still, from 0 to 1."""


class FlickerMeter:
    """Measures flicker over the frames of an input and of its result.

    Brightness (ITU-R BT.601 luma, 0 to 255) is averaged over 8 x 8 areas of each frame. An area
    stands still between two frames when the input's brightness there changes by less than 2 levels
    once the change of exposure, the median over all areas, is taken out. Flicker is the mean
    absolute change over all areas that stand still: what moves in the input does not count.
    """

    def __init__(self) -> None:
        self._before: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._changes = np.zeros(2)
        self._num_still = 0
        self._num_areas = 0

    def add(self, frame: Images, result: Images) -> None:
        """The next frame and its result, uint8 [H, W, 3] each."""
        now = _brightness(frame), _brightness(result)
        if self._before is not None:
            moved = [np.abs(after - old) for old, after in zip(self._before, now, strict=True)]
            still = changes(self._before[0], now[0]) < STILL_LEVELS
            self._changes += [float(change[still].sum()) for change in moved]
            self._num_still += int(still.sum())
            self._num_areas += still.size
        self._before = now

    @property
    def flicker(self) -> Flicker | None:
        """What was measured; None: nothing stood still, or there were fewer than two frames."""
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
