"""A plot of the propositions, with panels for styles, contents and kernel tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from munit_edge.evaluation.linear_probe import PROBE_REACH
from munit_edge.evaluation.propositions import STYLE_REACH, Propositions
from munit_edge.images.bar_chart import COLOURS
from munit_edge.images.io import Images
from munit_edge.images.text import font

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_PANEL_HW = (300, 400)
_MARGIN, _HEADER, _LABELS = 24, 50, 96
_WHITE, _INK, _FAINT, _LINE = (255, 255, 255), (45, 45, 45), (120, 120, 120), (205, 205, 205)


def propositions_plot(found: Propositions) -> Images:
    """Draw the propositions side by side: uint8 [H, W, 3]."""
    height, width = _PANEL_HW
    sheet = Image.new("RGB", (3 * width + 4 * _MARGIN, height + 2 * _MARGIN), _WHITE)
    draw = ImageDraw.Draw(sheet)
    boxes = []
    titles = {
        "Styles of real images": "good: like N(0, I), the thin line",
        "Domain from content": "good: both alike, around 0",
        "Kernel tests, squared MMD": "good: the dot not right of the grey bar (chance)",
    }
    for number, (title, note) in enumerate(titles.items()):
        left = _MARGIN + number * (width + _MARGIN)
        draw.text((left, _MARGIN), title, fill=_INK, font=font(17))
        draw.text((left, _MARGIN + 24), note, fill=_FAINT, font=font(13))
        boxes.append((left, _MARGIN + _HEADER, left + width, _MARGIN + height))
    styles = [style.histogram for style in found.styles.values()]
    places = np.linspace(-STYLE_REACH, STYLE_REACH, 129)
    normal = np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi)
    _histograms(draw, boxes[0], styles, STYLE_REACH, normal.tolist())
    _histograms(draw, boxes[1], found.content_probe.histograms, PROBE_REACH)
    _intervals(draw, boxes[2], found)
    return np.array(sheet)


def _histograms(
    draw: ImageDraw.ImageDraw,
    box: Box,
    densities: Sequence[Sequence[float]],
    reach: float,
    curve: Sequence[float] = (),
) -> None:
    """Histograms of domains a and b from -reach to reach, and a curve for comparison."""
    left, top, right, bottom = box[0], box[1], box[2], box[3] - 24
    tallest = max(max(heights) for heights in (*densities, curve or (0,)))
    draw.line((left, bottom, right, bottom), fill=_LINE)
    for place in (-reach, 0.0, reach):
        x = left + (right - left) * (place + reach) / (2 * reach)
        draw.text((x, bottom + 6), f"{place:g}", fill=_FAINT, font=font(13), anchor="mt")

    def line(heights: Sequence[float], colour: tuple[int, int, int], width: int) -> None:
        across = np.linspace(left, right, len(heights))
        points = [
            (float(x), bottom - (bottom - top - 8) * height / tallest)
            for x, height in zip(across, heights, strict=True)
        ]
        draw.line(points, fill=colour, width=width)

    for number, (name, heights) in enumerate(zip("ab", densities, strict=True)):
        line(np.repeat(heights, 8).tolist(), COLOURS[number], 3)
        draw.text((left + 4, top + 18 * number), name, fill=COLOURS[number], font=font(16))
    if curve:
        line(curve, _INK, 1)


def _intervals(draw: ImageDraw.ImageDraw, box: Box, found: Propositions) -> None:
    """Each kernel test: chance as a bar, the result as a dot, and the p-value."""
    tests = {f"styles {domain}": style.test for domain, style in found.styles.items()}
    tests |= {f"looks {direction}": test for direction, test in found.translations.items()}
    if found.joint is not None:
        tests["pairs"] = found.joint
    # One scale for all tests, with 0 on it.
    ends = [end for test in tests.values() for end in (*test.by_chance, test.mmd_squared, 0.0)]
    lowest, extent = min(ends), max(max(ends) - min(ends), 1e-9)
    left, right = box[0] + _LABELS, box[2] - 12

    def place(value: float) -> float:
        return left + (right - left) * (value - lowest) / extent

    draw.line((place(0), box[1], place(0), box[3] - 24), fill=_LINE)
    draw.text((place(0), box[3] - 18), "0", fill=_FAINT, font=font(13), anchor="mt")
    for number, (name, test) in enumerate(tests.items()):
        y = box[1] + 14 + number * 44
        draw.text((box[0], y - 9), name, fill=_INK, font=font(14))
        draw.text((box[0], y + 7), f"p = {test.p_value:.3f}", fill=_FAINT, font=font(12))
        low, high = map(place, test.by_chance)
        draw.rectangle((low, y - 6, high, y + 6), fill=_LINE)
        x = place(test.mmd_squared)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=COLOURS[0])
