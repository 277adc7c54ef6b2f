"""Translating an image tile by tile, with the norms' statistics of the whole image.

Memory is bounded by the tile; only the image and the results are held whole, one byte for each
channel and pixel. Content codes are never kept for more than one tile.

The statistics come from a thumbnail, or exactly from the image in passes over its tiles. A pass
measures every norm while it uses the statistics of the pass before. The first norm depends on no
other and is exact after one pass, the second after two, and so on. Since every norm starts from the
thumbnail's statistics and comes closer in each pass, a few passes usually suffice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from munit_edge.errors import InputError
from munit_edge.images.io import Images
from munit_edge.images.sizes import pad_to
from munit_edge.model.config import Direction, Domain, ModelConfig, split_direction
from munit_edge.model.cost import macs_per_pixel
from munit_edge.model.norm_statistics import Merged, NormStatistics, largest_change, norm_layers
from munit_edge.styles.codes import Styles
from munit_edge.text import counted
from munit_edge.translate.tiling import Area, Grid, Tile, cut
from munit_edge.translator import Content, Translator

TileStatistics = Literal["thumbnail", "exact"]

SETTLED = 1e-3
"""Exact statistics have settled when no mean and no std changes by more, in units of the std."""
RESULT_BYTES = 1 << 26
"""Results held at a time, at least one; for more styles the image is encoded again."""
_BAND_PIXELS = 1 << 20


OnPart = Callable[[float, str], None]
"""Called with the part of an image that is done, 0 to 1, and a note on the tile."""


def ignore_part(part: float, note: str) -> None:
    """An `OnPart` that does nothing."""


class Cost(NamedTuple):
    """Multiply-accumulates of a tiled translation, in TMAC (10**12)."""

    once: float
    """With statistics from a thumbnail."""
    most: float
    """With exact statistics, if every pass is needed."""


class TiledTranslation:
    """Translates images of any size tile by tile.

    Args:
        translator: an open model that has its `*_stats` graphs.
        direction: "a2b" or "b2a".
        statistics: source of the norms' statistics.
        notify: called with one line on an image's cost, before the work starts.
    """

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        *,
        statistics: TileStatistics = "thumbnail",
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._translator = translator
        self._source, self._target = split_direction(direction)
        self._exact = statistics == "exact"
        self._notify = notify

    def translate(
        self,
        image: Images,
        styles: Styles,
        *,
        core: int,
        name: str = "image",
        on_part: OnPart = ignore_part,
    ) -> Iterator[Images]:
        """Translate one image with every style.

        Args:
            image: uint8 [H, W, C], C channels of the source domain.
            styles: float32 [S, style_dim] for the target domain.
            core: largest height and width in pixels of a tile's core.
            name: name of the image in the line to `notify`.
            on_part: called after every tile, in measuring passes too.

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
        self._notify(f"{name}: {self._announcement(grid, shape, len(styles))}")
        # The thumbnail has no more pixels than the largest tile, so it needs no more memory.
        small = reduced(image, math.ceil(math.sqrt(height * width / grid.largest)))
        small_content, stats = self._translator.encode_measured(small[None], self._source)
        tiled = _TiledImage(self._translator, image, grid, self._source)
        # All styles of a group share one encoding of each tile; their results are held at once.
        step = max(1, RESULT_BYTES // math.prod(shape))
        groups = [styles[start : start + step] for start in range(0, len(styles), step)]
        work = self._work(grid, groups, on_part)
        if self._exact:
            (stats,) = self._settled(
                work,
                "content_encoder",
                [stats],
                lambda tile, given, wanted: [tiled.measured(tile, given[0])],
            )
        for group in groups:
            yield from self._translate_group(tiled, stats, small_content, group, shape, work)

    def _refuse_fixed_sizes(self, grid: Grid) -> None:
        # A fixed-size graph pads every input to its own size, which no tile has except by chance.
        rows, columns = grid.tiles[0].image
        size_hw = rows.size, columns.size
        if self._translator.padded_size(size_hw, self._source) != size_hw:
            raise InputError(
                "this model was exported for one size, so images cannot be cut into tiles: "
                "export it again without --height and --width"
            )

    @property
    def _config(self) -> ModelConfig:
        return self._translator.config

    def _translate_group(
        self,
        tiled: _TiledImage,
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
            # Encoded again in every pass: the codes of all tiles would take many times the memory
            # of the image.
            content = tiled.content(tile, encoder)
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
                # Cores meet without overlap and nothing is blended: with the same statistics both
                # tiles agree at their border. The image's right and lower edges have padding.
                place = _part(result, tile.core)
                place[:] = pixels[: place.shape[0], : place.shape[1]]
        # Each result is let go as soon as it is taken, so that the caller can hold it alone.
        while results:
            yield results.pop(0)

    def _settled(
        self,
        work: _Work,
        network: Literal["content_encoder", "decoder"],
        stats: list[NormStatistics],
        measure: Callable[[Tile, list[NormStatistics], list[int]], list[NormStatistics]],
    ) -> list[NormStatistics]:
        """Pass after pass over all tiles, until the statistics settle or every norm is exact.

        Args:
            work: the passes; those not needed are reported to it.
            network: the network with the norms.
            stats: initial statistics, one for each style.
            measure: tile, statistics and indices into them -> statistics measured for those.
        """
        wanted = list(range(len(stats)))
        most = len(norm_layers(self._config, network))
        for number in range(1, most + 1):
            joined = {index: Merged() for index in wanted}
            for tile in work.tiles(f"measuring pass {number}, "):
                found = measure(tile, stats, wanted)
                for index, measured in zip(wanted, found, strict=True):
                    # Margins have no weight: they are the cores of other tiles.
                    joined[index].add(measured, tile.core.pixels)
            new = {index: part.result() for index, part in joined.items()}
            # Styles settle at different passes; those that have settled are not decoded any more.
            wanted = [i for i in wanted if largest_change(stats[i], new[i]) > SETTLED]
            stats = [new.get(index, old) for index, old in enumerate(stats)]
            if not wanted:
                work.spare(most - number)
                break
        return stats

    def _work(self, grid: Grid, groups: Sequence[Styles], on_part: OnPart) -> _Work:
        # An upper bound: `_Work.spare` takes back the measuring passes that turn out unnecessary.
        passes = len(groups)
        if self._exact:
            passes += len(norm_layers(self._config, "content_encoder"))
            passes += len(norm_layers(self._config, "decoder")) * len(groups)
        return _Work(grid, passes, on_part)

    def _decode(
        self, tile: Tile, content: Content, style: Styles, stats: NormStatistics
    ) -> tuple[Images, NormStatistics]:
        """The pixels of a core, and the norms' statistics measured on it."""
        core = _core_mask(tile.core, tile.content, self._config.size_multiple)
        # The mask keeps the margin out of the statistics; the margin is still translated.
        images, measured = self._translator.decode_measured(
            content, style[None], self._target, stats, core=core
        )
        rows, columns = tile.core.within(tile.content)
        return images[0, rows, columns], measured

    def _announcement(self, grid: Grid, shape: tuple[int, ...], num_styles: int) -> str:
        cost = self._cost(grid, num_styles)
        text = f"{shape[1]} x {shape[0]} pixels in {counted(len(grid.tiles), 'tile')}"
        if not self._exact:
            return f"{text}: about {cost.once:.2g} TMAC"
        return (
            f"{text} with exact statistics: {cost.once:.2g} TMAC and measuring passes, at most "
            f"{cost.most:.2g} TMAC in total"
        )

    def _cost(self, grid: Grid, num_styles: int) -> Cost:
        encoder = macs_per_pixel(self._config, "content_encoder", self._source) / 1e12
        decoder = macs_per_pixel(self._config, "decoder", self._target) / 1e12
        encode = encoder * sum(tile.image.pixels for tile in grid.tiles)
        # Measuring the encoder needs the content of the core alone, so its margin is smaller.
        encode_core = encoder * sum(tile.image_of_core.pixels for tile in grid.tiles)
        decode = decoder * sum(tile.content.pixels for tile in grid.tiles) * num_styles
        once = encode + decode
        measuring = encode_core * len(norm_layers(self._config, "content_encoder"))
        measuring += once * len(norm_layers(self._config, "decoder"))
        return Cost(once, once + measuring)


class _Work:
    """Passes over the tiles of an image, and the part of them that is done."""

    def __init__(self, grid: Grid, passes: int, on_part: OnPart) -> None:
        self._grid = grid
        self._passes = passes
        self._on_part = on_part
        self._done = 0

    def tiles(self, doing: str = "") -> Iterator[Tile]:
        """The tiles of the next pass; each is done when the next one is requested.

        `doing` precedes the number of the tile in the note.
        """
        count = len(self._grid.tiles)
        for number, tile in enumerate(self._grid.tiles, 1):
            yield tile
            self._done += 1
            part = self._done / (self._passes * count)
            self._on_part(part, f"{doing}tile {number} of {count}")

    def spare(self, passes: int) -> None:
        """This many passes are not needed."""
        self._passes -= passes


class _TiledImage:
    """An image that is encoded tile by tile."""

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
        """Statistics of the encoder's norms, measured on the core of a tile."""
        return self._encode(tile.image_of_core, tile.core, stats)[1]

    def _encode(
        self, area: Area, core: Area, stats: NormStatistics
    ) -> tuple[Content, NormStatistics]:
        # Areas are of the padded image, so tiles at its right and lower edge lack pixels.
        pixels = pad_to(_part(self._image, area), (area.rows.size, area.columns.size))
        mask = _core_mask(core, area, self._multiple)
        return self._translator.encode_measured(pixels[None], self._domain, stats, core=mask)


def reduced(image: Images, factor: int) -> Images:
    """The mean of each square of `factor` pixels; incomplete squares at the edges are dropped.

    Works band by band, so that it takes little memory.
    """
    height, width = (max(1, side // factor) for side in image.shape[:2])
    factor_y, factor_x = (min(factor, side) for side in image.shape[:2])
    result = np.empty((height, width, image.shape[2]), np.uint8)
    band = max(1, _BAND_PIXELS // (factor_y * image.shape[1]))
    for top in range(0, height, band):
        rows = min(band, height - top)
        squares = image[top * factor_y : (top + rows) * factor_y, : width * factor_x]
        # [rows, factor, width, factor, C]: a view, so the sum below is the only copy.
        squares = squares.reshape(rows, factor_y, width, factor_x, image.shape[2])
        sums = squares.sum(axis=(1, 3), dtype=np.uint32)
        result[top : top + rows] = np.rint(sums / (factor_y * factor_x))
    return result


def _part(image: Images, area: Area) -> Images:
    """The part of an unpadded image that lies in `area`."""
    rows, columns = area
    part: Images = image[rows.start : rows.stop, columns.start : columns.stop]
    return part


def _core_mask(core: Area, area: Area, multiple: int) -> NDArray[np.float32]:
    """1 where content of `area` lies in `core`, else 0: float32 [h, w]."""
    mask = np.zeros((area.rows.size // multiple, area.columns.size // multiple), np.float32)
    mask[core.within(area, multiple)] = 1
    return mask
