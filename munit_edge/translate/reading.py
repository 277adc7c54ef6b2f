"""The first stage of a run: an input's file, whether it is done already, and its image."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from munit_edge.errors import InputError
from munit_edge.files.names import storable
from munit_edge.images.io import ImageData, decode_image, read_bytes, size_fault
from munit_edge.styles.choose import fit_to_size
from munit_edge.translate.images import ImageTranslator
from munit_edge.translate.log import LogEntry, TranslateLog
from munit_edge.translate.options import TranslateOptions
from munit_edge.translate.outputs import Planned
from munit_edge.translate.tiling import WHOLE, TileChoice


@dataclass(frozen=True)
class InputFacts:
    """Facts about one input, known once it was read."""

    planned: Planned
    seconds: float
    """Time for reading."""
    sha256: str | None = None
    """Hash of its file; None: it could not be read."""
    size: tuple[int, int] | None = None
    """Height and width of the results in pixels."""
    error: str | None = None
    """Why there are no results; None: there are or will be."""
    skipped: bool = False
    """Whether the results are from an earlier run."""
    tiles: TileChoice = WHOLE
    frames: int = 1
    """Frames or pages of the file; the first one is translated."""


@dataclass(frozen=True)
class ReadInput:
    """An input and its image; None: it is not needed, or could not be read."""

    facts: InputFacts
    image: ImageData | None
    padded: tuple[int, int] | None
    """Height and width that the engine will get; None: there is nothing to translate."""


class Reader:
    """Reads inputs; several threads call `read` at once.

    Args:
        translator: what the images are for.
        options: the run's.
        survived: errors of one input after which the run continues without it.
    """

    def __init__(
        self, translator: ImageTranslator, options: TranslateOptions, survived: type[InputError]
    ) -> None:
        self._translator = translator
        self._options = options
        self._survived = survived

    def read(self, planned: Planned, log: TranslateLog, *, always: bool) -> ReadInput:
        """Read one input; a fault that the run survives becomes its `error`.

        Args:
            planned: the input.
            log: the log of the results' folder.
            always: decode the image even if its results are done, because a contact sheet shows it.

        Raises:
            MunitEdgeError: any other fault.
        """
        started = time.perf_counter()
        image = sha256 = error = done = padded = None
        try:
            if planned.fault is not None:
                raise InputError(planned.fault)
            data = read_bytes(planned.path)
            # Of the bytes that are decoded: the file may be replaced while the run works.
            sha256 = hashlib.sha256(data).hexdigest()
            if self._options.keeps_done:
                done = self._if_same_tiles(log.find_done(planned.outputs, sha256))
            if done is None:
                # While the image is being decoded.
                self._translator.open_ahead()
            if done is None or always:
                image = self.decode(data, str(planned.path))
            if done is None and image is not None:
                padded = self._translator.padded_size(image)
        except MemoryError as exc:
            fault = InputError(
                f"{planned.path} needs more memory than is available: make it smaller"
            )
            if not isinstance(fault, self._survived):
                raise fault from exc
            image, error = None, storable(str(fault))
        except self._survived as exc:
            image, error = None, storable(str(exc))
        size = done.size if done else None
        if image is not None:
            size = image.pixels.shape[0], image.pixels.shape[1]
        facts = InputFacts(
            planned,
            time.perf_counter() - started,
            sha256,
            size,
            error,
            skipped=done is not None,
            tiles=WHOLE if size is None else self._translator.choice(size),
            frames=1 if image is None else image.frames,
        )
        return ReadInput(facts, image, padded)

    def decode(self, data: bytes, name: str) -> ImageData:
        """The image in a file's bytes, in the size that the results will have.

        Raises:
            InputError: it cannot be used.
        """
        limit = self._options.style.max_megapixels
        image = decode_image(data, self._translator.channels, name=name, max_megapixels=limit)
        image = fit_to_size(image, self._options.style.size, limit, name)
        height, width = image.pixels.shape[:2]
        # What the format of the results cannot hold is refused here, not after the translation.
        if fault := size_fault(height, width, self._options.result_format):
            raise InputError(f"{name}: {fault}")
        return image

    def _if_same_tiles(self, done: LogEntry | None) -> LogEntry | None:
        """An earlier result, if this run would choose the same tiles, which affect the pixels.

        The tiles are not in the settings' hash: they depend on the image's size and on the memory
        of this machine.
        """
        if done is None or done.size is None:
            return None
        now = self._translator.choice(done.size)
        return done if (done.tile, done.tile_stats) == (now.core, now.statistics) else None
