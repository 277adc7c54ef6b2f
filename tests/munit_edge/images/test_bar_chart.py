"""Charts: as many bars as numbers, as long as they say."""

from __future__ import annotations

import numpy as np

from munit_edge.images.bar_chart import COLOURS, ChartGroup, ChartRow, bar_chart, short_number
from munit_edge.images.io import Images


def bar_lengths(chart: Images, colour: tuple[int, int, int]) -> list[int]:
    """Length of every bar of a colour, from the top; characters of that colour are not bars."""
    lengths = (chart == np.array(colour, np.uint8)).all(axis=2).sum(axis=1)
    inside = np.concatenate([[0], (lengths > 0).astype(int), [0]])
    starts, ends = np.flatnonzero(np.diff(inside) > 0), np.flatnonzero(np.diff(inside) < 0)
    found = []
    for start, end in zip(starts, ends, strict=True):
        block = lengths[start:end]
        if (block == block[0]).all() and end - start >= 15:
            found.append(int(block[0]))
    return found


def test_bars_have_the_lengths_of_their_numbers_within_each_group() -> None:
    fast = ChartGroup("fast", (ChartRow("one", (200.0, 1.0)), ChartRow("two", (100.0, 4.0))))
    slow = ChartGroup(
        "slow",
        (ChartRow("one", (0.5, None)), ChartRow("broken", (None, None), note="no such engine")),
    )
    chart = bar_chart("title", "one line\nanother", ("speed", "memory"), [fast, slow])
    assert chart.dtype == np.uint8
    speed, memory = (bar_lengths(chart, colour) for colour in COLOURS[:2])
    assert len(speed) == 3
    assert speed[0] == speed[2], "the longest of each group has the full length"
    assert abs(speed[0] / speed[1] - 2) < 0.02
    assert len(memory) == 2
    assert abs(memory[1] / memory[0] - 4) < 0.1


def test_a_chart_of_failures_alone_has_no_bar() -> None:
    row = ChartRow("łabel", (None,), note="long " * 200)
    chart = bar_chart("t", "", ("speed",), [ChartGroup("g", (row,))])
    assert bar_lengths(chart, COLOURS[0]) == []
    assert chart.shape[1] < 1000, "a long reason is cut"
    assert (chart != 255).any()


def test_short_numbers() -> None:
    numbers = [0.01234, 4.567, 78.94, 100.4, 12345.6, 0]
    assert [short_number(n) for n in numbers] == ["0.0123", "4.57", "78.9", "100", "12346", "0"]
