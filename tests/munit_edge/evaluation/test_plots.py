"""The plot of the propositions: every value where it belongs."""

from __future__ import annotations

import numpy as np

from munit_edge.evaluation.kernel_test import KernelTest
from munit_edge.evaluation.linear_probe import NUM_BINS, LinearProbe, linear_probe
from munit_edge.evaluation.plots import propositions_plot
from munit_edge.evaluation.propositions import Propositions, StyleDistribution, style_distribution
from munit_edge.images.bar_chart import COLOURS
from munit_edge.images.io import Images

PANELS = (slice(24, 425), slice(448, 849), slice(872, 1280))
"""Where the three panels are."""


def found_test(mmd_squared: float) -> KernelTest:
    return KernelTest(
        mmd_squared=mmd_squared, p_value=0.5, by_chance=(-0.01, 0.02), samples=(10, 10)
    )


def styles(scale: float) -> StyleDistribution:
    drawn = np.random.default_rng(0).standard_normal((300, 4), dtype=np.float32)
    return style_distribution((scale * drawn).astype(np.float32))


def propositions(probe: LinearProbe, pairs: float | None) -> Propositions:
    return Propositions(
        styles={"a": styles(1), "b": styles(0.2)},
        content_probe=probe,
        translations={"a2b": found_test(0.0), "b2a": found_test(0.1)},
        joint=None if pairs is None else found_test(pairs),
    )


def peak_row(plot: Images, panel: int, colour: tuple[int, ...]) -> int:
    """The row where the outline of a series is highest."""
    part = plot[:, PANELS[panel]][:, 40:]  # right of the names
    rows = np.flatnonzero((part == np.array(colour, np.uint8)).all(axis=2).any(axis=1))
    return int(rows.min())


def test_each_panel_shows_its_numbers() -> None:
    random = np.random.default_rng(1)
    apart = linear_probe(random.normal(size=(40, 3)) - 9, random.normal(size=(40, 3)) + 9)
    plot = propositions_plot(propositions(apart, pairs=0.3))
    # Styles of b are five times as narrow, so five times as tall.
    low, high = peak_row(plot, 0, COLOURS[0]), peak_row(plot, 0, COLOURS[1])
    bottom = 324 - 24
    assert 3 < (bottom - high) / (bottom - low) < 6
    # Answers about a lie on the left, those about b on the right: above the base line.
    above = plot[: bottom - 8, PANELS[1]][115:]
    for colour, is_left in zip(COLOURS, (True, False), strict=False):
        (places,) = np.nonzero((above == np.array(colour, np.uint8)).all(axis=2).any(axis=0))
        assert ((places < 200) == is_left).all()


def dots(plot: Images) -> tuple[int, int]:
    """Last column and last row of the third panel that a dot covers."""
    found = (plot[:, PANELS[2]] == np.array(COLOURS[0], np.uint8)).all(axis=2)
    return int(np.flatnonzero(found.any(axis=0)).max()), int(
        np.flatnonzero(found.any(axis=1)).max()
    )


def test_dots_lie_at_their_values() -> None:
    probe = linear_probe(*np.random.default_rng(2).normal(size=(2, 30, 3)))
    radius, right = 5, 400 - 12
    plot = propositions_plot(propositions(probe, pairs=2.0))
    column, row = dots(plot)
    assert column == right + radius  # the largest value ends the scale
    assert row == 24 + 50 + 14 + 4 * 44 + radius  # in the fifth row
    assert dots(propositions_plot(propositions(probe, None)))[1] == row - 44  # no row of pairs


def test_histograms_are_densities() -> None:
    beyond = np.full((20, 2), 100.0, np.float32)
    for found, width in ((styles(1), 8), (style_distribution(beyond), 8)):
        assert len(found.histogram) == NUM_BINS
        assert np.isclose(sum(found.histogram) * width / NUM_BINS, 1)
    assert style_distribution(beyond).histogram[-1] > 0
