"""Pictures as arrays: padding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]


def pad_to_multiple(images: Images, multiple: int, minimum: int = 1) -> Images:
    """Pad by reflection at the bottom and on the right.

    Crop the result back with ``padded[..., :height, :width, :]``.

    Args:
        images: uint8 [..., H, W, C], any H and W from 1 up.
        multiple: height and width of the result are multiples of this (pixels).
        minimum: and at least this (pixels).
    """
    height, width = images.shape[-3:-1]
    below, right = (
        -(-max(side, minimum) // multiple) * multiple - side for side in (height, width)
    )
    if not below and not right:
        return images
    before = [(0, 0)] * (images.ndim - 3)
    # NumPy reflects again and again where the padding is wider than the picture.
    return np.pad(images, [*before, (0, below), (0, right), (0, 0)], mode="reflect")
