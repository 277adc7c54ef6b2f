"""Cutting a picture into tiles that overlap by what the networks see. Whole numbers only.

A tile decides the pixels of its core. The decoder needs the content of the core and of a margin
around it, the encoder the pixels of that and of a margin again; where the picture ends there is no
margin, and the networks pad there as they do for the whole picture. So every pixel comes out as it
does for the whole, as long as the norms divide by the same statistics.

All borders lie on multiples of the content's pixels.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig
from munit_edge.model.layers import content_encoder, decoder, receptive_margin


class Span(NamedTuple):
    """Rows or columns of a picture: from `start` to below `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many."""
        return self.stop - self.start

    def within(self, outer: Span, unit: int = 1) -> slice:
        """Where this lies in `outer`, counted in `unit`s."""
        return slice((self.start - outer.start) // unit, (self.stop - outer.start) // unit)


class Area(NamedTuple):
    """A rectangle of the picture in pixels."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.rows.size * self.columns.size

    def within(self, outer: Area, unit: int = 1) -> tuple[slice, slice]:
        """Where this lies in `outer`, counted in `unit`s: index an array with it."""
        return self.rows.within(outer.rows, unit), self.columns.within(outer.columns, unit)


class Tile(NamedTuple):
    """One tile; all areas are of the whole, padded picture."""

    core: Area
    """What it decides; the cores of all tiles cover the picture once."""
    content: Area
    """What the decoder needs."""
    image: Area
    """What the encoder needs for `content`."""
    image_of_core: Area
    """What the encoder needs for the content of the core alone."""


class Grid(NamedTuple):
    """A picture in tiles."""

    size_hw: tuple[int, int]
    """Height and width of the padded picture in pixels."""
    tiles: tuple[Tile, ...]
    """Row by row."""

    @property
    def largest(self) -> int:
        """Pixels of the largest tile, margins included."""
        return max(tile.image.pixels for tile in self.tiles)


def encoder_margin(config: ModelConfig) -> int:
    """Pixels around an area that its content depends on, up to a multiple of the content's."""
    margin = receptive_margin(content_encoder(config, config.channels_a))
    return _up(margin, config.size_multiple)


def decoder_margin(config: ModelConfig) -> int:
    """Pixels around an area whose content its picture depends on, up to a multiple."""
    # Its input is the content, whose pixels are `size_multiple` pixels of the image wide.
    return receptive_margin(decoder(config, config.channels_a)) * config.size_multiple


def total_margin(config: ModelConfig) -> int:
    """Pixels around a core that its translation depends on."""
    return encoder_margin(config) + decoder_margin(config)


def smallest_core(config: ModelConfig) -> int:
    """The smallest core in pixels: below it the margins would be most of the work."""
    return total_margin(config) // 2 // config.size_multiple * config.size_multiple


def cut(size_hw: tuple[int, int], core: int, config: ModelConfig) -> Grid:
    """Cut a picture into the fewest tiles of nearly equal size.

    Args:
        size_hw: height and width of the picture in pixels.
        core: largest height and width of a core in pixels; rounded down to the model's multiple.
        config: the model's configuration.

    Raises:
        ConfigError: the core is too small.
    """
    least, multiple = smallest_core(config), config.size_multiple
    if core < least:
        raise ConfigError(
            f"--tile {core} is too small: around each tile this model needs {total_margin(config)} "
            f"pixels more, so give {least} pixels or more"
        )
    height, width = config.padded_size(size_hw)
    rows, columns = (_spans(side, core // multiple, multiple) for side in (height, width))
    tiles = tuple(_tile(Area(r, c), (height, width), config) for r in rows for c in columns)
    return Grid((height, width), tiles)


def core_for(pixels: int, config: ModelConfig) -> int:
    """The largest core whose tile has about so many pixels, margins included.

    At least `smallest_core`.
    """
    core = math.isqrt(max(0, pixels)) - 2 * total_margin(config)
    return max(smallest_core(config), core // config.size_multiple * config.size_multiple)


def _spans(side: int, core_units: int, multiple: int) -> list[Span]:
    units = side // multiple
    count = -(-units // core_units)
    borders = [index * units // count * multiple for index in range(count + 1)]
    return [Span(*pair) for pair in itertools.pairwise(borders)]


def _tile(core: Area, size_hw: tuple[int, int], config: ModelConfig) -> Tile:
    content = _grown(core, decoder_margin(config), size_hw)
    margin = encoder_margin(config)
    return Tile(core, content, _grown(content, margin, size_hw), _grown(core, margin, size_hw))


def _grown(area: Area, margin: int, size_hw: tuple[int, int]) -> Area:
    rows, columns = (
        Span(max(0, span.start - margin), min(side, span.stop + margin))
        for span, side in zip(area, size_hw, strict=True)
    )
    return Area(rows, columns)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
