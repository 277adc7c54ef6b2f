"""Picture grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_runs import tiny_config

from munit_edge.config import Direction
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.graphs import bytes_from_image, image_from_bytes
from munit_edge.trainer.pictures import GAP, mosaic, translation_grid

SIDE = 16
STEP = SIDE + GAP


def cell(grid: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = GAP + row * STEP, GAP + column * STEP
    return grid[top : top + SIDE, left : left + SIDE]


def test_mosaic_of_every_kind_of_channels() -> None:
    grey = np.full((2, 3, 1), 7, np.uint8)
    colour = np.full((2, 3, 3), 9, np.uint8)
    clear = np.full((2, 3, 4), [1, 2, 3, 0], np.uint8)
    grid = mosaic([[grey, colour], [clear, grey]])
    assert grid.shape == (2 * (2 + GAP) + GAP, 2 * (3 + GAP) + GAP, 3)
    assert (grid[GAP : GAP + 2, GAP : GAP + 3] == 7).all()
    assert (grid[:GAP] == 255).all()
    assert (grid[4 + GAP :, : 3 + GAP] == 255).all()  # transparent is white


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_columns_of_a_grid(direction: Direction) -> None:
    torch.manual_seed(0)
    config = tiny_config("model.channels_a=1").model
    generators = build_generators(config)
    channels = {d: config.channels(d) for d in ("a", "b")}
    source, target = direction[0], direction[2]
    sources = torch.randint(0, 256, (3, SIDE, SIDE, channels[source]), dtype=torch.uint8)
    references = torch.randint(0, 256, (2, SIDE, SIDE, channels[target]), dtype=torch.uint8)
    styles = torch.randn(4, config.style_dim)

    grid = translation_grid(generators, sources, references, styles, direction)

    assert grid.shape == (3 * STEP + GAP, 8 * STEP + GAP, 3)
    np.testing.assert_array_equal(cell(grid, 1, 0), sources[1].expand(-1, -1, 3).numpy())
    np.testing.assert_array_equal(cell(grid, 2, 6), references[0].expand(-1, -1, 3).numpy())
    with torch.no_grad():
        image = image_from_bytes(sources[1:2])
        content, style = generators[source].encode(image)
        guide = generators[target].style_encoder(image_from_bytes(references[1:2]))
        expected = {
            1: generators[source].decoder(content, style),
            4: generators[target].decoder(content, styles[2:3]),
            7: generators[target].decoder(content, guide),
        }
    for column, picture in expected.items():
        shown = cell(grid, 1, column).astype(int)
        wanted = bytes_from_image(picture)[0].expand(-1, -1, 3).numpy().astype(int)
        assert abs(shown - wanted).max() <= 1
    assert generators.training
