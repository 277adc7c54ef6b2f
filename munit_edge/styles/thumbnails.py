"""What a style looks like in a list: thumbnails of its reference images, or its code as bars."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from munit_edge.images.contact_sheet import thumbnail
from munit_edge.images.io import ImageData, Images
from munit_edge.styles.codes import Styles

SIDE = 96
"""Longer side in pixels of a thumbnail."""
MAX_BYTES = 3000
"""Size limit of its file; in base64 that is 4000 characters."""
MAX_IMAGES = 4
"""Number of reference images that are shown, two in a row."""

_QUALITIES = (90, 80, 65, 50, 30, 20, 10)
"""JPEG qualities, tried in order until the file is small enough. 10 always is: 96 x 96 pixels of
noise take 1.6 kB."""
_MAX_READ_SIDE = 512
"""Style files may be untrusted: larger images in them are not decoded."""
_REACH = 3.0
"""Magnitude at which a bar has its full height; 3 in 1000 random numbers are larger."""
_BACKGROUND, _AXIS = (246, 246, 246), (190, 190, 190)
_POSITIVE, _NEGATIVE = (66, 103, 172), (201, 104, 62)


def pack_thumbnail(images: Sequence[ImageData]) -> str:
    """The first reference images as one small JPEG file, in base64.

    Args:
        images: at least one; more than `MAX_IMAGES` are not shown.

    Returns:
        At most 4000 characters.
    """
    sheet = Image.fromarray(_side_by_side(images[:MAX_IMAGES]))
    for quality in _QUALITIES:
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_BYTES:
            break
    return base64.b64encode(file.getvalue()).decode("ascii")


def unpack_thumbnail(text: str) -> Images | None:
    """The image that `pack_thumbnail` packed, uint8 [h, w, 3]; None: it is damaged."""
    try:
        data = base64.b64decode(text, validate=True)
        # Of one format, and sized before it is decoded: the file may come from anybody.
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if max(image.size) > _MAX_READ_SIDE:
                return None
            return np.array(image.convert("RGB"))
    except (ValueError, OSError, SyntaxError):  # raised by Pillow for damaged files
        return None


def draw_code(code: Styles, side: int = SIDE) -> Images:
    """A style code [style_dim] as bars, so that a style without an image can be recognised.

    Args:
        code: the numbers; positive ones point upwards, 3 is the full height.
        side: of the square in pixels.

    Returns:
        uint8 [side, side, 3].
    """
    image = Image.new("RGB", (side, side), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    middle, reach = side / 2, 0.44 * side
    step = 0.88 * side / len(code)
    for index, number in enumerate(np.clip(code / _REACH, -1, 1)):
        left = 0.06 * side + index * step
        # Pillow wants the upper corner first.
        top, bottom = sorted((middle, middle - reach * float(number)))
        fill = _POSITIVE if number > 0 else _NEGATIVE
        draw.rectangle((left, top, left + max(1.0, 0.8 * step), bottom), fill=fill)
    draw.line((0, middle, side, middle), fill=_AXIS)
    return np.array(image)


def _side_by_side(images: Sequence[ImageData]) -> Images:
    """A single image alone; several in rows of two, on white."""
    if len(images) == 1:
        return thumbnail(images[0], SIDE)
    cell = SIDE // 2
    canvas = np.full((-(-len(images) // 2) * cell, SIDE, 3), 255, np.uint8)
    for index, image in enumerate(images):
        small = thumbnail(image, cell - 2)
        height, width = small.shape[:2]
        row, column = divmod(index, 2)
        top, left = row * cell + (cell - height) // 2, column * cell + (cell - width) // 2
        canvas[top : top + height, left : left + width] = small
    return canvas
