"""Translating a picture tile by tile, with the norms' statistics of the whole picture.

Memory is bounded by the tile: besides it there are only the picture and the results, one byte for
each channel and pixel. Content codes are never kept for more than one tile.

The statistics come from a thumbnail, or exactly from the picture in passes over its tiles. A pass
measures every norm while it uses what the pass before has measured. The first norm depends on none
and is exact after one pass, the second after two, and so on; since every norm starts from the
thumbnail's statistics and comes nearer in each pass, few passes are needed before nothing moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import InputError
from munit_edge.images.io import Images, pad_to
from munit_edge.model.config import Direction, Domain, ModelConfig, split_direction
from munit_edge.model.cost import macs_per_pixel
from munit_edge.model.norm_statistics import Joined, NormStatistics, largest_change, norm_layers
from munit_edge.styles.codes import Styles
from munit_edge.translate.tiling import Area, Grid, Tile, cut
from munit_edge.translator import Content, Translator

TileStatistics = Literal["thumbnail", "exact"]

SETTLED = 1e-3
"""Exact statistics are settled when no mean and no deviation moves by more, in deviations."""
RESULT_BYTES = 1 << 26
"""Results held at a time, one at least; for more styles the picture is encoded again."""
_BAND_PIXELS = 1 << 20


OnPart = Callable[[float, str], None]
"""Told what part of a picture is done, 0 to 1, and in words which tile that was."""


def ignore_part(part: float, note: str) -> None:
    """An `OnPart` for those who do not want to know."""


class Cost(NamedTuple):
    """Multiplications that a tiled translation takes, in millions of millions."""

    once: float
    """With statistics from a thumbnail."""
    most: float
    """With exact statistics, when every pass is needed."""


class TiledTranslation:
    """Translates pictures of any size tile by tile.

    Args:
        translator: an open model that has its `*_stats` graphs.
        direction: "a2b" or "b2a".
        statistics: where the norms' statistics come from.
        say: told in words what a picture will take, before the work starts.
    """

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        *,
        statistics: TileStatistics = "thumbnail",
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._translator = translator
        self._source, self._target = split_direction(direction)
        self._exact = statistics == "exact"
        self._say = say

    def translate(
        self,
        image: Images,
        styles: Styles,
        *,
        core: int,
        name: str = "picture",
        on_part: OnPart = ignore_part,
    ) -> Iterator[Images]:
        """Translate one picture with every style.

        Args:
            image: uint8 [H, W, C], C channels of the source domain.
            styles: float32 [S, style_dim] for the target domain.
            core: largest height and width in pixels of what one tile decides.
            name: what is said of the picture begins with this.
            on_part: told after every tile, of those of measuring passes too.

        Yields:
            uint8 [H, W, C], C channels of the target domain: one for each style, in order.

        Raises:
            ConfigError: the core is too small for this model.
            ModelError: the model has no `*_stats` graphs.
            InputError, EngineError: see `Translator.translate`.
        """
        height, width = image.shape[:2]
        shape = (height, width, self._config.channels(self._target))
        grid = cut((height, width), core, self._config)
        self._refuse_fixed_sizes(grid)
        self._say(f"{name}: {self._announcement(grid, shape, len(styles))}")
        small = reduced(image, math.ceil(math.sqrt(height * width / grid.largest)))
        small_content, stats = self._translator.encode_measured(small[None], self._source)
        picture = _Picture(self._translator, image, grid, self._source)
        step = max(1, RESULT_BYTES // math.prod(shape))
        groups = [styles[start : start + step] for start in range(0, len(styles), step)]
        work = self._work(grid, groups, on_part)
        if self._exact:
            (stats,) = self._settled(
                work,
                "content_encoder",
                [stats],
                lambda tile, given, wanted: [picture.measured(tile, given[0])],
            )
        for group in groups:
            yield from self._translate_group(picture, stats, small_content, group, shape, work)

    def _refuse_fixed_sizes(self, grid: Grid) -> None:
        rows, columns = grid.tiles[0].image
        size_hw = rows.size, columns.size
        if self._translator.padded_size(size_hw, self._source) != size_hw:
            raise InputError(
                "this model was exported for one size, so that pictures cannot be cut into tiles: "
                "export it again without --height and --width"
            )

    @property
    def _config(self) -> ModelConfig:
        return self._translator.config

    def _translate_group(
        self,
        picture: _Picture,
        encoder: NormStatistics,
        small: Content,
        styles: Styles,
        shape: tuple[int, ...],
        work: _Work,
    ) -> Iterator[Images]:
        decoders = [
            self._translator.decode_measured(small, style[None], self._target)[1]
            for style in styles
        ]

        def decode(
            tile: Tile, given: Sequence[NormStatistics], wanted: Sequence[int]
        ) -> list[tuple[Images, NormStatistics]]:
            content = picture.content(tile, encoder)
            return [self._decode(tile, content, styles[i], given[i]) for i in wanted]

        if self._exact:
            decoders = self._settled(
                work,
                "decoder",
                decoders,
                lambda tile, given, wanted: [m for _, m in decode(tile, given, wanted)],
            )
        results = [np.empty(shape, np.uint8) for _ in styles]
        for tile in work.tiles():
            done = decode(tile, decoders, range(len(styles)))
            for result, (pixels, _) in zip(results, done, strict=True):
                place = _part(result, tile.core)
                place[:] = pixels[: place.shape[0], : place.shape[1]]
        while results:
            yield results.pop(0)

    def _settled(
        self,
        work: _Work,
        network: Literal["content_encoder", "decoder"],
        stats: list[NormStatistics],
        measure: Callable[[Tile, list[NormStatistics], list[int]], list[NormStatistics]],
    ) -> list[NormStatistics]:
        """Pass after pass over all tiles, until nothing moves or every norm is exact.

        Args:
            work: gives the tiles, and is told when fewer passes do.
            network: whose norms.
            stats: to start from, one for each style.
            measure: tile, given statistics and indices into them -> what was measured for those.
        """
        wanted = list(range(len(stats)))
        most = len(norm_layers(self._config, network))
        for number in range(1, most + 1):
            joined = {index: Joined() for index in wanted}
            for tile in work.tiles(f"measuring pass {number}, "):
                found = measure(tile, stats, wanted)
                for index, measured in zip(wanted, found, strict=True):
                    joined[index].add(measured, tile.core.pixels)
            new = {index: part.result() for index, part in joined.items()}
            wanted = [i for i in wanted if largest_change(stats[i], new[i]) > SETTLED]
            stats = [new.get(index, old) for index, old in enumerate(stats)]
            if not wanted:
                work.spare(most - number)
                break
        return stats

    def _work(self, grid: Grid, groups: Sequence[Styles], on_part: OnPart) -> _Work:
        passes = len(groups)
        if self._exact:
            passes += len(norm_layers(self._config, "content_encoder"))
            passes += len(norm_layers(self._config, "decoder")) * len(groups)
        return _Work(grid, passes, on_part)

    def _decode(
        self, tile: Tile, content: Content, style: Styles, stats: NormStatistics
    ) -> tuple[Images, NormStatistics]:
        """The pixels of a core, and what the norms measured on it."""
        core = _core_mask(tile.core, tile.content, self._config.size_multiple)
        images, measured = self._translator.decode_measured(
            content, style[None], self._target, stats, core=core
        )
        rows, columns = tile.core.within(tile.content)
        return images[0, rows, columns], measured

    def _announcement(self, grid: Grid, shape: tuple[int, ...], num_styles: int) -> str:
        cost = self._cost(grid, num_styles)
        text = f"{shape[1]} x {shape[0]} pixels in {_counted(len(grid.tiles), 'tile')}"
        if not self._exact:
            return f"{text}: about {cost.once:.2g} TMAC"
        return (
            f"{text} with exact statistics: {cost.once:.2g} TMAC and passes that measure, at most "
            f"{cost.most:.2g} TMAC in all"
        )

    def _cost(self, grid: Grid, num_styles: int) -> Cost:
        encoder = macs_per_pixel(self._config, "content_encoder", self._source) / 1e12
        decoder = macs_per_pixel(self._config, "decoder", self._target) / 1e12
        encode = encoder * sum(tile.image.pixels for tile in grid.tiles)
        encode_core = encoder * sum(tile.image_of_core.pixels for tile in grid.tiles)
        decode = decoder * sum(tile.content.pixels for tile in grid.tiles) * num_styles
        once = encode + decode
        measuring = encode_core * len(norm_layers(self._config, "content_encoder"))
        measuring += once * len(norm_layers(self._config, "decoder"))
        return Cost(once, once + measuring)


class _Work:
    """Passes over the tiles of a picture, and what part of them is done."""

    def __init__(self, grid: Grid, passes: int, on_part: OnPart) -> None:
        self._grid = grid
        self._passes = passes
        self._on_part = on_part
        self._done = 0

    def tiles(self, doing: str = "") -> Iterator[Tile]:
        """The tiles of the next pass; each is done when the next one is asked for.

        `doing` is said before the number of the tile.
        """
        count = len(self._grid.tiles)
        for number, tile in enumerate(self._grid.tiles, 1):
            yield tile
            self._done += 1
            part = self._done / (self._passes * count)
            self._on_part(part, f"{doing}tile {number} of {count}")

    def spare(self, passes: int) -> None:
        """So many passes are not needed."""
        self._passes -= passes


class _Picture:
    """A picture that is encoded tile by tile."""

    def __init__(self, translator: Translator, image: Images, grid: Grid, domain: Domain) -> None:
        self.grid = grid
        self._translator = translator
        self._image = image
        self._domain = domain
        self._multiple = translator.config.size_multiple

    def content(self, tile: Tile, stats: NormStatistics) -> Content:
        """The content that the decoder needs for a tile."""
        whole, _ = self._encode(tile.image, tile.content, stats)
        rows, columns = tile.content.within(tile.image, self._multiple)
        codes = np.ascontiguousarray(np.asarray(whole.codes)[:, :, rows, columns])
        return Content(codes, (tile.content.rows.size, tile.content.columns.size))

    def measured(self, tile: Tile, stats: NormStatistics) -> NormStatistics:
        """What the encoder's norms measure on the core of a tile."""
        return self._encode(tile.image_of_core, tile.core, stats)[1]

    def _encode(
        self, area: Area, core: Area, stats: NormStatistics
    ) -> tuple[Content, NormStatistics]:
        pixels = pad_to(_part(self._image, area), (area.rows.size, area.columns.size))
        mask = _core_mask(core, area, self._multiple)
        return self._translator.encode_measured(pixels[None], self._domain, stats, core=mask)


def reduced(image: Images, factor: int) -> Images:
    """The mean of each square of `factor` pixels; what is left at the right and below is dropped.

    Band by band, so that it takes no memory to speak of.
    """
    height, width = (max(1, side // factor) for side in image.shape[:2])
    factor_y, factor_x = (min(factor, side) for side in image.shape[:2])
    result = np.empty((height, width, image.shape[2]), np.uint8)
    band = max(1, _BAND_PIXELS // (factor_y * image.shape[1]))
    for top in range(0, height, band):
        rows = min(band, height - top)
        squares = image[top * factor_y : (top + rows) * factor_y, : width * factor_x]
        squares = squares.reshape(rows, factor_y, width, factor_x, image.shape[2])
        sums = squares.sum(axis=(1, 3), dtype=np.uint32)
        result[top : top + rows] = np.rint(sums / (factor_y * factor_x))
    return result


def _part(image: Images, area: Area) -> Images:
    """The part of an unpadded picture that lies in `area`."""
    rows, columns = area
    part: Images = image[rows.start : rows.stop, columns.start : columns.stop]
    return part


def _core_mask(core: Area, area: Area, multiple: int) -> NDArray[np.float32]:
    """1 where content of `area` lies in `core`, else 0: float32 [h, w]."""
    mask = np.zeros((area.rows.size // multiple, area.columns.size // multiple), np.float32)
    mask[core.within(area, multiple)] = 1
    return mask


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
