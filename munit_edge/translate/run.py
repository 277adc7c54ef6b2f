"""Translating image files: reading, translating and writing overlap, results stay in order.

The stages are `reading`, `batches` and `writing`; this module joins them and reports each input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from munit_edge.errors import ConfigError, InputError, UnreadableImageError
from munit_edge.files.names import stored_name
from munit_edge.files.results import settings_hash
from munit_edge.images.contact_sheet import Row, contact_sheet, thumbnail
from munit_edge.images.folders import ImageFile
from munit_edge.images.frame_tally import FrameTally
from munit_edge.images.io import ImageData, Images, count_pixels, encode_image
from munit_edge.settings import StrictModel
from munit_edge.styles.choose import StyleSet
from munit_edge.system.limits import usable_cores
from munit_edge.system.threads import in_threads
from munit_edge.translate.batches import Batches, Result
from munit_edge.translate.images import ImageTranslator
from munit_edge.translate.leftovers import Leftovers
from munit_edge.translate.log import TranslateLog, disown
from munit_edge.translate.options import TranslateOptions
from munit_edge.translate.outputs import Plan, plan_results
from munit_edge.translate.reading import InputFacts, Reader
from munit_edge.translate.sheets import Sheets, cell_for, columns
from munit_edge.translate.tiles import OnPart, ignore_part
from munit_edge.translate.writing import WrittenResult, write_result
from munit_edge.translator import Translator

MAX_DEFAULT_JOBS = 8
"""Default limit of the threads that read, and of those that write."""
QUEUE_PIXELS = 1 << 24
"""Pixels read ahead, and pixels of results not yet written, so that memory stays flat."""


class TranslatedInput(StrictModel):
    """The outcome of one input: one line of `--json`."""

    input: str
    """Path of the image; parts that are not UTF-8 are escaped, see `names.stored_name`."""
    outputs: tuple[str, ...] = ()
    """Paths of its results, one for each style in order."""
    size: tuple[int, int] | None = None
    """Height and width of the results in pixels."""
    styles: int
    """Number of styles."""
    tile: int | None = None
    """Largest side in pixels of the tiles that it was cut into; null: it was translated whole."""
    tile_stats: str | None = None
    """Source of the statistics of these tiles; null: it was translated whole."""
    seconds: float
    """Time for reading, translating and writing."""
    error: str | None = None
    """Why there are no results; null: there are results."""
    skipped: bool = False
    """Whether the results are from an earlier run."""


class TranslateJob:
    """Translates image files with one set of styles.

    Attributes:
        flattened: images so far whose transparency the output format does not support.
        frames: images so far that have more frames or pages than the first.
        sheets: contact sheets written so far.
        leftovers: results of earlier runs beside those of this one.
    """

    def __init__(
        self,
        translator: Translator,
        styles: StyleSet,
        options: TranslateOptions,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._translator = ImageTranslator(
            translator,
            options.style.direction,
            styles.codes,
            tile=options.tile,
            tile_stats=options.tile_stats,
            notify=notify,
        )
        self._styles = styles
        self._options = options
        self._settings = settings_hash(
            [translator.export_id, options.deciding()], styles.codes.tobytes()
        )
        # A fault of one image does not end a folder or a watch that skips such images.
        skips = options.watch or options.skips_unreadable
        survived = InputError if skips else UnreadableImageError
        self._reader = Reader(self._translator, options, survived)
        self._batches = Batches(
            self._translator, styles, survived, skips_unreadable=options.skips_unreadable
        )
        self.flattened = 0
        self.frames = FrameTally()
        self.sheets: list[Path] = []
        self.leftovers: Leftovers | None = None

    @property
    def engine_seconds(self) -> float:
        """The engine's time so far."""
        return self._translator.busy.seconds

    def plan(self, files: Sequence[ImageFile]) -> Plan:
        """Names of all files that translating `files` reads and writes; see `plan_results`.

        Raises:
            OutputError: it cannot be written there.
        """
        return plan_results(files, len(self._styles.codes), self._options)

    def run(
        self, plan: Plan, on_part: OnPart = ignore_part
    ) -> Generator[TranslatedInput, None, None]:
        """Translate the planned inputs in order; an image that cannot be read gives an `error`.

        Reading, translating and writing run in threads of their own; the caller's thread only
        waits. Each input is in the folder's log before it is yielded. A contact sheet is
        written when it is full, the last one at the end. An image that cannot be read is the last
        outcome unless the options say to skip it.

        Args:
            plan: the result of `plan`.
            on_part: called from the engine's thread with the number of inputs done, fractions
                included, and a note on the last one.

        Raises:
            MunitEdgeError: any error other than an image that cannot be read. All inputs before it
                are complete.
        """
        folder = self._options.output
        if folder is not None and self._options.to_file:
            disown(folder)  # or --resume there would take the file for its earlier result
            folder = None
        with TranslateLog(folder, self._settings) as log:
            self.leftovers = self._find_leftovers(plan, log)
            written = self._start(plan, log, on_part)
            with contextlib.closing(written):
                yield from self._outcomes(written, plan, log)

    def translate_bytes(self, data: bytes, name: str, on_part: OnPart = ignore_part) -> bytes:
        """Translate one image file: the result of the only style, or a contact sheet.

        `on_part` is called with the part of it that is done.

        Raises:
            UnreadableImageError: `data` is not an image.
            ConfigError: there are several styles and no contact sheet.
        """
        num_styles = len(self._styles.codes)
        if num_styles > 1 and not self._options.grid:
            raise ConfigError(
                f"standard output takes one image and there are {num_styles} styles: pass --grid "
                "for a contact sheet, or choose one style"
            )
        self._translator.open_ahead()
        image = self._reader.decode(data, name)
        self.frames.add(name, image.frames)
        results = (result for result, _ in self._translator.translate([image], name, on_part))
        if not self._options.grid:
            return encode_image(next(results), self._options.result_format)
        cell = cell_for(self._styles, image)
        row = Row(name, tuple(thumbnail(shown, cell) for shown in (image, *results)))
        sheet = contact_sheet(columns(self._styles, cell), [row], cell)
        return encode_image(ImageData(sheet), self._options.result_format)

    def _start(
        self, plan: Plan, log: TranslateLog, on_part: OnPart
    ) -> Generator[WrittenResult, None, None]:
        """The three stages: reading, translating, writing."""
        jobs = self._options.jobs or min(MAX_DEFAULT_JOBS, usable_cores())
        # Every item costs at least this, so that at most two small images wait for each thread;
        # of large ones fewer wait.
        least = QUEUE_PIXELS // (2 * jobs)
        reads = in_threads(
            lambda planned: self._reader.read(planned, log, always=bool(plan.sheets)),
            plan.inputs,
            workers=jobs,
            limit=QUEUE_PIXELS,
            # From the file's header alone: the cost must be known before the image is decoded.
            cost=lambda planned: max(count_pixels(planned.path), least),
            name="munit-edge-read",
        )
        # The engine runs in this stage's feeder thread, which waits while the results that are not
        # yet written cost too much: a slow disk slows the engine down instead of filling memory.
        return in_threads(
            lambda result: write_result(result, self._options),
            self._begun(self._batches.translate(reads, on_part, sheets=bool(plan.sheets)), log),
            workers=jobs,
            limit=QUEUE_PIXELS,
            cost=lambda result: max(result.pixels, least),
            settle=True,  # after Ctrl-C, too, no result is half written
            name="munit-edge-write",
        )

    def _begun(self, results: Generator[Result, None, None], log: TranslateLog) -> Iterator[Result]:
        """The results, each input's noted in the log before its first one replaces another.

        A run killed in between leaves a mixture of old and new results, and the old line would
        call it done. One that is refused before leaves the log as it was.
        """
        with contextlib.closing(results):
            for result in results:
                facts = result.facts
                if result.image is not None and result.index == 0 and facts.sha256 is not None:
                    log.begin(facts.planned.path, facts.sha256, facts.planned.outputs)
                yield result

    def _find_leftovers(self, plan: Plan, log: TranslateLog) -> Leftovers | None:
        options = self._options
        if options.output is None or not options.replaces or not log.earlier:
            return None
        return Leftovers(
            options.output,
            log.earlier,
            [path for planned in plan.inputs for path in planned.outputs],
            [*(planned.path for planned in plan.inputs), *options.style.style_images],
            settings=self._settings,
            remove=options.overwrite,
        )

    def _outcomes(
        self, written: Iterable[WrittenResult], plan: Plan, log: TranslateLog
    ) -> Iterator[TranslatedInput]:
        """One outcome for each input, once its last result is on the disk."""
        sheets = Sheets(plan.sheets, self._styles, replace=self._options.replaces)
        self.sheets = sheets.written
        thumbnails: list[Images] = []
        shown: list[Path] = []
        complete: list[Path] = []
        seconds, cell, error = 0.0, None, None
        for part in written:
            done = part.facts
            seconds += part.seconds
            # Results were made a second time if others of their group had failed.
            thumbnails = [*(thumbnails if part.index else ()), *part.thumbnails]
            cell = part.cell or cell
            error = error or done.error
            if part.index < len(done.planned.outputs) - 1:
                continue
            if error is not None:
                done = replace(done, error=error)
            elif thumbnails and cell is not None:
                shown.append(done.planned.path)
                if sheets.add(done.planned.path.name, thumbnails, cell):
                    log.write_sheet(sheets.written[-1], shown)
                    shown = []
            self.flattened += self._options.result_format == "jpg" and part.transparent
            self.frames.add(str(done.planned.path), done.frames)
            yield self._outcome(done, round(done.seconds + seconds, 3), log)
            complete += [done.planned.path] if done.error is None else []
            thumbnails, seconds, error = [], 0.0, None
        if cell is not None and sheets.write(cell):
            log.write_sheet(sheets.written[-1], shown)
        if self.leftovers is not None:
            self.leftovers.of_sheets(sheets.written, complete)

    def _outcome(self, done: InputFacts, seconds: float, log: TranslateLog) -> TranslatedInput:
        outputs = () if done.error is not None else done.planned.outputs
        if not done.skipped:
            log.write(
                done.planned.path, done.sha256, outputs, done.size, seconds, done.error, done.tiles
            )
        if self.leftovers is not None and outputs:
            self.leftovers.of_input(done.planned.path, done.sha256, outputs)
        return TranslatedInput(
            input=stored_name(done.planned.path),
            outputs=tuple(stored_name(path) for path in outputs),
            size=done.size,
            styles=len(self._styles.codes),
            tile=done.tiles.core,
            tile_stats=done.tiles.statistics,
            seconds=seconds,
            error=done.error,
            skipped=done.skipped,
        )
