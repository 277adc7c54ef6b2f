"""Translating image files: reading, translating and writing overlap, results stay in order."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from munit_edge.errors import ConfigError, InputError, OutputError, UnreadableImageError
from munit_edge.files.names import storable, stored_name
from munit_edge.images.contact_sheet import Row, contact_sheet, thumbnail
from munit_edge.images.folders import ImageFile
from munit_edge.images.frame_tally import FrameTally
from munit_edge.images.io import (
    ImageData,
    Images,
    count_pixels,
    decode_image,
    encode_image,
    read_bytes,
    read_image,
    size_fault,
    write_image,
)
from munit_edge.model.config import split_direction
from munit_edge.settings import StrictModel
from munit_edge.styles.choose import StyleSet, fit_to_size
from munit_edge.system.limits import usable_cores
from munit_edge.system.threads import in_threads
from munit_edge.translate.images import ImageTranslator
from munit_edge.translate.leftovers import Leftovers
from munit_edge.translate.log import LogEntry, TranslateLog, disown, settings_hash
from munit_edge.translate.options import TranslateOptions
from munit_edge.translate.outputs import Plan, Planned, plan_results
from munit_edge.translate.sheets import Sheets, cell_for, columns
from munit_edge.translate.tiles import OnPart, ignore_part
from munit_edge.translate.tiling import WHOLE, TileChoice
from munit_edge.translator import Translator

MAX_DEFAULT_JOBS = 8
"""Default limit of the threads that read, and of those that write."""
QUEUE_PIXELS = 1 << 24
"""Pixels read ahead, and pixels of results not yet written, so that memory stays flat."""

_OWN_ERRORS = frozenset(
    [
        *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ),  # unsupported names
        *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP),  # in the way
    ]
)
"""Error numbers that concern a single result; a full disk is not among them."""


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


@dataclass(frozen=True)
class _Input:
    """Facts about one input, known once it was read."""

    planned: Planned
    seconds: float
    sha256: str | None = None
    size: tuple[int, int] | None = None
    error: str | None = None
    skipped: bool = False
    tiles: TileChoice = WHOLE
    frames: int = 1
    """Frames or pages of the file; the first one is translated."""


@dataclass(frozen=True)
class _Read:
    """An input and its image; None: it is not needed, or could not be read."""

    input: _Input
    picture: ImageData | None
    padded: tuple[int, int] | None
    """Height and width that the engine will get; None: there is nothing to translate."""


@dataclass(frozen=True)
class _Result:
    """One result on its way to the disk, or an input that needs nothing written."""

    input: _Input
    index: int = 0
    """Index of the style."""
    picture: ImageData | None = None
    """None: an earlier run wrote it, or there is none."""
    seconds: float = 0.0
    """Time of the engine."""
    source: ImageData | None = None
    """The input's image, if a contact sheet needs it."""
    cell: int | None = None
    """Size of thumbnails in pixels; None: there is no contact sheet."""

    @property
    def pixels(self) -> int:
        """Pixels that wait to be written, at least 1."""
        held = (picture for picture in (self.picture, self.source) if picture is not None)
        return 1 + sum(picture.pixels[..., 0].size for picture in held)


@dataclass(frozen=True)
class _Written:
    """What remains of a result when it is on the disk."""

    result_of: _Input
    index: int
    seconds: float
    cell: int | None
    thumbnails: list[Images] = field(default_factory=list)
    transparent: bool = False


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
        self._settings = settings_hash(translator.export_id, styles.codes, options.deciding())
        self._channels = translator.config.channels(split_direction(options.style.direction)[0])
        # A fault of one image does not end a folder or a watch that skips such images.
        skips = options.watch or options.skips_unreadable
        self._survived = InputError if skips else UnreadableImageError
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
        picture = self._decode(data, name)
        self.frames.add(name, picture.frames)
        results = (result for result, _ in self._translator.translate([picture], name, on_part))
        if not self._options.grid:
            return encode_image(next(results), self._options.result_format)
        cell = cell_for(self._styles, picture)
        row = Row(name, tuple(thumbnail(shown, cell) for shown in (picture, *results)))
        sheet = contact_sheet(columns(self._styles, cell), [row], cell)
        return encode_image(ImageData(sheet), self._options.result_format)

    def _start(
        self, plan: Plan, log: TranslateLog, on_part: OnPart
    ) -> Generator[_Written, None, None]:
        """The three stages: reading, translating, writing."""
        jobs = self._options.jobs or min(MAX_DEFAULT_JOBS, usable_cores())
        # Two small images wait for each thread, or fewer large ones.
        least = QUEUE_PIXELS // (2 * jobs)
        reads = in_threads(
            lambda planned: self._read(planned, plan, log),
            plan.inputs,
            workers=jobs,
            limit=QUEUE_PIXELS,
            cost=lambda planned: max(count_pixels(planned.path), least),
            name="munit-edge-read",
        )
        return in_threads(
            self._write,
            self._translate(reads, on_part, sheets=bool(plan.sheets)),
            workers=jobs,
            limit=QUEUE_PIXELS,
            cost=lambda result: max(result.pixels, least),
            settle=True,
            name="munit-edge-write",
        )

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

    # ----------------------------------------------------------------------------------------
    # Reading

    def _read(self, planned: Planned, plan: Plan, log: TranslateLog) -> _Read:
        started = time.perf_counter()
        picture = sha256 = error = done = padded = None
        try:
            if planned.fault is not None:
                raise InputError(planned.fault)
            data = read_bytes(planned.path)
            sha256 = hashlib.sha256(data).hexdigest()
            if self._options.keeps_done:
                done = self._as_now(log.find_done(planned.outputs, sha256))
            if done is None or plan.sheets:
                picture = self._decode(data, str(planned.path))
            if done is None and picture is not None:
                padded = self._translator.padded_size(picture)
                log.begin(planned.path, sha256, planned.outputs)
        except MemoryError as exc:
            fault = InputError(
                f"{planned.path} needs more memory than is available: make it smaller"
            )
            if not self._survives(fault):
                raise fault from exc
            picture, error = None, storable(str(fault))
        except self._survived as exc:
            picture, error = None, storable(str(exc))
        size = done.size if done else None
        if picture is not None:
            size = picture.pixels.shape[0], picture.pixels.shape[1]
        facts = _Input(
            planned,
            time.perf_counter() - started,
            sha256,
            size,
            error,
            skipped=done is not None,
            tiles=WHOLE if size is None else self._translator.choice(size),
            frames=1 if picture is None else picture.frames,
        )
        return _Read(facts, picture, padded)

    def _as_now(self, done: LogEntry | None) -> LogEntry | None:
        """An earlier result, if this run would choose the same tiles, which affect the pixels."""
        if done is None or done.size is None:
            return None
        now = self._translator.choice(done.size)
        return done if (done.tile, done.tile_stats) == (now.core, now.statistics) else None

    def _decode(self, data: bytes, name: str) -> ImageData:
        limit = self._options.style.max_megapixels
        picture = decode_image(data, self._channels, name=name, max_megapixels=limit)
        picture = fit_to_size(picture, self._options.style.size, limit, name)
        height, width = picture.pixels.shape[:2]
        if fault := size_fault(height, width, self._options.result_format):
            raise InputError(f"{name}: {fault}")
        return picture

    def _survives(self, exc: Exception) -> bool:
        """Whether the run continues without the image that caused an error."""
        return isinstance(exc, self._survived)

    # ----------------------------------------------------------------------------------------
    # Translating

    def _translate(
        self, reads: Generator[_Read, None, None], on_part: OnPart, *, sheets: bool
    ) -> Iterator[_Result]:
        """Every result, input after input, and one item for each input that has none."""
        cell, before = None, 0
        with contextlib.closing(reads):
            for group in self._groups(reads):
                first = group[0]
                if sheets and cell is None and first.picture is not None:
                    cell = cell_for(self._styles, first.picture)
                if first.input.error is not None:
                    yield _Result(first.input, len(self._styles.codes) - 1)
                elif first.input.skipped:
                    yield from self._earlier_results(first, cell)
                else:
                    yield from self._translate_group(group, cell, before, on_part)
                before += len(group)

    def _groups(self, reads: Iterable[_Read]) -> Iterator[list[_Read]]:
        """Neighbours that share a batch; inputs that need no engine are alone.

        The last group is one with an error, unless errors are skipped.
        """
        group: list[_Read] = []
        try:
            for read in reads:
                if group and not self._fits(read, group):
                    yield group
                    group = []
                if read.padded is not None:
                    group.append(read)
                    continue
                yield [read]
                if read.input.error is not None and not self._options.skips_unreadable:
                    return
        except Exception:
            if group:  # the inputs before are complete
                yield group
            raise
        if group:
            yield group

    def _fits(self, read: _Read, group: list[_Read]) -> bool:
        first = group[0]
        if read.padded is None or read.padded != first.padded:
            return False
        if read.input.tiles != first.input.tiles:
            return False
        height, width = read.padded
        return (len(group) + 1) * height * width <= self._translator.pixels_at_once

    def _translate_group(
        self, group: list[_Read], cell: int | None, before: int, on_part: OnPart
    ) -> Iterator[_Result]:
        """Every result of a group; an image that cannot be translated fails alone.

        Args:
            group: inputs of one size.
            cell: size of thumbnails in pixels; None: there is no contact sheet.
            before: number of inputs before the group.
            on_part: called with the number of inputs done, fractions included.
        """
        num_styles = len(self._styles.codes)
        done = 0
        try:
            for result in self._translate_together(group, cell, before, on_part):
                yield result
                done += 1
        except self._survived as exc:
            if len(group) == 1:
                facts = replace(group[0].input, error=storable(str(exc)))
                yield _Result(facts, num_styles - 1)
                return
            first, made = divmod(done, num_styles)
            for number, read in enumerate(group[first:], first):
                for result in self._translate_group([read], cell, before + number, on_part):
                    if number > first or result.index >= made:  # the others were yielded already
                        yield result

    def _translate_together(
        self, group: list[_Read], cell: int | None, before: int, on_part: OnPart
    ) -> Iterator[_Result]:
        pictures = [read.picture for read in group if read.picture is not None]
        name = group[0].input.planned.path

        def report(done: float, note: str) -> None:
            on_part(before + done, f"{name.name}: {note}" if note else name.name)

        results = self._translator.translate(pictures, str(name), report)
        num_styles = len(self._styles.codes)
        for number, (picture, seconds) in enumerate(results):
            read, index = group[number // num_styles], number % num_styles
            source = read.picture if index == 0 and cell is not None else None
            yield _Result(read.input, index, picture, seconds, source, cell)

    def _earlier_results(self, read: _Read, cell: int | None) -> Iterator[_Result]:
        """Results of an earlier run: the last style alone, or all if a sheet shows them."""
        num_styles = len(self._styles.codes)
        for index in range(0 if cell is not None else num_styles - 1, num_styles):
            source = read.picture if index == 0 and cell is not None else None
            yield _Result(read.input, index, source=source, cell=cell)

    # ----------------------------------------------------------------------------------------
    # Writing

    def _write(self, result: _Result) -> _Written:
        started = time.perf_counter()
        path = result.input.planned.outputs[result.index]
        picture = result.picture
        try:
            if picture is not None:
                write_image(path, picture, replace=self._options.replaces)
            elif result.cell is not None and result.input.skipped:
                picture = read_image(path, 3, max_megapixels=self._options.style.max_megapixels)
        except (InputError, OutputError) as exc:
            if not (self._options.skips_unreadable and _is_of_one_result(exc)):
                raise
            failed = replace(result.input, error=storable(str(exc)))
            return _Written(failed, result.index, result.seconds, None)
        shown = (each for each in (result.source, picture) if each is not None)
        cell = result.cell
        return _Written(
            result.input,
            result.index,
            result.seconds + time.perf_counter() - started,
            cell,
            [] if cell is None else [thumbnail(each, cell) for each in shown],
            transparent=result.picture is not None and _transparent(result.picture),
        )

    def _outcomes(
        self, written: Iterable[_Written], plan: Plan, log: TranslateLog
    ) -> Iterator[TranslatedInput]:
        """One outcome for each input, once its last result is on the disk."""
        sheets = Sheets(plan.sheets, self._styles, replace=self._options.replaces)
        self.sheets = sheets.written
        thumbnails: list[Images] = []
        shown: list[Path] = []
        complete: list[Path] = []
        seconds, cell, error = 0.0, None, None
        for part in written:
            done = part.result_of
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

    def _outcome(self, done: _Input, seconds: float, log: TranslateLog) -> TranslatedInput:
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


def _is_of_one_result(exc: InputError | OutputError) -> bool:
    """Whether an error concerns one result's name or size, so that others can still be written."""
    cause = exc.__cause__
    if isinstance(exc, InputError):
        return True
    # An encoder's error has no number.
    return isinstance(cause, OSError) and (cause.errno is None or cause.errno in _OWN_ERRORS)


def _transparent(picture: ImageData) -> bool:
    return picture.alpha is not None or picture.pixels.shape[2] == 4
