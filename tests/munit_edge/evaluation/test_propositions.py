"""The paper's propositions on distributions that are made for it."""

from __future__ import annotations

import numpy as np
import pytest

from munit_edge.evaluation.propositions import compare_images, pooled_content, style_distribution
from munit_edge.images.io import Images


def test_styles_of_the_prior() -> None:
    styles = np.random.default_rng(5).standard_normal((400, 8), dtype=np.float32)
    found = style_distribution(styles)
    assert found.mean_length == pytest.approx(1 / np.sqrt(400), rel=0.5)
    assert found.spread == pytest.approx(1, abs=0.05)
    assert found.covariance_error == pytest.approx(found.expected_covariance_error, rel=0.2)
    assert found.test.p_value > 0.05
    np.testing.assert_allclose(found.mean, styles.mean(axis=0), atol=1e-6)


def test_styles_of_little_spread_around_another_mean() -> None:
    styles = 2 + 0.1 * np.random.default_rng(6).standard_normal((100, 4), dtype=np.float32)
    found = style_distribution(styles)
    assert found.mean_length == pytest.approx(2, abs=0.05)
    assert found.spread == pytest.approx(0.1, rel=0.1)
    assert found.covariance_error == pytest.approx(0.99, abs=0.01)
    assert found.test.p_value == 0.001


def test_styles_whose_numbers_repeat_each_other() -> None:
    one = np.random.default_rng(7).standard_normal((300, 1), dtype=np.float32)
    found = style_distribution(np.repeat(one, 4, axis=1))
    assert found.spread == pytest.approx(1, abs=0.1)
    # Ones where zeros should be: three in each row.
    assert found.covariance_error == pytest.approx(np.sqrt(3), rel=0.15)
    assert found.test.p_value == 0.001
    assert style_distribution(one).covariance_error < 0.3


@pytest.fixture
def grey() -> Images:
    """Plain images of random grey, uint8 [120, 12, 12, 1]."""
    levels = np.random.default_rng(8).integers(0, 256, (120, 1, 1, 1))
    return np.broadcast_to(levels, (120, 12, 12, 1)).astype(np.uint8)


def negative(images: Images, channels: int) -> Images:
    return np.repeat(255 - images[..., :1], channels, axis=-1)


def test_pairs_of_one_joint_distribution(grey: Images) -> None:
    x_a, x_b = grey[:60], negative(grey[60:], 3)
    made = {"a2b": negative(x_a, 3), "b2a": negative(x_b, 1)}
    alone, joint = compare_images({"a": x_a, "b": x_b}, made)  # type: ignore[arg-type]
    assert alone["a2b"].p_value > 0.05
    assert joint is not None
    assert joint.p_value > 0.05


def test_translations_that_look_right_and_belong_to_another_image(grey: Images) -> None:
    x_a, x_b = grey[:60], negative(grey[60:], 3)
    made = {"a2b": negative(np.roll(x_a, 1, axis=0), 3), "b2a": negative(x_b, 1)}
    alone, joint = compare_images({"a": x_a, "b": x_b}, made)  # type: ignore[arg-type]
    assert alone["a2b"].p_value > 0.05
    assert joint is not None
    assert joint.p_value < 0.05


def test_translations_that_look_like_no_real_image(grey: Images) -> None:
    made = {"a2b": grey[:60] // 2}
    alone, joint = compare_images({"a": grey[:60], "b": grey[60:]}, made)  # type: ignore[arg-type]
    assert alone["a2b"].p_value < 0.05
    assert joint is None


def test_pooled_content_has_means_and_stds() -> None:
    codes = np.array([[[[1, 3]], [[5, 5]]]], np.float32)
    np.testing.assert_array_equal(pooled_content(codes), [2, 5, 1, 0])
