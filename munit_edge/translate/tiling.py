"""Cutting an image into tiles that overlap by the networks' receptive fields, in whole numbers.

A tile decides the pixels of its core. The decoder needs the content of the core and of a margin
around it, and the encoder the pixels of that area and of a second margin; at the image's borders
there is no margin, and the networks pad there as they do for the whole image. So every pixel is the
same as in the whole image, as long as the norms divide by the same statistics.

All borders lie on multiples of the content's pixels.

Whether an image is cut at all, and into tiles of which size, depends on the option and on memory:
`choose_core`.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple, Union

from munit_edge.engines.table import builds_plans
from munit_edge.errors import ConfigError
from munit_edge.model.config import ModelConfig
from munit_edge.model.layers import content_encoder, decoder, receptive_margin
from munit_edge.system.limits import available_memory
from munit_edge.system.nvidia_smi import free_memory_bytes

TileOption = Union[Literal["auto", "off"], int]  # noqa: UP007 - a value, made on Python 3.10
"""`auto`: tiles where memory is short; `off`: never; a number: largest core in pixels."""

WHOLE_SHARE = 0.5
"""Share of the available memory that an image may take without being cut."""
TILE_BYTES = 1 << 30
"""Memory limit of a tile: in larger tiles the margins are hardly a smaller share."""
TILE_SHARE = 0.25
"""Share of the available memory that a tile may take."""
UNKNOWN_MEMORY = 4 << 30
"""Assumed where the available memory is unknown."""
ENGINE_PIXELS = 512 * 512
"""Pixels of a tile for TensorRT: the largest image of engines built with the default sizes."""
BYTES_PER_CHANNEL = 14
"""Memory of an engine for each pixel and channel of the decoder's last upsampling."""


class Span(NamedTuple):
    """Rows or columns of an image: from `start` to below `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of rows or columns."""
        return self.stop - self.start

    def within(self, outer: Span, unit: int = 1) -> slice:
        """Where this lies in `outer`, counted in `unit`s."""
        return slice((self.start - outer.start) // unit, (self.stop - outer.start) // unit)


class Area(NamedTuple):
    """A rectangle of the image in pixels."""

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
    """One tile; all areas are of the whole, padded image."""

    core: Area
    """The pixels it decides; the cores of all tiles cover the image once."""
    content: Area
    """Area whose content the decoder needs."""
    image: Area
    """Area that the encoder needs for `content`."""
    image_of_core: Area
    """Area that the encoder needs for the content of the core alone."""


class Grid(NamedTuple):
    """An image in tiles."""

    size_hw: tuple[int, int]
    """Height and width of the padded image in pixels."""
    tiles: tuple[Tile, ...]
    """Row by row."""

    @property
    def largest(self) -> int:
        """Pixels of the largest tile, margins included."""
        return max(tile.image.pixels for tile in self.tiles)


class TileChoice(NamedTuple):
    """How one image is translated."""

    core: int | None = None
    """Largest core of its tiles in pixels; None: whole."""
    statistics: Literal["thumbnail", "exact"] | None = None
    """Where the statistics of an image in tiles come from."""


WHOLE = TileChoice()


def encoder_margin(config: ModelConfig) -> int:
    """Pixels around an area that its content depends on, up to a multiple of the content's."""
    margin = receptive_margin(content_encoder(config, config.channels_a))
    return _up(margin, config.size_multiple)


def decoder_margin(config: ModelConfig) -> int:
    """Pixels around an area whose content its image depends on, up to a multiple."""
    # Its input is the content, whose pixels are `size_multiple` pixels of the image wide.
    return receptive_margin(decoder(config, config.channels_a)) * config.size_multiple


def total_margin(config: ModelConfig) -> int:
    """Pixels around a core that its translation depends on."""
    return encoder_margin(config) + decoder_margin(config)


def smallest_core(config: ModelConfig) -> int:
    """The smallest core in pixels: below it the margins would be most of the work."""
    return total_margin(config) // 2 // config.size_multiple * config.size_multiple


def cut(size_hw: tuple[int, int], core: int, config: ModelConfig) -> Grid:
    """Cut an image into the fewest tiles of nearly equal size.

    Args:
        size_hw: height and width of the image in pixels.
        core: largest height and width of a core in pixels; rounded down to the model's multiple.
        config: the model's configuration.

    Raises:
        ConfigError: the core is too small.
    """
    least, multiple = smallest_core(config), config.size_multiple
    if core < least:
        raise ConfigError(
            f"--tile {core} is too small: this model needs a margin of {total_margin(config)} "
            f"pixels around each tile, so pass {least} pixels or more"
        )
    # Tiles are cut from the padded image, so that each has a size that the networks take.
    height, width = config.padded_size(size_hw)
    rows, columns = (_spans(side, core // multiple, multiple) for side in (height, width))
    tiles = tuple(_tile(Area(r, c), (height, width), config) for r in rows for c in columns)
    return Grid((height, width), tiles)


def core_for(pixels: int, config: ModelConfig) -> int:
    """The largest core whose tile has about this many pixels, margins included.

    At least `smallest_core`.
    """
    # One margin on each side; tiles at the border of the image have less.
    core = math.isqrt(max(0, pixels)) - 2 * total_margin(config)
    return max(smallest_core(config), core // config.size_multiple * config.size_multiple)


def engine_bytes_per_pixel(config: ModelConfig) -> int:
    """Peak memory of an engine in bytes, for each pixel that it translates at once.

    Fitted to measurements of ONNX Runtime on a CPU: 394 at width 16 and 1024 x 1024 pixels, 626 at
    width 16 and 512 x 512, 1776 at width 64 and 384 x 384.
    """
    # The last upsampling enlarges twice these channels, and its convolution then halves them.
    last = config.content_channels // config.size_multiple
    return BYTES_PER_CHANNEL * max(config.width, 2 * last)


def memory_of(device: str) -> int:
    """Available bytes on a device, such as "cpu" or "cuda:0"; `UNKNOWN_MEMORY` if unknown."""
    kind, _, index = device.partition(":")
    memory = free_memory_bytes(int(index or 0)) if kind == "cuda" else available_memory()
    return memory or UNKNOWN_MEMORY


def choose_core(
    option: TileOption, size_hw: tuple[int, int], config: ModelConfig, engine: str, memory: int
) -> int | None:
    """The core of the tiles of an image in pixels, or None to translate it whole.

    Args:
        option: the choice; with a number, images that fit into one core stay whole.
        size_hw: height and width of the image in pixels.
        config: the model's configuration.
        engine: name of the backend.
        memory: available bytes (`memory_of`).
    """
    if option == "off":
        return None
    if option != "auto":
        return None if max(size_hw) <= option else option
    per_pixel = engine_bytes_per_pixel(config)
    if size_hw[0] * size_hw[1] * per_pixel <= WHOLE_SHARE * memory:
        return None
    # A power of two, so that small changes of the free memory do not change the tiles.
    budget = 1 << max(0, int(TILE_SHARE * memory).bit_length() - 1)
    pixels = min(TILE_BYTES, budget) // per_pixel
    if builds_plans(engine):
        pixels = min(pixels, ENGINE_PIXELS)
    return core_for(pixels, config)


def _spans(side: int, core_units: int, multiple: int) -> list[Span]:
    units = side // multiple
    count = -(-units // core_units)
    # Borders in whole units of the content; sizes differ by one unit at most, so that the engine
    # meets few different shapes.
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
