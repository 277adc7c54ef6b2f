from __future__ import annotations

import numpy as np
import pytest

from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig
from munit_edge.translate.tiling import (
    Area,
    Span,
    core_for,
    cut,
    decoder_margin,
    encoder_margin,
    smallest_core,
    total_margin,
)

PAPER = ModelConfig()
SMALL = ModelConfig(width=8, num_res_blocks=1)
SHALLOW = ModelConfig(
    architecture="munit-sn", num_downsamples=1, num_res_blocks=2, padding="replicate"
)
CONFIGS = [
    pytest.param(PAPER, id="paper"),
    pytest.param(SMALL, id="one-block"),
    pytest.param(SHALLOW, id="one-downsample"),
]


@pytest.mark.parametrize(
    ("config", "encoder", "decoder"),
    # 8 -> 17 -> 35, and 3 of the 7x7: 38. 3, (3 + 2) / 2 up: 3, (3 + 2) / 2 up: 3, and 8: 11 * 4.
    [(PAPER, 40, 44), (SMALL, 16, 20), (SHALLOW, 12, 14)],
)
def test_margins(config: ModelConfig, encoder: int, decoder: int) -> None:
    assert (encoder_margin(config), decoder_margin(config)) == (encoder, decoder)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(1, 1), (227, 301), (512, 4000), (1003, 96)])
@pytest.mark.parametrize("core", [96, 250])
def test_cores_cover_the_image_once(config: ModelConfig, size: tuple[int, int], core: int) -> None:
    grid = cut(size, core, config)
    counts = np.zeros(grid.size_hw, int)
    for tile in grid.tiles:
        rows, columns = tile.core
        counts[rows.start : rows.stop, columns.start : columns.stop] += 1
        assert max(rows.size, columns.size) <= core
    assert (counts == 1).all()
    assert all(new - old >= 0 for new, old in zip(grid.size_hw, size, strict=True))


@pytest.mark.parametrize("config", CONFIGS)
def test_areas_reach_as_far_as_the_networks_see_or_to_the_border(config: ModelConfig) -> None:
    grid = cut((700, 900), 128, config)
    multiple = config.size_multiple
    for tile in grid.tiles:
        for inner, outer, margin in (
            (tile.core, tile.content, decoder_margin(config)),
            (tile.content, tile.image, encoder_margin(config)),
            (tile.core, tile.image_of_core, encoder_margin(config)),
        ):
            for span, grown, side in zip(inner, outer, grid.size_hw, strict=True):
                assert grown.start == max(0, span.start - margin)
                assert grown.stop == min(side, span.stop + margin)
                assert grown.start % multiple == grown.stop % multiple == 0


def test_tiles_are_of_nearly_equal_size() -> None:
    sizes = {tile.core.rows.size for tile in cut((1030, 400), 512, PAPER).tiles}
    assert sizes == {340, 344, 348} or max(sizes) - min(sizes) <= 4
    assert len(cut((1030, 400), 512, PAPER).tiles) == 3


def test_an_image_that_fits_is_one_tile() -> None:
    grid = cut((500, 510), 512, PAPER)
    assert len(grid.tiles) == 1
    assert grid.tiles[0].core == grid.tiles[0].image == Area(Span(0, 500), Span(0, 512))
    assert grid.largest == 500 * 512


def test_within_counts_in_content_pixels() -> None:
    core, outer = Area(Span(40, 80), Span(8, 16)), Area(Span(20, 100), Span(0, 32))
    assert core.within(outer) == (slice(20, 60), slice(8, 16))
    assert core.within(outer, 4) == (slice(5, 15), slice(2, 4))


def test_too_small_a_core_names_the_least() -> None:
    with pytest.raises(ConfigError, match=r"--tile 39 is too small.* 84 pixels.* pass 40 pixels"):
        cut((512, 512), 39, PAPER)
    assert len(cut((100, 80), 40, PAPER).tiles) == 6


def test_small_images_are_padded_to_what_the_networks_take() -> None:
    assert PAPER.padded_size((1, 7)) == (8, 8)
    assert PAPER.padded_size((9, 12)) == (12, 12)


@pytest.mark.parametrize("config", CONFIGS)
def test_core_for_a_number_of_pixels(config: ModelConfig) -> None:
    core = core_for(1_000_000, config)
    assert (core + 2 * total_margin(config)) ** 2 <= 1_000_000
    assert (core + config.size_multiple + 2 * total_margin(config)) ** 2 > 1_000_000
    assert core_for(100, config) == smallest_core(config)
