"""Picture grids that show how far training is: one row for each display image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from munit_edge.config import Direction, split_direction
from munit_edge.images import Images, on_white
from munit_edge.trainer.graphs import bytes_from_image, image_from_bytes
from munit_edge.trainer.networks import Generator
from munit_edge.trainer.torch_api import Tensor, nn, torch

GAP = 2
"""White pixels between two pictures."""


def translation_grid(
    generators: nn.ModuleDict,
    sources: Tensor,
    references: Tensor,
    styles: Tensor,
    direction: Direction,
) -> Images:
    """A grid of translations.

    Columns: input, its reconstruction, one translation for each style, a reference image of the
    target domain, the translation guided by it.

    Args:
        generators: keys `a` and `b`.
        sources: bytes [N, H, W, C] of the source domain.
        references: bytes [M, H, W, C] of the target domain; row i takes reference i modulo M.
        styles: [S, style_dim].
        direction: "a2b" or "b2a".

    Returns:
        uint8 [height, width, 3].
    """
    was_training = generators.training
    generators.eval()
    with torch.no_grad():
        rows = [
            _row(generators, source, references[i % len(references)], styles, direction)
            for i, source in enumerate(sources)
        ]
    generators.train(was_training)
    return mosaic(rows)


def mosaic(rows: Sequence[Sequence[Images]]) -> Images:
    """Pictures of one size, uint8 [H, W, 1, 3 or 4], side by side: uint8 [height, width, 3]."""
    padded = [[_framed(_rgb(picture)) for picture in row] for row in rows]
    grid = np.concatenate([np.concatenate(row, axis=1) for row in padded], axis=0)
    return np.pad(grid, ((GAP, 0), (GAP, 0), (0, 0)), constant_values=255)


def _row(
    generators: nn.ModuleDict,
    source: Tensor,
    reference: Tensor,
    styles: Tensor,
    direction: Direction,
) -> list[Images]:
    source_domain, target_domain = split_direction(direction)
    source_generator, target_generator = generators[source_domain], generators[target_domain]
    assert isinstance(source_generator, Generator)
    assert isinstance(target_generator, Generator)
    content, own_style = source_generator.encode(image_from_bytes(source[None]))
    guide = target_generator.style_encoder(image_from_bytes(reference[None]))
    reconstruction = source_generator.decoder(content, own_style)
    contents = content.expand(len(styles) + 1, -1, -1, -1)
    translations = target_generator.decoder(contents, torch.cat([styles, guide]))
    *random, guided = _pictures(translations)
    return [_picture(source), *_pictures(reconstruction), *random, _picture(reference), guided]


def _pictures(images: Tensor) -> list[Images]:
    return [_picture(image) for image in bytes_from_image(images)]


def _picture(image: Tensor) -> Images:
    return np.asarray(image.cpu().numpy(), np.uint8)


def _rgb(picture: Images) -> Images:
    if picture.shape[2] == 4:
        return on_white(picture[..., :3], picture[..., 3])
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture


def _framed(picture: Images) -> Images:
    return np.pad(picture, ((0, GAP), (0, GAP), (0, 0)), constant_values=255)
