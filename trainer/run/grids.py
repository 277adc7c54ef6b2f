"""Grids of translations that show the progress of training: one row per display image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from munit_edge.images.contact_sheet import labelled_grid, thumbnail
from munit_edge.images.io import ImageData, Images
from munit_edge.model.config import Direction, split_direction
from munit_edge.trainer.graphs import bytes_from_image, image_from_bytes
from munit_edge.trainer.networks import Generator
from munit_edge.trainer.torch_api import Tensor, nn, torch

MIN_SHOWN, MAX_SHOWN = 128, 256
"""Limits of the longer side of an image in a grid, in pixels: small images are enlarged by an
integer factor, so that pixels stay square; large ones are reduced."""


@dataclass(frozen=True)
class DisplayImages:
    """The images of one domain that all grids of a run show."""

    names: tuple[str, ...]
    """File names."""
    images: Tensor
    """uint8 [N, H, W, C]."""


def translation_grid(
    generators: nn.ModuleDict,
    sources: DisplayImages,
    references: DisplayImages,
    styles: Tensor,
    direction: Direction,
) -> Images:
    """A grid of translations, with a header above each column.

    Columns: input; its reconstruction; cycle, translated in the first style and back in its own;
    one translation per style; a guide, that is a reference image of the target domain, and the
    translation guided by it. File names stand below inputs and guides.

    Args:
        generators: keys `a` and `b`.
        sources: images of the source domain, one per row.
        references: images of the target domain; row i uses reference i modulo their number.
        styles: [S, style_dim], S at least 1.
        direction: "a2b" or "b2a".

    Returns:
        uint8 [height, width, 4], transparent outside images and text.
    """
    cell = shown_side(max(sources.images.shape[1:3]))
    was_training = generators.training
    generators.eval()
    rows = []
    with torch.no_grad():
        for i, (name, source) in enumerate(zip(sources.names, sources.images, strict=True)):
            guide = i % len(references.names)
            images = _row(generators, source, references.images[guide], styles, direction)
            captions = [name, *[""] * (len(images) - 3), references.names[guide], ""]
            shown = [thumbnail(ImageData(image), cell) for image in images]
            rows.append(list(zip(shown, captions, strict=True)))
    generators.train(was_training)
    return labelled_grid(_headers(len(styles), direction), rows, cell)


def shown_side(side: int) -> int:
    """Longer side in a grid of an image whose longer side has `side` pixels."""
    return min(side * max(1, MIN_SHOWN // side), MAX_SHOWN)


def _headers(num_styles: int, direction: Direction) -> list[str]:
    source, target = split_direction(direction)
    styles = [f"style {i + 1}" for i in range(num_styles)]
    return [f"input ({source})", "reconstruction", "cycle", *styles, f"guide ({target})", "guided"]


def _row(
    generators: nn.ModuleDict,
    source: Tensor,
    reference: Tensor,
    styles: Tensor,
    direction: Direction,
) -> Sequence[Images]:
    source_domain, target_domain = split_direction(direction)
    source_generator, target_generator = generators[source_domain], generators[target_domain]
    assert isinstance(source_generator, Generator)
    assert isinstance(target_generator, Generator)
    content, own_style = source_generator.encode(image_from_bytes(source[None]))
    guide = target_generator.style_encoder(image_from_bytes(reference[None]))
    # All translations in one call: [S + 1, D, h, w] without a copy, and [S + 1, style_dim].
    contents = content.expand(len(styles) + 1, -1, -1, -1)
    translations = target_generator.decoder(contents, torch.cat([styles, guide]))
    returned = target_generator.content_encoder(translations[:1])
    # The reconstruction and the cycle, [2, C, H, W]: both have the image's own style.
    own = source_generator.decoder(torch.cat([content, returned]), own_style.expand(2, -1))
    *random, guided = _pixels_of_all(translations)
    return [_pixels(source), *_pixels_of_all(own), *random, _pixels(reference), guided]


def _pixels_of_all(images: Tensor) -> list[Images]:
    return [_pixels(image) for image in bytes_from_image(images)]


def _pixels(image: Tensor) -> Images:
    return np.asarray(image.cpu().numpy(), np.uint8)
