"""Resizing and padding images in memory."""

import numpy as np
import pytest
from noise_images import noise
from PIL import Image

from munit_edge.images.pixel_formats import ImageData
from munit_edge.images.sizes import pad_to, resize_shorter, resize_with_alpha


@pytest.mark.parametrize(
    ("size_hw", "channels", "size", "expected_hw"),
    [
        ((100, 200), 3, 50, (50, 100)),
        ((333, 100), 1, 32, (106, 32)),
        ((7, 7), 4, 14, (14, 14)),
        ((1, 500), 3, 1, (1, 500)),
        ((5, 3), 1, 1, (1, 1)),
    ],
)
def test_resize_shorter_side(
    size_hw: tuple[int, int], channels: int, size: int, expected_hw: tuple[int, int]
) -> None:
    resized = resize_shorter(noise(*size_hw, channels), size)
    assert resized.shape == (*expected_hw, channels)
    assert resized.dtype == np.uint8


def test_resize_is_pillows_bilinear() -> None:
    expected = Image.fromarray(noise(90, 60)).resize((20, 30), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize_shorter(noise(90, 60), 20), np.asarray(expected))


def test_resize_averages_when_it_makes_smaller() -> None:
    fine = np.tile(np.array([[0], [255]], np.uint8), (32, 64))[..., None]
    inner = resize_shorter(fine, 8)[1:-1]
    assert np.abs(inner.astype(int) - 127).max() <= 2


def test_resize_takes_alpha_along() -> None:
    image = resize_with_alpha(ImageData(noise(20, 40), noise(20, 40, 1)[..., 0], b"profile"), 10)
    assert image.pixels.shape == (10, 20, 3)
    assert image.alpha is not None
    assert image.alpha.shape == (10, 20)
    assert image.icc_profile == b"profile"


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (2, 1, 1, 1), (3, 5, 7, 4), (33, 47, 3), (2, 9, 1, 3)]
)
@pytest.mark.parametrize("target", [(33, 48), (64, 64), (50, 47)])
def test_padding_reflects_at_the_bottom_and_right(
    shape: tuple[int, ...], target: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    height, width = shape[-3:-1]
    padded = pad_to(images, target)
    assert padded.shape == (*shape[:-3], *target, shape[-1])
    for y in range(target[0]):
        for x in (0, width - 1, width % target[1], target[1] - 1):
            source = images[..., mirrored(y, height), mirrored(x, width), :]
            np.testing.assert_array_equal(padded[..., y, x, :], source)


def mirrored(index: int, length: int) -> int:
    """Where a walker that turns round at both ends stands after `index` steps."""
    if length == 1:
        return 0
    index %= 2 * (length - 1)
    return min(index, 2 * (length - 1) - index)


def test_nothing_to_pad_costs_nothing() -> None:
    images = noise(8, 8)
    assert pad_to(images, (8, 8)) is images
