"""Sheets that show saved styles: what they make of an image, or where they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from munit_edge.images.contact_sheet import cell_size, gallery, thumbnail
from munit_edge.images.io import ImageData, Images
from munit_edge.styles.codes import Styles
from munit_edge.styles.files import ImagesOrigin, NamedStyle
from munit_edge.styles.thumbnails import SIDE, draw_code, unpack_thumbnail

SHEET_COLUMNS = 6
"""Images in a row of a sheet of translations."""
REFERENCE_COLUMNS = 8
"""Thumbnails in a row of a sheet of references."""


def style_sheet(
    styles: Sequence[NamedStyle],
    decode: Callable[[Styles], Images],
    image: ImageData,
    label: str,
    on_style: Callable[[str], None] = lambda name: None,
) -> Images:
    """An image followed by its translation in every style, each above its name.

    Args:
        styles: at least one.
        decode: translates the image with one style, float32 [1, style_dim], to uint8 [H, W, C].
        image: the image.
        label: what stands below the image.
        on_style: called with each style's name when it is done.

    Returns:
        uint8 [H, W, 3], six images in a row.
    """
    cell = cell_size(SHEET_COLUMNS, max(image.pixels.shape[:2]))
    items = [(label, thumbnail(image, cell))]
    for style in styles:  # one at a time: only thumbnails are kept
        result = decode(np.array([style.code], np.float32))
        items.append((style.name, thumbnail(ImageData(result), cell)))
        on_style(style.name)
    return gallery(items, SHEET_COLUMNS, cell)


def reference_sheet(styles: Sequence[NamedStyle]) -> Images:
    """Every style's reference images, or its numbers as bars, each above its name.

    Args:
        styles: at least one.

    Returns:
        uint8 [H, W, 3], eight thumbnails in a row.
    """
    items = [(style.name, _thumbnail(style)) for style in styles]
    return gallery(items, REFERENCE_COLUMNS, SIDE)


def _thumbnail(style: NamedStyle) -> Images:
    packed = style.origin.thumbnail if isinstance(style.origin, ImagesOrigin) else None
    kept = unpack_thumbnail(packed) if packed else None
    if kept is None:
        return draw_code(np.array(style.code, np.float32))
    return thumbnail(ImageData(kept), SIDE)
