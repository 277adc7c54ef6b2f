"""Translating picture files: reading, translating and writing overlap, results stay in order."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from munit_edge.config import StrictModel, split_direction
from munit_edge.contact_sheet import Row, contact_sheet, thumbnail
from munit_edge.cores import usable_cores
from munit_edge.errors import ConfigError, InputError, UnreadableImageError
from munit_edge.image_files import ImageFile
from munit_edge.images import (
    Images,
    Picture,
    count_pixels,
    decode_image,
    encode_image,
    read_bytes,
    read_image,
    write_image,
)
from munit_edge.leftovers import Leftovers
from munit_edge.picture_translator import PictureTranslator
from munit_edge.pipeline import in_threads
from munit_edge.style_set import StyleSet, fit_to_size
from munit_edge.translate_log import TranslateLog, printable, settings_hash
from munit_edge.translate_options import TranslateOptions
from munit_edge.translate_plan import Plan, Planned, plan_results
from munit_edge.translate_sheets import Sheets, cell_for, columns
from munit_edge.translator import Translator

MAX_DEFAULT_JOBS = 8
"""Most threads that read, and that write, unless the user asks for more."""
QUEUE_PIXELS = 1 << 24
"""Pixels read ahead, and pixels of results not yet written, so that memory stays flat."""


class TranslatedInput(StrictModel):
    """What became of one input: one line of `--json`."""

    input: str
    """Path of the picture."""
    outputs: tuple[str, ...] = ()
    """Paths of its results, one for each style in order."""
    size: tuple[int, int] | None = None
    """Height and width of the results in pixels."""
    styles: int
    """Number of styles."""
    seconds: float
    """Time for reading, translating and writing."""
    error: str | None = None
    """Why there are no results; null: there are."""
    skipped: bool = False
    """Whether an earlier run had made the results."""


@dataclass(frozen=True)
class _Input:
    """What is known of one input once it was read."""

    planned: Planned
    seconds: float
    sha256: str | None = None
    size: tuple[int, int] | None = None
    error: str | None = None
    skipped: bool = False


@dataclass(frozen=True)
class _Read:
    """An input and its picture; None where it is not needed, or could not be read."""

    input: _Input
    picture: Picture | None
    padded: tuple[int, int] | None
    """Height and width that the engine will see; None: it has nothing to do."""


@dataclass(frozen=True)
class _Result:
    """One result on its way to the disk, or an input that needs nothing written."""

    input: _Input
    index: int = 0
    """Which style."""
    picture: Picture | None = None
    """None: it was written by an earlier run, or there is none."""
    seconds: float = 0.0
    """Time of the engine."""
    source: Picture | None = None
    """The input's picture, where a contact sheet wants it."""
    cell: int | None = None
    """Size of thumbnails in pixels; None: there is no contact sheet."""

    @property
    def pixels(self) -> int:
        """Pixels that wait to be written, at least 1."""
        held = (picture for picture in (self.picture, self.source) if picture is not None)
        return 1 + sum(picture.pixels[..., 0].size for picture in held)


@dataclass(frozen=True)
class _Written:
    """What is left of a result when it is on the disk."""

    result_of: _Input
    index: int
    seconds: float
    cell: int | None
    thumbnails: list[Images] = field(default_factory=list)
    transparent: bool = False


class TranslateJob:
    """Translates picture files with one set of styles.

    Attributes:
        flattened: pictures so far whose transparency the output format could not hold.
        sheets: contact sheets written so far.
        leftovers: results of earlier runs beside those of this one.
    """

    def __init__(
        self,
        translator: Translator,
        styles: StyleSet,
        options: TranslateOptions,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._translator = PictureTranslator(
            translator,
            options.direction,
            styles.codes,
            tile=options.tile,
            tile_stats=options.tile_stats,
            say=say,
        )
        self._styles = styles
        self._options = options
        self._settings = settings_hash(translator.export_id, styles.codes, options.deciding())
        self._channels = translator.config.channels(split_direction(options.direction)[0])
        # Nothing that comes into a watched folder ends the watch.
        self._survived = InputError if options.watch else UnreadableImageError
        self.flattened = 0
        self.sheets: list[Path] = []
        self.leftovers: Leftovers | None = None

    @property
    def engine_seconds(self) -> float:
        """Time that the engine took so far."""
        return self._translator.busy.seconds

    def plan(self, files: Sequence[ImageFile]) -> Plan:
        """What translating `files` will read and write; see `plan_results`.

        Raises:
            OutputError: it cannot be written there.
        """
        return plan_results(files, len(self._styles.codes), self._options)

    def run(self, plan: Plan) -> Generator[TranslatedInput, None, None]:
        """Translate the planned inputs in order; a picture that cannot be read gives an `error`.

        Reading and writing have threads of their own, and so has the engine: the caller's thread
        only waits. Each input is in the folder's log before it is yielded. A contact sheet is
        written when it is full, the last one at the end. A picture that cannot be read is the last
        outcome unless the options say to skip it.

        Raises:
            MunitEdgeError: anything but a picture that cannot be read. What comes before in the
                order of the inputs is complete.
        """
        folder = None if self._options.to_file else self._options.output
        with TranslateLog(folder, self._settings) as log:
            self.leftovers = self._find_leftovers(plan, log)
            written = self._start(plan, log)
            with contextlib.closing(written):
                yield from self._outcomes(written, plan, log)

    def translate_bytes(self, data: bytes, name: str) -> bytes:
        """Translate one picture file: the result of the only style, or a contact sheet.

        Raises:
            UnreadableImageError: `data` is no picture.
            ConfigError: there are several styles and no contact sheet is wanted.
        """
        num_styles = len(self._styles.codes)
        if num_styles > 1 and not self._options.grid:
            raise ConfigError(
                f"standard output takes one picture and there are {num_styles} styles: pass --grid "
                "for a contact sheet, or ask for one style"
            )
        picture = self._decode(data, name)
        results = (result for result, _ in self._translator.translate([picture], name))
        if not self._options.grid:
            return encode_image(next(results), self._options.result_format)
        cell = cell_for(self._styles, picture)
        row = Row(name, tuple(thumbnail(shown, cell) for shown in (picture, *results)))
        sheet = contact_sheet(columns(self._styles, cell), [row], cell)
        return encode_image(Picture(sheet), self._options.result_format)

    def _start(self, plan: Plan, log: TranslateLog) -> Generator[_Written, None, None]:
        """The three stages: reading, translating, writing."""
        jobs = self._options.jobs or min(MAX_DEFAULT_JOBS, usable_cores())
        # So two small pictures wait for each thread, and fewer large ones.
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
            self._translate(reads, sheets=bool(plan.sheets)),
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
            [*(planned.path for planned in plan.inputs), *options.style_images],
            settings=self._settings,
            remove=options.overwrite,
        )

    # ----------------------------------------------------------------------------------------
    # Reading

    def _read(self, planned: Planned, plan: Plan, log: TranslateLog) -> _Read:
        started = time.perf_counter()
        picture = sha256 = error = done = padded = None
        try:
            data = read_bytes(planned.path)
            sha256 = hashlib.sha256(data).hexdigest()
            if self._options.keeps_done:
                done = log.find_done(planned.outputs, sha256)
            if done is None or plan.sheets:
                picture = self._decode(data, str(planned.path))
            if done is None and picture is not None:
                padded = self._translator.padded_size(picture)
                log.begin(planned.path, sha256, planned.outputs)
        except self._survived as exc:
            error = printable(str(exc))
        size = done.size if done else None
        if picture is not None:
            size = picture.pixels.shape[0], picture.pixels.shape[1]
        seconds = time.perf_counter() - started
        facts = _Input(planned, seconds, sha256, size, error, skipped=done is not None)
        return _Read(facts, picture, padded)

    def _decode(self, data: bytes, name: str) -> Picture:
        limit = self._options.max_megapixels
        picture = decode_image(data, self._channels, name=name, max_megapixels=limit)
        return fit_to_size(picture, self._options, name)

    # ----------------------------------------------------------------------------------------
    # Translating

    def _translate(self, reads: Generator[_Read, None, None], *, sheets: bool) -> Iterator[_Result]:
        """Every result, input after input, and one item for each input that has none."""
        cell = None
        with contextlib.closing(reads):
            for group in self._groups(reads):
                first = group[0]
                if sheets and cell is None and first.picture is not None:
                    cell = cell_for(self._styles, first.picture)
                if first.input.error is not None:
                    yield _Result(first.input)
                elif first.input.skipped:
                    yield from self._earlier_results(first, cell)
                else:
                    yield from self._translate_group(group, cell)

    def _groups(self, reads: Iterable[_Read]) -> Iterator[list[_Read]]:
        """Neighbours that go through the engine together; what needs no engine is alone.

        The last group is one with an error, unless those are skipped.
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
            if group:  # what came before is complete
                yield group
            raise
        if group:
            yield group

    def _fits(self, read: _Read, group: list[_Read]) -> bool:
        if read.padded is None or read.padded != group[0].padded:
            return False
        height, width = read.padded
        return (len(group) + 1) * height * width <= self._translator.pixels_at_once

    def _translate_group(self, group: list[_Read], cell: int | None) -> Iterator[_Result]:
        pictures = [read.picture for read in group if read.picture is not None]
        results = self._translator.translate(pictures, str(group[0].input.planned.path))
        num_styles = len(self._styles.codes)
        for number, (picture, seconds) in enumerate(results):
            read, index = group[number // num_styles], number % num_styles
            source = read.picture if index == 0 and cell is not None else None
            yield _Result(read.input, index, picture, seconds, source, cell)

    def _earlier_results(self, read: _Read, cell: int | None) -> Iterator[_Result]:
        """What an earlier run has written: its last style alone, all where a sheet shows them."""
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
        if picture is not None:
            write_image(path, picture, replace=self._options.replaces)
        elif result.cell is not None and result.input.skipped:
            picture = read_image(path, 3)
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
        """One outcome for each input, when its last result is on the disk."""
        sheets = Sheets(plan.sheets, self._styles, replace=self._options.replaces)
        self.sheets = sheets.written
        thumbnails: list[Images] = []
        shown: list[Path] = []
        complete: list[Path] = []
        seconds, cell = 0.0, None
        for part in written:
            done = part.result_of
            seconds += part.seconds
            thumbnails += part.thumbnails
            cell = part.cell or cell
            if done.error is None and part.index < len(done.planned.outputs) - 1:
                continue
            if thumbnails and cell is not None:
                shown.append(done.planned.path)
                if sheets.add(done.planned.path.name, thumbnails, cell):
                    log.write_sheet(sheets.written[-1], shown)
                    shown = []
            self.flattened += self._options.result_format == "jpg" and part.transparent
            yield self._outcome(done, round(done.seconds + seconds, 3), log)
            complete += [done.planned.path] if done.error is None else []
            thumbnails, seconds = [], 0.0
        if cell is not None and sheets.write(cell):
            log.write_sheet(sheets.written[-1], shown)
        if self.leftovers is not None:
            self.leftovers.of_sheets(sheets.written, complete)

    def _outcome(self, done: _Input, seconds: float, log: TranslateLog) -> TranslatedInput:
        outputs = () if done.error is not None else done.planned.outputs
        if not done.skipped:
            log.write(done.planned.path, done.sha256, outputs, done.size, seconds, done.error)
        if self.leftovers is not None and outputs:
            self.leftovers.of_input(done.planned.path, done.sha256, outputs)
        return TranslatedInput(
            input=printable(done.planned.path),
            outputs=tuple(printable(path) for path in outputs),
            size=done.size,
            styles=len(self._styles.codes),
            seconds=seconds,
            error=done.error,
            skipped=done.skipped,
        )


def _transparent(picture: Picture) -> bool:
    return picture.alpha is not None or picture.pixels.shape[2] == 4
