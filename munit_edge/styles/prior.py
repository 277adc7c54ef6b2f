"""How far a style code lies from the prior N(0, I) that random styles are sampled from.

The decoder was trained on codes of the prior and on the style encoder's codes of training images. A
reference image unlike any of them may yield a code that the decoder has never seen. The result is
then unpredictable, so the user is warned.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from munit_edge.errors import InputError
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import Styles

OUTSIDE = 1e-3
"""A code is far outside if a smaller share of the prior's samples than this goes as far."""


class PriorDistance(StrictModel):
    """Where a style code lies in the prior N(0, I), by two tests.

    Both shares are exact. The squared length of a sample is chi-square distributed with style_dim
    degrees of freedom; the largest of style_dim independent normal numbers stays within z with
    probability erf(z / sqrt(2)) ** style_dim.
    """

    norm: float
    """Euclidean length of the code; the root of style_dim is typical."""
    norm_share: float
    """Share of the prior's samples that are longer, 0 to 1."""
    largest: float
    """Largest magnitude of a number in the code."""
    largest_share: float
    """Share of the prior's samples whose largest magnitude is larger, 0 to 1."""

    @property
    def far_outside(self) -> bool:
        """Whether one of the two shares is below `OUTSIDE` (1 in 1000)."""
        return min(self.norm_share, self.largest_share) < OUTSIDE


def prior_distance(code: Styles) -> PriorDistance:
    """Where a style code [style_dim] lies in the prior.

    Raises:
        InputError: `code` is not one code of finite numbers.
    """
    if code.ndim != 1 or not len(code) or not np.isfinite(code).all():
        raise InputError(
            f"a style of shape {code.shape} has no distance from the prior: it takes one code "
            "[style_dim] of finite numbers"
        )
    numbers = code.astype(np.float64)
    largest = float(np.abs(numbers).max())
    return PriorDistance(
        norm=float(np.linalg.norm(numbers)),
        norm_share=chi_square_share(float(np.square(numbers).sum()), len(code)),
        largest=largest,
        largest_share=_largest_share(largest, len(code)),
    )


def outside_warning(code: Styles, name: str) -> str | None:
    """One line for the user when the code of `name` is far outside the prior, else None."""
    distance = prior_distance(code)
    if not distance.far_outside:
        return None
    if distance.norm_share < OUTSIDE:
        what = f"its length is {distance.norm:.2f}, and 1 sample in {1 / OUTSIDE:.0f} is longer "
        what += f"than {norm_bound(len(code)):.2f}"
    else:
        what = f"its largest number is {distance.largest:.2f}, and 1 sample in {1 / OUTSIDE:.0f} "
        what += f"has one beyond {_largest_bound(len(code)):.2f}"
    return (
        f"the style of {name} is far outside the prior N(0, I): {what}; results may look odd, "
        "images like the training images work best"
    )


def chi_square_share(squared: float, degrees: int) -> float:
    """Share of the chi-square distribution beyond `squared` (from 0 up).

    The finite sums for whole degrees of freedom (Abramowitz and Stegun, Handbook of Mathematical
    Functions, 26.4.4 and 26.4.5), with half-integer powers over the Gamma function:
    exp(-h) * sum of h**a / Gamma(a + 1) over a = degrees / 2 - 1, degrees / 2 - 2, ... from 0 up,
    with h = squared / 2; for odd degrees, plus erfc(sqrt(h)).
    """
    half = squared / 2
    if half == 0:
        return 1.0
    odd = degrees % 2
    powers = (index + odd / 2 for index in range(degrees // 2))
    # Through logarithms: powers and Gamma overflow beyond some hundred degrees.
    terms = (math.exp(a * math.log(half) - half - math.lgamma(a + 1)) for a in powers)
    return min(1.0, math.fsum([math.erfc(math.sqrt(half)) * odd, *terms]))


def norm_bound(style_dim: int, share: float = OUTSIDE) -> float:
    """The length that this share of the prior's samples exceeds."""
    low, high = 0.0, math.sqrt(style_dim) + 40.0  # a normal number beyond 40 is below float64
    # Bisection: the share falls as the length grows.
    while high - low > 1e-9:
        middle = (low + high) / 2
        if chi_square_share(middle**2, style_dim) > share:
            low = middle
        else:
            high = middle
    return high


def _largest_share(largest: float, style_dim: int) -> float:
    beyond = math.erfc(largest / math.sqrt(2))
    # 1 - (1 - beyond) ** style_dim, without losing tiny shares to rounding.
    return 1.0 if beyond == 1 else -math.expm1(style_dim * math.log1p(-beyond))


def _largest_bound(style_dim: int, share: float = OUTSIDE) -> float:
    """The magnitude that this share of the prior's samples exceeds in one number or more."""
    # The same equation solved for `beyond`, half of which lies in each tail.
    beyond = -math.expm1(math.log1p(-share) / style_dim)
    return -NormalDist().inv_cdf(beyond / 2)
