"""Bar charts drawn with Pillow: groups of rows with one or more measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from munit_edge.images.pixel_formats import Images
from munit_edge.images.text import fitted, font, latin, text_width

COLOURS = ((54, 112, 168), (214, 130, 58), (92, 150, 96), (150, 98, 160))
"""Bar colours of the measures, in order."""

_MARGIN = 28
_ROW, _BAR = 30, 18
_GROUP_GAP = 22
_BAR_WIDTH = 300
_NUMBER_WIDTH = 92
_WHITE, _INK, _FAINT = (255, 255, 255), (45, 45, 45), (120, 120, 120)
_LINE = (222, 222, 222)
_TITLE_SIZE, _HEADER_SIZE, _TEXT_SIZE = 20, 15, 14


@dataclass(frozen=True)
class ChartRow:
    """One measured subject."""

    label: str
    """Text on the left."""
    values: tuple[float | None, ...]
    """A value for each measure; None: no bar."""
    note: str = ""
    """Text instead of the bars, such as why nothing was measured."""


@dataclass(frozen=True)
class ChartGroup:
    """Rows that are compared with each other: their bars share one scale."""

    title: str
    """Text above the rows."""
    rows: tuple[ChartRow, ...]
    """At least one."""


def bar_chart(
    title: str, subtitle: str, measures: Sequence[str], groups: Sequence[ChartGroup]
) -> Images:
    """Draw a chart on white.

    Args:
        title: first line.
        subtitle: lines below it, smaller.
        measures: name of each column of bars, such as "images per second".
        groups: the rows; each group has its own scale for each measure.

    Returns:
        uint8 [H, W, 3].
    """
    labels = [row.label for group in groups for row in group.rows]
    label_width = max(text_width(label, _TEXT_SIZE) for label in labels) + 16
    column = _BAR_WIDTH + _NUMBER_WIDTH
    lines = latin(subtitle).splitlines()
    texts = [(title, _TITLE_SIZE), *((line, _TEXT_SIZE) for line in lines)]
    widest = max(text_width(text, size) for text, size in texts)
    width = 2 * _MARGIN + max(label_width + len(measures) * column, widest)
    top = _MARGIN + 34 + 20 * len(lines) + 12
    num_rows = sum(len(group.rows) for group in groups)
    height = top + 30 + len(groups) * (_ROW + _GROUP_GAP) + num_rows * _ROW + _MARGIN - _GROUP_GAP

    sheet = Image.new("RGB", (width, height), _WHITE)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), latin(title), fill=_INK, font=font(_TITLE_SIZE))
    for number, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + 34 + 20 * number)
        draw.text(place, line, fill=_FAINT, font=font(_TEXT_SIZE))
    starts = [_MARGIN + label_width + column * index for index in range(len(measures))]
    for index, (x, measure) in enumerate(zip(starts, measures, strict=True)):
        draw.text((x, top), latin(measure), fill=_colour(index), font=font(_HEADER_SIZE))
    y = top + 30
    for group in groups:
        draw.text((_MARGIN, y), latin(group.title), fill=_INK, font=font(_HEADER_SIZE))
        draw.line((_MARGIN, y + _ROW - 7, width - _MARGIN, y + _ROW - 7), fill=_LINE)
        y += _ROW
        for row in group.rows:
            _draw_row(draw, row, group, starts, y)
            y += _ROW
        y += _GROUP_GAP
    return np.array(sheet)


def _draw_row(
    draw: ImageDraw.ImageDraw, row: ChartRow, group: ChartGroup, starts: Sequence[int], y: int
) -> None:
    text_font = font(_TEXT_SIZE)
    draw.text((_MARGIN, y + 2), latin(row.label), fill=_INK, font=text_font)
    if row.note:
        room = len(starts) * (_BAR_WIDTH + _NUMBER_WIDTH)
        note = fitted(" ".join(row.note.split()), _TEXT_SIZE, room)
        draw.text((starts[0], y + 2), note, fill=_FAINT, font=text_font)
        return
    for index, (x, value) in enumerate(zip(starts, row.values, strict=True)):
        if value is None:
            continue
        largest = max(other.values[index] or 0 for other in group.rows if not other.note)
        length = max(1, round(_BAR_WIDTH * value / largest)) if largest > 0 else 1
        draw.rectangle((x, y + 1, x + length, y + 1 + _BAR), fill=_colour(index))
        draw.text((x + length + 8, y + 2), short_number(value), fill=_INK, font=text_font)


def short_number(value: float) -> str:
    """Three significant digits, or a whole number from 100 on: 0.0123, 4.56, 78.9, 12345."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _colour(index: int) -> tuple[int, int, int]:
    return COLOURS[index % len(COLOURS)]
