"""Contact sheets: inputs on the left, styles on top, results in the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from munit_edge.images.io import ImageData, Images, on_white
from munit_edge.images.text import fitted, font

CELL = 192
"""Height and width of the square that each image is fitted into, in pixels."""
MIN_CELL = 48
MAX_SIDE = 12_000
"""Approximate largest width of a sheet in pixels: with many columns the cells shrink."""

_MARGIN = 20
_GAP = 8
_LABEL_HEIGHT = 22
_FONT_SIZE = 13
_WHITE = (255, 255, 255)
_INK = (60, 60, 60)
_FRAME = (225, 225, 225)
_FRAME_ALPHA = 80
_GREY = (118, 118, 118)
"""A text colour that is readable on white and on black."""


@dataclass(frozen=True)
class Column:
    """Header of one column of results."""

    label: str
    """Name of the style."""
    reference: Images | None = None
    """Thumbnail of the image that the style was taken from."""


@dataclass(frozen=True)
class Row:
    """One input and its results, as thumbnails."""

    label: str
    """Name of the input."""
    images: tuple[Images, ...]
    """The input, then one result for each column."""


def cell_size(num_columns: int, side: int = CELL) -> int:
    """Side in pixels of a sheet's cells.

    Args:
        num_columns: columns of results.
        side: longer side of a typical image in pixels; cells enlarge small ones 4 times at most.
    """
    fitting = (MAX_SIDE - 2 * _MARGIN) // (num_columns + 1) - _GAP
    return max(MIN_CELL, min(CELL, fitting, 4 * side))


def thumbnail(image: ImageData, cell: int = CELL) -> Images:
    """Fit an image into a square of `cell` pixels; alpha is blended with white.

    Args:
        image: 1, 3 or 4 channels, any size.
        cell: side of the square in pixels.

    Returns:
        uint8 [h, w, 3] of the same aspect ratio, where the longer of h and w is `cell`.
    """
    pixels, alpha = image.pixels, image.alpha
    if pixels.shape[2] == 4:
        pixels, alpha = pixels[..., :3], pixels[..., 3]
    if alpha is not None:
        pixels = on_white(pixels, alpha)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    height, width = pixels.shape[:2]
    scale = cell / max(height, width)
    size = tuple(max(1, round(side * scale)) for side in (width, height))
    # Greatly enlarged images keep sharp pixels: they show the model's output, not a filter's.
    resample = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return np.array(Image.fromarray(pixels).resize(size, resample))


def contact_sheet(columns: Sequence[Column], rows: Sequence[Row], cell: int = CELL) -> Images:
    """Arrange thumbnails in a grid on white.

    Args:
        columns: the styles, at least one.
        rows: inputs with one result for each style, at least one.
        cell: side of the squares that the thumbnails were fitted into (pixels).

    Returns:
        uint8 [H, W, 3].
    """
    step = cell + _GAP
    guided = any(column.reference is not None for column in columns)
    header = _LABEL_HEIGHT + (step + _LABEL_HEIGHT if guided else 0)
    row_step = step + _LABEL_HEIGHT
    width = 2 * _MARGIN + (len(columns) + 1) * step - _GAP
    height = 2 * _MARGIN + header + len(rows) * row_step - _GAP
    sheet = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, column in enumerate(columns):
        x = _MARGIN + (index + 1) * step
        _label(draw, column.label, x, _MARGIN, cell)
        if column.reference is not None:
            _paste(sheet, column.reference, x, _MARGIN + _LABEL_HEIGHT, cell)
    for row_index, row in enumerate(rows):
        y = _MARGIN + header + row_index * row_step
        for index, image in enumerate(row.images):
            _paste(sheet, image, _MARGIN + index * step, y, cell)
        _label(draw, row.label, _MARGIN, y + cell + 2, cell)
    return np.array(sheet)


def gallery(items: Sequence[tuple[str, Images]], columns: int, cell: int = CELL) -> Images:
    """Arrange thumbnails on white, row by row, each with its label below.

    Args:
        items: labels and thumbnails, at least one.
        columns: thumbnails in a row.
        cell: side of the squares that the thumbnails were fitted into (pixels).

    Returns:
        uint8 [H, W, 3].
    """
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)
    step, row_step = cell + _GAP, cell + _GAP + _LABEL_HEIGHT
    size = (2 * _MARGIN + columns * step - _GAP, 2 * _MARGIN + rows * row_step - _GAP)
    sheet = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(sheet)
    for index, (label, image) in enumerate(items):
        x, y = _MARGIN + index % columns * step, _MARGIN + index // columns * row_step
        _paste(sheet, image, x, y, cell)
        _label(draw, label, x, y + cell + 2, cell)
    return np.array(sheet)


def labelled_grid(
    headers: Sequence[str], rows: Sequence[Sequence[tuple[Images, str]]], cell: int = CELL
) -> Images:
    """Arrange thumbnails of one size under headers, transparent for light and dark pages.

    Args:
        headers: texts above the columns.
        rows: for each column a thumbnail and the text below it; at least one row.
        cell: side of the square that the thumbnails were fitted into (pixels).

    Returns:
        uint8 [H, W, 4].
    """
    height, width = rows[0][0][0].shape[:2]
    step, row_step = max(width, cell // 2) + _GAP, height + _GAP + _LABEL_HEIGHT
    size = (len(headers) * step + _GAP, _LABEL_HEIGHT + len(rows) * row_step + _GAP)
    sheet = Image.new("RGBA", size, (*_GREY, 0))
    draw = ImageDraw.Draw(sheet)
    for column, header in enumerate(headers):
        x = _GAP + column * step
        _label(draw, header, x, 2, step - _GAP, _GREY)
        for row, cells in enumerate(rows):
            image, caption = cells[column]
            left, y = x + (step - _GAP - width) // 2, _LABEL_HEIGHT + row * row_step
            frame = (left - 1, y - 1, left + width, y + height)
            draw.rectangle(frame, outline=(*_GREY, _FRAME_ALPHA))
            sheet.paste(Image.fromarray(image), (left, y))
            _label(draw, caption, x, y + height + 2, step - _GAP, _GREY)
    return np.array(sheet)


def _paste(sheet: Image.Image, image: Images, x: int, y: int, cell: int) -> None:
    """Draw a thumbnail in the centre of the cell at (x, y), with a thin frame."""
    height, width = image.shape[:2]
    x, y = x + (cell - width) // 2, y + (cell - height) // 2
    frame = (x - 1, y - 1, x + width, y + height)
    ImageDraw.Draw(sheet).rectangle(frame, outline=_FRAME)
    sheet.paste(Image.fromarray(image), (x, y))


def _label(
    draw: ImageDraw.ImageDraw,
    text: str,
    x: int,
    y: int,
    cell: int,
    ink: tuple[int, int, int] = _INK,
) -> None:
    """Draw `text`, cut to the width of a cell and centred, at (x, y)."""
    text = fitted(text, _FONT_SIZE, cell)
    left = x + (cell - font(_FONT_SIZE).getlength(text)) / 2
    draw.text((left, y), text, fill=ink, font=font(_FONT_SIZE))
