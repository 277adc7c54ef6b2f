"""Style codes as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from munit_edge.errors import ConfigError, InputError
from munit_edge.styles.codes import (
    MAX_SPREAD,
    Styles,
    interpolate_styles,
    sample_styles,
    spread_styles,
)


def code(*numbers: float) -> Styles:
    return np.array(numbers, np.float32)


def least_distance(codes: Styles) -> float:
    apart = np.linalg.norm(codes[:, None] - codes[None], axis=2)
    return float(apart[~np.eye(len(codes), dtype=bool)].min())


def test_sampling() -> None:
    codes = sample_styles(10_000, 3, seed=1)
    assert codes.dtype == np.float32
    np.testing.assert_allclose(codes.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(codes.std(0), 1, atol=0.05)
    for count, seed in ((0, 0), (1, -1)):
        with pytest.raises(ConfigError):
            sample_styles(count, 3, seed)


# ----------------------------------------------------------------------------------------------
# Spread


@pytest.mark.parametrize("style_dim", [1, 2, 8])
@pytest.mark.parametrize("count", [2, 8, 32])
def test_spread_codes_lie_farther_apart_than_samples_do(style_dim: int, count: int) -> None:
    codes = spread_styles(count, style_dim, seed=3)
    assert codes.shape == (count, style_dim)
    assert codes.dtype == np.float32
    random = [least_distance(sample_styles(count, style_dim, seed)) for seed in range(40)]
    assert least_distance(codes) > 1.2 * float(np.median(random))


def test_spread_codes_are_typical_samples() -> None:
    lengths = np.linalg.norm(spread_styles(64, 8), axis=1)
    low, high = np.quantile(np.linalg.norm(sample_styles(50_000, 8, 9), axis=1), (0.24, 0.76))
    assert low < lengths.min() < lengths.max() < high


def test_spread_follows_the_seed_and_begins_alike() -> None:
    codes = spread_styles(12, 8, seed=1)
    np.testing.assert_array_equal(spread_styles(5, 8, seed=1), codes[:5])
    np.testing.assert_array_equal(spread_styles(1, 8, seed=1), codes[:1])
    assert not np.array_equal(spread_styles(12, 8, seed=2), codes)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (-1, 0), (MAX_SPREAD + 1, 0), (1, -1)])
def test_spread_out_of_range(count: int, seed: int) -> None:
    with pytest.raises(ConfigError):
        spread_styles(count, 8, seed)


# ----------------------------------------------------------------------------------------------
# Interpolation


def test_a_quarter_circle_in_three_steps() -> None:
    codes = interpolate_styles(code(1, 0), code(0, 3), 3)
    assert codes.dtype == np.float32
    half = 2 * np.sqrt(0.5)  # length 2, halfway between 1 and 3, at 45 degrees
    np.testing.assert_allclose(codes, [[1, 0], [half, half], [0, 3]], atol=1e-6)


def test_spherical_steps_are_even_and_lengths_go_straight() -> None:
    start, end = sample_styles(2, 8, seed=4)
    codes = interpolate_styles(start, end, 11)
    lengths = np.linalg.norm(codes, axis=1)
    np.testing.assert_allclose(lengths, np.linspace(lengths[0], lengths[-1], 11), rtol=1e-5)
    units = codes / lengths[:, None]
    angles = np.arccos((units[1:] * units[:-1]).sum(1))
    np.testing.assert_allclose(angles, angles[0], rtol=1e-4)
    np.testing.assert_array_equal(codes[[0, -1]], [start, end])
    np.testing.assert_allclose(interpolate_styles(end, start, 11), codes[::-1], atol=1e-6)


def test_linear() -> None:
    codes = interpolate_styles(code(1, 0), code(0, 3), 4, spherical=False)
    np.testing.assert_allclose(codes, [[1, 0], [2 / 3, 1], [1 / 3, 2], [0, 3]], atol=1e-6)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (code(2, 0, 0), code(-1, 0, 0)),
        (code(1, 1, 0), code(3, 3, 0)),
        (code(1, 2, 3), code(1, 2, 3)),
        (code(0, 0, 0), code(1, 2, 3)),
        (code(0, 0, 0), code(0, 0, 0)),
        (code(1), code(-2)),
    ],
    ids=["opposite", "one direction", "the same", "from zero", "zeros", "one number"],
)
def test_without_a_great_circle_the_path_is_straight(start: Styles, end: Styles) -> None:
    codes = interpolate_styles(start, end, 5)
    np.testing.assert_array_equal(codes, interpolate_styles(start, end, 5, spherical=False))
    assert np.isfinite(codes).all()


def test_nearly_one_direction_stays_between_the_ends() -> None:
    start, end = code(1, 0), code(1, 3e-4)
    codes = interpolate_styles(start, end, 5)
    np.testing.assert_allclose(codes[:, 1], np.linspace(0, 3e-4, 5), rtol=1e-3, atol=1e-9)


def test_what_cannot_be_interpolated() -> None:
    with pytest.raises(ConfigError, match="both ends count, so pass at least 2"):
        interpolate_styles(code(1), code(2), 1)
    with pytest.raises(InputError, match=r"shapes \(1,\) and \(2,\)"):
        interpolate_styles(code(1), code(2, 3), 2)
    with pytest.raises(InputError, match="finite"):
        interpolate_styles(code(1, 2), code(np.nan, 3), 2)
    with pytest.raises(InputError, match="one code"):
        interpolate_styles(code(1)[None], code(2)[None], 2)
