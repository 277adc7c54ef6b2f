"""The record of a folder of results: one JSON line for each input, and what is done already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from pydantic import ValidationError

from munit_edge.config import StrictModel
from munit_edge.files import output_errors
from munit_edge.names import stored_name
from munit_edge.styles import Styles
from munit_edge.tile_choice import WHOLE, TileChoice

LOG_FILE = "munit-edge-log.jsonl"
"""Name of the record inside the folder of results."""

NOT_FINISHED = "not finished: results of an earlier run are being replaced"
"""Error of a line that is followed by another one of the same input, unless the run was killed."""


class LogEntry(StrictModel):
    """One line: what became of one input."""

    input: str
    """Path of the picture; what is not UTF-8 in paths is escaped, see `names.stored_name`."""
    sha256: str | None
    """Hash of its file, hexadecimal; null: it could not be read."""
    settings: str
    """Hash of everything else that decides the results (`settings_hash`), besides the tiles."""
    outputs: tuple[str, ...] = ()
    """Paths of its results below this folder, one for each style in order."""
    size: tuple[int, int] | None = None
    """Height and width of the results in pixels."""
    tile: int | None = None
    """Largest core in pixels of the tiles that it was cut into; null: it was translated whole."""
    tile_stats: str | None = None
    """Where the statistics of these tiles came from; null: it was translated whole."""
    seconds: float
    """Time for reading, translating and writing."""
    error: str | None = None
    """Why there are no results; null: there are."""


class TranslateLog:
    """Appends to the record of a folder, and knows what it said before.

    Every line is handed to the system at once, so what a killed run finished is known. Lines that
    cannot be read, such as the last one of a machine that lost its power, count as not written.

    Args:
        folder: of the results; it is there.
        settings: of this run, see `settings_hash`.

    Raises:
        OutputError: the record cannot be opened.
    """

    def __init__(self, folder: Path, settings: str) -> None:
        self._folder = folder
        self._path = folder / LOG_FILE
        self._settings = settings
        with output_errors(self._path):
            self._last_writer = _read_log(self._path)
            self._file = self._path.open("ab")
            if self._file.tell() and not _ends_whole(self._path):
                self._file.write(b"\n")

    def find_done(self, outputs: Sequence[Path], sha256: str) -> LogEntry | None:
        """The line that wrote all of `outputs` from such a file with these settings.

        None: there is none, another run has replaced one of them or begun to, or one is gone.
        """
        entries = {self._last_writer.get(name) for name in self._names(outputs)}
        entry = entries.pop()
        if entries or entry is None or entry.error is not None:
            return None
        if (entry.sha256, entry.settings) != (sha256, self._settings):
            return None
        return entry if all(path.is_file() for path in outputs) else None

    def begin(self, path: Path, sha256: str, outputs: Sequence[Path]) -> None:
        """Append a line that results are about to be replaced, if an earlier line names any.

        So that they do not count as the earlier run's, should this one be killed between two.

        Raises:
            OutputError: it cannot be written.
        """
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
        entry = LogEntry(
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
        with output_errors(self._path):
            self._file.write(entry.model_dump_json().encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with output_errors(self._path):
            self._file.close()

    def __enter__(self) -> TranslateLog:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _names(self, outputs: Iterable[Path]) -> list[str]:
        return [stored_name(path.relative_to(self._folder).as_posix()) for path in outputs]


def settings_hash(model: str, styles: Styles, settings: dict[str, object]) -> str:
    """SHA-256 of what decides the results besides the input.

    Args:
        model: identity of the model.
        styles: float32 [S, style_dim].
        settings: options that change the results.
    """
    text = json.dumps([model, settings], sort_keys=True)
    return hashlib.sha256(text.encode() + styles.tobytes()).hexdigest()


def _read_log(path: Path) -> dict[str, LogEntry]:
    """For every result the last line that names it."""
    last_writer: dict[str, LogEntry] = {}
    if not path.is_file():
        return last_writer
    with path.open("rb") as file:
        for line in file:
            try:
                entry = LogEntry.model_validate_json(line)
            except ValidationError:
                continue
            last_writer.update(dict.fromkeys(entry.outputs, entry))
    return last_writer


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
