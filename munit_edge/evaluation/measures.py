"""Reconstruction measures: how well a model recovers the codes that it translated with.

Letters read as the path of an image: x_ab is an image of A decoded by B, x_aba is back again.
Translations have 256 levels, as users get them, so nothing is recovered exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import ModelError
from munit_edge.evaluation.propositions import pooled_content
from munit_edge.evaluation.report import DirectionMeasures, DomainMeasures
from munit_edge.images.io import Images
from munit_edge.model.config import Direction, Domain, split_direction
from munit_edge.styles.codes import Styles
from munit_edge.translator import Content, Translator

Codes = NDArray[np.float32]
Advance = Callable[[], None]


@dataclass(frozen=True)
class TranslatedDomain:
    """Translations of the real images of one domain."""

    images: Images
    """uint8 [N, H, W, C] of the target domain: each image with its first random style."""
    measures: DirectionMeasures
    """Measures over all translations."""


@dataclass(frozen=True)
class EncodedDomain:
    """Codes of the real images of one domain."""

    styles: Styles
    """float32 [N, style_dim]."""
    content_features: NDArray[np.float64]
    """[N, D], content codes pooled over positions; see `pooled_content`."""
    measures: DomainMeasures
    """Measures within the domain."""


def encode_domain(
    translator: Translator, images: Images, domain: Domain, advance: Advance
) -> EncodedDomain:
    """Encode and reconstruct every image of a domain.

    Args:
        translator: the model.
        images: uint8 [N, H, W, C], N at least 2.
        domain: of the images.
        advance: called after each image.

    Raises:
        ModelError: the model produces codes that are not finite.
    """
    styles, features, errors, distances = [], [], [], []
    # Each image is compared with the one before it, and the first with the last: N distances.
    previous = _codes(translator.encode_content(images[-1:], domain))
    for image in images[:, None]:
        content = translator.encode_content(image, domain)
        style = translator.encode_style(image, domain)
        codes = _codes(content)
        if not (np.isfinite(codes).all() and np.isfinite(style).all()):
            raise ModelError(
                f"the encoders of domain {domain} produce codes that are not finite: the model is "
                "damaged or its training diverged; take an earlier checkpoint"
            )
        styles.append(style[0].astype(np.float32))
        features.append(pooled_content(codes))
        # With its own style: what is lost here is lost by every translation.
        errors.append(_distance(translator.decode(content, style, domain)[:, 0], image))
        distances.append(_distance(codes, previous))
        previous = codes
        advance()
    measures = DomainMeasures(
        domain=domain,
        pictures=len(images),
        image_error=float(np.mean(errors)),
        content_distance=float(np.mean(distances)),
        # Of different images: the scale on which `image_error` is small or large.
        picture_distance=_distance(images, np.roll(images, 1, axis=0)),
    )
    return EncodedDomain(np.stack(styles), np.stack(features), measures)


def translate_domain(
    translator: Translator,
    images: Images,
    direction: Direction,
    encoded: EncodedDomain,
    drawn: Styles,
    advance: Advance,
) -> TranslatedDomain:
    """Translate every image of the source domain and back again.

    Args:
        translator: the model.
        images: uint8 [N, H, W, C] of the source domain.
        direction: source and target domain.
        encoded: of the same images.
        drawn: float32 [N, S, style_dim], the random styles of each image; S at least 2.
        advance: called after each image.
    """
    source, target = split_direction(direction)
    style_errors, content_errors, cycle_errors, uses = [], [], [], []
    firsts = []
    for image, own, styles in zip(images[:, None], encoded.styles[:, None], drawn, strict=True):
        content = translator.encode_content(image, source)
        x_ab = translator.decode(content, styles, target)[0]
        content_again = translator.encode_content(x_ab, target)
        # Back with the style that its image had, as in the cycle of training.
        x_aba = translator.decode(content_again, own, source)[:, 0]
        style_errors.append(_distance(translator.encode_style(x_ab, target), styles))
        content_errors.append(_distance(_codes(content_again), _codes(content)))
        cycle_errors.append(_distance(x_aba, image))
        # One translation of each image: as many as real ones, and independent of each other.
        firsts.append(x_ab[0])
        uses.append(mean_pair_distance(x_ab))
        advance()
    content_error = float(np.mean(content_errors))
    measures = DirectionMeasures(
        direction=direction,
        style_error=float(np.mean(style_errors)),
        content_error=content_error,
        # Relative to the distance of different images: a code that is scaled down gains nothing.
        content_error_relative=content_error / max(encoded.measures.content_distance, 1e-12),
        cycle_error=float(np.mean(cycle_errors)),
        style_use=float(np.mean(uses)),
    )
    return TranslatedDomain(np.stack(firsts), measures)


def mean_pair_distance(images: Images) -> float:
    """Mean absolute difference of all pairs of images, uint8 [S, H, W, C], in levels of 255.

    After sorting, the k-th of n values is the greater one in k pairs and the lesser one in
    n - 1 - k, so no pair has to be formed.
    """
    num = len(images)
    ordered = np.sort(images.reshape(num, -1), axis=0).astype(np.float64)
    # k - (n - 1 - k)
    weights = 2 * np.arange(num) - (num - 1)
    return float((weights @ ordered).mean() / (num * (num - 1) / 2))


def _codes(content: Content) -> Codes:
    return np.asarray(content.codes).astype(np.float32, copy=False)


def _distance(values: NDArray[np.generic], others: NDArray[np.generic]) -> float:
    """Mean absolute difference."""
    return float(np.abs(values.astype(np.float32) - others.astype(np.float32)).mean())
