"""The propositions of the MUNIT paper (section 5.1), measured on a test set.

At the optimum the encoded styles follow the prior, the content codes of both domains have the same
distribution, and so have the pairs (x_a, x_ab) and (x_ba, x_b).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from munit_edge.evaluation.kernel_test import KernelTest, Samples, kernel_test
from munit_edge.evaluation.linear_probe import LinearProbe, density
from munit_edge.images.io import Images
from munit_edge.images.sizes import resize_shorter
from munit_edge.model.config import DIRECTIONS, Direction, Domain, split_direction
from munit_edge.settings import StrictModel
from munit_edge.styles.codes import Styles, sample_styles

STYLE_REACH = 4.0
"""The histogram of styles covers the range from minus this to this."""
THUMBNAIL_SIZE = 8
"""Images are compared at this height and width: colours and rough shapes, no fine texture."""


class StyleDistribution(StrictModel):
    """The styles of the real images of one domain, compared with the prior N(0, I)."""

    mean: tuple[float, ...]
    """Mean of each component of the code; 0 for the prior."""
    covariance: tuple[tuple[float, ...], ...]
    """Covariance of the components; the unit matrix for the prior."""
    mean_length: float
    """Root mean square of `mean`; 0 for the prior."""
    spread: float
    """Root of the mean variance; 1 for the prior."""
    covariance_error: float
    """Root mean square of the row norms of `covariance` minus the unit matrix; 0 for the prior."""
    expected_covariance_error: float
    """`covariance_error` of the same number of samples of the prior."""
    histogram: tuple[float, ...]
    """Density of all components of the codes, in bins of equal width from -4 to 4."""
    test: KernelTest
    """Test against the same number of samples of the prior."""


class Propositions(StrictModel):
    """The paper's propositions, measured."""

    styles: dict[Domain, StyleDistribution]
    """The styles of the real images of each domain."""
    content_probe: LinearProbe
    """Classification of the domain from the content codes of real images."""
    translations: dict[Direction, KernelTest]
    """Translations against real images of their domain."""
    joint: KernelTest | None
    """Pairs (x_a, x_ab) against (x_ba, x_b); None: only one direction was measured."""


def style_distribution(styles: Styles, seed: int = 0) -> StyleDistribution:
    """Compare style codes with the prior.

    Args:
        styles: [N, style_dim], N at least 2.
        seed: for the samples of the prior and the permutations.
    """
    count, style_dim = styles.shape
    codes = styles.astype(np.float64)
    mean = codes.mean(axis=0)
    # `reshape`, as `np.cov` gives a scalar for a style of one component.
    covariance = np.cov(codes, rowvar=False).reshape(style_dim, style_dim)
    prior = sample_styles(count, style_dim, seed)
    return StyleDistribution(
        mean=tuple(mean.tolist()),
        covariance=tuple(tuple(row) for row in covariance.tolist()),
        mean_length=float(np.sqrt((mean**2).mean())),
        spread=float(np.sqrt(covariance.trace() / style_dim)),
        covariance_error=_covariance_error(covariance),
        # Variance of an estimated (co)variance of N(0, I): 2/(N-1) on the diagonal, else 1/(N-1).
        expected_covariance_error=float(np.sqrt((style_dim + 1) / (count - 1))),
        histogram=density(codes, STYLE_REACH),
        test=kernel_test(codes, prior.astype(np.float64), seed),
    )


def _covariance_error(covariance: NDArray[np.float64]) -> float:
    error = covariance - np.eye(len(covariance))
    return float(np.sqrt((error**2).sum() / len(error)))


def compare_images(
    real: Mapping[Domain, Images], translated: Mapping[Direction, Images], seed: int = 0
) -> tuple[dict[Direction, KernelTest], KernelTest | None]:
    """Compare translations with real images, and the pairs (x_a, x_ab) with (x_ba, x_b).

    Args:
        real: uint8 [N, H, W, C] of each domain, all of one height and width.
        translated: one translation of each real image, in one or both directions.
        seed: for the permutations.

    Returns:
        The first comparison for each direction, and the second one if there are both directions.
    """
    x = {domain: thumbnails(images) for domain, images in real.items()}
    x_to = {direction: thumbnails(images) for direction, images in translated.items()}
    alone = {
        direction: kernel_test(found, x[split_direction(direction)[1]], seed)
        for direction, found in x_to.items()
    }
    # The pairs need translations both ways.
    if len(x_to) < len(DIRECTIONS):
        return alone, None
    # Always in the order (a, b), so that both sets lie in one space.
    forward = np.hstack([x["a"], x_to["a2b"]])
    backward = np.hstack([x_to["b2a"], x["b"]])
    return alone, kernel_test(forward, backward, seed)


def thumbnails(images: Images) -> Samples:
    """Images as samples of a distribution: uint8 [N, H, W, C] -> [N, D].

    They are scaled so that distances do not depend on the number of channels: in a pair of grey
    and RGB both have the same weight.
    """
    small = np.stack([resize_shorter(image, THUMBNAIL_SIZE) for image in images])
    samples = small.reshape(len(images), -1) / 255.0
    return np.asarray(samples / np.sqrt(samples.shape[1]))


def pooled_content(codes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean and standard deviation of each channel: [1, C, h, w] -> [2 C]."""
    places = codes[0].reshape(codes.shape[1], -1).astype(np.float64)
    return np.concatenate([places.mean(axis=1), places.std(axis=1)])
