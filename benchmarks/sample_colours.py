"""The colour inside a shape, measured on images whose shape is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.images.sample_data import Shape, shape_mask

Numbers = NDArray[np.float64]

WHOLE = 0.999
"""Least share of a pixel that the shape covers: edge pixels are part white, or part outline."""
MIN_CHROMA = 8.0
"""A colour is grey if its largest and smallest channel differ by less, in levels of 255."""
CHANCE = 0.25
"""Mean error of a random hue, as a fraction of the colour circle."""


def mean_colours(pictures: NDArray[np.uint8], shapes: list[Shape]) -> Numbers:
    """Mean colour inside the shape of each image.

    Args:
        images: uint8 [N, S, S, 3].
        shapes: what is in them, or should be.

    Returns:
        Levels from 0 to 255, [N, 3].
    """
    size = pictures.shape[1]
    masks = (shape_mask(shape, size) > WHOLE for shape in shapes)
    return np.stack([p[mask].mean(axis=0) for p, mask in zip(pictures, masks, strict=True)])


def hues(colours: Numbers) -> Numbers:
    """Hue of each colour: [N, 3] -> [N], from 0 to 1 (0 red, 1/3 green, 2/3 blue); grey is NaN.

    White or black mixed with a colour leaves its hue, so textures and soft edges do no harm.
    """
    red, green, blue = np.moveaxis(colours, -1, 0)
    # The angle of the colour around the axis from black to white, in sixths of the circle.
    chroma = colours.max(axis=-1) - colours.min(axis=-1)
    safe = np.where(chroma < MIN_CHROMA, np.nan, chroma)
    largest = colours.argmax(axis=-1)
    sixths = np.choose(
        largest,
        [(green - blue) / safe, 2 + (blue - red) / safe, 4 + (red - green) / safe],
    )
    return np.asarray(sixths / 6 % 1.0)


def hue_errors(found: Numbers, wanted: Numbers) -> Numbers:
    """Distance on the colour circle for each hue, 0 to 0.5; the mean random error for grey."""
    difference = np.abs(found - wanted) % 1.0
    distance = np.minimum(difference, 1 - difference)
    return np.where(np.isnan(distance), CHANCE, distance)


def spread(colours: Numbers) -> float:
    """Standard deviation of colours over all three channels together.

    Args:
        colours: [G, N, 3], N colours in each of G groups, such as the styles of each image. The
            variance within a group counts, whatever the groups' means are.

    Returns:
        In levels of 255. An estimate that does not depend on N.
    """
    return float(np.sqrt(colours.var(axis=1, ddof=1).sum(axis=-1).mean()))
