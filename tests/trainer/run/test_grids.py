"""Image grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_runs import tiny_config

from munit_edge.images.contact_sheet import labelled_grid
from munit_edge.model.config import Direction
from munit_edge.trainer.checkpoint import build_generators
from munit_edge.trainer.graphs import bytes_from_image, image_from_bytes
from munit_edge.trainer.run.grids import DisplayImages, shown_side, translation_grid

SIDE, SHOWN = 16, 128


def cells(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The images in a grid, [rows, columns, SIDE, SIDE, 3], each pixel once."""
    opaque = grid[..., 3] == 255
    tops = np.flatnonzero(np.diff(opaque.mean(axis=1) > 0.9, prepend=False)).reshape(rows, 2)
    lefts = np.flatnonzero(np.diff(opaque.mean(axis=0) > 0.7, prepend=False)).reshape(columns, 2)
    assert (np.diff(tops) == SHOWN).all()
    assert (np.diff(lefts) == SHOWN).all()
    step = SHOWN // SIDE
    return np.array([[grid[top:end:step, a:z:step, :3] for a, z in lefts] for top, end in tops])


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_columns_of_a_grid(direction: Direction) -> None:
    torch.manual_seed(0)
    config = tiny_config("model.channels_a=1").model
    generators = build_generators(config)
    source, target = direction[0], direction[2]

    def shown(domain: str, count: int) -> DisplayImages:
        channels = config.channels_a if domain == "a" else config.channels_b
        images = torch.randint(0, 256, (count, SIDE, SIDE, channels), dtype=torch.uint8)
        return DisplayImages(tuple(f"{i}.png" for i in range(count)), images)

    sources, references = shown(source, 3), shown(target, 2)
    styles = torch.randn(4, config.style_dim)

    grid = translation_grid(generators, sources, references, styles, direction)

    found = cells(grid, 3, 9)
    np.testing.assert_array_equal(found[1, 0], sources.images[1].expand(-1, -1, 3).numpy())
    np.testing.assert_array_equal(found[2, 7], references.images[0].expand(-1, -1, 3).numpy())
    here, there = generators[source], generators[target]
    with torch.no_grad():
        content, style = here.encode(image_from_bytes(sources.images[1:2]))
        guide = there.style_encoder(image_from_bytes(references.images[1:2]))
        first = there.decoder(content, styles[:1])
        expected = {
            1: here.decoder(content, style),
            2: here.decoder(there.content_encoder(first), style),
            3: first,
            6: there.decoder(content, styles[3:]),
            8: there.decoder(content, guide),
        }
    for column, image in expected.items():
        wanted = bytes_from_image(image)[0].expand(-1, -1, 3).numpy().astype(int)
        assert abs(found[1, column].astype(int) - wanted).max() <= 1
    assert generators.training


def test_a_grid_of_other_proportions_and_alpha() -> None:
    torch.manual_seed(0)
    config = tiny_config("model.channels_b=4").model
    generators = build_generators(config)
    sources = DisplayImages(("x",), torch.zeros(1, 16, 32, 3, dtype=torch.uint8))
    references = DisplayImages(("y",), torch.zeros(1, 16, 32, 4, dtype=torch.uint8))
    grid = translation_grid(generators, sources, references, torch.zeros(1, 3), "a2b")
    assert grid.shape[1] == 6 * (128 + 8) + 8
    guide = grid[40:60, 4 * 136 + 20 : 4 * 136 + 60]
    assert (guide[..., :3] == 255).all()  # transparent is white


@pytest.mark.parametrize(
    ("side", "shown"), [(16, 128), (32, 128), (48, 96), (100, 100), (256, 256), (512, 256)]
)
def test_small_images_are_enlarged_by_whole_numbers(side: int, shown: int) -> None:
    assert shown_side(side) == shown


def test_headers_and_captions_are_read_on_light_and_dark() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    grid = labelled_grid(["input (a)", "guided"], [[(black, "a name.png"), (black, "")]], 64)
    text = grid[:20, :72]
    assert text[..., 3].max() > 200
    assert (text[text[..., 3] > 0][:, :3] == 118).all()
    assert grid[:20, 72:, 3].max() > 200
    below = grid[22 + 64 :]
    assert below[:, :72, 3].max() > 200
    assert below[1:, 80:, 3].max() == 0  # below the frame
