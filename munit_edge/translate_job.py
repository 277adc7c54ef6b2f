"""Translating picture files: names decided first, then one input after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from munit_edge.config import StrictModel, split_direction
from munit_edge.contact_sheet import CELL, Column, Row, cell_size, contact_sheet, thumbnail
from munit_edge.errors import ConfigError, InputError, OutputError, UnreadableImageError
from munit_edge.files import make_folder
from munit_edge.image_files import ImageFile
from munit_edge.images import (
    ImageFormat,
    Images,
    Picture,
    decode_image,
    encode_image,
    read_image,
    write_image,
)
from munit_edge.style_set import StyleSet, fit_to_size
from munit_edge.translate_options import TranslateOptions
from munit_edge.translator import Translator

SHEET_ROWS = 24
"""Inputs on one contact sheet; more go to further sheets."""
PIXELS_AT_ONCE = 1 << 24
"""Pixels of results held at a time, so that memory does not grow with the number of styles."""


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


@dataclass(frozen=True)
class Planned:
    """One input and the files that its results go to."""

    path: Path
    outputs: tuple[Path, ...]
    """One for each style: stem_00.png, stem_01.png, ..."""


@dataclass(frozen=True)
class Plan:
    """Everything that will be read and written."""

    inputs: tuple[Planned, ...]
    sheets: tuple[Path, ...]
    """contact_sheet.png, contact_sheet-2.png, ...; empty without a grid."""


def plan_results(files: Sequence[ImageFile], num_styles: int, options: TranslateOptions) -> Plan:
    """Decide every name before any work, and make the folder `options.output`.

    No two results can share a name: stems differ, each result ends in its style's number, and the
    name of a contact sheet does not.

    Raises:
        OutputError: a result is there already or would replace an input, or the folder cannot be
            made.
    """
    folder = options.output
    assert folder is not None, "without a folder the result goes to standard output"
    inputs = tuple(
        Planned(file.path, tuple(_result_paths(folder / file.stem, num_styles, options.format)))
        for file in files
    )
    num_sheets = -(-len(files) // SHEET_ROWS) if options.grid else 0
    numbers = ("" if page == 1 else f"-{page}" for page in range(1, num_sheets + 1))
    sheets = tuple(folder / f"contact_sheet{number}.{options.format}" for number in numbers)
    outputs = [*(path for planned in inputs for path in planned.outputs), *sheets]
    read = [*(file.path for file in files), *options.style_images]
    _refuse_replacing(read, outputs, options.overwrite)
    make_folder(folder)
    return Plan(inputs, sheets)


class TranslateJob:
    """Translates picture files with one set of styles."""

    def __init__(self, translator: Translator, styles: StyleSet, options: TranslateOptions) -> None:
        self._translator = translator
        self._styles = styles
        self._options = options
        self._source, self._target = split_direction(options.direction)
        self.flattened = 0
        """Pictures so far whose transparency the output format could not hold."""
        self.sheets: list[Path] = []
        """Contact sheets written so far."""

    def run(self, plan: Plan) -> Iterator[TranslatedInput]:
        """Translate the planned inputs in order; a picture that cannot be read gives an `error`.

        A contact sheet is written when it is full, the last one at the end.

        Raises:
            MunitEdgeError: anything but a picture that cannot be read.
        """
        sheets = _Sheets(plan.sheets, self._styles, self.sheets)
        for planned in plan.inputs:
            yield self._translate_file(planned, sheets)
        sheets.write()

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
        limit = self._options.max_megapixels
        picture = decode_image(data, self._channels, name=name, max_megapixels=limit)
        picture = fit_to_size(picture, self._options, name)
        results = self._results(picture, name)
        if not self._options.grid:
            return encode_image(next(results), self._options.format)
        cell = _cell_for(self._styles, picture)
        row = Row(name, tuple(thumbnail(shown, cell) for shown in (picture, *results)))
        sheet = contact_sheet(_columns(self._styles, cell), [row], cell)
        return encode_image(Picture(sheet), self._options.format)

    @property
    def _channels(self) -> int:
        return self._translator.config.channels(self._source)

    def _translate_file(self, planned: Planned, sheets: _Sheets) -> TranslatedInput:
        started = time.monotonic()
        outputs: tuple[str, ...] = ()
        size = error = None
        try:
            picture = self._read(planned.path)
        except UnreadableImageError as exc:
            error = _text(str(exc))
        else:
            self._write(planned, picture, sheets)
            outputs = tuple(_text(path) for path in planned.outputs)
            size = picture.pixels.shape[0], picture.pixels.shape[1]
        return TranslatedInput(
            input=_text(planned.path),
            outputs=outputs,
            size=size,
            styles=len(self._styles.codes),
            seconds=round(time.monotonic() - started, 3),
            error=error,
        )

    def _read(self, path: Path) -> Picture:
        limit = self._options.max_megapixels
        picture = read_image(path, self._channels, max_megapixels=limit)
        return fit_to_size(picture, self._options, str(path))

    def _write(self, planned: Planned, picture: Picture, sheets: _Sheets) -> None:
        sheets.show(picture)
        results = self._results(picture, str(planned.path))
        for path, result in zip(planned.outputs, results, strict=True):
            write_image(path, result)
            sheets.show(result)
        sheets.end_row(planned.path.name)
        self.flattened += self._options.format == "jpg" and _transparent(result)

    def _results(self, picture: Picture, name: str) -> Iterator[Picture]:
        """One result for each style; alpha and profile go along where they fit."""
        height, width = picture.pixels.shape[:2]
        step = max(1, PIXELS_AT_ONCE // (height * width))
        codes = self._styles.codes
        try:
            content = self._translator.encode_content(picture.pixels[None], self._source)
            for start in range(0, len(codes), step):
                batch = codes[start : start + step]
                for pixels in self._translator.decode(content, batch, self._target)[0]:
                    alpha = None if pixels.shape[2] == 4 else picture.alpha
                    yield Picture(pixels, alpha, picture.icc_profile)
        except MemoryError as exc:
            raise InputError(
                f"{name} needs more memory than there is ({width} x {height} pixels): make it "
                "smaller with --size"
            ) from exc


class _Sheets:
    """Gathers thumbnails into contact sheets; does nothing where no sheet is planned."""

    def __init__(self, paths: Sequence[Path], styles: StyleSet, written: list[Path]) -> None:
        self._paths = paths
        self._styles = styles
        self._written = written
        self._row: list[Images] = []
        self._rows: list[Row] = []
        self._cell = CELL

    def show(self, picture: Picture) -> None:
        """Put a picture into the current row; the very first one decides how large all are."""
        if not self._paths:
            return
        if not self._row and not self._rows and not self._written:
            self._cell = _cell_for(self._styles, picture)
        self._row.append(thumbnail(picture, self._cell))

    def end_row(self, label: str) -> None:
        """The current row is complete; write the sheet when it is full."""
        if self._row:
            self._rows.append(Row(label, tuple(self._row)))
            self._row = []
        if len(self._rows) == SHEET_ROWS:
            self.write()

    def write(self) -> None:
        """Write the rows gathered so far, if there are any."""
        if self._rows:
            columns = _columns(self._styles, self._cell)
            sheet = contact_sheet(columns, self._rows, self._cell)
            path = self._paths[len(self._written)]
            write_image(path, Picture(sheet))
            self._written.append(path)
            self._rows = []


def _cell_for(styles: StyleSet, picture: Picture) -> int:
    return cell_size(len(styles.codes), max(picture.pixels.shape[:2]))


def _columns(styles: StyleSet, cell: int) -> list[Column]:
    return [
        Column(label, None if reference is None else thumbnail(reference, cell))
        for label, reference in zip(styles.labels, styles.references, strict=True)
    ]


def _text(path: str | Path) -> str:
    """As Unicode: bytes in a file's name that are no UTF-8 become replacement characters."""
    return os.fsencode(path).decode("utf-8", "replace")


def _transparent(picture: Picture) -> bool:
    return picture.alpha is not None or picture.pixels.shape[2] == 4


def _result_paths(stem: Path, num_styles: int, suffix: ImageFormat) -> Iterator[Path]:
    for index in range(num_styles):
        yield stem.with_name(f"{stem.name}_{index:02d}.{suffix}")


def _refuse_replacing(inputs: Sequence[Path], outputs: Sequence[Path], overwrite: bool) -> None:
    kept = {os.path.realpath(path) for path in inputs}
    for path in outputs:
        if os.path.realpath(path) in kept:
            raise OutputError(f"{path} is an input and would be replaced: name another folder")
    existing = [path for path in outputs if os.path.lexists(path)]
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more results exist" if len(existing) > 1 else " exists"
        raise OutputError(f"{existing[0]}{more} already: name another folder or pass --overwrite")
