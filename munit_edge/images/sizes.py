"""Sizes of images in memory: the limit on pixels, resizing and padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from munit_edge.errors import InputError
from munit_edge.images.pixel_formats import ImageData, Images

DEFAULT_MAX_MEGAPIXELS = 100.0
"""Larger images are refused unless the caller allows them."""


def check_size(height: int, width: int, max_megapixels: float, name: str) -> None:
    """Refuse an image with more pixels than allowed.

    Raises:
        InputError: it has more.
    """
    if height * width > max_megapixels * 1e6:
        raise InputError(
            f"{name} has {width} x {height} pixels, {height * width / 1e6:.1f} megapixels, and "
            f"{max_megapixels:g} are allowed: make it smaller, or raise --max-megapixels if you "
            "trust it"
        )


def check_resized(size_hw: tuple[int, int], size: int, max_megapixels: float, name: str) -> None:
    """Refuse an image that would have more pixels than allowed after `resize_shorter`.

    Raises:
        InputError: it would have more.
    """
    height, width = shorter_side_to(size_hw, size)
    if height * width > max_megapixels * 1e6:
        raise InputError(
            f"{name} has {size_hw[1]} x {size_hw[0]} pixels and would have {width} x {height}, "
            f"{height * width / 1e6:.1f} megapixels, with a shorter side of {size}, and "
            f"{max_megapixels:g} are allowed: crop it to a less narrow shape, or raise "
            "--max-megapixels"
        )


def resize_shorter(image: Images, size: int) -> Images:
    """Resize so that the shorter side has `size` pixels; the longer one is rounded down.

    The filter is Pillow's bilinear, which is antialiased when it shrinks an image. MUNIT's public
    releases use it, too, in training and in testing.

    Args:
        image: uint8 [H, W, C].
        size: pixels, at least 1.
    """
    before = image.shape[0], image.shape[1]
    height, width = shorter_side_to(before, size)
    if (height, width) == before:
        return image
    resized = to_pillow(image).resize((width, height), Image.Resampling.BILINEAR)
    # Pillow drops the axis of a single channel.
    return np.array(resized).reshape(height, width, image.shape[2])


def shorter_side_to(size_hw: tuple[int, int], size: int) -> tuple[int, int]:
    """Height and width after `resize_shorter` of an image of `size_hw`."""
    height, width = size_hw
    shorter = min(size_hw)
    return max(1, height * size // shorter), max(1, width * size // shorter)


def resize_with_alpha(image: ImageData, size: int) -> ImageData:
    """`resize_shorter` for pixels and alpha."""
    alpha = image.alpha
    if alpha is not None:
        alpha = resize_shorter(alpha[..., None], size)[..., 0]
    return replace(image, pixels=resize_shorter(image.pixels, size), alpha=alpha)


def pad_to(images: Images, size_hw: tuple[int, int]) -> Images:
    """Pad by reflection at the bottom and at the right.

    Crop the result back with ``padded[..., :height, :width, :]``.

    Args:
        images: uint8 [..., H, W, C], any H and W from 1 up.
        size_hw: height and width of the result (pixels), not below H and W.
    """
    below, right = (new - old for new, old in zip(size_hw, images.shape[-3:-1], strict=True))
    if not below and not right:
        return images
    before = [(0, 0)] * (images.ndim - 3)
    # NumPy repeats the reflection if the padding is wider than the image.
    return np.pad(images, [*before, (0, below), (0, right), (0, 0)], mode="reflect")


def to_pillow(pixels: Images) -> Image.Image:
    """A Pillow image of uint8 pixels [H, W, C] with 1, 3 or 4 channels."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
