"""How much a video flickers: the change of brightness from frame to frame, by area."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from munit_edge.images import Images

CELLS = 8
"""Areas in each direction: small enough to see local flicker, large enough to ignore noise."""


class FlickerMeter:
    """Mean absolute change of brightness between two frames that follow each other.

    Brightness (ITU-R BT.601 luma, 0 to 255) is averaged over each of 8 x 8 areas of the frame; the
    number is the mean over areas and pairs of frames, in 8-bit levels. Movement changes it, too, so
    it says something only beside the same number of the input.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.float32] | None = None
        self._sum = 0.0
        self._pairs = 0

    def add(self, rgb: Images) -> None:
        """The next frame, uint8 [H, W, 3]."""
        luma = Image.fromarray(rgb).convert("L").convert("F")
        areas = np.asarray(luma.resize((CELLS, CELLS), Image.Resampling.BOX), np.float32)
        if self._before is not None:
            self._sum += float(np.abs(areas - self._before).mean())
            self._pairs += 1
        self._before = areas

    @property
    def level(self) -> float | None:
        """The number so far; None before the second frame."""
        return self._sum / self._pairs if self._pairs else None
