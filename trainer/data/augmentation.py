"""Differentiable augmentation of the images that the discriminators see.

Zhao, Liu, Lin, Zhu, Han: Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020.
Real images and translations are augmented alike, in both updates: discriminators cannot memorise a
small training set, and generators do not learn to produce augmented images. Gradients flow through
every change.

Images are [B, C, H, W] in [-1, 1]; pixels outside a shifted image, or cut out, are 0 (grey). All
functions are pure: random numbers are arguments, drawn by
`munit_edge.trainer.data.batches.draw_augmentations`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from munit_edge.trainer.config import Augmentation
from munit_edge.trainer.torch_api import Tensor, torch

NUM_DRAWS = 7
"""Random numbers per image: brightness, saturation, contrast, and two for each of the others."""
NUM_COLOURS = 3
"""Colour channels; a fourth channel is alpha and stays unchanged."""

MAX_SHIFT = 1 / 8
"""Largest shift, as a fraction of the image's height and width."""
HOLE = 1 / 2
"""Size of the rectangle that is cut out, as a fraction of the image's height and width."""


def augmented(images: Tensor, draws: Tensor, kinds: Sequence[Augmentation]) -> Tensor:
    """Augment every image with its own random numbers.

    Args:
        images: [B, C, H, W] in [-1, 1].
        draws: [B, NUM_DRAWS], uniform in [0, 1).
        kinds: the augmentations to apply; the order is always colour, translation, cutout.

    Returns:
        [B, C, H, W]; colours may leave [-1, 1].
    """
    draws = draws.to(images.dtype)
    parts: dict[Augmentation, tuple[Callable[[Tensor, Tensor], Tensor], slice]] = {
        "colour": (change_colours, slice(0, 3)),
        "translation": (move, slice(3, 5)),
        "cutout": (cut_out, slice(5, 7)),
    }
    for kind, (change, columns) in parts.items():
        if kind in kinds:
            images = change(images, draws[:, columns])
    return images


def change_colours(images: Tensor, draws: Tensor) -> Tensor:
    """Add -0.5 to 0.5 to brightness, multiply saturation by 0 to 2 and contrast by 0.5 to 1.5.

    Saturation is the distance from the pixel's mean over channels, contrast the distance from the
    image's mean; a grey image has no saturation.
    """
    colours, rest = images[:, :NUM_COLOURS], images[:, NUM_COLOURS:]
    brightness, saturation, contrast = (d[:, None, None, None] for d in draws.unbind(1))
    colours = colours + (brightness - 0.5)
    grey = colours.mean(1, keepdim=True)
    colours = grey + (colours - grey) * (2 * saturation)
    mean = colours.mean((1, 2, 3), keepdim=True)
    colours = mean + (colours - mean) * (contrast + 0.5)
    return torch.cat([colours, rest], 1)


def move(images: Tensor, draws: Tensor) -> Tensor:
    """Shift by whole pixels, up to `MAX_SHIFT` of the size in each direction."""
    for dim, draw in ((2, draws[:, 0]), (3, draws[:, 1])):
        size = images.shape[dim]
        reach = round(size * MAX_SHIFT)
        shift = (draw * (2 * reach + 1)).floor() - reach  # [B]
        source = torch.arange(size, device=images.device) - shift.long()[:, None]  # [B, size]
        inside = (source >= 0) & (source < size)
        shape = [-1, 1, 1, 1]
        shape[dim] = size
        index = source.clamp(0, size - 1).view(shape).expand_as(images)
        images = images.gather(dim, index) * inside.view(shape)
    return images


def cut_out(images: Tensor, draws: Tensor) -> Tensor:
    """Set a rectangle of `HOLE` of the size to 0; it may extend beyond the border."""
    inside = torch.ones(1, dtype=torch.bool, device=images.device)
    for dim, draw in ((2, draws[:, 0]), (3, draws[:, 1])):
        size = images.shape[dim]
        hole = round(size * HOLE)
        first = (draw * (size + 1)).floor() - hole // 2  # [B]
        offset = torch.arange(size, device=images.device) - first[:, None]  # [B, size]
        shape = [-1, 1, 1, 1]
        shape[dim] = size
        inside = inside & ((offset >= 0) & (offset < hole)).view(shape)
    return images * ~inside
