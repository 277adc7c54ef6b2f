"""Results of earlier runs that new ones do not replace: fewer styles, another format, fewer sheets.

Only files that the folder's log names are considered. Since anyone could have written the log, a
file is removed only if it is a regular file below the folder, reached through no link, and has the
name and the first bytes of a result.
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
    """Finds results that earlier runs left beside those of this one, and may remove them.

    Args:
        folder: folder of the results.
        earlier: for every result, the last line of an earlier run that names it.
        written: results that this run writes or keeps.
        read: files that it reads.
        settings: its settings' hash.
        remove: whether found results are removed rather than only listed.

    Attributes:
        found: paths of results found so far, removed if `remove`.
        foreign: results of other inputs of the same name, which are only listed.
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
        # Names in the log are relative to the folder, which may have been moved since.
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
        """Handle the leftovers of one input whose results are complete.

        Args:
            path: the input.
            sha256: hash of its file, which earlier may have had another path.
            outputs: its results.
        """
        own = {name for known in _names(path) for name in self._by_input.get(known, ())}
        same_stem: set[str] = set()
        for output in outputs:
            match = _RESULT.fullmatch(stored_name(output.relative_to(self._folder).as_posix()))
            same_stem |= self._by_stem.get(match["stem"], set()) if match else set()
        for name in sorted(own | same_stem):
            entry = self._earlier[name]
            # The same bytes under another path are the same input, renamed or moved. Other bytes
            # under the same name are another input: its results are only listed.
            if name in own or (entry.sha256 is not None and entry.sha256 == sha256):
                self._take(name)
            elif (file := self._file(name)) is not None:
                self.foreign.append(file)

    def of_sheets(self, written: Iterable[Path], inputs: Iterable[Path]) -> None:
        """Handle contact sheets that show outdated results.

        Args:
            written: the sheets of this run; if there are any, all earlier ones are leftovers.
            inputs: inputs of this run that have results.
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
        """The result of that name, if it is safe to take; see the module's docstring."""
        path = PurePosixPath(real_name(name))
        parts = path.parts
        if not parts or path.is_absolute() or ".." in parts:
            return None
        try:
            folder = self._folder
            # Each part by itself: `Path.resolve` would follow a link that leads out of the folder.
            for part in parts[:-1]:
                folder = folder / part
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    return None
            file = folder / parts[-1]
            # `lstat`: a link in place of a result is not ours to remove.
            if not stat.S_ISREG(file.lstat().st_mode):
                return None
            with file.open("rb") as opened:
                # A file that is not an image of its suffix was put there by somebody else.
                beginning = _BEGINNINGS.get(file.suffix)
                if beginning is None or opened.read(len(beginning)) != beginning:
                    return None
        except (OSError, ValueError):
            return None
        return None if any(same_file(file, each) for each in self._read) else file


def _names(path: str | Path) -> set[str]:
    """Names that a log may have for an input."""
    try:
        return {stored_name(path), stored_name(os.path.realpath(path))}
    except ValueError:  # a log may contain anything
        return set()
