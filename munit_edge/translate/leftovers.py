"""Results of earlier runs that new ones do not replace: fewer styles, another format, fewer sheets.

Only what the folder's log names counts, and a log is a file that anyone can write: a result is
removed where it is a regular file below the folder, reached through no link, with the name and the
first bytes of one.
"""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from munit_edge.files.names import real_name, stored_name
from munit_edge.files.replacing import same_file
from munit_edge.files.system_errors import output_errors
from munit_edge.translate.log import LogEntry
from munit_edge.translate.outputs import SHEET_NAME

_RESULT = re.compile(r"(?P<stem>.+)_\d{2,}\.(png|jpg|webp)", re.DOTALL)
_SHEET = re.compile(rf"{SHEET_NAME}(-\d+)?\.(png|jpg|webp)")
_BEGINNINGS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".webp": b"RIFF"}


class Leftovers:
    """Finds what earlier runs have left beside the results of this one, and removes it if it may.

    Args:
        folder: of the results.
        earlier: for every result the last line of an earlier run that names it.
        written: results that this run writes or keeps.
        read: files that it reads.
        settings: its settings' hash.
        remove: whether what is found is removed; else it is only named.

    Attributes:
        found: paths of what was found so far, and removed if it was to be.
        foreign: results of other inputs of the same name, which are only named.
    """

    def __init__(
        self,
        folder: Path,
        earlier: Mapping[str, LogEntry],
        written: Iterable[Path],
        read: Iterable[Path],
        *,
        settings: str,
        remove: bool,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._remove = remove
        self._read = list(read)
        kept = {stored_name(path.relative_to(folder).as_posix()) for path in written}
        self._earlier = {name: entry for name, entry in earlier.items() if name not in kept}
        self._by_input: dict[str, set[str]] = defaultdict(set)
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        for name, entry in self._earlier.items():
            match = _RESULT.fullmatch(name)
            if match and not entry.shown:
                self._by_stem[match["stem"]].add(name)
                for known in _names(real_name(entry.input)):
                    self._by_input[known].add(name)
        self.found: list[Path] = []
        self.foreign: list[Path] = []

    def of_input(self, path: Path, sha256: str | None, outputs: Iterable[Path]) -> None:
        """What is left of one input, whose results are complete.

        Args:
            path: the input.
            sha256: of its file; the same file may have been named by another path.
            outputs: its results.
        """
        own = {name for known in _names(path) for name in self._by_input.get(known, ())}
        same_stem: set[str] = set()
        for output in outputs:
            match = _RESULT.fullmatch(stored_name(output.relative_to(self._folder).as_posix()))
            same_stem |= self._by_stem.get(match["stem"], set()) if match else set()
        for name in sorted(own | same_stem):
            entry = self._earlier[name]
            if name in own or (entry.sha256 is not None and entry.sha256 == sha256):
                self._take(name)
            elif (file := self._file(name)) is not None:
                self.foreign.append(file)

    def of_sheets(self, written: Iterable[Path], inputs: Iterable[Path]) -> None:
        """Contact sheets that show other results than there are now.

        Args:
            written: the sheets of this run; with any, all earlier ones are left over.
            inputs: of this run, as far as they have results.
        """
        names = {path.name for path in written}
        shown = {known for path in inputs for known in _names(path)}
        for name, entry in sorted(self._earlier.items()):
            if not entry.shown or name in names or not _SHEET.fullmatch(name):
                continue
            stale = entry.settings != self._settings and any(
                known in shown for path in entry.shown for known in _names(real_name(path))
            )
            if names or stale:
                self._take(name)

    def _take(self, name: str) -> None:
        file = self._file(name)
        if file is None or file in self.found:
            return
        if self._remove:
            with output_errors(file):
                file.unlink(missing_ok=True)
        self.found.append(file)

    def _file(self, name: str) -> Path | None:
        """The result of that name, if there is one; see the module's text."""
        path = PurePosixPath(real_name(name))
        parts = path.parts
        if not parts or path.is_absolute() or ".." in parts:
            return None
        try:
            folder = self._folder
            for part in parts[:-1]:
                folder = folder / part
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    return None
            file = folder / parts[-1]
            if not stat.S_ISREG(file.lstat().st_mode):
                return None
            with file.open("rb") as opened:
                beginning = _BEGINNINGS.get(file.suffix)
                if beginning is None or opened.read(len(beginning)) != beginning:
                    return None
        except (OSError, ValueError):
            return None
        return None if any(same_file(file, each) for each in self._read) else file


def _names(path: str | Path) -> set[str]:
    """What an input may be called."""
    try:
        return {stored_name(path), stored_name(os.path.realpath(path))}
    except ValueError:  # a log may say anything
        return set()
