"""The distance of a code from the prior, against tables and against samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from munit_edge.errors import InputError
from munit_edge.styles.codes import sample_styles
from munit_edge.styles.prior import (
    OUTSIDE,
    chi_square_share,
    norm_bound,
    outside_warning,
    prior_distance,
)


@pytest.mark.parametrize(
    ("degrees", "squared", "share"),
    [  # upper critical values as every table of the chi-square distribution has them
        (1, 3.841, 0.05),
        (1, 10.828, 0.001),
        (2, 5.991, 0.05),
        (2, 13.816, 0.001),
        (3, 16.266, 0.001),
        (5, 20.515, 0.001),
        (8, 2.733, 0.95),
        (8, 15.507, 0.05),
        (8, 26.124, 0.001),
        (9, 27.877, 0.001),
        (100, 149.449, 0.001),
    ],
)
def test_chi_square_against_tables(degrees: int, squared: float, share: float) -> None:
    assert chi_square_share(squared, degrees) == pytest.approx(share, rel=2e-3)
    assert norm_bound(degrees, share) ** 2 == pytest.approx(squared, abs=6e-4)


@pytest.mark.parametrize("degrees", [1, 2, 7, 8, 512])
def test_chi_square_at_its_ends(degrees: int) -> None:
    assert chi_square_share(0, degrees) == 1
    assert chi_square_share(1e12, degrees) == 0
    shares = [chi_square_share(x, degrees) for x in np.linspace(0, 900, 200)]
    assert 0 <= min(shares) <= max(shares) <= 1
    assert np.diff(shares).max() < 1e-12  # falls, but for rounding


@pytest.mark.parametrize("style_dim", [1, 2, 5, 8])
def test_shares_are_those_of_samples(style_dim: int) -> None:
    samples = sample_styles(100_000, style_dim, seed=1)
    code = sample_styles(1, style_dim, seed=2)[0]
    found = prior_distance(code)
    longer = (np.linalg.norm(samples, axis=1) > np.linalg.norm(code)).mean()
    larger = (np.abs(samples).max(axis=1) > np.abs(code).max()).mean()
    assert found.norm_share == pytest.approx(longer, abs=0.006)
    assert found.largest_share == pytest.approx(larger, abs=0.006)
    assert found.norm == pytest.approx(float(np.linalg.norm(code)))
    assert found.largest == float(np.abs(code).max())


def test_few_samples_are_far_outside() -> None:
    samples = sample_styles(20_000, 8, seed=5)
    share = np.mean([prior_distance(code).far_outside for code in samples])
    assert OUTSIDE * 0.6 < share < 2 * OUTSIDE * 1.3  # two tests of 1 in 1000 each


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ([2.0] * 8, "its length is 5.66, and 1 sample in 1000 is longer than 5.11"),
        ([3.9] + [0.0] * 7, "largest number is 3.90, and 1 sample in 1000 has one beyond 3.84"),
    ],
    ids=["long", "one large number"],
)
def test_warnings_name_what_is_odd(code: list[float], message: str) -> None:
    warning = outside_warning(np.array(code, np.float32), "ref.jpg")
    assert warning is not None
    assert warning.startswith("the style of ref.jpg is far outside the prior N(0, I): ")
    assert message in warning
    assert "\n" not in warning


def test_no_warning_within_the_prior() -> None:
    assert outside_warning(np.zeros(8, np.float32), "x") is None
    assert outside_warning(np.full(8, 1.7, np.float32), "x") is None
    assert prior_distance(np.zeros(8, np.float32)).norm_share == 1


def test_what_has_no_distance() -> None:
    for code in (np.zeros((1, 8)), np.array([]), np.array([1, math.inf])):
        with pytest.raises(InputError, match="one code"):
            prior_distance(code.astype(np.float32))
