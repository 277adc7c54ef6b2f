"""The log of a folder of results: one JSON line for each input, and which results are done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from munit_edge.closing import Closing
from munit_edge.files.appending import append_line, open_to_append
from munit_edge.files.names import stored_name
from munit_edge.files.system_errors import output_errors
from munit_edge.settings import StrictModel
from munit_edge.translate.tiling import WHOLE, TileChoice

LOG_FILE = "munit-edge-log.jsonl"
"""Name of the log inside the folder of results."""

NOT_FINISHED = "not finished: results of an earlier run are being replaced"
"""Error of a line that is followed by another one of the same input, unless the run was killed."""
REPLACED = "replaced: a run with this file as its output has written it"
"""Error of a line about a file that another run has written."""


class LogEntry(StrictModel):
    """One line: the outcome of one input."""

    input: str
    """Path of the image; parts that are not UTF-8 are escaped, see `names.stored_name`."""
    sha256: str | None
    """Hash of its file, hexadecimal; null: it could not be read."""
    settings: str
    """Hash of everything else that affects the results (`files.results.settings_hash`),
    except the tiles."""
    outputs: tuple[str, ...] = ()
    """Paths of its results below this folder, one for each style in order."""
    size: tuple[int, int] | None = None
    """Height and width of the results in pixels."""
    tile: int | None = None
    """Largest core in pixels of the tiles that it was cut into; null: it was translated whole."""
    tile_stats: str | None = None
    """Source of the statistics of these tiles; null: it was translated whole."""
    seconds: float
    """Time for reading, translating and writing."""
    error: str | None = None
    """Why there are no results; null: there are results."""
    shown: tuple[str, ...] = ()
    """In the line of a contact sheet, which has no input: the inputs that it shows."""


class TranslateLog(Closing):
    """Appends to the log of a folder, and knows its earlier lines.

    Every line is flushed at once, so the finished results of a killed run are known. Lines that
    cannot be read, such as the last one after a power failure, are ignored. A new log without a
    line is removed again: a run that was refused leaves nothing.

    Args:
        folder: existing folder of the results. None: no log is kept.
        settings: hash of this run's settings, as in `LogEntry`.

    Raises:
        OutputError: the log cannot be opened.
    """

    def __init__(self, folder: Path | None, settings: str) -> None:
        self._folder = folder
        self._settings = settings
        self._last_writer: dict[str, LogEntry] = {}
        self._file: BinaryIO | None = None
        self._is_new = False
        if folder is None:
            return
        path = folder / LOG_FILE
        self._is_new = not os.path.lexists(path)
        self._file = open_to_append(path)
        with output_errors(path):
            self._last_writer = _read_log(self._file)
            # Otherwise this run's first line would continue the half line of a killed run, and both
            # would be lost.
            if not _ends_whole(self._file):
                self._file.write(b"\n")

    @property
    def earlier(self) -> Mapping[str, LogEntry]:
        """For every result, the last line of an earlier run that names it."""
        return self._last_writer

    def find_done(self, outputs: Sequence[Path], sha256: str) -> LogEntry | None:
        """The line of all of `outputs`, made from such a file with these settings.

        None: there is none, another run has replaced one or begun to, or a file is missing.
        """
        # One entry must name all outputs: results of different runs or styles are no set.
        entries = {self._last_writer.get(name) for name in self._names(outputs)}
        entry = entries.pop()
        if entries or entry is None or entry.error is not None:
            return None
        if (entry.sha256, entry.settings) != (sha256, self._settings):
            return None
        # The user may have removed results since.
        return entry if all(path.is_file() for path in outputs) else None

    def begin(self, path: Path, sha256: str, outputs: Sequence[Path]) -> None:
        """Append a line that results are about to be replaced, if an earlier line names any.

        They then do not count as the earlier run's if this one is killed halfway.

        Raises:
            OutputError: it cannot be written.
        """
        # Most runs replace nothing, and then no line is needed.
        if any(name in self._last_writer for name in self._names(outputs)):
            self.write(path, sha256, outputs, None, 0.0, NOT_FINISHED)

    def write(
        self,
        path: Path,
        sha256: str | None,
        outputs: Sequence[Path],
        size: tuple[int, int] | None,
        seconds: float,
        error: str | None,
        tiles: TileChoice = WHOLE,
    ) -> None:
        """Append the line of one input.

        Raises:
            OutputError: it cannot be written.
        """
        self._append(
            LogEntry(
                input=stored_name(path),
                sha256=sha256,
                settings=self._settings,
                outputs=tuple(self._names(outputs)),
                size=size,
                tile=tiles.core,
                tile_stats=tiles.statistics,
                seconds=seconds,
                error=error,
            )
        )

    def write_sheet(self, path: Path, inputs: Iterable[Path]) -> None:
        """Append the line of a contact sheet that shows `inputs`.

        Raises:
            OutputError: it cannot be written.
        """
        self._append(
            LogEntry(
                input="",
                sha256=None,
                settings=self._settings,
                outputs=tuple(self._names([path])),
                seconds=0.0,
                shown=tuple(map(stored_name, inputs)),
            )
        )

    def write_replaced(self, path: Path) -> None:
        """Append a line that invalidates earlier lines about the file `path`.

        It names no input, so no run takes the file for its own result.

        Raises:
            OutputError: it cannot be written.
        """
        names = tuple(self._names([path]))
        entry = LogEntry(
            input="", sha256=None, settings="", outputs=names, seconds=0.0, error=REPLACED
        )
        self._append(entry)

    def _append(self, entry: LogEntry) -> None:
        if self._file is None or self._folder is None:
            return
        self._is_new = False
        with output_errors(self._folder / LOG_FILE):
            append_line(self._file, entry.model_dump_json())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and self._folder is not None:
            path = self._folder / LOG_FILE
            with output_errors(path):
                self._file.close()
                if self._is_new:
                    path.unlink(missing_ok=True)

    def _names(self, outputs: Iterable[Path]) -> list[str]:
        folder = self._folder
        return [stored_name(p.relative_to(folder).as_posix()) for p in outputs] if folder else []


def recording_folders(path: Path) -> list[Path]:
    """Folders above the file `path` whose logs name it, by their real paths.

    Logs that cannot be read, such as those of other users, are skipped.
    """
    real = _real(path)
    folders = []
    # Any folder above may have been the -o of an earlier run.
    for folder in real.parents:
        log = folder / LOG_FILE
        with contextlib.suppress(OSError):
            # A pipe or a link of that name would block the run, or lead it elsewhere.
            if log.is_symlink() or not log.is_file():
                continue
            with log.open("rb") as file:
                if stored_name(real.relative_to(folder).as_posix()) in _read_log(file):
                    folders.append(folder)
    return folders


def disown(path: Path) -> None:
    """Invalidate the lines about the file `path` in all logs that name it.

    Raises:
        OutputError: a log cannot be written.
    """
    for folder in recording_folders(path):
        with TranslateLog(folder, "") as log:
            log.write_replaced(_real(path))


def _real(path: Path) -> Path:
    """A path whose folders are resolved; its own name may still be a link."""
    # Writing replaces a link by a file, so the name itself is not resolved.
    return Path(os.path.realpath(path.parent), path.name)


def _read_log(file: BinaryIO) -> dict[str, LogEntry]:
    """For every result, the last line that names it."""
    last_writer: dict[str, LogEntry] = {}
    file.seek(0)
    for line in file:
        try:
            entry = LogEntry.model_validate_json(line)
        except ValidationError:
            continue
        # Later lines win: whoever wrote a file last decides what it is.
        last_writer.update(dict.fromkeys(entry.outputs, entry))
    return last_writer


def _ends_whole(file: BinaryIO) -> bool:
    """Whether the file is empty or its last line is complete."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
