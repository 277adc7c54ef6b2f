"""The numbers of a model that is known in closed form."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from munit_edge.errors import ModelError
from munit_edge.evaluation.measures import (
    EncodedDomain,
    encode_domain,
    mean_pair_distance,
    translate_domain,
)
from munit_edge.images.io import Images
from munit_edge.model.config import Domain
from munit_edge.styles.codes import Styles
from munit_edge.translator import Content, Translator

LEVELS = 20
"""What a style of 1 adds to the second channel."""


class KnownModel(Translator):
    """Content is the first channel; style is how far the second one is from 100."""

    def __init__(self, *, uses_style: bool = True, keeps_content: bool = True) -> None:
        self._levels = LEVELS if uses_style else 0
        self._keeps_content = keeps_content

    def encode_content(self, images: Images, domain: Domain) -> Content:
        codes = images[..., :1].transpose(0, 3, 1, 2) / np.float32(255)
        return Content(codes, (images.shape[1], images.shape[2]))

    def encode_style(self, images: Images, domain: Domain) -> Styles:
        seconds = images[..., 1].mean(axis=(1, 2), dtype=np.float32)
        return ((seconds - 100) / LEVELS)[:, None]

    def decode(self, content: Content, styles: Styles, domain: Domain) -> Images:
        first = np.asarray(content.codes)[:, None, 0] * 255
        if not self._keeps_content:
            first = np.zeros_like(first)
        first = np.repeat(first, len(styles), axis=1)
        second = np.broadcast_to(100 + self._levels * styles[:, 0, None, None], first.shape)
        return np.stack([first, second], axis=-1).round().astype(np.uint8)


@pytest.fixture
def images() -> Images:
    drawn = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 2)).astype(np.uint8)
    drawn[..., 1] = np.arange(90, 90 + len(drawn))[:, None, None]
    return drawn


@pytest.fixture
def drawn() -> Styles:
    return np.random.default_rng(1).uniform(-3, 3, (12, 4, 1)).astype(np.float32)


def nothing() -> None:
    pass


def encoded(model: KnownModel, images: Images) -> EncodedDomain:
    return encode_domain(model, images, "a", nothing)


def test_a_model_that_keeps_everything(images: Images, drawn: Styles) -> None:
    model = KnownModel()
    found = encoded(model, images)
    assert found.measures.image_error == 0
    assert found.measures.pictures == 12
    np.testing.assert_allclose(found.styles[:, 0], np.arange(-10, 2) / LEVELS, atol=1e-6)

    translated = translate_domain(model, images, "a2b", found, drawn, nothing)
    np.testing.assert_array_equal(translated.images[..., 0], images[..., 0])
    first_styles = 100 + LEVELS * drawn[:, 0, 0]
    np.testing.assert_array_equal(translated.images[:, 0, 0, 1], first_styles.round())
    measures = translated.measures
    assert measures.cycle_error == 0
    assert measures.content_error == pytest.approx(0, abs=1e-7)
    assert 0 < measures.style_error < 0.5 / LEVELS  # what rounding to levels leaves
    pairs = [abs(s - t) for styles in drawn[..., 0] for s, t in combinations(styles, 2)]
    half = LEVELS * np.mean(pairs) / 2  # one channel of two
    assert measures.style_use == pytest.approx(half, rel=0.02)


def test_a_model_that_ignores_styles(images: Images, drawn: Styles) -> None:
    model = KnownModel(uses_style=False)
    found = encoded(model, images)
    measures = translate_domain(model, images, "a2b", found, drawn, nothing).measures
    assert measures.style_use == 0
    assert measures.style_error == pytest.approx(np.abs(drawn).mean(), rel=1e-5)
    second = np.abs(images[:, 0, 0, 1] - 100.0).mean() / 2
    assert found.measures.image_error == pytest.approx(second, rel=1e-5)
    assert measures.cycle_error == pytest.approx(second, rel=1e-5)


def test_a_model_that_loses_the_content(images: Images, drawn: Styles) -> None:
    model = KnownModel(keeps_content=False)
    found = encoded(model, images)
    measures = translate_domain(model, images, "a2b", found, drawn, nothing).measures
    assert measures.content_error == pytest.approx(images[..., 0].mean() / 255, rel=1e-5)
    # Uniform values: 1/2 from zero, and 1/3 from each other.
    assert measures.content_error_relative == pytest.approx(1.5, rel=0.1)


def test_codes_that_are_not_finite_are_refused(images: Images) -> None:
    class Diverged(KnownModel):
        def encode_style(self, images: Images, domain: Domain) -> Styles:
            return np.full((len(images), 1), np.nan, np.float32)

    with pytest.raises(ModelError, match="domain a produce codes that are not finite"):
        encoded(Diverged(), images)


def test_pair_distance_is_that_of_all_pairs() -> None:
    images = np.random.default_rng(2).integers(0, 256, (5, 3, 4, 3)).astype(np.uint8)
    pairs = [np.abs(x.astype(float) - y).mean() for x, y in combinations(images, 2)]
    assert mean_pair_distance(images) == pytest.approx(np.mean(pairs))
