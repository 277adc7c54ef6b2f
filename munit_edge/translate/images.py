"""Images in, images out: one result for each style, keeping alpha and colour profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from munit_edge.engines.base import take_rows
from munit_edge.errors import InputError
from munit_edge.images.io import ImageData, Images
from munit_edge.images.sizes import pad_to
from munit_edge.model.config import Direction, split_direction
from munit_edge.styles.codes import Styles
from munit_edge.system.heap import heap_kept_smallest
from munit_edge.system.threads import Stopwatch
from munit_edge.translate.tiles import OnPart, TiledTranslation, TileStatistics, ignore_part
from munit_edge.translate.tiling import WHOLE, TileChoice, TileOption, choose_core, memory_of
from munit_edge.translator import Content, Translator


class ImageTranslator:
    """Translates images in one direction with one set of styles.

    Args:
        translator: the opened model.
        direction: "a2b" or "b2a".
        codes: float32 [S, style_dim], the styles.
        tile: which images are cut into tiles, and of which size; see `tiling.choose_core`.
        tile_stats: source of the norms' statistics for an image in tiles.
        notify: called with one line on the cost of an image in tiles, before the work starts.

    Attributes:
        channels: channels of the input images.
        busy: the engine's time so far.
    """

    def __init__(
        self,
        translator: Translator,
        direction: Direction,
        codes: Styles,
        *,
        tile: TileOption = "off",
        tile_stats: TileStatistics = "thumbnail",
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._translator = translator
        self._tile = tile
        # Once: free memory changes while the run allocates, and images of one size should get the
        # same tiles.
        self._memory = memory_of(translator.device) if tile == "auto" else 0
        self._statistics = tile_stats
        self._tiled = TiledTranslation(translator, direction, statistics=tile_stats, notify=notify)
        self._source, self._target = split_direction(direction)
        self._codes = codes
        self.channels = translator.config.channels(self._source)
        self.busy = Stopwatch()

    @property
    def pixels_at_once(self) -> int:
        """Number of pixels that is best translated together."""
        return self._translator.pixels_at_once

    def open_ahead(self) -> None:
        """Begin to open the graph that the first image needs first; returns at once."""
        self._translator.open_ahead("content_encoder", self._source)

    def padded_size(self, image: ImageData) -> tuple[int, int]:
        """Height and width that the engine gets; images of one such size can share a batch.

        Raises:
            InputError: the image is larger than the model's graphs take.
        """
        size = image.pixels.shape[0], image.pixels.shape[1]
        return self._translator.padded_size(size, self._source)

    def translate(
        self, images: Sequence[ImageData], name: str, on_part: OnPart = ignore_part
    ) -> Iterator[tuple[ImageData, float]]:
        """All results of the first image, one for each style in order, then those of the next.

        They are computed a few at a time, on demand. Each comes with its share of the engine's time
        in seconds.

        Args:
            images: images of one padded size.
            name: name of the first in messages.
            on_part: called with the number of images done, fractions included.

        Raises:
            InputError: there is too little memory.
            EngineError: the engine failed.
        """
        height, width = self.padded_size(images[0])
        core = self.choice(images[0].pixels.shape[:2]).core
        try:
            if core is None:
                yield from self._whole(images, (height, width), on_part)
            else:
                yield from self._in_tiles(images, core, name, on_part)
        except MemoryError as exc:
            height, width = images[0].pixels.shape[:2]
            raise InputError(
                f"{name} needs more memory than is available ({width} x {height} pixels): cut it "
                "into smaller tiles with --tile, or make it smaller with --size"
            ) from exc

    def choice(self, size_hw: tuple[int, ...]) -> TileChoice:
        """Whether an image of this height and width is cut into tiles, and how.

        Constant for one size while this object exists: memory is looked up once.
        """
        height, width = size_hw
        opened = self._translator
        size = height, width
        core = choose_core(self._tile, size, opened.config, opened.engine, self._memory)
        return WHOLE if core is None else TileChoice(core, self._statistics)

    def _in_tiles(
        self, images: Sequence[ImageData], core: int, name: str, on_part: OnPart
    ) -> Iterator[tuple[ImageData, float]]:
        for number, image in enumerate(images):
            results = self._tiled.translate(
                image.pixels,
                self._codes,
                core=core,
                name=name,
                on_part=lambda part, note, before=number: on_part(before + part, note),  # type: ignore[misc]
            )
            for _ in self._codes:
                # The tiles are computed in here: their time goes to the first style of a group.
                with self.busy, heap_kept_smallest():
                    pixels = next(results)
                yield _finished(pixels, image), self.busy.last

    def _whole(
        self, images: Sequence[ImageData], size_hw: tuple[int, int], on_part: OnPart
    ) -> Iterator[tuple[ImageData, float]]:
        height, width = size_hw
        num_styles = len(self._codes)
        at_once = max(1, self.pixels_at_once // (height * width))
        # As many pixels at once as suit the engine: first all styles of several images, and only if
        # those are too many, some styles of one image.
        images_at_once, styles_at_once = max(1, at_once // num_styles), min(at_once, num_styles)
        content = self._encode(images, (height, width))
        # Encoding is shared: each result bears an equal part of its time.
        share = self.busy.last / (len(images) * num_styles)
        for first in range(0, len(images), images_at_once):
            rows = range(first, min(first + images_at_once, len(images)))
            part = Content(take_rows(content.codes, rows), content.size_hw)
            for start in range(0, num_styles, styles_at_once):
                results = self._decode(part, self._codes[start : start + styles_at_once])
                seconds = share + self.busy.last / (results.shape[0] * results.shape[1])
                on_part(first + len(rows) * (start + results.shape[1]) / num_styles, "")
                for row, of_image in zip(rows, results, strict=True):
                    for pixels in of_image:
                        yield _finished(pixels, images[row]), seconds

    def _encode(self, images: Sequence[ImageData], size_hw: tuple[int, int]) -> Content:
        batch = np.stack([pad_to(image.pixels, size_hw) for image in images])
        with self.busy:
            return self._translator.encode_padded(batch, self._source)

    def _decode(self, content: Content, codes: Styles) -> Images:
        with self.busy:
            return self._translator.decode(content, codes, self._target)


def _finished(pixels: Images, source: ImageData) -> ImageData:
    """A result cropped to the size of its input, with the input's alpha and profile."""
    height, width = source.pixels.shape[:2]
    # A model with 4 channels makes its own alpha; otherwise the input's is kept.
    alpha = None if pixels.shape[2] == 4 else source.alpha
    return ImageData(pixels[:height, :width], alpha, source.icc_profile)
