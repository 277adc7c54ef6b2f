"""Charts: axes, thinned bands, and SVG that a parser reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from munit_edge.trainer.run.chart import HEIGHT, WIDTH, Axis, Level, Series, chart, value_axis
from munit_edge.trainer.run.curves import Point


def points(*means: float) -> list[Point]:
    return [Point(10 * i, mean, mean - 0.1, mean + 0.1) for i, mean in enumerate(means, 1)]


def drawn(svg: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(tag))


def places(element: ET.Element) -> list[tuple[float, float]]:
    pairs = (pair.split(",") for pair in element.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def test_a_line_lies_where_its_numbers_are() -> None:
    svg = chart("a < b", [Series("a", points(1, 2, 4))], 30)
    (line,) = drawn(svg, "polyline")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == "a < b"
    left, top, right, bottom = map(float, root.attrib["data-box"].split())
    low, high = float(root.attrib["data-low"]), float(root.attrib["data-high"])
    assert low == 0
    for (x, y), (iteration, value) in zip(places(line), ((10, 1), (20, 2), (30, 4)), strict=True):
        assert x == pytest.approx(left + (right - left) * iteration / 30, abs=0.06)
        back = low + (bottom - y) / (bottom - top) * (high - low)  # as the page's script reads it
        assert back == pytest.approx(value, abs=0.01)


def test_everything_stays_within_the_chart() -> None:
    wild = [Point(1, 1, -1e9, 1e9), Point(2, 1.5, 1, 2)]
    svg = chart("x", [Series("a", wild), Series("b", points(1))], 20)
    for element in (*drawn(svg, "polyline"), *drawn(svg, "polygon")):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places(element))
    (dot,) = drawn(svg, "circle")
    assert dot.attrib["class"] == "s1"


def test_raw_numbers_have_no_band() -> None:
    raw = [Point(1, 3, 3, 3), Point(2, 4, 4, 4)]
    assert drawn(chart("x", [Series("", raw)], 2), "polygon") == []


@pytest.mark.parametrize(
    ("values", "log"),
    [([1, 2, 3], False), ([0.01, 0.02, 90.0], True), ([-1, 0.01, 90.0], False), ([0, 0, 9], False)],
)
def test_few_large_numbers_make_a_scale_logarithmic(values: list[float], log: bool) -> None:
    assert value_axis(values).log is log


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3.0], [1e-12], [1e9, 1e9]])
def test_an_axis_has_room_for_one_number(values: list[float]) -> None:
    axis = value_axis(values)
    assert axis.low < axis.high
    assert 0 <= axis.place(values[0]) <= HEIGHT
    assert len(axis.ticks(4)) >= 2


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 1.05, 0, 1), [0, 0.5, 1]),
        (Axis(0, 1_000_000, 0, 1), [0, 250_000, 500_000, 750_000, 1_000_000]),
        (Axis(0.003, 4.0, 0, 1, log=True), [0.01, 0.1, 1]),
        (Axis(0.9, 40.0, 0, 1, log=True), [1, 3, 10, 30]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, ticks: list[float]) -> None:
    assert axis.ticks(4) == ticks


def test_a_level_is_drawn_where_the_curve_comes_near() -> None:
    series = [Series("a", points(0.5, 0.7))]
    near = chart("x", series, 20, Level("no style", 0.8))
    far = chart("x", series, 20, Level("no style", 80))
    assert 'class="level"' in near
    assert 'class="level"' not in far
