"""Style codes as numbers: sampled from the prior N(0, I), spread over it, and interpolated.

`styles.files` and `styles.saved` store codes; `styles.prior` measures their distance to the prior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import ConfigError, InputError
from munit_edge.model.config import ModelConfig

Styles = NDArray[np.float32]
Codes = NDArray[np.float64]

MAX_SPREAD = 1024
"""Largest number of codes that `spread_styles` returns."""
_POOL = 4096
"""Samples of the prior that `spread_styles` chooses from: a fixed number, so that the first codes
do not depend on how many are requested."""
_SMALL_SINE = 1e-4
"""Sine of the angle below which two directions count as equal, or as opposite."""


def sample_styles(count: int, style_dim: int, seed: int = 0) -> Styles:
    """Random style codes, float32 [count, style_dim] from N(0, 1).

    NumPy's PCG64 samples them, so a seed gives the same numbers on every backend. The first codes
    of a longer sample are those of a shorter one.

    Raises:
        ConfigError: `count` is below 1 or `seed` is negative.
    """
    if count < 1:
        raise ConfigError(f"the number of styles is {count}: it must be at least 1")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: it must not be negative")
    # Row by row, hence a longer sample begins with the shorter ones.
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.standard_normal((count, style_dim), dtype=np.float32)


def spread_styles(count: int, style_dim: int, seed: int = 0) -> Styles:
    """Style codes that lie well apart and are still typical of the prior.

    Of 4096 samples, the half with the most typical lengths is kept: spread over all of them, the
    codes would be the outliers. The first one kept is chosen, then repeatedly the one that is
    farthest from all chosen so far (Gonzalez, "Clustering to minimize the maximum
    intercluster distance", Theoretical Computer Science 38, 1985). The smallest distance between
    two codes is then at least half of the best possible. The first codes of a longer list are those
    of a shorter one.

    Args:
        count: 1 to `MAX_SPREAD`.
        style_dim: numbers in a code.
        seed: as in `sample_styles`.

    Returns:
        float32 [count, style_dim].

    Raises:
        ConfigError: `count` or `seed` is out of range.
    """
    if not 1 <= count <= MAX_SPREAD:
        raise ConfigError(f"{count} styles cannot be spread: ask for 1 to {MAX_SPREAD}")
    # [4096, style_dim]; the middle half by length stays, about 2048 codes.
    pool: Codes = sample_styles(_POOL, style_dim, seed).astype(np.float64)
    lengths = np.linalg.norm(pool, axis=1)
    low, high = np.quantile(lengths, (0.25, 0.75))
    pool = pool[(lengths >= low) & (lengths <= high)]
    chosen = [0]
    # [pool]: squared distance of each code from the nearest one chosen so far.
    distance = _squared_distance(pool, 0)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, _squared_distance(pool, chosen[-1]))
    return np.asarray(pool[chosen], np.float32)


def interpolate_styles(
    start: Styles, end: Styles, frames: int, *, spherical: bool = True
) -> Styles:
    """Style codes from `start` to `end`, both included, at even steps.

    With t from 0 to 1 and w the angle between the two codes,

        spherical:  code(t) = ((1 - t) |start| + t |end|) direction(t)
                    direction(t) = (sin((1 - t) w) start/|start| + sin(t w) end/|end|) / sin(w)
        linear:     code(t) = (1 - t) start + t end

    The direction moves along the great circle (Shoemake, "Animating rotation with quaternion
    curves", SIGGRAPH 1985) and the length changes linearly. Between two samples of the prior this
    keeps typical lengths; the middle of a straight line is too short by a factor of about the
    square root of two. Parallel or opposite codes, and codes of zeros, have no unique great circle:
    there the straight line is taken.

    Args:
        start: float32 [style_dim].
        end: float32 [style_dim].
        frames: number of codes, at least 2.
        spherical: for samples; False: straight, for codes of images and above all for averages.

    Returns:
        float32 [frames, style_dim]; the first and last are `start` and `end` themselves.

    Raises:
        ConfigError: `frames` is below 2.
        InputError: the two codes have different shapes, or a number is not finite.
    """
    if frames < 2:
        raise ConfigError(f"the number of frames is {frames}: both ends count, so pass at least 2")
    codes = _between(start, end, np.linspace(0, 1, frames), spherical)
    # Without the rounding of the formula.
    codes[0], codes[-1] = start, end
    return np.asarray(codes, np.float32)


def style_between(start: Styles, end: Styles, t: float, *, spherical: bool = True) -> Styles:
    """One code of the path of `interpolate_styles`, float32 [style_dim], at t from 0 to 1.

    Raises:
        InputError: the two codes have different shapes, or a number is not finite.
    """
    return np.asarray(_between(start, end, np.array([t]), spherical)[0], np.float32)


def _between(start: Styles, end: Styles, t: Codes, spherical: bool) -> Codes:
    """Codes on the path from `start` to `end` at positions `t`, [len(t), style_dim]."""
    if start.shape != end.shape:
        raise InputError(
            f"the styles to interpolate have shapes {start.shape} and {end.shape}: both must be "
            "codes of one model"
        )
    ends = np.stack([_one_code(start), _one_code(end)])
    return _on_the_sphere(ends, t[:, None]) if spherical else _straight(ends, t[:, None])


def check_styles(styles: Styles, config: ModelConfig) -> Styles:
    """`styles` as float32 [S, style_dim].

    Raises:
        InputError: the shape is wrong, or a number is not finite.
    """
    codes = np.asarray(styles, dtype=np.float32)
    if codes.ndim != 2 or codes.shape[1] != config.style_dim or not len(codes):
        raise InputError(
            f"style codes have shape {codes.shape}: this model takes [styles, {config.style_dim}]"
        )
    if not np.isfinite(codes).all():
        raise InputError("a style code holds a number that is not finite")
    return codes


def _squared_distance(pool: Codes, index: int) -> Codes:
    """Squared distance of every code in the pool from one of them."""
    # In float64 and without a matrix product, so that the choice is the same on every machine.
    distance: Codes = np.square(pool - pool[index]).sum(axis=1)
    return distance


def _one_code(code: Styles) -> Codes:
    if code.ndim != 1 or not np.isfinite(code).all():
        raise InputError(
            f"a style to interpolate has shape {code.shape}: it takes one code [style_dim] of "
            "finite numbers"
        )
    return code.astype(np.float64)


def _straight(ends: Codes, t: Codes) -> Codes:
    """The linear path of `interpolate_styles` between two rows at t [frames, 1]."""
    codes: Codes = (1 - t) * ends[0] + t * ends[1]
    return codes


def _on_the_sphere(ends: Codes, t: Codes) -> Codes:
    """The spherical path of `interpolate_styles` between two rows at t [frames, 1]."""
    lengths = np.linalg.norm(ends, axis=1)
    # A code of zeros has no direction.
    if not lengths.all():
        return _straight(ends, t)
    first, last = ends / lengths[:, None]
    # The arc cosine would be inexact for small angles.
    angle = 2 * np.arctan2(np.linalg.norm(first - last), np.linalg.norm(first + last))
    # Both sines vanish; between opposite codes no great circle is the shortest.
    if np.sin(angle) < _SMALL_SINE:
        return _straight(ends, t)
    # [frames, 1] * [style_dim] -> [frames, style_dim]: slerp, of unit vectors.
    directions = (np.sin((1 - t) * angle) * first + np.sin(t * angle) * last) / np.sin(angle)
    # The lengths are mixed apart from the directions.
    codes: Codes = ((1 - t) * lengths[0] + t * lengths[1]) * directions
    return codes
